"""Avro events with the schemas of a registry: values, events that cannot be read, and registries that fail."""

from __future__ import annotations

import base64
import io
import json
import struct
import threading
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from uuid import UUID

import pytest
from fastavro import parse_schema, schemaless_writer

from asof.define.stream import Kafka
from asof.errors import BackendError, ConfigError
from asof.streams.avro import AvroDecoder
from asof.streams.kafka import avro_decoder

PAYMENT = {
    "type": "record",
    "name": "Payment",
    "fields": [
        {"name": "id", "type": "string"},
        {"name": "cents", "type": "long"},
        {"name": "note", "type": ["null", "string"], "default": None},
    ],
}


class Registry(ThreadingHTTPServer):
    """A registry on loopback: its answers are a table of paths."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.answers: dict[str, tuple[int, Any]] = {}
        self.asked: list[tuple[str, str | None]] = []

    def add(self, number: int, schema: Any, **more: Any) -> None:
        """A schema under a number."""
        self.answers[f"/schemas/ids/{number}"] = (200, {"schema": json.dumps(schema), **more})


class _Answer(BaseHTTPRequestHandler):
    server: Registry

    def do_GET(self) -> None:
        self.server.asked.append((self.path, self.headers["Authorization"]))
        status, found = self.server.answers.get(self.path, (404, {"error_code": 40403}))
        body = found if isinstance(found, bytes) else json.dumps(found).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing is written."""


@pytest.fixture
def registry() -> Iterator[Registry]:
    server = Registry()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def event(number: int, schema: Any, row: Any) -> bytes:
    """A row as registries have it written."""
    sink = io.BytesIO()
    schemaless_writer(sink, parse_schema(schema), row)
    return b"\x00" + struct.pack(">I", number) + sink.getvalue()


def test_rows_are_read_with_the_schema_whose_number_they_carry(registry: Registry):
    wider = {**PAYMENT, "fields": [*PAYMENT["fields"], {"name": "country", "type": "string"}]}
    registry.add(7, PAYMENT)
    registry.add(1_000_000, wider)
    rows = [{"id": "a", "cents": 5, "note": None}, {"id": "b", "cents": -1, "note": "x", "country": "DE"}]
    decoder = AvroDecoder(registry.url)
    events = [event(7, PAYMENT, rows[0]), event(1_000_000, wider, rows[1]), event(7, PAYMENT, rows[0])]
    assert decoder.decode(events) == ([rows[0], rows[1], rows[0]], [])
    assert decoder.decode(events[:1]) == ([rows[0]], [])
    # Each schema is asked for once.
    assert [path for path, _ in registry.asked] == ["/schemas/ids/7", "/schemas/ids/1000000"]


def test_bytes_on_the_wire_are_those_of_the_standard(registry: Registry):
    registry.add(7, PAYMENT)
    # "ab" is its length 2 (zigzag: 4) and its bytes; -3 is zigzag 5; branch 0 of the union is null.
    assert AvroDecoder(registry.url).decode([b"\x00\x00\x00\x00\x07\x04ab\x05\x00"]) == (
        [{"id": "ab", "cents": -3, "note": None}],
        [],
    )


def test_logical_types_are_values_of_python(registry: Registry):
    schema = {
        "type": "record",
        "name": "R",
        "fields": [
            {
                "name": "amount",
                "type": {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2},
            },
            {"name": "day", "type": {"type": "int", "logicalType": "date"}},
            {"name": "at", "type": {"type": "long", "logicalType": "timestamp-micros"}},
            {"name": "id", "type": {"type": "string", "logicalType": "uuid"}},
        ],
    }
    row = {
        "amount": Decimal("12.34"),
        "day": date(2026, 1, 2),
        "at": datetime(2026, 1, 2, 3, 4, 5, 6, UTC),
        "id": UUID(int=1),
    }
    registry.add(1, schema)
    assert AvroDecoder(registry.url).decode([event(1, schema, row)]) == ([row], [])


def test_an_event_that_cannot_be_read_is_told_and_spoils_nothing_else(registry: Registry):
    registry.add(7, PAYMENT)
    registry.add(8, "string")
    registry.add(9, {"type": "object"}, schemaType="JSON")
    registry.add(10, {"type": "record"})
    good = event(7, PAYMENT, {"id": "a", "cents": 5, "note": None})
    events = [
        good,
        b"",
        b'{"id": "a"}',
        b"\x00\x00\x00",
        good[:-2],
        good + b"\x00",
        event(7, PAYMENT, {"id": "a", "cents": 5, "note": None})[:-1] + b"\x09",
        b"\x00\x00\x00\x00\x07\x04\xff\xfe\x02\x00",
        event(8, "string", "a"),
        b"\x00\x00\x00\x00\x09",
        b"\x00\x00\x00\x00\x0a",
        b"\x00\x00\x00\x00\x0b",
        b"\x00\x00\x00\x00\x0b",
        good,
    ]
    rows, bad = AvroDecoder(registry.url).decode(events)
    assert rows == [{"id": "a", "cents": 5, "note": None}] * 2
    assert bad == [
        (1, "it is empty"),
        (2, "it does not begin with the number of a schema"),
        (3, "it does not begin with the number of a schema"),
        (4, "it is not of its schema, 7"),
        (5, "it is longer than its schema, 7, says"),
        (6, "it is not of its schema, 7"),
        (7, "it is not of its schema, 7"),
        (8, "its schema, 8, is no record"),
        (9, "its schema, 9, is not Avro"),
        (10, "its schema, 10, cannot be used"),
        (11, "its schema, 11, is not in the registry"),
        (12, "its schema, 11, is not in the registry"),
    ]
    assert [path for path, _ in registry.asked].count("/schemas/ids/11") == 1


def test_a_schema_that_was_not_there_is_found_once_it_is(registry: Registry):
    decoder = AvroDecoder(registry.url)
    good = event(7, PAYMENT, {"id": "a", "cents": 5, "note": None})
    assert decoder.decode([good])[1] == [(0, "its schema, 7, is not in the registry")]
    registry.add(7, PAYMENT)
    assert decoder.decode([good])[1] == []


def test_what_a_schema_refers_to_is_asked_for(registry: Registry):
    country = {"type": "record", "name": "Country", "fields": [{"name": "code", "type": "string"}]}
    account = {"type": "record", "name": "Account", "fields": [{"name": "country", "type": "Country"}]}
    place = {"name": "Country", "subject": "a/country", "version": 2}
    registry.answers["/subjects/a%2Fcountry/versions/2"] = (200, {"schema": json.dumps(country)})
    registry.add(3, account, references=[place])
    row = {"country": {"code": "DE"}}
    full = {**account, "fields": [{"name": "country", "type": country}]}
    assert AvroDecoder(registry.url).decode([event(3, full, row)]) == ([row], [])
    registry.add(4, account, references=[{"name": "Country", "subject": "gone", "version": 1}])
    assert AvroDecoder(registry.url).decode([event(4, full, row)])[1] == [
        (0, "its schema, 4, cannot be used")
    ]


def test_the_login_is_a_reference_and_is_sent(registry: Registry, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("REGISTRY_LOGIN", "asof:hunter2")
    registry.add(7, PAYMENT)
    settings = {"schema.registry.basic.auth.user.info": "env:REGISTRY_LOGIN"}
    kafka = Kafka("t", format="avro", registry=registry.url, settings=settings)
    avro_decoder(kafka).decode([b"\x00\x00\x00\x00\x07"])
    sent = "Basic " + base64.b64encode(b"asof:hunter2").decode()
    assert registry.asked == [("/schemas/ids/7", sent)]


@pytest.mark.parametrize(
    ("status", "retryable"), [(401, False), (403, False), (400, False), (429, True), (500, True), (503, True)]
)
def test_a_registry_that_refuses_is_an_error(registry: Registry, status: int, retryable: bool):
    registry.answers["/schemas/ids/7"] = (status, {"error_code": status, "message": "asof:hunter2"})
    with pytest.raises(BackendError, match=rf"it answers with status {status}") as caught:
        AvroDecoder(registry.url).decode([b"\x00\x00\x00\x00\x07"])
    assert caught.value.retryable is retryable
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("body", [b"<html>", b"[]", b"\xff"])
def test_an_answer_that_is_not_a_registrys_is_an_error(registry: Registry, body: bytes):
    registry.answers["/schemas/ids/7"] = (200, body)
    with pytest.raises(BackendError, match=r"^schema registry "):
        AvroDecoder(registry.url).decode([b"\x00\x00\x00\x00\x07"])


def test_a_registry_that_is_away_may_be_asked_again():
    with pytest.raises(BackendError, match="it does not answer") as caught:
        AvroDecoder("http://127.0.0.1:1", timeout_s=1.0).decode([b"\x00\x00\x00\x00\x07"])
    assert caught.value.retryable


def test_wrong_settings_are_told():
    with pytest.raises(ConfigError, match="not the address of a server"):
        AvroDecoder("registry:8081")
    with pytest.raises(ConfigError, match=r"there is no setting 'schema\.registry\.timeout'"):
        AvroDecoder("http://r", {"timeout": "1"})
    with pytest.raises(ConfigError, match="holds no certificates"):
        AvroDecoder("https://r", {"ssl.ca.location": "/nowhere/ca.pem"})
    with pytest.raises(ConfigError, match="no registry"):
        avro_decoder(Kafka("t"))
