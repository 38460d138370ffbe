"""The embedded log's durable end: readers see what is on the disk, and nothing that a power loss could take away."""

from __future__ import annotations

import errno
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from asof.clock import SystemClock
from asof.define.stream import Log
from asof.errors import BackendError
from asof.streams.log import LogStream
from asof.streams.log_durable import DurableFile, Mark
from asof.streams.log_frame import HEAD
from asof.streams.log_lock import locked
from asof.streams.stream import Ends, Outgoing
from asof.testing.streams import event, numbers_since, outgoing

pytestmark = [
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning"),
    pytest.mark.skipif(not hasattr(os, "fdatasync"), reason="the tests step in where os.fdatasync is called"),
]
SYNC = os.fdatasync
FRAME = HEAD.size + len(event(0))  # of one event with one digit


def open_log(folder: Path, fsync: str = "always", segment_bytes: int = 2**26) -> LogStream:
    return LogStream(folder, Log(), clock=SystemClock(), fsync=fsync, segment_bytes=segment_bytes)


def numbers(stream: LogStream, offset: int = 0) -> list[int]:
    return numbers_since(stream, {0: offset})[0]


def published(folder: Path) -> Mark | None:
    return DurableFile(folder / "p0000").read()


def followed(stream: LogStream) -> list[int]:
    """What a worker gets at once."""
    follower = stream.follow("g")
    follower.poll(0, 1)
    follower.seek(0, 0)
    found = [int(offset) for chunk in follower.poll(0, 100).chunks for offset in chunk.offsets]
    follower.close()
    return found


def check_seen(stream: LogStream, wanted: list[int]) -> None:
    """Every way of reading gives these events, whose numbers are their offsets."""
    assert numbers(stream) == wanted
    assert followed(stream) == wanted
    assert stream.ends()[0].next == len(wanted)
    assert stream.read(0, len(wanted), 10) == []
    assert stream.find(0, 2**60) == len(wanted)
    assert stream.find(0, 0) == 0


def killed(work: Callable[[], None]) -> None:
    """Forks a process that does the work and kills itself in it."""
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


def die(*_: object, **__: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Disk:
    """Takes the place of `os.fdatasync`: `plan` says for each coming call what to do instead of it (None: nothing)."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.plan: list[Callable[[], None] | None] = []
        self.synced = 0
        monkeypatch.setattr(os, "fdatasync", self)

    def __call__(self, fd: int) -> None:
        step = self.plan.pop(0) if self.plan else None
        if step is not None:
            step()
        SYNC(fd)
        self.synced += 1


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


def broken() -> None:
    raise OSError(errno.EIO, "Input/output error")


@pytest.mark.parametrize("segment_bytes", [2**26, FRAME])  # in the same segment, and in a new one
def test_events_are_not_seen_before_they_are_on_the_disk(tmp_path, disk, segment_bytes):
    stream = open_log(tmp_path, segment_bytes=segment_bytes)
    stream.append(outgoing([0]))
    asked, go = threading.Event(), threading.Event()

    def wait() -> None:
        asked.set()
        go.wait()

    last = 1 if segment_bytes > FRAME else 3  # a new segment: the old one, the folder, the new one
    disk.plan = [*[None] * (last - 1), wait]
    thread = threading.Thread(target=stream.append, args=(outgoing([1]),))
    thread.start()
    asked.wait()
    size = sum(path.stat().st_size for path in (tmp_path / "p0000").glob("*.log"))
    assert size == 2 * FRAME
    for reader in (stream, open_log(tmp_path)):
        check_seen(reader, [0])
    go.set()
    thread.join()
    for reader in (stream, open_log(tmp_path)):
        check_seen(reader, [0, 1])


@pytest.mark.parametrize("fsync", ["interval", "never"])
def test_a_log_that_does_not_wait_for_the_disk_shows_what_is_written(tmp_path, disk, fsync):
    stream = open_log(tmp_path, fsync)
    stream.append(outgoing([0, 1]))
    synced = disk.synced
    stream.append(outgoing([2]))
    check_seen(open_log(tmp_path), [0, 1, 2])
    assert disk.synced == synced
    stream.close()


def test_what_the_disk_has_refused_is_not_seen_and_not_there_twice_when_it_is_tried_again(tmp_path, disk):
    stream, other, reader = open_log(tmp_path), open_log(tmp_path), open_log(tmp_path)
    stream.append(outgoing([0]))
    other.append(outgoing([1]))
    for _ in range(2):
        disk.plan = [broken]
        with pytest.raises(BackendError, match="Input/output error"):
            stream.append(outgoing([2, 3], idempotency_key="k"))
        check_seen(reader, [0, 1])
    done = stream.append(outgoing([2, 3], idempotency_key="k"))
    assert (done.places, done.repeated) == ({0: (2, 2)}, False)
    other.append(outgoing([4]))
    assert stream.append(outgoing([2, 3], idempotency_key="k")).repeated
    for each in (stream, other, reader, open_log(tmp_path)):
        check_seen(each, [0, 1, 2, 3, 4])


@pytest.mark.parametrize("call", [0, 1, 2])  # the sync of the old segment, of the folder, of the new segment
def test_a_disk_that_refuses_while_a_new_segment_begins_leaves_nothing_of_the_batch(tmp_path, disk, call):
    stream, reader = open_log(tmp_path, segment_bytes=FRAME), open_log(tmp_path)
    stream.append(outgoing([0]))
    disk.plan = [*[None] * call, broken]
    with pytest.raises(BackendError, match="Input/output error"):
        stream.append(outgoing([1]))
    check_seen(reader, [0])
    check_seen(open_log(tmp_path), [0])
    stream.append(outgoing([1]))
    stream.append(outgoing([2]))
    check_seen(reader, [0, 1, 2])


def test_what_could_not_be_removed_at_once_is_removed_before_the_next_append(tmp_path, disk, monkeypatch):
    stream = open_log(tmp_path)
    stream.append(outgoing([0]))
    check_seen(stream, [0])
    disk.plan = [broken]
    with monkeypatch.context() as patch:
        patch.setattr(os, "truncate", lambda *_: broken())
        with pytest.raises(BackendError, match="Input/output error"):
            stream.append(outgoing([1]))
    assert (tmp_path / "p0000" / f"{0:020d}.log").stat().st_size == 2 * FRAME
    assert numbers(stream) == [0]
    stream.append(outgoing([1]))
    check_seen(stream, [0, 1])


def test_an_end_that_cannot_be_published_leaves_nothing_of_the_batch(tmp_path, monkeypatch):
    stream = open_log(tmp_path)
    stream.append(outgoing([0]))
    with monkeypatch.context() as patch:
        patch.setattr(DurableFile, "publish", lambda *_, **__: broken())
        with pytest.raises(BackendError, match="Input/output error"):
            stream.append(outgoing([1]))
    check_seen(stream, [0])
    stream.append(outgoing([1]))
    check_seen(open_log(tmp_path), [0, 1])


def test_a_writer_that_is_killed_before_it_tells_is_found_by_who_opens_or_appends(
    tmp_path, disk, monkeypatch
):
    open_log(tmp_path).append(outgoing([0]))
    old = open_log(tmp_path)
    check_seen(old, [0])

    def append_and_die(number: int) -> None:
        stream = open_log(tmp_path)
        stream.append(outgoing([number]))
        monkeypatch.setattr(DurableFile, "publish", die)
        stream.append(outgoing([number + 1]))

    killed(lambda: append_and_die(1))
    assert numbers(old) == [0, 1]
    synced = disk.synced
    check_seen(open_log(tmp_path), [0, 1, 2])
    assert disk.synced == synced + 2  # the segment and the folder
    check_seen(old, [0, 1, 2])

    killed(lambda: append_and_die(3))
    assert numbers(old) == [0, 1, 2, 3]
    old.append(outgoing([5]))
    check_seen(old, [0, 1, 2, 3, 4, 5])


@pytest.mark.parametrize(("calls", "seen", "mark"), [
    (0, [0], Mark(1, 0, FRAME)),  # in the sync of the old segment
    (1, [0], Mark(1, 1, 0)),  # of the folder
    (2, [0, 1], Mark(2, 1, FRAME)),  # of the new segment
])  # fmt: skip
def test_a_writer_that_is_killed_while_a_new_segment_begins_is_found_by_who_opens(
    tmp_path, disk, calls, seen, mark
):
    def work() -> None:
        stream = open_log(tmp_path, segment_bytes=FRAME)
        stream.append(outgoing([0]))
        disk.plan = [*[None] * calls, die]
        stream.append(outgoing([1]))

    killed(work)
    assert published(tmp_path) == Mark(1, 0, FRAME)
    check_seen(open_log(tmp_path), seen)
    assert published(tmp_path) == mark
    stream = open_log(tmp_path, segment_bytes=FRAME)
    stream.append(outgoing([len(seen)]))
    check_seen(stream, [*seen, len(seen)])


def test_who_opens_does_not_wait_for_an_appender_that_is_at_work(tmp_path):
    stream = open_log(tmp_path)
    stream.append(outgoing([0]))
    stream.append(outgoing([1]))
    DurableFile(tmp_path / "p0000", os.O_RDWR).publish(Mark(1, 0, FRAME))
    with locked(f"{tmp_path}/p0000/lock"):
        reader = open_log(tmp_path)
        check_seen(reader, [0])
    check_seen(open_log(tmp_path), [0, 1])
    check_seen(reader, [0, 1])


@pytest.mark.parametrize("content", [b"", b"\0" * 32, b"x" * 7, b"\xff" * 32, None])
def test_an_end_that_is_lost_or_damaged_is_found_again(tmp_path, disk, content):
    stream = open_log(tmp_path, segment_bytes=2 * FRAME)
    for number in range(5):
        stream.append(outgoing([number]))
    file = tmp_path / "p0000" / "durable"
    data = file.read_bytes()
    assert published(tmp_path) == Mark(5, 4, FRAME)
    for appends in (False, True):
        file.unlink()
        if content is not None:
            file.write_bytes(content)
        synced = disk.synced
        fresh = open_log(tmp_path)
        if appends:
            fresh.append(outgoing([5]))
            check_seen(fresh, [0, 1, 2, 3, 4, 5])
            continue
        check_seen(fresh, [0, 1, 2, 3, 4])
        assert file.read_bytes() == data
        assert disk.synced == synced + 4  # three segments and the folder
    stream.append(outgoing([6]))  # it had the lost file open
    check_seen(open_log(tmp_path), [0, 1, 2, 3, 4, 5, 6])
    assert published(tmp_path) == Mark(7, 6, FRAME)


def test_an_end_with_any_flipped_bit_is_not_believed(tmp_path):
    stream = open_log(tmp_path)
    stream.append(outgoing([0]))
    file = tmp_path / "p0000" / "durable"
    data = file.read_bytes()
    assert len(data) == 32
    for place in range(28):
        flipped = bytearray(data)
        flipped[place] ^= 1 << (place % 8)
        file.write_bytes(flipped)
        assert published(tmp_path) is None
        assert numbers(stream) == [0]
        assert file.read_bytes() == data


def test_an_end_beyond_what_a_power_loss_has_left_goes_back(tmp_path):
    open_log(tmp_path, "never").append(outgoing([0]))
    DurableFile(tmp_path / "p0000", os.O_RDWR).publish(Mark(3, 0, 3 * FRAME))
    check_seen(open_log(tmp_path), [0])
    assert published(tmp_path) == Mark(1, 0, FRAME)
    DurableFile(tmp_path / "p0000", os.O_RDWR).publish(Mark(3, 0, 3 * FRAME))
    open_log(tmp_path).append(outgoing([1]))
    assert published(tmp_path) == Mark(2, 0, 2 * FRAME)


def test_a_log_of_before_has_its_end_published_by_the_first_who_reads(tmp_path):
    stream = open_log(tmp_path, "never")
    stream.append(Outgoing(2, "json", body=b"[" + event(0) + b"," + event(1) + b"]"))
    stream.close()
    (tmp_path / "p0000" / "durable").unlink()
    reader = open_log(tmp_path)
    assert reader.ends()[0].next == 2
    assert open_log(tmp_path / "empty").ends() == {0: Ends(0, 0, None)}
    assert published(tmp_path) == Mark(2, 0, (tmp_path / "p0000" / f"{0:020d}.log").stat().st_size)
