"""The council cards example: hand-made rows, a sample of the real ones against a plain loop, and the whole way once."""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter, defaultdict
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from threadpoolctl import threadpool_limits

import asof
from examples.cards import __main__ as command
from examples.cards.candidates import Candidates
from examples.cards.definitions import SPINE
from examples.cards.models import Split, frozen_lookup, split_rows, top_of_day

CARDS = Path(__file__).parents[2] / "examples" / "cards"
Row = dict[str, Any]


def project(folder: Path) -> Path:
    """The example's project folder, without its data, in another place."""
    for name in ("asof.toml", "definitions.py"):
        shutil.copy(CARDS / name, folder / name)
    (folder / "data").mkdir()
    return folder


@pytest.fixture
def real(tmp_path: Path) -> Path:
    folder = project(tmp_path)
    shutil.copy(CARDS / "data" / "transactions.parquet", folder / "data")
    return folder


def hand_made(folder: Path, rows: list[tuple[date, int, str, str, str, str]]) -> None:
    days, cards, merchants, amounts, categories, files = zip(*rows, strict=True)
    table = pa.table(
        {
            "row_id": pa.array(range(1, len(rows) + 1), pa.int32()),
            "trans_date": pa.array(days, pa.date32()),
            "card_id": pa.array(cards, pa.int16()),
            "merchant_name": merchants,
            "gross_amount": pa.array([Decimal(amount) for amount in amounts], pa.decimal128(12, 2)),
            "category": categories,
            "source_file": files,
        }
    )
    pq.write_table(table, folder / "data" / "transactions.parquet")


def test_histories_of_hand_made_rows(tmp_path: Path) -> None:
    folder, twice = project(tmp_path), "purchasecardtransactionsjune2014.xls"
    hand_made(folder, [
        (date(2014, 5, 1), 7, "Tesco Stores 11", "10.00", "Food", "may"),
        (date(2014, 5, 1), 7, "tesco stores 11", "10.00", "Food", twice),
        (date(2014, 5, 31), 7, "tesco pfs 22", "40.00", "Fuel", "may"),
        (date(2014, 6, 1), 8, "tesco stores 11 ", "30.00", "Books", "june"),
        (date(2014, 6, 1), 7, "tesco stores 11", "20.00", "Food", "june"),
        (date(2014, 7, 2), 7, "tesco stores 11", "60.00", "Food", "july"),
    ])  # fmt: skip
    table = command.build(folder, SPINE, quiet=True).table
    assert table["row_id"].to_pylist() == [
        1,
        3,
        4,
        5,
        6,
    ]  # the month that was published twice is asked for once
    wanted = {
        "merchant_count_365d": [0, 0, 1, 1, 3],  # rows of the day itself do not count
        "merchant_mean_365d": [None, None, 10.0, 10.0, 20.0],
        "amount_vs_usual": [None, None, 3.0, 2.0, 3.0],
        "days_since_merchant": [None, None, 31.0, 31.0, 31.0],
        "card_spend_30d": [Decimal(0), Decimal("10.00"), Decimal(0), Decimal("40.00"), Decimal(0)],
        # May 1st is coded on June 1st; May 31st and June 1st by July 2nd
        "merchant_newest": [[], [], ["Food"], ["Food"], ["Food", "Books", "Food"]],
        "merchant_top_365d": [[], [], ["Food"], ["Food"], ["Food", "Books"]],
        "merchant_categories_365d": [[], [], [("Food", 1)], [("Food", 1)], [("Books", 1), ("Food", 2)]],
        "chain_top_365d": [[], [], ["Food"], ["Food"], ["Food", "Books", "Fuel"]],
        "pair_top_365d": [[], [], [], ["Food"], ["Food"]],
        "card_newest": [[], [], [], ["Food"], ["Food", "Fuel", "Food"]],
    }
    assert {name: table[name].to_pylist() for name in wanted} == wanted


def naive(past: list[Row], day: date) -> Row:
    """What one entity's rows say on a day: the rules of definitions.py as a loop anybody can check."""
    begin, coded_until = day - timedelta(days=365), day - timedelta(days=31)
    coded = [row["category"] for row in past if row["trans_date"] <= coded_until]
    year = [row["category"] for row in past if begin <= row["trans_date"] <= coded_until]
    counts = Counter(category for category in year if category is not None)
    commonest = sorted(counts, key=lambda category: (-counts[category], category))[:3]
    newest = [category for category in reversed(coded) if category is not None][:3]
    return {
        "coded_365d": sum(counts.values()), "categories_365d": sorted(counts.items()),
        "top_365d": commonest, "newest": newest,
        "count_365d": sum(begin <= row["trans_date"] < day for row in past),
    }  # fmt: skip


def rows_by_key(file: Path) -> dict[tuple[str, Any], list[Row]]:
    """The rows of each entity in order: of ("merchant", "tesco stores 11") and so on."""
    columns = ["trans_date", "card_id", "merchant_name", "category", "source_file"]
    found: dict[tuple[str, Any], list[Row]] = defaultdict(list)
    for row in pq.read_table(file, columns=columns).to_pylist():
        if row["source_file"] == "purchasecardtransactionsjune2014.xls":
            continue
        merchant, card = row["merchant_name"].lower().strip(), row["card_id"]
        chain = re.search(r"[a-z][a-z&']+", merchant)
        keys = {"merchant": merchant, "card": card, "pair": (card, merchant), "chain": chain and chain[0]}
        for entity, key in keys.items():
            found[entity, key].append(row)
    return found


def test_sample_of_real_rows_is_as_a_plain_loop_says(real: Path) -> None:
    past = rows_by_key(real / "data" / "transactions.parquet")
    spine = SPINE.replace("order by row_id", "and row_id % 1500 = 7 order by row_id")
    asked = command.build(real, spine, quiet=True).table.to_pylist()
    assert len(asked) == 123
    for row in asked:
        keys = {entity: row[entity] for entity in ("merchant", "card", "chain")}
        keys["pair"] = (row["card"], row["merchant"])
        for entity, key in keys.items():
            mine = [] if key is None else past[entity, key]
            for kind, value in naive(mine, row["trans_date"]).items():
                name = f"{entity}_{kind}"
                if name in row:
                    assert row[name] == value, (row["row_id"], name)


def test_folder_is_a_project_without_findings(real: Path) -> None:
    assert asof.open(real).check() == []


def test_command_prints_and_keeps_what_it_found(
    real: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "FOLDER", real)
    few = SPINE.replace("order by row_id", "and row_id % 50 = 0 order by row_id")
    monkeypatch.setattr(command, "SPINE", few)
    out = real / "kept" / "here"
    with threadpool_limits(1):  # OpenMP's threads would wait for each other on a busy machine
        assert command.main(["--out", str(out), "--quiet"]) == 0
    results = {found["model"]: found["accuracy"] for found in json.loads((out / "results.json").read_text())}
    assert results["majority"] < results["merchant look-up, as of the day"] < results["histories and words"]
    assert pq.read_metadata(out / "training_set.parquet").num_rows == 3_624
    told = capsys.readouterr()
    assert re.search(rf"^histories and words +{results['histories and words']:.3f} ", told.out, re.MULTILINE)
    assert told.err == ""


def test_file_in_place_of_the_folder_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "taken").write_text("")
    assert command.main(["--out", str(tmp_path / "taken")]) == 1
    assert "cannot be made" in capsys.readouterr().err


def test_split_leaves_a_month_before_the_test() -> None:
    days = [
        date(2016, 5, 31),
        date(2016, 6, 15),
        date(2016, 7, 1),
        date(2017, 5, 31),
        date(2017, 6, 1),
        date(2017, 7, 1),
    ]
    split = split_rows(pa.table({"trans_date": pa.array(days, pa.date32())}))
    assert split.words.tolist() == [True, False, False, False, False, False]
    assert split.train.tolist() == [False, False, True, True, False, False]
    assert split.past.tolist() == [True, True, True, True, False, False]
    assert split.test.tolist() == [False, False, False, False, False, True]


def test_frozen_lookup_takes_the_commonest_or_the_majority() -> None:
    past = np.array([True, True, True, False, False])
    split = Split(words=past, train=past, past=past, test=~past)
    assert frozen_lookup(["a", "a", "a", "a", "b"], np.array([1, 1, 2, 2, 2]), split, 5).tolist() == [1, 5]


def test_lookup_of_the_day_falls_back_in_order() -> None:
    columns = pa.table({"pair": [["x"], [], []], "card": [["y"], ["y", "x"], []]})
    assert top_of_day(columns, ["maj", "x", "y"], 0).tolist() == [1, 2, 0]


def test_best_candidate_of_each_row_and_the_first_of_ties() -> None:
    candidates = Candidates(np.array([0, 0, 2, 2, 2]), np.array([3, 4, 1, 5, 6]), np.zeros((5, 0)), ())
    score = np.array([0.1, 0.9, 0.5, 0.7, 0.7])
    assert candidates.best(score, np.array([0, 2])).tolist() == [4, 5]
