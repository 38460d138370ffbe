"""Answers as JSON values: rows of numbers, texts and nulls, as docs/reference/http-api.md says.

A decimal is a text, for a JSON number is a float to most readers; a time is ISO 8601 in UTC; a map is an object. What
a column needs is found once for the columns of a service (`layout_of`), because a request of one entity takes less time
than a look at fifty types.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, Generic, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from asof.clock import format_time, to_us
from asof.flows.answer import Answer
from asof.types import DType

Convert = Callable[[Any], Any]
Row = Sequence[Any]

_DAY_0 = date(1970, 1, 1)
_FIRST_US, _LAST_US = -62_135_596_800_000_000, 253_402_300_799_999_999  # the years 1 to 9999
_MOST_CACHED = 512
T = TypeVar("T")


class IdentityCache(Generic[T]):
    """What was made of an object, found again by the object itself and not by its value (fifty types take longer to
    hash than a store to read). Bounded: it forgets all when it is full.

    Example:
        >>> cache = IdentityCache(len)
        >>> names = ("a", "b")
        >>> cache(names), cache(names)
        (2, 2)
    """

    def __init__(self, make: Callable[[Any], T]) -> None:
        self._make = make
        self._made: dict[int, tuple[object, T]] = {}

    def __call__(self, key: object) -> T:
        """What is made of this very object."""
        found = self._made.get(id(key))
        if found is not None and found[0] is key:
            return found[1]
        if len(self._made) >= _MOST_CACHED:
            self._made.clear()
        made = self._make(key)
        self._made[id(key)] = key, made
        return made


@dataclass(frozen=True)
class Layout:
    """Where the float columns of a service are, and how the columns that are no plain numbers become JSON.

    `of_bits` take the column's int64; `of_values`, one for each column, take what Arrow makes of it.
    """

    floats: NDArray[np.bool_]
    float_places: tuple[int, ...]
    of_bits: tuple[tuple[int, Convert], ...]
    of_values: tuple[Convert | None, ...]


def make_layout(dtypes: tuple[DType, ...]) -> Layout:
    """The layout of columns of these types."""
    of_bits = [
        (place, _OF_BITS[dtype.kind](dtype)) for place, dtype in enumerate(dtypes) if dtype.kind in _OF_BITS
    ]
    floats = [each.kind == "float64" for each in dtypes]
    places = tuple(place for place, is_float in enumerate(floats) if is_float)
    return Layout(np.array(floats, bool), places, tuple(of_bits), tuple(map(from_value, dtypes)))


layout_of = IdentityCache(make_layout)


def rows(answer: Answer) -> list[list[Any]]:
    """One list for each entity, in the order of the names, None for null.

    Shape: `(n entities, f columns)`.
    """
    layout = layout_of(answer.dtypes)
    if answer.size == 1:
        return [_one_row(answer, layout)]
    made = np.empty(answer.values.shape, object)
    floats = layout.floats
    made[:, floats] = answer.values[:, floats].view(np.float64) if floats.any() else 0
    made[:, ~floats] = answer.values[:, ~floats]
    for place, convert in layout.of_bits:
        made[:, place] = [convert(each) for each in answer.values[:, place].tolist()]
    if not answer.valid.all():
        made[~answer.valid] = None
    for place in answer.others:
        _put(made, place, _column(answer, place, layout))
    return cast("list[list[Any]]", made.tolist())


def _put(made: NDArray[Any], place: int, column: list[Any]) -> None:
    """The column into the matrix, value by value: NumPy would take lists apart."""
    for row, value in enumerate(column):
        made[row, place] = value


def _one_row(answer: Answer, layout: Layout) -> list[Any]:
    """The same for one entity, without the calls of NumPy that let go of Python's lock: between them the server's own
    thread would take it, and taking it back costs more than all of this (docs/adr/0006-feature-server.md).
    """
    bits = answer.values[0]
    made: list[Any] = bits.tolist()
    if layout.float_places:
        floats: list[float] = bits.view(np.float64).tolist()
        for place in layout.float_places:
            made[place] = floats[place]
    for place, convert in layout.of_bits:
        made[place] = convert(made[place])
    valid = answer.valid.tobytes()
    place = valid.find(0)
    while place >= 0:
        made[place] = None
        place = valid.find(0, place + 1)
    for place in answer.others:
        made[place] = _column(answer, place, layout)[0]
    return made


def _column(answer: Answer, place: int, layout: Layout) -> list[Any]:
    """A column that stands in `others`: its bits say nothing, whatever its type is."""
    values = cast("list[Any]", answer.others[place].to_pylist())
    convert = layout.of_values[place]
    return values if convert is None else [None if value is None else convert(value) for value in values]


def from_value(dtype: DType) -> Convert | None:
    """How a Python value of the type becomes JSON, None where it is JSON as it is."""
    if dtype.kind == "map" and dtype.item is not None:
        inner = from_value(dtype.item) or _same
        return lambda pairs: {str(k): None if v is None else inner(v) for k, v in _pairs(pairs)}
    if dtype.kind == "list" and dtype.item is not None:
        item = from_value(dtype.item)
        return None if item is None else lambda values: [None if v is None else item(v) for v in values]
    return _OF_VALUES.get(dtype.kind)


def _pairs(found: Any) -> Any:
    return found.items() if isinstance(found, dict) else found


def _same(value: Any) -> Any:
    return value


def _time_text(value: datetime) -> str:
    return format_time(to_us(value))


def _of_decimal(dtype: DType) -> Convert:
    scale = dtype.scale
    return lambda bits: decimal_text(bits, scale)


def decimal_text(scaled: int, scale: int) -> str:
    """A scaled integer as the decimal that it is, exactly, with all its places.

    Example:
        >>> decimal_text(-1205, 2), decimal_text(7, 0), decimal_text(5, 3)
        ('-12.05', '7', '0.005')
    """
    if scale == 0:
        return str(scaled)
    whole, part = divmod(abs(scaled), 10**scale)
    return f"{'-' if scaled < 0 else ''}{whole}.{part:0{scale}d}"


def _of_time(_dtype: DType) -> Convert:
    return _bits_to_time


def _bits_to_time(bits: int) -> str | None:
    # What stands where a value is not valid may be no time at all; it is set to null afterwards.
    return format_time(bits) if _FIRST_US <= bits <= _LAST_US else None


def _of_date(_dtype: DType) -> Convert:
    return lambda bits: (_DAY_0 + timedelta(days=bits)).isoformat() if -719_162 <= bits <= 2_932_896 else None


def _of_bool(_dtype: DType) -> Convert:
    return bool


_OF_BITS: dict[str, Callable[[DType], Convert]] = {
    "decimal": _of_decimal, "timestamp": _of_time, "date": _of_date, "bool": _of_bool,
}  # fmt: skip
_OF_VALUES: dict[str, Convert] = {
    "decimal": lambda value: format(cast("Decimal", value), "f"),
    "timestamp": _time_text,
    "date": lambda value: cast("date", value).isoformat(),
}
