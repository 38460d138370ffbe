"""Blocks of rows as bytes: what a record holds of one entity's events, column by column.

A block is written here and read in `unpack.py`; both are kernels, so that neither loops in Python over values.

    record   format u8, layout u8 (0 rows, 1 tiles), parts u8 (bit 0: a stream part, bit 1: offsets), zeros; watermark,
             floor and newest event time as i64; the block of the batch part, of the stream part, of the tiles;
             how far each stream partition has been applied (`online/codec.py`)
    block    size u32, rows u24, flags u8; a descriptor for each column; a validity byte for each predicate, padded to
             8; and the payloads in the same order
    columns  event time; known-at less event time (if any differs); until when visible, less known-at (if any is
             superseded); the two halves of the event key (if kept); then the value columns
    column   descriptor: base i64, unit u40, width u8 (bytes of a value, 0 to 8), validity u8 (0 all, 1 none, 2 some:
             a bitmap), kind u8; payload: rows * width bytes, then the bitmap
    kind     0: value = base + unit * packed.  1: float64 bits.  2 + k: float64(base + unit * packed) / 10^k
    text     values are places in a dictionary that stands before them: u32 count, u32 ends, UTF-8

Frame of reference with a common unit packs times of whole seconds and amounts of whole cents into 2 to 4 bytes; floats
are stored as scaled integers only where that gives back the very bits. Everything is little-endian.
"""

# ruff: noqa: ANN001, ANN201, C901, FBT003 - kernels are loops over arrays, written out
# pyright: reportMissingParameterType=false, reportUnknownParameterType=false, reportUnknownVariableType=false
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUntypedFunctionDecorator=false

from __future__ import annotations

import numpy as np

from asof.compute._jit import kernel
from asof.define.window import END_US

RECORD_HEADER = 32
BLOCK_HEADER = 8
DESCRIPTOR = 16
HAS_KNOWN, HAS_UNTIL, HAS_KEYS = 1, 2, 4
MAX_ROWS = 2**24 - 1
ALL, NONE, SOME = 0, 1, 2
ROWS, TILES = 0, 1
RAW, SCALED = 1, 2
MOST_DIGITS = 4
_EXACT = float(2**53)
_MAX_UNIT = 2**39


@kernel
def put(out, pos, value, width):
    """Writes the low `width` bytes of a value."""
    v = np.uint64(value)
    for j in range(width):
        out[pos + j] = np.uint8((v >> np.uint64(8 * j)) & np.uint64(255))


@kernel
def width_of(span):
    """How many bytes hold 0..span."""
    width = 0
    left = np.uint64(span)
    while left != np.uint64(0):
        left = left >> np.uint64(8)
        width += 1
    return width


@kernel
def digits_of(values, valid, start, stop):
    """The fewest decimal digits that give back every valid float's bits when they are stored as an integer over a
    power of ten; -1 where none does.
    """
    digits = 0
    power = 1.0
    for i in range(start, stop):
        if not valid[i]:
            continue
        v = values[i]
        if not abs(v) < 1e15:
            return -1
        q = np.rint(v * power)
        while q / power != v or not abs(q) < _EXACT:
            digits += 1
            power *= 10.0
            if digits > MOST_DIGITS:
                return -1
            q = np.rint(v * power)
    return digits


@kernel
def frame(ints, valid, start, stop):
    """(base, unit, width) of the valid values: all of them are base + unit * packed, packed in `width` bytes."""
    low = np.int64(0)
    high = np.int64(0)
    has = False
    for i in range(start, stop):
        if valid[i]:
            v = ints[i]
            if not has:
                low = v
                high = v
                has = True
            elif v < low:
                low = v
            elif v > high:
                high = v
    if low == high:
        return low, np.int64(1), 0
    span = np.uint64(high) - np.uint64(low)
    unit = np.uint64(0)
    for i in range(start, stop):
        if valid[i] and unit != np.uint64(1):
            apart = np.uint64(ints[i]) - np.uint64(low)
            while apart != np.uint64(0):
                if unit == np.uint64(0):
                    unit = apart
                    break
                rest = unit % apart if apart < unit else apart % unit
                if rest == np.uint64(0):
                    unit = min(unit, apart)
                    break
                unit, apart = min(unit, apart), rest
    if unit > np.uint64(_MAX_UNIT):
        unit = np.uint64(1)
    return low, np.int64(unit), width_of(span // unit)


@kernel
def put_bits(out, pos, bits, start, stop):
    """Writes a bitmap; gives the position after it."""
    size = (stop - start + 7) >> 3
    for j in range(size):
        out[pos + j] = 0
    for i in range(start, stop):
        if bits[i]:
            k = i - start
            out[pos + (k >> 3)] |= np.uint8(1 << (k & 7))
    return pos + size


@kernel
def mode_of(bits, start, stop):
    """ALL, NONE or SOME of the bits are set (ALL of none)."""
    n = 0
    for i in range(start, stop):
        n += bits[i]
    if n == stop - start:
        return ALL
    return NONE if n == 0 else SOME


@kernel
def put_column(out, descriptor, pos, values, is_float, valid, start, stop, scratch):
    """Writes one column's descriptor and payload; gives the position after it. Floats come as their bits."""
    validity = mode_of(valid, start, stop)
    kind = 0
    base = np.int64(0)
    unit = np.int64(1)
    width = 0
    if validity != NONE:
        if is_float:
            floats = values.view(np.float64)
            digits = digits_of(floats, valid, start, stop)
            kind = RAW if digits < 0 else SCALED + digits
            width = 8
            power = 10.0**digits
            for i in range(start, stop):
                if not valid[i]:
                    scratch[i - start] = 0
                else:
                    scratch[i - start] = values[i] if digits < 0 else np.int64(np.rint(floats[i] * power))
        else:
            scratch[: stop - start] = values[start:stop]
        if kind != RAW:
            base, unit, width = frame(scratch, valid[start:stop], 0, stop - start)
    put(out, descriptor, base, 8)
    put(out, descriptor + 8, unit, 5)
    out[descriptor + 13] = width
    out[descriptor + 14] = validity
    out[descriptor + 15] = kind
    if width:
        for i in range(stop - start):
            packed = np.uint64(0)
            if valid[start + i]:
                packed = (np.uint64(scratch[i]) - np.uint64(base)) // np.uint64(unit)
            put(out, pos, packed, width)
            pos += width
    if validity == SOME:
        pos = put_bits(out, pos, valid, start, stop)
    return pos


@kernel
def put_text(out, pos, codes, valid, start, stop, text, offsets, first, local):
    """Writes the dictionary of the codes that occur, and turns them into places in it (`local`); gives the position
    after it. Code c of this column is `text[offsets[first + c]:offsets[first + c + 1]]`.
    """
    n = 0
    for i in range(start, stop):
        if valid[i]:
            local[n] = codes[i]
            n += 1
    different = np.unique(local[:n])
    put(out, pos, different.size, 4)
    begin = pos + 4 + 4 * different.size
    at = begin
    for j in range(different.size):
        for k in range(offsets[first + different[j]], offsets[first + different[j] + 1]):
            out[at] = text[k]
            at += 1
        put(out, pos + 4 + 4 * j, at - begin, 4)
    for i in range(start, stop):
        local[i - start] = np.searchsorted(different, codes[i]) if valid[i] else 0
    return at


@kernel
def put_times(out, descriptor, at, flags, times, start, stop, row, plain, scratch):
    """Writes the columns that say when a row counts; gives the positions of the next descriptor and payload."""
    event, known, until, key_low, key_high, keyed = times
    n = stop - start
    for part in range(5):
        plain[:n] = True
        if part == 0:
            row[:n] = event[start:stop]
        elif part == 1:
            if not flags & HAS_KNOWN:
                continue
            for i in range(n):
                row[i] = known[start + i] - event[start + i]
        elif part == 2:
            if not flags & HAS_UNTIL:
                continue
            for i in range(n):
                plain[i] = until[start + i] != END_US
                row[i] = until[start + i] - known[start + i]
        else:
            if not flags & HAS_KEYS:
                continue
            plain[:n] = keyed[start:stop]
            row[:n] = key_low[start:stop] if part == 3 else key_high[start:stop]
        at = put_column(out, descriptor, at, row, False, plain, 0, n, scratch)
        descriptor += DESCRIPTOR
    return descriptor, at


@kernel
def flags_of(times, start, stop, keys):
    """Which of the columns in `put_times` a block needs."""
    event, known, until, _, _, _ = times
    flags = HAS_KEYS if keys else 0
    for i in range(start, stop):
        if known[i] != event[i]:
            flags |= HAS_KNOWN
        if until.size and until[i] != END_US:
            flags |= HAS_UNTIL
    return flags


@kernel
def put_block(out, pos, start, stop, times, keys, columns, predicates, texts, spare, plain):
    """Writes the rows [start, stop) of one entity as a block; gives the position after it.

    times       (event, known, until or empty, key_low, key_high, keyed); `keys`: the event keys are kept
    columns     (values (c, n) int64: numbers, codes, or bits of floats; is_float (c,), valid (c, n))
    predicates  (p, n) bool
    texts       (first (c,): where a column's dictionary begins in `offsets` or -1, offsets, text)
    spare       (3, longest) int64; `plain` (longest,) bool
    """
    values, is_float, valid = columns
    first, offsets, text = texts
    flags = flags_of(times, start, stop, keys)
    n = stop - start
    put(out, pos + 4, n | flags << 24, 4)
    count = (
        1 + (flags & HAS_KNOWN > 0) + (flags & HAS_UNTIL > 0) + 2 * (flags & HAS_KEYS > 0) + values.shape[0]
    )
    modes = pos + BLOCK_HEADER + DESCRIPTOR * count
    at = modes + ((predicates.shape[0] + 7) & ~7)
    out[modes:at] = 0
    descriptor, at = put_times(
        out, pos + BLOCK_HEADER, at, flags, times, start, stop, spare[0], plain, spare[2]
    )
    for c in range(values.shape[0]):
        if first[c] >= 0:
            at = put_text(out, at, values[c], valid[c], start, stop, text, offsets, first[c], spare[0])
            at = put_column(out, descriptor, at, spare[0], False, valid[c, start:stop], 0, n, spare[2])
        else:
            at = put_column(out, descriptor, at, values[c], is_float[c], valid[c], start, stop, spare[2])
        descriptor += DESCRIPTOR
    for p in range(predicates.shape[0]):
        out[modes + p] = mode_of(predicates[p], start, stop)
        if out[modes + p] == SOME:
            at = put_bits(out, at, predicates[p], start, stop)
    put(out, pos, at - pos, 4)
    return at


@kernel
def put_records(
    out,
    offsets,
    starts,
    g0,
    g1,
    heads,
    newest,
    times,
    keys,
    columns,
    predicates,
    texts,
    tile_starts,
    tile_times,
    tile_columns,
):
    """Writes one record for each group g0..g1 that has rows or tiles; `offsets[g]` to `offsets[g + 1]` are its bytes.

    heads    (version, layout, parts, watermark, floor); `newest` the newest event time of each group
    tile_... the second block of the layout TILES: its rows are tiles, its event times their starts
    """
    tiled = heads[1] == TILES
    longest = 1
    for g in range(g0, g1):
        longest = max(longest, starts[g + 1] - starts[g])
        if tiled:
            longest = max(longest, tile_starts[g + 1] - tile_starts[g])
    spare = np.empty((3, longest), np.int64)
    plain = np.empty(longest, np.bool_)
    nothing = (np.full(tile_columns[0].shape[0], -1), texts[1][:0], texts[2][:0])
    pos = offsets[g0]
    for g in range(g0, g1):
        offsets[g] = pos
        if starts[g + 1] == starts[g] and (not tiled or tile_starts[g + 1] == tile_starts[g]):
            continue
        put_header(out, pos, heads, newest[g])
        pos = put_block(
            out,
            pos + RECORD_HEADER,
            starts[g],
            starts[g + 1],
            times,
            keys,
            columns,
            predicates,
            texts,
            spare,
            plain,
        )
        if tiled:
            pos = put_block(
                out,
                pos,
                tile_starts[g],
                tile_starts[g + 1],
                tile_times,
                False,
                tile_columns,
                predicates[:0],
                nothing,
                spare,
                plain,
            )
    offsets[g1] = pos


@kernel
def put_header(out, pos, heads, newest):
    """Writes a record's header: version u8, layout u8, parts u8, zero; zero u32; watermark, floor, newest event i64."""
    version, layout, parts, watermark, floor = heads
    put(out, pos, version | layout << 8 | parts << 16, 8)
    put(out, pos + 8, watermark, 8)
    put(out, pos + 16, floor, 8)
    put(out, pos + 24, newest, 8)
