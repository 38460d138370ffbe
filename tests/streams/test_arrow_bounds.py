"""Arrow streams are looked at before they are unpacked, and events that all are bad end."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from asof.errors import DataError
from asof.streams.arrow_bounds import check_bounds
from asof.streams.decode import decode
from asof.streams.encode import encode_arrow
from asof.streams.schema import EventSchema
from asof.streams.stream import Chunk

SCHEMA = EventSchema(
    "payments",
    (("account", pa.string()), ("at", pa.timestamp("us", "UTC")), ("known", pa.timestamp("us", "UTC"))),
    "at",
    "known",
)


def stream_of(table: pa.Table, compression: Any = None) -> bytes:
    sink = io.BytesIO()
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with pa.ipc.new_stream(sink, table.schema, options=options) as writer:
        writer.write_table(table)
    return sink.getvalue()


def test_a_plain_stream_is_taken_with_dictionaries_too() -> None:
    check_bounds(stream_of(pa.table({"a": [1, 2], "b": pa.array(["x", "x"]).dictionary_encode()})))


@pytest.mark.parametrize("compression", ["zstd", "lz4"])
def test_a_compressed_stream_is_refused_before_it_is_unpacked(compression: str) -> None:
    with pytest.raises(ValueError, match="compressed"):
        check_bounds(stream_of(pa.table({"a": np.zeros(100_000)}), compression))


def test_more_rows_than_a_batch_may_have_are_refused_whatever_they_weigh() -> None:
    with pytest.raises(ValueError, match="more than 1,000,000 rows"):
        check_bounds(stream_of(pa.table({"a": pa.nulls(2_000_000)})))
    with pytest.raises(DataError, match="no Arrow stream that is taken"):
        encode_arrow(stream_of(pa.table({"account": pa.nulls(2_000_000)})), SCHEMA)


def test_every_cut_of_a_stream_is_read_or_refused() -> None:
    body = stream_of(pa.table({"a": [1, 2, 3]}))
    for end in range(len(body)):
        try:
            check_bounds(body[:end])
        except (ValueError, pa.ArrowException):
            continue


def test_rows_that_all_are_of_another_type_are_refused_at_push() -> None:
    with pytest.raises(DataError):
        encode_arrow(stream_of(pa.table({"account": [1, 2]})), SCHEMA)


def test_an_empty_table_is_no_event() -> None:
    assert encode_arrow(stream_of(pa.table({"account": pa.array([], pa.int64())})), SCHEMA).count == 0


def test_rows_that_all_are_of_another_type_are_bad_ones_where_a_worker_reads_them() -> None:
    chunk = Chunk(0, np.arange(2), np.array([5, 5]), "arrow", stream_of(pa.table({"account": [1, 2]})))
    found = decode(chunk, SCHEMA)
    assert found.table.num_rows == 0
    assert [place for place, _ in found.bad] == [0, 1]
