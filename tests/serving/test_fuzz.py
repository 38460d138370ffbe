"""Nothing that comes over the wire makes the server fail or hang, and every error has the shape of its route.

Requests made from the OpenAPI document by Schemathesis, malformed ones among them, and arbitrary bytes and JSON at
every route. `make soak` makes 10,000 and more.
"""

from __future__ import annotations

import asyncio
import json
import os
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.config import SchemathesisConfig

from asof.serving.failures import HTTP_CODES
from asof.serving.openapi import openapi
from tests.serving.inside import made

SOAK = os.environ.get("ASOF_HYPOTHESIS_PROFILE") == "soak"
EXAMPLES = 1_500 if SOAK else 60
APP = made(access_log="off")
ROUTES = sorted(openapi()["paths"])
POSTS = [path for path, item in openapi()["paths"].items() if "post" in item]

config = SchemathesisConfig.from_dict({"generation": {"mode": "all", "allow-x00": True}})


@schemathesis.serializer("application/x-ndjson", "application/vnd.apache.arrow.stream")
def as_it_is(_context: Any, value: Any) -> bytes:
    """Bodies that are no JSON: texts, which are seldom what they say."""
    return value if isinstance(value, bytes) else str(value).encode(errors="replace")


schema = schemathesis.openapi.from_dict(openapi(), config=config)


async def _send(method: str, path: str, body: bytes, headers: dict[str, str]) -> httpx.Response:
    transport = httpx.ASGITransport(app=APP, raise_app_exceptions=True)  # type: ignore[arg-type]
    async with httpx.AsyncClient(transport=transport, base_url="http://inside") as client:
        return await asyncio.wait_for(client.request(method, path, content=body, headers=headers), 10)


def send(method: str, path: str, body: bytes = b"", **headers: str) -> httpx.Response:
    return asyncio.run(_send(method, path, body, headers))


def check_answer(path: str, answer: httpx.Response) -> None:
    """Never a 500, and an error in the one shape, or in Tecton's."""
    assert answer.status_code != 500, answer.text
    assert answer.headers["x-request-id"]
    if answer.status_code < 400 or not answer.content:
        return
    told = answer.json()
    if path.startswith("/api/v1/feature-service/"):
        assert set(told) == {"error", "code", "message"}
    else:
        assert set(told) == {"error"}
        assert set(told["error"]) == {"code", "message", "hint", "facts"}


def test_every_route_of_the_application_is_in_the_document():
    routes = {*APP._exact, *(route.path for route in APP._below)}
    documented = {path.partition("{")[0] for path in ROUTES}
    assert routes == documented
    for path, item in openapi()["paths"].items():
        route = APP._find(path.replace("{name}", "x"))
        assert route is not None
        assert {method.upper() for method in item} == set(route.handlers) - {"HEAD"}
    statuses = {str(status) for status, _ in HTTP_CODES.values()}
    used = {
        status for item in openapi()["paths"].values() for one in item.values() for status in one["responses"]
    }
    assert statuses <= used


@schema.parametrize()
@settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck), deadline=None)
def test_requests_made_from_the_document_get_what_it_says(case: schemathesis.Case):
    sent = case.as_transport_kwargs(base_url="http://inside")
    request = httpx.Request(
        sent["method"], sent["url"], params=sent.get("params"), headers=_headers(sent), **_content(sent)
    )
    answer = asyncio.run(
        _send(request.method, str(request.url.raw_path.decode()), request.read(), dict(request.headers))
    )
    check_answer(case.path, answer)
    operation = openapi()["paths"][case.path].get(case.method.lower())
    documented = {"200", "400", "404", "405"} if operation is None else operation["responses"]
    assert str(answer.status_code) in documented, answer.text


def _headers(sent: dict[str, Any]) -> dict[str, str]:
    return {
        name: str(value).strip()
        for name, value in (sent.get("headers") or {}).items()
        if str(value).isascii()
    }


def _content(sent: dict[str, Any]) -> dict[str, Any]:
    if sent.get("json") is not None or "json" in sent:
        return {"json": sent["json"]}
    data = sent.get("data")
    return {} if data is None else {"content": data if isinstance(data, bytes) else str(data).encode()}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)
keys = st.sampled_from(["a1", "a2", "zz", "", None, 1, 1.5, True, [], {}, "x" * 300, 2**70, "\ud800"])
near_misses = st.fixed_dictionaries(
    {
        "service": st.sampled_from(["small", "ach_risk", "nothing", "", 7, None]),
        "entities": st.dictionaries(
            st.sampled_from(["account_id", "x", ""]), keys | st.lists(keys, max_size=3), max_size=2
        ),
    },
    optional={
        "request": st.dictionaries(st.sampled_from(["amount", "x"]), json_values | st.lists(json_values), max_size=2),
        "at": st.sampled_from(["2026-01-31", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "x", 1, None]),
        "columns": st.lists(st.sampled_from(["count_1d", "share", "x"])) | json_values,
        "features": st.lists(st.sampled_from(["activity:count_1d", "activity@v1:count_1d", "x:y", "", ":"])),
        "feature_service": st.sampled_from(["small", None, "x"]),
        "full_feature_names": st.booleans(),
        "params": st.fixed_dictionaries(
            {
                "featureServiceName": st.sampled_from(["small", "ach_risk", "x"]),
                "workspaceName": st.sampled_from(["prod", "x"]),
            },
            optional={"joinKeyMap": json_values, "requestContextMap": json_values, "metadataOptions": json_values,
                      "requestOptions": json_values},
        ),
    },
)  # fmt: skip


@given(st.sampled_from(POSTS), st.binary(max_size=200) | json_values.map(lambda v: json.dumps(v).encode()))
@settings(max_examples=EXAMPLES * 3)
def test_arbitrary_bodies_get_an_answer(path: str, body: bytes):
    check_answer(path, send("POST", path, body, **{"content-type": "application/json"}))


@given(st.sampled_from(POSTS), near_misses)
@settings(max_examples=EXAMPLES * 3)
def test_bodies_that_are_almost_right_get_an_answer(path: str, body: Any):
    check_answer(path, send("POST", path, json.dumps(body).encode(), **{"content-type": "application/json"}))


@given(
    st.sampled_from(["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "BREW"]),
    st.sampled_from(
        [*ROUTES, "/v1/services/%00", "/v1/services/%ff", "/v1/services/a/b", "//", "/v1/services/"]
    ),
    st.sampled_from(["application/json", "text/plain", "", "application/json; charset=utf-8", "\x7f"]),
    st.sampled_from(
        ["*/*", "", "text/html", "application/vnd.apache.arrow.stream", ";;;,", "application/*;q=0"]
    ),
    st.sampled_from(["", "1", "0", "-1", "1e9", "999999999999", "abc"]),
)
@settings(max_examples=EXAMPLES)
def test_arbitrary_methods_paths_and_headers_get_an_answer(
    method: str, path: str, content: str, accept: str, deadline: str
):
    headers = {
        "content-type": content,
        "accept": accept,
        "x-asof-deadline-ms": deadline,
        "x-request-id": accept,
    }
    check_answer(
        path, send(method, path, b'{"service": "small", "entities": {"account_id": "a1"}}', **headers)
    )


@pytest.mark.parametrize("path", POSTS)
def test_a_deeply_nested_body_gets_an_answer(path: str):
    for body in (b"[" * 500_000, b'{"a":' * 100_000, b'{"entities":' + b"[" * 10_000 + b"]" * 10_000 + b"}"):
        check_answer(path, send("POST", path, body, **{"content-type": "application/json"}))
