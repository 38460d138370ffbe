"""Records taken apart into their blocks and put together again, without a look at the rows of blocks that stay.

A worker of a stream changes the stream block of a record and its table of applied offsets, a run of materialization the
batch block and the tiles; each keeps the bytes of what is the other's. The format is told in `pack.py`.
"""

# ruff: noqa: ANN001, ANN202, D417 - kernels are loops over arrays, written out
# pyright: reportMissingParameterType=false, reportUnknownParameterType=false, reportUnknownVariableType=false
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUntypedFunctionDecorator=false

from __future__ import annotations

import numpy as np

from asof.compute import pack
from asof.compute._jit import kernel
from asof.compute.arrays import EMPTY_INTS, Bools, Ints
from asof.compute.pack import BLOCK_HEADER, RECORD_HEADER, TILES, put, put_block
from asof.compute.record import Bytes, Layout, Packed, bad_record
from asof.compute.tiles import component_places
from asof.compute.unpack import STREAM, VERSION, number
from asof.define.window import BEGIN_US

WATERMARK, FLOOR, NEWEST, BATCH, STREAM_AT, TILES_AT, TABLE, END, ENTRIES, HEAD = 0, 1, 2, 3, 4, 5, 6, 7, 8, 9
"""Columns of `heads`: three times of a record's header; where its batch block, stream block, tiles and table begin
(each ends where the next one does), and where the record ends; the entries of the table.
"""
OFFSETS = 2  # the bit of `parts` that says that a table of applied offsets stands at the end
TAKEN, REPEATED, KNOWN_BEFORE = 0, 1, 2


@kernel
def _take_apart(data, offsets, watermark, heads):
    """Fills `heads`; gives the number of the first record that is not what it must be, or -1."""
    for r in range(offsets.size - 1):
        start, stop = offsets[r], offsets[r + 1]
        head = heads[r]
        head[WATERMARK] = watermark
        head[FLOOR] = BEGIN_US
        head[NEWEST] = BEGIN_US
        head[BATCH:] = start
        head[ENTRIES] = 0
        if stop == start:
            continue
        if stop - start < RECORD_HEADER + BLOCK_HEADER or data[start] > VERSION:
            return r
        for field in range(3):
            head[field] = number(data, start + 8 + 8 * field, 8)
        end = stop
        if data[start + 2] & OFFSETS:
            head[ENTRIES] = number(data, stop - 4, 4)
            end = stop - 4 - 16 * head[ENTRIES]
        pos = start + RECORD_HEADER
        head[BATCH] = pos
        for block in range(3):
            there = (
                block == 0
                or (block == 1 and data[start + 2] & STREAM)
                or (block == 2 and data[start + 1] == TILES)
            )
            if there:
                if pos + BLOCK_HEADER > end:
                    return r
                pos += number(data, pos, 4)
            head[STREAM_AT + block] = pos
        head[END] = stop
        if pos != end:
            return r
    return -1


@kernel
def _sift(data, heads, group, known, origin, offset, out):
    """What is new of rows that arrive: TAKEN, REPEATED (applied already) or KNOWN_BEFORE (the batch part has it)."""
    for i in range(group.size):
        out[i] = TAKEN
        if group[i] < 0:
            continue
        head = heads[group[i]]
        if known[i] < head[WATERMARK]:
            out[i] = KNOWN_BEFORE
        for k in range(head[ENTRIES]):
            at = head[TABLE] + 16 * k
            if number(data, at, 8) == origin[i] and offset[i] < number(data, at + 8, 8):
                out[i] = REPEATED


@kernel
def _put_table(out, pos, old, at, entries, origin, offset, rows, first, last):
    """Writes the table of a record: the old one and what rows[first:last] have applied; gives the position after."""
    begin = pos
    for b in range(16 * entries):
        out[pos + b] = old[at + b]
    n = entries
    for j in range(first, last):
        i = rows[j]
        place = n
        for k in range(n):
            seen = number(out, begin + 16 * k, 8)
            if seen >= origin[i]:
                place = k
                break
        if place == n or number(out, begin + 16 * place, 8) != origin[i]:
            for b in range(16 * (n - place) - 1, -1, -1):
                out[begin + 16 * place + 16 + b] = out[begin + 16 * place + b]
            put(out, begin + 16 * place, origin[i], 8)
            put(out, begin + 16 * place + 8, offset[i] + 1, 8)
            n += 1
        elif offset[i] >= number(out, begin + 16 * place + 8, 8):
            put(out, begin + 16 * place + 8, offset[i] + 1, 8)
    if n == 0:
        return begin
    put(out, begin + 16 * n, n, 4)
    return begin + 16 * n + 4


@kernel
def _copy(out, pos, data, start, stop):
    for b in range(stop - start):
        out[pos + b] = data[start + b]
    return pos + stop - start


@kernel
def _put_together(out, offsets, layout, times, batch, stream, tiles, table, arrived):
    """Writes each record of its blocks: batch, stream and tiles are (bytes, begins, ends); an empty batch block stands
    for a missing one, an empty stream block for none.
    """
    old, at, entries = table
    origin, offset, rows, firsts = arrived
    pos = 0
    for r in range(offsets.size - 1):
        offsets[r] = pos
        head = pos
        streamed = stream[2][r] > stream[1][r]
        pos = _copy(out, pos + RECORD_HEADER, batch[0], batch[1][r], batch[2][r])
        pos = _copy(out, pos, stream[0], stream[1][r], stream[2][r])
        pos = _copy(out, pos, tiles[0], tiles[1][r], tiles[2][r])
        end = _put_table(out, pos, old, at[r], entries[r], origin, offset, rows, firsts[r], firsts[r + 1])
        parts = (STREAM if streamed else 0) | (OFFSETS if end > pos else 0)
        put(out, head, VERSION | layout << 8 | parts << 16, 8)
        for field in range(3):
            put(out, head + 8 + 8 * field, times[r, field], 8)
        pos = end
    offsets[-1] = pos


def take_apart(data: Bytes, offsets: Ints, watermark_us: int = BEGIN_US) -> Ints:
    """Where the blocks of records are; an empty record is one with this watermark and no blocks.

    Shape: `(n + 1,)` offsets -> `(n, HEAD)`.

    Raises:
        DataError: a record is corrupt, or of a newer format.
    """
    heads = np.empty((offsets.size - 1, HEAD), np.int64)
    bad = _take_apart(data, offsets, watermark_us, heads)
    if bad >= 0:
        raise bad_record(data, offsets, bad)
    return heads


def sift(data: Bytes, heads: Ints, group: Ints, known: Ints, origin: Ints, offset: Ints) -> Ints:
    """For each row that arrives whether it is new to its record; see `TAKEN` and the others."""
    out = np.empty(group.size, np.int64)
    _sift(data, heads, group, known, origin, offset, out)
    return out


Blocks = tuple[Bytes, Ints, Ints]
"""Bytes, and where in them the block of each record begins and ends."""


def put_together(
    layout: Layout,
    times: Ints,
    batch: Blocks,
    stream: Blocks,
    tiles: Blocks,
    table: Blocks,
    arrived: tuple[Ints, ...],
) -> Packed:
    """Records of their blocks.

    Args:
        times: (n, 3) watermark, floor and newest event time.
        table: the tables of applied offsets so far: bytes, where they begin, and their numbers of entries.
        arrived: origin and offset of rows that are applied now, the rows in the order of their records, and where each
            record's begin in that order.
    """
    n = times.shape[0]
    _, _, rows, _ = arrived
    size = sum(int((each[2] - each[1]).sum()) for each in (batch, stream, tiles))
    size += n * (RECORD_HEADER + 4) + 16 * (int(table[2].sum()) + rows.size)
    out, offsets = np.empty(size + 8, np.uint8), np.zeros(n + 1, np.int64)
    tag = pack.ROWS if layout.tiles is None else pack.TILES
    _put_together(out, offsets, tag, times, batch, stream, tiles, table, arrived)
    return Packed(out[: offsets[-1]], offsets)


def nothing_arrived(n: int) -> tuple[Ints, ...]:
    """The `arrived` of `put_together` where nothing has."""
    return EMPTY_INTS, EMPTY_INTS, EMPTY_INTS, np.zeros(n + 1, np.int64)


def blocks_of(packed: Packed) -> Blocks:
    """The one block of each record of `packed`, empty where there is no record."""
    there = np.diff(packed.offsets) > 0
    return packed.data, packed.offsets[:-1] + RECORD_HEADER * there, packed.offsets[1:]


def or_empty(blocks: Blocks, empty: Bytes) -> Blocks:
    """The blocks, with a block without rows in the place of missing ones."""
    data, begins, ends = blocks
    missing = ends <= begins
    if not missing.any():
        return blocks
    at = data.size
    return (
        np.concatenate([data, empty]),
        np.where(missing, at, begins),
        np.where(missing, at + empty.size, ends),
    )


def empty_block(layout: Layout, *, tiles: bool = False) -> Bytes:
    """The bytes of a block that has no rows."""
    columns, predicates = len(layout.columns), len(layout.predicates)
    first = np.where(layout.is_text > 0, 0, -1)
    if tiles and layout.tiles is not None:
        columns, predicates = len(component_places(layout.tiles)), 0
        first = np.full(columns, -1)
    none: Bools = np.empty(0, np.bool_)
    out = np.zeros(
        BLOCK_HEADER + pack.DESCRIPTOR * (5 + columns) + 8 * (predicates + 1) + 8 * (columns + 1), np.uint8
    )
    times = (EMPTY_INTS, EMPTY_INTS, EMPTY_INTS, EMPTY_INTS, EMPTY_INTS, none)
    cells = (
        np.empty((columns, 0), np.int64), np.zeros(columns, np.bool_), np.empty((columns, 0), np.bool_),
    )  # fmt: skip
    texts = (first, np.zeros(2, np.int64), np.empty(0, np.uint8))
    keys = layout.keyed and not tiles
    end = put_block(
        out, 0, 0, 0, times, keys, cells, np.empty((predicates, 0), np.bool_), texts,
        np.empty((3, 1), np.int64), np.empty(1, np.bool_),
    )  # fmt: skip
    return out[:end]
