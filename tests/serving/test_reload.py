"""A service that changes between the look at its description and the read: names are those of the values, or none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import httpx
import pytest

from asof.flows.answer import Answer
from tests.serving.double import DictReader, Info
from tests.serving.inside import made, with_app

FEATURES = {
    "activity.count_1d": "3",
    "activity.amount_mean_7d": 12.5,
    "balances.balance": "-12.05",
    "balances.is_open": True,
}
FIRST = ("activity.count_1d", "activity.amount_mean_7d", "balances.balance")


def version(*full_names: str) -> Info:
    """The service `ach_risk` with these of its features."""
    whole = Info()
    columns = {
        f"{view}.{feature}": (name, dtype, view, feature)
        for name, dtype, view, feature in zip(
            whole.names, whole.dtypes, whole.views, whole.features, strict=True
        )
    }
    names, dtypes, views, features = zip(*(columns[each] for each in full_names), strict=True)
    return replace(whole, names=names, dtypes=dtypes, views=views, features=features, request=())


class Reloading(DictReader):
    """Before each of its next reads it comes to serve another version."""

    def __init__(self, first: Info) -> None:
        super().__init__()
        self._infos["ach_risk"] = first
        self.coming: list[Info] = []

    def read(
        self,
        service: str,
        entities: Mapping[str, Sequence[Any]],
        request: Mapping[str, Sequence[Any]] | None = None,
        at: datetime | None = None,
    ) -> Answer:
        if self.coming:
            self._infos["ach_risk"] = self.coming.pop(0)
        return super().read(service, entities, request, at)


async def ask_tecton(client: httpx.AsyncClient) -> httpx.Response:
    params = {
        "featureServiceName": "ach_risk",
        "workspaceName": "prod",
        "joinKeyMap": {"account_id": "a1"},
        "metadataOptions": {"includeNames": True, "includeDataTypes": True},
    }
    return await client.post("/api/v1/feature-service/get-features", json={"params": params})


async def by_tecton(client: httpx.AsyncClient) -> dict[str, Any]:
    body = (await ask_tecton(client)).json()
    names = [each["name"] for each in body["metadata"]["features"]]
    return dict(zip(names, body["result"]["features"], strict=True))


async def ask_feast(client: httpx.AsyncClient, **asked: Any) -> httpx.Response:
    body = {"feature_service": "ach_risk", "entities": {"account_id": ["a1"]}, "full_feature_names": True}
    return await client.post("/get-online-features", json={**body, **asked})


async def by_feast(client: httpx.AsyncClient, **asked: Any) -> dict[str, Any]:
    body = (await ask_feast(client, **asked)).json()
    names = [name.replace("__", ".") for name in body["metadata"]["feature_names"]]
    found = dict(zip(names, [each["values"][0] for each in body["results"]], strict=True))
    found.pop("account_id")
    return {name: str(value) if name == "activity.count_1d" else value for name, value in found.items()}


@pytest.mark.parametrize("ask", [by_tecton, by_feast])
@pytest.mark.parametrize("then", [FIRST[::-1], (*FIRST, "balances.is_open"), ("balances.is_open", *FIRST)])
def test_a_reload_between_description_and_read_leaves_every_value_its_name(ask: Any, then: tuple[str, ...]):
    reader = Reloading(version(*FIRST))

    async def scenario(client: httpx.AsyncClient):
        assert await ask(client) == {name: FEATURES[name] for name in FIRST}  # from now on it is described
        reader.coming = [version(*then)]
        found = await ask(client)
        assert list(found.items()) == [(name, FEATURES[name]) for name in then]

    with_app(made(reader), scenario)


def test_features_that_are_asked_by_name_are_those_also_after_a_reload():
    reader = Reloading(version(*FIRST))
    asked = {"feature_service": None, "features": ["balances:balance", "activity:count_1d"]}

    async def scenario(client: httpx.AsyncClient):
        for then in (FIRST[::-1], (*FIRST, "balances.is_open"), FIRST[::-1][:3]):
            reader.coming = [version(*then)]
            found = await by_feast(client, **asked)
            assert found == {"balances.balance": "-12.05", "activity.count_1d": "3"}
        gone = version("balances.balance")
        reader.coming = [gone]
        refused = await ask_feast(client, **asked)
        assert (refused.status_code, refused.json()["error"]["code"]) == (400, "bad_request")

    with_app(made(reader), scenario)


def test_a_new_revision_is_described_at_once():
    reader = Reloading(version(*FIRST))

    async def scenario(client: httpx.AsyncClient):
        await by_feast(client)
        reader._infos["ach_risk"], reader.revision = version("balances.is_open"), 8
        made = await client.get("/v1/services/ach_risk")
        assert [each["name"] for each in made.json()["features"]] == ["open"]

    with_app(made(reader), scenario)


@pytest.mark.parametrize("ask", [ask_tecton, ask_feast])
def test_a_service_that_changes_each_time_is_refused_for_now(ask: Any):
    reader = Reloading(version(*FIRST))

    async def scenario(client: httpx.AsyncClient):
        assert (await ask(client)).status_code == 200
        reader.coming = [version(*each) for each in (FIRST[1:], FIRST, FIRST[1:])]
        refused = await ask(client)
        assert refused.status_code == 503
        assert refused.headers["retry-after"] == "1"
        assert "changes; ask again" in refused.text
        assert reader.coming == []
        assert (await ask(client)).status_code == 200

    with_app(made(reader), scenario)
