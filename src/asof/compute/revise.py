"""Corrections: which version of an event is visible when.

A version is visible from its own known-at until the next version of the same key is known. `revise` finds
that end for every row, and which rows never count: deletes (they only end their predecessor) and deliveries
repeated without a change. Keys are compared exactly; a 64-bit hash only picks the few rows that need a look.
"""

# ruff: noqa: ANN001, ANN202
# pyright: reportMissingParameterType=false, reportUnknownParameterType=false, reportUnknownVariableType=false
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUntypedFunctionDecorator=false

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from asof.compute._jit import kernel
from asof.compute.arrays import Array, Bools, Ints
from asof.compute.arrow import encoded
from asof.compute.arrow_ops import ints, taken
from asof.define.window import END_US


@dataclass(frozen=True)
class EventKeys:
    """The event key of each row: a 64-bit hash, and the keys themselves where hashes can collide (None: they
    cannot).
    """

    hashes: Ints
    valid: Bools
    exact: pa.ChunkedArray | None = None


@kernel
def _repeated(hashes, valid, table, first, out):
    """Mark rows whose hash stands in more than one row; open addressing, `table` holds row + 1, 0 is free."""
    mask = table.size - 1
    for i in range(hashes.size):
        if not valid[i]:
            continue
        slot = (np.uint64(hashes[i]) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(20)
        place = np.int64(slot) & mask
        while table[place] != 0 and first[place] != hashes[i]:
            place = (place + 1) & mask
        if table[place] == 0:
            table[place] = i + 1
            first[place] = hashes[i]
        else:
            out[i] = True
            out[table[place] - 1] = True


def repeated(hashes: Ints, valid: Bools) -> Bools:
    """True for rows whose hash is that of another row too (rows that are not valid have none)."""
    out = np.zeros(hashes.size, np.bool_)
    size = 1 << max(4, int(2 * hashes.size - 1).bit_length()) if hashes.size else 16
    _repeated(hashes, valid, np.zeros(size, np.int64), np.zeros(size, np.int64), out)
    return out


def revise(
    keys: EventKeys, known: Ints, deleted: Bools | None, same_when: Iterable[Array]
) -> tuple[Ints, Bools]:
    """Until when each row is the visible version of its event, and which rows count at all.

    Shape: `(n,)` rows of one source in order of arrival -> `(n,)` instants in microseconds (END_US: for good)
    and `(n,)` flags.

    Args:
        keys: the rows' event keys.
        known: the rows' known-at times.
        deleted: rows that withdraw their event.
        same_when: arrays that are equal in two rows when the second changes nothing.
    """
    until = np.full(known.size, END_US, np.int64)
    counts = np.ones(known.size, np.bool_)
    rows = np.flatnonzero(repeated(keys.hashes, keys.valid))
    if rows.size:
        codes = _codes(keys, rows)
        order = np.lexsort((rows, known[rows], codes))
        rows, codes = rows[order], codes[order]
        again = np.zeros(rows.size, np.bool_)
        again[1:] = codes[1:] == codes[:-1]
        for values in (*same_when, *(() if deleted is None else (deleted,))):
            again[1:] &= values[rows[1:]] == values[rows[:-1]]
        counts[rows[again]] = False
        rows, codes = rows[~again], codes[~again]
        follows = codes[1:] == codes[:-1]
        until[rows[:-1][follows]] = known[rows[1:][follows]]
    if deleted is not None:
        counts &= ~deleted
    return until, counts


def _codes(keys: EventKeys, rows: Ints) -> Ints:
    if keys.exact is None:
        return keys.hashes[rows]
    return ints(encoded(taken(keys.exact, rows)).indices)
