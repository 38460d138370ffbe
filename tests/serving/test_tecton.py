"""Tecton's own client, synchronous and asynchronous, reads from a live server as it is."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator

import httpx
import pytest
from tecton_client import AsyncTectonClient, MetadataOptions, RequestOptions, TectonClient
from tecton_client.exceptions import (
    BadRequestError,
    ForbiddenError,
    GatewayTimeoutError,
    NotFoundError,
    ServiceUnavailableError,
    UnauthorizedError,
)

from asof.serving.tecton import data_type, wire_value
from asof.types import DType
from tests.serving.live import Live

A1 = {"account_id": "a1"}
RAW = [
    "3", 12.5, "-12.05", True, "2020-02-29T00:00:00.250000Z", "2000-01-01", ["R01", "R10"], {"R01": "2", "R10": "1"},
    "Köln", 0.5,
]  # fmt: skip
VALUES = {
    "activity.count_1d": 3,
    "activity.amount_mean_7d": 12.5,
    "balances.balance": "-12.05",
    "balances.is_open": True,
    "balances.opened": "2020-02-29T00:00:00.250000Z",
    "balances.born": "2000-01-01",
    "activity.last_codes": ["R01", "R10"],
    "activity.by_code": {"R01": 2, "R10": 1},
    "balances.home": "Köln",
    "share.share": 0.5,
}


@pytest.fixture
def client(server: Live) -> Iterator[TectonClient]:
    with httpx.Client(timeout=20, trust_env=False) as http:
        yield TectonClient(server.url, "any", "prod", client=http)


def test_features_come_as_the_client_expects_them(client: TectonClient):
    made = client.get_features(
        feature_service_name="ach_risk", join_key_map=A1, request_context_map={"amount": 50.0}
    )
    assert made.result.features == RAW
    assert made.metadata is None
    assert made.slo_info is None


def test_names_and_types_make_a_dictionary(client: TectonClient):
    options = MetadataOptions(include_names=True, include_data_types=True)
    made = client.get_features(
        feature_service_name="ach_risk",
        join_key_map=A1,
        request_context_map={"amount": 50},
        metadata_options=options,
    )
    assert made.get_features_dict() == VALUES


def test_all_metadata(client: TectonClient):
    made = client.get_features(
        feature_service_name="ach_risk",
        join_key_map={"account_id": "a2"},
        request_context_map={"amount": 50},
        metadata_options=MetadataOptions.all(),
        request_options=RequestOptions(
            read_from_cache=True, latency_budget_ms=1_000, coerce_null_counts_to_zero=True
        ),
        allow_partial_results=True,
    )
    assert made.slo_info is not None
    assert made.slo_info.slo_eligible is True
    assert 0 <= made.slo_info.server_time_seconds < 5
    first, second = made.metadata["features"][:2]
    assert first == {
        "name": "activity.count_1d",
        "dataType": {"type": "int64"},
        "effectiveTime": "2026-01-31T11:58:30Z",
        "status": "PRESENT",
    }
    assert second["status"] == "MISSING_DATA"
    assert made.metadata["features"][7]["dataType"] == {
        "type": "map", "keyType": {"type": "string"}, "valueType": {"type": "int64"},
    }  # fmt: skip


def test_an_entity_without_a_record_is_missing_and_has_no_time(client: TectonClient):
    options = MetadataOptions(include_effective_times=True, include_serving_status=True)
    made = client.get_features(
        feature_service_name="small", join_key_map={"account_id": "nobody"}, metadata_options=options
    )
    assert made.result.features == ["0"]
    assert made.metadata["features"] == [{"effectiveTime": None, "status": "MISSING_DATA"}]


def test_metadata_of_a_service(client: TectonClient):
    made = client.get_feature_service_metadata(feature_service_name="ach_risk")
    assert made.input_join_keys == [{"name": "account_id", "dataType": {"type": "string"}}]
    assert made.input_request_context_keys == [{"name": "amount", "dataType": {"type": "float64"}}]
    assert [each["name"] for each in made.feature_values] == list(VALUES)


@pytest.mark.parametrize(
    ("service", "keys", "workspace", "error", "said"),
    [
        ("ach_rsk", A1, "prod", NotFoundError, "did you mean 'ach_risk'"),
        ("ach_risk", A1, "dev", ForbiddenError, "this server serves 'prod'"),
        ("ach_risk", {"acount": "a1"}, "prod", BadRequestError, "account_id"),
        ("ach_risk", {"account_id": 7}, "prod", BadRequestError, "not a string"),
        ("small", {"account_id": "down"}, "prod", ServiceUnavailableError, "no connection"),
    ],
)
def test_errors_are_those_of_the_client(
    client: TectonClient, service: str, keys, workspace: str, error, said: str
):
    request = {"amount": 1} if service == "ach_risk" else {}
    with pytest.raises(error, match=said):
        client.get_features(
            feature_service_name=service,
            join_key_map=keys,
            request_context_map=request,
            workspace_name=workspace,
        )


def test_a_latency_budget_is_kept(start: Callable[..., Live]):
    live = start(reader={"embedded": False, "slow_s": 0.5})
    with httpx.Client(timeout=20, trust_env=False) as http, pytest.raises(GatewayTimeoutError):
        TectonClient(live.url, "any", "prod", client=http).get_features(
            feature_service_name="small",
            join_key_map=A1,
            request_options=RequestOptions(latency_budget_ms=100),
        )


def test_the_key_is_checked(start: Callable[..., Live]):
    live = start(keys=["0123456789abcdef"])
    with httpx.Client(timeout=20, trust_env=False) as http:
        right = TectonClient(live.url, "0123456789abcdef", "prod", client=http)
        assert right.get_features(feature_service_name="small", join_key_map=A1).result.features == ["3"]
        wrong = TectonClient(live.url, "fedcba9876543210", "prod", client=http)
        with pytest.raises(UnauthorizedError, match="no key that this server knows"):
            wrong.get_features(feature_service_name="small", join_key_map=A1)


def test_the_asynchronous_client(server: Live):
    async def ask():
        async with httpx.AsyncClient(timeout=20, trust_env=False) as http:
            client = AsyncTectonClient(server.url, "any", "prod", client=http)
            found = await client.get_feature_service_metadata(feature_service_name="small")
            made = await client.get_features(feature_service_name="small", join_key_map=A1)
            with pytest.raises(NotFoundError):
                await client.get_features(feature_service_name="smal", join_key_map=A1)
            return found.feature_values, made.result.features

    names, values = asyncio.run(ask())
    assert names == [{"name": "activity.count_1d", "dataType": {"type": "int64"}}]
    assert values == ["3"]


@pytest.mark.parametrize(
    ("dtype", "value", "wire", "named"),
    [
        ("int32", 7, "7", {"type": "int64"}),
        ("list<int64>", [1, None], ["1", None], {"type": "array", "elementType": {"type": "int64"}}),
        ("list<float64>", [1.5], [1.5], {"type": "array", "elementType": {"type": "float64"}}),
        ("bool", False, False, {"type": "bool"}),
        ("decimal(9,2)", "1.20", "1.20", {"type": "string"}),
        ("int64", None, None, {"type": "int64"}),
    ],
)
def test_types_and_values_on_the_wire(dtype: str, value, wire, named):
    assert wire_value(value, DType.parse(dtype)) == wire
    assert data_type(DType.parse(dtype)) == named
    json.dumps(wire)
