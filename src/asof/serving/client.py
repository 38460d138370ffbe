"""A client of the feature server on the standard library: connections are kept and shared by threads."""

from __future__ import annotations

import http.client
import json
import random
import ssl
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from datetime import datetime
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote, urlsplit

import pyarrow as pa

from asof.errors import AsofError, BackendError, DataError, LimitError
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

_GONE = (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError, http.client.CannotSendRequest)
Reply = tuple[int, str | None, bytes]


class Client:
    """Reads features from a server; safe to share between threads.

    Args:
        url: the server's address, such as `http://127.0.0.1:8866`.
        key: the key that the server asks for.
        timeout_s: how long a call may take, all attempts together. The server is told, and works no longer than that.
        retries: how often to ask again when the server is busy or away; what it answers with an error is final.
        pool: how many connections are kept.

    Example:
        with Client("http://127.0.0.1:8866") as client:
            client.features("ach_risk", {"account_id": ["a1", "a2"]}).rows()
    """

    def __init__(
        self, url: str, *, key: str | None = None, timeout_s: float = 2.0, retries: int = 2, pool: int = 16
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise DataError("url: not the address of a server", hint="such as http://127.0.0.1:8866")
        self._secure = ssl.create_default_context() if parts.scheme == "https" else None
        self._host, self._port = parts.hostname, parts.port
        self._base = parts.path.rstrip("/")
        self._headers = {
            "content-type": "application/json",
            **({"authorization": f"Bearer {key}"} if key else {}),
        }
        self._timeout_s = timeout_s
        self._retries = retries
        self._idle: deque[http.client.HTTPConnection] = deque(maxlen=pool)
        self._lock = threading.Lock()

    def features(
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
        return parse_features(self._call("POST", "/v1/features", body, "application/json"))

    def features_arrow(
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
        return parse_table(self._call("POST", "/v1/features", body, ARROW))

    def push(self, source: str, events: Any, *, idempotency_key: str | None = None) -> Accepted:
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
        return parse_accepted(self._call("POST", path, body, headers=headers))

    def services(self) -> list[str]:
        """The names of the services that the server has."""
        return [each["name"] for each in parse_json(self._call("GET", "/v1/services"))["services"]]

    def service(self, name: str) -> dict[str, Any]:
        """What a service takes and gives."""
        return parse_json(self._call("GET", f"/v1/services/{quote(name, safe='')}"))

    def close(self) -> None:
        """Closes the connections that are kept."""
        with self._lock:
            idle, self._idle = self._idle, deque(maxlen=self._idle.maxlen)
        for each in idle:
            each.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _call(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        accept: str = "application/json",
        headers: Mapping[str, str] | None = None,
    ) -> bytes:
        headers = {"accept": accept, **(headers or {})}
        end = time.monotonic() + self._timeout_s
        for attempt in range(self._retries + 1):
            status, retry_after, answer, error = self._attempt(method, path, body, headers, end)
            if status == 200:
                return answer
            wait = wait_s(attempt, status, retry_after, random.random())  # noqa: S311
            if wait is None or attempt == self._retries or time.monotonic() + wait >= end:
                raise error
            time.sleep(wait)
        raise AssertionError  # the last attempt raises or returns

    def _attempt(
        self, method: str, path: str, body: bytes | None, own: Mapping[str, str], end: float
    ) -> tuple[int | None, str | None, bytes, AsofError]:
        """One attempt: status (None without an answer), Retry-After, body, and what to raise when it is no 200."""
        left_s = end - time.monotonic()
        if left_s <= 0:
            raise LimitError(f"no answer within {self._timeout_s} s", timeout_s=self._timeout_s)
        headers = {**self._headers, **own, "x-asof-deadline-ms": str(max(1, int(left_s * 1_000)))}
        try:
            status, retry_after, answer = self._exchange(method, self._base + path, body, headers, left_s)
        except TimeoutError as exc:
            raise LimitError(f"no answer within {self._timeout_s} s", timeout_s=self._timeout_s) from exc
        except (OSError, http.client.HTTPException) as exc:
            error = BackendError(
                f"{self._host}: the server cannot be reached: {type(exc).__name__}", retryable=True
            )
            error.__cause__ = exc
            return None, None, b"", error
        return status, retry_after, answer, error_of(status, answer)

    def _exchange(
        self, method: str, path: str, body: bytes | None, headers: dict[str, str], left_s: float
    ) -> Reply:
        kept = self._take()
        if kept is not None:
            try:
                return self._send(kept, method, path, body, headers, left_s)
            except _GONE:  # the server has closed it while it was idle: reading again changes nothing
                kept.close()
        return self._send(self._connect(left_s), method, path, body, headers, left_s)

    def _send(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        path: str,
        body: bytes | None,
        headers: dict[str, str],
        left_s: float,
    ) -> Reply:
        try:
            connection.timeout = left_s
            if connection.sock is not None:
                connection.sock.settimeout(left_s)
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            read = answer.read()
        except BaseException:
            connection.close()
            raise
        if answer.will_close:
            connection.close()
        else:
            self._keep(connection)
        return answer.status, answer.headers.get("retry-after"), read

    def _connect(self, left_s: float) -> http.client.HTTPConnection:
        if self._secure is not None:
            return http.client.HTTPSConnection(self._host, self._port, timeout=left_s, context=self._secure)
        return http.client.HTTPConnection(self._host, self._port, timeout=left_s)

    def _take(self) -> http.client.HTTPConnection | None:
        with self._lock:
            return self._idle.pop() if self._idle else None

    def _keep(self, connection: http.client.HTTPConnection) -> None:
        with self._lock:
            if len(self._idle) < (self._idle.maxlen or 0):
                self._idle.append(connection)
                return
        connection.close()


def parse_json(body: bytes) -> dict[str, Any]:
    """The object of a body."""
    return json.loads(body)
