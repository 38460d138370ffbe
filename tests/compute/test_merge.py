"""Records that rows of a stream arrive in, piece by piece, again, and with backfills between: the same as packed at
once.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asof.compute.history import History, Part
from asof.compute.merge import Arrivals, _versions, graft, merge_arrivals
from asof.compute.record import (
    KEY_HIGH,
    KEY_LOW,
    Layout,
    join,
    newest_of,
    pack_history,
    unpack_all_tiles,
    unpack_history,
)
from asof.compute.retain import Retention, compacted
from asof.compute.splice import KNOWN_BEFORE, REPEATED, TAKEN
from asof.compute.tiles import TileLayout, fold_rows
from asof.define.window import BEGIN_US, END_US
from asof.online.codec import offsets_of
from asof.types import DType

COLUMNS = (("a", DType("int64")), ("t", DType("string")))
PLAIN, KEYED = Layout(COLUMNS, ("a > 2",)), Layout(COLUMNS, ("a > 2",), keyed=True)
TILED = Layout(COLUMNS, ("a > 2",), tiles=TileLayout(4, 0, (("count", None, None), ("sum", "a", None))))
ALL = Retention(None, ())
WITHIN = Retention(6, ())
NEWEST = Retention(2, ((None, None, 1, True), ("a", "a > 2", 2, True)))
ENTITIES = 3


@dataclass(frozen=True)
class Row:
    """One that arrives."""

    group: int
    event: int
    known: int
    a: int | None
    t: str | None
    key: int = 0
    deleted: bool = False


def part_of(rows: list[Row], layout: Layout) -> Part:
    """The rows as a part of a history."""
    values = {
        "a": pa.chunked_array([pa.array([row.a for row in rows], pa.int64())]),
        "t": pa.chunked_array([pa.array([row.t for row in rows], pa.string())]),
    }
    if layout.keyed:
        values[KEY_LOW] = pa.chunked_array([pa.array([row.key for row in rows], pa.int64())])
        values[KEY_HIGH] = pa.chunked_array([pa.array([0] * len(rows), pa.int64())])
    large = pa.chunked_array([pa.array([row.a is not None and row.a > 2 for row in rows], pa.bool_())])
    group, event, known = (
        np.array([getattr(row, name) for row in rows], np.int64) for name in ("group", "event", "known")
    )
    deleted = np.array([row.deleted for row in rows], np.bool_) if layout.keyed else None
    return Part(group, event, known, values, {"a > 2": large}, deleted=deleted)


def history_of(rows: list[Row], layout: Layout) -> History:
    """All rows as training has them."""
    part = part_of(rows, layout)
    return History.build([_versions([part], layout) if layout.keyed else part], ENTITIES)


def cells(history: History) -> list[tuple[Any, ...]]:
    """The rows that are ever visible: entity, times, values."""
    until = history.until if history.until.size else np.full(history.size, END_US)
    group = np.repeat(np.arange(ENTITIES), np.diff(history.starts))
    a, t = history.columns["a"], history.columns["t"]
    return [
        (
            int(group[i]), int(history.event[i]), int(history.known[i]), int(until[i]),
            int(a.values[i]) if a.valid[i] else None,
            t.dictionary[int(t.values[i])].as_py() if t.valid[i] and t.dictionary is not None else None,
            bool(history.predicates["a > 2"][i]),
        )
        for i in range(history.size)
        if until[i] > history.known[i]
    ]  # fmt: skip


@st.composite
def arriving(draw: st.DrawFn, *, keyed: bool) -> list[Row]:
    """Rows in the order in which they are known; an event stays with its entity."""
    known, rows = 0, []
    owners = draw(st.lists(st.integers(0, ENTITIES - 1), min_size=6, max_size=6))
    for _ in range(draw(st.integers(1, 30))):
        known += draw(st.integers(0, 2))
        key = draw(st.integers(0, 5))
        rows.append(
            Row(
                owners[key] if keyed else draw(st.integers(0, ENTITIES - 1)),
                known - draw(st.integers(-1, 8)), known, draw(st.sampled_from([None, 1, 2, 3])),
                draw(st.sampled_from([None, "x", "y", "zz"])), key, draw(st.integers(0, 4)) == 0,
            )
        )  # fmt: skip
    return rows


@dataclass
class Store:
    """Records that rows arrive in."""

    layout: Layout
    retention: Retention
    held: list[bytes | None] = field(default_factory=lambda: [None] * ENTITIES)
    watermark: int = BEGIN_US
    floor: int = BEGIN_US

    def arrive(self, rows: list[Row], first: int, origin: int = 0) -> Any:
        """Rows of an origin, numbered from `first` on."""
        numbers = np.arange(first, first + len(rows))
        made = merge_arrivals(
            self.held, Arrivals(part_of(rows, self.layout), np.full(len(rows), origin), numbers), self.layout,
            self.retention, watermark_us=self.watermark, floor_us=self.floor,
        )  # fmt: skip
        for at, record in enumerate(made.packed.records()):
            if made.changed[at]:
                self.held[at] = record or None
        return made

    def backfill(self, rows: list[Row], until: int) -> None:
        """The batch parts are made anew of what is known before an instant."""
        self.watermark = until
        past = compacted(
            history_of([row for row in rows if row.known < until], self.layout), self.retention, self.floor
        )
        tiles = None
        newest = newest_of(past)
        if self.layout.tiles is not None:
            past, tiles = fold_rows(past, self.layout.tiles, self.layout.types, self.floor)
        packed = pack_history(
            past, self.layout, watermark_us=until, floor_us=self.floor, tiles=tiles, newest_us=newest
        )
        made = graft(packed, self.held, self.layout, self.retention, until)
        self.held = [record or None for record in made.records()]

    def history(self) -> History:
        """What the records hold."""
        return unpack_history(*join(self.held), self.layout)


def play(draw: st.DrawFn, rows: list[Row], store: Store, moving: int | None) -> None:
    """The rows arrive in pieces, some of them again, with backfills between; the floor follows at a distance."""
    done = 0
    while done < len(rows):
        stop = min(len(rows), done + draw(st.integers(1, 6)))
        start = max(0, done - draw(st.integers(0, 4)))
        if moving is not None:
            store.floor = max(store.floor, rows[done].known - moving)
        made = store.arrive(rows[start:stop], start)
        if not store.layout.keyed and store.retention is ALL:  # else a row may have left nothing
            assert all(state != TAKEN for state in made.state[: done - start])
        assert all(state != REPEATED for state in made.state[done - start :])
        done = stop
        if draw(st.integers(0, 2)) == 0:
            until = max(store.watermark, rows[done - 1].known - draw(st.integers(-1, 6)))
            store.backfill(rows[:done], min(until, rows[done].known if done < len(rows) else until))


@pytest.mark.parametrize("keyed", [False, True])
@pytest.mark.parametrize("retention", [ALL, WITHIN, NEWEST])
@given(data=st.data(), moving=st.sampled_from([None, 0, 3]))
def test_rows_that_arrive_piece_by_piece_make_the_history_that_they_are(keyed, retention, data, moving):
    if keyed and retention.edges:
        retention = WITHIN  # of a source that is revised no number of newest rows is enough
    rows = data.draw(arriving(keyed=keyed))
    store = Store(KEYED if keyed else PLAIN, retention)
    play(data.draw, rows, store, moving)
    whole = history_of(rows, store.layout)
    assert cells(compacted(store.history(), retention, store.floor)) == cells(
        compacted(whole, retention, store.floor)
    )


@given(data=st.data())
def test_the_same_rows_through_two_origins_are_rows_of_both(data):
    rows = data.draw(arriving(keyed=False))
    store = Store(PLAIN, ALL)
    origins = [data.draw(st.integers(0, 1)) for _ in rows]
    after = [0, 0]
    for row, origin in zip(rows, origins, strict=True):
        for again in range(data.draw(st.integers(1, 2))):
            made = store.arrive([row], after[origin], origin)
            assert made.state.tolist() == [REPEATED if again else TAKEN]
        after[origin] += 1
    assert cells(store.history()) == cells(history_of(rows, PLAIN))
    for at, record in enumerate(store.held):
        mine = [number for number, row in enumerate(rows) if row.group == at]
        if record is not None:
            found = dict(offsets_of(record))
            assert found.keys() == {origins[number] for number in mine}


@given(data=st.data(), distance=st.sampled_from([0, 3, 9]))
def test_tiles_and_rows_before_them_stay_as_they_were_packed(data, distance):
    rows = data.draw(arriving(keyed=False))
    store = Store(TILED, ALL)
    middle = data.draw(st.integers(0, len(rows)))
    if middle:
        store.arrive(rows[:middle], 0)
    store.floor = rows[max(0, middle - 1)].known - distance
    until = rows[middle].known if middle < len(rows) else rows[-1].known + 1
    store.backfill(rows[:middle], until)
    play_on(data.draw, rows, middle, store)
    past = history_of([row for row in rows[:middle] if row.known < until], TILED)
    kept, tiles = fold_rows(past, TILED.tiles, TILED.types, store.floor)
    found = unpack_all_tiles(*join(store.held), TILED)
    assert found.starts.tolist() == tiles.starts.tolist()
    assert found.at.tolist() == tiles.at.tolist()
    for name, state in tiles.states.items():
        for component, values in state.items():
            assert found.states[name][component].tolist() == values.tolist()
    streamed = history_of([row for row in rows if row.known >= until], TILED)
    assert sorted(map(repr, cells(store.history()))) == sorted(map(repr, [*cells(kept), *cells(streamed)]))


def play_on(draw: st.DrawFn, rows: list[Row], done: int, store: Store) -> None:
    """The rest arrives, some rows again; those that the batch part has are told so."""
    while done < len(rows):
        stop = min(len(rows), done + draw(st.integers(1, 6)))
        start = max(0, done - draw(st.integers(0, 4)))
        made = store.arrive(rows[start:stop], start)
        for row, state in zip(rows[start:stop], made.state.tolist(), strict=True):
            assert (state == KNOWN_BEFORE) <= (row.known < store.watermark)
        done = stop


def test_nothing_that_is_new_changes_nothing():
    store = Store(PLAIN, ALL)
    rows = [Row(0, 1, 1, 5, "x"), Row(1, 2, 2, None, None)]
    store.arrive(rows, 0)
    before = list(store.held)
    made = store.arrive(rows, 0)
    assert not made.changed.any()
    assert store.held == before
    assert made.state.tolist() == [REPEATED, REPEATED]


def test_a_row_before_all_windows_is_late_and_leaves_no_record_of_its_own():
    store = Store(PLAIN, WITHIN, floor=100)
    made = store.arrive([Row(0, 93, 100, 5, "x"), Row(1, 94, 100, 5, "x")], 0)
    assert made.late.tolist() == [True, False]
    assert store.held[0] is None
    assert cells(store.history()) == [(1, 94, 100, END_US, 5, "x", True)]


def test_a_backfill_drops_from_the_stream_part_what_it_holds_itself():
    store = Store(PLAIN, ALL)
    rows = [Row(0, 1, 1, 5, "x"), Row(0, 2, 2, 6, "y"), Row(0, 3, 3, 7, "x")]
    store.arrive(rows, 0)
    store.backfill(rows, 3)
    assert [row[1] for row in cells(store.history())] == [1, 2, 3]
    assert store.arrive(rows, 0).state.tolist() == [REPEATED] * 3
    store.backfill(rows, 4)
    assert [row[1] for row in cells(store.history())] == [1, 2, 3]


def test_a_record_that_has_lost_its_rows_still_knows_what_was_applied():
    store = Store(KEYED, WITHIN)
    store.arrive([Row(0, 1, 1, 5, "x", key=1)], 7)
    store.arrive([Row(0, 1, 2, 5, "x", key=1, deleted=True)], 8)
    store.floor = 50
    store.arrive([Row(0, 1, 51, 5, "x", key=1)], 9)
    assert cells(store.history()) == []
    assert dict(offsets_of(store.held[0] or b"")) == {0: 10}
