"""Records that change: rows of a stream that arrive, and batch parts that are made anew beside the stream's.

A record's batch part holds the rows known before its watermark, its stream part those known from then on. Applying a
row twice changes nothing: a record remembers how far each origin (a partition of a stream) has been applied to it, and
what its batch part holds by now is left out. Where events are revised, versions of both parts are put in order together
by the very rule of training (`revise.py`); else the bytes of the part that stays are kept as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from asof.compute.arrays import Bools, Ints
from asof.compute.arrow import physical_to_arrow
from asof.compute.arrow_ops import ints, taken, valid_mask
from asof.compute.history import History, Part
from asof.compute.record import KEY_HIGH, KEY_LOW, Bytes, Layout, Packed, join, pack_history, unpack_history
from asof.compute.retain import Retention, filtered, needed
from asof.compute.revise import EventKeys
from asof.compute.splice import (
    BATCH,
    END,
    ENTRIES,
    FLOOR,
    NEWEST,
    STREAM_AT,
    TABLE,
    TAKEN,
    TILES_AT,
    WATERMARK,
    Blocks,
    blocks_of,
    empty_block,
    nothing_arrived,
    or_empty,
    put_together,
    sift,
    take_apart,
)  # fmt: skip
from asof.define.window import BEGIN_US, END_US


@dataclass(frozen=True)
class Arrivals:
    """Rows that arrive, in their order: `part.group` numbers the records (-1: none); `origin` and `offset` say where
    each comes from.
    """

    part: Part
    origin: Ints
    offset: Ints


@dataclass(frozen=True)
class Merged:
    """What came of it.

    Args:
        packed: the records; empty where there is none.
        changed: which of them differ from what was there.
        state: for each row that arrived, see `splice.sift`.
        late: rows that no window can count any more, and that are not kept.
    """

    packed: Packed
    changed: Bools
    state: Ints
    late: Bools


def merge_arrivals(
    held: Sequence[bytes | None],
    arrivals: Arrivals,
    layout: Layout,
    retention: Retention,
    *,
    watermark_us: int,
    floor_us: int,
) -> Merged:
    """The records with the rows that arrive.

    `held` are the records now, None where there is none. Of an entity without a record the batch part holds what is
    known before `watermark_us`: nothing. Nobody has to be answered who asks before `floor_us`.

    Raises:
        DataError: a record is corrupt. LimitError: an entity has more rows than a record can hold.
    """
    data, offsets = join(held)
    heads = take_apart(data, offsets, watermark_us)
    part = arrivals.part
    state = sift(data, heads, part.group, _known(part), arrivals.origin, arrivals.offset)
    new = (state == TAKEN) & (part.group >= 0)
    late = new & _is_late(part, retention, floor_us)
    fresh = replace(part, group=np.where(new & ~late, part.group, -1))
    if layout.keyed:
        raw = _raw_rows(data, offsets, layout)
        fresh = _with_unseen(_taken(fresh, np.flatnonzero(fresh.group >= 0)))
        history = History.build([_versions([raw, fresh], layout)], len(held))
    else:
        history = History.build([_stream_rows(data, heads, layout), fresh], len(held))
    times = heads[:, : NEWEST + 1].copy()
    if layout.tiles is not None:  # their floor says what is in tiles, and only runs put rows there
        floor_us = int(times[:, FLOOR].min(initial=END_US))
    times[:, FLOOR] = np.maximum(times[:, FLOOR], floor_us)
    history = _compacted(history, retention, floor_us, heads[:, WATERMARK])
    np.maximum.at(times[:, NEWEST], fresh.group[fresh.group >= 0], fresh.event[fresh.group >= 0])
    changed = np.zeros(len(held), np.bool_)
    changed[part.group[new]] = True
    arrived = _arrived(np.where(new, part.group, -1), arrivals, len(held))
    packed = _made(data, heads, history, layout, times, arrived)
    rows = np.diff(history.starts) > 0
    changed &= rows | np.array([record is not None for record in held], np.bool_)
    return Merged(packed, changed, state, late)


def graft(
    made: Packed, held: Sequence[bytes | None], layout: Layout, retention: Retention, until_us: int
) -> Packed:
    """New batch parts (known before `until_us`) with the stream parts that the records have now.

    A record without rows is left out, but where its table still says what has been applied to it.
    """
    data, offsets = join(held)
    heads = take_apart(data, offsets)
    fresh = take_apart(made.data, made.offsets, until_us)
    times = fresh[:, : NEWEST + 1].copy()
    times[:, NEWEST] = np.maximum(times[:, NEWEST], heads[:, NEWEST])
    times[:, FLOOR] = np.maximum(times[:, FLOOR], heads[:, FLOOR])
    if layout.keyed:
        streamed = _raw_rows(data, offsets, layout)
        streamed = _taken(streamed, np.flatnonzero(_known(streamed) >= until_us))
        batch = _raw_rows(made.data, made.offsets, layout)
        history = History.build([_versions([batch, streamed], layout)], len(held))
        floor_us = int(times[:, FLOOR].min(initial=END_US))
        history = _compacted(history, retention, floor_us, times[:, WATERMARK])
        packed = _made(data, heads, history, layout, times, nothing_arrived(len(held)))
        rows = np.diff(history.starts)
    else:
        kept = _stream_rows(data, _at(heads, until_us), layout)
        rows = np.bincount(kept.group[kept.group >= 0], minlength=len(held)) + np.diff(made.offsets)
        packed = put_together(
            layout,
            times,
            or_empty(_blocks(made.data, fresh, BATCH, STREAM_AT), empty_block(layout)),
            _blocks(data, heads, STREAM_AT, TILES_AT),
            _tiles(made.data, fresh, layout),
            _table(data, heads),
            nothing_arrived(len(held)),
        )
    return _without(packed, rows == 0)


def _compacted(history: History, retention: Retention, floor_us: int, watermarks: Ints) -> History:
    """The history without the rows that nobody needs: of a revised source also those count that ended in the stream
    part, since a batch part that is made anew may bring them back, and does not know of their end.
    """
    keep = needed(history, retention, floor_us)
    if history.until.size:
        group = np.repeat(np.arange(history.starts.size - 1), np.diff(history.starts))
        ended = history.until >= watermarks[group]
        if retention.reach_us is not None:
            within = history.event >= max(BEGIN_US, floor_us - retention.reach_us)
            ended &= within | (history.until <= history.known)
        keep |= ended & (history.until != END_US)
    return history if keep.all() else filtered(history, keep)


def _made(
    data: Bytes, heads: Ints, history: History, layout: Layout, times: Ints, arrived: tuple[Ints, ...]
) -> Packed:
    """Records with the rows of a history in their stream part; of revised events, in both parts."""
    plain = replace(layout, tiles=None)
    batch = _blocks(data, heads, BATCH, STREAM_AT)
    if layout.keyed:
        group = np.repeat(np.arange(history.starts.size - 1), np.diff(history.starts))
        before = history.known < times[group, WATERMARK]
        batch = blocks_of(pack_history(filtered(history, before), plain, watermark_us=0, floor_us=0))
        history = filtered(history, ~before)
    stream = blocks_of(pack_history(history, plain, watermark_us=0, floor_us=0))
    return put_together(
        layout, times, or_empty(batch, empty_block(layout)), stream, _tiles(data, heads, layout), _table(data, heads),
        arrived,
    )  # fmt: skip


def _blocks(data: Bytes, heads: Ints, begin: int, end: int) -> Blocks:
    return data, heads[:, begin], heads[:, end]


def _tiles(data: Bytes, heads: Ints, layout: Layout) -> Blocks:
    blocks = _blocks(data, heads, TILES_AT, TABLE)
    return blocks if layout.tiles is None else or_empty(blocks, empty_block(layout, tiles=True))


def _table(data: Bytes, heads: Ints) -> Blocks:
    return data, heads[:, TABLE], heads[:, ENTRIES]


def _without(packed: Packed, gone: Bools) -> Packed:
    if not gone.any():
        return packed
    sizes = np.diff(packed.offsets)
    keep = np.repeat(~gone, sizes)
    offsets = np.zeros(packed.offsets.size, np.int64)
    np.cumsum(np.where(gone, 0, sizes), out=offsets[1:])
    return Packed(packed.data[: keep.size][keep], offsets)


def _arrived(group: Ints, arrivals: Arrivals, n: int) -> tuple[Ints, ...]:
    order = np.argsort(group, kind="stable")
    rows = order[int((group < 0).sum()) :]
    firsts = np.zeros(n + 1, np.int64)
    np.cumsum(np.bincount(group[rows], minlength=n), out=firsts[1:])
    return arrivals.origin, arrivals.offset, rows, firsts


def _known(part: Part) -> Ints:
    return part.event if part.known is None else part.known


def _is_late(part: Part, retention: Retention, floor_us: int) -> Bools:
    """Rows before all windows: whoever asks at the floor or later does not count them.

    A row of a revised source stays in the game: it may move its event, or withdraw it.
    """
    if retention.reach_us is None or retention.edges or part.deleted is not None or KEY_LOW in part.values:
        return np.zeros(part.group.size, np.bool_)
    return part.event < max(BEGIN_US, floor_us - retention.reach_us)


def _at(heads: Ints, watermark_us: int) -> Ints:
    made = heads.copy()
    made[:, WATERMARK] = watermark_us
    return made


def _stream_rows(data: Bytes, heads: Ints, layout: Layout) -> Part:
    """The rows of stream parts that batch parts do not hold, as records of their own are read."""
    plain = replace(layout, tiles=None)
    n = heads.shape[0]
    there = heads[:, TILES_AT] > heads[:, STREAM_AT]
    times = np.full((n, 3), BEGIN_US, np.int64)
    none = (data, heads[:, END], heads[:, END])
    table = (data, heads[:, END], np.zeros(n, np.int64))
    alone = put_together(
        plain, times, _blocks(data, heads, STREAM_AT, TILES_AT), none, none, table, nothing_arrived(n)
    )
    alone = _without(alone, ~there)
    part = _part(unpack_history(alone.data, alone.offsets, plain), plain)
    group = np.where(_known(part) >= heads[np.maximum(part.group, 0), WATERMARK], part.group, -1)
    return replace(part, group=group)


def _part(history: History, layout: Layout) -> Part:
    """The rows of a history as a part of another."""
    group = np.repeat(np.arange(history.starts.size - 1), np.diff(history.starts))
    values: dict[str, pa.ChunkedArray] = {}
    for name, column in history.columns.items():
        made = physical_to_arrow(column.dtype, column.values, column.valid, column.dictionary)
        values[name] = pa.chunked_array([made])
    predicates = {sql: pa.chunked_array([pa.array(mask)]) for sql, mask in history.predicates.items()}
    return Part(
        group, history.event, history.known, {name: values[name] for name in _names(layout)}, predicates
    )


def _names(layout: Layout) -> list[str]:
    return [*layout.names, *([KEY_LOW, KEY_HIGH] if layout.keyed else [])]


def _raw_rows(data: Bytes, offsets: Ints, layout: Layout) -> Part:
    """All rows of records as they arrived once: versions, and for each that has ended a row that withdraws it then."""
    history = unpack_history(data, offsets, layout)
    part = _part(history, layout)
    until = history.until if history.until.size else np.full(history.size, END_US, np.int64)
    seen = np.flatnonzero(until > history.known)
    unseen = np.flatnonzero(until <= history.known)  # of these only their end matters; see `_with_unseen`
    ended = seen[until[seen] != END_US]
    rows = np.concatenate([ended, unseen, unseen, seen])
    known = np.concatenate([until[ended], *[history.known[each] for each in (unseen, unseen, seen)]])
    gone = np.repeat([True, False, True, False], [ended.size, unseen.size, unseen.size, seen.size])
    order = np.argsort(
        known, kind="stable"
    )  # where a version follows at once, the one before has ended first
    return replace(_taken(part, rows[order]), known=known[order], deleted=gone[order])


def _with_unseen(part: Part) -> Part:
    """The rows, and before each that withdraws an event a version that nobody ever sees: so the record remembers the
    end of an event that it does not have, for a batch part that comes later may bring it.
    """
    if part.deleted is None or not part.deleted.any():
        return part
    times = 1 + part.deleted.astype(np.int64)
    rows = np.repeat(np.arange(part.group.size), times)
    first = np.zeros(rows.size, np.bool_)
    first[np.cumsum(times)[part.deleted] - 2] = True
    made = _taken(part, rows)
    return replace(made, deleted=part.deleted[rows] & ~first)


def _taken(part: Part, rows: Ints) -> Part:
    return replace(
        part,
        group=part.group[rows],
        event=part.event[rows],
        known=_known(part)[rows],
        deleted=None if part.deleted is None else part.deleted[rows],
        values={name: taken(column, rows) for name, column in part.values.items()},
        predicates={sql: taken(column, rows) for sql, column in part.predicates.items()},
    )


def _versions(parts: Sequence[Part], layout: Layout) -> Part:
    """Rows of one source after another as one part, with what tells their events apart."""
    values = {
        name: pa.chunked_array([chunk for part in parts for chunk in _typed(parts, name, part).chunks])
        for name in _names(layout)
    }
    predicates = {
        sql: pa.chunked_array([chunk for part in parts for chunk in part.predicates[sql].chunks], pa.bool_())
        for sql in layout.predicates
    }
    deleted = [np.zeros(p.group.size, np.bool_) if p.deleted is None else p.deleted for p in parts]
    return Part(
        np.concatenate([part.group for part in parts]),
        np.concatenate([part.event for part in parts]),
        np.concatenate([_known(part) for part in parts]),
        values,
        predicates,
        keys=_event_keys(values[KEY_LOW], values[KEY_HIGH]),
        deleted=np.concatenate(deleted),
    )


def _typed(parts: Sequence[Part], name: str, part: Part) -> pa.ChunkedArray:
    """A column in the type of the first part: that of records."""
    wanted = parts[0].values[name].type
    column = part.values[name]
    return column if column.type == wanted else column.cast(wanted)


def _event_keys(low: pa.ChunkedArray, high: pa.ChunkedArray) -> EventKeys:
    halves = np.stack([ints(low, 0), ints(high, 0)], axis=1)
    valid = valid_mask(low)
    both = pa.py_buffer(np.ascontiguousarray(halves).tobytes())
    exact = pa.Array.from_buffers(pa.binary(16), halves.shape[0], [None, both])
    mixed = halves[:, 0] ^ (halves[:, 1] * np.int64(-7046029254386353131))
    return EventKeys(mixed, valid, pa.chunked_array([exact]))
