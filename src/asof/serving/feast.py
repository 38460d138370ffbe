"""Answers as Feast's HTTP feature server gives them, so that its remote online store reads from asof unchanged.

`POST /get-online-features` and `GET /health`, as the client of feast 0.67 expects them; see
docs/how-to/migrate-from-feast.md. A value past its ttl is null and OUTSIDE_MAX_AGE here, where Feast says PRESENT.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from functools import partial
from typing import Any

import msgspec

from asof.clock import format_time
from asof.define.window import BEGIN_US
from asof.errors import NotMaterialized, did_you_mean
from asof.flows.answer import EXPIRED, MISSING, NULL, PRESENT, STALE, Answer
from asof.flows.online_service import ServiceInfo
from asof.serving.answer_json import encode
from asof.serving.cells import rows
from asof.serving.exchange import Reply, Request, Route, decode
from asof.serving.failures import HttpError
from asof.serving.read import Reads
from asof.serving.selection import views_of

_STATUSES = {
    PRESENT: "PRESENT", NULL: "NULL_VALUE", MISSING: "NOT_FOUND", EXPIRED: "OUTSIDE_MAX_AGE", STALE: "OUTSIDE_MAX_AGE",
}  # fmt: skip
_NO_EVENT = "1970-01-01T00:00:00Z"


class OnlineFeatures(msgspec.Struct):
    """The body; fields that a newer client adds are passed over."""

    entities: dict[str, list[Any]]
    features: list[str] = []
    feature_service: str | None = None
    full_feature_names: bool = False


_DECODER = msgspec.json.Decoder(OnlineFeatures)


class FeastRoutes:
    """The routes of Feast's feature server that read."""

    def __init__(self, reads: Reads) -> None:
        self._reads = reads

    def routes(self) -> tuple[Route, ...]:
        """The routes."""
        return (
            Route("/get-online-features", {"POST": self.features}, reads=True),
            Route("/health", {"GET": self.health}, open=True),
        )

    async def health(self, _request: Request) -> Reply:
        """The server is there."""
        return Reply(b"{}")

    async def features(self, request: Request) -> Reply:
        """Features by service, or by `view:feature`, column by column."""
        asked = decode(_DECODER, request.body)
        body = await self._reads.settled(partial(self._features, request, asked))
        return Reply(await self._reads.aside(request.entities, partial(encode, body)))

    async def _features(self, request: Request, asked: OnlineFeatures) -> dict[str, Any]:
        described, columns = await self._service_of(asked)
        request.service = described.name
        sizes = {name: len(values) for name, values in asked.entities.items()}
        request.entities = max(sizes.values(), default=0)
        if len(set(sizes.values())) > 1:
            raise HttpError("bad_request", "entities: lists of different lengths", columns=list(sizes))
        wanted = {name for name, _ in described.request}
        given = {name: values for name, values in asked.entities.items() if name in wanted}
        entities = {name: values for name, values in asked.entities.items() if name not in wanted}
        answer = await self._reads.read(
            described.name, entities, given or None, columns=columns, described=described
        )
        made = partial(response, answer, described, entities)
        by_feature, full = columns is not None, asked.full_feature_names
        return await self._reads.aside(answer.size, partial(made, by_feature=by_feature, full=full))

    async def _services(self) -> AsyncIterator[ServiceInfo]:
        """The services that can be read."""
        for name in self._reads.reader.services():
            try:
                yield await self._reads.describe(name)
            except NotMaterialized:
                continue

    async def _service_of(self, asked: OnlineFeatures) -> tuple[ServiceInfo, list[str] | None]:
        """The service that is meant, and which of its columns (None: all)."""
        if asked.feature_service is not None:
            return await self._reads.describe(asked.feature_service), None
        if not asked.features:
            raise HttpError(
                "bad_request", "neither feature_service nor features is said", hint="features: [VIEW:FEATURE]"
            )
        wanted = [tuple(_without_version(each).split(":", 1)) for each in asked.features]
        known: dict[str, None] = {}
        fitting: list[tuple[int, ServiceInfo, list[str]]] = []
        async for found in self._services():
            columns = zip(found.names, found.views, found.features, strict=True)
            names = {(view, feature): column for column, view, feature in columns}
            if all(each in names for each in wanted):
                takes = {name for name, _ in (*found.keys, *found.request)}
                chosen = [names[each] for each in wanted]  # pyright: ignore[reportArgumentType] - they are in it
                fitting.append((len(takes ^ asked.entities.keys()), found, chosen))
            known |= dict.fromkeys(f"{view}:{feature}" for view, feature in names if view)
        if fitting:  # the one that takes what is given, or comes nearest to it
            _, found, chosen = min(fitting, key=lambda each: each[0])
            return found, chosen
        missing = next((each for each in asked.features if _without_version(each) not in known), None)
        if missing is None:
            raise HttpError(
                "bad_request", "no feature service has all of these features", hint="define one that has them"
            )
        hint = did_you_mean(missing[:256], known)
        raise HttpError(
            "bad_request",
            f"no feature service has the feature {missing[:256]!r}",
            hint=hint,
            feature=missing[:256],
        )


def _without_version(reference: str) -> str:
    """`view@v2:feature` as `view:feature`: an environment serves one version of a view."""
    view, colon, feature = reference.partition(":")
    return view.partition("@")[0] + colon + feature


def response(
    answer: Answer, described: ServiceInfo, entities: dict[str, list[Any]], *, by_feature: bool, full: bool
) -> dict[str, Any]:
    """The body: names, and for each name the values, statuses and times of all entities."""
    size = answer.size
    at = format_time(answer.at_us)
    names = [*entities]
    results: list[dict[str, Any]] = [
        {"values": values, "statuses": ["PRESENT"] * size, "event_timestamps": [at] * size}
        for values in entities.values()
    ]
    features, views = dict(zip(described.names, described.features, strict=True)), views_of(answer)
    times = [[_newest(us) for us in view.newest_us.tolist()] for view in answer.freshness]
    columns: Sequence[Sequence[Any]] = list(zip(*rows(answer), strict=True)) or [()] * len(answer.names)
    for place, name in enumerate(answer.names):
        view = answer.view_of[place] if answer.view_of else -1
        names.append(_name(name, views[place], features[name], by_feature=by_feature, full=full))
        values, statuses = columns[place], answer.statuses[:, place].tolist()
        results.append(
            {
                "values": values,
                "statuses": [
                    _status(s, ok) for s, ok in zip(statuses, answer.valid[:, place].tolist(), strict=True)
                ],
                "event_timestamps": times[view] if view >= 0 else [at] * size,
            }
        )
    return {"metadata": {"feature_names": names}, "results": results}


def _name(column: str, view: str, feature: str, *, by_feature: bool, full: bool) -> str:
    """`view__feature` where full names are asked; else as the request called it: a feature, or the service's column."""
    if not view:
        return column
    if full:
        return f"{view}__{feature}"
    return feature if by_feature else column


def _status(status: int, valid: bool) -> str:
    """A stale value that the service still serves is there."""
    return "PRESENT" if status == STALE and valid else _STATUSES[status]


def _newest(us: int) -> str:
    return _NO_EVENT if us <= BEGIN_US else format_time(us)
