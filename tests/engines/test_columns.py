"""What columns are: bytes of values, different values, bytes in files, and what derived columns are made of."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import asof
from asof.define.source import Mapped
from asof.engines.columns import Column, Lineage, Stored, sample_columns, stored_columns
from asof.engines.duckdb import DuckDBEngine, open_database
from asof.engines.scan import Scan
from asof.errors import InvalidExpression

ROWS = pa.table(
    {
        "note": ["ab", "ab", "abcdef", None],
        "city": pa.array(["x", "y", "z", "w"]).dictionary_encode(),
        "amount": pa.array([Decimal("1.00")] * 4, pa.decimal128(12, 2)),
        "big": pa.array([Decimal("1.00")] * 4, pa.decimal128(30, 2)),
        "small": pa.array([1, 2, 3, 4], pa.int16()),
        "flag": [True, False, True, False],
        "tags": [["a"], [], None, ["b"]],
        "at": pa.array([1, 2, 3, 4], pa.timestamp("us")),
    }
)


@pytest.fixture
def engine(tmp_path: Path) -> DuckDBEngine:
    return DuckDBEngine(tmp_path, open_database(threads=2))


def events(history: object, **more: object) -> asof.Events:
    return asof.Events("tx", history, event_time="at", **more)


def test_values_are_as_wide_as_their_type_and_texts_as_on_average(engine: DuckDBEngine) -> None:
    names = ("note", "city", "amount", "big", "small", "flag", "tags", "at", "gone")
    scan = Scan(Mapped(events(asof.InMemory(ROWS))), (), names)
    found = sample_columns(engine, [scan], ["note", "city", "flag"])
    # note: 4 + ceil((2 + 2 + 6) / 3); two values in four rows repeat, four do not; "gone" is in no source
    assert found == {
        "note": Column(8, 2), "city": Column(5), "amount": Column(8), "big": Column(16), "small": Column(4),
        "flag": Column(1, 2), "tags": Column(16), "at": Column(8),
    }  # fmt: skip


def test_columns_of_a_union_are_the_larger_ones_that_all_parts_have(engine: DuckDBEngine) -> None:
    long = pa.table({"note": ["abcdefghij"] * 9, "at": pa.array([1] * 9, pa.timestamp("us"))})
    scans = [Scan(Mapped(events(asof.InMemory(held))), (), ("note", "amount")) for held in (ROWS, long)]
    assert sample_columns(engine, scans, ["note"]) == {"note": Column(14, 2)}
    assert sample_columns(engine, scans, []) == {"note": Column(14)}


def test_an_empty_source_has_columns_too(engine: DuckDBEngine) -> None:
    scan = Scan(Mapped(events(asof.InMemory(ROWS.slice(0, 0)))), (), ("note", "small"))
    assert sample_columns(engine, [scan], ["note"]) == {"note": Column(4, 0), "small": Column(4)}


def test_files_tell_how_they_store_columns(engine: DuckDBEngine, tmp_path: Path) -> None:
    pq.write_table(ROWS, tmp_path / "tx-1.parquet")
    pq.write_table(ROWS, tmp_path / "tx-2.parquet")
    found = stored_columns(engine, events(asof.Parquet("tx-*.parquet")))
    footer = pq.read_metadata(tmp_path / "tx-1.parquet").row_group(0)
    assert isinstance(found, Stored)
    assert found.columns["note"] == footer.column(0).total_compressed_size / 4
    assert set(found.columns) == set(ROWS.column_names)
    (tmp_path / "tx.csv").write_text("note,at\nab,2025-01-01 00:00:00\n")
    assert stored_columns(engine, events(asof.CSV("tx.csv"))) == Stored(whole_bytes=31)
    assert stored_columns(engine, events(asof.InMemory(ROWS))) is None


def test_an_expression_reads_derived_columns_and_what_they_are_made_of(engine: DuckDBEngine) -> None:
    source = events(asof.InMemory(ROWS), columns={"who": "lower(Note)", "note": "note || city"})
    lineage = Lineage(engine, Mapped(source, (("party", "who || flag::varchar"),)))
    assert lineage.columns("party") == {"party", "who", "flag", "note"}
    assert lineage.columns("upper(note)") == {"note", "city"}
    assert lineage.columns("small") == {"small"}
    with pytest.raises(InvalidExpression):
        lineage.columns("small; drop table x")
