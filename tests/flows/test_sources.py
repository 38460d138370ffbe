"""The same rows from every kind of source and spine give the same training set."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest
from pyarrow import ipc

import asof
from asof.flows.result import read_manifest
from tests.flows.conftest import HOUR, ROWS, spine_of

ACCOUNT = asof.Entity("account", keys={"account_id": "string"})
SPINE = spine_of([("a", 3), ("b", 3), ("a", 2), ("c", 9)])
COUNTS, SUMS, NEWEST = [2, 1, 1, 0], [12.0, 9.0, 5.0, 0.0], ["y", "x", "y", None]


def _locations(folder: Path) -> dict[str, object]:
    pq.write_table(ROWS.slice(0, 2), folder / "part-1.parquet")
    pq.write_table(ROWS.slice(2), folder / "part-2.parquet")
    pacsv.write_csv(ROWS, folder / "tx.csv")
    with pa.OSFile(str(folder / "tx.arrow"), "wb") as sink, ipc.new_file(sink, ROWS.schema) as writer:
        writer.write_table(ROWS)
    with duckdb.connect(str(folder / "tx.db")) as database:
        database.register("rows", ROWS)
        database.execute("create table tx as select * from rows").fetchall()
    for kind in ("x", "y"):
        (folder / f"hive/kind={kind}").mkdir(parents=True)
    pq.write_table(ROWS.slice(0, 3), folder / "hive/kind=x/0.parquet")
    pq.write_table(ROWS.slice(3), folder / "hive/kind=y/0.parquet")
    return {
        "glob": asof.Parquet("part-*.parquet"),
        "list": asof.Parquet(["part-1.parquet", "part-2.parquet"]),
        "csv": asof.CSV("tx.csv", columns={"amount": "float64", "at": "timestamp"}),
        "arrow": asof.ArrowFile("tx.arrow"),
        "database": asof.DuckDBTable("tx.db", "tx"),
        "hive": asof.Parquet("hive/**/*.parquet", hive=True),
        "memory": asof.InMemory(ROWS),
        "pandas": asof.InMemory(ROWS.to_pandas()),
        "polars": asof.InMemory(pl.from_arrow(ROWS)),
    }


@pytest.mark.parametrize(
    "kind", ["glob", "list", "csv", "arrow", "database", "hive", "memory", "pandas", "polars"]
)
def test_every_kind_of_history_gives_the_same_values(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    source = asof.Events("tx", _locations(tmp_path)[kind], event_time="at")
    view = asof.FeatureView(
        "v", entity=ACCOUNT, source=source, features=[asof.count().over("1d"), asof.sum("amount").over("1d")]
    )
    newest = asof.FeatureView("n", entity=ACCOUNT, source=source, features=[asof.latest("note")])
    table = asof.Project([]).training_set([view, newest], spine=SPINE).table
    assert table["count_1d"].to_pylist() == COUNTS
    assert table["amount_sum_1d"].to_pylist() == SUMS
    assert table["note"].to_pylist() == NEWEST


def test_every_kind_of_spine_gives_the_same_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    pq.write_table(SPINE, "spine.parquet")
    pacsv.write_csv(SPINE, "spine.csv")
    view = asof.FeatureView(
        "v",
        entity=ACCOUNT,
        source=asof.Events("tx", asof.InMemory(ROWS), event_time="at"),
        features=[asof.count().over("1d")],
    )
    spines = [SPINE, SPINE.to_reader(), SPINE.to_pandas(), pl.from_arrow(SPINE), "spine.parquet", Path("spine.csv"),
              "select * from 'spine.parquet'", asof.Parquet("spine.parquet"), asof.InMemory(SPINE)]  # fmt: skip
    for spine in spines:
        assert asof.Project([view]).training_set([view], spine=spine).table["count_1d"].to_pylist() == COUNTS


def test_naive_times_are_read_in_the_zone_that_the_source_declares() -> None:
    source = asof.Events(
        "tx", asof.InMemory(ROWS), event_time="at", zone="America/New_York"
    )  # 01:00 there is 06:00 UTC
    view = asof.FeatureView("v", entity=ACCOUNT, source=source, features=[asof.count().over("1d")])
    spine = pa.table(
        {
            "account_id": ["a", "a"],
            "event_time": pa.array([6 * HOUR, 6 * HOUR + 1], pa.timestamp("us", "UTC")),
        }
    )
    assert asof.Project([view]).training_set([view], spine=spine).table["count_1d"].to_pylist() == [0, 1]


def test_a_delay_says_when_rows_are_known_where_there_is_no_known_at() -> None:
    source = asof.Events("tx", asof.InMemory(ROWS), event_time="at", delay="30m")
    view = asof.FeatureView("v", entity=ACCOUNT, source=source, features=[asof.count().over("1d")])
    spine = pa.table(
        {
            "account_id": ["a"] * 3,
            "event_time": pa.array([HOUR + 1, int(1.5 * HOUR), 3 * HOUR], pa.timestamp("us")),
        }
    )
    assert asof.Project([view]).training_set([view], spine=spine).table["count_1d"].to_pylist() == [0, 1, 2]


def test_a_sequence_column_decides_ties_against_the_order_of_the_file() -> None:
    rows = pa.table(
        {
            "k": ["a"] * 3,
            "v": ["one", "two", "three"],
            "seq": [3, 1, 2],
            "at": pa.array([HOUR] * 3, pa.timestamp("us")),
        }
    )
    entity = asof.Entity("e", keys={"k": "string"})
    spine = pa.table({"k": ["a"], "event_time": pa.array([2 * HOUR], pa.timestamp("us"))})
    for sequence, expected in ((None, "three"), ("seq", "one")):
        source = asof.Events("s", asof.InMemory(rows), event_time="at", sequence=sequence)
        view = asof.FeatureView(
            "v", entity=entity, source=source, features=[asof.latest("v"), asof.last("v")]
        )
        row = asof.Project([view]).training_set([view], spine=spine).table.to_pylist()[0]
        assert (row["v"], row["v_last"]) == (expected, expected)


def test_a_union_maps_columns_and_decides_ties_by_the_order_of_its_sources() -> None:
    card = pa.table({"account_id": ["a"], "amount": [5.0], "at": pa.array([HOUR], pa.timestamp("us"))})
    ach = pa.table({"acct": ["a"], "usd_cents": [700], "sent": pa.array([HOUR], pa.timestamp("us"))})
    cards = asof.Events("card", asof.InMemory(card), event_time="at", columns={"kind": "'card'"})
    achs = asof.Events("ach", asof.InMemory(ach), event_time="sent")
    union = asof.Union(
        "money", [cards, achs.mapped(account_id="acct", amount="usd_cents / 100", kind="'ach'")]
    )
    features = [
        asof.sum("amount").over("1d"),
        asof.last("kind"),
        asof.count().where("kind = 'ach'").over("1d").named("achs"),
    ]
    view = asof.FeatureView("v", entity=ACCOUNT, source=union, features=features)
    row = asof.Project([view]).training_set([view], spine=spine_of([("a", 3)])).table.to_pylist()[0]
    assert (row["amount_sum_1d"], row["kind_last"], row["achs"]) == (12.0, "ach", 1)


def test_the_same_inputs_give_the_same_file_byte_for_byte(bank: Path) -> None:
    source = asof.Events("tx", asof.Parquet(str(bank / "tx.parquet")), event_time="at")
    view = asof.FeatureView(
        "v", entity=ACCOUNT, source=source, features=[asof.count().over("1d"), asof.last("note", 2)]
    )
    files = []
    for name in ("one", "two"):
        made = asof.Project([]).training_set([view], spine=SPINE)
        files += [made.write(bank / f"{name}{ending}") for ending in (".parquet", ".arrow")]
    assert files[0].read_bytes() == files[2].read_bytes()
    assert files[1].read_bytes() == files[3].read_bytes()
    assert read_manifest(files[0]) == made.manifest.to_json()


def test_a_manifest_changes_with_the_definitions_the_source_and_the_spine_only(bank: Path) -> None:
    def digest(window: str, owner: str, spine: pa.Table) -> str:
        source = asof.Events("tx", asof.Parquet(str(bank / "tx.parquet")), event_time="at", owner=owner)
        view = asof.FeatureView(
            "v", entity=ACCOUNT, source=source, features=[asof.count().over(window).named("n")], owner=owner
        )
        return asof.Project([]).training_set([view], spine=spine).manifest.digest

    first = digest("1d", "risk", SPINE)
    assert digest("1d", "growth", SPINE) == first
    assert digest("2d", "risk", SPINE) != first
    assert digest("1d", "risk", SPINE.slice(0, 3)) != first
    pq.write_table(ROWS.slice(0, 4), bank / "tx.parquet")
    assert digest("1d", "risk", SPINE) != first


def test_frames_of_other_libraries_come_back(bank: Path) -> None:
    source = asof.Events("tx", asof.Parquet(str(bank / "tx.parquet")), event_time="at")
    view = asof.FeatureView("v", entity=ACCOUNT, source=source, features=[asof.count().over("1d")])
    made = asof.Project([]).training_set([view], spine=SPINE)
    assert isinstance(made.to_pandas(), pd.DataFrame)
    assert isinstance(made.to_polars(), pl.DataFrame)
    assert made.to_polars()["count_1d"].to_list() == COUNTS


def test_only_the_folders_that_can_matter_are_read(tmp_path: Path) -> None:
    for day in range(1, 29):
        folder = tmp_path / f"day=2024-01-{day:02d}"
        folder.mkdir()
        at = pa.array([datetime(2024, 1, day, 12, tzinfo=UTC)], pa.timestamp("us", "UTC"))
        pq.write_table(pa.table({"account_id": ["a"], "at": at}), folder / "0.parquet")
    source = asof.Events("tx", asof.Parquet(str(tmp_path / "*/*.parquet"), hive=True), event_time="at")
    view = asof.FeatureView("v", entity=ACCOUNT, source=source, features=[asof.count().over("3d")])
    spine = pa.table({"account_id": ["a"], "event_time": [datetime(2024, 1, 20, tzinfo=UTC)]})
    made = asof.Project([]).training_set([view], spine=spine)
    assert made.table["count_3d"].to_pylist() == [3]
    assert made.report.sources[0].rows <= 6  # three days and a margin of a day on both sides
