"""The embedded log when things go wrong: killed writers, torn and damaged files, full disks, several processes."""

from __future__ import annotations

import gc
import os
import random
import resource
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from asof.clock import SystemClock
from asof.define.stream import Log
from asof.errors import BackendError, CorruptSource
from asof.streams.log import LogStream
from asof.streams.log_frame import HEAD, JSON_ONE, NO_KEY, encode
from asof.streams.stream import Outgoing
from asof.testing.streams import Reader, event, flat, numbers_since, outgoing, poll_until

pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
WORKERS = 3
FIRST = Path("p0000") / f"{0:020d}.log"


def open_log(
    folder: Path, partitions: int = 1, segment_bytes: int = 2**26, fsync: str = "never"
) -> LogStream:
    return LogStream(
        folder, Log(partitions=partitions), clock=SystemClock(), fsync=fsync, segment_bytes=segment_bytes
    )


def numbers(stream: LogStream, offset: int = 0) -> list[int]:
    return numbers_since(stream, {0: offset})[0]


def in_child(work: Callable[[], None]) -> int:
    """The id of a forked process that does the work and ends with 0, or with 1 if it raises."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    return child


def ended_well(child: int) -> bool:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def batch_of(worker: int, turn: int) -> Outgoing:
    """Batches of one to forty events, whose numbers tell who wrote them and when."""
    count = 1 + turn * 7 % 40
    events = [event(worker * 10_000_000 + turn * 100 + number) for number in range(count)]
    keys = [b"%d" % number for number in range(count)]
    return Outgoing(count, "json", events=events, keys=keys, idempotency_key=f"{worker}-{turn}")


def append_for_ever(folder: Path, said: int, turns: list[int]) -> None:
    stream = open_log(folder, partitions=2, segment_bytes=20_000)

    def work(worker: int) -> None:
        turn = turns[worker]
        while True:
            stream.append(batch_of(worker, turn))
            os.write(said, b"%d %d\n" % (worker, turn))
            turn += 1

    for worker in range(WORKERS):
        threading.Thread(target=work, args=(worker,)).start()
    threading.Event().wait()


def kill_an_appender(folder: Path, turns: list[int], after_s: float) -> list[int]:
    """Starts one and kills it; the turns with which the workers of the next one begin, so that they repeat what was
    not acknowledged.
    """
    hears, said = os.pipe()
    child = in_child(lambda: append_for_ever(folder, said, turns))
    os.close(said)
    with os.fdopen(hears, "rb") as pipe:
        lines = [pipe.readline() for _ in range(3)]
        time.sleep(after_s)
        os.kill(child, signal.SIGKILL)
        lines += pipe.readlines()
    os.waitpid(child, 0)
    following = list(turns)
    for worker, turn in (map(int, line.split()) for line in lines):
        assert turn == following[worker]
        following[worker] = turn + 1
    return following


def test_appenders_that_are_killed_lose_nothing_and_leave_nothing_twice(tmp_path):
    rng, turns = random.Random(7), [0] * WORKERS
    reader = open_log(tmp_path, partitions=2, segment_bytes=20_000)
    for _ in range(20):
        turns = kill_an_appender(tmp_path, turns, rng.random() * 0.02)
        found = sorted(flat(numbers_since(reader, {0: 0, 1: 0})))
        assert len(found) == len(set(found))
    last = open_log(tmp_path, partitions=2, segment_bytes=20_000)
    for worker in range(WORKERS):
        last.append(batch_of(worker, turns[worker]))
    wanted = [
        worker * 10_000_000 + turn * 100 + number
        for worker in range(WORKERS)
        for turn in range(turns[worker] + 1)
        for number in range(batch_of(worker, turn).count)
    ]
    assert sorted(flat(numbers_since(reader, {0: 0, 1: 0}))) == wanted
    assert sum(turns) > 60


def three_frames(folder: Path) -> tuple[bytes, int]:
    """The bytes of a segment with the events 0 and 1, 2, and 3; and where its last frame begins."""
    stream = open_log(folder)
    for numbers in ([0, 1], [2]):
        stream.append(outgoing(numbers))
    before = (folder / FIRST).stat().st_size
    stream.append(outgoing([3]))
    stream.close()
    return (folder / FIRST).read_bytes(), before


def check_torn(folder: Path, data: bytes) -> None:
    """The last frame is not seen, and what is appended takes its place."""
    (folder / FIRST).write_bytes(data)
    reader = open_log(folder)
    assert numbers(reader) == [0, 1, 2]
    assert reader.ends()[0].next == 3
    writer = open_log(folder)
    assert writer.append(outgoing([7])).places == {0: (3, 1)}
    assert numbers(reader) == [0, 1, 2, 7]
    assert numbers(reader, 3) == [7]
    writer.close()


def test_a_last_frame_that_is_cut_off_anywhere_is_not_there(tmp_path):
    data, before = three_frames(tmp_path)
    assert len(data) - before == HEAD.size + 19
    for stop in range(before, len(data)):
        check_torn(tmp_path, data[:stop])


def test_a_last_frame_with_a_flipped_bit_anywhere_is_not_there(tmp_path):
    data, before = three_frames(tmp_path)
    for place in range(before, len(data)):
        flipped = bytearray(data)
        flipped[place] ^= 1 << (place % 8)
        check_torn(tmp_path, bytes(flipped))


def test_a_last_frame_of_zeros_is_not_there(tmp_path):
    data, before = three_frames(tmp_path)
    check_torn(tmp_path, data[:before] + bytes(len(data) - before))
    check_torn(tmp_path, data[:before] + bytes(100_000))


def test_a_damaged_frame_in_the_middle_is_told_with_its_place(tmp_path):
    data, _ = three_frames(tmp_path)
    for place in range(HEAD.size + 41):
        flipped = bytearray(data)
        flipped[place] ^= 1 << (place % 8)
        (tmp_path / FIRST).write_bytes(bytes(flipped))
        stream = open_log(tmp_path)
        for call in (partial(numbers, stream), stream.ends, partial(stream.append, outgoing([9]))):
            with pytest.raises(
                CorruptSource, match=r"0000\.log: the frame at byte 0, offset 0, is damaged"
            ) as caught:
                call()
            assert caught.value.facts["position"] == 0
        assert (tmp_path / FIRST).read_bytes() == bytes(flipped)


def test_a_segment_that_has_lost_its_end_is_told(tmp_path):
    stream = open_log(tmp_path, segment_bytes=200)
    for number in range(9):
        stream.append(outgoing([number]))
    assert len(list((tmp_path / "p0000").glob("*.log"))) == 5
    data = (tmp_path / FIRST).read_bytes()
    for stop in (len(data) - 1, len(data) // 2, 10, 0):
        (tmp_path / FIRST).write_bytes(data[:stop])
        with pytest.raises(CorruptSource, match="is damaged"):
            numbers(open_log(tmp_path))
        assert numbers(open_log(tmp_path), 2) == [2, 3, 4, 5, 6, 7, 8]
    (tmp_path / FIRST).write_bytes(data)
    assert numbers(stream) == [0, 1, 2, 3, 4, 5, 6, 7, 8]


def test_whole_frames_behind_a_torn_one_of_the_same_write_are_kept_beside(tmp_path):
    data, _ = three_frames(tmp_path)
    torn = encode(JSON_ONE, 1, 4, 0, NO_KEY, event(4), 0)[:-1] + b"!"
    whole = encode(JSON_ONE, 1, 5, 0, NO_KEY, event(5), len(torn))
    (tmp_path / FIRST).write_bytes(data + torn + whole)
    stream = open_log(tmp_path)
    assert numbers(stream) == [0, 1, 2, 3]
    stream.append(outgoing([7]))
    assert numbers(stream) == [0, 1, 2, 3, 7]
    assert (tmp_path / "p0000" / f"{0:020d}.{len(data)}.cut").read_bytes() == torn + whole


def fill(stream: LogStream, size: int) -> tuple[list[int], BackendError]:
    """Appends until no more fits; the numbers that were taken, and the error."""
    taken: list[int] = []
    with pytest.raises(BackendError, match="the disk is full") as caught:
        for number in range(100_000):
            body = b'{"n":%d,"text":"%s"}' % (number, b"x" * (number * 37 % size))
            stream.append(Outgoing(1, "json", body=body))
            taken.append(number)
    return taken, caught.value


def test_a_file_that_may_not_grow_refuses_appends_and_goes_on_when_it_may(tmp_path):
    def work() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
        stream = open_log(tmp_path)
        taken, error = fill(stream, 5_000)
        assert error.retryable
        assert error.hint is not None
        assert "room" in error.hint
        assert numbers(stream) == taken
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        stream.append(outgoing([-1, -2]))
        assert numbers(open_log(tmp_path)) == [*taken, -1, -2]

    assert ended_well(in_child(work))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount")
    made = mount and subprocess.run(
        [mount, "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)], check=False, capture_output=True
    )
    if not made or made.returncode:
        pytest.skip("mounting a file system needs root")
    yield folder
    gc.collect()  # errors hold what was open when they were raised
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_refuses_appends_and_goes_on_when_there_is_room(small_disk):
    (small_disk / "filling").write_bytes(bytes(1_000_000))
    stream = open_log(small_disk, segment_bytes=200_000, fsync="always")
    taken, _ = fill(stream, 30_000)
    assert numbers(stream) == taken
    again, _ = fill(stream, 30_000)
    (small_disk / "filling").unlink()
    stream.append(outgoing([-1]))
    assert numbers(open_log(small_disk)) == [*taken, *again, -1]
    stream.close()


def test_processes_that_append_at_one_time_share_the_log(tmp_path):
    parent = open_log(tmp_path, segment_bytes=5_000)
    parent.append(outgoing([-1]))

    def work(worker: int) -> None:
        for turn in range(100):  # the forked children use the log that their parent has opened
            parent.append(outgoing([worker * 1_000 + turn * 2, worker * 1_000 + turn * 2 + 1]))

    children = [in_child(lambda worker=worker: work(worker)) for worker in (1, 2)]
    work(3)
    assert all(ended_well(child) for child in children)
    found = numbers(parent)
    assert len(found) == 601
    for worker in (1, 2, 3):
        assert [n for n in found if n // 1_000 == worker] == [worker * 1_000 + n for n in range(200)]
    stamps = [int(stamp) for chunk in parent.read(0, 0, 1_000) for stamp in chunk.stamps_us]
    assert stamps == sorted(stamps)


def test_partitions_of_a_killed_follower_are_taken_over(tmp_path):
    stream = open_log(tmp_path, partitions=4)
    hears, said = os.pipe()

    def follow() -> None:
        reader = Reader(open_log(tmp_path, partitions=4).follow("g"), dict.fromkeys(range(4), 0))
        while True:
            reader.poll()
            os.write(said, b"%d" % len(reader.own))

    child = in_child(follow)
    while os.read(hears, 1) != b"4":
        pass
    reader = Reader(stream.follow("g"), dict.fromkeys(range(4), 0))
    poll_until([reader], lambda: len(reader.own) == 2)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    poll_until([reader], lambda: len(reader.own) == 4)
    assert len(list((tmp_path / "leases" / "gg" / "workers").iterdir())) == 1
    reader.follower.close()
    os.close(hears)
    os.close(said)


def test_a_log_that_another_process_holds_is_told_as_such(tmp_path, monkeypatch):
    monkeypatch.setattr("asof.streams.log_lock.LOCK_WAIT_S", 0.01)
    hears, said = os.pipe()

    def hold() -> None:
        monkeypatch.setattr(
            "asof.streams.log_write.Tail.advance", lambda _: (os.write(said, b"."), os.read(tells, 1))
        )
        open_log(tmp_path).append(outgoing([1]))

    tells, tell = os.pipe()
    child = in_child(hold)
    os.read(hears, 1)
    stream = open_log(tmp_path)
    with pytest.raises(BackendError, match="another process has held the lock") as caught:
        stream.append(outgoing([2]))
    assert caught.value.retryable
    os.write(tell, b".")
    assert ended_well(child)
    stream.append(outgoing([3]))
    assert numbers(stream) == [1, 3]
    for each in (hears, said, tells, tell):
        os.close(each)
