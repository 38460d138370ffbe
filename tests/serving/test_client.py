"""asof's own clients against a live server: answers, errors as classes again, retries, deadlines, pools, threads."""

from __future__ import annotations

import asyncio
import http.server
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest

import asof
from asof.errors import (
    BackendError,
    DataError,
    LimitError,
    MissingColumn,
    NotMaterialized,
    StateError,
    UnknownName,
    WrongType,
)
from asof.serving.client_protocol import error_of, request_body, wait_s
from asof.serving.failures import HTTP_CODES
from tests.serving.live import Live
from tests.serving.test_features import A1, A2, NAMES

MANY = ("ach_risk", {"account_id": ["a1", "a2"]}, {"amount": [50.0, 25.0]})


@pytest.fixture
def client(server: Live) -> Iterator[asof.Client]:
    with asof.Client(server.url, timeout_s=20) as made:
        yield made


def test_features_are_rows_columns_statuses_and_ages(client: asof.Client):
    made = client.features(*MANY)
    assert made.names == tuple(NAMES)
    assert made.values == [A1, A2]
    assert made.at == datetime(2026, 1, 31, 12, tzinfo=UTC)
    assert made.columns()["count_1d"] == [3, 0]
    assert made.rows()[0]["home"] == "Köln"
    assert [made.status(1, name) for name in ("count_1d", "mean_7d", "balance", "home")] == [
        "present", "null", "expired", "stale",
    ]  # fmt: skip
    assert made.ages_s["activity"] == [90.0, 90.0]
    assert made.watermarks == {"activity": datetime(2026, 1, 31, 11, 59, tzinfo=UTC), "balances": None}
    with pytest.raises(UnknownName, match="no column"):
        made.status(0, "conut_1d")


def test_numpy_and_arrow_columns_and_single_values_are_taken(client: asof.Client):
    one = client.features("ach_risk", {"account_id": "a1"}, {"amount": np.float64(50)})
    many = client.features("ach_risk", {"account_id": pa.array(["a1"])}, {"amount": np.array([50.0])})
    assert one.values == many.values == [A1]
    chosen = client.features(*MANY, at=datetime(2026, 1, 31, 12, 0, 1, tzinfo=UTC), columns=["share"])
    assert (chosen.values, chosen.ages_s["activity"]) == ([[0.5], [0.25]], [91.0, 91.0])


def test_an_arrow_table_has_the_types(client: asof.Client):
    table = client.features_arrow(*MANY)
    assert table["balance"].to_pylist() == [Decimal("-12.05"), None]
    assert table["born"].to_pylist() == [date(2000, 1, 1), None]
    assert table["asof:statuses"].to_pylist() == ["pppppppppp", "pnennnppsp"]


def test_services(client: asof.Client):
    assert client.services() == ["ach_risk", "small"]
    assert client.service("small")["features"][0]["name"] == "count_1d"
    with pytest.raises(UnknownName):
        client.service("a/b c")


@pytest.mark.parametrize(
    ("call", "error", "said"),
    [
        (("ach_rsk", {"account_id": "a1"}), UnknownName, "did you mean 'ach_risk'?"),
        (("small", {"acount_id": "a1"}), MissingColumn, "needed: account_id"),
        (("small", {"account_id": 7}), WrongType, "not a string"),
        (("small", {"account_id": ["a"] * 1_001}), LimitError, "at most 1000"),
        (("ach_risk", {"account_id": ["a1"]}, {"amount": [1, 2]}), DataError, "has 2 values"),
        (("small", {"account_id": "boom"}), BackendError, "its log has the request's id"),
    ],
)
def test_errors_are_the_classes_that_they_were(client: asof.Client, call, error, said: str):
    with pytest.raises(error) as caught:
        client.features(*call)
    assert type(caught.value) is error
    assert said in str(caught.value)


def test_every_code_of_http_becomes_an_error_of_the_tree():
    for code, (status, _) in HTTP_CODES.items():
        body = f'{{"error": {{"code": "{code}", "message": "m", "hint": null, "facts": {{"a": 1}}}}}}'
        made = error_of(status, body.encode())
        assert isinstance(made, asof.AsofError)
        assert made.facts["a"] == 1
    made = error_of(503, b'{"error": {"code": "not_materialized", "message": "m", "hint": "h", "facts": {}}}')
    assert isinstance(made, NotMaterialized)
    assert made.hint == "h"
    assert isinstance(
        error_of(401, b'{"error": {"code": "unauthorized", "message": "", "hint": null, "facts": {}}}'),
        StateError,
    )
    gateway = error_of(502, b"<html>bad gateway</html>")
    assert isinstance(gateway, BackendError)
    assert gateway.retryable


def test_what_json_does_not_have_is_refused():
    for value in (float("nan"), float("inf"), object(), np.array([np.nan])):
        with pytest.raises(DataError, match="JSON"):
            request_body("s", {"k": value}, None, None, None)


def test_a_server_that_is_away_is_a_backend_error_that_may_be_tried_again():
    with asof.Client("http://127.0.0.1:9", timeout_s=5) as client, pytest.raises(BackendError) as caught:
        client.features(*MANY)
    assert caught.value.retryable
    with pytest.raises(DataError, match="address"):
        asof.Client("127.0.0.1:9")


def test_a_slow_server_meets_the_deadline(start: Callable[..., Live]):
    live = start(reader={"embedded": False, "slow_s": 3})
    with asof.Client(live.url, timeout_s=0.3) as client, pytest.raises(LimitError):
        client.features("small", {"account_id": "a1"})

    async def ask():
        async with asof.AsyncClient(live.url, timeout_s=0.3) as client:
            await client.features("small", {"account_id": "a1"})

    with pytest.raises(LimitError):
        asyncio.run(ask())


def test_keys_are_sent(start: Callable[..., Live]):
    live = start(keys=["0123456789abcdef"])
    with asof.Client(live.url, key="0123456789abcdef", timeout_s=20) as client:
        assert client.features("small", {"account_id": "a1"}).values == [[3]]
    with asof.Client(live.url, timeout_s=20) as client, pytest.raises(StateError, match="no key"):
        client.features("small", {"account_id": "a1"})


def test_a_connection_that_the_server_closed_is_made_anew(start: Callable[..., Live]):
    live = start()
    with asof.Client(live.url, timeout_s=20) as client:
        client.features("small", {"account_id": "a1"})
        live.stop()
        start(port=live.port)
        assert client.features("small", {"account_id": "a1"}).values == [[3]]


def test_threads_share_a_client(client: asof.Client):
    with ThreadPoolExecutor(8) as pool:
        ids = ["a1", "a2"] * 50
        made = list(pool.map(lambda each: client.features("small", {"account_id": each}).values[0][0], ids))
    assert made == [3, 0] * 50
    assert len(client._idle) <= 8


def test_the_asynchronous_client_answers_alike(server: Live):
    async def ask():
        async with asof.AsyncClient(server.url, timeout_s=20) as client:
            many = await asyncio.gather(*(client.features(*MANY) for _ in range(20)))
            table = await client.features_arrow(*MANY)
            with pytest.raises(MissingColumn):
                await client.features("small", {"x": 1})
            return many, table, await client.services(), await client.service("small")

    many, table, services, one = asyncio.run(ask())
    assert all(made.values == [A1, A2] for made in many)
    assert table["count_1d"].to_pylist() == [3, 0]
    assert (services, one["name"]) == (["ach_risk", "small"], "small")


class Busy(http.server.BaseHTTPRequestHandler):
    """Answers 503 so many times, then 200; counts."""

    left = 0
    seen = 0
    protocol_version = "HTTP/1.1"
    answer = (
        b'{"service":"s","names":["n"],"at":"2026-01-01T00:00:00Z","values":[[1]],"statuses":["p"],'
        b'"freshness":{}}'
    )

    def do_POST(self) -> None:
        type(self).seen += 1
        self.rfile.read(int(self.headers["content-length"]))
        type(self).left -= 1
        busy = type(self).left >= 0
        body = b"busy" if busy else self.answer
        self.send_response(503 if busy else 200)
        if busy:
            self.send_header("retry-after", "0")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def busy() -> Iterator[tuple[str, type[Busy]]]:
    handler = type("Handler", (Busy,), {})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as made:
        thread = threading.Thread(target=made.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{made.server_port}", handler
        made.shutdown()
        thread.join()


@pytest.mark.parametrize("times", [1, 2, 3])
def test_a_busy_server_is_asked_again_but_not_for_ever(busy, times: int):
    url, handler = busy

    async def ask_async():
        async with asof.AsyncClient(url, timeout_s=20) as client:
            return (await client.features("s", {"k": 1})).values

    def ask():
        with asof.Client(url, timeout_s=20) as client:
            return client.features("s", {"k": 1}).values

    for one in (ask, lambda: asyncio.run(ask_async())):
        handler.left, handler.seen = times, 0
        if times < 3:
            assert one() == [[1]]
            assert handler.seen == times + 1
        else:
            with pytest.raises(BackendError, match="503"):
                one()
            assert handler.seen == 3


def test_waits_grow_are_spread_and_heed_the_server():
    assert [wait_s(n, None, None, 1.0) for n in range(3)] == [0.05, 0.1, 0.2]
    assert wait_s(0, 503, "2", 0.0) == 2
    assert wait_s(0, 429, "999", 0.0) == 5
    assert wait_s(0, 503, "soon", 1.0) == 0.05
    assert all(wait_s(0, status, None, 0.5) is None for status in (400, 401, 404, 409, 413, 500, 504))
