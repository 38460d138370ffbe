"""Stores that answer slowly: within the time limit all is well; beyond it comes an error in time, and it passes."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from asof.errors import BackendError
from asof.online.open_store import open_store
from tests.online.slow_proxy import SlowProxy
from tests.services import DynamoDB, Postgres, Redis

LIMIT_S = 0.6


def check(url: str, proxy: SlowProxy) -> None:
    store = open_store(url, timeout_s=LIMIT_S)
    try:
        store.write("v1", [(b"ann", b"1")])
        proxy.delay_s = 0.15
        assert store.get([("v1", [b"ann"])]) == [b"1"]
        for _ in range(2):
            proxy.delay_s = 2.0
            begin = time.perf_counter()
            with pytest.raises(BackendError) as caught:
                store.get([("v1", [b"ann"])])
            assert time.perf_counter() - begin < 2 * LIMIT_S
            assert caught.value.retryable
            proxy.delay_s = 0.0
            assert store.get([("v1", [b"ann"])]) == [b"1"]
    finally:
        proxy.delay_s = 0.0
        store.close()


@pytest.fixture
def proxies() -> Iterator[list[SlowProxy]]:
    made: list[SlowProxy] = []
    yield made
    for each in made:
        each.close()


@pytest.mark.service("redis")
def test_redis(redis_server: Redis, proxies: list[SlowProxy]) -> None:
    proxies.append(SlowProxy(redis_server.port))
    check(f"redis://127.0.0.1:{proxies[0].port}", proxies[0])


@pytest.mark.service("postgres")
def test_postgres(postgres: Postgres, proxies: list[SlowProxy]) -> None:
    url = postgres.create().replace("+psycopg", "")
    proxies.append(SlowProxy(postgres.port))
    check(url.replace(f":{postgres.port}/", f":{proxies[0].port}/") + "?sslmode=disable", proxies[0])


def test_dynamodb(dynamodb: DynamoDB, proxies: list[SlowProxy]) -> None:
    port = dynamodb.endpoint.rpartition(":")[2]
    proxies.append(SlowProxy(int(port)))
    check(dynamodb.url().replace(f":{port}&", f":{proxies[0].port}&"), proxies[0])
