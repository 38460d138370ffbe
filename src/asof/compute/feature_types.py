"""Which columns a function takes, and what type its values have: docs/reference/aggregations.md in code."""

from __future__ import annotations

from asof.compute.arrow import FLOAT64, INT64
from asof.define.aggregation import Feature
from asof.errors import WrongType
from asof.types import DType

_COUNTS = {"count", "distinct", "approx_distinct"}
_NUMBERS_IN = {"sum", "mean", "var", "std", "quantile", "decayed_sum"}


def sum_dtype(dtype: DType) -> DType:
    """The type of a sum: int64 of integers and booleans, decimal(38, scale) of decimals, float64 of floats."""
    if dtype.kind == "decimal":
        return DType("decimal", precision=38, scale=dtype.scale)
    return FLOAT64 if dtype.kind == "float64" else INT64


def feature_dtype(feature: Feature, column: DType | None) -> DType:
    """The type of a feature's values, given its column's type (None for `count()` and `ratio`).

    Raises:
        WrongType: the function is not defined for such a column; carries `feature` and `column`.

    Example:
        >>> from asof.define.aggregation import sum
        >>> feature = sum("amount").over("1d").features("view")[0]
        >>> str(feature_dtype(feature, DType.parse("decimal(12,2)")))
        'decimal(38,2)'
    """
    if column is not None and feature.function in _NUMBERS_IN and not column.is_numeric:
        raise WrongType(
            f"feature {feature.name!r}: {feature.function}({feature.column!r}) needs numbers, the column is {column}",
            hint="count, distinct, first, last and topk take any column",
            feature=feature.name,
            column=feature.column,
        )
    value = _value_dtype(feature, column)
    return DType("map", item=value) if feature.by is not None else value


def _value_dtype(feature: Feature, column: DType | None) -> DType:
    if column is None or feature.function in _COUNTS:
        return FLOAT64 if feature.function == "ratio" else INT64
    if feature.function == "sum":
        return sum_dtype(column)
    if feature.function in _NUMBERS_IN:
        return FLOAT64
    listed = feature.function == "topk" or "n" in dict(feature.params)
    return DType("list", item=column) if listed else column
