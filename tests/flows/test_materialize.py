"""Materialization: what comes into the store, what stays out of it, and that runs in a row are as one."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from asof import FeatureView, Union, count, sum
from asof.compute.record import unpack_history
from asof.errors import ConfigError, DataError
from asof.flows import materialize
from asof.flows.materialize_steps import Resources, plan_steps
from asof.online.store import META_KEY
from tests.flows.materializing import (
    HOUR,
    Bench,
    Hooked,
    account,
    events,
    open_lmdb,
    payment,
    space,
    table,
    view_of,
    view_with_last,
)

ROWS = [("a", 1, 10), ("b", 2, 20), ("a", 3, 30), ("c", 4, 40), ("a", 5, 50), (None, 5, 1), ("d", None, 1)]


@pytest.fixture
def bench(tmp_path):
    store = open_lmdb(tmp_path)
    yield Bench(store)
    store.close()


@pytest.fixture
def other(tmp_path):
    store = open_lmdb(tmp_path / "other")
    yield Bench(store)
    store.close()


def times(bench: Bench, view: FeatureView) -> dict[bytes, list[float]]:
    """The hours of the events in each record."""
    meta = bench.meta(view)
    assert meta is not None
    layout = meta.layout
    made: dict[bytes, list[float]] = {}
    for key, record in bench.records(view).items():
        if key != META_KEY:
            history = unpack_history(np.frombuffer(record, np.uint8), np.array([0, len(record)]), layout)
            made[key] = [round(us / HOUR, 2) for us in history.event.tolist()]
    return made


def test_rows_known_before_the_end_are_in_and_others_are_not(bench):
    view = view_of(events(table(ROWS)))
    (report,) = bench.run(4, view)
    assert times(bench, view) == {b"a": [1, 3], b"b": [2]}
    assert (report.rows, report.records, report.done) == (3, 2, True)
    (report,) = bench.run(6, view)
    assert times(bench, view) == {b"a": [3, 5], b"b": [2], b"c": [4]}
    assert (report.from_us, report.until_us, report.whole) == (3 * HOUR, 6 * HOUR, False)
    assert (report.entities, report.held_bytes) == (
        3, sum_bytes(bench, view)
    )  # fmt: skip


def sum_bytes(bench: Bench, view: FeatureView) -> int:
    total = 0
    for key, record in bench.records(view).items():
        total += len(record) if key != META_KEY else 0
    return total


def test_many_runs_are_as_one_for_entities_that_have_news(bench, other):
    view = view_with_last(events(table(ROWS)))
    for until in (2, 2.5, 4, 5, 6):
        bench.run(until, view)
    other.run(6, view)
    (mine, theirs) = bench.records(view), other.records(view)
    assert mine[b"a"] == theirs[b"a"]
    assert times(bench, view) == times(other, view) == {b"a": [5], b"b": [2], b"c": [4]}


def test_a_run_that_ended_there_already_does_nothing(bench):
    view = view_of(events(table(ROWS)))
    bench.run(6, view)
    before = bench.records(view)
    for until in (6, 5):
        (report,) = bench.run(until, view)
        assert (report.done, report.rows, report.records) == (True, 0, 0)
        assert (report.from_us, report.until_us) == (6 * HOUR, 6 * HOUR)
        assert bench.records(view) == before


def test_a_future_end_is_refused_and_nothing_changes(bench):
    view = view_of(events(table(ROWS)))
    with pytest.raises(DataError, match="lies in the future"):
        bench.run(7, view, now=6)
    assert bench.meta(view) is None


def test_a_late_row_within_the_lateness_is_taken_by_the_next_run(bench):
    rows = [("a", 1, 10), ("a", 3, 30)]
    view = view_of(events(table(rows)), window="9h")
    bench.run(4, view)
    late = [
        *rows,
        ("a", 1.5, 5, 3.5),
        ("b", 2, 9, 3.9),
        ("b", 2.5, 9, 2.5),
    ]  # the last is known before the lateness
    late_view = view_of(events(table(late)), window="9h")
    copy(bench, view, late_view)
    bench.run(5, late_view)
    assert times(bench, late_view) == {b"a": [1, 1.5, 3], b"b": [2]}
    bench.run(5, late_view, whole=True)
    assert times(bench, late_view) == {b"a": [1, 1.5, 3], b"b": [2, 2.5]}


def copy(bench: Bench, old: FeatureView, new: FeatureView) -> None:
    """The records of a view as those of another: tables in memory are part of a fingerprint."""
    bench.store.write(space(new), list(bench.records(old).items()))


def test_records_are_compacted_and_those_without_rows_go(bench):
    rows = [("a", 1, 1), ("a", 9, 1), ("b", 1.5, 1), ("c", 2.5, 1)]
    view = view_of(events(table(rows)), window="2h")
    bench.run(3, view)
    assert times(bench, view) == {b"a": [1], b"b": [1.5], b"c": [2.5]}
    bench.run(10, view)
    assert times(bench, view) == {b"a": [9], b"b": [1.5]}  # c was read again, and nothing came of b
    bench.run(10, view, whole=True)
    assert times(bench, view) == {b"a": [9]}


def test_entities_that_disappear_are_removed_by_a_backfill_only(bench):
    both, one = view_of(events(table(ROWS))), view_of(events(table(ROWS[:1])))
    bench.run(6, both)
    copy(bench, both, one)
    (report,) = bench.run(7, one)
    assert set(times(bench, one)) == {b"a", b"c"}
    (report,) = bench.run(7, one, whole=True)
    assert (times(bench, one), report.removed, report.entities) == ({}, 2, 0)


def test_entities_that_disappear_from_a_revised_source_are_removed_by_the_next_run(bench, other):
    rows = [("a", 1, 10, 1, "x"), ("b", 2, 20, 2, "y"), ("c", 4, 40, 4, "z")]
    both = view_of(events(table(rows), key="id"), window="9h")
    one = view_of(events(table(rows[::2]), key="id"), window="9h")
    bench.run(3, both)
    copy(bench, both, one)
    (report,) = bench.run(4.5, one)
    other.run(4.5, one)
    assert (report.removed, report.entities) == (1, 2)
    assert bench.records(one) == other.records(one)


def test_a_backfill_to_an_earlier_end_holds_no_later_row(bench, other):
    view = view_of(events(table(ROWS)))
    bench.run(6, view)
    (report,) = bench.run(4, view, whole=True)
    other.run(4, view)
    assert bench.records(view) == other.records(view)
    assert report.removed == 1


def test_a_column_of_another_type_makes_the_records_anew(bench, other, monkeypatch):
    monkeypatch.setattr(materialize, "RETRACT_S", 0)
    old, new = view_of(events(table(ROWS))), view_of(events(table(ROWS, pa.float64())))
    bench.run(4, old)
    copy(bench, old, new)
    (report,) = bench.run(6, new)
    other.run(6, new)
    assert bench.records(new) == other.records(new)
    assert report.whole
    assert report.notes == ["the columns' types have changed: made anew from the whole history"]


def test_readers_never_meet_new_records_under_old_columns(bench, monkeypatch):
    monkeypatch.setattr(materialize, "RETRACT_S", 0)
    old, new = view_of(events(table(ROWS))), view_of(events(table(ROWS, pa.float64())))
    bench.run(4, old)
    copy(bench, old, new)
    hooked = Hooked(bench.store)
    metas = []
    hooked.before = lambda name, _: metas.append((name, bench.meta(new) is not None))
    Bench(hooked).run(6, new)
    writes = [there for name, there in metas if name == "write"]
    assert writes == [False] * len(writes)
    assert bench.meta(new) is not None


def test_an_empty_source_has_a_watermark_and_no_records(bench):
    view = view_of(events(table([])))
    (report,) = bench.run(6, view)
    assert set(bench.records(view)) == {META_KEY}
    assert (report.done, report.records, bench.meta(view).watermark_us) == (True, 0, 6 * HOUR)
    bench.run(7, view)
    assert bench.meta(view).watermark_us == 7 * HOUR


def test_null_keys_and_times_are_in_no_record_and_composite_keys_are_told_apart(bench):
    view = view_of(
        events(table([("a", 1, 1), ("a", 25, 1), (None, 1, 1), ("a:1", 25, 1)])), entity=payment, window="2d"
    )
    bench.run(26, view)
    assert set(times(bench, view)) == {b"1:a0", b"1:a1", b"3:a:11"}


@pytest.mark.parametrize("keyed", [False, True])
def test_a_union_is_one_history(bench, other, keyed):
    first = events(
        table([("a", 1, 1, 1, "x"), ("a", 1, 5, 2, "x"), ("b", 3, 1, 3, "y")]),
        key="id" if keyed else None,
        name="p",
    )
    second = events(table([("a", 2, 7), ("c", 4, 8)]), name="q")
    view = view_of(Union("both", [first, second]), window="9h")
    for until in (1.5, 2.5, 5):
        bench.run(until, view)
    other.run(5, view)
    assert times(bench, view) == times(other, view)
    assert times(bench, view)[b"a"] == ([1, 1, 2] if not keyed else times(other, view)[b"a"])
    assert bench.records(view)[b"a"] == other.records(view)[b"a"]


def test_a_revised_event_that_moves_to_another_entity_moves_in_any_number_of_partitions(bench, other):
    rows = [(f"a{i % 7}", 1 + i % 5, i, 1 + i % 5, f"e{i}") for i in range(60)]
    rows += [(f"a{(i + 3) % 7}", 1 + i % 5, i, 6 + i % 3, f"e{i}") for i in range(0, 60, 4)]
    view = view_of(events(table(rows), key="id"), window="9h")
    bench.memory_bytes = 2_000
    for until in (4, 7, 9):
        bench.run(until, view)
    other.run(9, view)
    assert len({step for step in bench.seen if step[0] == "read"}) >= 1
    assert bench.records(view) == other.records(view)


@pytest.mark.parametrize("revised", [False, True])
def test_partitions_give_the_same_records(bench, other, revised):
    rows = [(f"a{i % 11}", i / 10, i, i / 10, f"e{i}") for i in range(200)]
    view = view_of(events(table(rows), key="id" if revised else None))
    bench.memory_bytes = 3_000
    for until in (5, 12, 15):
        bench.run(until, view)
        other.run(until, view)
    assert bench.records(view) == other.records(view)


def test_views_of_one_source_are_read_once(bench):
    source = events(table(ROWS))
    views = [view_of(source), view_with_last(source)]
    bench.run(6, *views)
    assert [step for step in bench.seen if step[0] == "read"].count(("read", "tx", 5, 5)) <= 2
    alone = [view_of(source, "alone")]
    assert times(bench, views[0]) == times(bench, alone[0])


def test_history_that_was_dropped_is_not_promised_again(bench):
    view = FeatureView(
        "v",
        entity=account,
        source=events(table([("a", i, 1) for i in range(1, 9)])),
        features=[count().over("1h")],
    )
    bench.run(6, view)
    bench.history_us = 5 * HOUR
    bench.run(8, view)
    assert bench.meta(view).floor_us == 6 * HOUR
    assert times(bench, view) == {b"a": [5, 6, 7]}
    bench.run(8, view, whole=True)
    assert bench.meta(view).floor_us == 3 * HOUR
    assert times(bench, view) == {b"a": [2, 3, 4, 5, 6, 7]}


def test_records_may_expire_only_when_no_window_can_need_them(bench):
    view = FeatureView("v", entity=account, source=events(table(ROWS)), features=[sum("amount").over("30d")])
    bench.ttl_s = 60
    with pytest.raises(ConfigError, match=r"online\.ttl is set, and this online store cannot forget"):
        bench.run(6, view)
    resources = Resources(1, 1, HOUR, HOUR, 60)
    free = Resources(1, 1, HOUR, HOUR, None)
    (step,) = plan_steps([view], bench.store, 0, 0, free, whole=False)
    assert step.lasting_s(resources) == 30 * 86_400 + 7_201  # both edges of the window
    (step,) = plan_steps([view_with_last(events(table(ROWS)))], bench.store, 0, 0, free, whole=False)
    assert step.lasting_s(resources) is None
