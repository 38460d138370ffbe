"""History that a stream has landed: which files count and in which order, and how they follow the declared history."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import csv, feather

import asof
from asof.define.source import Mapped
from asof.engines.columns import stored_columns
from asof.engines.duckdb import DuckDBEngine, open_database
from asof.engines.landed import LandedFile, choose_files, landed_files, parse_landed, united_sql
from asof.engines.scan import Scan
from asof.errors import BackendError, CorruptSource, SourceNotFound
from asof.types import DType

STREAM = asof.Log(partition_by="account_id")
TIME = pa.timestamp("us", "UTC")
COLUMNS = {"account_id": "string", "amount": "decimal(18,2)", "at": "timestamp", "known_at": "timestamp"}
SCHEMA = pa.schema(
    [("account_id", pa.string()), ("amount", pa.decimal128(18, 2)), ("at", TIME), ("known_at", TIME)]
)
Row = tuple[str | None, str | None, int, int]
OLD: list[Row] = [("a", "1.00", 1, 1), ("b", "2.00", 2, 2), ("a", "3.00", 3, 3)]


def name(hour: str, partition: int, start: int, end: int) -> str:
    return f"hour={hour}/p{partition:05}-{start:020}-{end:020}.parquet"


def rows(data: Sequence[Row]) -> pa.Table:
    columns = [list(column) for column in zip(*data, strict=True)] if data else [[]] * 4
    columns[1] = [None if value is None else Decimal(value) for value in columns[1]]
    times = [[value * 1_000_000 for value in column] for column in columns[2:]]
    return pa.table(
        [pa.array(c, t) for c, t in zip([*columns[:2], *times], SCHEMA.types, strict=True)], SCHEMA
    )


def land(
    root: Path, hour: str, partition: int, start: int, data: Sequence[Row] | pa.Table, source: str = "tx"
) -> Path:
    """A file as a worker writes it."""
    table = data if isinstance(data, pa.Table) else rows(data)
    n = table.num_rows
    table = table.append_column("_asof_partition", pa.array([partition] * n, pa.int32()))
    table = table.append_column("_asof_offset", pa.array(range(start, start + n), pa.int64()))
    file = root / ".asof" / "landed" / source / name(hour, partition, start, start + n)
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, file)
    return file


@pytest.fixture
def engine(tmp_path: Path) -> DuckDBEngine:
    return DuckDBEngine(tmp_path, open_database(threads=2), tmp_path / ".asof" / "landed")


def source(history: object, **more: object) -> asof.Events:
    return asof.Events(
        "tx", history, **{"event_time": "at", "known_at": "known_at", "stream": STREAM, **more}
    )


def amounts(engine: DuckDBEngine, events: asof.Events) -> list[str]:
    return [f"{value:.2f}" for value in engine.load(Mapped(events))["amount"].to_pylist()]


H = "2026-03-01T09"
CHAINS: dict[str, tuple[list[tuple[str, int, int, int]], list[int]]] = {
    "one after the other": ([(H, 0, 0, 10), (H, 0, 10, 15)], [0, 1]),
    "in the order of offsets, whatever the listing": ([(H, 0, 10, 15), (H, 0, 0, 10)], [1, 0]),
    "a gap is no end": ([(H, 0, 0, 10), (H, 0, 90, 95)], [0, 1]),
    "a chain may begin anywhere": ([(H, 3, 500, 510)], [0]),
    "a merged file stands for its pieces": ([(H, 0, 0, 5), (H, 0, 5, 10), (H, 0, 0, 10), (H, 0, 10, 11)], [2, 3]),
    "what was landed twice counts once": ([(H, 0, 0, 10), (H, 0, 0, 7), (H, 0, 7, 10)], [0]),
    "what begins within another repeats it": ([(H, 0, 0, 10), (H, 0, 5, 10), (H, 0, 10, 12)], [0, 2]),
    "nothing is lost between pieces that overlap": (
        [(H, 0, 0, 1), (H, 0, 1, 4), (H, 0, 1, 2), (H, 0, 2, 5), (H, 0, 5, 6)], [0, 2, 3, 4],
    ),
    "partitions have offsets of their own": ([(H, 0, 0, 10), (H, 1, 0, 10)], [0, 1]),
    "an hour before a partition": (
        [("2026-03-01T10", 0, 5, 9), (H, 1, 0, 4), ("2026-03-01T10", 1, 4, 9), (H, 0, 0, 5)], [3, 1, 0, 2],
    ),
    "nothing": ([], []),
}  # fmt: skip


@pytest.mark.parametrize("what", CHAINS)
def test_files_of_a_partition_tell_every_event_once_and_in_order(what: str) -> None:
    given, expected = CHAINS[what]
    paths = [Path("tx") / name(*each) for each in given]
    assert choose_files(paths) == [paths[place] for place in expected]


@pytest.mark.parametrize(
    "path",
    [
        f"hour={H}/p00000-{0:020}-{10:020}.parquet.tmp",
        f"hour={H}/.p00000-{0:020}-{10:020}.parquet",
        f"hour={H}/p0-0-10.parquet",
        f"hour=2026-03-01/p00000-{0:020}-{10:020}.parquet",
        f"p00000-{0:020}-{10:020}.parquet",
        f"hour={H}/p00000-{10:020}-{10:020}.parquet",
        f"hour={H}/p00000-{11:020}-{10:020}.parquet",
    ],
)
def test_other_files_do_not_count(path: str) -> None:
    assert parse_landed(Path("tx") / path) is None
    assert choose_files([Path("tx") / path]) == []


def test_a_name_tells_what_a_file_holds_and_the_other_way() -> None:
    file = LandedFile(H, 12, 1 << 61, (1 << 61) + 7)
    assert parse_landed(Path("tx") / file.path) == file
    assert file.path == f"hour={H}/p00012-02305843009213693952-02305843009213693959.parquet"


def test_a_folder_that_is_not_there_has_no_files(tmp_path: Path) -> None:
    assert landed_files(tmp_path / "none") == []


def histories(root: Path) -> dict[str, object]:
    old = rows(OLD)
    pq.write_table(old, root / "old.parquet")
    feather.write_feather(old, root / "old.arrow", compression="uncompressed")
    csv.write_csv(old, root / "old.csv")
    with duckdb.connect(str(root / "old.duckdb")) as database:
        database.register("old", old)
        database.execute("create table tx as select * from old")
    return {
        "Parquet": asof.Parquet("old.parquet"),
        "CSV": asof.CSV("old.csv", columns=COLUMNS),
        "ArrowFile": asof.ArrowFile("old.arrow"),
        "DuckDBTable": asof.DuckDBTable("old.duckdb", "tx"),
        "InMemory": asof.InMemory(old),
    }


@pytest.mark.parametrize("kind", ["Parquet", "CSV", "ArrowFile", "DuckDBTable", "InMemory"])
def test_landed_rows_follow_every_kind_of_history(kind: str, engine: DuckDBEngine, tmp_path: Path) -> None:
    events = source(histories(tmp_path)[kind])
    before = engine.count_rows(events)
    again = DuckDBEngine(tmp_path, open_database(threads=2), engine.landing)
    land(tmp_path, "2026-03-01T10", 0, 1, [("a", "6.00", 6, 6)])
    land(tmp_path, H, 1, 0, [("b", "5.00", 5, 5)])
    land(tmp_path, H, 0, 0, [("a", "4.00", 4, 4)])
    assert amounts(again, events) == ["1.00", "2.00", "3.00", "4.00", "5.00", "6.00"]
    assert again.load(Mapped(events)).schema == SCHEMA
    assert again.schema(Mapped(events)) == dict(zip(SCHEMA.names, SCHEMA.types, strict=True))
    assert again.count_rows(events) == before + 3
    again.close()


def test_without_a_landing_or_a_stream_nothing_is_added(engine: DuckDBEngine, tmp_path: Path) -> None:
    land(tmp_path, H, 0, 0, [("a", "4.00", 4, 4)])
    held = asof.InMemory(rows(OLD))
    assert amounts(DuckDBEngine(tmp_path, open_database()), source(held)) == ["1.00", "2.00", "3.00"]
    # both are one source as far as values go, and yet each is read as it is
    assert source(held) == source(held, stream=None)
    assert amounts(engine, source(held)) == ["1.00", "2.00", "3.00", "4.00"]
    assert amounts(engine, source(held, stream=None)) == ["1.00", "2.00", "3.00"]
    assert (engine.count_rows(source(held)), engine.count_rows(source(held, stream=None))) == (4, 3)


def test_a_source_that_is_only_landed_is_empty_at_first(engine: DuckDBEngine, tmp_path: Path) -> None:
    events = source(asof.Landed(columns=COLUMNS), columns={"twice": "amount * 2"})
    empty = engine.load(Mapped(events))
    assert (empty.num_rows, empty.schema.names) == (0, [*SCHEMA.names, "twice"])
    assert (engine.count_rows(events), engine.snapshots(events)) == (0, ())
    assert engine.raw_schema(events) == dict(zip(SCHEMA.names, SCHEMA.types, strict=True))
    assert stored_columns(engine, events) is None
    again = DuckDBEngine(tmp_path, open_database(), engine.landing)
    land(tmp_path, H, 0, 0, [("a", "4.00", 4, 4), ("b", None, 5, 5)])
    assert again.load(Mapped(events))["twice"].to_pylist() == [Decimal("8.00"), None]
    assert again.load(Mapped(events)).schema == empty.schema
    assert again.count_rows(events) == 2


def test_derived_columns_are_made_of_both_and_raw_ones_are_told_without_them(
    engine: DuckDBEngine, tmp_path: Path
) -> None:
    land(tmp_path, H, 0, 0, [("a", "4.00", 4, 4)])
    events = source(asof.InMemory(rows(OLD)), columns={"amount": "amount::double + 1", "big": "amount > 3"})
    assert engine.load(Mapped(events))["big"].to_pylist() == [False, False, False, True]
    assert engine.schema(Mapped(events))["amount"] == pa.float64()
    assert engine.raw_schema(events) == dict(zip(SCHEMA.names, SCHEMA.types, strict=True))


def test_columns_go_by_name_and_are_cast_and_missing_ones_are_null(
    engine: DuckDBEngine, tmp_path: Path
) -> None:
    """An older file has fewer columns, a newer one more, in another order, and of other types."""
    land(tmp_path, H, 0, 0, rows([("a", "4.00", 4, 4)]).drop_columns(["amount"]))
    new = rows([("b", "5.00", 5, 5)]).select(["known_at", "at", "amount", "account_id"])
    new = new.set_column(2, "Amount", pa.array([5], pa.int32())).append_column("more", pa.array(["x"]))
    land(tmp_path, H, 0, 1, new)
    found = engine.load(Mapped(source(asof.InMemory(rows(OLD)))))
    assert found.schema == SCHEMA
    assert found["amount"].to_pylist() == [
        Decimal("1.00"),
        Decimal("2.00"),
        Decimal("3.00"),
        None,
        Decimal("5.00"),
    ]
    assert found["account_id"].to_pylist() == ["a", "b", "a", "a", "b"]
    assert found["at"].to_pylist()[3:] == [
        datetime(1970, 1, 1, 0, 0, second, tzinfo=UTC) for second in (4, 5)
    ]


def test_a_column_without_a_type_and_one_of_few_words_take_what_comes(
    engine: DuckDBEngine, tmp_path: Path
) -> None:
    with duckdb.connect(str(tmp_path / "old.duckdb")) as database:
        database.execute(
            "create table tx as select 'x'::enum('x', 'y') AS word, now() AS at, now() AS known_at"
        )
    nothing = rows(OLD[:1]).set_column(1, "amount", pa.nulls(1))
    new = rows([("b", "5.00", 5, 5)]).append_column("word", pa.array(["z"]))
    land(tmp_path, H, 0, 0, new)
    assert engine.load(Mapped(source(asof.DuckDBTable("old.duckdb", "tx"))))["word"].to_pylist() == ["x", "z"]
    assert engine.load(Mapped(source(asof.InMemory(nothing))))["amount"].to_pylist() == [
        None,
        Decimal("5.00"),
    ]
    engine.close()


def test_folders_of_a_hive_history_are_columns_and_those_of_landed_files_are_not(
    engine: DuckDBEngine, tmp_path: Path
) -> None:
    (tmp_path / "old" / "region=eu").mkdir(parents=True)
    pq.write_table(rows(OLD), tmp_path / "old" / "region=eu" / "a.parquet")
    land(tmp_path, H, 0, 0, rows([("a", "4.00", 4, 4)]).append_column("region", pa.array(["us"])))
    found = engine.load(Mapped(source(asof.Parquet("old/*/*.parquet", hive=True))))
    assert found.schema.names == [*SCHEMA.names, "region"]
    assert found["region"].to_pylist() == ["eu", "eu", "eu", "us"]


def test_identities_of_a_source_are_those_of_its_landed_files_too(
    engine: DuckDBEngine, tmp_path: Path
) -> None:
    pq.write_table(rows(OLD), tmp_path / "old.parquet")
    events = source(asof.Parquet("old.parquet"))
    alone = engine.snapshots(events)
    file = land(tmp_path, H, 0, 0, [("a", "4.00", 4, 4)])
    land(tmp_path, H, 0, 0, [("a", "4.00", 4, 4)], source="another")
    assert engine.snapshots(events) == alone  # of what this run has found
    found = DuckDBEngine(tmp_path, open_database(), engine.landing).snapshots(events)
    assert found[:-1] == alone
    assert (found[-1].name, found[-1].size_bytes) == (
        f".asof/landed/tx/{name(H, 0, 0, 1)}",
        file.stat().st_size,
    )
    assert not engine.snapshots(source(asof.Parquet("old.parquet"), stream=None))[1:]


def test_a_run_reads_what_it_has_found_first(engine: DuckDBEngine, tmp_path: Path) -> None:
    events = source(asof.Landed(columns=COLUMNS))
    land(tmp_path, H, 0, 0, [("a", "4.00", 4, 4)])
    assert amounts(engine, events) == ["4.00"]
    land(tmp_path, H, 0, 1, [("a", "5.00", 5, 5)])
    assert (amounts(engine, events), engine.count_rows(events)) == (["4.00"], 1)
    assert len(engine.snapshots(events)) == 1


def test_a_history_without_files_stays_an_error(engine: DuckDBEngine, tmp_path: Path) -> None:
    land(tmp_path, H, 0, 0, [("a", "4.00", 4, 4)])
    with pytest.raises(
        SourceNotFound, match=r"no file matches 'none/\*\.parquet'\nhint: history=Landed\(columns="
    ):
        engine.schema(Mapped(source(asof.Parquet("none/*.parquet"))))


def test_a_landed_file_that_is_cut_off_is_told(engine: DuckDBEngine, tmp_path: Path) -> None:
    file = land(tmp_path, H, 0, 0, [("a", "4.00", 4, 4)])
    file.write_bytes(file.read_bytes()[:-5])
    with pytest.raises(CorruptSource, match="is half-written"):
        engine.schema(Mapped(source(asof.Landed(columns=COLUMNS))))


def test_files_that_are_merged_while_a_run_reads_them_can_be_read_by_the_next(
    engine: DuckDBEngine, tmp_path: Path
) -> None:
    events = source(asof.Landed(columns=COLUMNS))
    pieces = [land(tmp_path, H, 0, 0, [("a", "4.00", 4, 4)]), land(tmp_path, H, 0, 1, [("a", "5.00", 5, 5)])]
    assert amounts(engine, events) == ["4.00", "5.00"]
    land(tmp_path, H, 0, 0, [("a", "4.00", 4, 4), ("a", "5.00", 5, 5)])
    for piece in pieces:
        piece.unlink()
    for ask in (engine.load, lambda _: engine.snapshots(events)):
        with pytest.raises(BackendError) as caught:
            ask(Mapped(events))
        assert caught.value.retryable
    assert "it has been merged with others" in str(caught.value)
    again = DuckDBEngine(tmp_path, open_database(), engine.landing)
    assert amounts(again, events) == ["4.00", "5.00"]
    assert len(again.snapshots(events)) == 1


def test_columns_of_landed_files_count_in_what_a_source_stores(engine: DuckDBEngine, tmp_path: Path) -> None:
    pq.write_table(rows(OLD), tmp_path / "old.parquet")
    alone = stored_columns(engine, source(asof.Parquet("old.parquet"), stream=None))
    land(tmp_path, H, 0, 0, [(f"account {i}", "4.00", 4, 4) for i in range(1000)])
    both = stored_columns(engine, source(asof.Parquet("old.parquet")))
    assert alone is not None
    assert both is not None
    assert "_asof_offset" in both.columns
    assert both.columns["account_id"] < alone.columns["account_id"]


def numbers(first: int, n: int) -> pa.Table:
    at = pa.array(np.arange(first, first + n) * 1000, TIME)
    return pa.table({"account_id": pa.array(np.arange(first, first + n) % 97), "at": at, "known_at": at})


@pytest.mark.parametrize("kind", ["Parquet", "InMemory"])
def test_the_order_of_a_million_rows_is_kept_whatever_is_asked(
    kind: str, engine: DuckDBEngine, tmp_path: Path
) -> None:
    pq.write_table(numbers(0, 500_000), tmp_path / "old.parquet", row_group_size=40_000)
    for part in range(10):
        land(tmp_path, f"2026-03-01T{part:02}", 0, part * 50_000, numbers(500_000 + part * 50_000, 50_000))
    held = asof.Parquet("old.parquet") if kind == "Parquet" else asof.InMemory(numbers(0, 500_000))
    scan = Scan(Mapped(source(held)), (("account_id", DType("int64")),), predicates=("account_id < 50",))
    whole = np.concatenate([batch["event_us"].to_numpy() for batch in engine.read(scan, 65_536)[1]])
    assert (whole == np.arange(1_000_000) * 1000).all()
    inner = Scan(
        Mapped(source(held, columns={"low": "account_id < 50"})),
        (("account_id % 7", DType("int64")),),
        ("low",),
    )
    some = engine.summarize([inner], "SELECT event_us FROM asof_rows WHERE v0")["event_us"].to_numpy()
    assert (some == np.flatnonzero(np.arange(1_000_000) % 97 < 50) * 1000).all()


def test_filters_reach_both_the_declared_and_the_landed_files(engine: DuckDBEngine, tmp_path: Path) -> None:
    pq.write_table(numbers(0, 10_000), tmp_path / "old.parquet", row_group_size=1_000)
    land(tmp_path, H, 0, 0, numbers(10_000, 10_000))
    sql = engine._source(Mapped(source(asof.Parquet("old.parquet")))).sql
    with engine._cursor("plan") as cursor:
        plan = str(cursor.execute(f"EXPLAIN SELECT known_at FROM {sql} WHERE account_id = 5").fetchall())
    assert (plan.count("Function: READ_PARQUET"), plan.count("Filters: account_id = 5")) == (2, 2)
    assert plan.count("Projections: known_at") == 2
    assert "_asof_offset" not in plan


def test_the_statement_of_both_is_as_written() -> None:
    made = united_sql("a", {"x": "BIGINT", "y": "ENUM('b')"}, "b", {"x": "BIGINT", "Y": "VARCHAR"})
    assert made == '(SELECT "x", "y" FROM a UNION ALL SELECT "x", "Y" AS "y" FROM b)'


def test_a_training_set_counts_what_was_landed(tmp_path: Path, engine: DuckDBEngine) -> None:
    land(tmp_path, H, 0, 0, [("a", "4.00", 4, 5), ("b", "7.00", 5, 6)])
    account = asof.Entity("account", keys={"account_id": "string"})
    view = asof.FeatureView(
        "v", entity=account, source=source(asof.InMemory(rows(OLD))), freshness="60s",
        features=[asof.sum("amount").over("1d"), asof.latest("amount")],
    )  # fmt: skip

    class Here(asof.Project):
        def engine(self) -> DuckDBEngine:
            return engine

    at = pa.array([4_500_000, 5_000_001, 9_000_000], TIME)
    spine = pa.table({"account_id": ["a", "a", "b"], "event_time": at})
    made = Here([view]).training_set([view], spine=spine)
    assert made.table["amount_sum_1d"].to_pylist() == [Decimal("4.00"), Decimal("8.00"), Decimal("9.00")]
    assert made.table["amount"].to_pylist() == [Decimal("3.00"), Decimal("4.00"), Decimal("7.00")]
