"""The embedded log in one process: the contract, its files, keys, retention, and what is refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from asof.clock import Clock, SystemClock, from_us
from asof.define.stream import Log
from asof.errors import BackendError, ConfigError, CorruptSource, DataError
from asof.streams.log import LogStream
from asof.streams.log_write import Appender, Pending
from asof.streams.stream import Appended, Ends, Outgoing
from asof.testing.clock import FakeClock
from asof.testing.streams import (
    KEYS,
    Reader,
    StreamContract,
    arrow_body,
    event,
    flat,
    numbers_since,
    outgoing,
    poll_until,
)


class TestContract(StreamContract):
    @pytest.fixture
    def stream(self, tmp_path: Path) -> Iterator[LogStream]:
        stream = LogStream(tmp_path, Log(partitions=3), clock=SystemClock(), segment_bytes=2_000)
        yield stream
        stream.close()


class TestContractOfOnePartition(StreamContract):
    shares = False

    @pytest.fixture
    def stream(self, tmp_path: Path) -> Iterator[LogStream]:
        stream = LogStream(tmp_path, Log(), clock=SystemClock(), fsync="interval")
        yield stream
        stream.close()


def open_log(folder: Path, log: Log | None = None, clock: Clock | None = None, **more: Any) -> LogStream:
    return LogStream(folder, log or Log(), clock=clock or FakeClock(), **more)


def numbers(stream: LogStream, partition: int = 0, offset: int = 0) -> list[int]:
    return numbers_since(stream, {partition: offset})[partition]


def test_events_outlive_the_log_and_offsets_go_on(tmp_path):
    for turn in range(3):
        stream = open_log(tmp_path, segment_bytes=300)
        assert stream.append(outgoing([2 * turn, 2 * turn + 1])).places == {0: (2 * turn, 2)}
        stream.close()
    stream = open_log(tmp_path)
    assert numbers(stream) == [0, 1, 2, 3, 4, 5]
    assert stream.ends() == {0: Ends(0, 6, FakeClock().now_us())}
    assert open_log(tmp_path / "empty").ends() == {0: Ends(0, 0, None)}


def test_a_log_with_other_partitions_is_refused_with_the_cure(tmp_path):
    open_log(tmp_path, Log(partitions=2)).close()
    with pytest.raises(
        ConfigError, match=r"has 2 partitions, and the definition says 3\nhint: write Log\(partitions=2"
    ):
        open_log(tmp_path, Log(partitions=3))
    (tmp_path / "meta.json").write_text('{"format": 2, "partitions": 2}')
    with pytest.raises(ConfigError, match="its format is 2"):
        open_log(tmp_path, Log(partitions=2))
    (tmp_path / "meta.json").write_text("{")
    with pytest.raises(CorruptSource, match=r"meta\.json: it does not say"):
        open_log(tmp_path, Log(partitions=2))


def test_what_the_log_does_not_take_is_refused(tmp_path, monkeypatch):
    stream = open_log(tmp_path, Log(partitions=2))
    with pytest.raises(DataError, match="not Avro"):
        stream.append(Outgoing(1, "avro", events=[b"1"]))
    with pytest.raises(DataError, match="must come as single events"):
        stream.append(Outgoing(2, "arrow", body=arrow_body([1, 2]), keys=[b"a", b"b"]))
    monkeypatch.setattr("asof.streams.log.MAX_BATCH_BYTES", 40)
    with pytest.raises(BackendError, match="a batch of 41 bytes is above the limit of 40") as caught:
        stream.append(outgoing([1, 2]))
    assert caught.value.facts["size_bytes"] == 41
    assert stream.append(outgoing([1])).count == 1


def test_events_that_came_alone_are_read_as_one_chunk(tmp_path):
    stream = open_log(tmp_path)
    for number in range(5):
        stream.append(outgoing([number]))
    stream.append(outgoing([5, 6]))
    one, two = stream.read(0, 1, 100)
    assert (one.body, one.events) == (None, [event(1), event(2), event(3), event(4)])
    assert (one.offsets.tolist(), two.offsets.tolist(), two.skip) == ([1, 2, 3, 4], [5, 6], 0)
    (rest,) = stream.read(0, 6, 100)
    assert (rest.offsets.tolist(), rest.skip, rest.body) == ([6], 1, b"[" + event(5) + b"," + event(6) + b"]")
    assert [len(chunk.offsets) for chunk in stream.read(0, 0, 3)] == [3]


def test_frames_larger_than_a_window_and_than_a_segment_are_kept_whole(tmp_path):
    stream = open_log(tmp_path, segment_bytes=1_000_000)
    body = b'[{"text":"' + b"x" * 3_000_000 + b'"},1]'
    for _ in range(3):
        stream.append(Outgoing(2, "json", body=body))
    assert [chunk.body for chunk in stream.read(0, 0, 100)] == [body] * 3
    assert len(list((tmp_path / "p0000").glob("*.log"))) == 3
    assert open_log(tmp_path).ends()[0].next == 6


def test_batches_that_wait_are_written_together(tmp_path):
    appender = Appender(tmp_path, FakeClock(), 10**15, "always")
    waiting = [Pending(1, 1, b"{}") for _ in range(3)]
    for pending in waiting:
        appender.put(pending)
    appender.finish(waiting[1])
    assert [(pending.done, pending.place) for pending in waiting] == [
        (True, (0, 1)), (True, (1, 1)), (True, (2, 1)),
    ]  # fmt: skip
    appender.close()


def test_a_key_that_comes_twice_in_one_write_is_written_once(tmp_path):
    appender = Appender(tmp_path, FakeClock(), 10**15, "never")
    waiting = [Pending(1, 1, b"{}", key=b"k" * 16) for _ in range(2)]
    for pending in waiting:
        appender.put(pending)
    appender.finish(waiting[1])
    assert [(pending.repeated, pending.place) for pending in waiting] == [(False, (0, 1)), (True, (0, 1))]
    appender.close()


def test_stamps_do_not_go_back_with_the_clock_and_instants_are_found(tmp_path):
    clock = FakeClock("2025-01-01T00:00:00Z")
    stream = open_log(tmp_path, clock=clock, segment_bytes=200)
    at = clock.now_us()
    for seconds in (0, 10, -3_600, 20, 20, 30):
        clock.set(from_us(at + seconds * 1_000_000))
        stream.append(outgoing([1, 2]))
    stamps = [int(stamp) - at for chunk in stream.read(0, 0, 100) for stamp in chunk.stamps_us[:1]]
    assert stamps == [0, 10_000_000, 10_000_000, 20_000_000, 20_000_000, 30_000_000]
    assert [stream.find(0, at + seconds * 1_000_000) for seconds in (-1, 0, 1, 10, 11, 20, 25, 30, 31)] == [
        0, 0, 2, 2, 6, 6, 10, 10, 12,
    ]  # fmt: skip


def test_old_segments_go_when_a_new_one_begins(tmp_path):
    clock = FakeClock()
    stream = open_log(tmp_path, Log(retention="1d"), clock, segment_bytes=200)
    late = stream.follow("late")
    assert late.poll(0, 10).gained == [0]
    late.seek(0, 0)
    for _ in range(8):  # two batches fill a segment
        stream.append(outgoing([1, 2]))
        clock.advance("10h")
    # At 60 h a segment began; what was taken at 0, 10, 20 and 30 h was older than a day.
    assert stream.ends()[0] == Ends(8, 16, clock.now_us() - 10 * 3_600_000_000)
    assert stream.read(0, 0, 1)[0].offsets.tolist() == [8, 9]
    assert stream.find(0, 0) == 8
    (first, *_) = late.poll(0, 1).chunks
    assert first.offsets.tolist() == [8, 9]
    assert open_log(tmp_path, Log(retention="1d")).ends()[0].first == 8
    late.close()


def test_keys_are_remembered_for_a_day_and_by_the_next_process(tmp_path):
    clock = FakeClock()
    for turn in range(3):
        stream = open_log(tmp_path, clock=clock, segment_bytes=200)
        done = stream.append(outgoing([1], idempotency_key="k"))
        assert (done.places, done.repeated) == ({0: (0, 1)}, turn > 0)
        stream.append(outgoing([turn], idempotency_key=f"other {turn}"))
        stream.close()
        clock.advance("10h")
    assert open_log(tmp_path, clock=clock).append(outgoing([1], idempotency_key="k")).repeated is False


def test_no_more_keys_are_remembered_than_there_is_room_for(tmp_path, monkeypatch):
    monkeypatch.setattr("asof.streams.log_keys.MAX_KEYS", 3)
    stream = open_log(tmp_path)
    for name in ("a", "b", "c", "d"):
        stream.append(outgoing([1], idempotency_key=name))
    assert stream.append(outgoing([1], idempotency_key="d")).repeated
    assert not stream.append(outgoing([1], idempotency_key="a")).repeated


def test_a_batch_that_was_broken_off_between_partitions_is_completed(tmp_path):
    stream = open_log(tmp_path, Log(partitions=3))
    whole = Outgoing(
        8, "json", events=[event(n, key) for n, key in enumerate(KEYS)], keys=KEYS, idempotency_key="k"
    )
    places = open_log(tmp_path / "other", Log(partitions=3)).append(whole).places
    assert len(places) == 3
    parts = stream._parts(whole)
    appender = stream._own_appenders()[0]
    appender.put(parts[0])
    appender.finish(parts[0])
    assert stream.append(whole) == Appended(8, places, repeated=False)
    assert stream.append(whole) == Appended(8, places, repeated=True)
    assert sorted(flat(numbers_since(stream, dict.fromkeys(range(3), 0)))) == list(range(8))


def test_how_far_a_group_has_come_can_be_seen(tmp_path):
    stream = open_log(tmp_path)
    follower = stream.follow("a/b")
    assert follower.poll(0, 1).gained == [0]
    follower.commit({0: 7})
    follower.commit({0: 9})
    file = tmp_path / "leases" / "ga%2Fb" / "p0000.offset"
    assert file.read_text() == "7\n"
    follower.close()
    assert file.read_text() == "9\n"
    with pytest.raises(BackendError, match="the follower is closed"):
        follower.poll(0, 1)


def test_three_followers_have_a_fair_share_each(tmp_path):
    stream = open_log(tmp_path, Log(partitions=4))
    readers = [Reader(stream.follow("g"), dict.fromkeys(range(4), 0)) for _ in range(3)]
    poll_until(readers, lambda: sorted(len(reader.own) for reader in readers) == [1, 1, 2])
    assert sorted(p for reader in readers for p in reader.own) == [0, 1, 2, 3]
    for reader in readers:
        reader.follower.close()


def test_only_the_holder_of_a_partition_may_seek(tmp_path):
    stream = open_log(tmp_path)
    one = stream.follow("g")
    one.poll(0, 1)
    other = stream.follow("g")
    with pytest.raises(BackendError, match=r"partition 0 is another follower's"):
        other.seek(0, 0)
    one.close()
    other.close()
