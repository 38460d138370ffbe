"""Records as columns again: the other half of `pack.py`, where the format is told.

Rows of many records become columns of cells, one after the other, in kernels. Nothing in a record is trusted: a size
that leads out of it makes `unpack` say so, and nothing is read beyond.
"""

# ruff: noqa: ANN001, ANN201, C901 - kernels are loops over arrays, written out
# pyright: reportMissingParameterType=false, reportUnknownParameterType=false, reportUnknownVariableType=false
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUntypedFunctionDecorator=false

from __future__ import annotations

import numpy as np

from asof.compute._jit import kernel
from asof.compute.pack import (
    ALL,
    BLOCK_HEADER,
    DESCRIPTOR,
    HAS_KEYS,
    HAS_KNOWN,
    HAS_UNTIL,
    RAW,
    RECORD_HEADER,
    SCALED,
    SOME,
    TILES,
)
from asof.define.window import END_US

EVENT, KNOWN, UNTIL, KEY_LOW, KEY_HIGH, TIMES = 0, 1, 2, 3, 4, 5
"""Rows of `cells`: times and keys, then the value columns from TIMES on."""
KEYED, VALUES = 0, 1
"""Rows of `marks`: has an event key; then the value columns' validity from VALUES on, then the predicates."""
VERSION = 1
STREAM = 1  # the bit of `parts` that says that a second block follows
GOOD, CORRUPT, NEWER = 0, 1, 2


@kernel
def number(data, pos, width):
    """The unsigned number in `width` bytes at a position."""
    v = np.uint64(0)
    for j in range(width):
        v |= np.uint64(data[pos + j]) << np.uint64(8 * j)
    return np.int64(v)


@kernel
def rows_of(data, start, stop):
    """How many rows a record has in all of its blocks, and what is wrong with it."""
    if stop - start < RECORD_HEADER + BLOCK_HEADER:
        return 0, CORRUPT
    if data[start] > VERSION:
        return 0, NEWER
    rows = 0
    pos = start + RECORD_HEADER
    blocks = 2 if data[start + 2] & STREAM else 1
    for _ in range(blocks):
        if pos + BLOCK_HEADER > stop:
            return 0, CORRUPT
        size = number(data, pos, 4)
        if size < BLOCK_HEADER or pos + size > stop:
            return 0, CORRUPT
        rows += number(data, pos + 4, 3)
        pos += size
    return rows, GOOD


@kernel
def unpack_numbers(data, pos, n, width, base, unit, out):
    """out[i] = base + unit * packed; a loop for each width, since that is where a read spends its time."""
    if width == 0:
        for i in range(n):
            out[i] = base
    elif width == 1:
        for i in range(n):
            out[i] = base + unit * np.int64(data[pos + i])
    elif width == 2:
        for i in range(n):
            p = pos + 2 * i
            out[i] = base + unit * (np.int64(data[p]) | np.int64(data[p + 1]) << 8)
    elif width == 3:
        for i in range(n):
            p = pos + 3 * i
            packed = np.int64(data[p]) | np.int64(data[p + 1]) << 8 | np.int64(data[p + 2]) << 16
            out[i] = base + unit * packed
    elif width == 4:
        for i in range(n):
            p = pos + 4 * i
            packed = np.int64(data[p]) | np.int64(data[p + 1]) << 8
            packed |= np.int64(data[p + 2]) << 16 | np.int64(data[p + 3]) << 24
            out[i] = base + unit * packed
    else:
        for i in range(n):
            out[i] = base + unit * number(data, pos + width * i, width)


@kernel
def unpack_bits(data, pos, n, out):
    """out[i] = bit i."""
    for i in range(n):
        out[i] = (data[pos + (i >> 3)] >> (i & 7)) & 1


@kernel
def unpack_column(data, descriptor, pos, stop, n, out, ok):
    """Reads one column; gives the position after its payload, -1 where that leads out of the record."""
    base = number(data, descriptor, 8)
    unit = number(data, descriptor + 8, 5)
    width = np.int64(data[descriptor + 13])
    validity = data[descriptor + 14]
    kind = np.int64(data[descriptor + 15])
    after = pos + n * width
    if width > 8 or after > stop:
        return -1
    if kind == RAW:
        base = 0
        unit = 1
    unpack_numbers(data, pos, n, width, base, unit, out)
    if kind >= SCALED:
        power = 10.0 ** (kind - SCALED)
        floats = out.view(np.float64)
        for i in range(n):
            floats[i] = np.float64(out[i]) / power
    if validity != SOME:
        ok[:n] = validity == ALL
        return after
    if after + ((n + 7) >> 3) > stop:
        return -1
    unpack_bits(data, after, n, ok)
    return after + ((n + 7) >> 3)


@kernel
def unpack_times(data, descriptor, pos, stop, n, flags, cells, marks, row):
    """Reads event, known-at, until and the event keys of a block into rows [row, row + n)."""
    ok = marks[KEYED, row : row + n]
    event = cells[EVENT, row : row + n]
    known = cells[KNOWN, row : row + n]
    until = cells[UNTIL, row : row + n]
    pos = unpack_column(data, descriptor, pos, stop, n, event, ok)
    descriptor += DESCRIPTOR
    if pos >= 0 and flags & HAS_KNOWN:
        pos = unpack_column(data, descriptor, pos, stop, n, known, ok)
        descriptor += DESCRIPTOR
        for i in range(n):
            known[i] += event[i]
    else:
        known[:] = event
    if pos >= 0 and flags & HAS_UNTIL:
        pos = unpack_column(data, descriptor, pos, stop, n, until, ok)
        descriptor += DESCRIPTOR
        for i in range(n):
            until[i] = known[i] + until[i] if ok[i] else END_US
    else:
        until[:] = END_US
    ok[:] = False
    if flags & HAS_KEYS:
        for half in (KEY_LOW, KEY_HIGH):
            if pos >= 0:
                pos = unpack_column(data, descriptor, pos, stop, n, cells[half, row : row + n], ok)
            descriptor += DESCRIPTOR
    return pos


@kernel
def skip_text(data, pos, stop):
    """The position after a dictionary, -1 where that leads out of the record."""
    if pos + 4 > stop:
        return -1
    count = number(data, pos, 4)
    ends = pos + 4 + 4 * count
    if ends > stop:
        return -1
    return ends + (number(data, ends - 4, 4) if count else 0)


@kernel
def unpack_block(data, pos, stop, columns, predicates, is_text, cells, marks, row, texts):
    """Reads a block into rows from `row` on; gives the rows that it has, -1 where the block is not what it must be.

    `texts[c]` becomes the position of column c's dictionary.
    """
    size = number(data, pos, 4)
    n = number(data, pos + 4, 3)
    flags = data[pos + 7]
    stop = min(stop, pos + size)
    times = 1 + (flags & HAS_KNOWN > 0) + (flags & HAS_UNTIL > 0) + 2 * (flags & HAS_KEYS > 0)
    modes = pos + BLOCK_HEADER + DESCRIPTOR * (times + columns)
    at = modes + ((predicates + 7) & ~7)
    if at > stop:
        return -1
    at = unpack_times(data, pos + BLOCK_HEADER, at, stop, n, flags, cells, marks, row)
    for c in range(columns):
        if at < 0:
            return -1
        if is_text[c]:
            texts[c] = at
            at = skip_text(data, at, stop)
            if at < 0:
                return -1
        place = pos + BLOCK_HEADER + DESCRIPTOR * (times + c)
        ok = marks[VALUES + c, row : row + n]
        at = unpack_column(data, place, at, stop, n, cells[TIMES + c, row : row + n], ok)
    if at < 0:
        return -1
    for p in range(predicates):
        bits = marks[VALUES + columns + p, row : row + n]
        if data[modes + p] != SOME:
            bits[:] = data[modes + p] == ALL
        else:
            if at + ((n + 7) >> 3) > stop:
                return -1
            unpack_bits(data, at, n, bits)
            at += (n + 7) >> 3
    return n


@kernel
def settle_order(cells, marks, start, middle, stop):
    """Puts rows [middle, stop) of the second block among those of the first, by (event time, known-at); stable."""
    for i in range(middle, stop):
        j = i
        while j > start and (
            cells[EVENT, j - 1] > cells[EVENT, j]
            or (cells[EVENT, j - 1] == cells[EVENT, j] and cells[KNOWN, j - 1] > cells[KNOWN, j])
        ):
            for c in range(cells.shape[0]):
                cells[c, j - 1], cells[c, j] = cells[c, j], cells[c, j - 1]
            for m in range(marks.shape[0]):
                marks[m, j - 1], marks[m, j] = marks[m, j], marks[m, j - 1]
            j -= 1


@kernel
def unpack_record(data, start, stop, columns, predicates, is_text, cells, marks, row, texts):
    """Reads a record into rows from `row` on; gives their number, -1 where it is corrupt.

    Rows of the stream part that the batch part holds by now (known before its watermark) are left out.
    """
    pos = start + RECORD_HEADER
    n = unpack_block(data, pos, stop, columns, predicates, is_text, cells, marks, row, texts[0])
    texts[1, :] = -1
    if n < 0 or not data[start + 2] & STREAM:
        return n
    watermark = number(data, start + 8, 8)
    pos += number(data, pos, 4)
    more = unpack_block(data, pos, stop, columns, predicates, is_text, cells, marks, row + n, texts[1])
    if more < 0:
        return -1
    for c in range(columns):
        if is_text[c]:  # places in the second dictionary stand behind those in the first
            cells[TIMES + c, row + n : row + n + more] += number(data, texts[0, c], 4)
    kept = row + n
    for i in range(row + n, row + n + more):
        if cells[KNOWN, i] >= watermark:
            for c in range(cells.shape[0]):
                cells[c, kept] = cells[c, i]
            for m in range(marks.shape[0]):
                marks[m, kept] = marks[m, i]
            kept += 1
    settle_order(cells, marks, row, row + n, kept)
    return kept - row


@kernel
def unpack_records(data, offsets, columns, predicates, is_text, cells, marks, starts, texts):
    """Reads the records `data[offsets[r]:offsets[r + 1]]` one after the other (an empty one has no rows).

    Shape: `cells` (TIMES + columns, rows), `marks` (VALUES + columns + predicates, rows), `starts` (r + 1,) the rows of
    each record, `texts` (r, 2, columns) the positions of dictionaries. Gives the number of the first record that is
    corrupt or of a newer format, -1 where all are good.
    """
    row = 0
    for r in range(offsets.size - 1):
        starts[r] = row
        if offsets[r + 1] == offsets[r]:
            continue
        n, wrong = rows_of(data, offsets[r], offsets[r + 1])
        if wrong != GOOD:
            return r
        n = unpack_record(
            data, offsets[r], offsets[r + 1], columns, predicates, is_text, cells, marks, row, texts[r]
        )
        if n < 0:
            return r
        row += n
    starts[offsets.size - 1] = row
    return -1


@kernel
def tiles_of(data, start, stop):
    """Where the block of a record's tiles begins and how many there are; (-1, 0) where it is not what it must be."""
    if stop - start < RECORD_HEADER + BLOCK_HEADER or data[start + 1] != TILES:
        return -1, 0
    pos = start + RECORD_HEADER
    for _ in range(2 if data[start + 2] & STREAM else 1):
        if pos + BLOCK_HEADER > stop:
            return -1, 0
        pos += number(data, pos, 4)
    if pos + BLOCK_HEADER > stop or pos + number(data, pos, 4) > stop:
        return -1, 0
    return pos, number(data, pos + 4, 3)


@kernel
def count_tiles(data, offsets):
    """The tiles of all records together."""
    total = 0
    for r in range(offsets.size - 1):
        if offsets[r + 1] > offsets[r]:
            total += tiles_of(data, offsets[r], offsets[r + 1])[1]
    return total


@kernel
def unpack_tiles(data, offsets, columns, cells, marks, starts):
    """Reads the tiles of records one after the other, as `unpack_records` reads their rows; gives the number of the
    first corrupt record, -1 where all are good.
    """
    row = 0
    no_text = np.zeros(columns, np.int64)
    texts = np.empty(columns, np.int64)
    for r in range(offsets.size - 1):
        starts[r] = row
        if offsets[r + 1] == offsets[r]:
            continue
        pos, _ = tiles_of(data, offsets[r], offsets[r + 1])
        if pos < 0:
            return r
        n = unpack_block(data, pos, offsets[r + 1], columns, 0, no_text, cells, marks, row, texts)
        if n < 0:
            return r
        row += n
    starts[offsets.size - 1] = row
    return -1


@kernel
def count_rows(data, offsets):
    """The rows of all records together, and of each record's kind of trouble the worst."""
    total = 0
    worst = GOOD
    for r in range(offsets.size - 1):
        if offsets[r + 1] > offsets[r]:
            n, wrong = rows_of(data, offsets[r], offsets[r + 1])
            total += n
            worst = max(worst, wrong)
    return total, worst
