"""What status tells of streams, and what replay and skip make of checkpoints: numbers written out by hand."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import asof
from asof.errors import BackendError, StateError, UnknownName
from asof.flows.dead_letters import drop_dead, list_dead, retry_dead
from asof.flows.stream import run_workers
from asof.flows.stream_replay import Begin, PartitionReplay, replay
from asof.flows.stream_status import PartitionStatus, SourceStatus, ViewStatus, read_status
from asof.online.open_store import open_store
from asof.streams import log_follow
from asof.streams.encode import encode_rows
from asof.streams.log import LogStream
from asof.testing.clock import FakeClock
from tests.flows.streamed import ACCOUNT, HOURLY, SECOND, START, Bank, row

ONE = asof.Log(partitions=1)
Make = Callable[..., Bank]


@pytest.fixture(autouse=True)
def balance_at_once(monkeypatch):
    monkeypatch.setattr(log_follow, "_BALANCE_EVERY_S", 0.0)


@pytest.fixture
def bank(tmp_path) -> Iterator[Make]:
    made: list[Bank] = []
    store = open_store("lmdb:///online", root=tmp_path)

    def make(**facts: Any) -> Bank:
        made.append(Bank(tmp_path, store, **{"stream": ONE, **facts}))
        made[-1].materialize()
        return made[-1]

    yield make
    for each in made:
        each.close()
    store.close()


def told(bank: Bank) -> SourceStatus:
    (found,) = bank.project.stream_status(store=bank.store)
    return found


def test_a_partition_is_told_from_before_the_first_worker_until_after_the_last(bank):
    bank = bank()
    bank.clock.advance("1s")
    bank.push(row("a", 0), row("a", 1))
    bank.clock.advance("30s")
    bank.push(row("b", 30))
    assert told(bank).partitions == (PartitionStatus(0, 0, 3, 3, 30 * SECOND),)
    assert told(bank).views == (ViewStatus("by_account_0", 30 * SECOND),)
    worker = bank.worker(batch=2)
    while told(bank).partitions[0].next < 2:  # it tells once a second where it is
        worker.step()
        bank.clock.advance("1s")
    (found,) = told(bank).partitions
    assert (found.next, found.lag_events, found.is_live) == (2, 1, True)
    assert found.lag_us == bank.clock.now_us() - START - 31 * SECOND
    worker.step()
    bank.clock.advance("1s")
    worker.step()
    (found,) = told(bank).partitions
    assert (found.next, found.lag_events, found.lag_us, found.known_us) == (3, 0, 0, bank.clock.now_us())
    assert (found.counts["events"], found.counts["dead"], found.events_per_s) == (3, 0, 0.0)
    bank.clock.advance("5s")
    (found,) = told(bank).partitions
    assert (found.is_live, found.events_per_s) == (False, 0.0)
    worker.close()
    (found,) = told(bank).partitions
    assert (found.next, found.is_live, found.counts["events"]) == (3, False, 3)


def test_a_worker_that_was_killed_is_not_behind_what_its_records_hold(bank):
    bank = bank()
    bank.clock.advance("1s")
    bank.push(row("a", 0))
    worker = bank.worker()
    worker.step()
    bank.clock.advance("2s")
    worker.step()
    worker.abandon()
    assert bank.checkpoints.find(0).next == 0
    assert told(bank).partitions[0].next == 1
    assert told(bank).lag_events == 0


def test_a_view_is_late_when_its_objective_is_missed_or_no_worker_has_come_to_it(bank):
    assert not ViewStatus("v", 60 * SECOND, 60 * SECOND).is_late
    assert ViewStatus("v", 60 * SECOND + 1, 60 * SECOND).is_late
    assert ViewStatus("v", None, 60 * SECOND).is_late
    assert not ViewStatus("v", None).is_late
    bank = bank()
    bank.push(row("a", 0))
    bank.drain(bank.worker())
    new = asof.FeatureView(
        "new", entity=ACCOUNT, source=bank.source, features=HOURLY[:1], online=True, freshness="60s"
    )
    bank.join(new)
    assert [(each.view, each.age_us, each.is_late) for each in told(bank).views] == [
        ("by_account_0", 0, False), ("new", None, True)
    ]  # fmt: skip
    bank.workers[0].close()
    bank.drain(bank.worker())
    assert [each.age_us for each in told(bank).views] == [0, 0]


def test_a_stream_that_fails_is_told_as_a_problem_and_the_age_is_that_of_what_is_known(bank, monkeypatch):
    bank = bank()
    bank.clock.advance("1s")
    bank.push(row("a", 0))
    worker = bank.worker()
    bank.drain(worker)
    bank.clock.advance("9s")

    def fail() -> None:
        raise BackendError("the brokers are away", retryable=True)

    monkeypatch.setattr(worker.stream, "ends", fail)
    found = read_status(bank.project, bank.store, bank.source, worker.stream)
    assert (found.problem, found.lag_events, found.lag_us) == ("the brokers are away", None, None)
    assert (found.partitions[0].next, found.partitions[0].end) == (1, None)
    assert found.views[0].age_us == 9 * SECOND


def test_a_project_names_the_sources_that_it_asks_for(bank):
    bank = bank()
    with pytest.raises(UnknownName):
        bank.project.stream_status(["ty"], store=bank.store)
    assert [each.source for each in bank.project.stream_status(["tx"], store=bank.store)] == ["tx"]


def test_a_project_pushes_a_batch_once_under_its_key(bank):
    bank = bank()
    rows = [{"account": "a", "amount": 5, "at": "2026-01-01T00:00:00Z"}]
    assert bank.project.push("tx", rows, idempotency_key="k").places == {0: (0, 1)}
    again = bank.project.push("tx", rows, idempotency_key="k")
    assert (again.repeated, again.places) == (True, {0: (0, 1)})
    bank.drain(bank.worker())
    bank.clock.advance("1s")
    assert bank.both(0, "a") == [(1, 5)]


def test_a_replay_while_the_worker_runs_is_done_by_it_and_changes_no_answer(bank):
    bank = bank()
    worker = bank.worker()
    bank.push(row("a", 0, 5), row("b", 0, 7))
    bank.drain(worker)
    bank.push(row("a", 0, 1))
    worker.step()  # applied, and in no checkpoint yet
    bank.clock.advance("1s")
    assert bank.online(0, "a", "b") == [
        {"count_1h": 2, "amount_sum_1h": 6},
        {"count_1h": 1, "amount_sum_1h": 7},
    ]
    bank.store.drop(bank.space(bank.made[0]))
    bank.materialize(whole=True)
    made = replay(bank.project, bank.store, bank.source, Begin(known_us=START))
    assert made == [PartitionReplay(0, 0, 2, 2)]
    assert told(bank).views[0].waiting == 2
    bank.drain(worker)  # finds at its next checkpoint that it was told to
    bank.drain(worker)
    assert told(bank).views[0].waiting == 0
    assert bank.both(0, "a", "b") == [(2, 6), (1, 7)]
    assert bank.landed() == [(0, 0), (0, 1), (0, 2)]


def test_a_replay_that_comes_while_a_worker_catches_up_is_not_forgotten(bank, monkeypatch):
    bank = bank(views=((ACCOUNT, HOURLY), (ACCOUNT, HOURLY)))
    first = bank.worker()
    bank.push(row("a", 0, 5), row("a", 0, 6))
    bank.drain(first)
    first.close()
    for view in bank.made:
        bank.store.drop(bank.space(view))
    bank.materialize(whole=True)
    replay(bank.project, bank.store, bank.source, Begin(offset=0), views=["by_account_0"])
    second = bank.worker()
    save, told_once = second.checkpoints.save, threading.Event()

    def meanwhile(before: Any, after: Any) -> bool:
        if not told_once.is_set():
            told_once.set()
            replay(bank.project, bank.store, bank.source, Begin(offset=0), views=["by_account_1"])
        return save(before, after)

    monkeypatch.setattr(second.checkpoints, "save", meanwhile)
    bank.drain(second)
    bank.clock.advance("1s")
    assert told_once.is_set()
    assert bank.both(0, "a") == bank.both(1, "a") == [(2, 11)]


def test_a_replay_from_a_time_begins_at_its_hour(bank):
    bank = bank()
    worker = bank.worker()
    for second in (10, 3_700, 7_300):
        bank.clock.advance("61m")
        bank.push(row("a", second))
        bank.drain(worker)
    assert [
        replay(bank.project, bank.store, bank.source, Begin(known_us=START + at * SECOND))[0].start
        for at in (0, 2 * 3_660, 3 * 3_660, 10**6)
    ] == [0, 1, 2, 3]


def forgetful(bank: Bank) -> LogStream:
    """The source's log, by a writer whose every append is a segment that lasts for a second."""
    log = asof.Log(partitions=1, retention="1s")
    return LogStream(bank.folder / "streams" / "tx", log, clock=bank.clock, segment_bytes=1)


def test_a_skip_goes_on_behind_events_that_the_stream_has_forgotten(bank):
    bank = bank()
    worker = bank.worker()
    schema, log = worker.schema, forgetful(bank)
    at = "2026-01-01T00:00:00Z"
    for amount in (1, 2, 3, 4):
        log.append(encode_rows([{"account": "a", "amount": amount, "at": at}], schema))
        if amount == 1:
            bank.drain(worker)
            worker.close()
        bank.clock.advance("2s")
    first = log.ends()[0].first
    log.close()
    assert first > 1
    later = bank.worker()
    with pytest.raises(StateError, match=f"has forgotten events 1 to {first - 1} of partition 0"):
        later.step()
    later.abandon()
    assert told(bank).partitions[0].forgotten == first - 1
    made = replay(bank.project, bank.store, bank.source, None, skip=True)
    assert made == [PartitionReplay(0, 1, 1, 0, first - 1)]
    assert replay(bank.project, bank.store, bank.source, None, skip=True)[0].skipped == 0
    last = bank.worker()
    bank.drain(last)
    assert told(bank).lag_events == 0
    kept = [amount for amount in (1, 2, 3, 4) if amount == 1 or amount > first]
    assert bank.both(0, "a") == [(len(kept), sum(kept))]


def test_a_letter_of_a_worker_that_read_again_is_not_tried_twice(bank):
    bank = bank()
    worker = bank.worker()
    bank.push_raw(b'{"account": "a", "amount": 1, "at": null}')
    worker.step()
    worker.step()
    (letter,) = list_dead(bank.project, bank.source)
    assert (letter.partition, letter.offset, letter.reason) == (0, 0, "no event time")
    assert retry_dead(bank.project, bank.source, [(0, 0)]).count == 1
    worker.abandon()  # its checkpoint is before the event
    bank.clock.advance("1s")
    again = bank.worker()
    bank.drain(again)
    assert [each.offset for each in list_dead(bank.project, bank.source)] == [1]
    assert drop_dead(bank.project, bank.source, None) == 1
    assert list_dead(bank.project, bank.source) == []
    assert retry_dead(bank.project, bank.source, None).count == 0


def test_a_letter_goes_to_the_partition_of_its_key(bank):
    bank = bank(stream=asof.Log(partitions=8, partition_by="account"))
    bank.push(row("a", 0))
    (home,) = (p for p, ends in bank.worker().stream.ends().items() if ends.next)
    bank.push_raw(b'{"account": "a", "amount": 1, "at": "2027-01-01T00:00:00Z"}', key=b"other")
    bank.drain(bank.workers[0])
    (letter,) = list_dead(bank.project, bank.source, "FUTURE")
    bank.clock.set(FakeClock("2027-01-01T00:00:00Z").now())
    assert retry_dead(bank.project, bank.source, None).count == 1
    bank.drain(bank.workers[0])
    assert list_dead(bank.project, bank.source) == []
    assert letter.partition != home
    assert bank.workers[0].stream.ends()[home].next == 2


def test_workers_that_run_until_idle_have_dealt_with_all_partitions(bank):
    bank = bank(stream=asof.Log(partitions=4, partition_by="account"))
    for account in "abcdefgh":
        bank.push(row(account, 0))
    workers = [bank.worker(batch=1), bank.worker(batch=1)]
    run_workers(workers, threading.Event(), until_idle=True)
    assert all(each.lag_events == 0 and not each.is_live for each in told(bank).partitions)
    bank.clock.advance("1s")
    assert bank.both(0, *"abcdefgh") == [(1, 1)] * 8


@pytest.mark.parametrize("backfill_first", [True, False])
def test_after_the_whole_store_was_lost_nothing_counts_twice(bank, backfill_first):
    bank = bank()
    bank.push(row("a", 0, 5), row("a", 0, 6))
    bank.drain(bank.worker())
    bank.workers[0].close()
    for namespace in ("streams", bank.space(bank.made[0])):
        bank.store.drop(namespace)
    bank.clock.advance("10s")
    if backfill_first:
        bank.materialize(whole=True)
    bank.drain(bank.worker())
    if not backfill_first:
        bank.materialize(whole=True)
    bank.push(row("a", 10, 1))
    bank.drain(bank.workers[1])
    bank.clock.advance("1s")
    assert bank.both(0, "a") == [(3, 12)]
    assert bank.landed() == [(0, 0), (0, 1), (0, 2)]
