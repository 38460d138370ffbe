"""A reader sees a change at its next look, and between looks it costs nothing."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from asof.errors import BackendError, UnknownEnvironment
from asof.registry.reader import Reader
from asof.registry.store import Registry
from asof.testing.clock import FakeClock
from tests.registry.conftest import Open
from tests.registry.rows import commit, connected, entity, statements

A1, A2 = entity("a", "one"), entity("a", "two")


@contextmanager
def unreadable(url: str) -> Iterator[None]:
    """Somebody keeps the environments to himself."""
    with connected(url) as connection:
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql("lock table asof_environment in access exclusive mode")
        else:
            connection.exec_driver_sql("begin exclusive")
        yield


def test_a_reader_sees_a_change_at_its_next_look_without_a_restart(opened: Open, clock: FakeClock) -> None:
    reading, applying = opened(), opened()
    commit(applying, None, A1)
    reader = Reader(reading, "prod", clock=clock)
    assert reader.state().specs == {"entity:a": A1}
    commit(applying, 1, A2)
    clock.advance("999999us")
    assert reader.state().specs == {"entity:a": A1}
    clock.advance("1us")
    assert reader.state().specs == {"entity:a": A2}
    assert reader.state().revision == 2


def test_a_read_costs_no_query_a_look_one_and_a_change_one_more(registry: Registry, clock: FakeClock) -> None:
    commit(registry, None, A1)
    reader = Reader(registry, "prod", clock=clock, check_us=5_000_000)
    with statements(registry) as sent:
        first = reader.state()
        assert len(sent) == 1
        clock.advance("4s")
        assert reader.state() is first
        assert len(sent) == 1
        clock.advance("1s")
        assert reader.state() is first
        assert len(sent) == 2
        assert "body" not in sent[1]
        assert reader.state() is first
        assert len(sent) == 2
    commit(registry, 1, A2)
    clock.advance("5s")
    with statements(registry) as sent:
        assert reader.state().specs == {"entity:a": A2}
        assert len(sent) == 2
        reader.state()
        assert len(sent) == 2


def test_another_environment_that_moves_is_no_change(registry: Registry, clock: FakeClock) -> None:
    commit(registry, None, A1)
    reader = Reader(registry, "prod", clock=clock)
    first = reader.state()
    commit(registry, None, A2, environment="dev")
    clock.advance("1s")
    with statements(registry) as sent:
        assert reader.state() is first
    assert len(sent) == 1


def test_a_clock_that_is_set_back_makes_the_reader_look(registry: Registry, clock: FakeClock) -> None:
    commit(registry, None, A1)
    reader = Reader(registry, "prod", clock=clock)
    reader.state()
    commit(registry, 1, A2)
    clock.set("2024-12-31")
    assert reader.state().specs == {"entity:a": A2}


def test_an_environment_that_is_removed_is_told_until_it_is_there_again(
    registry: Registry, clock: FakeClock
) -> None:
    commit(registry, None, A1, environment="dev")
    reader = Reader(registry, "dev", clock=clock)
    before = reader.state()
    registry.remove("dev")
    clock.advance("1s")
    for _ in range(2):
        with pytest.raises(UnknownEnvironment):
            reader.state()
    assert before.specs == {"entity:a": A1}
    commit(registry, None, A2, environment="dev")
    assert reader.state().specs == {"entity:a": A2}


def test_a_registry_that_cannot_be_read_is_told_and_works_again_afterwards(
    opened: Open, url: str, clock: FakeClock
) -> None:
    registry = opened(wait_s=0.1)
    commit(registry, None, A1)
    reader = Reader(registry, "prod", clock=clock)
    before = reader.state()
    clock.advance("1s")
    with unreadable(url), pytest.raises(BackendError, match="locked") as caught:
        reader.state()
    assert caught.value.retryable
    assert before.get("entity", "a") == A1
    assert reader.state() is before


class Crowd:
    """A registry that answers when everybody waits for it, and a clock that counts who has come."""

    def __init__(self, size: int, registry: Registry, clock: FakeClock) -> None:
        self.looks = 0
        self._size, self._registry, self._clock = size, registry, clock
        self._come, self._all = itertools.count(1), threading.Event()
        self.state = registry.state

    def now_us(self) -> int:
        if next(self._come) >= self._size:
            self._all.set()
        return self._clock.now_us()

    def revision(self, environment: str) -> int | None:
        self.looks += 1
        assert self._all.wait(30)
        return self._registry.revision(environment)


def test_of_many_threads_one_looks_and_the_others_take_what_it_saw(
    registry: Registry, clock: FakeClock
) -> None:
    commit(registry, None, A1)
    crowd = Crowd(2 + 8 + 1, registry, clock)  # the clock is read on arrival, and again by the one that looks
    reader = Reader(crowd, "prod", clock=crowd)  # type: ignore[arg-type] - it has what a reader asks for
    reader.state()
    commit(registry, 1, A2)
    clock.advance("1s")
    with ThreadPoolExecutor(8) as threads:
        seen = list(threads.map(lambda _: reader.state().revision, range(8)))
    assert seen == [2] * 8
    assert crowd.looks == 1
