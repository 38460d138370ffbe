"""Arrow's side of the type table, and the move of a column between Arrow and NumPy.

Physical form of a column in compute: numbers as int64 or float64 (decimals as scaled integers, dates as days,
times as microseconds, booleans as 0 and 1), everything else as int64 codes into a sorted dictionary. Null and
NaN are one thing: not valid.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from asof.compute.arrays import Array, Bools, Ints
from asof.compute.arrow_ops import buffer, filled, ints, taken, valid_mask, words
from asof.errors import NumericOverflow, WrongType
from asof.types import MAX_DECIMAL_DIGITS, DType

INT64 = DType("int64")
FLOAT64 = DType("float64")
BOOL = DType("bool")

_TO_ARROW: dict[str, pa.DataType] = {
    "bool": pa.bool_(),
    "int32": pa.int32(),
    "int64": pa.int64(),
    "float64": pa.float64(),
    "string": pa.string(),
    "timestamp": pa.timestamp("us", "UTC"),
    "date": pa.date32(),
}


def arrow_type(dtype: DType) -> pa.DataType:
    """The Arrow type of a DType."""
    if dtype.kind == "decimal":
        return pa.decimal128(dtype.precision, dtype.scale)
    if dtype.kind == "list":
        return pa.list_(arrow_type(cast("DType", dtype.item)))
    if dtype.kind == "map":
        return pa.map_(pa.string(), arrow_type(cast("DType", dtype.item)))
    return _TO_ARROW[dtype.kind]


def find_dtype(arrow: pa.DataType) -> DType | None:  # noqa: PLR0911 - one return for each kind
    """The DType that holds values of an Arrow type, or None where asof has no such type."""
    if pa.types.is_boolean(arrow):
        return BOOL
    if pa.types.is_integer(arrow):
        small = arrow in {pa.int8(), pa.int16(), pa.int32(), pa.uint8(), pa.uint16()}
        return DType("int32") if small else INT64
    if pa.types.is_floating(arrow):
        return FLOAT64
    if pa.types.is_decimal(arrow):
        return DType("decimal", precision=arrow.precision, scale=arrow.scale)
    if pa.types.is_timestamp(arrow):
        return DType("timestamp")
    if pa.types.is_date(arrow):
        return DType("date")
    if pa.types.is_string(arrow) or pa.types.is_large_string(arrow) or pa.types.is_string_view(arrow):
        return DType("string")
    if pa.types.is_dictionary(arrow):
        return find_dtype(arrow.value_type)
    return None


def known_dtype(name: str, arrow: pa.DataType) -> DType:
    """The DType of a column.

    Raises:
        WrongType: asof has no such type.
    """
    dtype = find_dtype(arrow)
    if dtype is None:
        raise WrongType(f"column {name!r} has type {arrow}, which no feature can use", column=name)
    return dtype


def common_type(name: str, types: Sequence[pa.DataType]) -> pa.DataType:
    """The type that holds a column's values of several sources: the widest integer, decimal or float, else the one.

    Raises:
        WrongType: there is none, as for text and numbers.
    """
    different = list(dict.fromkeys(t for t in types if not pa.types.is_null(t)))
    if len(different) < 2:
        return different[0] if different else pa.null()
    dtypes = [known_dtype(name, arrow) for arrow in different]
    kinds = {dtype.kind for dtype in dtypes}
    if kinds <= {"int32", "int64", "decimal", "float64"}:
        if "float64" in kinds:
            return pa.float64()
        if "decimal" in kinds:
            return pa.decimal128(38, max(dtype.scale for dtype in dtypes))
        return pa.int64()
    if len(kinds) == 1:
        return arrow_type(dtypes[0])
    seen = ", ".join(str(arrow) for arrow in different)
    raise WrongType(f"column {name!r} has no type for all sources of its union: {seen}", column=name)


def unified(name: str, chunks: Sequence[pa.Array]) -> pa.ChunkedArray:
    """Chunks of several sources as one column of their common type.

    Raises:
        WrongType: they have none. NumericOverflow: a value does not fit it.
    """
    wanted = common_type(name, [chunk.type for chunk in chunks])
    try:
        made: list[Any] = [c if c.type == wanted else c.cast(wanted) for c in chunks]
        return pa.chunked_array(made, cast("Any", wanted))
    except pa.ArrowInvalid as exc:
        raise NumericOverflow(f"column {name!r}: a value does not fit {wanted}", column=name) from exc


@dataclass(frozen=True)
class Column:
    """One column in compute's physical form: values, which of them are valid, and the dictionary behind
    codes.
    """

    dtype: DType
    values: Array
    valid: Bools
    dictionary: pa.Array | None = None

    def __len__(self) -> int:
        return int(self.values.size)

    @property
    def numbers(self) -> Array:
        """The values as numbers that NumPy divides as floats (decimals divided by their scale)."""
        return self.floats if self.dtype.kind == "decimal" else self.values

    @property
    def floats(self) -> Array:
        """The values as float64 (decimals divided by their scale)."""
        if self.dtype.kind == "decimal":
            return self.values.astype(np.float64) / 10.0**self.dtype.scale
        return self.values.astype(np.float64, copy=False)

    def coded(self) -> Column:
        """The same column as codes into a sorted dictionary of its different values."""
        if self.dictionary is not None:
            return self
        plain = pa.array(self.values)
        uniques, codes = _sorted_codes(pa.chunked_array([plain]))
        return replace(self, values=codes, dictionary=physical_to_arrow(self.dtype, uniques.to_numpy()))


def _sorted_codes(column: pa.ChunkedArray) -> tuple[pa.Array, Ints]:
    whole = encoded(column)
    order = ints(pc.sort_indices(whole.dictionary))
    rank = np.empty(order.size + 1, np.int64)
    rank[order] = np.arange(order.size)
    rank[-1] = 0  # null
    return taken(cast("pa.Array", whole.dictionary), order), rank[ints(whole.indices, order.size)]


def encoded(column: pa.ChunkedArray) -> pa.DictionaryArray:
    """A column as codes into one dictionary of its different values."""
    whole: Any = column.dictionary_encode()
    if isinstance(whole, pa.ChunkedArray):
        whole = whole.unify_dictionaries().combine_chunks()
    return whole


def to_column(name: str, data: pa.ChunkedArray | pa.Array) -> Column:
    """An Arrow column in physical form.

    Raises:
        WrongType: asof has no such type.
        NumericOverflow: a decimal with more than 18 digits.
    """
    column = data if isinstance(data, pa.ChunkedArray) else pa.chunked_array([data])
    dtype = known_dtype(name, column.type)
    valid = valid_mask(column)
    if dtype.kind == "string":
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        dictionary, codes = _sorted_codes(column)
        return Column(dtype, codes, valid, dictionary)
    values = _numbers(name, column, dtype)
    if dtype.kind == "float64":
        valid &= ~np.isnan(values)
        values = np.where(valid, values + 0.0, 0.0)  # + 0.0 makes -0.0 and 0.0 one value
    if dtype.kind == "decimal":
        dtype = DType("decimal", precision=min(dtype.precision, MAX_DECIMAL_DIGITS), scale=dtype.scale)
    return Column(dtype, values, valid)


def _numbers(name: str, column: pa.ChunkedArray, dtype: DType) -> Array:
    if dtype.kind == "decimal":
        return _scaled(name, column)
    if dtype.kind == "timestamp":
        return micros(column)
    if dtype.kind == "date":
        return ints(column.cast(pa.date32()).cast(pa.int32()))
    if dtype.kind == "float64":
        return filled(column, 0.0).astype(np.float64, copy=False)
    if pa.types.is_uint64(column.type):
        try:
            column = column.cast(pa.int64())
        except pa.ArrowInvalid as exc:
            raise NumericOverflow(
                f"column {name!r}: an unsigned value does not fit int64", column=name
            ) from exc
    return filled(column, null=False).astype(np.int64) if dtype.kind == "bool" else ints(column)


def micros(column: pa.ChunkedArray) -> Ints:
    """Timestamps as microseconds, nanoseconds rounded down; 0 where null."""
    if column.type.unit == "ns":
        return ints(column.cast(pa.int64())) // 1000
    return ints(column.cast(pa.timestamp("us", column.type.tz)).cast(pa.int64()))


def _scaled(name: str, column: pa.ChunkedArray) -> Ints:
    """Decimals as int64: the low word of each 128-bit value, when the high word is only its sign."""
    wide = column.cast(pa.decimal128(38, column.type.scale))
    parts: list[Ints] = []
    for chunk in wide.chunks:
        pairs = words(cast("pa.Buffer", chunk.buffers()[1]))
        pairs = pairs[2 * chunk.offset : 2 * (chunk.offset + len(chunk))].reshape(-1, 2)
        low, high = pairs[:, 0], pairs[:, 1]
        bad = high != (low >> 63)
        if chunk.null_count:
            ok = chunk.is_valid().to_numpy(zero_copy_only=False)
            low, bad = np.where(ok, low, 0), bad & ok
        if bad.any():
            raise NumericOverflow(
                f"column {name!r}: a decimal does not fit {MAX_DECIMAL_DIGITS} digits",
                hint="cast it to a smaller scale in the source's columns",
                column=name,
            )
        parts.append(low)
    return np.concatenate(parts) if parts else np.empty(0, np.int64)


def cast_numbers(column: Any, wanted: pa.DataType) -> Any:
    """A column in another type, decimals as the nearest floats (which Arrow's own cast does not give).

    Example:
        >>> from decimal import Decimal
        >>> cast_numbers(pa.array([Decimal("123.41"), None]), pa.float64()).to_pylist()
        [123.41, None]
    """
    if not (pa.types.is_decimal(column.type) and pa.types.is_float64(wanted)):
        return column.cast(wanted)
    try:
        made = to_column("numbers", column)
    except NumericOverflow:  # more digits than fit 64 bits
        return pa.array([None if value is None else float(value) for value in column.to_pylist()], wanted)
    return pa.array(made.floats, mask=~made.valid)


def decimals(values: Ints, valid: Bools, dtype: DType) -> pa.Array:
    """Scaled int64 values as an Arrow decimal array."""
    pairs = np.empty((values.size, 2), np.int64)
    pairs[:, 0] = values
    pairs[:, 1] = values >> 63
    nulls = _bitmap(valid)
    return cast("pa.Array", pa.Array.from_buffers(arrow_type(dtype), values.size, [nulls, buffer(pairs)]))


def _bitmap(valid: Bools) -> pa.Buffer | None:
    return None if valid.all() else buffer(np.packbits(valid, bitorder="little"))


def physical_to_arrow(
    dtype: DType, values: Array, valid: Bools | None = None, dictionary: pa.Array | None = None
) -> pa.Array:
    """Physical values as an Arrow array of the DType; null where not valid."""
    ok = np.ones(values.size, np.bool_) if valid is None else valid
    if dictionary is not None:
        picked: Any = pa.array(np.where(ok, values, 0), mask=~ok)
        return dictionary.take(picked).cast(arrow_type(dtype))
    if dtype.kind == "decimal":
        return decimals(values.astype(np.int64, copy=False), ok, dtype)
    if dtype.kind == "bool":
        return pa.array(values.astype(np.bool_), mask=~ok)
    if dtype.kind == "date":
        return pa.array(values.astype(np.int32), mask=~ok).cast(pa.date32())
    if dtype.kind == "timestamp":
        return pa.array(values.astype(np.int64), mask=~ok).cast(arrow_type(dtype))
    return pa.array(values, mask=~ok).cast(arrow_type(dtype))
