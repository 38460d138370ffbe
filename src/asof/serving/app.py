"""The ASGI application: takes a request to its route and its reply back, whatever happens in between.

In this order: route, method, key, room for one more, media type, body, deadline; then the route's handler. Every error
leaves in the route's error shape. What has been answered is counted and logged here and nowhere else.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any

from asof.serving.access_log import AccessLog
from asof.serving.deadlines import Deadlines
from asof.serving.exchange import JSON, Reply, Request, Route, media_of
from asof.serving.failures import RETRY_AFTER_S, Failure, HttpError, failure_of, trace_of
from asof.serving.keys import Keys
from asof.serving.metrics import UNKNOWN, Metrics
from asof.serving.tracing import Tracer

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Lifespan = Callable[[], Awaitable[None]]

_log = logging.getLogger(__name__)
_REQUEST_ID = re.compile(rb"[A-Za-z0-9][A-Za-z0-9_.:/+=-]{0,127}")
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
DEADLINE = b"x-asof-deadline-ms"


@dataclass(frozen=True)
class Limits:
    """How much the server takes on.

    Args:
        in_flight: requests at a time; one more is refused with 503.
        body_bytes: the largest body; a larger one is refused with 413.
        deadline_s: the longest that a request may take; it may ask for less with `x-asof-deadline-ms`.
    """

    in_flight: int = 256
    body_bytes: int = 1_048_576
    deadline_s: float = 5.0


class ClientGone(Exception):
    """The client has hung up; nobody is there to answer."""


class App:
    """The application: a table of routes, and what holds for all of them."""

    def __init__(
        self,
        routes: tuple[Route, ...],
        *,
        keys: Keys,
        limits: Limits,
        metrics: Metrics,
        log: AccessLog,
        tracer: Tracer,
        startup: Lifespan | None = None,
        shutdown: Lifespan | None = None,
    ) -> None:
        self._exact = {route.path: route for route in routes if not route.path.endswith("/")}
        self._below = tuple(route for route in routes if route.path.endswith("/"))
        self._keys = keys
        self._limits = limits
        self._metrics = metrics
        self._access = log
        self._tracer = tracer
        self._startup = startup
        self._shutdown = shutdown
        self._in_flight = 0
        self._numbers = 0
        self._prefix = os.urandom(6).hex()
        self._deadlines = Deadlines(limits.deadline_s)
        self._shares_metrics = "PROMETHEUS_MULTIPROC_DIR" in os.environ
        if not self._shares_metrics:
            metrics.in_flight.set_function(lambda: self._in_flight)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI's one call."""
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        else:
            raise RuntimeError(f"this application does not speak {scope['type']}")

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        headers: dict[bytes, bytes] = dict(scope["headers"])
        request = Request(scope["method"], scope["path"], headers, self._request_id(headers))
        route = self._find(request.path)
        self._enter()
        outcome = "ok"
        try:
            reply = await self._reply(route, request, receive, begun)
        except ClientGone:
            outcome, reply = "client_gone", None
        except Exception as exc:  # noqa: BLE001
            failure = failure_of(exc)
            outcome, reply = failure.code, self._failed(failure, route, request, exc)
        finally:
            self._leave()
        status = 499 if reply is None else reply.status
        self._count(route, request, status, outcome, loop.time() - begun)
        if reply is not None:
            await _send(send, request, reply)

    async def _reply(self, route: Route | None, request: Request, receive: Receive, begun: float) -> Reply:
        if route is None:
            raise HttpError(
                "not_found", "there is no such route", hint="/openapi.json names those that there are"
            )
        handler = route.handlers.get(request.method)
        if handler is None:
            allowed = ", ".join(route.handlers)
            raise HttpError(
                "method_not_allowed",
                f"the route does not take this method; it takes {allowed}",
                allow=allowed,
            )
        if route.open:
            return await handler(request)
        self._keys.check(request.headers.get(b"authorization"))
        if self._in_flight > self._limits.in_flight:
            limit = self._limits.in_flight
            raise HttpError("overloaded", "as many requests are in flight as the server takes", limit=limit)
        loop = asyncio.get_running_loop()
        own_s = self._own_deadline_s(request.headers)
        until = begun + (self._limits.deadline_s if own_s is None else own_s)
        async with self._deadlines.within(loop) if own_s is None else asyncio.timeout_at(until):
            if request.method == "POST":
                _check_media(request.headers.get(b"content-type"), route.media)
                request.body = await read_body(receive, request.headers, self._limits.body_bytes)
            if not self._tracer.enabled:
                reply = await handler(request)
            else:
                with self._tracer.request(f"{request.method} {route.path}", request.headers) as span:
                    reply = await handler(request)
                    if span is not None:
                        span.set_attribute("asof.service", request.service)
                        span.set_attribute("http.response.status_code", reply.status)
            if loop.time() > until:  # what never waits is not cancelled, and may be late all the same
                raise TimeoutError
            return reply

    def _find(self, path: str) -> Route | None:
        found = self._exact.get(path)
        if found is None:
            for route in self._below:
                if (
                    path.startswith(route.path)
                    and len(path) > len(route.path)
                    and "/" not in path[len(route.path) :]
                ):
                    return route
        return found

    def _own_deadline_s(self, headers: Mapping[bytes, bytes]) -> float | None:
        """What the request asks for, if it does; the server's deadline is the upper bound."""
        seen = headers.get(DEADLINE)
        if seen is None:
            return None
        if not seen.isdigit() or len(seen) > 9 or int(seen) == 0:
            raise HttpError(
                "bad_request", "header x-asof-deadline-ms: not a whole number of milliseconds from 1"
            )
        return min(int(seen) / 1_000, self._limits.deadline_s)

    def _request_id(self, headers: Mapping[bytes, bytes]) -> str:
        given = headers.get(b"x-request-id")
        if given is not None and _REQUEST_ID.fullmatch(given):
            return given.decode()
        self._numbers += 1
        return f"{self._prefix}-{self._numbers:x}"

    def _enter(self) -> None:
        self._in_flight += 1
        if self._shares_metrics:
            self._metrics.in_flight.inc()

    def _leave(self) -> None:
        self._in_flight -= 1
        if self._shares_metrics:
            self._metrics.in_flight.dec()

    def _failed(self, failure: Failure, route: Route | None, request: Request, exc: Exception) -> Reply:
        if failure.code == "internal_error":
            _log.error("serving: request %s failed: %s", request.request_id, trace_of(exc))
        if route is None:
            reply = Reply(failure.body(), failure.status)
        else:
            reply = Reply(route.error_body(failure), route.statuses.get(failure.status, failure.status))
        if failure.retry or failure.status == 429:
            reply.headers.append((b"retry-after", str(RETRY_AFTER_S).encode()))
        if failure.code == "method_not_allowed":
            reply.headers.append((b"allow", str(failure.facts["allow"]).encode()))
        if failure.code == "unauthorized":
            reply.headers.append((b"www-authenticate", b"Bearer"))
        return reply

    def _count(
        self, route: Route | None, request: Request, status: int, outcome: str, seconds: float
    ) -> None:
        path = UNKNOWN if route is None else route.path
        if route is not None and route.reads:
            self._metrics.observe_request(request.service or UNKNOWN, outcome, seconds)
        else:
            self._metrics.count_http(path, status)
        method = request.method if request.method in _METHODS else UNKNOWN
        self._access.add(request.request_id, method, path, request, status, outcome, seconds)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        steps = {"lifespan.startup": self._startup, "lifespan.shutdown": self._shutdown}
        while True:
            kind = (await receive())["type"]
            step = steps.get(kind)
            try:
                if step is not None:
                    await step()
            except Exception as exc:  # noqa: BLE001
                await send({"type": f"{kind}.failed", "message": str(exc)})
                return
            await send({"type": f"{kind}.complete"})
            if kind == "lifespan.shutdown":
                return


async def read_body(receive: Receive, headers: Mapping[bytes, bytes], most: int) -> bytes:
    """The whole body of a request.

    Raises:
        HttpError: it is larger than `most` bytes; no more than that is kept. ClientGone: it never came to its end.
    """
    told = headers.get(b"content-length", b"0")
    if len(told) > 18 or (told.isdigit() and int(told) > most):
        raise _too_large(most)
    message = await receive()
    if message["type"] == "http.disconnect":
        raise ClientGone
    body: bytes = message.get("body", b"")
    if message.get("more_body"):
        parts, size = [body], len(body)
        while message.get("more_body"):
            if size > most:
                raise _too_large(most)
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            part: bytes = message.get("body", b"")
            parts.append(part)
            size += len(part)
        body = b"".join(parts)
    if len(body) > most:
        raise _too_large(most)
    return body


def _too_large(most: int) -> HttpError:
    return HttpError(
        "body_too_large",
        f"the body is larger than {most:,} bytes",
        hint="ask for fewer entities, or send fewer events, at once",
        limit=most,
    )


def _check_media(content_type: bytes | None, media: tuple[bytes, ...]) -> None:
    if content_type is None or content_type.startswith(JSON):
        return
    if media_of(content_type) not in media:
        named = " or ".join(each.decode() for each in media)
        text = "the body is not JSON" if media == (JSON,) else f"the body is not {named}"
        raise HttpError("unsupported_media_type", text, hint=f"content-type: {named}")


async def _send(send: Send, request: Request, reply: Reply) -> None:
    head = [
        (b"content-type", reply.content_type),
        (b"content-length", b"%d" % len(reply.body)),
        (b"x-request-id", request.request_id.encode()),
        *reply.headers,
    ]
    await send({"type": "http.response.start", "status": reply.status, "headers": head})
    await send({"type": "http.response.body", "body": b"" if request.method == "HEAD" else reply.body})
