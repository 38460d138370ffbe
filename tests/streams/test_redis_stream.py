"""A stream of Redis: the contract, foreign entries, leases, trimming, and errors."""

from __future__ import annotations

import secrets
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import redis
import redis.exceptions

from asof.define.stream import RedisStream
from asof.errors import BackendError, ConfigError
from asof.online.redis import RETRYABLE as OF_STORES
from asof.streams import redis_follow
from asof.streams.redis_client import RETRYABLE
from asof.streams.redis_stream import MAX_EVENTS, RedisEvents
from asof.streams.stream import Outgoing, Stream
from asof.testing.streams import StreamContract, nexts, numbers_since, outgoing
from tests.services import Redis, redis_binary

PATIENCE_S = 15.0


def new_key() -> str:
    return f"s{secrets.token_hex(8)}"


SHARED = new_key()


@pytest.fixture
def key() -> str:
    return new_key()


@pytest.fixture
def driver(redis_server: Redis) -> Iterator[Any]:
    """The driver's own client, as somebody else has it."""
    client = redis.Redis.from_url(redis_server.url)
    yield client
    client.close()


@pytest.fixture
def stream(redis_server: Redis, key: str) -> Iterator[RedisEvents]:
    stream = RedisEvents(RedisStream(key, url=redis_server.url))
    yield stream
    stream.close()


@pytest.fixture
def own_server(tmp_path) -> Iterator[Redis]:
    """A server that a test may stop."""
    server = Redis(redis_binary(), tmp_path)
    server.start()
    yield server
    server.stop()


@pytest.mark.service("redis")
class TestContract(StreamContract):
    shares = False

    @pytest.fixture
    def stream(self, redis_server: Redis) -> Iterator[Stream]:
        stream = RedisEvents(RedisStream(SHARED, url=redis_server.url))
        yield stream
        stream.close()


@pytest.mark.service("redis")
def test_a_stream_that_nobody_has_written_to_is_empty(stream):
    (ends,) = stream.ends().values()
    assert (ends.first, ends.next, ends.newest_us) == (0, 0, None)
    assert stream.read(0, 0, 10) == []
    assert stream.find(0, 1_700_000_000_000_000) == 0


@pytest.mark.service("redis")
def test_an_offset_is_the_milliseconds_and_the_number_of_the_entry(stream, driver, key):
    for identifier in ("1700000000000-0", "1700000000000-7", "1700000000001-1048575"):
        driver.xadd(key, {"e": b"{}"}, id=identifier)
    (chunk,) = stream.read(0, 0, 10)
    base = 1_700_000_000_000 * 1_048_576
    assert chunk.offsets.tolist() == [base, base + 7, base + 1_048_576 + 1_048_575]
    assert chunk.stamps_us.tolist() == [1_700_000_000_000_000] * 2 + [1_700_000_000_001_000]
    (ends,) = stream.ends().values()
    assert (ends.first, ends.next, ends.newest_us) == (base, base + 2 * 1_048_576, 1_700_000_000_001_000)
    assert stream.read(0, ends.next, 10) == []
    assert stream.find(0, 1_700_000_000_000_001) == base + 1_048_576 + 1_048_575
    driver.xadd(key, {"e": b"{}"}, id="1700000000002-0")
    assert [each.offsets.tolist() for each in stream.read(0, ends.next, 10)] == [[base + 2 * 1_048_576]]


@pytest.mark.service("redis")
def test_an_entry_whose_number_is_too_large_is_told(stream, driver, key):
    driver.xadd(key, {"e": b"{}"}, id="1700000000000-1048576")
    for call in (lambda: stream.read(0, 0, 1), stream.ends):
        with pytest.raises(BackendError, match="has no offset") as caught:
            call()
        assert not caught.value.retryable


@pytest.mark.service("redis")
def test_entries_of_others_are_objects_of_their_fields(stream, driver, key):
    driver.xadd(key, {"amount": 12, "who": "ü"})
    driver.xadd(key, {"who": b"\xff\xfe"})
    (chunk,) = stream.read(0, 0, 10)
    assert list(chunk.events) == [b'{"amount": "12", "who": "\\u00fc"}', b"\xff\xfe"]


@pytest.mark.service("redis")
def test_old_events_go_when_there_are_more_than_are_kept(redis_server, driver, key):
    stream = RedisEvents(RedisStream(key, url=redis_server.url, max_events=100))
    for first in range(0, 1_000, 100):
        stream.append(outgoing(range(first, first + 100)))
    assert 100 <= driver.xlen(key) <= 200  # whole nodes of 100 entries go
    (chunk,) = stream.read(0, 0, 1_000)
    assert chunk.events[-1] == b'{"n":999,"who":"ann"}'
    assert int(chunk.offsets[0]) == stream.ends()[0].first
    stream.close()


@pytest.mark.service("redis")
def test_a_batch_that_is_too_large_or_of_another_form_is_refused(stream):
    batches = [
        Outgoing(MAX_EVENTS + 1, "json", events=[b"{}"] * (MAX_EVENTS + 1)),
        Outgoing(1, "json", body=b'[{"n":1}]'),
        Outgoing(1, "avro", events=[b"\x00"]),
    ]
    for batch in batches:
        with pytest.raises(BackendError) as caught:
            stream.append(batch)
        assert not caught.value.retryable
    assert stream.ends()[0].next == 0


@pytest.mark.service("redis")
def test_a_key_that_holds_something_else_is_told_and_nothing_is_appended(stream, driver, key):
    driver.set(key, "something else")
    with pytest.raises(BackendError, match="WRONGTYPE") as caught:
        stream.append(Outgoing(1, "json", events=[b'{"n":"secret"}'], idempotency_key="one"))
    assert not caught.value.retryable
    assert "secret" not in str(caught.value)
    driver.delete(key)
    assert not stream.append(Outgoing(1, "json", events=[b'{"n":1}'], idempotency_key="one")).repeated


@pytest.mark.service("redis")
def test_an_idempotency_key_is_forgotten_after_a_day(stream, driver, key):
    stream.append(outgoing([1], idempotency_key="one"))
    (kept,) = driver.keys(f"asof:{{{key}}}:appended:*")
    assert 86_000 < driver.ttl(kept) <= 86_400


@pytest.mark.service("redis")
def test_one_of_a_group_follows_and_the_next_takes_over_when_it_closes(stream, driver, key):
    stream.append(outgoing([1, 2, 3]))
    one, other = stream.follow("g"), stream.follow("g")
    assert list(one.poll(0.0, 10).gained) == [0]
    assert list(other.poll(0.0, 10).gained) == []
    one.seek(0, 0)
    (chunk,) = one.poll(1.0, 2).chunks
    assert [len(chunk.offsets), len(one.poll(1.0, 10).chunks[0].offsets)] == [2, 1]
    one.commit({0: chunk.next_offset})
    assert int(driver.get(f"asof:{{{key}}}:position:g")) == chunk.next_offset
    one.close()
    assert list(other.poll(0.0, 10).gained) == [0]
    other.seek(0, chunk.next_offset)
    assert list(other.poll(1.0, 10).chunks[0].events) == [b'{"n":3,"who":"ann"}']
    with pytest.raises(BackendError, match="closed"):
        one.poll(0.0, 10)
    other.close()


@pytest.mark.service("redis")
def test_who_loses_the_lease_is_told_gets_nothing_and_changes_nothing(stream, driver, key):
    stream.append(outgoing([1]))
    one, other = stream.follow("g"), stream.follow("g")
    one.poll(0.0, 10)
    one.seek(0, 0)
    driver.delete(f"asof:{{{key}}}:lease:g")  # as when its time is over
    assert list(other.poll(0.0, 10).gained) == [0]
    polled = one.poll(0.0, 10)
    assert (list(polled.lost), list(polled.chunks)) == ([0], [])
    with pytest.raises(BackendError, match="not this follower's"):
        one.seek(0, 0)
    one.commit({0: 5})
    assert driver.get(f"asof:{{{key}}}:position:g") is None
    one.close()
    assert driver.exists(f"asof:{{{key}}}:lease:g") == 1
    other.close()
    assert driver.exists(f"asof:{{{key}}}:lease:g") == 0


@pytest.mark.service("redis")
def test_the_lease_of_one_who_does_not_poll_ends_and_polling_keeps_it(redis_server, driver, key):
    stream = RedisEvents(RedisStream(key, url=redis_server.url), lease_s=0.3)
    one, other = stream.follow("g"), stream.follow("g")
    one.poll(0.0, 10)
    one.seek(0, 0)
    for _ in range(10):
        assert list(one.poll(0.05, 10).lost) == []
        assert driver.pttl(f"asof:{{{key}}}:lease:g") > 0
    for _ in range(int(PATIENCE_S / 0.25)):
        if other.poll(0.25, 10).gained:
            break
    assert list(one.poll(0.0, 10).lost) == [0]
    other.close()
    one.close()
    stream.close()


@pytest.mark.service("redis")
def test_a_poll_wakes_when_an_event_comes(stream):
    follower = stream.follow("g")
    follower.poll(0.0, 10)
    follower.seek(0, 0)
    later = threading.Timer(0.1, lambda: stream.append(outgoing([7])))
    later.start()
    for _ in range(int(PATIENCE_S)):
        if chunks := follower.poll(1.0, 10).chunks:
            break
    later.join()
    assert list(chunks[0].events) == [b'{"n":7,"who":"ann"}']
    follower.close()


@pytest.mark.service("redis")
def test_a_server_that_hangs_or_is_down_is_told_in_time_and_used_again(own_server, key):
    stream = RedisEvents(RedisStream(key, url=own_server.url), timeout_s=0.3)
    stream.append(outgoing([1]))
    own_server.signal(signal.SIGSTOP)
    begin = time.perf_counter()
    with pytest.raises(BackendError) as caught:
        stream.read(0, 0, 1)
    assert time.perf_counter() - begin < 2.0
    assert caught.value.retryable
    own_server.signal(signal.SIGCONT)
    assert len(stream.read(0, 0, 1)) == 1
    follower = stream.follow("g")
    follower.poll(0.0, 1)
    own_server.stop()
    for call in (lambda: stream.append(outgoing([2])), lambda: follower.poll(0.1, 1)):
        with pytest.raises(BackendError) as caught:
            call()
        assert caught.value.retryable
        assert caught.value.hint is not None
    own_server.start()
    assert list(follower.poll(0.0, 1).lost) == [0]  # the server has forgotten all
    assert list(follower.poll(0.0, 1).gained) == [0]
    stream.append(outgoing([3]))
    assert numbers_since(stream, {0: 0}) == {0: [3]}
    own_server.stop()
    follower.close()
    stream.close()
    own_server.start()


@pytest.mark.service("redis")
def test_a_server_without_room_takes_nothing_of_a_batch(own_server, key):
    stream = RedisEvents(RedisStream(key, url=own_server.url))
    stream.append(outgoing([1]))
    before = nexts(stream)
    own_server.ask("CONFIG SET maxmemory 1")
    with pytest.raises(BackendError) as caught:
        stream.append(outgoing(range(2, 100)))
    assert not caught.value.retryable
    assert "max_events" in str(caught.value.hint)
    own_server.ask("CONFIG SET maxmemory 0")
    assert nexts(stream) == before
    stream.close()


@pytest.mark.service("redis")
def test_a_password_comes_from_where_the_reference_says_and_is_never_told(own_server, key, monkeypatch):
    own_server.ask("CONFIG SET requirepass hunter2")
    monkeypatch.setenv("RIGHT", "hunter2")
    monkeypatch.setenv("WRONG", "hunter3")
    right = RedisEvents(RedisStream(key, url=own_server.url, password="env:RIGHT"))  # noqa: S106
    assert right.append(outgoing([1])).count == 1
    right.close()
    for password in (None, "env:WRONG"):
        wrong = RedisEvents(RedisStream(key, url=own_server.url, password=password))
        with pytest.raises(BackendError) as caught:
            wrong.ends()
        assert not caught.value.retryable
        assert "hunter" not in str(caught.value)
        wrong.close()
    absent = RedisEvents(RedisStream(key, url=own_server.url, password="env:NOWHERE"))  # noqa: S106
    with pytest.raises(ConfigError, match="NOWHERE"):
        absent.ends()


def test_an_address_that_is_none_is_told():
    stream = RedisEvents(RedisStream("s", url="http://localhost"))
    with pytest.raises(ConfigError, match="no address of Redis"):
        stream.ends()


def test_every_error_of_the_driver_is_as_retryable_as_for_a_store():
    found = [each for each in vars(redis.exceptions).values() if isinstance(each, type)]
    found = [each for each in found if issubclass(each, redis.RedisError | redis.RedisClusterException)]
    assert len(found) > 30
    for each in found:
        names = [parent.__name__ for parent in each.__mro__]
        nearest = next(RETRYABLE[name] for name in names if name in RETRYABLE)
        assert nearest == OF_STORES[each.__name__], each.__name__


def test_the_wait_of_one_poll_is_within_the_lease():
    assert redis_follow.LEASE_S > 4 * redis_follow._TRY_S
