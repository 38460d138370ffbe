"""Arrow columns from NumPy arrays, without a loop over rows.

The invariant: buffers are built from whole arrays, and equal input gives equal bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from asof.testing.bank.columns import I64, Mask
from asof.testing.bank.schema import INSTANT, MONEY


def money(cents: I64) -> pa.Array:
    """Decimals with two digits behind the point.

    Example:
        >>> money(np.array([1999, -5])).to_pylist()
        [Decimal('19.99'), Decimal('-0.05')]
    """
    words = np.empty((len(cents), 2), dtype="<i8")
    words[:, 0] = cents
    words[:, 1] = cents >> 63  # the sign, carried into the upper half of the 128 bits
    return pa.Array.from_buffers(MONEY, len(cents), [None, _buffer(words)])


def instants(t_us: I64) -> pa.Array:
    """UTC timestamps of microseconds.

    Example:
        >>> str(instants(np.array([0])).to_pylist()[0])
        '1970-01-01 00:00:00+00:00'
    """
    values = np.ascontiguousarray(t_us, dtype="<i8")
    return pa.Array.from_buffers(INSTANT, len(values), [None, _buffer(values)])


def dates(days: I64) -> pa.Array:
    """Dates of days since 1970-01-01.

    Example:
        >>> str(dates(np.array([19723])).to_pylist()[0])
        '2024-01-01'
    """
    values = np.ascontiguousarray(days, dtype="<i4")
    return pa.Array.from_buffers(pa.date32(), len(values), [None, _buffer(values)])


def ids(prefix: str, numbers: I64, width: int, *, valid: Mask | None = None) -> pa.Array:
    """Strings of a one-letter prefix and zero-padded digits; null where not valid.

    Example:
        >>> ids("a", np.array([7, 123]), 4).to_pylist()
        ['a0007', 'a0123']
    """
    count = len(numbers)
    text = np.empty((count, 1 + width), dtype=np.uint8)
    text[:, 0] = ord(prefix)
    left = np.where(valid, numbers, 0) if valid is not None else numbers
    for place in range(width, 0, -1):
        left, digit = np.divmod(left, 10)
        text[:, place] = digit + ord("0")
    offsets = np.arange(count + 1, dtype="<i4") * np.int32(1 + width)
    bits = _buffer(np.packbits(valid, bitorder="little")) if valid is not None else None
    return pa.Array.from_buffers(pa.string(), count, [bits, _buffer(offsets), _buffer(text)])


def words(choices: Sequence[str], index: I64) -> pa.Array:
    """The chosen words.

    Example:
        >>> words(["debit", "credit"], np.array([1, 0])).to_pylist()
        ['credit', 'debit']
    """
    return pa.array(choices, pa.string()).take(pa.array(index, pa.int64()))


def _buffer(values: NDArray[Any]) -> pa.Buffer:
    return pa.py_buffer(values.data)
