"""The few moves between Arrow and NumPy that asof makes, typed in one place.

The published type stubs of PyArrow are narrower than the library (they refuse NumPy positions and Python
values), so the exceptions from strict typing stand here and nowhere else.
"""

from __future__ import annotations

from typing import Any, TypeVar, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from asof.compute.arrays import Array, Bools, Ints

Data = TypeVar("Data", pa.Array, pa.ChunkedArray, pa.RecordBatch, pa.Table)


def taken(data: Data, rows: Ints) -> Data:
    """The rows at these positions."""
    return cast("Any", data).take(pa.array(rows))


def kept(data: Data, mask: Bools) -> Data:
    """The rows where the mask is true."""
    return cast("Any", data).filter(pa.array(mask))


def filled(column: pa.Array | pa.ChunkedArray, null: float | bool) -> Array:
    """The values as a NumPy array, with `null` where the column is null."""
    whole: Any = pc.fill_null(cast("Any", column), null) if column.null_count else column
    if isinstance(whole, pa.ChunkedArray):
        return whole.to_numpy()
    return cast("Array", whole.to_numpy(zero_copy_only=False))


def ints(column: pa.Array | pa.ChunkedArray, null: int = 0) -> Ints:
    """The values as int64, with `null` where the column is null."""
    return filled(column, null).astype(np.int64, copy=False)


def valid_mask(column: pa.Array | pa.ChunkedArray) -> Bools:
    """True where a column is not null; a new array."""
    if column.null_count == 0:
        return np.ones(len(column), np.bool_)
    return filled(cast("Any", column).is_valid(), null=False).astype(np.bool_)


def places(column: pa.Array | pa.ChunkedArray, values: pa.Array) -> Ints:
    """For each row the place of its value among `values`, -1 where it is none of them or null."""
    return ints(cast("Any", pc.index_in(cast("Any", column), value_set=values)), -1)


def different(column: pa.ChunkedArray) -> pa.Array:
    """The different values of a column without null, in order of first appearance."""
    return cast("Any", pc.drop_null(column.unique()))


def buffer(values: Array) -> pa.Buffer:
    """An array's memory as an Arrow buffer."""
    return pa.py_buffer(cast("Any", np.ascontiguousarray(values)))


def words(data: pa.Buffer) -> Ints:
    """A buffer's memory as int64."""
    return np.frombuffer(cast("Any", data), np.int64)


def offsets_of(lengths: Ints) -> Any:
    """Arrow offsets of lists of these lengths."""
    offsets = np.zeros(lengths.size + 1, np.int32)
    np.cumsum(lengths, out=offsets[1:])
    return pa.array(offsets)


def signed(column: pa.Array) -> pa.Array:
    """64-bit numbers as int64 with the same bits; null where the column is null."""
    bits = np.ascontiguousarray(filled(column, 0)).view(np.int64)
    return pa.array(bits, mask=~valid_mask(column))
