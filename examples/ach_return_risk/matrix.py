"""From a training set to the numbers that a model takes; every column is named here or refused.

Numbers go as they are, words and maps become one column for each value listed, the rest is left out by name.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from asof.errors import DataError
from asof.testing.bank import SEGMENTS

WORDS = {
    "sec_code": ("WEB", "PPD", "TEL", "CCD"),
    "tier": ("basic", "plus", "premium"),
    "segment": tuple(segment.name for segment in SEGMENTS),
}
MAPS = {"spent_sum_by_category_30d": ("cash", "electronics", "online", "travel")}
LEFT_OUT = {
    "payment_id", "transaction_id", "account_id", "merchant_id", "device_id",  # names, which do not repeat tomorrow
    "category", "direction", "status",  # the same for every debit
    "occurred_at", "last_income_at", "last_return_at", "device_first_seen",  # times: features measure from them
    "merchant_id_last_5",  # a list of names
    "returned",  # the label
}  # fmt: skip


@dataclass(frozen=True)
class Matrix:
    """Model inputs: `(n rows, k columns)` float64 with NaN for null, and the columns' names."""

    names: tuple[str, ...]
    values: NDArray[np.float64]


def matrix_of(table: pa.Table) -> Matrix:
    """The model inputs of a training set.

    Raises:
        DataError: a column that is no number and that this file does not mention.
    """
    columns: dict[str, pa.ChunkedArray] = {}
    for field in table.schema:
        column = table[field.name]
        if field.name in LEFT_OUT:
            continue
        if field.name in WORDS:
            columns |= {f"{field.name}_{word}": pc.equal(column, word) for word in WORDS[field.name]}
        elif field.name in MAPS:
            columns |= {f"{field.name}_{key}": _of_key(column, key) for key in MAPS[field.name]}
        elif _is_number(field.type):
            columns[field.name] = column
        else:
            raise DataError(
                f"column {field.name!r} is {field.type}, not a number that a model takes",
                hint="add it to WORDS, MAPS or LEFT_OUT in examples/ach_return_risk/matrix.py",
            )
    return Matrix(tuple(columns), np.column_stack([_floats(column) for column in columns.values()]))


def _is_number(dtype: pa.DataType) -> bool:
    tests = (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal, pa.types.is_boolean)
    return any(test(dtype) for test in tests)


def _of_key(maps: pa.ChunkedArray, key: str) -> pa.ChunkedArray:
    """The value of one key in each map, 0 where it has none."""
    found = pc.map_lookup(maps, key, "first")
    return pc.fill_null(pc.cast(found, pa.float64()), 0.0)


def _floats(column: pa.ChunkedArray) -> NDArray[np.float64]:
    return pc.cast(column, pa.float64()).to_numpy()
