"""What workers once got wrong: each case for itself, with what is expected written out."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import asof
from asof.engines.landed import parse_landed
from asof.errors import BackendError
from asof.online.open_store import open_store
from asof.streams import log_follow
from asof.streams.stream import Chunk, Follower, Polled
from tests.flows.materializing import Hooked
from tests.flows.streamed import ACCOUNT, DEVICE, HOURLY, START, Bank, row, table

ONE = asof.Log(partitions=1)
HOUR_S = 3_600
YEAR_US = 365 * 86_400_000_000
Make = Callable[..., Bank]


@pytest.fixture(autouse=True)
def balance_at_once(monkeypatch):
    """A follower looks for its share whenever it is asked, and not every fifty milliseconds."""
    monkeypatch.setattr(log_follow, "_BALANCE_EVERY_S", 0.0)


@pytest.fixture
def bank(tmp_path) -> Iterator[Make]:
    made: list[Bank] = []
    store = open_store("lmdb:///online", root=tmp_path)

    def make(**facts: Any) -> Bank:
        made.append(Bank(tmp_path, store, **facts))
        made[-1].materialize()
        return made[-1]

    yield make
    for each in made:
        each.close()
    store.close()


def files(bank: Bank) -> list[tuple[str, int, int, int]]:
    """Hour, first and end offset, and rows of each file that lies in the landed history of one partition."""
    assert bank.project.landing is not None
    found: list[tuple[str, int, int, int]] = []
    for path in (bank.project.landing / "tx").rglob("p*.parquet"):
        named = parse_landed(path)
        assert named is not None
        found.append((named.hour[-2:], named.start, named.end, pq.read_metadata(path).num_rows))
    return sorted(found)


# ---------------------------------------------------------------------------------------------- records
@pytest.mark.parametrize("key", [None, "id"])
def test_rows_of_a_batch_that_have_an_entity_count_once_among_many_that_have_none(bank, key):
    bank = bank(views=[(ACCOUNT, HOURLY), (DEVICE, HOURLY)], stream=ONE, key=key)
    worker = bank.worker()
    bank.clock.advance("60s")
    devices = {2: "d", 7: "e", 9: "d"}
    events = [row("a", 40 + n, 1 << n, device=devices.get(n), id=str(n)) for n in range(10)]
    bank.push(*events[:5])
    bank.push(*events[5:])
    bank.clock.advance("1s")
    bank.drain(worker, flush=False)
    wanted = [(2, 512 + 4), (1, 128), (0, 0)]
    assert [tuple(each.values()) for each in bank.online(1, "d", "e", "f")] == wanted
    worker.abandon()
    bank.push(row("a", 55, 10_000, device="d", id="10"), row("a", 56, 10_000, id="11"))
    bank.clock.advance("1s")
    again = bank.worker(batch=1)  # all of them come again, in other batches, and two more
    bank.drain(again)
    assert bank.both(1, "d", "e", "f") == [(3, 10_516), (1, 128), (0, 0)]
    assert bank.both(0, "a") == [(12, 21_023)]


def test_tiles_over_a_stream_and_a_history_hold_what_the_history_brings_later(bank, tmp_path):
    wire = tmp_path / "wire.parquet"
    pq.write_table(table([row("a", -9 * HOUR_S, 10)]), wire)
    bank = bank(history=[row("a", -10 * HOUR_S, 1)], stream=ONE)
    other = asof.Events("wire", asof.Parquet(str(wire)), event_time="at", known_at="known")
    features = [asof.count().over("24h", hop="5m"), asof.sum("amount").over("24h", hop="5m")]
    union = asof.Union("money", [bank.source, other])
    bank.join(asof.FeatureView("money", entity=ACCOUNT, source=union, features=features, online=True))
    bank.materialize()
    worker = bank.worker()
    bank.drain(worker)

    def event(amount: int) -> None:
        bank.push(row("a", bank.now - 5, amount))
        bank.drain(worker)

    bank.clock.advance("4h")
    event(100)
    bank.clock.advance("10m")
    event(1_000)
    pq.write_table(
        table([row("a", -9 * HOUR_S, 10), row("a", HOUR_S, 10_000), row("a", 2 * HOUR_S, 100_000)]), wire
    )
    bank.clock.advance("10m")
    event(1_000_000)
    bank.clock.advance("6m")
    assert [view.whole for view in bank.materialize()] == [False, False]
    assert bank.both(1, "a") == [(7, 1_111_111)]
    bank.materialize(whole=True)
    assert bank.both(1, "a") == [(7, 1_111_111)]


# ---------------------------------------------------------------------------------------------- known-at times
def test_a_backlog_keeps_its_stamps_while_another_partition_fills_the_batches(bank):
    bank = bank()
    names = [f"a{n}" for n in range(8)]
    for _ in range(20):
        bank.clock.advance("1s")
        bank.push(*(row(name, bank.now) for name in names))
    assert len(bank.worker().stream.ends()) == 2
    bank.clock.advance("10h")
    worker = bank.worker(batch=10)
    worker.limits = replace(worker.limits, land_us=10_000_000)
    worker.step()  # takes the partitions, and nothing yet
    bank.clock.advance("11s")
    while worker.step():
        bank.clock.advance("6s")
    worker.flush()
    assert len(bank.landed()) == 160
    assert {hour for hour, *_ in files(bank)} == {"00"}
    assert [row["count_1h"] for row in bank.trained(0, *names, at=21)] == [20] * 8


class _Stamped:
    """A follower whose events of some offsets have another stamp."""

    def __init__(self, inner: Follower, stamps: dict[int, int]) -> None:
        self.inner, self.stamps = inner, stamps

    def poll(self, timeout_s: float, most: int) -> Polled:
        polled = self.inner.poll(timeout_s, most)
        return replace(polled, chunks=[self._stamped(chunk) for chunk in polled.chunks])

    def _stamped(self, chunk: Chunk) -> Chunk:
        stamps = [
            self.stamps.get(int(o), int(s)) for o, s in zip(chunk.offsets, chunk.stamps_us, strict=True)
        ]
        return replace(chunk, stamps_us=np.array(stamps, np.int64))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


@pytest.mark.parametrize("together", [False, True])
def test_a_stamp_a_year_ahead_is_a_dead_letter_and_the_others_are_counted(bank, monkeypatch, together):
    bank = bank(stream=ONE)
    worker = bank.worker()
    follow = worker.stream.follow
    monkeypatch.setattr(worker.stream, "follow", lambda group: _Stamped(follow(group), {1: START + YEAR_US}))
    for n in range(4):
        bank.clock.advance("1s")
        bank.push(row("a", bank.now, 1 << n))
        if not together:
            bank.drain(worker, flush=False)
    bank.clock.advance("1s")
    bank.drain(worker)
    assert bank.letters() == [(1, "its stamp is too far in the future")]
    assert bank.both(0, "a") == [(3, 13)]
    assert bank.landed() == [(0, 0), (0, 2), (0, 3)]
    bank.push(row("a", bank.now, 100))
    bank.clock.advance("1s")
    bank.drain(worker)
    assert bank.both(0, "a") == [(4, 113)]


# ---------------------------------------------------------------------------------------------- landed files
@pytest.mark.parametrize(
    ("before", "left"), [(None, [("00", 0, 2, 2)]), (pa.int64(), [("00", 0, 1, 1), ("00", 1, 2, 1)])]
)
def test_a_column_that_is_new_or_of_another_type_does_not_stop_a_worker(bank, tmp_path, before, left):
    path = tmp_path / "tx.parquet"
    plain = table([row("a", -10, 1)])
    bank = bank(stream=ONE)

    def declare(extra: pa.DataType | None) -> None:
        pq.write_table(plain if extra is None else plain.append_column("extra", pa.nulls(1, extra)), path)
        bank.source = asof.Events(
            "tx", asof.Parquet(str(path)), event_time="at", known_at="known", stream=ONE
        )  # fmt: skip
        bank.define(bank.views)

    declare(before)
    bank.materialize()
    worker = bank.worker()
    bank.clock.advance("60s")
    bank.push(row("a", 50, 10))
    bank.drain(worker)
    worker.close()
    declare(pa.string())
    for hours in range(3):
        after = bank.worker()
        bank.push(row("a", bank.now - 5, 100, extra="x"))
        bank.clock.advance("1s")
        bank.drain(after)
        after.close()
        if hours < 2:
            bank.clock.advance("1h")
    assert bank.landed() == [(0, 0), (0, 1), (0, 2), (0, 3)]
    chosen = [each for each in files(bank) if each[0] == "00"]
    assert (chosen == left) if before is not None else set(left) <= set(chosen)
    assert bank.both(0, "a") == [(1, 100)]
    assert bank.both(0, "a", at=62) == [(3, 111)]


def test_a_stretch_of_dead_letters_lands_an_empty_file_and_nothing_after_it_is_lost(bank, monkeypatch):
    bank = bank(stream=ONE)
    worker = bank.worker()
    bank.clock.advance("60s")
    bank.push(row("a", 50))
    bank.drain(worker)  # offset 0, and a checkpoint
    bank.push(row("a", 51))
    bank.push_raw(b"{", b"[")
    bank.push(row("a", 52))
    bank.drain(worker, flush=False)

    def crash(*_: object) -> bool:
        raise BackendError("the store is down")

    monkeypatch.setattr(worker.checkpoints, "save", crash)
    with pytest.raises(BackendError):
        worker.flush()  # offsets 1 to 4 are landed, and no checkpoint says so
    worker.abandon()
    after = bank.worker(batch=1)
    while after._partitions.get(0) is None or after._partitions[0].next < 4:
        after.step()
        after.flush()  # the same in other pieces
    bank.push(row("a", 53))
    bank.clock.advance("1s")
    bank.drain(after)  # offsets 4 and 5
    assert ("00", 2, 4, 0) in files(bank) or {("00", 2, 3, 0), ("00", 3, 4, 0)} <= set(files(bank))
    assert ("00", 4, 6, 2) in files(bank)
    assert bank.landed() == [(0, 0), (0, 1), (0, 4), (0, 5)]
    assert bank.both(0, "a") == [(4, 4)]


def test_pieces_of_a_merged_hour_stay_until_the_newest_file_is_an_hour_younger(bank):
    bank = bank(stream=ONE)
    worker = bank.worker()

    def event() -> None:
        bank.clock.advance("1s")
        bank.push(row("a", bank.now))
        bank.drain(worker)

    def first_hour() -> list[tuple[str, int, int, int]]:
        return [each for each in files(bank) if each[0] == "00"]

    event()
    event()
    for _ in range(4):  # a backlog of hours is done in no time
        bank.clock.advance("1h")
        event()
    whole = ("00", 0, 2, 2)
    assert first_hour() == [("00", 0, 1, 1), whole, ("00", 1, 2, 1)]
    merged = next(Path(bank.folder).rglob("p00000-*00-*02.parquet"))
    past_s = merged.stat().st_mtime - 2 * HOUR_S
    os.utime(merged, (past_s, past_s))
    bank.clock.advance("1h")
    event()
    assert first_hour() == [whole]
    assert len(bank.landed()) == 7


# ---------------------------------------------------------------------------------------------- going on
def test_a_step_that_raised_can_be_called_again_and_loses_nothing(bank):
    bank = bank()
    hooked = Hooked(bank.store)
    worker = bank.worker(store=hooked)
    bank.clock.advance("60s")
    bank.drain(worker)
    names = [f"a{n}" for n in range(8)]
    bank.push(*(row(name, 50, 1) for name in names))
    failed: list[str] = []

    def fail(name: str, _: int) -> None:
        if name == "swap" and not failed:
            failed.append(name)
            raise BackendError("the store is down")

    hooked.before = fail
    with pytest.raises(BackendError, match="the store is down"):
        worker.step()
    bank.push(*(row(name, 51, 10) for name in names))
    bank.clock.advance("1s")
    bank.drain(worker)
    assert failed == ["swap"]
    assert bank.both(0, *names) == [(2, 11)] * 8
    assert len(set(bank.landed())) == len(bank.landed()) == 16


def test_a_new_view_catches_up_without_an_event_that_it_cannot_be_computed_of(bank):
    odd = asof.count().where("cast(note as integer) > 3").over("1h").named("odd")
    bank = bank(stream=ONE)
    view = asof.FeatureView("odd", entity=ACCOUNT, source=bank.source, features=[odd], online=True)
    bank.join(view)
    bank.materialize()
    bank.join()
    worker = bank.worker()  # knows nothing of it
    bank.clock.advance("60s")
    bank.push(row("a", 50, 1, note="7"), row("a", 51, 1, note="none"), row("a", 52, 1, note="2"))
    bank.drain(worker)
    worker.close()
    bank.join(view)
    after = bank.worker()
    bank.push(row("a", 55, 1, note="8"))
    bank.clock.advance("1s")
    bank.drain(after)
    assert bank.online(1, "a") == [{"odd": 2}]
    assert bank.both(0, "a") == [(4, 4)]
    assert bank.letters() == []
