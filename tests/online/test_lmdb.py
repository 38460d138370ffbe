"""The embedded store in one process: the contract, growth, sharing, forks, and errors."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import lmdb
import pytest

from asof.errors import BackendError, ConfigError
from asof.online import lmdb_environment, lmdb_errors
from asof.online.lmdb import LmdbStore
from asof.online.open_store import open_store
from asof.online.store_url import parse_store_url
from asof.testing.online import OnlineStoreContract


def open_lmdb(folder: Path, *, map_bytes: int = 2**30, timeout_s: float = 5.0) -> LmdbStore:
    url = parse_store_url(f"lmdb:///online?map_bytes={map_bytes}", folder)
    return LmdbStore(url, timeout_s=timeout_s)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LmdbStore]:
    store = open_lmdb(tmp_path)
    yield store
    store.close()


class TestContract(OnlineStoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[LmdbStore]:
        store = open_lmdb(tmp_path, map_bytes=2**16)  # so that it grows in most of the tests
        yield store
        store.close()


def test_records_outlive_the_store(tmp_path):
    first = open_lmdb(tmp_path)
    first.write("v1", [(b"ann", b"1")])
    first.close()
    again = open_lmdb(tmp_path)
    assert again.get([("v1", [b"ann"])]) == [b"1"]
    again.close()


def test_stores_of_one_folder_share_it_and_the_last_one_closes_it(tmp_path):
    one, other = open_lmdb(tmp_path), open_lmdb(tmp_path / "x" / "..")
    one.write("v1", [(b"ann", b"1")])
    one.close()
    assert other.get([("v1", [b"ann"])]) == [b"1"]
    with pytest.raises(BackendError, match="closed"):
        one.get([("v1", [b"ann"])])
    other.close()
    assert not lmdb_environment._ALL


def test_the_map_grows_while_threads_read(tmp_path):
    store = open_lmdb(tmp_path, map_bytes=2**16)
    store.write("v1", [(b"%d" % n, b"%d" % n) for n in range(100)])
    keys = [b"%d" % n for n in range(100)]
    wrong: list[object] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            if store.get([("v1", keys)]) != keys:
                wrong.append("torn")
            if len(list(store.scan("v1"))) < 100:
                wrong.append("short")

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for turn in range(60):
        store.write("v2", [(b"%d-%d" % (turn, n), bytes(1_000)) for n in range(500)])
    done.set()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert store._shared.env is not None
    assert store._shared.env.info()["map_size"] > 30_000_000
    assert store._shared.active == []
    store.close()


def _write_much(folder: Path) -> None:
    store = open_lmdb(folder, map_bytes=2**16)
    for turn in range(20):
        store.write("v2", [(b"%d-%d" % (turn, n), bytes(1_000)) for n in range(500)])
    store.close()


def test_the_map_that_another_process_has_grown_is_followed(tmp_path):
    store = open_lmdb(tmp_path, map_bytes=2**16)
    store.write("v1", [(b"ann", b"1")])
    other = multiprocessing.get_context("spawn").Process(target=_write_much, args=(tmp_path,))
    other.start()
    while other.is_alive():
        assert store.get([("v1", [b"ann"])]) == [b"1"]
        store.write("v1", [(b"bob", b"2")])
    other.join()
    assert other.exitcode == 0
    assert len(list(store.scan("v2"))) == 10_000
    assert store.get([("v1", [b"ann", b"bob"])]) == [b"1", b"2"]
    store.close()


def test_a_forked_process_opens_it_anew_and_both_go_on(store):
    store.write("v1", [(b"ann", b"1")])
    stop = threading.Event()
    wrong: list[object] = []

    def read() -> None:
        while not stop.is_set():
            if store.get([("v1", [b"ann"])]) != [b"1"]:
                wrong.append("torn")

    thread = threading.Thread(target=read)
    thread.start()
    for turn in range(5):
        child = os.fork()
        if child == 0:
            status = 1
            try:
                seen = store.get([("v1", [b"ann"])])
                store.write("v1", [(b"child%d" % turn, b"2")])
                status = 0 if seen == [b"1"] else 2
            finally:
                os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert store.get([("v1", [b"child%d" % turn])]) == [b"2"]
    stop.set()
    thread.join()
    assert wrong == []


def test_a_folder_that_is_removed_is_made_anew_by_the_next_write(tmp_path, store):
    store.write("v1", [(b"ann", b"1")])
    for file in (tmp_path / "online").iterdir():
        file.unlink()
    (tmp_path / "online").rmdir()
    store.write("v1", [(b"bob", b"2")])
    assert store.get([("v1", [b"ann", b"bob"])]) == [None, b"2"]


def test_readers_that_are_gone_do_not_keep_the_file_growing(tmp_path, store):
    child = os.fork()
    if child == 0:
        try:
            store.get([("v1", [b"x"])])
            env = store._shared.env
            assert env is not None
            env.begin().get(b"x")
            kept = env.begin()  # a read that never ends
            assert kept is not None
            os.kill(os.getpid(), 9)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -9
    for _ in range(100):
        store.write("v1", [(b"%d" % n, bytes(1_000)) for n in range(100)])
    assert (tmp_path / "online" / "data.mdb").stat().st_size < 2_000_000


def test_more_reads_than_there_are_places_are_an_error_that_may_pass(store):
    store.write("v1", [(b"ann", b"1")])
    env = store._shared.env
    assert env is not None
    held = [env.begin() for _ in range(lmdb_environment.MAX_READERS)]
    short = LmdbStore(parse_store_url("lmdb:///online", store._shared.folder.parent), timeout_s=0.05)
    with pytest.raises(BackendError) as caught:
        short.get([("v1", [b"ann"])])
    assert caught.value.retryable
    held.clear()  # a transaction keeps its place until it is gone
    assert short.get([("v1", [b"ann"])]) == [b"1"]
    short.close()


def _hold_the_lock(folder: Path, ready: object, go: object) -> None:
    store = open_lmdb(folder)
    with store._shared.writing(lmdb_environment.Deadline(5.0)):
        ready.set()  # type: ignore[attr-defined]
        go.wait()  # type: ignore[attr-defined]


def test_a_writer_that_hangs_stops_others_for_their_time_limit_and_readers_not_at_all(tmp_path):
    context = multiprocessing.get_context("spawn")
    ready, go = context.Event(), context.Event()
    other = context.Process(target=_hold_the_lock, args=(tmp_path, ready, go))
    other.start()
    assert ready.wait(60)
    store = open_lmdb(tmp_path, timeout_s=0.01)
    with pytest.raises(BackendError, match="no answer in time") as caught:
        store.write("v1", [(b"ann", b"1")])
    assert caught.value.retryable
    assert store.get([("v1", [b"ann"])]) == [None]
    go.set()
    other.join()
    store.close()
    patient = open_lmdb(tmp_path)
    assert patient.write("v1", [(b"ann", b"1")]) == 1
    patient.close()


def test_files_that_are_not_lmdbs_are_told_and_left_alone(tmp_path):
    (tmp_path / "online").mkdir()
    file = tmp_path / "online" / "data.mdb"
    file.write_bytes(b"no database" * 1_000)
    with pytest.raises(BackendError, match="not LMDB's") as caught:
        open_lmdb(tmp_path)
    assert not caught.value.retryable
    assert file.read_bytes() == b"no database" * 1_000


def test_a_file_in_the_place_of_the_folder_is_told(tmp_path):
    (tmp_path / "online").write_text("")
    with pytest.raises(BackendError, match="online"):
        open_lmdb(tmp_path)


def test_every_error_of_the_driver_is_mapped():
    named = {
        n
        for n in dir(lmdb)
        if isinstance(getattr(lmdb, n), type) and issubclass(getattr(lmdb, n), lmdb.Error)
    }
    assert named == set(lmdb_errors.RETRYABLE)


def test_options_are_checked(tmp_path):
    for url, told in (
        ("lmdb:///online?map_byte=1", "map_bytes"),
        ("lmdb:///online?map_bytes=many", "not a whole number"),
        ("lmdb:///online?map_bytes=0", "not a whole number"),
    ):
        with pytest.raises(ConfigError, match=told):
            open_store(url, root=tmp_path)
