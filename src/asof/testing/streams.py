"""What every stream must do, as tests: subclass `StreamContract`, give it a fixture `stream`, run pytest.

Each test reads from where the stream ended when it began and works in groups of its own, so that one topic may serve
all of them, one after another.

Example:
    A package with a stream of its own has this in its tests:

    ```python
    class TestMyStream(StreamContract):
        @pytest.fixture
        def stream(self):
            stream = MyStream("localhost")
            yield stream
            stream.close()
    ```
"""

from __future__ import annotations

import io
import json
import secrets
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pyarrow as pa

from asof.errors import BackendError
from asof.streams.stream import Chunk, Follower, Form, Outgoing, Stream

PATIENCE_S = 30.0
KEYS = [b"ann", b"bob", b"cat", b"dan", b"eve", b"fay", b"gil", b"hal"]


def new_group() -> str:
    """A group that nobody has used."""
    return f"g{secrets.token_hex(8)}"


def event(number: int, who: bytes = b"ann") -> bytes:
    """One JSON event, such as `{"n":7,"who":"ann"}`."""
    return b'{"n":%d,"who":"%s"}' % (number, who)


def outgoing(
    numbers: Sequence[int], who: bytes | None = None, idempotency_key: str | None = None
) -> Outgoing:
    """These numbers as JSON events, each for itself; all of one key where there is one."""
    events = [event(number, who or b"ann") for number in numbers]
    keys = None if who is None else [who] * len(events)
    return Outgoing(len(events), "json", events=events, keys=keys, idempotency_key=idempotency_key)


def arrow_body(numbers: Sequence[int]) -> bytes:
    """An Arrow IPC stream with a column `n`."""
    table = pa.table({"n": pa.array(numbers, pa.int64())})
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def rows_of(chunk: Chunk) -> list[dict[str, Any]]:
    """The events of a chunk, in order; as many as it has offsets."""
    if chunk.body is None:
        rows = [json.loads(each) for each in chunk.events]
    elif chunk.form == "arrow":
        rows = pa.ipc.open_stream(chunk.body).read_all().to_pylist()
    elif chunk.body.lstrip().startswith(b"["):
        rows = json.loads(chunk.body)
    else:
        rows = [json.loads(line) for line in chunk.body.splitlines() if line.strip()]
    rows = rows[chunk.skip :]
    assert len(rows) == len(chunk.offsets) == len(chunk.stamps_us)
    return rows


def nexts(stream: Stream) -> dict[int, int]:
    """The offset after the newest event of each partition."""
    return {partition: ends.next for partition, ends in stream.ends().items()}


def chunks_since(stream: Stream, start: dict[int, int], most: int = 1_000) -> dict[int, list[Chunk]]:
    """All chunks of each partition from an offset on."""
    found: dict[int, list[Chunk]] = {}
    for partition, first in start.items():
        found[partition], offset = [], first
        while chunks := stream.read(partition, offset, most):
            assert all(chunk.partition == partition for chunk in chunks)
            found[partition] += chunks
            offset = chunks[-1].next_offset
    return found


def numbers_since(stream: Stream, start: dict[int, int], most: int = 1_000) -> dict[int, list[int]]:
    """The numbers of the events of each partition from an offset on."""
    found = chunks_since(stream, start, most)
    return {p: [row["n"] for chunk in chunks for row in rows_of(chunk)] for p, chunks in found.items()}


def flat(found: Mapping[int, Sequence[int]]) -> list[int]:
    """The numbers of all, one partition after another."""
    return [number for each in found.values() for number in each]


def append_in_batches(stream: Stream, batches: int, size: int, pause_s: float = 0.0) -> int:
    """Appends the numbers from 0 on, all of one key; the partition where they are."""
    partitions: set[int] = set()
    for turn in range(batches):
        partitions |= stream.append(outgoing(range(turn * size, (turn + 1) * size), b"ann")).places.keys()
        time.sleep(pause_s)
    (partition,) = partitions
    return partition


def failure_of(call: Callable[[], object]) -> BackendError:
    """The `BackendError` that a call raises."""
    try:
        call()
    except BackendError as error:
        return error
    raise AssertionError("no BackendError was raised")


class Reader:
    """A follower and what it has got: where it begins is the stream's state when the test began."""

    def __init__(self, follower: Follower, start: dict[int, int]) -> None:
        self.follower = follower
        self.own: set[int] = set()
        self.numbers: dict[int, list[int]] = defaultdict(list)
        self.next = dict(start)

    def poll(self, timeout_s: float = 0.05, most: int = 100) -> int:
        """Polls once and notes all; how many events came."""
        polled = self.follower.poll(timeout_s, most)
        self.own = (self.own - set(polled.lost)) | set(polled.gained)
        for partition in polled.gained:
            self.follower.seek(partition, self.next[partition])
        for chunk in polled.chunks:
            assert chunk.partition in self.own
            assert int(chunk.offsets[0]) >= self.next[chunk.partition]
            self.next[chunk.partition] = chunk.next_offset
            self.numbers[chunk.partition] += [row["n"] for row in rows_of(chunk)]
        return sum(len(chunk.offsets) for chunk in polled.chunks)

    def everything(self) -> list[int]:
        """All numbers that have come, sorted."""
        return sorted(number for each in self.numbers.values() for number in each)


def poll_until(readers: Sequence[Reader], done: Callable[[], bool]) -> None:
    """Polls all readers in turn until it is done, or fails when it takes too long."""
    for _ in range(int(PATIENCE_S / 0.05)):
        for reader in readers:
            reader.poll()
        if done():
            return
    raise AssertionError("it did not come to pass while everybody polled")


class AppendContract:
    """What holds for appending; `stream` is a fixture that gives an open stream, in any state."""

    repeats: bool = True
    """The stream knows the idempotency keys of batches that were appended not long ago."""

    def test_events_come_back_once_and_in_order(self, stream: Stream) -> None:
        start = nexts(stream)
        for first in range(0, 30, 10):
            assert stream.append(outgoing(range(first, first + 10))).count == 10
        found = numbers_since(stream, start)
        assert sorted(flat(found)) == list(range(30))
        assert all(numbers == sorted(numbers) for numbers in found.values())

    def test_a_batch_without_keys_may_come_in_one(self, stream: Stream) -> None:
        if not stream.capabilities.whole_batches:
            return
        bodies: list[tuple[bytes, Form]] = [
            (b' [ {"n":1} , {"n":2},{"n":3} ]\n', "json"),
            (b'{"n":1}\n{"n":2}\n{"n":3}\n', "json"),
            (arrow_body([1, 2, 3]), "arrow"),
        ]
        for body, form in bodies:
            start = nexts(stream)
            ((partition, (first, count)),) = stream.append(Outgoing(3, form, body=body)).places.items()
            assert (first, count) == (start[partition], 3)
            assert numbers_since(stream, start)[partition] == [1, 2, 3]
            assert numbers_since(stream, {partition: first + 2})[partition] == [3]

    def test_a_batch_of_one_event_may_come_in_any_writing(self, stream: Stream) -> None:
        if not stream.capabilities.whole_batches:
            return
        for body in (b'[{"n":1}]', b'{"n":1}', b' {"n":1}\n', b'[ {"n":1} ] '):
            start = nexts(stream)
            for _ in range(3):
                stream.append(Outgoing(1, "json", body=body))
            assert flat(numbers_since(stream, start)) == [1, 1, 1]

    def test_events_of_one_key_stay_in_one_partition_and_in_order(self, stream: Stream) -> None:
        start = nexts(stream)
        for turn in range(4):
            events = [event(turn * 100 + number, key) for number, key in enumerate(KEYS)]
            stream.append(Outgoing(len(KEYS), "json", events=events, keys=KEYS))
        where: dict[str, list[tuple[int, int]]] = defaultdict(list)
        for partition, chunks in chunks_since(stream, start).items():
            for row in (row for chunk in chunks for row in rows_of(chunk)):
                where[row["who"]].append((partition, row["n"]))
        for number, key in enumerate(KEYS):
            found = where[key.decode()]
            assert len({partition for partition, _ in found}) == 1
            assert [n for _, n in found] == [number, 100 + number, 200 + number, 300 + number]

    def test_places_say_where_events_are(self, stream: Stream) -> None:
        start = nexts(stream)
        events = [event(number, key) for number, key in enumerate(KEYS)]
        done = stream.append(Outgoing(len(KEYS), "json", events=events, keys=KEYS))
        assert done.count == sum(count for _, count in done.places.values()) == len(KEYS)
        assert not done.repeated
        for partition, (first, count) in done.places.items():
            chunks = stream.read(partition, first, 1_000)
            assert int(chunks[0].offsets[0]) == first >= start[partition]
            assert sum(len(chunk.offsets) for chunk in chunks) == count

    def test_nothing_appended_is_nothing(self, stream: Stream) -> None:
        start = nexts(stream)
        assert stream.append(Outgoing(0, "json", events=[])).count == 0
        assert nexts(stream) == start

    def test_a_batch_whose_key_is_known_is_not_appended_again(self, stream: Stream) -> None:
        if not self.repeats:
            return
        start, key = nexts(stream), new_group()
        events = [event(number, name) for number, name in enumerate(KEYS)]
        batch = Outgoing(len(KEYS), "json", events=events, keys=KEYS, idempotency_key=key)
        first = stream.append(batch)
        stream.append(outgoing([100], b"ann", idempotency_key=key + "x"))
        second = stream.append(batch)
        assert (first.repeated, second.repeated, second.count) == (False, True, len(KEYS))
        assert second.places in ({}, first.places)
        assert sorted(flat(numbers_since(stream, start))) == [*range(len(KEYS)), 100]

    def test_threads_that_append_at_one_time_lose_nothing(self, stream: Stream) -> None:
        start, rounds = nexts(stream), 20

        def work(worker: int) -> None:
            for turn in range(rounds):
                first = worker * 1_000 + turn * 2
                assert stream.append(outgoing([first, first + 1], KEYS[worker])).count == 2

        with ThreadPoolExecutor(6) as pool:
            for running in [pool.submit(work, worker) for worker in range(6)]:
                running.result()
        found = numbers_since(stream, start)
        wanted = {worker: [worker * 1_000 + n for n in range(2 * rounds)] for worker in range(6)}
        assert sorted(flat(found)) == sorted(flat(wanted))
        for worker, numbers in wanted.items():
            assert [n for each in found.values() for n in each if n // 1_000 == worker] == numbers

    def test_an_event_above_the_limit_is_refused_with_its_size(self, stream: Stream) -> None:
        most, start = stream.capabilities.max_event_bytes, nexts(stream)
        if most > 2**24:
            return
        size = most + 1
        large = b'{"n":1,"text":"' + b"x" * (size - 17) + b'"}'
        error = failure_of(lambda: stream.append(Outgoing(1, "json", events=[large])))
        assert (len(large), error.retryable, error.facts["size_bytes"]) == (size, False, size)
        assert flat(numbers_since(stream, start)) == []


class ReadContract:
    """What holds for reading, for the ends and for instants."""

    def test_every_byte_of_an_event_comes_back(self, stream: Stream) -> None:
        start = nexts(stream)
        texts = ["", "ü|ß", "\u0000\n\r", "x" * 100_000, "[", "}{"]
        rows = [{"n": number, "text": text} for number, text in enumerate(texts)]
        stream.append(Outgoing(len(rows), "json", events=[json.dumps(row).encode() for row in rows]))
        for row in rows:
            stream.append(Outgoing(1, "json", events=[json.dumps(row, ensure_ascii=False).encode()]))
        found = [
            row for chunks in chunks_since(stream, start).values() for each in chunks for row in rows_of(each)
        ]
        assert sorted(found, key=lambda row: row["n"]) == [row for row in rows for _ in range(2)]

    def test_ends_follow_what_is_appended(self, stream: Stream) -> None:
        before = stream.ends()
        stream.append(outgoing([1, 2, 3], b"ann"))
        after = stream.ends()
        (partition,) = (p for p in after if after[p].next != before[p].next)
        assert after[partition].first <= before[partition].next < after[partition].next
        assert stream.read(partition, before[partition].next, 10)[-1].next_offset <= after[partition].next
        if stream.capabilities.dense:
            assert after[partition].next == before[partition].next + 3

    def test_offsets_ascend_and_stamps_never_go_back(self, stream: Stream) -> None:
        start = nexts(stream)
        for first in range(0, 50, 5):
            stream.append(outgoing(range(first, first + 5), KEYS[first % 3]))
        for chunks in chunks_since(stream, start).values():
            offsets = [int(offset) for chunk in chunks for offset in chunk.offsets]
            stamps = [int(stamp) for chunk in chunks for stamp in chunk.stamps_us]
            assert offsets == sorted(set(offsets))
            assert stamps == sorted(stamps)
            if stream.capabilities.dense and offsets:
                assert offsets == list(range(offsets[0], offsets[0] + len(offsets)))

    def test_an_instant_finds_the_first_event_since_then(self, stream: Stream) -> None:
        start = nexts(stream)
        partition = append_in_batches(stream, 5, 2, pause_s=0.003)
        chunks = chunks_since(stream, {partition: start[partition]})[partition]
        placed = [pair for chunk in chunks for pair in zip(chunk.offsets, chunk.stamps_us, strict=True)]
        assert len(placed) == 10
        for at_us in {int(stamp) + more for _, stamp in placed for more in (0, -1_000)}:
            wanted = next(int(offset) for offset, stamp in placed if stamp >= at_us)
            if at_us > int(placed[0][1]):
                assert stream.find(partition, at_us) == wanted
        assert stream.find(partition, 0) == stream.ends()[partition].first
        assert stream.find(partition, int(placed[-1][1]) + 60_000_000) == stream.ends()[partition].next

    def test_a_read_may_begin_in_the_middle_of_a_batch(self, stream: Stream) -> None:
        start = nexts(stream)
        partition = append_in_batches(stream, 3, 10)
        chunks = chunks_since(stream, {partition: start[partition]})[partition]
        offsets = [int(offset) for chunk in chunks for offset in chunk.offsets]
        for number, offset in enumerate(offsets):
            assert numbers_since(stream, {partition: offset})[partition] == list(range(number, 30))

    def test_small_reads_give_the_same_as_large_ones(self, stream: Stream) -> None:
        start = nexts(stream)
        for first in (0, 1, 2, 3, 13, 14):
            count = 10 if first == 3 else 1
            stream.append(outgoing(range(first, first + count), b"ann"))
        for most in (1, 3, 7, 1_000):
            assert flat(numbers_since(stream, start, most)) == list(range(15))

    def test_a_read_at_the_end_or_beyond_is_empty_and_before_the_beginning_begins_there(
        self, stream: Stream
    ) -> None:
        (partition,) = stream.append(outgoing([1], b"ann")).places
        ends = stream.ends()[partition]
        assert stream.read(partition, ends.next, 10) == []
        assert int(stream.read(partition, 0, 1)[0].offsets[0]) >= ends.first

    def test_a_partition_that_is_not_there_is_told(self, stream: Stream) -> None:
        absent = max(stream.ends()) + 1
        assert not failure_of(lambda: stream.read(absent, 0, 1)).retryable
        assert not failure_of(lambda: stream.find(absent, 0)).retryable


class FollowContract:
    """What holds for followers."""

    shares: bool = True
    """The stream has several partitions, and two followers of a group share them."""

    def test_a_follower_gets_every_event_once_and_in_order(self, stream: Stream) -> None:
        start = nexts(stream)
        for first in range(0, 60, 6):
            stream.append(outgoing(range(first, first + 6), KEYS[first % 8]))
        reader = Reader(stream.follow(new_group()), start)
        poll_until([reader], lambda: len(reader.everything()) >= 60)
        for first in range(60, 120, 6):
            stream.append(outgoing(range(first, first + 6), KEYS[first % 8]))
        poll_until([reader], lambda: len(reader.everything()) >= 120)
        reader.follower.commit(reader.next)
        assert reader.own == set(start)
        assert reader.everything() == list(range(120))
        assert all(numbers == sorted(numbers) for numbers in reader.numbers.values())
        assert reader.poll() == 0
        reader.follower.close()
        reader.follower.close()

    def test_a_partition_gives_nothing_before_it_is_said_where_to_begin(self, stream: Stream) -> None:
        start = nexts(stream)
        stream.append(outgoing([1, 2, 3], b"ann"))
        follower = stream.follow(new_group())
        gained: list[int] = []
        for _ in range(int(PATIENCE_S / 0.05)):
            polled = follower.poll(0.05, 100)
            assert not polled.chunks
            gained += polled.gained
            if len(gained) == len(start):
                break
        assert sorted(gained) == sorted(start)
        assert not follower.poll(0.05, 100).chunks
        follower.close()

    def test_a_follower_may_go_back(self, stream: Stream) -> None:
        start = nexts(stream)
        (partition,) = stream.append(outgoing(range(10), b"ann")).places
        reader = Reader(stream.follow(new_group()), start)
        poll_until([reader], lambda: len(reader.everything()) >= 10)
        chunks = stream.read(partition, start[partition], 100)
        fifth = [int(offset) for chunk in chunks for offset in chunk.offsets][5]
        reader.next[partition] = fifth
        reader.follower.seek(partition, fifth)
        poll_until([reader], lambda: len(reader.everything()) >= 15)
        assert reader.numbers[partition] == [*range(10), *range(5, 10)]
        reader.follower.close()

    def test_groups_do_not_know_of_each_other(self, stream: Stream) -> None:
        start = nexts(stream)
        stream.append(outgoing(range(10), b"ann"))
        readers = [Reader(stream.follow(new_group()), start) for _ in range(2)]
        poll_until(readers, lambda: all(reader.everything() == list(range(10)) for reader in readers))
        for reader in readers:
            reader.follower.close()

    def test_followers_share_the_partitions_and_those_of_a_closed_one_move(self, stream: Stream) -> None:
        if not self.shares:
            return
        start, group = nexts(stream), new_group()
        one = Reader(stream.follow(group), start)
        poll_until([one], lambda: one.own == set(start))
        other = Reader(stream.follow(group), start)
        poll_until(
            [one, other], lambda: bool(one.own and other.own) and len(one.own | other.own) == len(start)
        )
        assert not one.own & other.own
        stream.append(Outgoing(8, "json", events=[event(n, KEYS[n]) for n in range(8)], keys=KEYS))
        poll_until([one, other], lambda: len(one.everything()) + len(other.everything()) >= 8)
        assert sorted(one.everything() + other.everything()) == list(range(8))
        one.follower.close()
        for partition in one.own:
            other.next[partition] = one.next[partition]
        poll_until([other], lambda: other.own == set(start))
        stream.append(Outgoing(8, "json", events=[event(10 + n, KEYS[n]) for n in range(8)], keys=KEYS))
        poll_until([other], lambda: len(one.everything()) + len(other.everything()) >= 16)
        assert sorted(one.everything() + other.everything()) == [*range(8), *range(10, 18)]
        other.follower.close()


class StreamContract(AppendContract, ReadContract, FollowContract):
    """The whole contract."""

    def test_a_closed_stream_says_so(self, stream: Stream) -> None:
        (partition,) = stream.append(outgoing([1], b"ann")).places
        stream.close()
        stream.close()
        calls: list[Callable[[], object]] = [
            lambda: stream.append(outgoing([2])),
            lambda: stream.read(partition, 0, 1),
            lambda: stream.find(partition, 0),
            stream.ends,
            lambda: stream.follow(new_group()),
        ]
        for call in calls:
            error = failure_of(call)
            assert "closed" in error.message
            assert not error.retryable
