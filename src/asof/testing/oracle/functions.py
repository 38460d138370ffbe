"""What is made of the values in a window: one small function for each aggregation.

Every function takes the non-null values in canonical order (oldest first). Integers and decimals are added up exactly;
floats are added one after the other, from 0.0, in that order, so a result is defined to the last bit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any, cast

from asof.errors import NumericOverflow

INT64_MAX = 2**63 - 1
Values = Sequence[Any]


def total(values: Values) -> int | float | Decimal:
    """The sum: an int for ints and bools, a Decimal for decimals, a float for floats; 0 for nothing.

    Raises:
        NumericOverflow: an exact sum, as a scaled integer, does not fit 64 bits.
    """
    if values and isinstance(values[0], float):
        result = 0.0
        for value in values:
            result += value
        return result
    scale = scale_of(values)
    exact = sum(scaled(value, scale) for value in values)
    if not -INT64_MAX - 1 <= exact <= INT64_MAX:
        raise NumericOverflow("sum: does not fit 64 bits")
    return Decimal(exact).scaleb(-scale) if values and isinstance(values[0], Decimal) else exact


def mean(values: Values) -> float | None:
    """The mean as a float; for ints and decimals from the exact sum, which has to fit 64 bits as well."""
    if not values:
        return None
    exact = total(values)
    if isinstance(exact, float):
        return exact / len(values)
    scale = scale_of(values)
    return float(scaled(exact, scale)) / (float(len(values)) * 10.0**scale)


def variance(values: Values) -> float | None:
    """The sample variance in two passes over floats, None for fewer than two values."""
    if len(values) < 2:
        return None
    numbers = floats(values)
    center = cast("float", total(numbers)) / len(numbers)
    squares = 0.0
    for number in numbers:
        squares += (number - center) * (number - center)
    return squares / (len(numbers) - 1)


def deviation(values: Values) -> float | None:
    """The sample standard deviation, None for fewer than two values."""
    found = variance(values)
    return None if found is None else math.sqrt(found)


def quantile(values: Values, q: float) -> float | None:
    """The exact lower-rank q-quantile: number floor(q * (n - 1)) of the sorted values; a sketch comes near it."""
    ordered = sorted(floats(values))
    return ordered[math.floor(q * (len(ordered) - 1))] if ordered else None


def topk(values: Values, k: int) -> list[Any]:
    """The k most frequent values, most frequent first; at equal counts the smaller value first."""
    counts: dict[Any, int] = {}
    for value in values:
        counts[value] = counts.get(value, 0) + 1
    return sorted(counts, key=lambda value: (-counts[value], value))[:k]


def decayed_sum(values: Values, ages_us: Sequence[int], half_life_us: int) -> float:
    """The sum of value * 2^(-age / half_life), in canonical order."""
    result = 0.0
    for value, age_us in zip(floats(values), ages_us, strict=True):
        result += value * 2.0 ** (-age_us / half_life_us)
    return result


def ratio(numerator: object, denominator: object, empty: float | None) -> float | None:
    """One number divided by another; `empty` where either is null or the divisor is 0."""
    if numerator is None or denominator is None or denominator == 0:
        return empty
    above, below = floats([numerator])[0], floats([denominator])[0]
    return above / below


PLAIN: dict[str, Callable[[Values], object]] = {
    "count": len,
    "sum": total,
    "mean": mean,
    "min": lambda values: min(values, default=None),
    "max": lambda values: max(values, default=None),
    "var": variance,
    "std": deviation,
    "distinct": lambda values: len(set(values)),
    "approx_distinct": lambda values: len(set(values)),  # the exact number, which the sketch comes near
}


def floats(values: Values) -> list[float]:
    """The numbers as floats; a decimal is its scaled integer as a float, divided by 10^scale."""
    return [_as_float(value) for value in values]


def _as_float(value: object) -> float:
    if isinstance(value, Decimal):
        scale = scale_of([value])
        return float(scaled(value, scale)) / 10.0**scale
    return float(cast("float", value))


def scale_of(values: Values) -> int:
    """The number of decimals that all values have: 0 for integers."""
    exponents = [int(v.as_tuple().exponent) for v in values if isinstance(v, Decimal)]
    return max((-exponent for exponent in exponents), default=0)


def scaled(value: object, scale: int) -> int:
    """The value times 10^scale, exactly."""
    return int(value.scaleb(scale)) if isinstance(value, Decimal) else int(cast("int", value))
