"""What a record holds: the layout that follows from a view, and the moves between a `History` and records.

One record holds the rows of one entity that any window can still ask for. A history becomes records in
`pack_history`; records become a history again in `unpack_history`, so that whatever folds histories folds records too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from asof.compute import pack, unpack
from asof.compute._jit import in_chunks
from asof.compute.arrays import EMPTY_INTS, Array, Bools, Ints
from asof.compute.arrow import Column
from asof.compute.arrow_ops import words
from asof.compute.history import History
from asof.compute.tiles import TileLayout, Tiles, component_columns, component_places, states_of_columns
from asof.define.window import BEGIN_US, END_US
from asof.errors import DataError, LimitError
from asof.types import DType

Bytes = NDArray[np.uint8]
KEY_LOW, KEY_HIGH = "event key, low", "event key, high"
"""The names under which a history carries the two halves of its event keys; no column of a user's has such a name."""


@dataclass(frozen=True)
class Layout:
    """The columns (by name, in order) and predicates of a view's records, and whether event keys are kept."""

    columns: tuple[tuple[str, DType], ...]
    predicates: tuple[str, ...] = ()
    keyed: bool = False
    tiles: TileLayout | None = None

    @cached_property
    def types(self) -> dict[str, DType]:
        """The columns' types by name."""
        return dict(self.columns)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The names of the columns."""
        return tuple(name for name, _ in self.columns)

    @cached_property
    def is_text(self) -> Ints:
        """1 for columns that are text."""
        return np.array([dtype.kind == "string" for _, dtype in self.columns], np.int64)

    @cached_property
    def is_float(self) -> Bools:
        """True for columns of floats."""
        return np.array([dtype.kind == "float64" for _, dtype in self.columns], np.bool_)


@dataclass(frozen=True)
class Packed:
    """Records one after the other: record g is `data[offsets[g]:offsets[g + 1]]`, empty where it has no rows."""

    data: Bytes
    offsets: Ints

    def records(self) -> list[bytes]:
        """Each record as bytes."""
        edges = cast("list[int]", self.offsets.tolist())
        view = memoryview(cast("Any", np.ascontiguousarray(self.data)))
        return [bytes(view[edges[i] : edges[i + 1]]) for i in range(len(edges) - 1)]


def pack_history(
    history: History,
    layout: Layout,
    *,
    watermark_us: int,
    floor_us: int,
    tiles: Tiles | None = None,
    newest_us: Ints | None = None,
) -> Packed:
    """One record for each group of a history, with the tiles of what is no longer in it where the layout has tiles;
    `newest_us` is the newest event time of each group (default: that of its rows).

    Raises:
        LimitError: an entity has more rows than a record can hold.
    """
    _check_rows(history)
    groups = history.starts.size - 1
    columns = [history.columns[name] for name in layout.names]
    texts, widths = _texts(columns, history.size)
    bits = (
        len(columns) + len(layout.predicates)
    ) // 8 + 2  # of validity, when each column and predicate has some
    per_row = 8 * (5 + len(columns)) + bits + widths
    fixed = 64 + pack.DESCRIPTOR * (6 + len(columns)) + 16 * (len(columns) + len(layout.predicates) + 2)
    bound = np.diff(history.starts) * int(per_row) + fixed
    second = _tile_block(tiles, layout)
    if tiles is not None:
        states = second[2][0].shape[0]
        bound += np.diff(tiles.starts) * (8 * (2 + states) + states) + 64 + pack.DESCRIPTOR * (2 + states)
    heads = (unpack.VERSION, pack.ROWS if layout.tiles is None else pack.TILES, 0, watermark_us, floor_us)
    newest = newest_of(history) if newest_us is None else newest_us
    predicates = _stacked(
        [history.predicates[sql][: history.size] for sql in layout.predicates], np.bool_, history.size
    )
    arguments = (
        heads, newest, _times(history, layout), layout.keyed, _values(columns, layout, history.size), predicates,
        texts, *second,
    )  # fmt: skip
    pieces: list[tuple[int, Bytes, Ints]] = []

    def run(g0: int, g1: int) -> None:
        out = np.empty(int(bound[g0:g1].sum()) + 8, np.uint8)
        offsets = np.zeros(groups + 1, np.int64)
        pack.put_records(out, offsets, history.starts, g0, g1, *arguments)
        pieces.append((g0, out[: offsets[g1]], offsets[g0 : g1 + 1]))

    in_chunks(groups, history.threads, run)
    return _joined(sorted(pieces, key=lambda piece: piece[0]))


def newest_of(history: History) -> Ints:
    """The newest event time of each group, BEGIN_US where it has no rows."""
    last = np.maximum(history.starts[1:] - 1, 0)
    if history.size == 0:
        return np.full(last.size, BEGIN_US, np.int64)
    return np.where(np.diff(history.starts) > 0, history.event[last], BEGIN_US)


def _tile_block(tiles: Tiles | None, layout: Layout) -> tuple[Ints, Any, tuple[Ints, Bools, Bools]]:
    nobody = np.empty(0, np.bool_)
    if tiles is None or layout.tiles is None:
        nothing = (np.empty((0, 0), np.int64), nobody, np.empty((0, 0), np.bool_))
        times = (EMPTY_INTS, EMPTY_INTS, EMPTY_INTS, EMPTY_INTS, EMPTY_INTS, nobody)
        return EMPTY_INTS, times, nothing
    times = (tiles.at, tiles.at, EMPTY_INTS, EMPTY_INTS, EMPTY_INTS, nobody)
    return tiles.starts, times, component_columns(tiles, layout.tiles)


def unpack_all_tiles(data: Bytes, offsets: Ints, layout: Layout) -> Tiles:
    """The tiles of records.

    Raises:
        DataError: a record is corrupt; carries `record`, its number.
    """
    tiled = layout.tiles
    if tiled is None:
        raise ValueError("the layout has no tiles")
    columns = len(component_places(tiled))
    n = unpack.count_tiles(data, offsets)
    cells = np.empty((unpack.TIMES + columns, n + 1), np.int64)
    marks = np.empty((unpack.VALUES + columns, n + 1), np.bool_)
    starts = np.zeros(offsets.size, np.int64)
    bad = unpack.unpack_tiles(data, offsets, columns, cells, marks, starts)
    if bad >= 0:
        raise bad_record(data, offsets, bad)
    n = int(starts[-1])
    values, valid = cells[unpack.TIMES :, :n], marks[unpack.VALUES :, :n]
    states = states_of_columns(np.ascontiguousarray(values), valid, tiled, layout.types)
    return Tiles(starts, cells[unpack.EVENT, :n].copy(), states)


def _joined(pieces: Sequence[tuple[int, Bytes, Ints]]) -> Packed:
    base, ends = 0, [np.zeros(1, np.int64)]
    for _, data, offsets in pieces:
        ends.append(offsets[1:] + base)
        base += data.size
    return Packed(np.concatenate([data for _, data, _ in pieces]), np.concatenate(ends))


def _check_rows(history: History) -> None:
    longest = int(np.diff(history.starts).max(initial=0))
    if longest > pack.MAX_ROWS:
        raise LimitError(
            f"an entity has {longest:,} rows, and a record holds {pack.MAX_ROWS:,}",
            hint="shorter windows, or a hop",
            rows=longest,
        )


def _times(history: History, layout: Layout) -> tuple[Array, ...]:
    n = history.size
    if not layout.keyed:
        return (
            history.event[:n],
            history.known[:n],
            history.until[:n],
            EMPTY_INTS,
            EMPTY_INTS,
            np.empty(0, np.bool_),
        )
    low, high = history.columns[KEY_LOW], history.columns[KEY_HIGH]
    return (
        history.event[:n],
        history.known[:n],
        history.until[:n],
        low.values[:n],
        high.values[:n],
        low.valid[:n],
    )


def _values(columns: Sequence[Column], layout: Layout, n: int) -> tuple[Ints, Bools, Bools]:
    values = _stacked([column.values[:n].view(np.int64) for column in columns], np.int64, n)
    valid = _stacked([column.valid[:n] for column in columns], np.bool_, n)
    return values, layout.is_float, valid


def _stacked(rows: Sequence[Array], dtype: type, n: int) -> Array:
    return np.stack(rows) if rows else np.empty((0, n), dtype)


def _texts(columns: Sequence[Column], n: int) -> tuple[tuple[Ints, Ints, Bytes], int]:
    """Where each column's dictionary begins, all offsets, all text; and how wide a row's texts are at most."""
    first = np.full(len(columns), -1, np.int64)
    offsets: list[Ints] = [EMPTY_INTS]
    text: list[Bytes] = [np.empty(0, np.uint8)]
    entries = size = widest = 0
    for c, column in enumerate(columns):
        if column.dictionary is None:
            continue
        lengths, data = _utf8(column.dictionary)
        ends = np.zeros(lengths.size + 1, np.int64)
        np.cumsum(lengths, out=ends[1:])
        first[c] = entries
        offsets.append(ends + size)
        text.append(data)
        entries += ends.size
        size += data.size
        widest += 4 + (int(lengths.max()) if lengths.size and n else 0)
    return (first, np.concatenate(offsets), np.concatenate(text)), widest


def _utf8(dictionary: pa.Array) -> tuple[Ints, Bytes]:
    large: Any = dictionary.cast(pa.large_string())
    if len(large) == 0:
        return EMPTY_INTS, np.empty(0, np.uint8)
    _, ends, text = large.buffers()
    offsets = words(ends)[large.offset : large.offset + len(large) + 1]
    data = np.empty(0, np.uint8) if text is None else np.frombuffer(text, np.uint8)[offsets[0] : offsets[-1]]
    return np.diff(offsets), data


def join(records: Sequence[bytes | None]) -> tuple[Bytes, Ints]:
    """Records as one buffer and the offsets of each; None becomes an empty one."""
    parts = [record or b"" for record in records]
    offsets = np.zeros(len(parts) + 1, np.int64)
    np.cumsum(np.fromiter(map(len, parts), np.int64, len(parts)), out=offsets[1:])
    return np.frombuffer(b"".join(parts), np.uint8), offsets


def unpack_history(data: Bytes, offsets: Ints, layout: Layout) -> History:
    """The rows of records as a history with a group for each record, in canonical order.

    Raises:
        DataError: a record is corrupt, or of a format that a newer asof has written; carries `record`, its number.
    """
    rows, worst = unpack.count_rows(data, offsets)
    records, columns, predicates = offsets.size - 1, len(layout.columns), len(layout.predicates)
    cells = np.empty((unpack.TIMES + columns, rows + 1), np.int64)
    marks = np.empty((unpack.VALUES + columns + predicates, rows + 1), np.bool_)
    starts, texts = np.zeros(records + 1, np.int64), np.full((records, 2, columns), -1, np.int64)
    bad = unpack.unpack_records(
        data, offsets, columns, predicates, layout.is_text, cells, marks, starts, texts
    )
    if bad >= 0 or worst != unpack.GOOD:
        raise bad_record(data, offsets, max(bad, 0))
    n = int(starts[-1])
    try:
        made = {
            name: _column(
                dtype, cells[unpack.TIMES + c, :n], marks[unpack.VALUES + c, :n], data, texts[:, :, c], starts
            )
            for c, (name, dtype) in enumerate(layout.columns)
        }
    except (UnicodeDecodeError, IndexError) as exc:  # a text that is none, or a place in no dictionary
        raise corrupt() from exc
    if layout.keyed:
        keyed = marks[unpack.KEYED, :n]
        made[KEY_LOW] = Column(DType("int64"), cells[unpack.KEY_LOW, :n], keyed)
        made[KEY_HIGH] = Column(DType("int64"), cells[unpack.KEY_HIGH, :n], keyed)
    until, event, known = cells[unpack.UNTIL, :n], cells[unpack.EVENT, :n], cells[unpack.KNOWN, :n]
    return History(
        starts=starts,
        event=event,
        known=event if np.array_equal(known, event) else known,
        until=until if (until != END_US).any() else EMPTY_INTS,
        columns=made,
        predicates={sql: marks[unpack.VALUES + columns + p, :n] for p, sql in enumerate(layout.predicates)},
    )


def bad_record(data: Bytes, offsets: Ints, number: int) -> DataError:
    """What is wrong with a record."""
    start, stop = int(offsets[number]), int(offsets[number + 1])
    version = int(data[start]) if stop > start else 0
    if version > unpack.VERSION:
        return DataError(
            f"a record has format {version}, and this asof reads formats up to {unpack.VERSION}",
            hint="use the asof that wrote it, or a newer one",
            record=number,
            format=version,
        )
    return corrupt(record=number)


def corrupt(**facts: int) -> DataError:
    """The error of a record whose bytes are not what was written."""
    return DataError(
        "a record of the online store is corrupt",
        hint="`asof backfill` writes the records of a view anew",
        **facts,
    )


def _column(dtype: DType, values: Ints, valid: Bools, data: Bytes, texts: Ints, starts: Ints) -> Column:
    if dtype.kind == "float64":
        return Column(dtype, np.where(valid, values.view(np.float64), 0.0), valid)
    if dtype.kind != "string":
        return Column(dtype, np.where(valid, values, 0), valid)
    return _text_column(values, valid, data, texts, starts)


def _text_column(values: Ints, valid: Bools, data: Bytes, texts: Ints, starts: Ints) -> Column:
    """Codes into one sorted dictionary, from the dictionaries of the single records."""
    held: list[bytes] = []
    shift = np.zeros(values.size, np.int64)
    for r in range(starts.size - 1):
        if starts[r + 1] > starts[r]:
            shift[starts[r] : starts[r + 1]] = len(held)
            held += read_dictionary(data, int(texts[r, 0])) + read_dictionary(data, int(texts[r, 1]))
    everything = pa.array([each.decode() for each in held], pa.string())
    different = sorted(set(cast("list[str]", everything.to_pylist())))
    place = {text: code for code, text in enumerate(different)}
    code_of = np.array([place[text] for text in cast("list[str]", everything.to_pylist())] or [0], np.int64)
    codes = code_of[np.where(valid, values + shift, 0)]
    return Column(DType("string"), codes, valid, pa.array(different, pa.string()))


def read_dictionary(data: Bytes, position: int) -> list[bytes]:
    """The texts of a dictionary at a position (-1: none)."""
    if position < 0:
        return []
    count = int.from_bytes(data[position : position + 4].tobytes(), "little")
    ends = np.frombuffer(data[position + 4 : position + 4 + 4 * count].tobytes(), np.uint32).tolist()
    base = position + 4 + 4 * count
    text = data[base : base + (ends[-1] if ends else 0)].tobytes()
    return [text[start:end] for start, end in zip([0, *ends], ends, strict=False)]
