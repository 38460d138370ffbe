"""What both clients share: requests as bytes, answers as `Features`, and the server's errors as asof's own again."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import Any, cast

import pyarrow as pa

from asof.clock import format_time, from_us, parse_time, to_us
from asof.errors import (
    AsofError,
    BackendError,
    DataError,
    LimitError,
    MissingExtra,
    StateError,
    UnknownName,
    did_you_mean,
)

ARROW = "application/vnd.apache.arrow.stream"
STATUSES = {"p": "present", "n": "null", "m": "missing", "e": "expired", "s": "stale"}
Columns = Mapping[str, Any]

_RETRYABLE = {429, 502, 503}
_OF_HTTP: dict[str, type[AsofError]] = {
    "bad_request": DataError,
    "not_found": UnknownName,
    "no_stream": StateError,
    "unauthorized": StateError,
    "forbidden": StateError,
    "body_too_large": LimitError,
    "deadline_exceeded": LimitError,
}
_LONGEST_WAIT_S = 5.0
_LONGEST_BACKOFF_S = 1.0


@dataclass(frozen=True)
class Features:
    """What the server answered: a row of values for each entity, in the order of `names`.

    A decimal is a text and a time is ISO 8601, as on the wire; ask for Arrow where types matter.

    Example:
        >>> made = Features("s", from_us(0), ("n", "m"), [[3, None]], ["pn"])
        >>> made.columns(), made.status(0, "m")
        ({'n': [3], 'm': [None]}, 'null')
    """

    service: str
    at: datetime
    names: tuple[str, ...]
    values: list[list[Any]]
    statuses: list[str]
    watermarks: Mapping[str, datetime | None] = field(default_factory=dict[str, "datetime | None"])
    ages_s: Mapping[str, list[float | None]] = field(default_factory=dict[str, "list[float | None]"])

    def columns(self) -> dict[str, list[Any]]:
        """The values column by column."""
        return {name: [row[place] for row in self.values] for place, name in enumerate(self.names)}

    def rows(self) -> list[dict[str, Any]]:
        """One dictionary for each entity."""
        return [dict(zip(self.names, row, strict=True)) for row in self.values]

    def status(self, entity: int, name: str) -> str:
        """What a value is worth: present, null, missing, expired or stale.

        Raises:
            UnknownName: there is no such column.
        """
        if name not in self.names:
            raise UnknownName(f"no column {name!r}", hint=did_you_mean(name, self.names), column=name)
        return STATUSES[self.statuses[entity][self.names.index(name)]]


@dataclass(frozen=True)
class Accepted:
    """What became of events that were pushed: how many, for each partition the first offset and how many, and whether
    they were in the stream already, under their idempotency key.
    """

    count: int
    offsets: Mapping[int, tuple[int, int]]
    repeated: bool = False


def events_body(events: Any) -> tuple[bytes, str]:
    """The body of events and its media type: mappings as JSON, a table (whatever has `__arrow_c_stream__`) as Arrow.

    Raises:
        DataError: they hold what JSON does not.
    """
    if hasattr(events, "__arrow_c_stream__"):
        table = pa.table(events)
        out = pa.BufferOutputStream()
        with pa.ipc.new_stream(out, table.schema) as writer:
            writer.write_table(table)
        return out.getvalue().to_pybytes(), ARROW
    try:
        text = json.dumps(list(events), default=_plain, allow_nan=False, separators=(",", ":"))
    except (ValueError, TypeError) as exc:
        hint = "null (None) is what NaN and infinity become"
        raise DataError("the events hold what JSON does not", hint=hint) from exc
    return text.encode(), "application/json"


def events_headers(media: str, idempotency_key: str | None) -> dict[str, str]:
    """The headers of a push. Without a key it gets one of its own, so that it is safe to send again."""
    return {"content-type": media, "idempotency-key": idempotency_key or uuid.uuid4().hex}


def parse_accepted(body: bytes) -> Accepted:
    """The answer to a push.

    Raises:
        BackendError: it is not an answer of asof.
    """
    try:
        made = json.loads(body)
        offsets = {int(partition): (first, count) for partition, (first, count) in made["offsets"].items()}
        return Accepted(made["count"], offsets, made["repeated"])
    except (ValueError, KeyError, TypeError, AttributeError) as exc:
        raise _no_asof() from exc


def request_body(
    service: str,
    entities: Columns,
    request: Columns | None,
    at: datetime | str | None,
    columns: Sequence[str] | None,
) -> bytes:
    """The body of a request for features."""
    body: dict[str, Any] = {
        "service": service,
        "entities": {name: _listed(each) for name, each in entities.items()},
    }
    if request is not None:
        body["request"] = {name: _listed(each) for name, each in request.items()}
    if at is not None:
        body["at"] = format_time(parse_time(at))
    if columns is not None:
        body["columns"] = list(columns)
    try:
        return json.dumps(body, default=_plain, allow_nan=False, separators=(",", ":")).encode()
    except (ValueError, TypeError) as exc:
        raise DataError(
            "the request holds what JSON does not", hint="null (None) is what NaN and infinity become"
        ) from exc


def _listed(values: Any) -> Any:
    """NumPy and Arrow columns as lists; all else as it is."""
    convert = getattr(values, "to_pylist", None) or getattr(values, "tolist", None)
    return values if convert is None else convert()


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return format_time(to_us(value))
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, tuple | range):
        return list(cast("Sequence[Any]", value))
    item = getattr(value, "item", None)
    if item is None:
        raise TypeError(type(value).__name__)
    return item()


def parse_features(body: bytes) -> Features:
    """The answer of a body.

    Raises:
        BackendError: it is not an answer of asof.
    """
    try:
        made = json.loads(body)
        fresh = made["freshness"].items()
        return Features(
            made["service"],
            from_us(parse_time(made["at"])),
            tuple(made["names"]),
            made["values"],
            made["statuses"],
            {
                view: None if f["watermark"] is None else from_us(parse_time(f["watermark"]))
                for view, f in fresh
            },
            {view: each["ages_s"] for view, each in fresh},
        )
    except (ValueError, KeyError, TypeError, AttributeError) as exc:
        raise _no_asof() from exc


def parse_table(body: bytes) -> pa.Table:
    """The table of an Arrow stream.

    Raises:
        BackendError: it is not an answer of asof.
    """
    try:
        return pa.ipc.open_stream(body).read_all()
    except pa.ArrowInvalid as exc:
        raise _no_asof() from exc


def _no_asof() -> BackendError:
    return BackendError("what answers is no asof feature server", hint="check the URL")


def error_of(status: int, body: bytes) -> AsofError:
    """The error that the server tells of, as the class that it was there."""
    try:
        told = json.loads(body)["error"]
        code, message, hint, facts = told["code"], told["message"], told["hint"], told["facts"]
    except (ValueError, KeyError, TypeError):
        return BackendError(f"the server answered {status}", retryable=status in _RETRYABLE, status=status)
    facts = {name: value for name, value in facts.items() if name not in {"hint", "retryable", "message"}}
    found = _classes().get(code) or _OF_HTTP.get(code)
    if found is None or issubclass(found, BackendError) or found is MissingExtra:
        return BackendError(message, hint=hint, retryable=status in _RETRYABLE, **facts)
    return found(message, hint=hint, **facts)


def _classes() -> dict[str, type[AsofError]]:
    """All classes of asof's tree by their codes."""
    found: dict[str, type[AsofError]] = {}
    waiting: list[type[AsofError]] = [AsofError]
    while waiting:
        each = waiting.pop()
        found.setdefault(each.code, each)
        waiting += each.__subclasses__()
    return found


def wait_s(attempt: int, status: int | None, retry_after: str | None, chance: float) -> float | None:
    """How long to wait before the next attempt, None when there should be none. `status` is None when nothing answered.

    Example:
        >>> wait_s(0, 503, "1", 0.5), wait_s(0, None, None, 0.5), wait_s(0, 404, None, 0.5)
        (1.25, 0.025, None)
    """
    if status is not None and status not in _RETRYABLE:
        return None
    backoff_s = min(0.05 * 2**attempt, _LONGEST_BACKOFF_S) * chance
    if retry_after is not None and retry_after.isdigit():
        return min(int(retry_after), _LONGEST_WAIT_S) * (1 + chance / 2)
    return backoff_s
