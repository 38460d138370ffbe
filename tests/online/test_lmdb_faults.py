"""The embedded store when things go wrong: writers that are killed, and disks that are full."""

from __future__ import annotations

import os
import random
import resource
import shutil
import signal
import subprocess
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from asof.errors import BackendError
from asof.online.lmdb import LmdbStore
from asof.online.store_url import parse_store_url

pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
KEYS = [b"%d" % n for n in range(40)]


def open_lmdb(folder: Path, map_bytes: int = 2**16) -> LmdbStore:
    return LmdbStore(parse_store_url(f"lmdb:///online?map_bytes={map_bytes}", folder), timeout_s=5.0)


def record_of(turn: int, rng: random.Random) -> bytes:
    """The turn, a filling of any size, and the checksum of both."""
    body = turn.to_bytes(8, "big") + rng.randbytes(rng.randrange(6_000))
    return body + zlib.crc32(body).to_bytes(4, "big")


def turn_of(record: bytes | None) -> int:
    """The turn in which a whole record was written; -1 where there is none."""
    if record is None:
        return -1
    assert zlib.crc32(record[:-4]) == int.from_bytes(record[-4:], "big"), "a torn record"
    return int.from_bytes(record[:8], "big")


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


def write_for_ever(store: LmdbStore, said: int, turn: int) -> None:
    rng = random.Random(turn)
    while True:
        store.write("v1", [(key, record_of(turn, rng)) for key in KEYS])
        os.write(said, turn.to_bytes(8, "big"))
        turn += 1


def kill_a_writer(store: LmdbStore, first_turn: int, after_s: float) -> int:
    """Starts one, reads all the while, kills it; the last turn that it said was written."""
    hears, said = os.pipe()
    child = in_child(lambda: write_for_ever(store, said, first_turn))
    os.close(said)
    for _ in range(3):
        assert len({turn_of(record) for record in store.get([("v1", KEYS)])}) == 1
        time.sleep(after_s / 3)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    with os.fdopen(hears, "rb") as pipe:
        told = pipe.read()
    return int.from_bytes(told[-8:], "big") if told else first_turn - 1


def check_kills(store: LmdbStore, runs: int) -> None:
    rng, turn = random.Random(7), 1
    for _ in range(runs):
        told = kill_a_writer(store, turn, rng.random() * 0.06)
        (found,) = {turn_of(record) for record in store.get([("v1", KEYS)])}
        # What was told is there; a batch more may be, which was on disk before it could be told.
        assert found in {told, told + 1} or (found == -1 and told == 0)
        assert {turn_of(record) for _, record in store.scan("v1")} <= {found}
        turn = max(found, told) + 1
    assert turn > runs
    store.write("v2", [(b"ann", b"1")])
    assert store.get([("v2", [b"ann"])]) == [b"1"]


def test_a_writer_that_is_killed_leaves_whole_batches_only(tmp_path):
    store = open_lmdb(tmp_path)
    check_kills(store, 30)
    store.close()


@pytest.mark.slow
@pytest.mark.skipif(settings.default.max_examples < 5_000, reason="only in `make soak`")
def test_many_writers_that_are_killed_leave_whole_batches_only(tmp_path):
    store = open_lmdb(tmp_path)
    check_kills(store, 1_000)
    store.close()


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
    subprocess.run(["umount", str(folder)], check=True)


def fill(store: LmdbStore) -> BackendError:
    """What is raised when no more fits."""
    with pytest.raises(BackendError, match=r"disk is full|is the disk full") as caught:
        for turn in range(10_000):
            store.write("v2", [(b"%d-%d" % (turn, n), bytes(900)) for n in range(20)])
    return caught.value


def test_a_full_disk_refuses_writes_and_answers_reads(small_disk):
    store = open_lmdb(small_disk)
    store.write("v1", [(b"ann", b"1")])
    for _ in range(3):
        error = fill(store)
        assert not error.retryable
        assert error.hint is not None
        assert "room" in error.hint
        assert store.get([("v1", [b"ann"])]) == [b"1"]
    before = len(list(store.scan("v2")))
    assert before % 20 == 0
    assert before > 500
    other = open_lmdb(small_disk)
    assert other.get([("v1", [b"ann"])]) == [b"1"]
    other.close()
    store.close()


def test_a_disk_that_somebody_else_fills_is_told_and_room_helps(small_disk):
    store = open_lmdb(small_disk, map_bytes=2**30)
    store.write("v1", [(b"ann", b"1")])
    filling = small_disk / "filling"
    with pytest.raises(OSError, match="No space"):
        filling.write_bytes(bytes(4_000_000))
    fill(store)
    assert store.get([("v1", [b"ann"])]) == [b"1"]
    filling.unlink()
    store.write("v3", [(b"%d" % n, bytes(900)) for n in range(100)])
    assert store.get([("v1", [b"ann"]), ("v3", [b"99"])]) == [b"1", bytes(900)]
    store.close()


def test_a_store_on_a_full_disk_is_told_and_does_not_end_the_process(small_disk):
    with pytest.raises(OSError, match="No space"):
        (small_disk / "filling").write_bytes(bytes(4_000_000))
    with pytest.raises(BackendError, match="disk is full"):
        open_lmdb(small_disk)
    (small_disk / "filling").unlink()
    store = open_lmdb(small_disk)
    assert store.write("v1", [(b"ann", b"1")]) == 1
    store.close()


def test_a_file_that_may_not_grow_refuses_writes_and_answers_reads(tmp_path):
    def work() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, resource.RLIM_INFINITY))
        store = open_lmdb(tmp_path)
        store.write("v1", [(b"ann", b"1")])
        fill(store)
        assert store.get([("v1", [b"ann"])]) == [b"1"]
        store.close()

    assert os.waitstatus_to_exitcode(os.waitpid(in_child(work), 0)[1]) == 0
