"""What workers of a stream make of events, case by case, with what is expected written out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

import asof
from asof.errors import BackendError, StateError
from asof.flows.stream import SourceWorker
from asof.online.open_store import open_store
from asof.streams import log_follow
from asof.streams.stream import Polled
from tests.flows.materializing import Hooked
from tests.flows.streamed import ACCOUNT, DEVICE, HOURLY, Bank, row
from tests.stores import open_one

ONE = asof.Log(partitions=1)
Make = Callable[..., Bank]


@pytest.fixture(autouse=True)
def balance_at_once(monkeypatch):
    """A follower looks for its share whenever it is asked, and not every fifty milliseconds."""
    monkeypatch.setattr(log_follow, "_BALANCE_EVERY_S", 0.0)


@pytest.fixture
def bank(tmp_path) -> Iterator[Make]:
    made: list[Bank] = []
    store = open_store("lmdb:///online", root=tmp_path)

    def make(*, begun: bool = True, **facts: Any) -> Bank:
        made.append(Bank(tmp_path, store, **facts))
        if begun:
            made[-1].materialize()
        return made[-1]

    yield make
    for each in made:
        each.close()
    store.close()


@pytest.fixture(params=["lmdb", pytest.param("redis", marks=pytest.mark.service("redis"))])
def anywhere(request, tmp_path) -> Iterator[Make]:
    store = open_one(request.param, request, tmp_path)
    store.drop("streams")  # the server's others have sources of the same name
    made: list[Bank] = []

    def make(*, begun: bool = True, **facts: Any) -> Bank:
        made.append(Bank(tmp_path, store, **facts))
        for view in made[-1].made:
            store.drop(made[-1].space(view))
        if begun:
            made[-1].materialize()
        return made[-1]

    yield make
    for each in made:
        each.close()
    store.close()


# ---------------------------------------------------------------------------------------------- events come in
def test_events_are_served_and_landed_each_once(anywhere):
    bank = anywhere()
    worker = bank.worker()
    bank.clock.advance("60s")
    bank.push(row("a", 50, 5), row("a", 55, 7), row("b", 51, 1))
    bank.clock.advance("1s")
    bank.drain(worker)
    assert bank.both(0, "a", "b", "c") == [(2, 12), (1, 1), (0, 0)]
    assert len(bank.landed()) == 3
    assert bank.counted()["applied"] == 3


def test_what_was_applied_is_served_before_it_is_landed(bank):
    bank = bank()
    worker = bank.worker()
    bank.clock.advance("60s")
    bank.push(row("a", 50, 5))
    bank.clock.advance("1s")
    bank.drain(worker, flush=False)
    assert bank.online(0, "a") == [{"count_1h": 1, "amount_sum_1h": 5}]
    assert bank.landed() == []


def test_a_late_event_lands_in_its_place(bank):
    last_two = asof.last("amount", n=2).over("1h").named("last_two")
    bank = bank(views=[(ACCOUNT, [*HOURLY, last_two])])
    worker = bank.worker()
    bank.clock.advance("3000s")
    bank.push(row("a", 2_900, 5), row("a", 2_999, 7))
    bank.clock.advance("1s")
    bank.drain(worker)
    assert bank.both(0, "a") == [(2, 12, [7, 5])]
    bank.push(row("a", 2_950, 100), row("a", 10, 1000))
    bank.clock.advance("1s")
    bank.drain(worker)
    assert bank.both(0, "a") == [(4, 1_112, [7, 100])]
    bank.clock.advance("700s")  # the one at 10 s has left the window
    assert bank.both(0, "a") == [(3, 112, [7, 100])]


def test_an_event_that_no_window_can_count_is_landed_and_told_as_late(bank):
    bank = bank(stream=ONE)
    worker = bank.worker()
    bank.clock.advance("10h")
    bank.push(row("a", 10 * 3_600 - 5, 1), row("b", 10 * 3_600 - 5, 1))
    bank.drain(worker)
    bank.clock.advance("1s")
    bank.push(row("a", 10, 1_000))
    bank.clock.advance("1s")
    bank.drain(worker)
    assert bank.both(0, "a") == [(1, 1)]
    assert bank.counted()["late"] == 1
    assert len(bank.landed()) == 3


def test_a_correction_takes_the_place_of_its_event_and_a_delete_withdraws_it(anywhere):
    bank = anywhere(key="id")
    worker = bank.worker()
    bank.clock.advance("100s")
    bank.push(row("a", 50, 5, id="1"), row("a", 60, 7, id="2"))
    bank.clock.advance("1s")
    bank.drain(worker)
    assert bank.both(0, "a") == [(2, 12)]
    bank.push(row("a", 55, 50, id="1"))
    bank.clock.advance("1s")
    bank.drain(worker)
    assert bank.both(0, "a") == [(2, 57)]
    bank.push(row("a", 60, 7, id="2", gone=True))
    bank.clock.advance("1s")
    bank.drain(worker)
    assert bank.both(0, "a") == [(1, 50)]
    assert bank.both(0, "a", at=102) == [(2, 57)]
    assert bank.both(0, "a", at=101) == [(2, 12)]


def test_corrections_reach_what_the_history_had(bank):
    bank = bank(
        key="id", history=[row("a", -100, 5, id="1", gone=False), row("b", -50, 3, id="9", gone=False)]
    )
    worker = bank.worker()
    bank.clock.advance("10s")
    bank.push(row("a", -100, 6, id="1"), row("b", -50, 3, id="9", gone=True), row("a", 5, 1, id="2"))
    bank.clock.advance("1s")
    bank.drain(worker)
    assert bank.both(0, "a", "b") == [(2, 7), (0, 0)]
    bank.materialize(whole=True)
    assert bank.both(0, "a", "b") == [(2, 7), (0, 0)]


def test_an_event_that_comes_again_unchanged_changes_nothing(bank):
    bank = bank(key="id")
    worker = bank.worker()
    bank.clock.advance("100s")
    again = row("a", 50, 5, id="1")
    bank.push(again)
    bank.push(again, again)
    bank.clock.advance("1s")
    bank.push(again)
    bank.clock.advance("1s")
    bank.drain(worker)
    assert bank.both(0, "a") == [(1, 5)]
    assert len(bank.landed()) == 4


def test_a_batch_that_is_pushed_again_under_its_key_comes_once(bank):
    bank = bank()
    worker = bank.worker()
    bank.clock.advance("100s")
    bank.push(row("a", 50, 5), row("b", 50, 5), key="k1")
    assert bank.push(row("a", 50, 5), row("b", 50, 5), key="k1").repeated
    bank.clock.advance("1s")
    bank.drain(worker)
    assert bank.both(0, "a", "b") == [(1, 5), (1, 5)]


# ---------------------------------------------------------------------------------------------- dead letters
def test_events_that_cannot_be_used_become_dead_letters_and_the_rest_goes_on(bank):
    bank = bank(key="id", stream=ONE)
    worker = bank.worker()
    bank.clock.advance("100s")
    bank.push(row("a", 50, 5, id="1"))
    bank.push_raw(
        b"{not json",
        b'{"account": "a", "at": "2026-01-01T00:00:01Z", "amount": "a lot", "id": "2"}',
        b'{"account": "a", "at": null, "amount": 1, "id": "3"}',
        b'{"account": "a", "at": "2026-01-01T00:00:01Z", "amount": 1}',
        b'{"account": "a", "at": "2026-01-01T03:00:00Z", "amount": 1, "id": "4"}',
        b"[1, 2]",
    )
    bank.push(row("a", 60, 7, id="5"))
    bank.clock.advance("1s")
    bank.drain(worker)
    reasons = dict(bank.letters())
    assert sorted(reasons) == [1, 2, 3, 4, 5, 6]
    assert reasons[3] == "no event time"
    assert reasons[4] == "no event key"
    assert reasons[5] == "the event time is too far in the future"
    assert "amount" in reasons[2]
    assert "a lot" not in reasons[2]
    assert bank.both(0, "a") == [(2, 12)]
    assert bank.landed() == [(0, 0), (0, 7)]
    assert bank.counted()["dead"] == 6


def test_an_event_without_the_column_that_chooses_its_partition_is_a_dead_letter(bank):
    bank = bank()
    worker = bank.worker()
    bank.clock.advance("100s")
    bank.push(row(None, 50, 5), row("a", 50, 5))
    bank.clock.advance("1s")
    bank.drain(worker)
    assert [reason for _, reason in bank.letters()] == ["account is null"]
    assert bank.both(0, "a") == [(1, 5)]


def test_an_event_of_which_a_feature_cannot_be_computed_is_a_dead_letter(bank):
    odd = asof.count().where("cast(note as integer) > 3").over("1h").named("odd")
    bank = bank(views=[(ACCOUNT, [odd])], stream=ONE)
    worker = bank.worker()
    bank.clock.advance("100s")
    bank.push(row("a", 50, note="7"), row("a", 51, note="seven"), row("a", 52, note="2"))
    bank.clock.advance("1s")
    bank.drain(worker)
    assert [offset for offset, _ in bank.letters()] == [1]
    assert "seven" not in bank.letters()[0][1]
    assert bank.both(0, "a") == [(1,)]


# ---------------------------------------------------------------------------------------------- history and stream
PAST = [row("a", -3_000, 100), row("a", -100, 10), row("b", -7_000, 1)]


def test_the_history_may_be_backfilled_before_between_and_after(anywhere):
    bank = anywhere(history=PAST, begun=False)
    worker = bank.worker()
    bank.clock.advance("60s")
    bank.push(row("a", 55, 1))
    bank.clock.advance("1s")
    bank.drain(worker)  # the stream is first
    bank.settle(worker)
    bank.clock.advance("1s")
    bank.materialize()
    assert bank.both(0, "a", "b") == [(3, 111), (0, 0)]
    bank.push(row("a", 62, 2), row("c", 62, 2))
    bank.clock.advance("1s")
    bank.drain(worker, flush=False)
    bank.materialize(whole=True)  # ends where the stream has landed
    assert bank.online(0, "a", "c") == [
        {"count_1h": 4, "amount_sum_1h": 113},
        {"count_1h": 1, "amount_sum_1h": 2},
    ]
    bank.drain(worker)
    bank.clock.advance("1s")
    bank.materialize()
    assert bank.both(0, "a", "b", "c") == [(4, 113), (0, 0), (1, 2)]
    bank.clock.advance("700s")
    assert bank.both(0, "a", "b", "c") == [(3, 13), (0, 0), (1, 2)]


def test_what_the_stream_withdrew_before_the_history_came_stays_withdrawn(bank):
    bank = bank(
        key="id", stream=ONE, history=[row("a", -100, 5, id="1"), row("a", -50, 3, id="2")], begun=False
    )
    worker = bank.worker()
    bank.settle(worker)
    bank.clock.advance("60s")
    bank.push(row("a", -100, 5, id="1", gone=True), row("a", 50, 1, id="3"))
    bank.clock.advance("1s")
    bank.drain(worker)
    bank.materialize()
    assert bank.both(0, "a") == [(2, 4)]
    bank.clock.advance("1s")
    bank.settle(worker)
    bank.materialize()
    assert bank.both(0, "a") == [(2, 4)]


@pytest.mark.parametrize("key", [None, "id"])
def test_a_backfill_that_is_told_to_end_earlier_loses_nothing_of_the_stream(bank, key):
    bank = bank(key=key, history=[row("a", -100, 5, id="1")])
    worker = bank.worker()
    for second in (60, 120):
        bank.clock.advance("60s")
        bank.push(row("a", second - 5, second, id=str(second)))
        bank.drain(worker)
    bank.push(row("a", -100, 5, id="1", gone=key is not None))
    bank.clock.advance("1s")
    bank.drain(worker)
    bank.settle(worker)
    wanted = bank.both(0, "a")
    bank.materialize()
    assert bank.both(0, "a") == wanted
    bank.materialize(whole=True, until=70)
    assert bank.both(0, "a") == wanted
    bank.clock.advance("2h")
    bank.push(row("a", 7_300, 1, id="9"))
    bank.clock.advance("1s")
    bank.drain(worker)
    bank.materialize(whole=True, until=80)
    assert bank.both(0, "a") == [(1, 1)]


def test_a_run_ends_at_what_the_stream_has_landed_and_says_so(bank):
    bank = bank(history=PAST)
    worker = bank.worker()
    bank.clock.advance("60s")
    worker.step()
    bank.drain(worker)
    bank.clock.advance("60s")
    (view,) = bank.materialize()
    assert view.notes == ["up to what the stream of tx has landed"]


def test_a_view_that_is_added_later_catches_up(bank):
    bank = bank(history=PAST)
    worker = bank.worker()
    bank.clock.advance("60s")
    bank.push(row("a", 55, 1, device="x"), row("b", 56, 2, device="x"))
    bank.clock.advance("1s")
    bank.drain(worker)
    worker.close()
    bank.define([(ACCOUNT, HOURLY), (DEVICE, HOURLY)])
    worker = bank.worker()
    bank.drain(worker)
    (by_device,) = (view for view in bank.materialize() if view.view.startswith("by_device"))
    assert by_device.rows == 0  # nothing of the history: the worker brought what is there
    assert bank.both(1, "x") == [(2, 3)]
    bank.push(row("c", 61, 4, device="x"))
    bank.clock.advance("1s")
    bank.drain(worker)
    assert bank.both(1, "x", "y") == [(3, 7), (0, 0)]
    assert bank.both(0, "a", "b", "c") == [(3, 111), (1, 2), (1, 4)]


def test_a_replay_changes_nothing(bank):
    bank = bank(history=PAST, key="id", stream=ONE)
    worker = bank.worker()
    bank.clock.advance("60s")
    bank.push(row("a", 55, 1, id="1"), row("a", 55, 2, id="1"), row("b", 56, 2, id="2"))
    bank.clock.advance("1s")
    bank.drain(worker)
    bank.checkpoints.forget(bank.space(bank.made[0]))
    bank.drain(worker)
    worker.close()
    bank.drain(bank.worker())
    assert bank.both(0, "a", "b") == [(3, 112), (1, 2)]
    assert bank.landed() == [(0, 0), (0, 1), (0, 2)]


def test_a_training_set_of_past_instants_has_what_was_read_then(bank):
    bank = bank(key="id", history=[row("a", -10, 3, id="0")])
    worker = bank.worker()
    read: dict[int, Any] = {}
    for second in range(10, 100, 10):
        bank.clock.advance("9s")
        bank.push(
            row("a", second - 9 - second % 20, second, id=str(second % 40)),
            row("b", second - 5, 1, id=f"b{second % 30}", gone=second == 60),
        )
        bank.clock.advance("1s")
        bank.drain(worker, flush=second % 30 == 0)
        read[bank.now] = bank.online(0, "a", "b")
    worker.flush()
    for at, wanted in read.items():
        assert bank.trained(0, "a", "b", at=at) == wanted
        assert bank.online(0, "a", "b", at=at) == wanted
    assert read[10] == [{"count_1h": 2, "amount_sum_1h": 13}, {"count_1h": 1, "amount_sum_1h": 1}]
    assert read[50] == [{"count_1h": 4, "amount_sum_1h": 140}, {"count_1h": 3, "amount_sum_1h": 3}]


# ---------------------------------------------------------------------------------------------- several workers
def test_two_workers_share_partitions_and_give_them_over(anywhere):
    bank = anywhere()
    one = bank.worker()
    bank.clock.advance("60s")
    bank.push(*(row(f"a{n}", 50, n) for n in range(20)))
    bank.drain(one, flush=False)
    two = bank.worker()
    bank.push(*(row(f"a{n}", 55, 100) for n in range(20)))
    bank.clock.advance("1s")
    bank.drain(one, two)
    owners = {each.owner for each in bank.checkpoints.all().values()}
    assert owners == {one.owner, two.owner}
    names = [f"a{n}" for n in range(20)]
    assert bank.both(0, *names) == [(2, 100 + n) for n in range(20)]
    assert len(set(bank.landed())) == len(bank.landed()) == 40
    two.close()
    bank.push(*(row(f"a{n}", 56, 1_000) for n in range(20)))
    bank.clock.advance("1s")
    bank.drain(one)
    assert bank.both(0, *names) == [(3, 1_100 + n) for n in range(20)]


def test_an_entity_may_have_events_in_partitions_of_several_workers(anywhere):
    bank = anywhere(views=[(ACCOUNT, HOURLY), (DEVICE, HOURLY)], key="id")
    one, two = bank.worker(), bank.worker()
    bank.clock.advance("60s")
    bank.drain(one, two)
    for turn in range(3):
        bank.push(
            *(row(f"a{n}", 50 + turn, 1 + turn, device=f"d{n % 3}", id=f"{turn}/{n}") for n in range(9))
        )
        bank.drain(one, two, flush=False)
    bank.push(row("a4", 50, 101, device="d1", id="0/4"))
    bank.clock.advance("1s")
    bank.drain(one, two)
    assert {each.owner for each in bank.checkpoints.all().values()} == {one.owner, two.owner}
    assert bank.both(1, "d0", "d1", "d2") == [(9, 18), (9, 118), (9, 18)]
    bank.materialize()
    assert bank.both(1, "d0", "d1", "d2") == [(9, 18), (9, 118), (9, 18)]
    assert bank.both(0, "a4") == [(3, 106)]


def test_a_worker_that_was_held_up_changes_nothing_that_its_successor_did(bank):
    bank = bank(stream=ONE)
    hooked = Hooked(bank.store)
    slow, fast = bank.worker(store=hooked), bank.worker()
    bank.clock.advance("60s")
    bank.drain(slow)
    bank.push(row("a", 50, 5), row("b", 50, 7))
    bank.clock.advance("1s")
    held_up: list[bool] = []

    def take_over(name: str, _: int) -> None:
        if name == "swap" and not held_up:  # it has read the records, and is about to write them
            held_up.append(True)
            slow._follower.close()
            bank.drain(fast)

    hooked.before = take_over
    while not held_up:
        slow.step()
    bank.push(row("a", 51, 1))
    bank.clock.advance("1s")
    slow.flush()
    bank.drain(fast)
    assert bank.both(0, "a", "b") == [(2, 6), (1, 7)]
    assert bank.landed() == [(0, 0), (0, 1), (0, 2)]
    assert bank.checkpoints.find(0).owner == fast.owner


def test_a_worker_that_lost_its_partition_applies_and_lands_to_no_effect(bank):
    bank = bank(stream=ONE)
    one = bank.worker()
    bank.clock.advance("60s")
    bank.push(row("a", 50, 5), row("b", 50, 7))
    chunks = one.stream.read(0, 0, 10)
    bank.drain(one)
    two = bank.worker()
    bank.push(row("a", 51, 1))
    unseen = one.stream.read(0, 2, 10)
    one._follower.close()
    bank.clock.advance("1s")
    bank.drain(two, flush=False)
    zombie: Any = _Forgetful(chunks, unseen)
    one._follower = zombie
    one.step()
    two.flush()
    one.flush()
    assert bank.both(0, "a", "b") == [(2, 6), (1, 7)]
    assert bank.landed() == [(0, 0), (0, 1), (0, 2)]
    assert bank.checkpoints.find(0).owner == two.owner
    assert bank.checkpoints.find(0).next == 3


class _Forgetful:
    """A follower that has not heard that its partition is another's."""

    def __init__(self, *parts: Any) -> None:
        self.parts = parts

    def poll(self, *_: Any) -> Polled:
        return Polled([chunk for part in self.parts for chunk in part])

    def close(self) -> None:
        pass


@pytest.mark.parametrize("flushed", [False, True])
def test_a_crash_between_write_and_checkpoint_counts_nothing_twice(anywhere, flushed):
    bank = anywhere()
    worker = bank.worker()
    bank.clock.advance("60s")
    bank.push(row("a", 50, 5), row("b", 50, 7))
    bank.clock.advance("1s")
    bank.drain(worker, flush=flushed)
    bank.push(row("a", 51, 1), row("a", 52, 2))
    bank.drain(worker, flush=False)
    worker.abandon()
    bank.clock.advance("1s")
    again = bank.worker()
    bank.drain(again)
    assert bank.both(0, "a", "b") == [(3, 8), (1, 7)]
    assert len(set(bank.landed())) == len(bank.landed()) == 4


def test_a_crash_after_landing_and_before_the_checkpoint_lands_nothing_twice(bank, monkeypatch):
    bank = bank(stream=ONE)
    worker = bank.worker()
    bank.clock.advance("60s")
    bank.push(row("a", 50, 5))
    bank.push(row("a", 51, 7))
    bank.clock.advance("1s")
    bank.drain(worker, flush=False)

    def crash(*_: object) -> bool:
        raise BackendError("the store is down")

    with monkeypatch.context() as patched:
        patched.setattr(worker.checkpoints, "save", crash)
        with pytest.raises(BackendError):
            worker.flush()
    worker.abandon()
    bank.push(row("a", 52, 1))
    bank.clock.advance("1s")
    bank.drain(bank.worker(batch=1))
    assert bank.landed() == [(0, 0), (0, 1), (0, 2)]
    assert bank.both(0, "a") == [(3, 13)]


def test_files_of_a_worker_that_died_overlap_those_of_its_successor_and_nothing_is_lost(bank, monkeypatch):
    bank = bank(stream=ONE)
    worker = bank.worker()
    bank.clock.advance("60s")
    bank.push(row("a", 49))
    bank.drain(worker)  # offset 0, and a checkpoint
    for second in (50, 51, 52):
        bank.push(row("a", second))
    bank.drain(worker, flush=False)

    def crash(*_: object) -> bool:
        raise BackendError("the store is down")

    monkeypatch.setattr(worker.checkpoints, "save", crash)
    with pytest.raises(BackendError):
        worker.flush()  # offsets 1 to 3 are landed, and no checkpoint says so
    worker.abandon()
    after = bank.worker(batch=1)
    after.step()
    assert after.step() == 1
    after.flush()  # offset 1
    bank.push(row("a", 53))
    bank.clock.advance("1s")
    bank.drain(after)  # offsets 2 to 4
    assert bank.landed() == [(0, 0), (0, 1), (0, 2), (0, 3), (0, 4)]
    assert bank.both(0, "a") == [(5, 5)]


def test_a_stream_that_forgot_what_no_worker_has_seen_is_told(bank, monkeypatch):
    bank = bank(stream=ONE)
    worker = bank.worker()
    bank.clock.advance("60s")
    bank.push(row("a", 50, 5))
    bank.drain(worker)
    worker.close()
    later = bank.worker()
    ends = later.stream.ends()
    monkeypatch.setattr(later.stream, "ends", lambda: {0: type(ends[0])(first=5, next=9, newest_us=None)})
    with pytest.raises(StateError, match="has forgotten events 1 to 4 of partition 0"):
        later.step()


# ---------------------------------------------------------------------------------------------- kinds of views
WIRES = {"who": "string", "cents": "int64", "at": "timestamp", "known": "timestamp"}


def test_two_streams_of_a_union_meet_in_one_record(bank):
    bank = bank(history=PAST)
    wires = asof.Events(
        "wires", asof.Landed(columns=WIRES), event_time="at", known_at="known", stream=asof.Log(partitions=1)
    )
    both = asof.Union("both", [bank.source, wires.mapped(account="who", amount="cents")])
    bank.join(asof.FeatureView("united", entity=ACCOUNT, source=both, features=list(HOURLY), online=True))
    bank.materialize()
    one, two = bank.worker(), bank.worker(source=wires)
    bank.clock.advance("60s")
    bank.push(row("a", 55, 1), row("b", 55, 2))
    bank.push({"who": "a", "cents": 1_000, "at": 56}, {"who": "c", "cents": 5, "at": 57}, source="wires")
    bank.clock.advance("1s")
    bank.drain(one, two)
    assert bank.both(1, "a", "b", "c") == [(4, 1_111), (1, 2), (1, 5)]
    assert bank.both(0, "a", "b", "c") == [(3, 111), (1, 2), (0, 0)]
    bank.materialize()
    bank.push({"who": "a", "cents": 1, "at": 60}, source="wires")
    bank.clock.advance("1s")
    bank.drain(one, two)
    assert bank.both(1, "a", "b", "c") == [(5, 1_112), (1, 2), (1, 5)]


HOPPING = (
    asof.count().over("2h", hop="10m"), asof.sum("amount").over("1h", hop="10m"),
    asof.max("amount").over("3h", hop="1h"),
)  # fmt: skip


def test_records_with_tiles_take_events_also_late_ones_before_their_boundary(bank):
    history = [row("a", -600 * n - 5, n) for n in range(1, 30)]
    bank = bank(history=history, views=[(ACCOUNT, HOPPING)])
    worker = bank.worker()
    # at midnight: 11 events within two hours (1 to 11), 5 within one (1 to 5), 17 within three (the largest: 17)
    assert bank.both(0, "a") == [(11, 15, 17)]
    bank.clock.advance("605s")
    bank.push(row("a", 10, 1_000), row("a", -3_000, 100), row("a", -7_000, 10_000))
    bank.clock.advance("1s")
    bank.drain(worker)
    # [-6600, 600): events 1 to 10, 1000 and 100; [-3000, 600): 1 to 4, 1000 and 100; [-10800, 0): 10000
    assert bank.both(0, "a") == [(12, 1_110, 10_000)]
    bank.materialize()
    assert bank.both(0, "a") == [(12, 1_110, 10_000)]
    bank.clock.advance("3h")
    bank.push(row("a", 600 + 10_800, 7))
    bank.clock.advance("10m")
    bank.drain(worker)
    bank.materialize()
    assert bank.both(0, "a") == [(1, 7, 1_000)]


def test_a_newest_value_expires(bank):
    bank = bank(views=[(ACCOUNT, [asof.latest("note", ttl="60s")])], history=[row("b", -10, note="old")])
    worker = bank.worker()
    bank.clock.advance("30s")
    bank.push(row("a", 20, note="new"), row("a", 10, note="before"))
    bank.clock.advance("1s")
    bank.drain(worker)
    assert bank.both(0, "a", "b", "c") == [("new",), ("old",), (None,)]
    bank.clock.advance("29s")
    assert bank.both(0, "a", "b", "c") == [("new",), (None,), (None,)]
    bank.clock.advance("21s")
    assert bank.both(0, "a", "b", "c") == [(None,), (None,), (None,)]


def test_maps_and_lists_come_from_the_stream_as_well(bank):
    features = [
        asof.sum("amount").by("note").over("1h").named("notes"),
        asof.distinct("device").over("1h").named("d"),
    ]
    bank = bank(views=[(ACCOUNT, features)], history=[row("a", -10, 3, note="x", device="p")])
    worker: SourceWorker = bank.worker()
    bank.clock.advance("30s")
    bank.push(row("a", 20, 4, note="x", device="q"), row("a", 10, 5, note="y", device="p"))
    bank.clock.advance("1s")
    bank.drain(worker)
    assert bank.both(0, "a") == [([("x", 7), ("y", 5)], 2)]
