"""Events on their way to a stream: all of a batch are of the schema's form, or none of it is appended.

A body that is right already is passed on as it came; what has to be split, since each event's key chooses its partition
or since the stream takes single events, becomes one JSON object an event.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from operator import attrgetter
from typing import Any, cast

import msgspec
import numpy as np
import pyarrow as pa

from asof.errors import DataError, LimitError, did_you_mean
from asof.streams.arrow_bounds import MAX_ROWS
from asof.streams.decode import faults_of, is_array, raws_of
from asof.streams.event_arrow import cast_table, read_arrow
from asof.streams.event_columns import NOT_FITTING, Faults
from asof.streams.event_type import BAD_JSON, Bad, EventType, Reason, event_type
from asof.streams.schema import EventSchema
from asof.streams.stream import Outgoing

Rows = Any
"""A list of mappings, or a table: PyArrow, or whatever has `__arrow_c_stream__` (pandas, Polars, ...)."""

_EMPTY = b""
_ENDS = {1, 9999}  # years at whose ends an instant in UTC may be in no year


@dataclass(frozen=True)
class Target:
    """What a stream takes.

    Args:
        split: events go one by one, with their keys; else all of a batch in one body.
        max_event_bytes: the largest single event.
    """

    split: bool = False
    max_event_bytes: int | None = None


WHOLE = Target()


def encode_json(
    body: bytes,
    schema: EventSchema,
    target: Target = WHOLE,
    *,
    strict: bool = True,
    idempotency_key: str | None = None,
) -> Outgoing:
    """Events of a JSON array, of JSON lines or of one object; the body itself where it need not be split.

    Raises:
        DataError: an event is not of the schema's form; carries `event`, its number from 0, and `field`.
        LimitError: an event is larger than the stream takes.

    Example:
        >>> schema = EventSchema("s", (("n", pa.int64()), ("known", pa.timestamp("us"))), "n", "known")
        >>> made = encode_json(b'[{"n": 1}, {"n": 2}]', schema)
        >>> made.count, made.body
        (2, b'[{"n": 1}, {"n": 2}]')
    """
    kind = event_type(schema, strict=strict)
    array = is_array(body)
    try:
        events = kind.decode_array(body) if array else kind.decode_lines(body)
    except BAD_JSON as exc:
        events = _each(schema, body, kind, exc)
    if not array and len(events) != len(raws_of(body)):
        if len(events) != 1:
            raise _refused(schema, 0, Reason("not one object a line"))
        body = b"[" + body + b"]"
    _check(schema, kind, events)
    if not target.split:
        return Outgoing(len(events), "json", body=body, idempotency_key=idempotency_key)
    raws = [event.strip() for event in raws_of(body)]
    return _split(schema, kind, raws, events, target, idempotency_key)


def encode_rows(
    rows: Rows,
    schema: EventSchema,
    target: Target = WHOLE,
    *,
    strict: bool = True,
    text: bool = False,
    idempotency_key: str | None = None,
) -> Outgoing:
    """Events of mappings as JSON, or of a table as an Arrow stream (as JSON where they have to be split).

    Args:
        rows: a list of mappings, or a table.
        schema: the source's.
        target: what the stream takes.
        strict: an unknown column is refused.
        text: all values are texts, as in a CSV file.
        idempotency_key: of the batch.

    Raises:
        DataError: an event is not of the schema's form; carries `event`, its number from 0, and `field`.
        LimitError: an event is larger than the stream takes.
    """
    if hasattr(rows, "__arrow_c_stream__") or isinstance(rows, pa.RecordBatch):
        table = pa.table(rows) if not isinstance(rows, pa.RecordBatch) else pa.Table.from_batches([rows])
        return _encode_table(table, schema, target, strict, idempotency_key)
    if isinstance(rows, Mapping | str | bytes) or not isinstance(rows, Iterable):
        seen = type(cast("object", rows)).__name__
        raise DataError(f"{_where(schema)}: events are {seen}", hint="a list of mappings, or a table")
    kind = event_type(schema, strict=strict)
    listed = [_plain(schema, at, row) for at, row in enumerate(cast("Iterable[Any]", rows))]
    events = _converted(schema, kind, listed, text=text)
    _raise_first(schema, faults_of(kind, events, kind.attributes))
    if text:
        listed = [_told(kind, event) for event in events]
    if not target.split:
        return Outgoing(
            len(events), "json", body=msgspec.json.encode(listed), idempotency_key=idempotency_key
        )
    raws = [msgspec.json.encode(row) for row in listed]
    return _split(schema, kind, raws, events, target, idempotency_key)


def encode_arrow(
    body: bytes,
    schema: EventSchema,
    target: Target = WHOLE,
    *,
    strict: bool = True,
    idempotency_key: str | None = None,
) -> Outgoing:
    """Events of an Arrow stream; the body itself where it need not be split.

    Raises:
        DataError: it is no Arrow stream, or an event is not of the schema's form.
        LimitError: an event is larger than the stream takes.
    """
    try:
        table = read_arrow(body)
    except NOT_FITTING as exc:
        raise DataError(
            f"{_where(schema)}: the body is no Arrow stream that is taken",
            hint=f"not compressed, at most {MAX_ROWS:,} rows, each column once",
            source=schema.source,
        ) from exc
    return _encode_table(table, schema, target, strict, idempotency_key, body)


def _encode_table(
    table: pa.Table, schema: EventSchema, target: Target, strict: bool, key: str | None, body: bytes | None = None
) -> Outgoing:  # fmt: skip
    unknown = [name for name in table.column_names if name not in schema.arrow.names]
    if strict and unknown:
        raise _refused(schema, 0, Reason("there is no such column", unknown[0], unknown[0]))
    table = table.drop_columns([*unknown, *({schema.known_at} & set(table.column_names))])
    columns, _, bad = cast_table(table, schema, np.arange(table.num_rows), [])
    _raise_first(schema, bad)
    if target.split:
        kind = event_type(schema, strict=strict)
        given = pa.table({name: columns[name] for name in table.column_names})
        rows = [_maps(row, given.schema) for row in given.to_pylist()]
        events = [kind.convert(row) for row in rows]
        return _split(schema, kind, [msgspec.json.encode(row) for row in rows], events, target, key)
    return Outgoing(table.num_rows, "arrow", body=body or _stream(table), idempotency_key=key)


def _stream(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def _maps(row: dict[str, Any], types: pa.Schema) -> dict[str, Any]:
    """The row with maps as mappings; Arrow makes lists of pairs of them."""
    for field in types:
        if pa.types.is_map(field.type) and row[field.name] is not None:
            row[field.name] = dict(row[field.name])
    return row


def _each(schema: EventSchema, body: bytes, kind: EventType, error: Exception) -> list[Any]:
    """The events one by one, for times may be written in more ways than the fast decoder knows."""
    raws = raws_of(body)
    if not raws and (is_array(body) or not isinstance(error, msgspec.ValidationError)):
        raise DataError(f"{_where(schema)}: the body is no JSON in UTF-8", source=schema.source)
    events: list[Any] = []
    for at, raw in enumerate(raws):
        try:
            events.append(kind.decode(raw))
        except Bad as exc:
            raise _refused(schema, at, exc.reason) from None
    return events


def _converted(
    schema: EventSchema, kind: EventType, rows: Sequence[Mapping[str, Any]], *, text: bool
) -> list[Any]:
    if not text:
        try:
            return kind.convert_all(rows)
        except BAD_JSON:
            pass
    events: list[Any] = []
    for at, row in enumerate(rows):
        try:
            events.append(kind.convert(row, text=text))
        except Bad as exc:
            raise _refused(schema, at, exc.reason) from None
    return events


def _plain(schema: EventSchema, at: int, row: Any) -> dict[str, Any]:
    """The row as a dictionary of Python's own values, without `known_at`."""
    if not isinstance(row, Mapping):
        raise _refused(schema, at, Reason("expected object, got another type"))
    given = cast("Mapping[str, Any]", row)
    return {name: _value(value) for name, value in given.items() if name != schema.known_at}


def _value(value: Any) -> Any:
    if value is None or type(value) in {str, int, float, bool, datetime}:
        return value
    if isinstance(value, datetime):  # pandas has a class of its own
        return datetime.fromisoformat(value.isoformat()[:32])
    item = getattr(value, "item", None)
    return value if item is None else item()


def _told(kind: EventType, event: Any) -> dict[str, Any]:
    """A decoded event as a row again, without its nulls."""
    values = {name: getattr(event, attribute) for name, attribute in kind.attributes.items()}
    return {name: value for name, value in values.items() if value is not None}


def _check(schema: EventSchema, kind: EventType, events: list[Any]) -> None:
    """Looks at what the types cannot say; see `EventType.uncertain`."""
    names = list(kind.uncertain)
    for name, attribute in kind.instants:
        if any(type(at) is datetime and at.year in _ENDS for at in map(attrgetter(attribute), events)):
            names.append(name)
    if names:
        _raise_first(schema, faults_of(kind, events, names))


def _split(
    schema: EventSchema, kind: EventType, raws: Sequence[bytes], events: Sequence[Any], target: Target, key: str | None
) -> Outgoing:  # fmt: skip
    most = target.max_event_bytes
    for at, raw in enumerate(raws):
        if most is not None and len(raw) > most:
            text = f"{_where(schema)}: event {at} has {len(raw):,} bytes, and the stream takes {most:,}"
            raise LimitError(text, source=schema.source, event=at)
    keys = None
    if schema.partition_by is not None:
        keys = [key_of(each) for each in map(attrgetter(kind.attributes[schema.partition_by]), events)]
    return Outgoing(len(raws), "json", events=raws, keys=keys, idempotency_key=key)


def key_of(value: object) -> bytes:
    """The bytes of a value that choose an event's partition: its text.

    Example:
        >>> key_of("a1"), key_of(7), key_of(date(2026, 1, 31)), key_of(True), key_of(None)
        (b'a1', b'7', b'2026-01-31', b't', b'')
    """
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, bool):
        return b"t" if value else b"f"
    if value is None:
        return _EMPTY
    return value.isoformat().encode() if isinstance(value, date) else str(value).encode()


def _raise_first(schema: EventSchema, bad: Faults) -> None:
    if bad:
        raise _refused(schema, *min(bad, key=lambda each: each[0]))


def _refused(schema: EventSchema, event: int, reason: Reason) -> DataError:
    hint = None if reason.unknown is None else did_you_mean(reason.unknown, schema.names)
    return DataError(
        f"{_where(schema)}: event {event}: {reason}", hint=hint, source=schema.source, event=event, field=reason.field
    )  # fmt: skip


def _where(schema: EventSchema) -> str:
    return f"source {schema.source!r}"
