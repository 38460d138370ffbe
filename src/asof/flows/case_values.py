"""Values of cases: what a user wrote becomes a value of a column's type, exactly or not at all; and back again,
whether a value that came out is the one that was expected.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time
from decimal import Decimal, InvalidOperation
from typing import Any, cast
from zoneinfo import ZoneInfo

import pyarrow as pa

from asof.clock import format_time, to_us
from asof.define.case import EXACT
from asof.types import MAX_DECIMAL_DIGITS

_WHOLE = re.compile(r"-?[0-9]{1,40}\Z")
_UNITS_US = {"s": 1_000_000, "ms": 1_000, "us": 1, "ns": 1}


def typed(value: object, arrow: pa.DataType, zone: str | None = None) -> object:  # noqa: PLR0911 - a return a kind
    """The value as Arrow takes it for a column of this type; times are microseconds.

    Args:
        value: what a case says.
        arrow: the column's type.
        zone: the zone of times without zone in such a column, where the source declares one.

    Raises:
        ValueError, TypeError, ArithmeticError: it is no value of the type, or would lose something.
    """
    if value is None:
        return None
    if isinstance(arrow, pa.TimestampType):
        return _time(value, arrow, zone)
    if pa.types.is_date(arrow):
        return value if type(value) is date else date.fromisoformat(_text(value))
    if pa.types.is_boolean(arrow):
        return _of(value, bool)
    if pa.types.is_integer(arrow):
        return _whole(value)
    if isinstance(arrow, pa.Decimal128Type):
        return _decimal(value, arrow.scale)
    if pa.types.is_floating(arrow):
        return float(cast("Any", value)) if not isinstance(value, bool) else _of(value, float)
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [typed(item, _item_type(arrow), zone) for item in cast("Sequence[object]", value)]
    return _text(value) if _is_text(arrow) else value


def column(values: Sequence[object], arrow: pa.DataType) -> pa.Array:
    """An Arrow column of typed values; a dictionary's become plain text."""
    if isinstance(arrow, pa.DictionaryType):
        return column(values, arrow.value_type)
    if isinstance(arrow, pa.TimestampType):
        return pa.array(cast("Any", values), pa.int64()).cast(pa.timestamp("us", arrow.tz)).cast(arrow)
    return pa.array(cast("Any", values), arrow)


def infer(values: Sequence[object]) -> pa.DataType | None:  # noqa: PLR0911 - a return a kind
    """The type of a column whose file cannot be asked, or None where there is no value or no one type.

    Numbers with a point are decimals; text is text, also where it looks like a time.
    """
    kinds = {type(value) for value in values if value is not None}
    if not kinds or kinds == {bool}:
        return pa.bool_() if kinds else None
    if kinds <= {int, float, Decimal}:
        if float in kinds:
            return pa.float64()
        return pa.int64() if kinds == {int} else _decimal_type(values)
    if kinds == {str}:
        return pa.string()
    if kinds == {datetime}:
        return pa.timestamp("us", "UTC")
    if kinds == {date}:
        return pa.date32()
    if kinds == {list}:
        inner = infer([item for value in values for item in cast("list[object]", value or [])])
        return None if inner is None else pa.list_(inner)
    return None


def agrees(got: object, expected: object, tolerance: float | None = None) -> bool:  # noqa: PLR0911 - a return a kind
    """True when a feature's value is the one that a case expects.

    Decimals, whole numbers, text and times are compared exactly (whole numbers within a given tolerance), floats
    within it or 1e-9, relative; a null is expected as null; lists and maps item by item.
    """
    if expected is None or got is None:
        return _is_null(got) and _is_null(expected)
    try:
        if isinstance(got, bool) or isinstance(expected, bool):
            return got is expected
        if isinstance(got, float):
            wanted = float(cast("Any", expected))
            limit = EXACT if tolerance is None else tolerance
            return math.isclose(got, wanted, rel_tol=limit, abs_tol=1e-12) or (
                _is_null(got) and _is_null(wanted)
            )
        if isinstance(got, int | Decimal):
            return abs(got - _number(expected)) <= Decimal(tolerance or 0) * abs(_number(expected))
        if isinstance(got, datetime):
            return to_us(got) == _time(expected, pa.timestamp("us", "UTC"), None)
        if isinstance(got, date):
            return got == typed(expected, pa.date32())
        if isinstance(got, list):
            return _list_agrees(cast("list[object]", got), expected, tolerance)
        return got == _text(expected)
    except (ValueError, TypeError, ArithmeticError):
        return False


def shown(value: object) -> str:
    """A value as a case would write it."""
    if value is None:
        return "null"
    if isinstance(value, datetime):
        return format_time(to_us(value))
    if isinstance(value, Mapping):
        items = cast("Mapping[object, object]", value).items()
        return "{" + ", ".join(f"{name}: {shown(item)}" for name, item in items) + "}"
    if isinstance(value, list):
        items = cast("list[object]", value)
        if items and all(isinstance(item, tuple) for item in items):
            return shown(dict(cast("list[tuple[object, object]]", items)))
        return "[" + ", ".join(map(shown, items)) + "]"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _list_agrees(got: list[object], expected: object, tolerance: float | None) -> bool:
    if isinstance(expected, Mapping):
        found = {str(key): value for key, value in cast("list[tuple[object, object]]", got)}
        wanted = {str(key): value for key, value in cast("Mapping[object, object]", expected).items()}
        return found.keys() == wanted.keys() and all(agrees(found[k], wanted[k], tolerance) for k in found)
    if not isinstance(expected, list | tuple):
        return False
    items = cast("Sequence[object]", expected)
    if not got and not items:
        return True
    return len(got) == len(items) and all(agrees(a, b, tolerance) for a, b in zip(got, items, strict=True))


def _is_null(value: object) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _of(value: object, kind: type) -> object:
    if type(value) is not kind:
        raise TypeError(value)
    return value


def _text(value: object) -> str:
    """Text, or a number's text: an id may look like a number."""
    if isinstance(value, bool) or not isinstance(value, str | int | Decimal):
        raise TypeError(value)
    return str(value)


def _whole(value: object) -> int:
    if isinstance(value, str) and _WHOLE.match(value):
        return int(value)
    return cast("int", _of(value, int))


def _number(value: object) -> Decimal:
    """The number exactly as it was written; a float as Python prints it."""
    if isinstance(value, bool) or not isinstance(value, str | int | float | Decimal):
        raise TypeError(value)
    return Decimal(repr(value) if isinstance(value, float) else value)


def _decimal(value: object, scale: int) -> Decimal:
    number = _number(value)
    made = number.quantize(Decimal(1).scaleb(-scale))
    if made != number:
        raise InvalidOperation(value)
    return made


def _decimal_type(values: Sequence[object]) -> pa.DataType:
    scales = [-int(v.as_tuple().exponent) for v in values if isinstance(v, Decimal)]
    scale = max(0, *scales)
    return pa.decimal128(MAX_DECIMAL_DIGITS if scale <= MAX_DECIMAL_DIGITS else 38, scale)


def _time(value: object, arrow: pa.TimestampType[Any, Any], zone: str | None) -> int:
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime.combine(value, time())
    at = value if isinstance(value, datetime) else datetime.fromisoformat(_text(value))
    if arrow.tz is None and at.tzinfo is not None:  # the column holds the local times of the source's zone
        at = at.astimezone(UTC if zone is None else ZoneInfo(zone)).replace(tzinfo=None)
    at_us = to_us(at)
    if at_us % _UNITS_US[arrow.unit]:
        raise ValueError(value)
    return at_us


def _is_text(arrow: pa.DataType) -> bool:
    inner = arrow.value_type if isinstance(arrow, pa.DictionaryType) else arrow
    return pa.types.is_string(inner) or pa.types.is_large_string(inner)


def _item_type(arrow: pa.DataType) -> pa.DataType:
    if not isinstance(arrow, pa.ListType | pa.LargeListType):
        raise TypeError(arrow)
    return arrow.value_type
