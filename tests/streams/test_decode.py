"""Events as columns: what is of the schema's form, what is not and why; and what is refused on its way to a stream."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asof.define.source import Events, InMemory
from asof.define.stream import Kafka, Log
from asof.errors import DataError, LimitError, MissingColumn, StateError
from asof.streams.decode import Decoded, decode
from asof.streams.encode import Target, encode_arrow, encode_json, encode_rows
from asof.streams.schema import EventSchema
from asof.streams.stream import Chunk

UTC_US, LOCAL_US = pa.timestamp("us", "UTC"), pa.timestamp("us")
SCHEMA = EventSchema(
    "payments",
    (
        ("account id", pa.string()),
        ("cents", pa.int32()),
        ("amount", pa.decimal128(18, 2)),
        ("score", pa.float64()),
        ("paid_at", UTC_US),
        ("day", pa.date32()),
        ("ok", pa.bool_()),
        ("tags", pa.list_(pa.string())),
        ("limits", pa.map_(pa.string(), pa.int64())),
        ("known_at", UTC_US),
    ),
    event_time="paid_at",
    known_at="known_at",
    partition_by="account id",
)
SPLIT = Target(split=True, max_event_bytes=200)
TOOK_US = 1_767_225_600_000_000  # 2026-01-01
FULL = {
    "account id": "a1", "cents": 7, "amount": "12.05", "score": 0.5, "paid_at": "2026-01-31T12:00:00.25+02:00",
    "day": "2026-01-31", "ok": True, "tags": ["x", None], "limits": {"daily": 9},
}  # fmt: skip
ROW = {
    "account id": "a1", "cents": 7, "amount": Decimal("12.05"), "score": 0.5,
    "paid_at": datetime(2026, 1, 31, 10, 0, 0, 250_000, UTC), "day": date(2026, 1, 31), "ok": True,
    "tags": ["x", None], "limits": [("daily", 9)], "known_at": datetime(2026, 1, 1, tzinfo=UTC),
}  # fmt: skip
NULLS = dict.fromkeys(ROW) | {"known_at": ROW["known_at"]}


def one(name: str, arrow: pa.DataType, zone: str | None = None) -> EventSchema:
    columns = ((name, arrow), ("known_at", UTC_US))
    return EventSchema("s", columns, event_time=name, known_at="known_at", zone=zone)


def chunk(events: Sequence[bytes] | bytes, count: int | None = None, **more: Any) -> Chunk:
    body = events if isinstance(events, bytes) else None
    size = count if count is not None else len(events)
    stamps = np.full(size, TOOK_US)
    form = more.pop("form", "json")
    return Chunk(0, np.arange(size) + 5, stamps, form, body, () if body is not None else events, **more)


def values(made: Decoded, name: str) -> list[Any]:
    return made.table[name].to_pylist()


def stream_of(table: pa.Table) -> bytes:
    out = io.BytesIO()
    with pa.ipc.new_stream(out, table.schema) as writer:
        writer.write_table(table)
    return out.getvalue()


def test_an_event_has_the_types_of_the_history_and_the_time_at_which_the_stream_took_it():
    event = json.dumps(FULL | {"known_at": "not looked at", "unknown": [1]}).encode()
    made = decode(chunk([event, b"{}"]), SCHEMA)
    assert made.table.schema == SCHEMA.arrow
    assert made.table.to_pylist() == [ROW, NULLS]
    assert (made.rows.tolist(), made.bad) == ([0, 1], [])


@pytest.mark.parametrize(
    "body", [b'[{"cents": 1}, {"cents": 2}, {"cents": 3}]', b'{"cents": 1}\n{"cents": 2}\n\n{"cents": 3}\n']
)
def test_a_chunk_may_begin_in_the_middle_of_a_body(body):
    made = decode(chunk(body, 2, skip=1), SCHEMA)
    assert values(made, "cents") == [2, 3]
    assert values(decode(chunk(body, 1, skip=1), SCHEMA), "cents") == [2]


@pytest.mark.parametrize("in_one", [False, True])
def test_bad_events_are_told_by_field_and_spoil_no_other(in_one):
    events = [
        b'{"cents": 1}',
        b'{"cents": "secret"}',
        b'{"cents": 2147483648}',
        b"7",
        b'{"amount": 1.005}',
        b'{"amount": "NaN"}',
        b'{"paid_at": "yesterday"}',
        b'{"paid_at": 253402300800000000}',
        b'{"paid_at": "0001-01-01T00:00:00+05:00"}',
        b'{"ok": 1}',
        b'{"day": "2026-01-31T00:00:00"}',
        b'{"tags": [1]}',
        b'{"score": 1e999}',
        b'{"cents": 2}',
    ]
    given = chunk(b"[" + b",".join(events) + b"]", len(events)) if in_one else chunk(events)
    made = decode(given, SCHEMA)
    assert (values(made, "cents"), made.rows.tolist()) == ([1, 2], [0, 13])
    assert made.bad == [
        (1, "field 'cents': expected int, got str"),
        (2, "field 'cents': expected int <= 2147483647"),
        (3, "expected object, got int"),
        (4, "field 'amount': a value does not fit decimal128(18, 2)"),
        (5, "field 'amount': a value does not fit decimal128(18, 2)"),
        (6, "field 'paid_at': no ISO 8601 date or time"),
        (7, "field 'paid_at': expected int <= 253402300799999999"),
        (8, "field 'paid_at': no time that timestamp[us, tz=UTC] of this column holds exactly"),
        (9, "field 'ok': expected bool, got int"),
        (10, "field 'day': no ISO 8601 date or time"),
        (11, "field 'tags[0]': expected str, got int"),
        (12, "field 'score': number out of range"),
    ]


@pytest.mark.parametrize(
    "event", [b"", b"{", b'{"score": NaN}', b'{"score": -Infinity}', b"\xff", b'{"account id": "\\ud800"}', b"{}{}",
              b'{"x":' * 100_000, b'{"cents":' + b"9" * 10_000]
)  # fmt: skip
def test_what_is_no_json_is_one_bad_event(event):
    made = decode(chunk([b'{"cents": 1}', event, b'{"cents": 2}']), SCHEMA)
    assert values(made, "cents") == [1, 2]
    assert [place for place, _ in made.bad] == [1]


def test_events_cannot_run_into_each_other():
    made = decode(chunk([b'{"cents": 1}, {"cents": 2}', b'{"cents": 3', b'"ok": true}']), SCHEMA)
    assert (made.table.num_rows, [place for place, _ in made.bad]) == (0, [0, 1, 2])


def test_a_body_that_is_no_json_makes_all_its_events_bad():
    made = decode(chunk(b"[{]", 2), SCHEMA)
    assert made.bad == [(0, "no JSON in UTF-8"), (1, "no JSON in UTF-8")]


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ('"2026-01-31T12:00:00Z"', datetime(2026, 1, 31, 12, tzinfo=UTC)),
        ('"2026-01-31T12:00:00"', datetime(2026, 1, 31, 12, tzinfo=UTC)),
        ('"2026-01-31 14:00:00+02:00"', datetime(2026, 1, 31, 12, tzinfo=UTC)),
        ('"2026-01-31T12:00Z"', datetime(2026, 1, 31, 12, tzinfo=UTC)),
        ('"2026-01-31"', datetime(2026, 1, 31, tzinfo=UTC)),
        ("1769860800000001", datetime(2026, 1, 31, 12, 0, 0, 1, UTC)),
        ("null", None),
    ],
)
def test_times_are_iso_8601_or_microseconds(written, expected):
    for arrow in (UTC_US, LOCAL_US):
        made = decode(chunk([f'{{"at": {written}}}'.encode()]), one("at", arrow))
        zone = None if arrow is LOCAL_US or expected is None else UTC
        assert values(made, "at") == [expected if expected is None else expected.replace(tzinfo=zone)]


def test_a_time_without_a_zone_is_in_the_zone_of_the_source():
    event = b'{"at": "2026-01-31T12:00:00"}'
    instant = datetime(2026, 1, 31, 17, tzinfo=UTC)
    made = decode(chunk([event]), one("at", UTC_US, "America/New_York"))
    assert values(made, "at") == [instant]
    schema = one("at", LOCAL_US, "America/New_York")
    with_zone = [event, b'{"at": "2026-01-31T17:00:00Z"}', b'{"at": 1769878800000000}']
    assert values(decode(chunk(with_zone), schema), "at") == [datetime(2026, 1, 31, 12)] * 3  # noqa: DTZ001


def test_an_instant_in_the_hour_that_clocks_repeat_has_no_local_time():
    events = [b'{"at": "2026-11-01T05:30:00Z"}', b'{"at": "2026-11-01T07:30:00Z"}']
    made = decode(chunk(events), one("at", LOCAL_US, "America/New_York"))
    assert values(made, "at") == [datetime(2026, 11, 1, 2, 30)]  # noqa: DTZ001
    assert [place for place, _ in made.bad] == [0]


def test_a_column_of_milliseconds_takes_no_microseconds():
    events = [b'{"at": "2026-01-31T12:00:00.001Z"}', b'{"at": "2026-01-31T12:00:00.000001Z"}']
    made = decode(chunk(events), one("at", pa.timestamp("ms", "UTC")))
    assert (made.rows.tolist(), made.bad[0][0]) == ([0], 1)


@pytest.mark.parametrize(
    ("arrow", "fits", "does_not"),
    [
        (pa.int8(), "-128", "128"),
        (pa.uint64(), "18446744073709551615", "-1"),
        (pa.int64(), "9223372036854775807", "9223372036854775808"),
        (pa.float32(), "0.5", "1e300"),
        (pa.decimal128(4, 2), '"99.99"', "100"),
        (pa.decimal128(18, 2), "12345678901234.10", "1e400"),
        (pa.dictionary(pa.int32(), pa.string()), '"x"', "1"),
        (pa.binary(), "null", '"x"'),
    ],
)
def test_a_value_fits_its_column_or_the_event_is_bad(arrow, fits, does_not):
    made = decode(chunk([f'{{"x": {fits}}}'.encode(), f'{{"x": {does_not}}}'.encode()]), one("x", arrow))
    assert (made.rows.tolist(), [place for place, _ in made.bad]) == ([0], [1])
    assert made.table.schema.field("x").type == arrow


def test_of_a_field_that_comes_twice_the_last_counts():
    assert values(decode(chunk([b'{"cents": 1, "cents": 2}']), SCHEMA), "cents") == [2]


def test_an_unknown_field_can_make_an_event_bad():
    made = decode(chunk([b'{"cent": 1}', b'{"cents": 1}']), SCHEMA, strict=True)
    assert (made.rows.tolist(), made.bad) == ([1], [(0, "field 'cent': there is no such column")])


@given(
    st.lists(
        st.binary(max_size=12) | st.sampled_from([b'{"cents": 1}', b'{"paid_at": "2026-01-31"}', b"[]"]),
        max_size=6,
    )
)
def test_every_event_is_a_row_or_bad_and_none_is_both(events):
    made = decode(chunk(events), SCHEMA)
    assert sorted([*made.rows.tolist(), *(place for place, _ in made.bad)]) == list(range(len(events)))


@given(
    st.binary(max_size=40)
    | st.sampled_from(
        [b"[{}]", b"[{},1]", b"{}\n1", b'[{"ok":true}'],
    ),
    st.integers(0, 4),
)
def test_every_place_of_a_body_is_a_row_or_bad(body, count):
    made = decode(chunk(body, count), SCHEMA)
    assert sorted([*made.rows.tolist(), *(place for place, _ in made.bad)]) == list(range(count))


def test_an_arrow_stream_is_cast_exactly_or_its_event_is_bad():
    table = pa.table(
        {
            "cents": pa.array([1, 2**40, 3, 4], pa.int64()),
            "score": [0.5, 0.5, float("inf"), None],
            "paid_at": pa.array([1, 2, 3, 4], pa.timestamp("ms")),
            "more": [1, 2, 3, 4],
        }
    )
    made = decode(chunk(stream_of(table), 4, form="arrow"), SCHEMA)
    assert made.table.schema == SCHEMA.arrow
    assert (made.rows.tolist(), values(made, "cents"), values(made, "score")) == ([0, 3], [1, 4], [0.5, None])
    assert values(made, "paid_at")[1] == datetime(1970, 1, 1, 0, 0, 0, 4_000, UTC)
    assert made.bad == [
        (1, "field 'cents': a value does not fit int32"),
        (2, "field 'score': no finite number of the column's size"),
    ]


def test_what_is_no_arrow_stream_makes_all_its_events_bad():
    body = stream_of(pa.table({"cents": [1, 2]}))
    for broken in (b"", body[:-30], body[:40], b"x" * 100):
        made = decode(chunk(broken, 2, form="arrow"), SCHEMA)
        assert [place for place, _ in made.bad] == [0, 1]
    assert values(decode(chunk(body, 1, form="arrow", skip=1), SCHEMA), "cents") == [2]


def test_rows_of_avro_keep_their_places():
    def avro(_events: Sequence[bytes]):
        rows = [
            {"cents": 1, "amount": Decimal("1.5"), "paid_at": datetime(2026, 1, 31, tzinfo=UTC)},
            {"cents": "x"},
        ]
        return rows, [(1, "no Avro")]

    made = decode(chunk([b"a", b"b", b"c"], form="avro"), SCHEMA, avro=avro)
    assert (values(made, "cents"), values(made, "amount")) == ([1], [Decimal("1.50")])
    assert made.bad == [(1, "no Avro"), (2, "field 'cents': expected int, got str")]


# -- on the way to a stream ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", [b'[{"cents": 1},  {"cents": 2}]', b'{"cents": 1}\n{"cents": 2}\n'])
def test_a_right_body_is_passed_on_as_it_came(body):
    made = encode_json(body, SCHEMA, idempotency_key="k")
    assert (made.count, made.form, made.body, made.events, made.idempotency_key) == (
        2,
        "json",
        body,
        None,
        "k",
    )


def test_events_that_are_split_have_the_keys_of_their_partitions():
    made = encode_json(b'[{"account id": "a1"}, {"cents": 2}]', SCHEMA, SPLIT)
    assert (made.events, made.keys) == ([b'{"account id": "a1"}', b'{"cents": 2}'], [b"a1", b""])
    made = encode_rows([{"account id": "a1", "paid_at": datetime(2026, 1, 31, tzinfo=UTC)}], SCHEMA, SPLIT)
    assert made.events == [b'{"account id":"a1","paid_at":"2026-01-31T00:00:00Z"}']


def test_one_object_over_several_lines_is_one_event():
    made = encode_json(b'{\n "cents": 1\n}', SCHEMA)
    assert (made.count, decode(chunk(made.body or b"", 1), SCHEMA).bad) == (1, [])
    with pytest.raises(DataError, match="one object a line"):
        encode_json(b'{\n"cents": 1\n}\n{"cents": 1}', SCHEMA)


@pytest.mark.parametrize(
    "body", [b'[{"cents": 1}, {"cents": "secret"}]', b'{"cents": 1}\n{"cents": "secret"}']
)
def test_a_batch_with_a_bad_event_is_refused_by_number_and_field(body):
    with pytest.raises(DataError) as told:
        encode_json(body, SCHEMA)
    assert told.value.message == "source 'payments': event 1: field 'cents': expected int, got str"
    assert told.value.facts == {"source": "payments", "event": 1, "field": "cents"}


def test_an_unknown_field_is_refused_with_the_nearest_unless_told_otherwise():
    with pytest.raises(DataError) as told:
        encode_json(b'[{"cents": 1}, {"cent": 1}]', SCHEMA)
    assert (told.value.facts["event"], told.value.hint) == (1, "did you mean 'cents'?")
    with pytest.raises(DataError, match="did you mean 'cents'"):
        encode_rows([{"cent": 1}], SCHEMA)
    with pytest.raises(DataError, match="did you mean 'cents'"):
        encode_rows(pa.table({"cent": [1]}), SCHEMA)
    assert encode_json(b'[{"cent": 1}]', SCHEMA, strict=False).count == 1


@pytest.mark.parametrize("body", [b"", b"[", b"{", b"\xff", b"[1", b'[{"score": NaN}]'])
def test_a_body_that_is_no_json_is_refused(body):
    if body:
        with pytest.raises(DataError):
            encode_json(body, SCHEMA)
    else:
        assert encode_json(body, SCHEMA).count == 0


@pytest.mark.parametrize(
    "row",
    [{"amount": "1.005"}, {"amount": "NaN"}, {"score": float("nan")}, {"paid_at": "x"}, {"cents": True}, {"cents": 1.5},
     {"paid_at": "9999-12-31T23:59:59-05:00"}, 7],
)  # fmt: skip
def test_rows_that_no_column_holds_are_refused(row):
    with pytest.raises(DataError) as told:
        encode_rows([{"cents": 1}, row], SCHEMA)
    assert told.value.facts["event"] == 1


def test_rows_come_back_as_they_went():
    rows = [
        {"account id": "a1", "cents": np.int32(7), "amount": Decimal("12.05"), "score": np.float64(0.5),
         "day": date(2026, 1, 31)},
        {"paid_at": pd.Timestamp("2026-01-31T12:00:00.25+02:00"), "known_at": "ignored", "ok": None},
    ]  # fmt: skip
    made = encode_rows(rows, SCHEMA)
    back = decode(chunk(made.body or b"", made.count), SCHEMA).table.to_pylist()
    assert back[0]["amount"] == Decimal("12.05")
    assert back[0]["day"] == date(2026, 1, 31)
    assert back[1]["paid_at"] == datetime(2026, 1, 31, 10, 0, 0, 250_000, UTC)


@pytest.mark.parametrize("frame", [pa.table, pd.DataFrame, pl.DataFrame])
@pytest.mark.parametrize("split", [False, True])
def test_a_table_goes_as_an_arrow_stream_or_event_by_event(frame, split):
    rows = frame(
        {"account id": ["a1", "b2"], "cents": [1, 2], "score": [0.5, None], "amount": [12.05, 7.0],
         "paid_at": [datetime(2026, 1, 31, tzinfo=UTC)] * 2}
    )  # fmt: skip
    made = encode_rows(rows, SCHEMA, SPLIT if split else Target())
    assert (made.count, made.form) == (2, "json" if split else "arrow")
    given = chunk(made.events) if made.events is not None else chunk(made.body or b"", 2, form="arrow")
    back = decode(given, SCHEMA).table
    assert back["amount"].to_pylist() == [Decimal("12.05"), Decimal("7.00")]
    assert (back["score"].to_pylist(), back["account id"].to_pylist()) == ([0.5, None], ["a1", "b2"])
    assert made.keys == ([b"a1", b"b2"] if split else None)


def test_an_arrow_body_is_passed_on_as_it_came_or_refused():
    body = stream_of(pa.table({"cents": [1, 2]}))
    assert encode_arrow(body, SCHEMA).body == body
    with pytest.raises(DataError, match="event 1: field 'cents'"):
        encode_arrow(stream_of(pa.table({"cents": [1, 2**40]})), SCHEMA)
    with pytest.raises(DataError, match="no Arrow stream"):
        encode_arrow(body[:50], SCHEMA)


def test_texts_of_a_file_become_values():
    row = {
        "account id": "7",
        "cents": "7",
        "amount": "12.05",
        "ok": "true",
        "paid_at": "1769860800000001",
        "day": None,
    }
    made = encode_rows([row], SCHEMA, text=True)
    back = decode(chunk(made.body or b"", 1), SCHEMA).table.to_pylist()[0]
    assert (back["account id"], back["cents"], back["ok"]) == ("7", 7, True)
    assert back["paid_at"] == datetime(2026, 1, 31, 12, 0, 0, 1, UTC)
    with pytest.raises(DataError, match="event 0: field 'cents': expected int, got str"):
        encode_rows([{"cents": "x"}], SCHEMA, text=True)


def test_an_event_that_is_larger_than_the_stream_takes_is_refused():
    with pytest.raises(LimitError, match="event 1 has 221 bytes, and the stream takes 200"):
        encode_rows([{"cents": 1}, {"account id": "x" * 204}], SCHEMA, SPLIT)


def test_a_schema_needs_a_stream_and_the_columns_that_it_names():
    history = InMemory(pa.table({"at": [1]}))
    columns = {"at": UTC_US, "known": UTC_US}
    with pytest.raises(StateError, match=r"stream=Log\(\)"):
        EventSchema.of(Events("s", history, event_time="at"), columns)
    with pytest.raises(MissingColumn, match="known_at 'knwon'"):
        EventSchema.of(Events("s", history, event_time="at", known_at="knwon", stream=Log()), columns)
    with pytest.raises(MissingColumn, match="partition_by 'x'"):
        stream = Kafka("t", partition_by="x")
        EventSchema.of(Events("s", history, event_time="at", known_at="known", stream=stream), columns)
