"""Sending OpenLineage events, over HTTP or to a file, with the OpenLineage library's own transports.

Off unless the settings `openlineage.url` or `openlineage.file` say where. A receiver that is down or slow costs a
warning and a bounded time, never the flow that has something to tell.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
from collections.abc import Callable, Iterable, Sequence
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from asof.clock import Clock, SystemClock
from asof.config import Config, SecretRef
from asof.errors import MissingExtra
from asof.flows.column_types import SourceTypes, Types
from asof.flows.lineage import lineage_of
from asof.flows.openlineage_events import events_of, load_library
from asof.registry.lineage import ColumnsOf
from asof.registry.state import State

TIMEOUT_S = 5.0  # for one event, to connect and for each answer
LIMIT_US = 30_000_000  # for all events of one call; what is not sent by then is not sent
ENDPOINT = "api/v1/lineage"
_log = logging.getLogger(__name__)


def to_json(event: object) -> str:
    """One event as one line of JSON."""
    load_library()
    serde: Any = importlib.import_module("openlineage.client.serde")
    return serde.Serde.to_json(event)


def check_openlineage(config: Config) -> None:
    """Nothing, when no events are asked for or they can be made; for a flow that wants to know before it acts.

    Raises:
        MissingExtra: events are asked for, and the library is not installed. ConfigError: the receiver's key is not
            where the setting says.
    """
    if (config.openlineage_url or config.openlineage_file) and importlib.util.find_spec(
        "openlineage"
    ) is None:
        raise MissingExtra("OpenLineage events", "openlineage")
    if config.openlineage_url and config.openlineage_api_key:
        SecretRef.parse(config.openlineage_api_key).resolve()


def emit_state(
    state: State,
    columns_of: ColumnsOf,
    config: Config,
    changed_keys: Iterable[str],
    *,
    types: SourceTypes | None = None,
    clock: Clock | None = None,
) -> None:
    """Tells what has changed in an environment where the settings say; nothing when they say nothing.

    `changed_keys` name objects of the state, and those that are gone. `types` tells the types of the sources'
    columns; without it, only what definitions say of them is told.

    Raises:
        MissingExtra: events are asked for, and the library is not installed.
    """
    url, file = config.openlineage_url, config.openlineage_file
    keys = list(changed_keys)
    if (url is None and file is None) or not keys:
        return
    now = clock or SystemClock()
    told = Types(state, types) if types else None
    lineage = lineage_of(state, columns_of)
    events = events_of(lineage, config.name, at_us=now.now_us(), keys=keys, types=told)
    secret = config.openlineage_api_key
    api_key = None if secret is None else SecretRef.parse(secret).resolve()
    emit(events, url=url, file=file, api_key=api_key, clock=now)


def emit(
    events: Sequence[Any],
    *,
    url: str | None = None,
    file: Path | None = None,
    api_key: str | None = None,
    clock: Clock | None = None,
) -> None:
    """Sends events to a file, to which they are appended, and over HTTP. Never fails: what could not be sent is
    logged as a warning.

    A URL without a path is a receiver's root (`http://localhost:5000`), where events go to `/api/v1/lineage`; one
    with a path is taken as it is.

    Raises:
        MissingExtra: the library is not installed.
    """
    load_library()
    now = clock or SystemClock()
    if file is not None:
        _send(events, f"file {file}", lambda: _file_transport(file), now)
    if url is not None:
        _send(events, urlsplit(url).hostname or "?", lambda: _http_transport(url, api_key), now)


def _file_transport(file: Path) -> Any:
    module: Any = importlib.import_module("openlineage.client.transport.file")
    file.parent.mkdir(parents=True, exist_ok=True)
    return module.FileTransport(module.FileConfig(log_file_path=str(file), append=True))


def _http_transport(url: str, api_key: str | None) -> Any:
    module: Any = importlib.import_module("openlineage.client.transport.http")
    parts = urlsplit(url)
    root = f"{parts.scheme}://{parts.netloc}"
    path = url[len(root) :].lstrip("/")
    more = {"auth": module.create_token_provider({"type": "api_key", "apiKey": api_key})} if api_key else {}
    config = module.HttpConfig(
        url=root, endpoint=path or ENDPOINT, timeout=TIMEOUT_S, retry={"total": 0}, **more
    )
    return module.HttpTransport(config)


def _send(events: Sequence[Any], where: str, make: Callable[[], Any], clock: Clock) -> None:
    """All events in order, until one fails or the time is over: a receiver that is down is asked once."""
    started_us, sent, why = clock.now_us(), 0, f"after {LIMIT_US // 1_000_000} s"
    try:
        transport = make()
        try:
            for event in events:
                if clock.now_us() - started_us > LIMIT_US:
                    break
                transport.emit(event)
                sent += 1
        finally:
            transport.close()
    except (OSError, ValueError, RuntimeError, HTTPException) as exc:  # requests' errors are OSErrors
        why = _reason(exc)
    if sent < len(events):
        _log.warning("lineage events to %s: %d of %d sent: %s", where, sent, len(events), why)


def _reason(exc: Exception) -> str:
    """What went wrong, without the text: it may repeat a URL that holds a secret."""
    status = getattr(getattr(exc, "response", None), "status_code", None)
    return type(exc).__name__ if status is None else f"status {status}"
