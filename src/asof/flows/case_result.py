"""What came of a case: the values that differ, and the events that a row which differs could see."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast
from zoneinfo import ZoneInfo

import pyarrow as pa

from asof.clock import to_us
from asof.define.case import Case, Row
from asof.define.source import Events, parts_of
from asof.errors import AsofError
from asof.flows.case_hints import Use
from asof.flows.case_values import typed


@dataclass(frozen=True)
class Difference:
    """One value that is not the one expected: where, for whom and when, and both values."""

    row: int
    line: int | None
    asked: dict[str, object]
    column: str
    expected: object
    got: object
    known: tuple[tuple[str, dict[str, object]], ...] = ()


@dataclass(frozen=True)
class CaseResult:
    """How a case went: nothing, the values that differ, or the error that stopped it."""

    case: Case
    values: int = 0
    differences: tuple[Difference, ...] = ()
    error: AsofError | None = None

    @property
    def passed(self) -> bool:
        """True when every expected value came out."""
        return not self.differences and self.error is None


def known_events(
    case: Case, uses: Sequence[Use], sources: Mapping[str, Events], row: Row, at: object
) -> tuple[tuple[str, dict[str, object]], ...]:
    """The case's events of a row's entity that were known at an instant, as they were written, source by source.

    An entity key that is an expression is not looked into: then nothing is shown.
    """
    found: dict[tuple[str, int], dict[str, object]] = {}
    at_us = cast("int", typed(at, pa.timestamp("us", "UTC")) or 0)
    for use in uses:
        keys = {dict(use.keys).get(name, name): row[name] for name in use.entity.keys.names}
        for part in parts_of(use.source):
            source, rows = sources[part.source.name], case.events.get(part.source.name, ())
            for number, event in enumerate(rows):
                same = all(str(event.get(sql)) == str(value) for sql, value in keys.items())
                if same and _known_us(source, number) <= at_us:
                    found[source.name, number] = dict(event)
    return tuple((name, event) for (name, _), event in sorted(found.items(), key=lambda item: item[0]))


def _known_us(source: Events, number: int) -> int:
    """When a row was known, where that is a column of the history itself; else it counts as always known."""
    table = cast("Any", source.history).table
    name = source.known_at or source.event_time
    value = table[name][number].as_py() if name in table.column_names else None
    if not isinstance(value, datetime):
        return 0
    if value.tzinfo is None and source.zone is not None:
        value = value.replace(tzinfo=ZoneInfo(source.zone))
    return to_us(value) + source.delay_us
