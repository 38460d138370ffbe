"""The handbook example: hand-made transactions always, a slice of the real ones where they are."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from threadpoolctl import threadpool_limits

import asof
from examples.fraud_handbook.__main__ import build, main
from examples.fraud_handbook.definitions import fraud_handbook
from examples.fraud_handbook.metrics import card_precision
from examples.fraud_handbook.models import compare, format_table, known_compromised, split_rows

ROOT = Path(__file__).parents[2]
SHARED = Path(os.environ.get("ASOF_SHARED_DATA", ROOT.parent / "shared" / "data"))
REAL = SHARED / "fraud-handbook" / "transactions.parquet"
DAY_S = 86_400
TYPES = {
    "TRANSACTION_ID": pa.int32(), "TX_DATETIME": pa.timestamp("us"), "CUSTOMER_ID": pa.int16(),
    "TERMINAL_ID": pa.int16(), "TX_AMOUNT": pa.float64(), "TX_FRAUD": pa.int8(),
}  # fmt: skip


def transactions(rows: list[tuple[str, int, int, float, int]]) -> pa.Table:
    """Rows of (time, customer, terminal, amount, fraud)."""
    times, *others = zip(*rows, strict=True)
    columns = [range(len(rows)), [datetime.fromisoformat(time) for time in times], *others]
    arrays = [pa.array(column, dtype) for column, dtype in zip(columns, TYPES.values(), strict=True)]
    return pa.table(dict(zip(TYPES, arrays, strict=True)))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rows = [
        ("2018-06-01 12:00:00", 1, 9, 10.0, 1),  # 0  a Friday
        ("2018-06-02 06:59:59", 1, 9, 20.0, 0),  # 1  Saturday, the last second of the night
        ("2018-06-02 07:00:00", 2, 9, 60.0, 0),  # 2  Saturday, no longer night
        ("2018-06-02 12:00:00", 1, 9, 30.0, 0),  # 3  exactly a day after row 0: row 0 is out of (t - 1d, t]
        (
            "2018-06-08 12:00:00",
            1,
            9,
            40.0,
            1,
        ),  # 4  exactly 7 days after row 0: that one is in (t - 8d, t - 7d]
        (
            "2018-06-09 12:00:00",
            1,
            9,
            50.0,
            0,
        ),  # 5  rows 1, 2, 3 are in the terminal's day, row 0 is out of it
        ("2018-06-09 12:00:00", 1, 8, 90.0, 0),  # 6  the same second, another terminal, which has no history
    ]
    pq.write_table(transactions(rows), tmp_path / "transactions.parquet")
    return tmp_path


def test_flags_and_windows_of_hand_made_transactions(folder: Path) -> None:
    table = build(folder, quiet=True).table
    got = {name: table[name].to_pylist() for name in fraud_handbook.names}
    assert got == {
        "TX_DURING_WEEKEND": [0, 1, 1, 1, 0, 1, 1],
        "TX_DURING_NIGHT": [0, 1, 0, 0, 0, 0, 0],
        "CUSTOMER_ID_NB_TX_1DAY_WINDOW": [1, 2, 1, 2, 1, 2, 2],
        "CUSTOMER_ID_AVG_AMOUNT_1DAY_WINDOW": [10, 15, 60, 25, 40, 70, 70],
        "CUSTOMER_ID_NB_TX_7DAY_WINDOW": [1, 2, 1, 3, 3, 3, 3],
        "CUSTOMER_ID_AVG_AMOUNT_7DAY_WINDOW": [10, 15, 60, 20, 30, 60, 60],
        "CUSTOMER_ID_NB_TX_30DAY_WINDOW": [1, 2, 1, 3, 4, 6, 6],
        "CUSTOMER_ID_AVG_AMOUNT_30DAY_WINDOW": [10, 15, 60, 20, 25, 40, 40],
        "TERMINAL_ID_NB_TX_1DAY_WINDOW": [0, 0, 0, 0, 1, 3, 0],
        "TERMINAL_ID_RISK_1DAY_WINDOW": [0, 0, 0, 0, 1, 0, 0],
        "TERMINAL_ID_NB_TX_7DAY_WINDOW": [0, 0, 0, 0, 1, 4, 0],
        "TERMINAL_ID_RISK_7DAY_WINDOW": [0, 0, 0, 0, 1, 0.25, 0],
        "TERMINAL_ID_NB_TX_30DAY_WINDOW": [0, 0, 0, 0, 1, 4, 0],
        "TERMINAL_ID_RISK_30DAY_WINDOW": [0, 0, 0, 0, 1, 0.25, 0],
    }


def test_command_writes_the_id_and_the_14_features(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = folder / "features.parquet"
    assert main(["--data", str(folder), "--out", str(out)]) == 0
    assert pq.read_schema(out).names == ["TRANSACTION_ID", *fraud_handbook.names]
    assert pq.read_metadata(out).num_rows == 7
    told = capsys.readouterr()
    assert told.out == f"{out}\n"
    assert "7 of 7 spine rows" in told.err


@pytest.mark.parametrize(
    ("column", "message"),
    [("TX_FRAUD", "has no column 'TX_FRAUD'"), ("TX_DATETIME", "no time column 'TX_DATETIME'")],
)
def test_file_without_a_column_is_told_and_nothing_written(
    folder: Path, capsys: pytest.CaptureFixture[str], column: str, message: str
) -> None:
    file = folder / "transactions.parquet"
    pq.write_table(pq.read_table(file).drop_columns([column]), file)
    out = folder / "features.parquet"
    assert main(["--data", str(folder), "--out", str(out), "--quiet"]) == 1
    assert message in capsys.readouterr().err
    assert not out.exists()


def test_folder_without_the_file_says_where_it_comes_from(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--data", str(tmp_path), "--models"]) == 1
    assert "simulated-data-raw" in capsys.readouterr().err


def test_command_without_an_aim_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["--data", str(tmp_path)])
    assert stopped.value.code == 2


def test_folder_is_a_project(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRAUD_HANDBOOK_DATA", str(folder))
    project = asof.open(ROOT / "examples" / "fraud_handbook", meter=asof.Project().meter)
    assert project.check() == []
    spine = str(folder / "transactions.parquet")
    assert project.training_set("fraud_handbook", spine=spine, time="TX_DATETIME").table.num_rows == 7


def test_fraud_is_known_when_its_day_is_over_for_a_week() -> None:
    day = np.array([-1, 6, 13, 14, 14])
    customer = np.array([2, 1, 1, 1, 2])
    fraud = np.array([1, 1, 0, 0, 0])
    # customer 1: day 6 is known on day 14, not on day 13; customer 2: before the training begins nothing is looked at
    assert known_compromised(day, customer, fraud).tolist() == [False, False, False, True, False]


def test_card_precision_ranks_cards_and_blocks_found_ones() -> None:
    day = np.array([0, 0, 0, 0, 1, 1, 1])
    card = np.array([1, 1, 2, 3, 1, 2, 3])
    score = np.array([0.9, 0.1, 0.8, 0.7, 0.9, 0.5, 0.6])
    fraud = np.array([0, 1, 0, 1, 1, 1, 0])
    # day 0: cards 1 (found by its other row) and 2 -> 1 of 2; day 1: card 1 is blocked; cards 3 and 2 -> 1 of 2
    assert card_precision(day, card, score, fraud, k=2) == 0.5
    assert card_precision(day, card, score, fraud, k=1) == 0.5  # 1 of 1, then card 3: 0 of 1


def test_models_learn_what_is_plain() -> None:
    rng = np.random.default_rng(0)
    times = np.datetime64("2018-07-20T00:00:00") + np.arange(3_000) * np.timedelta64(12, "m")
    rows = []
    for i, time in enumerate(times):
        fraud = int(rng.random() < 0.1)
        rows.append((str(time), i % 700, 1, float(rng.normal(100 + 300 * fraud, 20)), fraud))
    table = transactions(rows).append_column("OTHER", pa.array(rng.normal(size=3_000)))
    told: list[str] = []
    with threadpool_limits(1):  # OpenMP's threads would wait for each other on a busy machine
        results = compare(split_rows(table, ["TX_AMOUNT", "OTHER"]), told.append)
    assert told == ["logistic regression", "random forest", "gradient boosting"]
    assert all(result.ours.auc_roc > 0.99 for result in results)
    assert "(0.871)" in format_table(results)


# ---------------------------------------------------------------------------------------------- the real ones
@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> pa.Table:
    """39 days, so that the last minutes have complete windows."""
    if not REAL.is_file():
        pytest.skip(f"the handbook's transactions are not there: {REAL} (ASOF_SHARED_DATA names the folder)")
    folder = tmp_path_factory.mktemp("handbook")
    begin, end = (datetime.fromisoformat(time) for time in ("2018-06-30", "2018-08-08T00:11"))
    table = pq.read_table(REAL, filters=[("TX_DATETIME", ">=", begin), ("TX_DATETIME", "<", end)])
    pq.write_table(table, folder / "transactions.parquet")
    return build(folder, quiet=True).table


def frames(table: pa.Table, key: str, low_s: int, high_s: int) -> tuple[np.ndarray[Any, Any], ...]:
    """For each row the rows of its key in `(t - low_s, t - high_s]`: their order, and the frame's edges in it."""
    seconds = pc.cast(pc.cast(table["TX_DATETIME"], pa.timestamp("s")), pa.int64()).to_numpy()
    place = table[key].to_numpy().astype(np.int64) * 2**40 + seconds
    order = np.argsort(place, kind="stable")
    ranked = place[order]
    edges = [np.searchsorted(ranked, place - edge, side="right") for edge in (low_s, high_s)]
    return order, *edges


@pytest.mark.parametrize("days", [1, 7, 30])
def test_every_row_of_a_slice_is_as_computed_another_way(real: pa.Table, days: int) -> None:
    for key, column, names, delay, scale in (
        ("CUSTOMER_ID", "TX_AMOUNT", ("NB_TX", "AVG_AMOUNT"), 0, 100),  # cents: whole numbers make exact sums
        ("TERMINAL_ID", "TX_FRAUD", ("NB_TX", "RISK"), 7, 1),
    ):
        order, low, high = frames(real, key, (delay + days) * DAY_S, delay * DAY_S)
        count = high - low
        whole = np.rint(real[column].to_numpy()[order] * float(scale)).astype(np.int64)
        sums = np.concatenate([[0], np.cumsum(whole)])
        mean = (sums[high] - sums[low]) / scale / np.maximum(count, 1)
        got = [real[f"{key}_{name}_{days}DAY_WINDOW"].to_numpy() for name in names]
        assert np.array_equal(got[0], count)
        np.testing.assert_allclose(got[1], mean, rtol=1e-9, atol=1e-9)


def test_flags_of_a_slice_are_as_the_calendar_says(real: pa.Table) -> None:
    weekend = pc.greater_equal(pc.day_of_week(real["TX_DATETIME"]), 5)
    night = pc.less_equal(pc.hour(real["TX_DATETIME"]), 6)
    assert real["TX_DURING_WEEKEND"].to_pylist() == pc.cast(weekend, pa.int32()).to_pylist()
    assert real["TX_DURING_NIGHT"].to_pylist() == pc.cast(night, pa.int32()).to_pylist()


def test_rows_that_the_handbook_prints(real: pa.Table) -> None:
    """Source: chapter 3, "Baseline fraud detection system", the first rows of the test set with their predictions."""
    printed = {
        1_236_698: (67.468529, 120, 64.611750, 2, 0.0, 9, 0.0, 31, 0.0),
        1_236_699: (79.955455, 124, 85.365645, 2, 0.0, 10, 0.0, 23, 0.0),
        1_236_701: (56.269167, 61, 49.095902, 1, 0.0, 10, 0.0, 26, 0.076923),
        1_236_702: (62.643333, 11, 63.287273, 1, 0.0, 6, 0.0, 23, 0.0),
        1_236_703: (71.993846, 72, 59.899306, 1, 0.0, 5, 0.0, 21, 0.523810),
    }
    names = fraud_handbook.names[5:]  # from CUSTOMER_ID_AVG_AMOUNT_7DAY_WINDOW on
    rows = real.filter(pc.is_in(real["TRANSACTION_ID"], pa.array(list(printed), pa.int32()))).select(names)
    for row, wanted in zip(rows.to_pylist(), printed.values(), strict=True):
        assert list(row.values()) == pytest.approx(wanted, abs=5e-7)
