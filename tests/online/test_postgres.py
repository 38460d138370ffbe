"""PostgreSQL as an online store: the contract, time limits, restarts of connections, and errors."""

from __future__ import annotations

import inspect
import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest

from asof.errors import BackendError
from asof.online import postgres as module
from asof.online.open_store import open_store
from asof.online.postgres import PostgresStore
from asof.online.retry import Deadline
from asof.online.store import OnlineStore
from asof.testing.online import OnlineStoreContract
from tests.services import Postgres

WAIT_S = 5.0


def address(server: Postgres) -> str:
    return server.create().replace("+psycopg", "")


@pytest.fixture(scope="module")
def url(postgres: Postgres) -> str:
    return address(postgres)


@pytest.mark.service("postgres")
class TestContract(OnlineStoreContract):
    @pytest.fixture
    def store(self, url: str) -> Iterator[OnlineStore]:
        store = open_store(url, timeout_s=WAIT_S)
        yield store
        store.close()


@pytest.mark.service("postgres")
def test_a_swap_whose_answer_was_lost_is_known_to_be_made(url, monkeypatch):
    store = open_store(url, timeout_s=WAIT_S)
    assert isinstance(store, PostgresStore)
    store.write("v8", [(b"ann", b"1"), (b"bob", b"9"), (b"dan", b"1")])
    connection_of, lost = store._pool.connection, list[None]()

    @contextmanager
    def losing(deadline: Deadline) -> Iterator[Any]:
        with connection_of(deadline) as connection:
            yield connection
            if not lost:
                lost.append(None)
                raise psycopg.OperationalError("the connection is lost")

    monkeypatch.setattr(store._pool, "connection", losing)
    swaps = [(b"dan", b"1", None), (b"cat", None, b"3"), (b"bob", b"1", b"2"), (b"ann", b"1", b"2")]
    assert store.swap("v8", swaps) == [True, True, False, True]
    assert lost
    assert sorted(store.scan("v8")) == [(b"ann", b"2"), (b"bob", b"9"), (b"cat", b"3")]
    store.close()


@pytest.mark.service("postgres")
def test_many_who_make_the_table_at_one_time_do_not_hinder_each_other(postgres):
    url = address(postgres)
    stores = [open_store(url, timeout_s=WAIT_S) for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda store: store.write("v1", [(b"ann", b"1")]), stores)) == [1] * 8
    for store in stores:
        store.close()


@pytest.mark.service("postgres")
def test_a_dropped_table_is_made_again(postgres):
    url = address(postgres)
    store = open_store(url, timeout_s=WAIT_S)
    store.write("v1", [(b"ann", b"1")])
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("drop table asof_online")
    assert store.get([("v1", [b"ann"])]) == [None]
    store.close()


@pytest.mark.service("postgres")
def test_connections_that_the_server_ends_are_replaced(postgres, url):
    store = open_store(url, timeout_s=WAIT_S)
    store.write("v9", [(b"ann", b"1")])
    with postgres.connect() as connection:
        connection.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'asof'"
        )
    assert store.get([("v9", [b"ann"])]) == [b"1"]
    store.close()


@pytest.mark.service("postgres")
def test_a_server_that_hangs_fails_a_read_in_time_and_is_used_again_when_it_goes_on(postgres, url):
    store = open_store(url, timeout_s=0.4)
    store.write("v9", [(b"ann", b"1")])
    with postgres.connect() as connection:
        found = "select pid from pg_stat_activity where application_name = 'asof'"
        (pid,) = connection.execute(found).fetchone() or (0,)
    os.kill(pid, signal.SIGSTOP)
    try:
        begin = time.perf_counter()
        with pytest.raises(BackendError) as caught:
            store.get([("v9", [b"ann"])])
        assert 0.2 < time.perf_counter() - begin < 1.5
        assert caught.value.retryable
        assert store.get([("v9", [b"ann"])]) == [b"1"]  # over another connection
    finally:
        os.kill(pid, signal.SIGCONT)
    store.close()


@pytest.mark.service("postgres")
def test_a_row_that_somebody_locks_fails_a_write_in_time(url):
    store = open_store(url, timeout_s=0.02)
    patient = open_store(url, timeout_s=WAIT_S)
    patient.write("v9", [(b"ann", b"1")])
    with psycopg.connect(url) as connection:
        connection.execute("select * from asof_online for update")
        begin = time.perf_counter()
        with pytest.raises(BackendError) as caught:
            store.write("v9", [(b"ann", b"2")])
        assert time.perf_counter() - begin < 2.0
        assert caught.value.retryable
        connection.rollback()
    assert patient.write("v9", [(b"ann", b"3")]) == 1
    store.close()
    patient.close()


@pytest.mark.service("postgres")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_process_makes_connections_of_its_own(url):
    store = open_store(url, timeout_s=WAIT_S)
    store.write("v9", [(b"ann", b"1")])
    child = os.fork()
    if child == 0:
        status = 1
        try:
            status = 0 if store.get([("v9", [b"ann"])]) == [b"1"] else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert store.get([("v9", [b"ann"])]) == [b"1"]
    store.close()


@pytest.mark.service("postgres")
def test_a_user_or_database_that_is_not_there_is_told_as_something_that_does_not_pass(url):
    for wrong in (url.replace("asof@", "nobody@"), url.rpartition("/")[0] + "/nothing"):
        store = open_store(wrong, password="hunter2", timeout_s=WAIT_S)  # noqa: S106
        with pytest.raises(BackendError, match="does not exist") as caught:
            store.get([("v1", [b"ann"])])
        assert not caught.value.retryable
        assert "hunter2" not in str(caught.value)
        store.close()


def test_where_no_server_is_the_error_comes_in_time():
    store = open_store("postgresql://asof@127.0.0.1:1/x", timeout_s=0.5)
    begin = time.perf_counter()
    with pytest.raises(BackendError, match="refused") as caught:
        store.get([("v1", [b"ann"])])
    assert caught.value.retryable
    assert time.perf_counter() - begin < 1.5
    store.close()


def test_every_error_of_the_driver_is_mapped():
    own = {
        each
        for _, each in inspect.getmembers(psycopg.errors, inspect.isclass)
        if issubclass(each, psycopg.Error)
    }
    of_sqlstate = {each for each in own if getattr(each, "sqlstate", None)}
    public = {each for each in own - of_sqlstate if not each.__name__.startswith("_")}
    assert public == {each for each in module.RETRYABLE if not getattr(each, "sqlstate", None)}
    for each in of_sqlstate:
        assert any(parent in module.RETRYABLE for parent in each.__mro__)
