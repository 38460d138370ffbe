"""Decoded events as columns, and which of them a column cannot hold: what the types of `event_type.py` cannot say.

A decimal must fit its digits exactly, a float be finite, a time lie in the years 1 to 9999, and where a column holds
local times of a zone, an instant must not lie in the hour that clocks repeat.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, cast
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.compute as pc

from asof.streams.event_type import LEAST_US, MOST_US, Reason, is_text
from asof.streams.schema import EventSchema

NOT_FITTING = (pa.ArrowException, ValueError, TypeError, OverflowError)
Faults = list[tuple[int, Reason]]
"""Places of events, each with why it cannot be taken."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_INSTANT, _LOCAL = pa.timestamp("us", "UTC"), pa.timestamp("us")


def column_of(values: Sequence[Any], arrow: pa.DataType, zone: str | None) -> pa.Array:
    """A column of values that have the Python type of the column.

    Raises:
        One of NOT_FITTING: it cannot hold one of them.
    """
    if pa.types.is_timestamp(arrow):
        return _times(values, arrow, zone)
    if pa.types.is_map(arrow):
        return pa.array([None if value is None else list(value.items()) for value in values], arrow)
    if is_text(arrow) or pa.types.is_dictionary(arrow):
        made: Any = pa.array(values, pa.string() if is_text(arrow) else cast("Any", arrow).value_type)
        return made if made.type == arrow else made.cast(arrow)
    made = pa.array(values, arrow)
    check_column(made)
    return made


def check_column(made: pa.Array | pa.ChunkedArray) -> None:
    """Nothing, when all floats are finite and all times within the years 1 to 9999.

    Raises:
        ValueError: one is not.
    """
    if pa.types.is_floating(made.type):
        if pc.any(pc.invert(pc.is_finite(made))).as_py():
            raise ValueError("not finite")
    elif pa.types.is_timestamp(made.type):
        whole: Any = made.cast(pa.timestamp("us", made.type.tz)).cast(pa.int64())
        ends = cast("dict[str, Any]", pc.min_max(whole).as_py())
        if ends["min"] is not None and not LEAST_US <= ends["min"] <= ends["max"] <= MOST_US:
            raise ValueError("outside of the years 1 to 9999")


def fitting(count: int, attempt: Callable[[int, int], object], reason: Reason) -> Faults:
    """The places of what does not fit: `attempt(start, stop)` raises one of NOT_FITTING where something does not."""
    bad: Faults = []
    waiting = [(0, count)] if count else []
    while waiting:
        start, stop = waiting.pop()
        try:
            attempt(start, stop)
        except NOT_FITTING:
            if stop - start == 1:
                bad.append((start, reason))
            else:
                middle = (start + stop) // 2
                waiting += [(middle, stop), (start, middle)]
    return bad


def nulls(count: int, arrow: pa.DataType) -> pa.Array:
    """A column of nulls."""
    return pa.nulls(count, cast("Any", arrow))


def unfit(name: str, arrow: pa.DataType) -> Reason:
    """Why a value does not fit a column."""
    if pa.types.is_timestamp(arrow):
        return Reason(f"no time that {arrow} of this column holds exactly", name)
    if pa.types.is_floating(arrow):
        return Reason("no finite number of the column's size", name)
    return Reason(f"a value does not fit {arrow}", name)


def known_column(schema: EventSchema, stamps_us: Any) -> pa.Array:
    """The column `known_at` of the instants at which the stream took events."""
    arrow = dict(schema.columns)[schema.known_at]
    made = pa.array(stamps_us, pa.int64()).cast(_INSTANT)
    if pa.types.is_timestamp(arrow) and arrow.tz is None:
        there: Any = made.cast(pa.timestamp("us", schema.zone or "UTC"))
        made = pc.local_timestamp(there)
    return made if made.type == arrow else made.cast(arrow, safe=False)


def _times(values: Sequence[Any], arrow: pa.TimestampType, zone: str | None) -> pa.Array:
    local = arrow.tz is None
    if zone is not None and zone != "UTC":
        change = _to_local if local else _to_instant
        there = ZoneInfo(zone)
        values = [None if value is None else change(value, there) for value in values]
    made = pa.array(values, _LOCAL if local else _INSTANT)
    check_column(made)
    return made if made.type == arrow else made.cast(arrow)


def _to_instant(value: datetime | int, zone: ZoneInfo) -> datetime | int:
    if isinstance(value, int) or value.tzinfo is not None:
        return value
    return value.replace(tzinfo=zone).astimezone(UTC)


def _to_local(value: datetime | int, zone: ZoneInfo) -> datetime:
    """The local time of an instant; one that is local already stays."""
    if isinstance(value, int):
        value = _EPOCH + timedelta(microseconds=value)
    if value.tzinfo is None:
        return value
    there = value.astimezone(zone)
    if there.utcoffset() != there.replace(fold=1 - there.fold).utcoffset():
        raise ValueError("in the hour that clocks repeat")
    return there.replace(tzinfo=None)
