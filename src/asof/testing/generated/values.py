"""Values for columns of any type: few and small, so that they meet, and the very ones that the SQL of definitions
speaks of.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import Any, cast

import pyarrow as pa

DAY_US = 86_400_000_000
BASE_US = 1_741_003_200_000_000  # Monday, 2025-03-03T12:00:00Z
_BASE_DAY = date(2025, 3, 3)
_TEXT = re.compile(r"'((?:[^']|'')*)'")
_NUMBER = re.compile(r"(?<![\w.])[0-9]{1,12}(?:\.[0-9]{1,6})?(?![\w.])")
_MOST_SCALED = 10**15  # far below 64 bits, so that sums of a few rows stay exact
_NOT_A_NUMBER = float("nan")


@dataclass(frozen=True)
class Words:
    """The literals of a definition's SQL: texts and numbers. `plain` leaves only texts that are numbers, for SQL
    that casts.
    """

    texts: tuple[str, ...] = ()
    numbers: tuple[Decimal, ...] = ()
    plain: bool = False

    @classmethod
    def of(cls, sql: Iterable[str]) -> Words:
        """The literals of some SQL.

        Example:
            >>> Words.of(["status = 'posted' and amount >= 99.5"]).texts
            ('posted',)
        """
        texts, numbers = dict[str, None](), dict[Decimal, None]()
        for each in sql:
            texts |= {text.replace("''", "'"): None for text in _TEXT.findall(each)}
            numbers |= {Decimal(text): None for text in _NUMBER.findall(_TEXT.sub(" ", each))}
        return cls(tuple(texts), tuple(numbers))


def pool(rng: random.Random, arrow: pa.DataType, words: Words, most: int = 8) -> list[object]:
    """At most so many values of a type, in its physical form (times in microseconds); none where asof has no
    such type.
    """
    found = list(dict.fromkeys(_all(arrow, words)))
    return found if len(found) <= most else rng.sample(found, most)


def column(values: Sequence[object], arrow: pa.DataType) -> pa.Array:
    """An Arrow column of values in physical form."""
    if isinstance(arrow, pa.DictionaryType):
        return column(values, arrow.value_type)
    if isinstance(arrow, pa.TimestampType):
        return pa.array(cast("Any", values), pa.int64()).cast(pa.timestamp("us", arrow.tz)).cast(arrow)
    return pa.array(cast("Any", values), arrow)


def time_unit_us(arrow: pa.DataType) -> int:
    """The finest step of a type of times, in microseconds."""
    if isinstance(arrow, pa.TimestampType):
        return {"s": 1_000_000, "ms": 1_000}.get(arrow.unit, 1)
    return DAY_US


def as_time(at_us: int, arrow: pa.DataType) -> object:
    """An instant in the physical form of a type of times, rounded down to its step."""
    rounded = at_us - at_us % time_unit_us(arrow)
    return date(1970, 1, 1) + timedelta(days=rounded // DAY_US) if pa.types.is_date(arrow) else rounded


def _all(arrow: pa.DataType, words: Words) -> Iterable[object]:  # noqa: PLR0911 - a return a kind
    if isinstance(arrow, pa.DictionaryType):
        return _all(arrow.value_type, words)
    if pa.types.is_boolean(arrow):
        return [True, False]
    if pa.types.is_string(arrow) or pa.types.is_large_string(arrow):
        return ["1", "2", "10", *words.texts] if words.plain else ["a", "b", "", "é", *words.texts]
    if pa.types.is_integer(arrow):
        return _whole(arrow, words)
    if isinstance(arrow, pa.Decimal128Type):
        return _decimals(arrow, words)
    if pa.types.is_floating(arrow):
        near = [float(number) for number in _near(words, Decimal("0.5"))]
        return [0.1, 0.2, 0.3, 0.0, -2.25, 1e16, _NOT_A_NUMBER, *near]
    if pa.types.is_date(arrow):
        return [_BASE_DAY + timedelta(days=days) for days in (-40, -1, 0, 1, 2)]
    if pa.types.is_timestamp(arrow):
        return [as_time(BASE_US + us, arrow) for us in (-40 * DAY_US, -DAY_US, -1, 0, 1, 3_600_000_000)]
    return []


def _near(words: Words, step: Decimal) -> list[Decimal]:
    return [number + change for number in words.numbers for change in (-step, Decimal(0), step)]


def _whole(arrow: pa.DataType, words: Words) -> Iterable[object]:
    bits = cast("Any", arrow).bit_width - (0 if pa.types.is_unsigned_integer(arrow) else 1)
    low = 0 if pa.types.is_unsigned_integer(arrow) else -(2**bits)
    near = [int(number) for number in _near(words, Decimal(1))]
    return [number for number in (0, 1, 2, -1, 7, 100, *near) if low <= number < 2 ** min(bits, 40)]


def _decimals(arrow: pa.Decimal128Type[Any, Any], words: Words) -> Iterable[object]:
    unit = Decimal(1).scaleb(-arrow.scale)
    most = min(10**arrow.precision, _MOST_SCALED) * unit
    numbers = [Decimal(0), unit, -unit, Decimal("19.99"), Decimal(-250), *_near(words, unit)]
    return [number.quantize(unit) for number in numbers if abs(number) < most]
