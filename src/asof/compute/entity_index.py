"""Entity keys as dense integers: the entities that a spine asks for are numbered, and rows look their number
up.

Keys are compared exactly, never by hash. A null in any key column matches nothing.
"""

# ruff: noqa: ANN001, ANN201
# pyright: reportUnknownParameterType=false, reportMissingParameterType=false, reportUntypedFunctionDecorator=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from asof.compute._jit import kernel
from asof.compute.arrays import Ints
from asof.compute.arrow_ops import different, filled, ints, places

_LOOKUP_SPAN = 4_000_000  # integer keys within this span use a table instead of a hash


@kernel
def look_up(numbers, table, base, out):
    """out[i] = table[numbers[i] - base], or -1 outside of the table."""
    for i in range(numbers.size):
        place = np.int64(numbers[i]) - base
        out[i] = table[place] if 0 <= place < table.size else -1


class EntityIndex:
    """The different entities of a spine, numbered 0..size in order of first appearance of their parts.

    Example:
        >>> index = EntityIndex([pa.chunked_array([["b", "a", None, "b"]])])
        >>> index.size, index.codes([pa.array(["a", "c", None])]).tolist()
        (2, [1, -1, -1])
    """

    def __init__(self, keys: Sequence[pa.ChunkedArray]) -> None:
        self._parts = [_Part(column) for column in keys]
        self._steps: list[Ints] = []
        combined = self._parts[0].codes(keys[0])
        self.size = self._parts[0].size
        for part, column in zip(self._parts[1:], keys[1:], strict=True):
            pairs = _pair(combined, part.codes(column), part.size)
            uniques = np.unique(pairs)
            uniques = uniques[uniques >= 0]
            self._steps.append(uniques)
            combined = _rank(uniques, pairs)
            self.size = int(uniques.size)
        self.spine_codes: Ints = combined

    def codes(self, keys: Sequence[pa.Array]) -> Ints:
        """The number of each row's entity, or -1 where the spine does not ask for it."""
        combined = self._parts[0].codes(keys[0])
        for part, column, uniques in zip(self._parts[1:], keys[1:], self._steps, strict=True):
            combined = _rank(uniques, _pair(combined, part.codes(column), part.size))
        return combined


class _Part:
    """The different values of one key column."""

    def __init__(self, column: pa.ChunkedArray) -> None:
        self.values = different(column)
        self.size = len(self.values)
        self._table, self._base = _lookup_table(self.values)

    def codes(self, column: pa.Array | pa.ChunkedArray) -> Ints:
        if self._table is not None and column.null_count == 0:
            numbers, out = filled(column, 0), np.empty(len(column), np.int64)
            look_up(numbers, self._table, self._base, out)
            return out
        if column.type != self.values.type:
            column = column.cast(self.values.type)
        return places(column, self.values)


def _lookup_table(values: pa.Array) -> tuple[Ints | None, int]:
    if not pa.types.is_integer(values.type) or len(values) == 0:
        return None, 0
    numbers = ints(values)
    base, span = int(numbers.min()), int(numbers.max()) - int(numbers.min()) + 1
    if span > _LOOKUP_SPAN:
        return None, 0
    table = np.full(span, -1, np.int64)
    table[numbers - base] = np.arange(numbers.size)
    return table, base


def _pair(left: Ints, right: Ints, size: int) -> Ints:
    return np.where((left < 0) | (right < 0), -1, left * max(size, 1) + right)


def _rank(uniques: Ints, pairs: Ints) -> Ints:
    if uniques.size == 0:
        return np.full(pairs.size, -1, np.int64)
    place = np.minimum(np.searchsorted(uniques, pairs), uniques.size - 1)
    return np.where((uniques[place] == pairs) & (pairs >= 0), place, -1)
