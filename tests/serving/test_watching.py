"""What the server tells of itself: metrics, access log, spans, the hook for a log of requests; and keys."""

from __future__ import annotations

import io
import json
import re
from typing import Any

import httpx
import pytest

from asof.errors import ConfigError
from asof.serving.keys import check_address, parse_keys
from asof.serving.metrics import Metrics
from asof.testing.clock import FakeClock
from tests.docs.pages import DOCS
from tests.serving.double import DictReader
from tests.serving.inside import features, made, with_app

KEY, OTHER = "0123456789abcdef", "fedcba9876543210"


def metrics_after(scenario: Any) -> dict[str, float]:
    async def whole(client: httpx.AsyncClient) -> str:
        await scenario(client)
        return (await client.get("/metrics")).text

    text = with_app(made(), whole)
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines}


def test_requests_are_counted_by_service_and_outcome_and_values_by_view():
    async def scenario(client: httpx.AsyncClient):
        body = {
            "service": "ach_risk",
            "entities": {"account_id": ["a1", "a2", "zz"]},
            "request": {"amount": [1, 2, 3]},
        }
        await features(client, body)
        await features(client)
        await features(client, {"service": "nothing", "entities": {}})
        await features(client, {"service": "small", "entities": {}})
        await features(client, {"service": "nothing", "entities": {"a": [1], "b": 2}})

    seen = metrics_after(scenario)
    count = 'asof_feature_request_seconds_count{outcome="%s",service="%s"}'
    assert seen[count % ("ok", "ach_risk")] == 1
    assert seen[count % ("ok", "small")] == 1
    assert seen[count % ("not_found", "unknown")] == 1
    assert seen[count % ("missing_column", "small")] == 1
    assert seen[count % ("bad_request", "unknown")] == 1
    assert seen['asof_feature_missing_total{service="ach_risk",view="activity"}'] == 4
    assert seen['asof_feature_missing_total{service="ach_risk",view="balances"}'] == 5
    assert seen['asof_feature_stale_total{service="ach_risk",view="balances"}'] == 1
    assert seen['asof_feature_age_seconds_count{view="activity"}'] == 2
    assert seen['asof_view_watermark_timestamp_seconds{view="activity"}'] == 1769860740
    assert seen["asof_store_seconds_count"] == 2
    assert seen["asof_requests_in_flight"] == 1  # this very request
    assert seen["asof_registry_revision"] == 7
    assert seen["asof_registry_problem"] == 0


def test_other_routes_are_counted_by_route_and_status_and_paths_that_are_none_as_unknown():
    async def scenario(client: httpx.AsyncClient):
        await client.get("/healthz")
        await client.get("/v1/services/ach_risk")
        for number in range(3):
            await client.get(f"/made/up/{number}")

    seen = metrics_after(scenario)
    assert seen['asof_http_requests_total{route="/healthz",status="200"}'] == 1
    assert seen['asof_http_requests_total{route="/v1/services/",status="200"}'] == 1
    assert seen['asof_http_requests_total{route="unknown",status="404"}'] == 3


def test_the_dashboard_asks_for_metrics_that_there_are():
    text = (DOCS / "dashboards" / "feature-server.json").read_text()
    board = json.loads(text)
    queries = [target["expr"] for panel in board["panels"] for target in panel.get("targets", [])]
    assert len(queries) >= 8
    asked = {name for query in queries for name in re.findall(r"asof_\w+", query)}
    known = {family.name for family in Metrics().registry.collect()}
    for name in asked:
        assert re.sub(r"_(bucket|count|sum|total)$", "", name) in known, name
    missing = {name for name in known if not any(each.startswith(name) for each in asked)}
    assert missing <= {"asof_access_log_dropped", "asof_request_log_dropped"}


def logged(which: str, scenario: Any) -> list[dict[str, Any]]:
    out = io.BytesIO()
    with_app(made(access_log=which, log_to=out, clock=FakeClock("2026-01-31T12:00:00Z")), scenario)
    return [json.loads(line) for line in out.getvalue().splitlines()]


async def _three(client: httpx.AsyncClient):
    await features(client, **{"x-request-id": "one"})
    await features(
        client,
        {"service": "ach_risk", "entities": {"account_id": ["a1", "x"]}, "request": {"amount": [1, 2]}},
    )
    await features(client, {"service": "secret-4711", "entities": {"account_id": "secret-4711"}})


def test_the_access_log_has_a_line_for_each_request_and_no_key_in_it():
    first, second, third = logged("all", _three)
    assert first.pop("seconds") >= 0
    assert first == {
        "ts": "2026-01-31T12:00:00Z", "request_id": "one", "method": "POST", "route": "/v1/features",
        "service": "small", "entities": 1, "status": 200, "outcome": "ok",
    }  # fmt: skip
    assert (second["service"], second["entities"]) == ("ach_risk", 2)
    assert (third["service"], third["status"], third["outcome"]) == ("", 404, "not_found")
    assert "4711" not in json.dumps(third)


def test_the_access_log_may_be_errors_a_sample_or_nothing():
    async def many(client: httpx.AsyncClient):
        for _ in range(150):
            await features(client)
        await features(client, {"service": "nothing", "entities": {}})

    assert [line["status"] for line in logged("errors", many)] == [404]
    assert [line["status"] for line in logged("sampled", many)] == [200, 200, 404]
    assert logged("off", many) == []


def test_every_answer_can_be_told_to_a_log_of_requests_and_its_failure_costs_nothing(
    caplog: pytest.LogCaptureFixture,
):
    told: list[Any] = []

    def on_read(*args: Any) -> None:
        told.append(args)
        raise OSError(f"no room for {args[1]}")

    async def scenario(client: httpx.AsyncClient):
        body = {"service": "ach_risk", "entities": {"account_id": ["a1"]}, "request": {"amount": [1.5]}}
        assert (await features(client, body)).status_code == 200
        assert "asof_request_log_dropped_total 1.0" in (await client.get("/metrics")).text

    with_app(made(on_read=on_read), scenario)
    ((service, entities, request, answer),) = told
    assert (service, entities, request) == ("ach_risk", {"account_id": ["a1"]}, {"amount": [1.5]})
    assert answer.to_dict()["count_1d"] == [3]
    assert "OSError" in caplog.text
    assert "a1" not in caplog.text


def test_spans_have_service_and_status_below_the_callers_trace():
    sdk = pytest.importorskip("opentelemetry.sdk.trace")
    export = pytest.importorskip("opentelemetry.sdk.trace.export")
    memory = pytest.importorskip("opentelemetry.sdk.trace.export.in_memory_span_exporter")
    from asof.serving.tracing import OpenTelemetryTracer

    spans = memory.InMemorySpanExporter()
    provider = sdk.TracerProvider()
    provider.add_span_processor(export.SimpleSpanProcessor(spans))
    trace = "0af7651916cd43dd8448eb211c80319c"

    async def scenario(client: httpx.AsyncClient):
        await features(client, traceparent=f"00-{trace}-b7ad6b7169203331-01")

    with_app(made(tracer=OpenTelemetryTracer(provider)), scenario)
    read, request = spans.get_finished_spans()
    assert (read.name, request.name) == ("asof.read", "POST /v1/features")
    assert f"{request.context.trace_id:032x}" == trace
    assert read.parent.span_id == request.context.span_id
    assert dict(request.attributes) == {"asof.service": "small", "http.response.status_code": 200}


def test_with_keys_everything_but_health_asks_for_one():
    async def scenario(client: httpx.AsyncClient):
        for path in ("/healthz", "/readyz", "/health"):
            assert (await client.get(path)).status_code == 200
        for path in ("/v1/services", "/v1/services/small", "/metrics", "/openapi.json"):
            assert (await client.get(path)).status_code == 401
        none = await features(client)
        assert (none.status_code, none.json()["error"]["code"]) == (401, "unauthorized")
        assert none.headers["www-authenticate"] == "Bearer"
        for wrong in (f"Bearer {OTHER[:-1]}", f"Basic {KEY}", KEY, "Bearer", f"Bearer {KEY}x"):
            assert (await features(client, authorization=wrong)).status_code == 401
        for right in (f"Bearer {KEY}", f"bearer {OTHER}", f"Tecton-key {KEY}"):
            assert (await features(client, authorization=right)).status_code == 200

    with_app(made(DictReader(), keys=(KEY, OTHER)), scenario)


def test_keys_are_read_from_lines_and_commas_and_short_ones_are_refused():
    assert parse_keys(f"{KEY}\n{OTHER}\n") == parse_keys(f" {KEY}, {OTHER}") == (KEY, OTHER)
    for text in ("", "\n", "short", f"{KEY},short"):
        with pytest.raises(ConfigError) as caught:
            parse_keys(text)
        assert "short," not in str(caught.value)


def test_beyond_loopback_it_takes_keys_or_a_word():
    for host in ("127.0.0.1", "::1", "localhost", "127.8.8.8"):
        check_address(host, (), insecure=False)
    for host in ("0.0.0.0", "::", "10.0.0.1", "example.com"):  # noqa: S104
        check_address(host, (KEY,), insecure=False)
        check_address(host, (), insecure=True)
        with pytest.raises(ConfigError, match="without keys"):
            check_address(host, (), insecure=False)
