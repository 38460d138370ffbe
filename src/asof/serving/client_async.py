"""A client of the feature server for asyncio, on httpx."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Mapping, Sequence
from datetime import datetime
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import pyarrow as pa

from asof.errors import BackendError, LimitError, MissingExtra
from asof.serving.client_protocol import (
    ARROW,
    Accepted,
    Columns,
    Features,
    error_of,
    events_body,
    events_headers,
    parse_accepted,
    parse_features,
    parse_table,
    request_body,
    wait_s,
)

try:
    import httpx
except ImportError as exc:
    raise MissingExtra("asof.AsyncClient", "client") from exc


class AsyncClient:
    """Reads features from a server without blocking the event loop; share one between tasks.

    Args:
        url: the server's address, such as `http://127.0.0.1:8866`.
        key: the key that the server asks for.
        timeout_s: how long a call may take, all attempts together. The server is told, and works no longer than that.
        retries: how often to ask again when the server is busy or away; what it answers with an error is final.
        pool: how many connections there may be.
    """

    def __init__(
        self, url: str, *, key: str | None = None, timeout_s: float = 2.0, retries: int = 2, pool: int = 16
    ) -> None:
        headers = {"content-type": "application/json", **({"authorization": f"Bearer {key}"} if key else {})}
        limits = httpx.Limits(max_connections=pool, max_keepalive_connections=pool)
        self._http = httpx.AsyncClient(
            base_url=url, headers=headers, timeout=timeout_s, limits=limits, trust_env=False
        )
        self._timeout_s = timeout_s
        self._retries = retries

    async def features(
        self,
        service: str,
        entities: Columns,
        request: Columns | None = None,
        *,
        at: datetime | str | None = None,
        columns: Sequence[str] | None = None,
    ) -> Features:
        """The features of one entity (single values) or of many (lists of one length).

        Raises:
            AsofError: as the server tells it. BackendError: it cannot be reached. LimitError: it took too long.
        """
        body = request_body(service, entities, request, at, columns)
        return parse_features(await self._call("POST", "/v1/features", body, "application/json"))

    async def features_arrow(
        self,
        service: str,
        entities: Columns,
        request: Columns | None = None,
        *,
        at: datetime | str | None = None,
        columns: Sequence[str] | None = None,
    ) -> pa.Table:
        """The same as an Arrow table, in the features' own types and with their statuses and ages."""
        body = request_body(service, entities, request, at, columns)
        return parse_table(await self._call("POST", "/v1/features", body, ARROW))

    async def push(self, source: str, events: Any, *, idempotency_key: str | None = None) -> Accepted:
        """Appends events to the stream of a source: all of them, or none. What is told is durable.

        Args:
            source: the source's name.
            events: mappings, or a table (PyArrow, pandas, Polars).
            idempotency_key: events that are sent again under it are not appended again; one of their own unless given.

        Raises:
            DataError: an event is not of the source's form. UnknownName, StateError: no such source, or it has no
                stream. BackendError: the server cannot be reached. LimitError: it took too long, or is too much.
        """
        body, media = events_body(events)
        headers = events_headers(media, idempotency_key)
        path = f"/v1/events/{quote(source, safe='')}"
        return parse_accepted(await self._call("POST", path, body, headers=headers))

    async def services(self) -> list[str]:
        """The names of the services that the server has."""
        return [each["name"] for each in json.loads(await self._call("GET", "/v1/services"))["services"]]

    async def service(self, name: str) -> dict[str, Any]:
        """What a service takes and gives."""
        return json.loads(await self._call("GET", f"/v1/services/{quote(name, safe='')}"))

    async def close(self) -> None:
        """Closes the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _call(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        accept: str = "application/json",
        headers: Mapping[str, str] | None = None,
    ) -> bytes:
        own = {"accept": accept, **(headers or {})}
        loop = asyncio.get_running_loop()
        end = loop.time() + self._timeout_s
        try:
            async with asyncio.timeout_at(end):
                for attempt in range(self._retries + 1):
                    left_ms = max(1, int((end - loop.time()) * 1_000))
                    headers = {**own, "x-asof-deadline-ms": str(left_ms)}
                    status, retry_after, error = None, None, None
                    try:
                        made = await self._http.request(method, path, content=body, headers=headers)
                    except httpx.TransportError as exc:
                        error = BackendError(
                            f"the server cannot be reached: {type(exc).__name__}", retryable=True
                        )
                        error.__cause__ = exc
                    else:
                        if made.status_code == 200:
                            return made.content
                        status, retry_after = made.status_code, made.headers.get("retry-after")
                        error = error_of(made.status_code, made.content)
                    wait = wait_s(attempt, status, retry_after, random.random())  # noqa: S311
                    if wait is None or attempt == self._retries:
                        raise error
                    await asyncio.sleep(wait)
        except TimeoutError as exc:
            raise LimitError(f"no answer within {self._timeout_s} s", timeout_s=self._timeout_s) from exc
        raise AssertionError  # the last attempt raises or returns
