"""The routes for machines that look after the server: `/healthz`, `/readyz`, `/metrics` and `/openapi.json`."""

from __future__ import annotations

import asyncio

from asof.errors import AsofError
from asof.serving.answer_json import encode
from asof.serving.exchange import Reply, Request, Route
from asof.serving.failures import Failure, failure_of
from asof.serving.metrics import MEDIA_TYPE, Metrics
from asof.serving.openapi import openapi
from asof.serving.reader import Reader

_DRAINING = Failure(
    503, "overloaded", "the server is about to end and takes no more requests", None, {"draining": True}
)


class SystemRoutes:
    """Whether the server lives, whether it should be asked, and what it has counted."""

    def __init__(self, reader: Reader, metrics: Metrics) -> None:
        self.draining = False
        self._reader = reader
        self._metrics = metrics
        self._openapi = encode(openapi())

    def routes(self) -> tuple[Route, ...]:
        """The routes; health needs no key, for a load balancer has none."""
        return (
            Route("/healthz", {"GET": self.health, "HEAD": self.health}, open=True),
            Route("/readyz", {"GET": self.ready, "HEAD": self.ready}, open=True),
            Route("/metrics", {"GET": self.metrics}),
            Route("/openapi.json", {"GET": self.describe}),
        )

    async def health(self, _request: Request) -> Reply:
        """The process answers; nothing else is asked."""
        return Reply(b'{"status":"ok"}')

    async def ready(self, _request: Request) -> Reply:
        """The store can be read, its views are there, and the server is not about to end."""
        if self.draining:
            return Reply(_DRAINING.body(), _DRAINING.status)
        try:
            if self._reader.embedded:
                self._reader.check()
            else:
                await asyncio.wait_for(asyncio.to_thread(self._reader.check), 5)
        except (AsofError, TimeoutError) as exc:
            failure = failure_of(exc)
            return Reply(failure.body(), 503)
        reader = self._reader
        told = {
            "status": "ok",
            "environment": reader.environment,
            "revision": reader.revision,
            "problem": None
            if reader.problem is None
            else "the newest revision does not load; the last good one is served",
        }
        return Reply(encode(told))

    async def metrics(self, _request: Request) -> Reply:
        """What Prometheus reads."""
        return Reply(self._metrics.text(), content_type=MEDIA_TYPE.encode())

    async def describe(self, _request: Request) -> Reply:
        """The OpenAPI document."""
        return Reply(self._openapi)
