"""Numbering entities, ordering rows, finding versions."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from asof.compute.entity_index import EntityIndex
from asof.compute.revise import EventKeys, repeated, revise
from asof.compute.sort import order_rows
from asof.define.window import END_US

keys = st.lists(
    st.tuples(st.one_of(st.none(), st.sampled_from("abc")), st.one_of(st.none(), st.integers(-2, 2))),
    max_size=20,
)


@given(spine=keys, rows=keys)
def test_composite_keys_are_matched_exactly_and_nulls_never(spine: list[tuple], rows: list[tuple]) -> None:
    columns = [
        pa.chunked_array([pa.array([r[i] for r in spine], kind)])
        for i, kind in enumerate((pa.string(), pa.int64()))
    ]
    index = EntityIndex(columns)
    codes = index.codes(
        [pa.array([r[i] for r in rows], kind) for i, kind in enumerate((pa.string(), pa.int64()))]
    )
    number = dict(zip(spine, index.spine_codes.tolist(), strict=True))
    whole = {key for key in spine if None not in key}
    assert codes.tolist() == [number[row] if row in whole else -1 for row in rows]
    assert sorted({number[key] for key in whole}) == list(range(index.size))


def test_integer_keys_far_apart_are_matched() -> None:
    index = EntityIndex([pa.chunked_array([[2**60, -(2**60), 5]])])
    assert index.codes([pa.array([5, 2**60, 6])]).tolist() == [2, 0, -1]


rows_of = st.lists(st.tuples(st.integers(-1, 2), st.integers(0, 4), st.integers(0, 4)), max_size=150)


@given(rows=rows_of)
def test_rows_are_ordered_by_entity_event_time_known_at_and_arrival(rows: list[tuple[int, int, int]]) -> None:
    group, event, known = (np.array([r[i] for r in rows], np.int64) for i in range(3))
    order, starts = order_rows(group, 3, event, known, threads=1)
    expected = sorted((i for i, r in enumerate(rows) if r[0] >= 0), key=lambda i: (*rows[i], i))
    assert order.tolist() == expected
    assert starts.tolist() == [sum(1 for r in rows if 0 <= r[0] < g) for g in range(4)]


@given(values=st.lists(st.tuples(st.integers(-3, 3), st.booleans()), max_size=60))
def test_repeated_hashes_are_found(values: list[tuple[int, bool]]) -> None:
    found = repeated(np.array([v for v, _ in values], np.int64), np.array([ok for _, ok in values], np.bool_))
    seen = [v for v, ok in values if ok]
    assert found.tolist() == [ok and seen.count(v) > 1 for v, ok in values]


def _keys(names: list[str], hashes: list[int]) -> EventKeys:
    return EventKeys(np.array(hashes), np.ones(len(names), np.bool_), pa.chunked_array([names]))


def test_a_version_is_visible_until_the_next_one_is_known() -> None:
    keys = _keys(["x", "y", "x", "x"], [1, 2, 1, 1])
    until, counts = revise(keys, np.array([10, 10, 30, 20]), None, [np.array([1, 1, 3, 2])])
    assert until.tolist() == [20, END_US, END_US, 30]
    assert counts.all()


def test_equal_hashes_of_different_keys_are_told_apart() -> None:
    until, counts = revise(_keys(["x", "y"], [7, 7]), np.array([10, 20]), None, [np.array([1, 1])])
    assert until.tolist() == [END_US, END_US]
    assert counts.all()


def test_a_repeated_delivery_changes_nothing_and_a_delete_only_ends() -> None:
    keys = _keys(["x", "x", "x"], [1, 1, 1])
    until, counts = revise(
        keys, np.array([10, 20, 30]), np.array([False, False, True]), [np.array([5, 5, 5])]
    )
    assert until.tolist()[0] == 30
    assert counts.tolist() == [True, False, False]
