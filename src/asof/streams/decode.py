"""Chunks of a stream as columns: whatever is of the schema's form becomes a row, and whatever is not is told with its
reason and spoils nothing else.

All events of a chunk are decoded at once; only where that fails each is looked at for itself. What an event means (a
null key, a late time) is judged in flows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from asof.compute.arrays import Ints
from asof.streams.event_arrow import arrow_columns
from asof.streams.event_columns import NOT_FITTING, Faults, column_of, fitting, known_column, nulls, unfit
from asof.streams.event_type import BAD_JSON, Bad, EventType, Reason, event_type
from asof.streams.schema import EventSchema
from asof.streams.stream import Chunk

Avro = Callable[[Sequence[bytes]], tuple[Sequence[Mapping[str, Any]], Sequence[tuple[int, str]]]]
"""Makes rows of Avro events: those that can be read, in order, and the numbers of the others, with reasons."""

_RAWS = msgspec.json.Decoder(list[msgspec.Raw]).decode


@dataclass(frozen=True)
class Decoded:
    """The events of a chunk.

    Args:
        table: the rows, with the schema's columns in their types; `known_at` is when the stream took them.
        rows: for each row its place in the chunk.
        bad: places of the other events, each with why it cannot be taken.
    """

    table: pa.Table
    rows: Ints
    bad: list[tuple[int, str]]


def decode(chunk: Chunk, schema: EventSchema, *, avro: Avro | None = None, strict: bool = False) -> Decoded:
    """The events of a chunk as columns.

    Args:
        chunk: events as they were read.
        schema: the source's.
        avro: what reads Avro; needed where the chunk is written so.
        strict: a field that the schema does not have makes an event a bad one; else it is passed over.
    """
    count = len(chunk.offsets)
    if chunk.form == "arrow":
        found = arrow_columns(chunk, schema, strict=strict)
    else:
        kind = event_type(schema, strict=strict)
        events, places, bad = _events(chunk, kind, avro, count)
        found = columns_of(kind, events, places, bad)
    return _finished(schema, chunk, *found)


def columns_of(
    kind: EventType, events: list[Any], places: Ints, bad: Faults
) -> tuple[dict[str, pa.Array], Ints, Faults]:
    """Columns of decoded events, without those that a column cannot hold."""
    types, zone = dict(kind.schema.columns), kind.schema.zone
    made: dict[str, pa.Array] = {}
    unfitting: dict[int, Reason] = {}
    for name, attribute in kind.attributes.items():
        values = list(map(attrgetter(attribute), events))
        try:
            made[name] = column_of(values, types[name], zone)
        except NOT_FITTING:
            unfitting |= dict(_unfitting(name, values, types[name], zone))
    if not unfitting:
        return made, places, bad
    bad = bad + [(int(places[at]), reason) for at, reason in unfitting.items()]
    kept = [at for at in range(len(events)) if at not in unfitting]
    return columns_of(kind, [events[at] for at in kept], places[kept], bad)


def faults_of(kind: EventType, events: list[Any], names: Iterable[str]) -> Faults:
    """The events that some columns cannot hold; nothing is kept of the columns."""
    types, zone = dict(kind.schema.columns), kind.schema.zone
    bad: Faults = []
    for name in names:
        values = list(map(attrgetter(kind.attributes[name]), events))
        try:
            column_of(values, types[name], zone)
        except NOT_FITTING:
            bad += _unfitting(name, values, types[name], zone)
    return bad


def _unfitting(name: str, values: list[Any], arrow: pa.DataType, zone: str | None) -> Faults:
    def attempt(start: int, stop: int) -> None:
        column_of(values[start:stop], arrow, zone)

    return fitting(len(values), attempt, unfit(name, arrow))


def _events(chunk: Chunk, kind: EventType, avro: Avro | None, count: int) -> tuple[list[Any], Ints, Faults]:
    """The events that are of the schema's form, their places, and the others."""
    if chunk.form == "avro":
        if avro is None:
            raise ValueError("nobody reads Avro")
        return _avro_events(chunk.events, kind, avro)
    try:
        if chunk.body is None:
            found = [kind.decode_one(event) for event in chunk.events]
        elif is_array(chunk.body):
            found = kind.decode_array(chunk.body)
        else:
            found = kind.decode_lines(chunk.body)
        found = found[chunk.skip : chunk.skip + count] if chunk.body is not None else found
        if len(found) == count:
            return found, np.arange(count), []
    except BAD_JSON:
        pass
    return _one_by_one(_raws(chunk, count), kind.decode)


def _one_by_one(raws: Sequence[Any], decode_one: Callable[[Any], Any]) -> tuple[list[Any], Ints, Faults]:
    events: list[Any] = []
    places: list[int] = []
    bad: Faults = []
    for place, raw in enumerate(raws):
        try:
            events.append(decode_one(raw))
            places.append(place)
        except Bad as exc:
            bad.append((place, exc.reason))
    return events, np.array(places, np.int64), bad


def _raws(chunk: Chunk, count: int) -> Sequence[bytes]:
    """Each event's own bytes; none where the chunk's body does not have it."""
    if chunk.body is None:
        return chunk.events
    found = raws_of(chunk.body)[chunk.skip : chunk.skip + count]
    return [*found, *([b""] * (count - len(found)))]


def raws_of(body: bytes) -> list[bytes]:
    """The events of a JSON array, or of JSON lines; none where it is no JSON."""
    if not is_array(body):
        return [line for line in body.split(b"\n") if line.strip()]
    try:
        return [bytes(each) for each in _RAWS(body)]
    except BAD_JSON:
        return []


def is_array(body: bytes) -> bool:
    """True where a body is a JSON array, else it is one object or one a line."""
    return body.lstrip(b" \t\r\n")[:1] == b"["


def _avro_events(events: Sequence[bytes], kind: EventType, avro: Avro) -> tuple[list[Any], Ints, Faults]:
    rows, failed = avro(events)
    bad: Faults = [(place, Reason(text)) for place, text in failed]
    gone = {place for place, _ in failed}
    places = np.array([place for place in range(len(events)) if place not in gone], np.int64)
    try:
        return kind.convert_all(rows), places, bad
    except BAD_JSON:
        made, kept, more = _one_by_one(rows, kind.convert)
    return made, places[kept], bad + [(int(places[at]), reason) for at, reason in more]


def _finished(
    schema: EventSchema, chunk: Chunk, made: Mapping[str, pa.Array], places: Ints, bad: Faults
) -> Decoded:
    """The table with all columns in the schema's order, and what is bad in the order of events."""
    columns = {
        name: known_column(schema, chunk.stamps_us[places])
        if name == schema.known_at
        else made.get(name, nulls(len(places), arrow))
        for name, arrow in schema.columns
    }
    told = [(place, str(reason)) for place, reason in sorted(bad, key=lambda each: each[0])]
    return Decoded(pa.table(columns, schema=schema.arrow), places, told)
