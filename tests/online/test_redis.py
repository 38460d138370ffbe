"""Redis, one server and a cluster: the contract, time limits, restarts, and errors."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
import redis.exceptions
from redis.client import Pipeline

from asof.errors import BackendError
from asof.online import redis as module
from asof.online.open_store import open_store
from asof.online.redis import RedisStore
from asof.online.retry import Retries
from asof.online.store import OnlineStore
from asof.online.store_url import parse_store_url
from asof.testing.online import OnlineStoreContract
from tests.services import Redis, redis_binary

WAIT_S = 5.0


@pytest.mark.service("redis")
class TestContract(OnlineStoreContract):
    @pytest.fixture
    def store(self, redis_server: Redis) -> Iterator[OnlineStore]:
        store = open_store(redis_server.url, timeout_s=WAIT_S)
        yield store
        store.close()


@pytest.mark.service("redis")
class TestContractInACluster(OnlineStoreContract):
    @pytest.fixture
    def store(self, redis_cluster: list[Redis]) -> Iterator[OnlineStore]:
        store = open_store(f"redis+cluster://127.0.0.1:{redis_cluster[0].port}", timeout_s=WAIT_S)
        yield store
        store.close()


@pytest.fixture
def own_server(tmp_path) -> Iterator[Redis]:
    """A server that a test may stop."""
    server = Redis(redis_binary(), tmp_path)
    server.start()
    yield server
    server.stop()


@pytest.mark.service("redis")
def test_all_views_of_an_entity_lie_in_one_slot(redis_cluster):
    store = open_store(f"redis+cluster://127.0.0.1:{redis_cluster[0].port}", timeout_s=WAIT_S)
    for name in ("v1", "v2", "v3"):
        store.write(name, [(b"ann", b"1")])
    slots = {redis_cluster[0].ask(f"CLUSTER KEYSLOT asof:{{ann}}:{name}") for name in ("v1", "v2", "v3")}
    assert slots == {redis_cluster[0].ask("CLUSTER KEYSLOT ann")}
    store.close()


@pytest.mark.service("redis")
def test_a_server_that_hangs_fails_a_read_in_time_and_is_used_again_when_it_goes_on(own_server):
    store = open_store(own_server.url, timeout_s=0.3)
    store.write("v1", [(b"ann", b"1")])
    own_server.signal(signal.SIGSTOP)
    for _ in range(3):
        begin = time.perf_counter()
        with pytest.raises(BackendError) as caught:
            store.get([("v1", [b"ann"])])
        assert 0.2 < time.perf_counter() - begin < 1.0
        assert caught.value.retryable
    own_server.signal(signal.SIGCONT)
    assert store.get([("v1", [b"ann"])]) == [b"1"]
    store.close()


@pytest.mark.service("redis")
def test_a_server_that_is_down_is_told_in_time_and_used_again_when_it_is_back(own_server):
    store = open_store(own_server.url, timeout_s=0.5)
    store.write("v1", [(b"ann", b"1")])
    own_server.stop()
    begin = time.perf_counter()
    with pytest.raises(BackendError, match="refused") as caught:
        store.get([("v1", [b"ann"])])
    assert time.perf_counter() - begin < 1.0
    assert caught.value.retryable
    assert caught.value.hint is not None
    own_server.start()
    assert store.get([("v1", [b"ann"])]) == [None]
    assert store.write("v1", [(b"ann", b"2")]) == 1
    assert store.get([("v1", [b"ann"])]) == [b"2"]
    store.close()


@pytest.mark.service("redis")
def test_a_restart_under_load_gives_whole_answers_or_errors_and_then_all_is_well(own_server):
    store = open_store(own_server.url, timeout_s=0.5)
    keys = [b"%d" % n for n in range(50)]
    stop, wrong, failures, answers = threading.Event(), list[object](), list[BackendError](), [0]

    def work() -> None:
        while not stop.is_set():
            try:
                store.write("v1", [(key, b"r" + key) for key in keys])
                found = store.get([("v1", keys)])
                if not all(record in {None, b"r" + key} for key, record in zip(keys, found, strict=True)):
                    wrong.append(found)
                answers[0] += 1
            except BackendError as error:
                failures.append(error)
            except BaseException as error:  # noqa: BLE001 - whatever else comes out is the failure
                wrong.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(3):
        time.sleep(0.2)
        own_server.stop()
        time.sleep(0.2)
        own_server.start()
    before = answers[0]
    time.sleep(0.3)
    stop.set()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert failures
    assert all(error.retryable for error in failures)
    assert answers[0] > before
    assert store.get([("v1", keys)]) == [b"r" + key for key in keys]
    store.close()


@pytest.mark.service("redis")
def test_a_password_is_asked_for_and_never_told(tmp_path):
    server = Redis(redis_binary(), tmp_path)
    server.start()
    server.ask("CONFIG SET requirepass hunter2")
    right = open_store(server.url, password="hunter2", timeout_s=WAIT_S)  # noqa: S106
    assert right.write("v1", [(b"ann", b"1")]) == 1
    for password in (None, "wrong-secret"):
        wrong = open_store(server.url, password=password, timeout_s=WAIT_S)
        with pytest.raises(BackendError) as caught:
            wrong.get([("v1", [b"ann"])])
        assert not caught.value.retryable
        assert "secret" not in str(caught.value)
        assert "hunter" not in str(caught.value)
        wrong.close()
    right.close()
    server.stop()


@pytest.mark.service("redis")
def test_a_server_without_room_is_told_and_the_record_is_not(own_server):
    store = open_store(own_server.url, timeout_s=WAIT_S)
    store.write("v1", [(b"ann", b"1")])
    own_server.ask("CONFIG SET maxmemory 1")
    for ttl_s in (None, 100):
        with pytest.raises(BackendError) as caught:
            store.write("v1", [(b"secret-key", b"secret-record")], ttl_s=ttl_s)
        assert not caught.value.retryable
        assert "maxmemory" in str(caught.value)
        assert "secret" not in str(caught.value)
    assert store.get([("v1", [b"ann"])]) == [b"1"]
    store.close()


@pytest.mark.service("redis")
def test_databases_of_a_server_are_apart(redis_server):
    one, other = (open_store(f"{redis_server.url}/{n}", timeout_s=WAIT_S) for n in (1, 2))
    one.write("v1", [(b"ann", b"1")])
    assert other.get([("v1", [b"ann"])]) == [None]
    one.close()
    other.close()


@pytest.mark.service("redis")
def test_a_cluster_node_that_is_gone_is_told_in_time(redis_cluster):
    store = open_store(f"redis+cluster://127.0.0.1:{redis_cluster[1].port}", timeout_s=0.5)
    keys = [b"%d" % n for n in range(30)]
    store.write("v1", [(key, key) for key in keys])
    redis_cluster[2].signal(signal.SIGSTOP)
    begin = time.perf_counter()
    with pytest.raises(BackendError) as caught:
        store.get([("v1", keys)])
    took_s = time.perf_counter() - begin
    redis_cluster[2].signal(signal.SIGCONT)
    assert took_s < 2.0
    assert caught.value.retryable
    for _ in range(100):
        try:
            assert store.get([("v1", keys)]) == keys
        except BackendError:
            time.sleep(0.1)
        else:
            break
    assert store.get([("v1", keys)]) == keys
    store.close()


class Losing:
    """Loses the answer to the first call of a driver's method: the server has made it, and nobody knows."""

    def __init__(self, call: Callable[..., Any]) -> None:
        self.call, self.lost = call, False

    def __call__(self, *args: Any, **options: Any) -> Any:
        answer = self.call(*args, **options)
        if not self.lost:
            self.lost = True
            raise redis.ConnectionError("connection reset")
        return answer


LOST = [
    (b"ann", b"1", b"2"),
    (b"bob", b"1", b"2"),
    (b"cat", None, b"3"),
    (b"dan", b"1", None),
    (b"eve", b"1", b"5"),
]


@pytest.mark.service("redis")
def test_a_swap_whose_answer_was_lost_is_known_to_be_made(redis_server, monkeypatch):
    store = open_store(redis_server.url, timeout_s=WAIT_S)
    assert isinstance(store, RedisStore)
    store.write("vlost", [(b"ann", b"1"), (b"bob", b"9"), (b"dan", b"1"), (b"eve", b"1" * 2_000)])
    monkeypatch.setattr(store._client, "execute_command", Losing(store._client.execute_command))
    swaps = [*LOST[:4], (b"eve", b"1" * 2_000, b"5")]
    assert store.swap("vlost", swaps) == [True, False, True, True, True]
    assert sorted(store.scan("vlost")) == [(b"ann", b"2"), (b"bob", b"9"), (b"cat", b"3"), (b"eve", b"5")]
    store.drop("vlost")
    store.close()


@pytest.mark.service("redis")
def test_a_swap_in_a_cluster_whose_answer_was_lost_is_known_to_be_made(redis_cluster, monkeypatch):
    store = open_store(f"redis+cluster://127.0.0.1:{redis_cluster[0].port}", timeout_s=WAIT_S)
    store.write("vlost", [(b"ann", b"1"), (b"bob", b"9"), (b"dan", b"1"), (b"eve", b"1")])
    losing = Losing(Pipeline.execute)

    def execute(pipeline: Any, **options: Any) -> Any:
        return losing(pipeline, **options)

    monkeypatch.setattr(Pipeline, "execute", execute)
    assert store.swap("vlost", LOST) == [True, False, True, True, True]
    assert losing.lost
    monkeypatch.undo()
    assert sorted(store.scan("vlost")) == [(b"ann", b"2"), (b"bob", b"9"), (b"cat", b"3"), (b"eve", b"5")]
    store.drop("vlost")
    store.close()


@pytest.mark.service("redis")
def test_a_swap_in_a_cluster_follows_a_slot_that_has_moved(redis_cluster):
    store = open_store(f"redis+cluster://127.0.0.1:{redis_cluster[0].port}", timeout_s=WAIT_S)
    assert isinstance(store, RedisStore)
    store.write("vmoved", [(b"ann", b"1"), (b"bob", b"1")])
    layout = store._client.nodes_manager
    servers = list(layout.slots_cache.values())
    for slot, node in list(layout.slots_cache.items()):  # what the client believes is wrong for every slot
        layout.slots_cache[slot] = next(each for each in servers if each != node)
    assert store.swap("vmoved", [(b"ann", b"1", b"2"), (b"bob", b"2", b"3")]) == [True, False]
    assert store.get([("vmoved", [b"ann", b"bob"])]) == [b"2", b"1"]
    store.close()


@pytest.mark.service("redis")
def test_a_swap_without_a_time_to_live_keeps_the_record(redis_server):
    store = open_store(redis_server.url, timeout_s=WAIT_S)
    store.write("vttl", [(b"ann", b"1"), (b"bob", b"1")], ttl_s=100)
    assert store.swap("vttl", [(b"ann", b"1", b"2")]) == [True]
    assert store.swap("vttl", [(b"bob", b"1", b"2")], ttl_s=1_000) == [True]
    assert redis_server.ask("TTL asof:{ann}:vttl").strip() == b":-1"
    assert redis_server.ask("TTL asof:{bob}:vttl").strip() in {b":1000", b":999"}
    store.close()


def test_where_no_server_is_the_error_names_the_address_and_comes_in_time():
    pauses: list[float] = []
    for scheme in ("redis", "redis+cluster"):
        url = parse_store_url(f"{scheme}://127.0.0.1:1")
        store = RedisStore(url, timeout_s=0.5, retries=Retries(draw=lambda: 1.0, sleep=pauses.append))
        begin = time.perf_counter()
        with pytest.raises(BackendError, match=r"127\.0\.0\.1:1") as caught:
            store.get([("v1", [b"ann"])])
        assert caught.value.retryable
        assert time.perf_counter() - begin < 2.0
        store.close()
    assert pauses == [0.01, 0.02, 0.04] * 2


def test_every_error_of_the_driver_is_mapped():
    found = vars(redis.exceptions).items()
    named = {n for n, each in found if isinstance(each, type) and issubclass(each, Exception)}
    assert named - {"Enum", "ExceptionType"} == set(module.RETRYABLE)
