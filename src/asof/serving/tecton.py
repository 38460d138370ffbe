"""Answers as Tecton's feature server gives them, so that `tecton-client` reads from asof unchanged.

`POST /api/v1/feature-service/get-features` and `/metadata`, as the client 0.4.0 expects them; see
docs/how-to/migrate-from-tecton.md. A workspace is an asof environment, a request is of one entity, and an int64 travels
as a text.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any

import msgspec

from asof.clock import format_time
from asof.define.window import BEGIN_US
from asof.flows.answer import MISSING, Answer
from asof.flows.online_service import ServiceInfo
from asof.serving.answer_json import encode
from asof.serving.cells import rows
from asof.serving.exchange import Reply, Request, Route, decode
from asof.serving.failures import Failure, HttpError
from asof.serving.read import Reads
from asof.serving.selection import views_of
from asof.types import DType

_GRPC = {400: 3, 401: 16, 403: 7, 404: 5, 409: 9, 413: 3, 415: 3, 429: 8, 503: 14, 504: 4}
_AS_CLIENT_KNOWS = {405: 400, 406: 400, 409: 400, 413: 400, 415: 400}
"""Statuses that the client has no error for, as one that it has."""


class MetadataOptions(msgspec.Struct, rename="camel"):
    """What to tell beside the values."""

    include_names: bool = False
    include_data_types: bool = False
    include_effective_times: bool = False
    include_slo_info: bool = False
    include_serving_status: bool = False


class RequestOptions(msgspec.Struct, rename="camel"):
    """How to read; what asof has no use for (caches) is passed over."""

    latency_budget_ms: Annotated[int, msgspec.Meta(ge=1, le=600_000)] | None = None
    coerce_null_counts_to_zero: bool | None = None


class FeaturesParams(msgspec.Struct, rename="camel"):
    """The parameters of get-features."""

    feature_service_name: str
    workspace_name: str
    join_key_map: dict[str, Any] | None = None
    request_context_map: dict[str, Any] | None = None
    metadata_options: MetadataOptions | None = None
    request_options: RequestOptions | None = None


class FeaturesBody(msgspec.Struct):
    """The body of get-features."""

    params: FeaturesParams


class MetadataParams(msgspec.Struct, rename="camel"):
    """The parameters of metadata."""

    feature_service_name: str
    workspace_name: str


class MetadataBody(msgspec.Struct):
    """The body of metadata."""

    params: MetadataParams


_FEATURES = msgspec.json.Decoder(FeaturesBody)
_METADATA = msgspec.json.Decoder(MetadataBody)


def error_body(failure: Failure) -> bytes:
    """`{error, code, message}`, as the client reads it."""
    message = failure.message if failure.hint is None else f"{failure.message}; hint: {failure.hint}"
    return encode({"error": message, "code": _GRPC.get(failure.status, 13), "message": message})


class TectonRoutes:
    """The routes of Tecton's feature server that read."""

    def __init__(self, reads: Reads) -> None:
        self._reads = reads

    def routes(self) -> tuple[Route, ...]:
        """The routes."""
        base = "/api/v1/feature-service/"
        return (
            Route(
                base + "get-features",
                {"POST": self.features},
                reads=True,
                error_body=error_body,
                statuses=_AS_CLIENT_KNOWS,
            ),
            Route(
                base + "metadata", {"POST": self.metadata}, error_body=error_body, statuses=_AS_CLIENT_KNOWS
            ),
        )

    async def features(self, request: Request) -> Reply:
        """The features of one entity."""
        loop = asyncio.get_running_loop()
        begun = loop.time()
        params = decode(_FEATURES, request.body).params
        budget_ms = params.request_options and params.request_options.latency_budget_ms
        async with asyncio.timeout_at(budget_ms and begun + budget_ms / 1_000):
            made = await self._reads.settled(partial(self._features, request, params, begun))
        if budget_ms and loop.time() > begun + budget_ms / 1_000:
            raise TimeoutError
        return Reply(encode(made))

    async def _features(self, request: Request, params: FeaturesParams, begun: float) -> dict[str, Any]:
        described = await self._service(params.feature_service_name, params.workspace_name)
        request.service, request.entities = described.name, 1
        entities = {name: [value] for name, value in (params.join_key_map or {}).items()}
        given = {name: [value] for name, value in (params.request_context_map or {}).items()}
        answer = await self._reads.read(described.name, entities, given or None, described=described)
        options = params.metadata_options or MetadataOptions()
        features = [wire_value(v, d) for v, d in zip(rows(answer)[0], answer.dtypes, strict=True)]
        made: dict[str, Any] = {"result": {"features": features}}
        metadata = feature_metadata(answer, described, features, options)
        if options.include_slo_info:
            seconds = asyncio.get_running_loop().time() - begun
            metadata["sloInfo"] = _slo_info(seconds, len(encode(features)))
        if metadata:
            made["metadata"] = metadata
        return made

    async def metadata(self, request: Request) -> Reply:
        """What a service takes and gives."""
        params = decode(_METADATA, request.body).params
        found = await self._service(params.feature_service_name, params.workspace_name)
        columns = zip(_full_names(found.names, found.views, found.features), found.dtypes, strict=True)
        made = {
            "inputJoinKeys": [{"name": name, "dataType": data_type(dtype)} for name, dtype in found.keys],
            "inputRequestContextKeys": [
                {"name": name, "dataType": data_type(dtype)} for name, dtype in found.request
            ],
            "featureValues": [{"name": name, "dataType": data_type(dtype)} for name, dtype in columns],
        }
        return Reply(encode(made))

    async def _service(self, name: str, workspace: str) -> ServiceInfo:
        environment = self._reads.reader.environment
        if workspace != environment:
            raise HttpError(
                "forbidden",
                f"workspace {workspace[:128]!r} is not served here; a workspace is an asof environment",
                hint=f"this server serves {environment!r}",
            )
        return await self._reads.describe(name)


def feature_metadata(
    answer: Answer, described: ServiceInfo, features: list[Any], options: MetadataOptions
) -> dict[str, Any]:
    """What the options ask for, for each feature; empty when they ask for nothing."""
    made: list[dict[str, Any]] = [{} for _ in answer.names]
    if options.include_names:
        for each, name in zip(
            made, _full_names(answer.names, views_of(answer), described.features), strict=True
        ):
            each["name"] = name
    if options.include_data_types:
        for each, dtype in zip(made, answer.dtypes, strict=True):
            each["dataType"] = data_type(dtype)
    if options.include_serving_status:
        for each, value, status in zip(made, features, answer.statuses[0].tolist(), strict=True):
            each["status"] = "MISSING_DATA" if value is None or status == MISSING else "PRESENT"
    if options.include_effective_times:
        for each, place in zip(made, answer.view_of or [-1] * len(made), strict=True):
            newest_us = answer.at_us if place < 0 else int(answer.freshness[place].newest_us[0])
            each["effectiveTime"] = None if newest_us <= BEGIN_US else format_time(newest_us)
    return {"features": made} if any(made) else {}


def _full_names(names: Sequence[str], views: Sequence[str], features: Sequence[str]) -> list[str]:
    """`view.feature`; a request feature has no view and is its own."""
    each = zip(names, views, features, strict=True)
    return [f"{view}.{feature}" if view else f"{name}.{name}" for name, view, feature in each]


def _slo_info(seconds: float, size: int) -> dict[str, Any]:
    return {
        "sloEligible": True,
        "sloServerTimeSeconds": seconds,
        "serverTimeSeconds": seconds,
        "storeMaxLatency": seconds,
        "storeResponseSizeBytes": size,
    }


def data_type(dtype: DType) -> dict[str, Any]:
    """The type in Tecton's words: a decimal, a time and a date are strings."""
    if dtype.item is not None:
        item = data_type(dtype.item)
        if dtype.kind == "list":
            return {"type": "array", "elementType": item}
        return {"type": "map", "keyType": {"type": "string"}, "valueType": item}
    return {
        "type": {"int32": "int64", "int64": "int64", "float64": "float64", "bool": "bool"}.get(
            dtype.kind, "string"
        )
    }


def wire_value(value: Any, dtype: DType) -> Any:
    """The value as it travels: an int64 as text, everywhere in it."""
    if value is None:
        return None
    if dtype.kind in {"int32", "int64"}:
        return str(value)
    if dtype.item is not None and dtype.item.kind not in {"float64", "bool", "string"}:
        item = dtype.item
        if dtype.kind == "list":
            return [wire_value(each, item) for each in value]
        return {key: wire_value(each, item) for key, each in value.items()}
    return value
