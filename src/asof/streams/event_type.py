"""A schema as types that msgspec decodes events into: form is checked while decoding, and attributes become columns.

Each schema gets a class of its own with an attribute `f0`, `f1` ... for each column. Rules: null or absent is null; an
integer has to fit its column; a time is ISO 8601 text or integer microseconds; a date is ISO; a decimal is a number or
a text; of a field that comes twice the last counts. A reason names a field and what was expected, and never a value.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Annotated, Any

import msgspec
import pyarrow as pa

from asof.streams.schema import EventSchema

LEAST_US, MOST_US = -62_135_596_800_000_000, 253_402_300_799_999_999  # the years 1 to 9999
BAD_JSON = (msgspec.DecodeError, ValueError, RecursionError, OverflowError)
_LONGEST = 200
_AT = re.compile(r"(?s)(.*?)(?: - at (?:the key in )?`\$(?:\[(?:\d+|\.\.\.)\])?\.?(.*)`)?$")
_UNKNOWN = re.compile(r"(?s)Object contains unknown field `(.*)`")
_DIGITS = re.compile(r"-?[0-9]{9,19}")  # microseconds where all is text
_Us = Annotated[int, msgspec.Meta(ge=LEAST_US, le=MOST_US)]
_PLAIN_TIMES = (pa.timestamp("us"), pa.timestamp("us", "UTC"))
_TIMES: dict[bool, Any] = {False: datetime | _Us, True: str | _Us}


@dataclass(frozen=True)
class Reason:
    """Why an event cannot be taken: what was expected, and the field where it was not, if it is one field."""

    text: str
    field: str | None = None
    unknown: str | None = None

    def __str__(self) -> str:
        return self.text if self.field is None else f"field {self.field!r}: {self.text}"


class Bad(Exception):
    """An event that is not of its schema's form."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(str(reason))
        self.reason = reason


class EventType:
    """One schema's decoders, strict (an unknown field is refused) or not."""

    def __init__(self, schema: EventSchema, *, strict: bool) -> None:
        self.schema = schema
        self.attributes = {name: f"f{place}" for place, name in enumerate(schema.names)}
        self.struct = self._struct(strict=strict, lenient=False)
        self._lenient = self._struct(strict=strict, lenient=True)
        self.decode_one: Callable[[bytes], Any] = msgspec.json.Decoder(self.struct).decode
        self.decode_lines: Callable[[bytes], list[Any]] = msgspec.json.Decoder(self.struct).decode_lines
        self.decode_array: Callable[[bytes], list[Any]] = msgspec.json.Decoder(list[self.struct]).decode
        self._decode_lenient: Callable[[bytes], Any] = msgspec.json.Decoder(self._lenient).decode
        self._parsers = [
            (self.attributes[name], name, date.fromisoformat if pa.types.is_date(arrow) else _time)
            for name, arrow in schema.columns
            if name in self.attributes and pa.types.is_temporal(arrow)
        ]

        inner = [(name, arrow) for name, arrow in schema.columns if name in self.attributes]
        times = [n for n, arrow in inner if schema.zone is None and arrow in _PLAIN_TIMES]
        self.instants = [(name, self.attributes[name]) for name in times]
        """Columns of times whose values fit, but for the ends of the calendar."""
        self.uncertain = [n for n, arrow in inner if not _is_certain(arrow) and n not in times]
        """Columns that can refuse a value of their Python type: decimals, small floats, times in a zone and others."""

    def decode(self, event: bytes) -> Any:
        """One event. Times may be written in all the ways of ISO 8601 here.

        Raises:
            Bad: it is not of the schema's form.
        """
        try:
            return self.decode_one(event)
        except msgspec.ValidationError as exc:
            if not self._parsers:
                raise Bad(reason_of(exc)) from None
        except BAD_JSON as exc:
            raise Bad(reason_of(exc)) from None
        try:
            return self._parsed(self._decode_lenient(event))
        except BAD_JSON as exc:
            raise Bad(reason_of(exc)) from None

    def convert(self, row: Mapping[str, Any], *, text: bool = False) -> Any:
        """One event of Python's own values; with `text` of texts, as a CSV file has them.

        Raises:
            Bad: it is not of the schema's form.
        """
        try:
            if not text:
                return msgspec.convert(row, self.struct)
            return self._parsed(msgspec.convert(row, self._lenient, strict=False))
        except BAD_JSON as exc:
            if text or not self._parsers:
                raise Bad(reason_of(exc)) from None
        try:
            return self._parsed(msgspec.convert(_with_texts(row), self._lenient))
        except BAD_JSON as exc:
            raise Bad(reason_of(exc)) from None

    def convert_all(self, rows: Sequence[Mapping[str, Any]]) -> list[Any]:
        """Many events, or one of `BAD_JSON` where some are not of the schema's form."""
        return msgspec.convert(rows, list[self.struct])

    def _struct(self, *, strict: bool, lenient: bool) -> type[msgspec.Struct]:
        fields: list[tuple[str, Any, Any]] = []
        types = dict(self.schema.columns)
        for name, attribute in self.attributes.items():
            hint = annotation(types[name], lenient=lenient)
            fields.append((attribute, hint | None, msgspec.field(name=name, default=None)))
        known = msgspec.field(name=self.schema.known_at, default=None)
        fields.append(("known_at", Any, known))
        return msgspec.defstruct("Event", fields, forbid_unknown_fields=strict, gc=False)

    def _parsed(self, event: Any) -> Any:
        """The event with times and dates of their texts."""
        for attribute, name, parse in self._parsers:
            value = getattr(event, attribute)
            if isinstance(value, str):
                try:
                    setattr(event, attribute, parse(value))
                except ValueError:
                    raise Bad(Reason("no ISO 8601 date or time", name)) from None
        return event


@lru_cache(maxsize=256)
def event_type(schema: EventSchema, *, strict: bool) -> EventType:
    """The decoders of a schema, made once."""
    return EventType(schema, strict=strict)


def annotation(arrow: pa.DataType, *, lenient: bool = False) -> Any:  # noqa: C901, PLR0911 - one for each kind
    """The Python type that a column's values have in an event; None (only null fits) where there is none."""
    types = pa.types
    if types.is_boolean(arrow):
        return bool
    if types.is_integer(arrow):
        if arrow == pa.uint64():  # more than the decoder can compare with
            return Annotated[int, msgspec.Meta(ge=0)]
        signed = types.is_signed_integer(arrow)
        bits = arrow.bit_width - signed
        return Annotated[int, msgspec.Meta(ge=-(2**bits) if signed else 0, le=2**bits - 1)]
    if types.is_floating(arrow):
        return float
    if types.is_decimal(arrow):
        return Decimal
    if is_text(arrow):
        return str
    if types.is_timestamp(arrow):
        return _TIMES[lenient]
    if types.is_date(arrow):
        return str if lenient else date
    if types.is_dictionary(arrow):
        return annotation(arrow.value_type, lenient=lenient)
    if types.is_list(arrow) or types.is_large_list(arrow):
        return list[annotation(arrow.value_type) | None]
    if types.is_map(arrow):
        return dict[str, annotation(arrow.item_type) | None]
    return dict[str, Any] if types.is_struct(arrow) else type(None)


def _is_certain(arrow: pa.DataType) -> bool:
    """True where a value of the Python type always fits the column."""
    types = pa.types
    whole = (
        types.is_boolean(arrow) or (types.is_integer(arrow) and arrow != pa.uint64()) or types.is_date(arrow)
    )
    return whole or is_text(arrow) or arrow == pa.float64()


def is_text(arrow: pa.DataType) -> bool:
    """True for the types of text."""
    types = pa.types
    return types.is_string(arrow) or types.is_large_string(arrow) or types.is_string_view(arrow)


def reason_of(error: Exception) -> Reason:
    """What a decoder's error says, with no value of the event."""
    if not isinstance(error, msgspec.ValidationError):
        deep = isinstance(error, RecursionError)
        return Reason("nested too deeply" if deep else "no JSON in UTF-8")
    found = _AT.fullmatch(str(error))
    text, field = (str(error), None) if found is None else (found[1], found[2] or None)
    unknown = _UNKNOWN.fullmatch(text)
    if unknown is not None:
        return Reason("there is no such column", unknown[1][:_LONGEST], unknown[1][:_LONGEST])
    text = text.replace("`", "").replace("Invalid RFC3339 encoded", "no ISO 8601").replace(" | null", "")
    return Reason(text[:1].lower() + text[1:_LONGEST], None if field is None else field[:_LONGEST])


def _time(text: str) -> datetime | int:
    return int(text) if _DIGITS.fullmatch(text) else datetime.fromisoformat(text)


def _with_texts(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row with dates and times as texts, which the lenient type takes."""
    return {k: v.isoformat() if isinstance(v, date) else v for k, v in row.items()}
