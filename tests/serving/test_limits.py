"""How much the server takes on: deadlines, requests in flight, a slow store; and health, which always answers."""

from __future__ import annotations

import asyncio
from threading import Event
from typing import Any

import httpx
import pytest

from asof.errors import BackendError
from asof.serving.app import Limits
from tests.serving.double import DictReader
from tests.serving.inside import SMALL, features, made, with_app


def slow(seconds: float, **more: Any) -> Any:
    return made(DictReader(embedded=False, slow_s=seconds), **more)


def test_a_request_meets_its_own_deadline():
    async def scenario(client: httpx.AsyncClient):
        late = await features(client, **{"x-asof-deadline-ms": "20"})
        assert (late.status_code, late.json()["error"]["code"]) == (504, "deadline_exceeded")
        assert (await features(client, **{"x-asof-deadline-ms": "2000"})).status_code == 200

    with_app(slow(0.2), scenario)


def test_a_request_meets_the_deadline_of_the_server():
    async def scenario(client: httpx.AsyncClient):
        late = await features(client)
        assert (late.status_code, late.json()["error"]["code"]) == (504, "deadline_exceeded")
        asked_more = await features(client, **{"x-asof-deadline-ms": "5000"})
        assert asked_more.status_code == 504

    with_app(slow(0.6, limits=Limits(deadline_s=0.1)), scenario)


def test_a_body_that_never_ends_meets_the_deadline():
    async def never():
        yield b'{"service":'
        await asyncio.Event().wait()

    async def scenario(client: httpx.AsyncClient):
        late = await client.post(
            "/v1/features", content=never(), headers={"content-type": "application/json"}
        )
        assert late.status_code == 504

    # httpx hands the body over piece by piece, as a slow client would.
    with_app(made(limits=Limits(deadline_s=0.1)), scenario)


def test_one_request_too_many_is_refused_and_health_still_answers():
    async def scenario(client: httpx.AsyncClient):
        going = [asyncio.create_task(features(client)) for _ in range(2)]
        await asyncio.sleep(0.05)
        refused = await features(client)
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "overloaded")
        assert refused.headers["retry-after"] == "1"
        assert (await client.get("/healthz")).status_code == 200
        assert [made.status_code for made in await asyncio.gather(*going)] == [200, 200]
        assert (await features(client)).status_code == 200

    with_app(slow(0.3, limits=Limits(in_flight=2)), scenario)


def test_reads_that_outlive_their_requests_are_not_heaped_up():
    """A store that hangs: requests meet their deadlines, and no more reads are begun than there are threads."""

    async def scenario(client: httpx.AsyncClient):
        async def one() -> str:
            made = await features(client, **{"x-asof-deadline-ms": "50"})
            return made.json()["error"]["code"]

        codes = await asyncio.gather(*(one() for _ in range(14)))
        assert sorted(codes) == ["deadline_exceeded"] * 10 + ["overloaded"] * 4  # 2 threads, 8 that wait
        assert await asyncio.gather(*(one() for _ in range(3))) == ["deadline_exceeded"] * 3
        assert reader.reads == 2
        await asyncio.sleep(0.6)
        assert (await features(client)).status_code == 200

    reader = DictReader(embedded=False, slow_s=0.5)
    with_app(made(reader, threads=2), scenario)


def test_readiness_is_that_of_the_store():
    reader = DictReader()

    async def scenario(client: httpx.AsyncClient):
        assert (await client.get("/readyz")).json() == {
            "status": "ok", "environment": "prod", "revision": 7, "problem": None,
        }  # fmt: skip
        reader.materialized = False
        ready, asked = await client.get("/readyz"), await features(client)
        for each in (ready, asked):
            assert (each.status_code, each.json()["error"]["code"]) == (503, "not_materialized")
        assert (await client.get("/healthz")).status_code == 200
        assert (await client.head("/healthz")).content == b""

    with_app(made(reader), scenario)


def test_a_new_revision_is_served_without_a_request_lost():
    reader = DictReader()

    async def scenario(client: httpx.AsyncClient):
        seen: set[int] = set()
        reader.next_revision = 8
        while 8 not in seen:
            assert (await features(client)).status_code == 200
            seen.add((await client.get("/readyz")).json()["revision"])
            await asyncio.sleep(0.005)
        assert "asof_registry_revision 8.0" in (await client.get("/metrics")).text
        assert seen <= {7, 8}

    with_app(made(reader, refresh_s=0.02), scenario)


def test_a_revision_that_does_not_load_is_told_and_the_old_one_is_served_on():
    reader = DictReader()

    async def scenario(client: httpx.AsyncClient):
        reader.problem = "revision 8 does not load"
        for _ in range(200):
            if "asof_registry_problem 1.0" in (await client.get("/metrics")).text:
                break
            await asyncio.sleep(0.01)
        assert "asof_reload_failures_total 1.0" in (await client.get("/metrics")).text
        assert (await client.get("/readyz")).json()["problem"] is not None
        assert (await features(client, SMALL)).status_code == 200

    with_app(made(reader, refresh_s=0.02), scenario)
    assert reader.closed


def test_a_reader_that_raises_at_its_look_is_looked_at_again():
    reader = DictReader()
    calls: list[int] = []

    def refresh() -> bool:
        calls.append(1)
        raise RuntimeError

    reader.refresh = refresh  # type: ignore[method-assign]

    async def scenario(client: httpx.AsyncClient):
        for _ in range(500):
            if len(calls) >= 3:
                break
            await asyncio.sleep(0.01)
        assert len(calls) >= 3
        assert (await features(client)).status_code == 200

    with_app(made(reader, refresh_s=0.01), scenario)


MANY_SMALL = {"service": "small", "entities": {"account_id": ["a1"] * 300}}


def test_a_read_of_many_entities_keeps_an_embedded_store_from_nobody():
    async def scenario(client: httpx.AsyncClient):
        going = asyncio.create_task(features(client, MANY_SMALL))
        await asyncio.sleep(0.1)
        assert (await client.get("/healthz")).status_code == 200
        assert not going.done()
        late = await features(client, MANY_SMALL, **{"x-asof-deadline-ms": "50"})
        assert (late.status_code, late.json()["error"]["code"]) == (504, "deadline_exceeded")
        assert len((await going).json()["values"]) == 300

    with_app(made(DictReader(slow_s=0.6)), scenario)


def test_an_answer_that_comes_late_is_not_given_although_nothing_waited():
    async def scenario(client: httpx.AsyncClient):
        late = await features(client, **{"x-asof-deadline-ms": "20"})
        assert (late.status_code, late.json()["error"]["code"]) == (504, "deadline_exceeded")
        late = await client.post("/api/v1/feature-service/get-features", json=tecton(latencyBudgetMs=20))
        assert late.status_code == 504

    with_app(made(DictReader(slow_s=0.05)), scenario)


def test_no_answer_comes_after_the_deadline_of_the_server():
    async def scenario(client: httpx.AsyncClient):
        assert (await features(client)).status_code == 504

    with_app(made(DictReader(slow_s=0.1), limits=Limits(deadline_s=0.05)), scenario)


def tecton(service: str = "small", **options: Any) -> dict[str, Any]:
    told = {"featureServiceName": service, "workspaceName": "prod", "joinKeyMap": {"account_id": "a1"}}
    return {"params": {**told, "requestOptions": options}}


class Stalled(DictReader):
    """A store behind a network that does not answer until it is let go; then it fails or not."""

    def __init__(self, *, fails: bool = False) -> None:
        super().__init__(embedded=False)
        self.stalled, self.fails = False, fails
        self.go = Event()
        self.looks = 0

    def describe(self, service: str):
        if self.stalled:
            self.looks += 1
            self.go.wait(10)
            if self.fails:
                raise BackendError("online store: no connection", retryable=True)
        return super().describe(service)


ASKS = [
    ("GET", "/v1/services", None),
    ("GET", "/v1/services/small", None),
    ("POST", "/get-online-features", {"feature_service": "small", "entities": {"account_id": ["a1"]}}),
    ("POST", "/get-online-features", {"features": ["activity:count_1d"], "entities": {"account_id": ["a1"]}}),
    ("POST", "/api/v1/feature-service/get-features", tecton()),
    ("POST", "/api/v1/feature-service/metadata", tecton()),
]


@pytest.mark.parametrize(("method", "path", "body"), ASKS)
def test_a_store_that_does_not_tell_of_a_service_keeps_nobody_else(method: str, path: str, body: Any):
    reader = Stalled()

    async def scenario(client: httpx.AsyncClient):
        reader.stalled = True
        going = [asyncio.create_task(client.request(method, path, json=body)) for _ in range(20)]
        late = await client.request(method, path, json=body, headers={"x-asof-deadline-ms": "50"})
        assert late.status_code == 504
        assert (await client.get("/healthz")).status_code == 200
        assert reader.looks == 1  # they wait for one look together
        reader.stalled = False
        reader.go.set()
        for each in await asyncio.gather(*going):
            assert each.status_code == 200, each.text

    with_app(made(reader), scenario)


def test_a_store_that_is_down_is_not_asked_by_each_request_in_turn():
    reader = Stalled(fails=True)

    async def scenario(client: httpx.AsyncClient):
        reader.stalled = True
        reader.go.set()
        for _ in range(5):
            down = await client.get("/v1/services/small")
            assert (down.status_code, down.json()["error"]["code"]) == (503, "backend_error")
        assert reader.looks <= 2  # five requests do not take a fifth of a second, but on a very busy machine
        reader.stalled = False
        await asyncio.sleep(0.25)
        assert (await client.get("/v1/services/small")).status_code == 200

    with_app(made(reader), scenario)
