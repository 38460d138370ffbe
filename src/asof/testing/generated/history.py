"""Histories for a source: ties, nulls, late and early rows, repeats, corrections, deletes, far gaps, nothing at all."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from asof.define.source import Events
from asof.testing.generated.values import BASE_US, DAY_US, Words, as_time, column, pool

Types = Mapping[str, pa.DataType]
Record = dict[str, object]
SIZES = (0, 1, 3, 8, 8, 14, 14)
_FAR_US = 400 * DAY_US


@dataclass
class Maker:
    """Makes rows of one source.

    Args:
        rng: decides everything.
        source: its times, its key and its sequence.
        types: the columns to make.
        spans_us: lengths of the windows that are asked.
        words: what its SQL speaks of.
        few: columns that get three values at most, so that rows meet: those that entity keys read.
    """

    rng: random.Random
    source: Events
    types: Types
    spans_us: Sequence[int]
    words: Words
    few: frozenset[str] = frozenset()
    pools: dict[str, list[object]] = field(default_factory=dict[str, list[object]])
    step_us: int = 1

    def __post_init__(self) -> None:
        self.step_us = self._step_us()
        for name, arrow in self.types.items():
            most = 3 if name in self.few else 5 if name == self.source.key else 8
            self.pools[name] = pool(self.rng, arrow, self.words, most)

    def table(self) -> pa.Table:
        """A history of a random size."""
        rows = [self.row() for _ in range(self.rng.choice(SIZES))]
        for _ in range(self.rng.randint(0, len(rows) // 2)):
            rows.insert(self.rng.randint(0, len(rows)), self._again(self.rng.choice(rows)))
        self._number(rows)
        return self.as_table(rows)

    def as_table(self, rows: Sequence[Record]) -> pa.Table:
        """Rows as a table of the source's columns."""
        return pa.table({name: column([row[name] for row in rows], t) for name, t in self.types.items()})

    def row(self) -> Record:
        """One row: values from the pools, now and then a null, and times around one another."""
        made: Record = {name: self._value(name) for name in self.types}
        event_us = self._time_us()
        self._put(made, self.source.event_time, None if self._once_in(12) else event_us)
        self._put(made, self.source.known_at, None if self._once_in(15) else event_us + self._late_us())
        return made

    def _again(self, row: Record) -> Record:
        """The row once more: as it was, corrected, moved, or with nothing left but its key, known at another time."""
        made = dict(row)
        changes = self.rng.choice(("none", "few", "few", "all", "time"))
        for name in self.types:
            if name != self.source.key and (changes == "all" or (changes == "few" and self._once_in(3))):
                made[name] = self._value(name)
        if changes in {"all", "time"}:
            self._put(made, self.source.event_time, None if self._once_in(6) else self._time_us())
        elif self.source.event_time in row:
            made[self.source.event_time] = row[self.source.event_time]
        if changes != "none" or self.rng.random() < 0.5:
            self._put(made, self.source.known_at, self._time_us() + self._late_us())
        return made

    def _number(self, rows: Sequence[Record]) -> None:
        name = self.source.sequence
        arrow = self.types.get(name or "")
        if name is None or arrow is None:
            return
        places = self.rng.sample(range(len(rows)), len(rows))
        for row, place in zip(rows, places, strict=True):
            row[name] = _in_order(place, arrow)

    def _value(self, name: str) -> object:
        values = self.pools[name]
        return self.rng.choice(values) if values and not self._once_in(6) else None

    def _put(self, row: Record, name: str | None, at_us: int | None) -> None:
        """Set a time, where it is a column of the history; one that is derived follows from other columns."""
        arrow = self.types.get(name or "")
        if (
            name is not None
            and arrow is not None
            and (pa.types.is_timestamp(arrow) or pa.types.is_date(arrow))
        ):
            row[name] = None if at_us is None else as_time(at_us, arrow)

    def _step_us(self) -> int:
        span_us = self.rng.choice([*self.spans_us, DAY_US])
        return self.rng.choice((1, max(1, span_us // 3), span_us))

    def _time_us(self) -> int:
        far_us = self.rng.choice((-_FAR_US, _FAR_US)) if self._once_in(15) else 0
        near_us = self.rng.randint(-4, 4) * self.step_us
        return BASE_US + near_us + far_us + self.rng.choice((0, 0, 0, 1, -1))

    def _late_us(self) -> int:
        return self.rng.choice((0, 0, 0, 1, -1, self.step_us, 2 * self.step_us, 3 * DAY_US))

    def _once_in(self, times: int) -> bool:
        return self.rng.randrange(times) == 0


def _in_order(place: int, arrow: pa.DataType) -> object:
    """The value with this place among a sequence's values; all are different, so that their order is one."""
    if pa.types.is_timestamp(arrow) or pa.types.is_date(arrow):
        return as_time(BASE_US + place * DAY_US, arrow)
    return f"{place:06}" if pa.types.is_string(arrow) or pa.types.is_large_string(arrow) else place
