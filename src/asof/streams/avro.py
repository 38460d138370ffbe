"""Avro as schema registries have it: a zero byte, the schema's number in four bytes, the datum.

Schemas are asked for once, over HTTP. An event that cannot be read is told with its reason and spoils nothing else; a
registry that is away is an error.
"""

from __future__ import annotations

import base64
import http.client
import json
import ssl
import threading
from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any, cast
from urllib.parse import quote, urlsplit

from asof.errors import BackendError, ConfigError, MissingExtra

try:
    from fastavro import parse_schema, schemaless_reader
    from fastavro.schema import SchemaParseException, UnknownType
except ImportError as missing:
    raise MissingExtra("Avro", "kafka") from missing

_HEAD_BYTES = 5
_MOST_REFERENCES = 100
_KNOWN = {"basic.auth.user.info", "ssl.ca.location"}
# What a reader meets in bytes that are not of the schema.
_UNREADABLE = (ValueError, LookupError, ArithmeticError, EOFError, TypeError, RecursionError, MemoryError)


class _Unusable(Exception):
    """A schema that cannot be used, with the reason; nothing is wrong with the registry."""


class AvroDecoder:
    """Reads events with the schemas of a registry; safe to share between threads.

    Args:
        registry_url: the registry's address.
        settings: `basic.auth.user.info` (`user:password`) and `ssl.ca.location` (a file of certificates), resolved.
        timeout_s: how long the registry may take for an answer.

    Raises:
        ConfigError: the address is none, or a setting is not known.

    Example:
        >>> decoder = AvroDecoder("http://127.0.0.1:8081")
        >>> decoder.decode([b"", b"{}"])
        ([], [(0, 'it is empty'), (1, 'it does not begin with the number of a schema')])
    """

    def __init__(
        self, registry_url: str, settings: Mapping[str, str] | None = None, *, timeout_s: float = 5.0
    ) -> None:
        self._registry = _Registry(registry_url, settings or {}, timeout_s)
        self._lock = threading.Lock()
        self._schemas: dict[int, Any] = {}

    def decode(self, events: Sequence[bytes]) -> tuple[list[dict[str, Any]], list[tuple[int, str]]]:
        """The events that can be read, in order, and the numbers of the others with reasons.

        Values of logical types are Python's: `Decimal`, `date`, `datetime` (in UTC), `UUID`.

        Raises:
            BackendError: the registry does not answer (retryable), or refuses.
        """
        rows: list[dict[str, Any]] = []
        bad: list[tuple[int, str]] = []
        unusable: dict[int, str] = {}
        for number, event in enumerate(events):
            try:
                rows.append(self._row(event, unusable))
            except _Unusable as reason:
                bad.append((number, str(reason)))
        return rows, bad

    def _row(self, event: bytes, unusable: dict[int, str]) -> dict[str, Any]:
        if not event:
            raise _Unusable("it is empty")
        if event[0] or len(event) < _HEAD_BYTES:
            raise _Unusable("it does not begin with the number of a schema")
        schema_id = int.from_bytes(event[1:_HEAD_BYTES], "big")
        schema = self._schemas.get(schema_id) or self._find(schema_id, unusable)
        datum = BytesIO(event)
        datum.seek(_HEAD_BYTES)
        try:
            row = cast("object", schemaless_reader(datum, schema, None))
        except _UNREADABLE:
            raise _Unusable(f"it is not of its schema, {schema_id}") from None
        if datum.tell() != len(event):
            raise _Unusable(f"it is longer than its schema, {schema_id}, says")
        if not isinstance(row, dict):
            raise _Unusable(f"its schema, {schema_id}, is no record")
        return cast("dict[str, Any]", row)

    def _find(self, schema_id: int, unusable: dict[int, str]) -> Any:
        """The schema of a number; what is wrong with it is asked for once in a call, and again in the next."""
        if schema_id in unusable:
            raise _Unusable(unusable[schema_id])
        with self._lock:
            if schema_id not in self._schemas:
                try:
                    self._schemas[schema_id] = self._registry.schema(schema_id)
                except _Unusable as reason:
                    unusable[schema_id] = str(reason)
                    raise
            return self._schemas[schema_id]


class _Registry:
    """Asks a schema registry; a connection for each question, since there are few."""

    def __init__(self, url: str, settings: Mapping[str, str], timeout_s: float) -> None:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ConfigError(
                "schema registry: not the address of a server", hint="registry='http://host:8081'"
            )
        if unknown := sorted(set(settings) - _KNOWN):
            raise ConfigError(
                f"schema registry: there is no setting 'schema.registry.{unknown[0]}'",
                hint=f"settings are {', '.join(f'schema.registry.{each}' for each in sorted(_KNOWN))}",
            )
        self._host, self._port, self._base = parts.hostname, parts.port, parts.path.rstrip("/")
        self._name = f"schema registry {parts.hostname}{f':{parts.port}' if parts.port else ''}"
        self._timeout_s = timeout_s
        self._secure = (
            self._certificates(settings.get("ssl.ca.location")) if parts.scheme == "https" else None
        )
        self._headers = {"Accept": "application/vnd.schemaregistry.v1+json, application/json"}
        if user := settings.get("basic.auth.user.info"):
            self._headers["Authorization"] = f"Basic {base64.b64encode(user.encode()).decode()}"

    def schema(self, schema_id: int) -> Any:
        """The schema of a number, parsed, with all that it refers to."""
        found = self._get(f"/schemas/ids/{schema_id}")
        if found is None:
            raise _Unusable(f"its schema, {schema_id}, is not in the registry")
        if found.get("schemaType", "AVRO") != "AVRO":
            raise _Unusable(f"its schema, {schema_id}, is not Avro")
        try:
            return self._parsed(found, {}, set())
        except (SchemaParseException, UnknownType, *_UNREADABLE):
            raise _Unusable(f"its schema, {schema_id}, cannot be used") from None

    def _parsed(self, found: Mapping[str, Any], named: dict[str, Any], seen: set[tuple[str, int]]) -> Any:
        """Parses what a schema refers to before itself: names are known then."""
        for each in found.get("references") or ():
            place = (str(each["subject"]), int(each["version"]))
            if place in seen:
                continue
            seen.add(place)
            if len(seen) > _MOST_REFERENCES:
                raise ValueError
            part = self._get(f"/subjects/{quote(place[0], safe='')}/versions/{place[1]}")
            if part is None:
                raise ValueError
            self._parsed(part, named, seen)
        return parse_schema(json.loads(found["schema"]), named_schemas=named)

    def _get(self, path: str) -> dict[str, Any] | None:
        """The JSON object at a path; None where there is none."""
        try:
            connection = self._connection()
            try:
                connection.request("GET", self._base + path, headers=self._headers)
                answer = connection.getresponse()
                status, body = answer.status, answer.read()
            finally:
                connection.close()
            if status == http.client.NOT_FOUND:
                return None
            found = json.loads(body) if status == http.client.OK else None
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise self._failed(f"does not answer ({type(error).__name__})", retryable=True) from error
        if not isinstance(found, dict):
            raise self._failed(f"answers with status {status}", status=status, retryable=status >= 429)
        return cast("dict[str, Any]", found)

    def _failed(self, what: str, *, retryable: bool, status: int | None = None) -> BackendError:
        login = (
            "settings={'schema.registry.basic.auth.user.info': 'env:NAME'}" if status in {401, 403} else None
        )
        return BackendError(f"{self._name}: it {what}", hint=login, retryable=retryable)

    def _connection(self) -> http.client.HTTPConnection:
        if self._secure is None:
            return http.client.HTTPConnection(self._host, self._port, timeout=self._timeout_s)
        return http.client.HTTPSConnection(
            self._host, self._port, timeout=self._timeout_s, context=self._secure
        )

    def _certificates(self, file: str | None) -> ssl.SSLContext:
        try:
            return ssl.create_default_context(cafile=file)
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(
                f"{self._name}: {file} holds no certificates", setting="ssl.ca.location"
            ) from error
