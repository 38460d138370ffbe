"""`POST /v1/features`, and what services there are: `GET /v1/services` and `GET /v1/services/NAME`."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from typing import Annotated, Any
from urllib.parse import unquote

import msgspec

from asof.clock import from_us, parse_time
from asof.errors import DefinitionError, NotMaterialized, NumericOverflow
from asof.flows.online_service import ServiceInfo
from asof.serving.answer_arrow import MEDIA_TYPE as ARROW
from asof.serving.answer_arrow import answer_arrow
from asof.serving.answer_json import answer_json, encode, time_text
from asof.serving.exchange import Reply, Request, Route, decode
from asof.serving.failures import HttpError
from asof.serving.read import Reads

Scalar = str | int | float | bool | None
_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
_ARROW = ARROW.encode()


class FeaturesRequest(msgspec.Struct, forbid_unknown_fields=True):
    """The body: a service, entity keys and request columns as columns (or one value each, for one entity)."""

    service: _Name
    entities: dict[str, list[Scalar] | Scalar]
    request: dict[str, Any] | None = None
    at: Annotated[str, msgspec.Meta(max_length=64)] | None = None
    columns: list[_Name] | None = None


_DECODER = msgspec.json.Decoder(FeaturesRequest)


class FeatureRoutes:
    """asof's own routes."""

    def __init__(self, reads: Reads) -> None:
        self._reads = reads

    def routes(self) -> tuple[Route, ...]:
        """The routes."""
        return (
            Route("/v1/features", {"POST": self.features}, reads=True),
            Route("/v1/services", {"GET": self.services}),
            Route("/v1/services/", {"GET": self.service}),
        )

    async def features(self, request: Request) -> Reply:
        """Features of one or many entities, as JSON or as an Arrow stream."""
        arrow = wants_arrow(request.headers.get(b"accept"))
        asked = decode(_DECODER, request.body)
        request.service = self._reads.known(asked.service)
        entities, size = as_columns(asked.entities, asked.request)
        request.entities = size
        at = None if asked.at is None else instant_of(asked.at)
        answer = await self._reads.read(asked.service, entities[0], entities[1], at, asked.columns)
        if arrow:
            return Reply(await self._reads.aside(size, partial(answer_arrow, answer)), content_type=_ARROW)
        return Reply(await self._reads.aside(size, partial(answer_json, answer)))

    async def services(self, _request: Request) -> Reply:
        """All services in short."""
        rows = [await self._in_short(name) for name in self._reads.reader.services()]
        return Reply(encode({**self._served(), "services": rows}))

    async def service(self, request: Request) -> Reply:
        """One service: what it takes and what it gives."""
        name = unquote(request.path.rpartition("/")[2])
        return Reply(encode({**self._served(), **service_json(await self._reads.describe(name))}))

    async def _in_short(self, name: str) -> dict[str, Any]:
        """A service of which the store holds nothing yet is named, too."""
        try:
            found = await self._reads.describe(name)
        except NotMaterialized:
            return {"name": name, "description": "", "owner": "", "features": 0, "ready": False}
        told = {"name": name, "description": found.description, "owner": found.owner}
        return {**told, "features": len(found.names), "ready": True}

    def _served(self) -> dict[str, Any]:
        return {"environment": self._reads.reader.environment, "revision": self._reads.reader.revision}


def instant_of(text: str) -> datetime:
    """The instant that `at` names.

    Raises:
        HttpError: it is no time; the message does not quote it.
    """
    try:
        return from_us(parse_time(text))
    except (DefinitionError, NumericOverflow):
        raise HttpError("bad_request", "at: not a time such as 2026-01-31T12:00:00Z") from None


def as_columns(
    entities: dict[str, Any], request: dict[str, Any] | None
) -> tuple[tuple[dict[str, list[Any]], dict[str, list[Any]] | None], int]:
    """Entities and request columns as lists of one length, and that length; single values are one entity.

    Raises:
        HttpError: lists and single values together, or lists of different lengths; names the columns.
    """
    columns = {
        **{f"entities.{k}": v for k, v in entities.items()},
        **{f"request.{k}": v for k, v in (request or {}).items()},
    }
    lists = [name for name, value in columns.items() if isinstance(value, list)]
    if not lists:
        made = {name: [value] for name, value in entities.items()}
        return (made, None if request is None else {name: [value] for name, value in request.items()}), 1
    if len(lists) < len(columns):
        single = next(name for name in columns if name not in lists)
        raise HttpError(
            "bad_request",
            f"{lists[0]!r} is a list and {single!r} is not",
            hint="lists of one length for many entities, or single values for one",
            columns=[lists[0], single],
        )
    size = len(columns[lists[0]])
    for name in lists:
        if len(columns[name]) != size:
            raise HttpError(
                "bad_request",
                f"{name!r} has {len(columns[name])} values and {lists[0]!r} has {size}",
                hint="one value for each entity",
                columns=[lists[0], name],
            )
    return (entities, request), size


def wants_arrow(accept: bytes | None) -> bool:
    """Whether the reply is an Arrow stream, by the Accept header; JSON when it names neither.

    Raises:
        HttpError: it takes neither.
    """
    if accept is None or accept == b"*/*" or accept.startswith(b"application/json"):
        return False
    media = [part.partition(b";")[0].strip().lower() for part in accept.split(b",")]
    for each in media:
        if each == _ARROW:
            return True
        if each in {b"application/json", b"*/*", b"application/*"}:
            return False
    raise HttpError(
        "not_acceptable",
        "the route answers in JSON and in Arrow streams",
        hint=f"accept: application/json, or {ARROW}",
    )


def service_json(found: ServiceInfo) -> dict[str, Any]:
    """A service as its route tells it."""
    columns = zip(found.names, found.dtypes, found.views, found.features, strict=True)
    return {
        "name": found.name,
        "description": found.description,
        "owner": found.owner,
        "fingerprint": found.fingerprint,
        "entities": {name: str(dtype) for name, dtype in found.keys},
        "request": {name: str(dtype) for name, dtype in found.request},
        "features": [
            {"name": name, "dtype": str(dtype), "view": view or None, "feature": feature}
            for name, dtype, view, feature in columns
        ],
        "watermarks": {view: time_text(us) for view, us in found.watermarks.items()},
    }
