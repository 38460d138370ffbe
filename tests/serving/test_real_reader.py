"""The server over the real online reader: one service with all that a request can bring, and input of every kind."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import asof
from asof.serving.app import App
from asof.serving.build import Options, build_app
from tests.serving.test_fuzz import EXAMPLES, check_answer

DEFINITIONS = """
import numpy as np
from asof import CSV, Entity, Events, FeatureService, FeatureView, count, last, mean, request_feature, sum

card = Entity("card", keys={"bank": "int32", "card": "string"})
payments = Events(
    "payments", CSV("payments.csv", columns={"amount": "decimal(18,2)", "bank": "int32"}), event_time="paid_at",
    key="payment_id",
)
activity = FeatureView(
    "activity", entity=card, source=payments, online=True,
    features=[
        count().over("30d"), sum("amount").over("30d"), mean("amount").over("30d"), last("shop", n=2).over("30d"),
        sum("amount").by("shop").over("30d").named("by_shop"),
    ],
)

@request_feature(inputs=[activity["amount_mean_30d"]], request={"limit": "float64"}, dtype="float64")
def share(amount_mean_30d, limit):
    return amount_mean_30d / np.where(limit == 0, np.nan, limit)

counted = FeatureService("counted", features=[activity], own_row=payments)
risk = FeatureService("risk", features=[activity, activity["amount_sum_30d"].named("spent"), share])
"""
ROWS = """payment_id,bank,card,shop,amount,paid_at
p1,7,x,grocer,10.50,2026-01-01T10:00:00Z
p2,7,x,fuel,4.25,2026-01-02T10:00:00Z
p3,8,y,fuel,3.00,2026-01-03T10:00:00Z
"""
AT = "2026-01-04T00:00:00Z"
ENTITIES = {"bank": [7, 9], "card": ["x", "x"]}
BODY = {"service": "risk", "entities": ENTITIES, "request": {"limit": [73.75, 1]}, "at": AT}


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    folder = tmp_path_factory.mktemp("cards")
    (folder / "asof.toml").write_text('name = "cards"\nonline.history = "3650d"\n')
    (folder / "definitions.py").write_text(DEFINITIONS)
    (folder / "payments.csv").write_text(ROWS)
    project = asof.open(folder)
    project.materialize()
    project.apply(project.plan("prod", create=True))
    reader = project.online("prod")
    yield build_app(reader, Options(access_log="off"))
    reader.close()


def send(app: App, path: str, body: Any) -> httpx.Response:
    async def once() -> httpx.Response:
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=True)  # type: ignore[arg-type]
        async with httpx.AsyncClient(transport=transport, base_url="http://inside") as client:
            data = json.dumps(body).encode()
            post = client.post(path, content=data, headers={"content-type": "application/json"})
            return await asyncio.wait_for(post, 20)

    return asyncio.run(once())


def test_values_of_every_type_and_of_an_entity_of_two_keys(app: App):
    made = send(app, "/v1/features", BODY)
    assert made.status_code == 200, made.text
    assert made.json()["names"] == [
        "count_30d",
        "amount_sum_30d",
        "amount_mean_30d",
        "shop_last_2_30d",
        "by_shop",
        "spent",
        "share",
    ]
    assert made.json()["values"] == [
        [2, "14.75", 7.375, ["fuel", "grocer"], {"fuel": "4.25", "grocer": "10.50"}, "14.75", 0.1],
        [0, "0.00", None, [], {}, "0.00", None],
    ]
    assert made.json()["statuses"] == ["ppppppp", "mmmmmmn"]


def test_the_own_row_counts(app: App):
    info = with_own(app)
    assert set(info["request"]) >= {"amount", "shop"}
    request = {
        name: {"amount": "1.00", "shop": "bar", "payment_id": "p9"}.get(name) for name in info["request"]
    }
    body = {"service": "counted", "entities": {"bank": 7, "card": "x"}, "request": request, "at": AT}
    made = send(app, "/v1/features", body)
    assert made.status_code == 200, made.text
    assert made.json()["values"][0][:2] == [3, "15.75"]


def with_own(app: App) -> dict[str, Any]:
    async def once() -> dict[str, Any]:
        transport = httpx.ASGITransport(app=app)  # type: ignore[arg-type]
        async with httpx.AsyncClient(transport=transport, base_url="http://inside") as client:
            return (await client.get("/v1/services/counted")).json()

    return asyncio.run(once())


anything = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=9), st.lists(st.integers(), max_size=2),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
    st.sampled_from(["1.00", "NaN", "1e999", "2026-01-01"]),
)  # fmt: skip
column = anything | st.lists(anything, max_size=3)
bodies = st.fixed_dictionaries(
    {
        "service": st.sampled_from(["risk", "counted"]),
        "entities": st.fixed_dictionaries({"bank": st.just(7) | column, "card": st.just("x") | column}),
    },
    optional={
        "request": st.fixed_dictionaries(
            {}, optional=dict.fromkeys(("amount", "shop", "payment_id", "paid_at", "limit", "x"), column)
        ),
        "at": st.sampled_from(["0001-01-01", "9999-12-31T23:59:59Z", AT, "1969-01-01"]),
    },
)


@given(bodies)
@settings(max_examples=EXAMPLES, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_arbitrary_values_get_an_answer(app: App, body: Any):
    check_answer("/v1/features", send(app, "/v1/features", body))


@given(bodies)
@settings(max_examples=EXAMPLES // 3, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_arbitrary_values_get_an_answer_as_feast_and_tecton_ask(app: App, body: Any):
    entities = {
        name: value if isinstance(value, list) else [value] for name, value in body["entities"].items()
    }
    given_request = body.get("request", {})
    check_answer(
        "/get-online-features",
        send(
            app,
            "/get-online-features",
            {"feature_service": body["service"], "entities": entities | given_request},
        ),
    )
    params = {
        "featureServiceName": body["service"], "workspaceName": "prod", "joinKeyMap": body["entities"],
        "requestContextMap": given_request,
    }  # fmt: skip
    path = "/api/v1/feature-service/get-features"
    check_answer(path, send(app, path, {"params": params}))
