"""Checking one definition on generated examples: oracle against engine, value by value; and the least that differs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

import pyarrow as pa

from asof.clock import from_us
from asof.define.label import Label
from asof.define.service import FeatureService
from asof.define.substitute import changed
from asof.errors import AsofError, DataError, MissingColumn, NumericOverflow, WrongType
from asof.testing.generated.answers import Values, differing, oracle_values
from asof.testing.generated.example import Engines, Example, make_example
from asof.testing.generated.history import Types
from asof.testing.generated.subject import Subject

OVERFLOW = "NumericOverflow"


class Fast(Protocol):
    """The real way to a training set: the table of `Project.training_set` with `immature="null"`."""

    def __call__(
        self,
        service: FeatureService,
        spine: pa.Table,
        labels: Sequence[Label],
        *,
        as_known: bool,
        cutoff: datetime | None,
    ) -> pa.Table:
        """The training set's table."""
        ...


@dataclass(frozen=True)
class Mismatch:
    """A value on which oracle and engine do not agree, with the least history that was found to show it."""

    example: int
    column: str
    asked: dict[str, object]
    oracle: object
    engine: object
    options: str
    events: dict[str, list[dict[str, object]]] = field(default_factory=dict[str, "list[dict[str, object]]"])


@dataclass(frozen=True)
class Generated:
    """How the examples of a subject went: a mismatch, an error of its definitions, or why there were none."""

    subject: Subject
    examples: int = 0
    values: int = 0
    mismatch: Mismatch | None = None
    error: AsofError | None = None
    skipped: str | None = None

    @property
    def passed(self) -> bool:
        """True when oracle and engine agreed on everything that was asked."""
        return self.mismatch is None and self.error is None


def check_subject(
    subject: Subject, types: Mapping[str, Types], engines: Engines, fast: Fast, *, seed: int, examples: int
) -> Generated:
    """Oracle and engine on so many examples; stops at the first on which they differ, and makes it small.

    Args:
        subject: what is checked.
        types: source name -> the columns of its history.
        engines: gives a new engine, for the oracle's reading.
        fast: the way that is checked.
        seed: equal seeds give equal examples.
        examples: how many.
    """
    values, done = 0, 0
    for number in range(examples):
        try:
            example = make_example(engines, subject, types, f"{seed}/{subject.kind}/{subject.name}/{number}")
        except (MissingColumn, WrongType) as exc:
            return Generated(subject, done, values, error=exc)
        except DataError as exc:
            return Generated(
                subject, done, values, skipped=f"its SQL refuses generated values: {exc.message}"
            )
        except AsofError as exc:
            return Generated(subject, done, values, error=exc)
        outcome = _Outcome(engines, fast, example)
        if outcome.differing:
            return Generated(subject, done, values, mismatch=_least(outcome).mismatch(number))
        done, values = done + 1, values + outcome.values
    return Generated(subject, done, values)


class _Outcome:
    """What oracle and engine say to an example."""

    def __init__(self, engines: Engines, fast: Fast, example: Example) -> None:
        self.engines, self.fast, self.example = engines, fast, example
        held, engine = example.held(), engines()
        self._slow = self._oracle(held)
        self._fast = self._engine(held)
        self.differing: list[tuple[int, str]] = []
        if isinstance(self._slow, str) or isinstance(self._fast, str):
            self.differing = [] if self._slow == self._fast else [(0, "")]
            self.values = 0
        else:
            self.differing = differing(engine, held, self._fast, self._slow)
            self.values = sum(map(len, self._slow.values()))

    def again(self, **changes: Any) -> _Outcome:
        """The same with other histories, or another spine."""
        return _Outcome(self.engines, self.fast, changed(self.example, **changes))

    def mismatch(self, number: int) -> Mismatch:
        """The first value that differs, for a reader."""
        row, name = self.differing[0]
        example = self.example
        asked: list[dict[str, object]] = example.spine.to_pylist()
        slow, fast = self._slow, self._fast
        if isinstance(slow, str) or isinstance(fast, str):  # one of them failed
            slow, fast = (
                slow if isinstance(slow, str) else "values",
                fast if isinstance(fast, str) else "values",
            )
        else:
            slow, fast = slow[name][row], fast[name][row].as_py()
        events = {source: table.to_pylist() for source, table in example.tables.items()}
        return Mismatch(number, name, asked[row] if asked else {}, slow, fast, example.options, events)

    def _oracle(self, held: Subject) -> Values | str:
        example = self.example
        try:
            return oracle_values(
                self.engines(), held, example.spine, as_known=example.as_known, cutoff_us=example.cutoff_us
            )
        except NumericOverflow:
            return OVERFLOW

    def _engine(self, held: Subject) -> pa.Table | str:
        example = self.example
        labels = () if held.label is None else (held.label,)
        cutoff = None if example.cutoff_us is None else from_us(example.cutoff_us)
        try:
            return self.fast(held.service, example.spine, labels, as_known=example.as_known, cutoff=cutoff)
        except NumericOverflow:
            return OVERFLOW
        except AsofError as exc:
            return f"{type(exc).__name__}: {exc.message}"


def _least(outcome: _Outcome) -> _Outcome:
    """The same difference with one spine row, and with as few events as leaving some out can find."""
    row = outcome.differing[0][0]
    one = outcome.again(spine=outcome.example.spine.slice(row, 1))
    outcome = one if one.differing else outcome
    for name in outcome.example.tables:
        step = max(1, outcome.example.tables[name].num_rows // 2)
        while step:
            outcome = _fewer(outcome, name, step)
            step //= 2
    return outcome


def _fewer(outcome: _Outcome, name: str, step: int) -> _Outcome:
    """The same without every run of `step` events that the difference does not need."""
    start = 0
    while start < outcome.example.tables[name].num_rows:
        tables = outcome.example.tables
        fewer = outcome.again(tables={**tables, name: _without(tables[name], start, step)})
        outcome, start = (fewer, start) if fewer.differing else (outcome, start + step)
    return outcome


def _without(table: pa.Table, start: int, count: int) -> pa.Table:
    return pa.concat_tables([table.slice(0, start), table.slice(start + count)])
