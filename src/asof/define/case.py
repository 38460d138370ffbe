"""Cases: small tests of a user's own definitions; events in, expected values out.

A case names everything by name and holds plain Python values: `asof.flows.cases` gives the values the types of the
project's columns and runs the real engine on them. Users import it as `asof.testing.Case`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import cast

from asof.define.place import Placed
from asof.errors import DefinitionError

Row = Mapping[str, object]
EXACT = 1e-9  # how far floats may be apart, relative; decimals and integers are compared exactly


@dataclass(frozen=True, init=False, eq=False)
class Case(Placed):
    """A small test of definitions: the events that there are, and the values that they should have.

    Args:
        name: what the case shows, in words.
        expect: rows of entity keys, the time `at`, and expected values; columns that are not named are not
            compared. Request columns, and the own row's where a service counts it, stand here as well.
        events: source name -> its rows; of a union, the names of its parts. A column that is left out is null,
            and a source that is left out is empty.
        service: the feature service that is asked; or else
        view: one feature view (or several, as `views`).
        label: a label (or several, as `labels`), with the `cutoff` at which it is asked.
        cutoff: nothing known after it counts.
        types: source name -> column -> type, where the project's files cannot tell.
        tolerance: how far floats, and counts that are approximate by definition, may be apart, relative.

    Raises:
        DefinitionError: a part that is missing or contradicts another.

    Example:
        >>> case = Case(
        ...     "a payment counts once it is known",
        ...     view="activity",
        ...     events={"payments": [{"account_id": "ann", "paid_at": "2025-03-01T09:00:00Z"}]},
        ...     expect=[{"account_id": "ann", "at": "2025-03-02", "count_7d": 1}],
        ... )
        >>> case.views
        ('activity',)
    """

    name: str
    service: str | None
    views: tuple[str, ...]
    labels: tuple[str, ...]
    cutoff: str | datetime | None
    events: Mapping[str, Sequence[Row]]
    expect: Sequence[Row]
    types: Mapping[str, Mapping[str, str]]
    tolerance: float | None
    file: str = field(default="", repr=False)
    line: int = field(default=0, repr=False)

    def __init__(
        self,
        name: str,
        *,
        expect: Sequence[Row],
        events: Mapping[str, Sequence[Row]] | None = None,
        service: str | None = None,
        view: str | None = None,
        views: Sequence[str] = (),
        label: str | None = None,
        labels: Sequence[str] = (),
        cutoff: str | datetime | None = None,
        types: Mapping[str, Mapping[str, str]] | None = None,
        tolerance: float | None = None,
        place: tuple[str, int] | None = None,
    ) -> None:
        file, line = place or vars(self)["_place"] or ("", 0)
        where = "" if place is None else f"{file}:{line}: "  # a Python error tells its line itself
        facts: dict[str, object] = {
            "name": name, "service": service, "views": _names(view, views), "labels": _names(label, labels),
            "cutoff": cutoff, "events": {} if events is None else events, "expect": expect,
            "types": {} if types is None else types, "tolerance": tolerance, "file": file, "line": line,
        }  # fmt: skip
        for fact, value in facts.items():
            object.__setattr__(self, fact, value)
        _check(self, f"{where}case {name!r}")

    @property
    def place(self) -> str:
        """Where it is written: `cases/late.yaml:3`."""
        return f"{self.file}:{self.line}"

    @property
    def words(self) -> str:
        """Its place and its name, for messages."""
        return f"{self.place}: case {self.name!r}"


def _names(one: str | None, several: Sequence[str]) -> tuple[str, ...]:
    more = (several,) if isinstance(several, str) else tuple(several)
    return (one, *more) if one is not None else more


def _check(case: Case, where: str) -> None:
    for name in (case.name, *_given(case.service), *case.views, *case.labels):
        if not isinstance(name, str) or not name.strip():  # pyright: ignore[reportUnnecessaryIsInstance]
            raise DefinitionError(f"{where}: {name!r} is not a name", hint="names are text")
    if case.service is not None and case.views:
        raise DefinitionError(f"{where}: both service and view", hint="ask one of them")
    if case.service is None and not case.views and not case.labels:
        raise DefinitionError(f"{where}: nothing is asked", hint="service, view or label names it")
    if case.labels and case.cutoff is None:
        hint = "a label is what is known at a time: cutoff: 2025-06-30T00:00:00Z"
        raise DefinitionError(f"{where}: a label without cutoff", hint=hint)
    for what, rows in [("expect", case.expect), *_named(where, "events", case.events)]:
        _check_rows(where, what, rows)
    if not case.expect:
        hint = "expect: rows such as {account_id: ann, at: 2025-03-01T12:00:00Z, count_1d: 1}"
        raise DefinitionError(f"{where}: expects nothing", hint=hint)
    for what, types in _named(where, "types", case.types):
        _check_mapping(where, what, types)
    if case.tolerance is not None and not _is_share(case.tolerance):
        raise DefinitionError(f"{where}: tolerance {case.tolerance!r} is not a number from 0 to 1")


def _given(name: str | None) -> tuple[str, ...]:
    return () if name is None else (name,)


def _is_share(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1


def _named(where: str, what: str, value: Mapping[str, object]) -> list[tuple[str, object]]:
    _check_mapping(where, what, value)
    return [(f"{what} of {name!r}", inner) for name, inner in value.items()]


def _check_mapping(where: str, what: str, value: object) -> None:
    if not isinstance(value, Mapping) or not all(
        isinstance(key, str) for key in cast("Mapping[object, object]", value)
    ):
        seen = type(value).__name__
        raise DefinitionError(f"{where}: {what} is {seen}, not a mapping from names")


def _check_rows(where: str, what: str, value: object) -> None:
    if not isinstance(value, Sequence) or isinstance(value, str):
        seen = type(value).__name__
        raise DefinitionError(f"{where}: {what} is {seen}, not a list of rows")
    for row in cast("Sequence[object]", value):
        _check_mapping(where, f"a row of {what}", row)
