"""The demo, run small as a user runs it; its features computed another way; its parts by hand."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import asof
from asof.errors import DataError
from examples.ach_return_risk.__main__ import main
from examples.ach_return_risk.bank import FILES, copy_template, simulate_bank
from examples.ach_return_risk.live import FastClock, stream
from examples.ach_return_risk.matrix import matrix_of
from examples.ach_return_risk.online import compare
from examples.ach_return_risk.steps import Steps
from examples.ach_return_risk.story import changes_of
from examples.ach_return_risk.train import judge, precision_at, split_rows

ROOT = Path(__file__).parents[2]
DAY = timedelta(days=1)
CUTOFF = datetime(2024, 12, 31, 5, tzinfo=UTC)  # 365 days in New York
Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Demo:
    """A run: its folder, what it printed, and the tables in the folder as rows."""

    folder: Path
    out: str
    err: str

    def table(self, name: str) -> pa.Table:
        return pq.read_table(self.folder / f"{name}.parquet")

    def rows(self, name: str) -> Rows:
        return self.table(f"data/{name}").to_pylist()


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Python in the clone, with warnings as errors."""
    command = [sys.executable, "-W", "error", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    folder = tmp_path_factory.mktemp("demo") / "bank"
    command = ("-m", "examples.ach_return_risk", "--events", "20000", "--quick", "--stream", "3")
    done = run(*command, "--out", str(folder))
    assert done.returncode == 0, done.stderr
    return Demo(folder, done.stdout, done.stderr)


# ------------------------------------------------------------------------------------------- as a user runs it
def test_the_folder_holds_what_the_output_promises(demo: Demo) -> None:
    names = {"asof.toml", "definitions.py", "data", "payments.parquet", "known.parquet", "hindsight.parquet"}
    names |= {"metrics.json", "picture.png"}
    assert {path.name for path in demo.folder.iterdir()} == names | {".asof"}
    assert all(name in demo.out for name in names)
    assert (demo.folder / "picture.png").read_bytes().startswith(b"\x89PNG")


def test_progress_goes_to_stderr_in_plain_lines(demo: Demo) -> None:
    assert "simulate bank ..." in demo.err.splitlines()
    assert "train gradient boosting ..." in demo.err.splitlines()
    assert "\x1b" not in demo.out + demo.err
    assert " ..." not in demo.out


def test_printed_numbers_are_those_in_the_file(demo: Demo) -> None:
    metrics = json.loads((demo.folder / "metrics.json").read_text())
    pattern = r"^([a-z ]+?) +(as known|hindsight) +(as known|hindsight) +([\d.]+) +([\d.]+) ±([\d.]+)"
    printed = re.findall(pattern + r" +([\d.]+) +([\d.]+) +([\d.]+) +([\d.]+)$", demo.out, re.MULTILINE)
    assert len(printed) == len(metrics["results"]) == 6
    for words, result in zip(printed, metrics["results"], strict=True):
        assert words[:3] == (result["model"], result["trained"], result["used"])
        numbers = list(result.values())[3:]
        assert [float(word) for word in words[3:]] == pytest.approx(numbers, abs=5.1e-3)
        assert all(np.isfinite(numbers))
        assert 0 <= result["average_precision"] <= 1
    rows = metrics["rows"]
    assert f"{rows['train']:,} debits, {rows['train_returned']:,} returned" in demo.out
    total = re.search(r"^in all +([\d.]+)$", demo.out, re.MULTILINE)
    assert total is not None
    assert float(total[1]) == pytest.approx(sum(step["seconds"] for step in metrics["steps"]), abs=0.06)


def test_commands_printed_at_the_end_work(demo: Demo) -> None:
    text = demo.out.partition("Go on with\n")[2].replace("\\\n", " ")
    commands = [shlex.split(line) for line in text.splitlines() if " -m asof " in line]
    assert [command[3] for command in commands] == ["check", "training-set", "usage", "online", "stream"]
    for command in commands:
        done = run(*command[1:])
        assert done.returncode == 0, done.stderr
    assert demo.table("mine").equals(demo.table("known"))
    assert asof.open(demo.folder).get_service("ach_risk").own_row is not None


def test_what_is_served_is_what_a_training_set_holds(demo: Demo) -> None:
    found = re.findall(r"^  (from the \w+) +equal: ([\d,]+) of ([\d,]+) values$", demo.out, re.MULTILINE)
    assert [way for way, _, _ in found] == ["from the store", "from the server", "from the store"]
    assert all(equal == values for _, equal, values in found)
    assert int(found[0][2].replace(",", "")) > 500
    moved = re.search(
        r"^  ([\d,]+) of these values would be another without the stream$", demo.out, re.MULTILINE
    )
    assert moved is not None
    assert int(moved[1]) > 50


def test_all_that_was_streamed_has_landed_once_with_the_time_at_which_the_log_took_it(demo: Demo) -> None:
    _, after = simulate_bank(20_000, 0)
    for name in ("transactions", "ach_returns", "logins", "profiles"):
        files = sorted((demo.folder / ".asof" / "landed" / name).rglob("*.parquet"))
        landed = pa.concat_tables([pq.read_table(file) for file in files]).to_pylist() if files else []
        landed.sort(key=lambda row: row["_asof_offset"])
        sent = after[name].to_pylist()
        assert [row["_asof_offset"] for row in landed] == list(range(len(sent)))
        for row, pushed in zip(landed, sent, strict=True):
            assert row["ingested_at"] >= pushed["ingested_at"]
            assert {key: row[key] for key in pushed if key != "ingested_at"} == {
                key: value for key, value in pushed.items() if key != "ingested_at"
            }


def test_the_day_after_holds_what_became_known_then_corrections_too() -> None:
    bank, after = simulate_bank(20_000, 0)
    assert bank.extracted_at == CUTOFF
    old = set(bank.transactions["transaction_id"].to_pylist())
    for name, table in bank.tables.items():
        assert all(at < CUTOFF for at in table["ingested_at"].to_pylist())
        assert all(CUTOFF <= at < CUTOFF + DAY for at in after[name]["ingested_at"].to_pylist())
    corrected = [row for row in after["transactions"].to_pylist() if row["transaction_id"] in old]
    assert 0 < len(corrected) < after["transactions"].num_rows


def test_a_project_without_streams_streams_nothing(tmp_path: Path) -> None:
    (tmp_path / "asof.toml").write_text('name = "none"\n')
    (tmp_path / "definitions.py").write_text("")
    assert stream(tmp_path, {}, CUTOFF, 1.0, Steps(quiet=True)) is None


def test_a_fast_clock_stands_runs_and_stands_again() -> None:
    clock = FastClock(CUTOFF, 3_600.0)
    assert clock.now() == clock.now() == CUTOFF
    clock.start()
    while clock.now() == CUTOFF:
        pass
    clock.stop()
    assert clock.now() == clock.now() > CUTOFF


def test_a_value_that_is_not_equal_is_named() -> None:
    expected = pa.table({"n": [1, 2, None], "x": [0.1, 0.2, 0.3]})
    answer = pa.table({"n": [1, 2, 0], "x": [0.1, 0.2, 0.3]})
    assert str(compare("from the store", expected, expected)).endswith("equal: 6 of 6 values")
    assert str(compare("from the store", answer, expected)).endswith("equal: 5 of 6 values; not equal: n")


def test_a_bank_without_returns_to_test_on_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--events", "500", "--seed", "2", "--out", str(tmp_path / "tiny"), "--quiet"]) == 1
    captured = capsys.readouterr()
    assert captured.err.endswith("hint: simulate more --events\n")


def test_no_events_is_a_wrong_option(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--events", "0", "--out", str(tmp_path)]) == 2
    assert "events is 0" in capsys.readouterr().err


# ------------------------------------------------------------------------ the same features, computed another way
def visible(rows: Rows, t: datetime, account: str) -> Rows:
    """The account's transactions as known at t: of each the newest version, unless that withdraws it."""
    newest = {}
    for row in rows:  # in order of ingestion
        if row["account_id"] == account and row["ingested_at"] <= t:
            newest[row["transaction_id"]] = row
    return [row for row in newest.values() if not row["deleted"]]


def expected(demo: Demo, row: dict[str, Any]) -> dict[str, Any]:
    """Some features of a debit, from the bank's tables and the words of the definitions."""
    t, account = row["occurred_at"], row["account_id"]

    def within(events: Rows, time: str, days: float) -> Rows:
        return [event for event in events if t - days * DAY <= event[time] < t]

    seen = visible(demo.rows("transactions"), t, account)
    month, week = within(seen, "occurred_at", 30), within(seen, "occurred_at", 7)
    good = [event for event in week if event["status"] != "reversed"]
    returns, logins = (
        [e for e in demo.rows(name) if e["account_id"] == account and e["ingested_at"] <= t]
        for name in ("ach_returns", "logins")
    )
    spent = [e for e in month if e["direction"] == "debit" and e["status"] != "reversed"]
    net = sum((e["amount"] if e["direction"] == "credit" else -e["amount"] for e in good), Decimal())
    income = [e["occurred_at"] for e in seen if e["category"] == "income" and e["status"] != "reversed"]
    newest = max((time for time in income if time < t), default=None)
    return {
        "count_7d": len(week) + 1,  # and the debit itself
        "spent_sum_30d": sum((e["amount"] for e in spent), row["amount"]),
        "net_sum_7d": net - row["amount"],
        "reversed_30d": sum(e["status"] == "reversed" for e in month),
        "largest_debit_7d": max([row["amount"], *(e["amount"] for e in good if e["direction"] == "debit")]),
        "merchant_id_distinct_30d": len({e["merchant_id"] for e in month} - {None} | {row["merchant_id"]}),
        "returns_90d": len(within(returns, "returned_at", 90)),
        "devices_30d": len({e["device_id"] for e in within(logins, "occurred_at", 30)}),
        "days_since_income": None if newest is None else pytest.approx((t - newest) / DAY),
    }


def test_features_as_known_are_as_computed_another_way(demo: Demo) -> None:
    known = demo.table("known").to_pylist()
    for row in known[60 :: len(known) // 12]:
        wanted = expected(demo, row)
        assert {name: row[name] for name in wanted} == wanted
    leaks = {"count_7d", "spent_sum_30d", "net_sum_7d", "reversed_30d"}
    assert all(demo.table("known")[name] != demo.table("hindsight")[name] for name in leaks)


def test_labels_are_the_returns_in_time_and_debits_without_one_are_old_enough(demo: Demo) -> None:
    came_back = {row["payment_id"]: row["returned_at"] for row in demo.rows("ach_returns")}
    known = demo.table("known").to_pylist()
    assert any(row["returned"] for row in known)
    for row in known:
        at = came_back.get(row["payment_id"])
        assert row["returned"] == (at is not None and at < row["occurred_at"] + 60 * DAY)
        assert row["returned"] or row["occurred_at"] + 60 * DAY <= CUTOFF


# --------------------------------------------------------------------------------------------------- its parts
def test_changed_definitions_are_kept(tmp_path: Path) -> None:
    assert copy_template(tmp_path) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(FILES)
    (tmp_path / "definitions.py").write_text("# mine\n")
    assert copy_template(tmp_path) == ["definitions.py"]
    assert (tmp_path / "definitions.py").read_text() == "# mine\n"


def test_a_model_takes_no_column_that_nobody_decided_on() -> None:
    table = pa.table({
        "payment_id": ["p"], "tier": ["plus"], "amount": pa.array([Decimal("1.50")], pa.decimal128(18, 2)),
        "spent_sum_by_category_30d": pa.array([[("cash", 7.0)]], pa.map_(pa.string(), pa.float64())),
        "device_age_days": pa.array([None], pa.float64()),
    })  # fmt: skip
    made = matrix_of(table)
    found = dict(zip(made.names, made.values[0].tolist(), strict=True))
    assert np.isnan(found.pop("device_age_days"))
    assert found == {
        "tier_basic": 0, "tier_plus": 1, "tier_premium": 0, "amount": 1.5,
        "spent_sum_by_category_30d_cash": 7, "spent_sum_by_category_30d_electronics": 0,
        "spent_sum_by_category_30d_online": 0, "spent_sum_by_category_30d_travel": 0,
    }  # fmt: skip
    with pytest.raises(DataError, match="column 'born' is date32"):
        matrix_of(table.append_column("born", pa.array([date(2000, 1, 1)])))


def test_split_leaves_a_warm_up_a_gap_and_the_young() -> None:
    days = [CUTOFF - age * DAY for age in range(365, -1, -1)]
    table = pa.table({
        "occurred_at": pa.array(days, pa.timestamp("us", "UTC")), "returned": [i % 2 for i in range(366)],
    })  # fmt: skip
    split = split_rows(table, CUTOFF)
    ages = np.arange(365, -1, -1)
    assert (ages[split.train].max(), ages[split.train].min()) == (335, 196)  # 30 days of warm-up
    assert (ages[split.test].max(), ages[split.test].min()) == (
        135,
        61,
    )  # 75 days, 60 after the last that trains
    with pytest.raises(DataError, match="train: no debit was returned"):
        split_rows(table.set_column(1, "returned", pa.array([0] * 366)), CUTOFF)


def test_numbers_of_a_model_by_hand() -> None:
    scores, returned = np.array([0.9, 0.2, 0.6, 0.1]), np.array([1, 1, 0, 0])
    made = judge("m", "as known", "as known", scores, returned)
    assert made.auc_roc == 0.75  # of four pairs one is in the wrong order
    assert made.average_precision == pytest.approx((1 + 2 / 3) / 2)
    assert made.brier == pytest.approx((0.01 + 0.64 + 0.36 + 0.01) / 4)
    assert made.expected_per_actual == pytest.approx(0.9)
    assert [precision_at(scores, returned, share) for share in (0.01, 0.5, 1.0)] == [1.0, 0.5, 0.5]


def test_changes_are_what_known_and_later_history_disagree_on(tmp_path: Path) -> None:
    begin = datetime(2024, 3, 1, tzinfo=UTC)
    rows = [  # transaction, amount, status, deleted, days from its event to its known-at time
        ("late", 40, "posted", False, 3.0),
        ("back", 90, "pending", False, 0.0),
        ("back", 90, "posted", False, 1.0),
        ("back", 90, "reversed", False, 9.0),
        ("plain", 10, "pending", False, 0.0),
        ("plain", 12, "posted", False, 2.0),
        ("gone", 70, "pending", False, 2.0),
        ("gone", 70, "pending", True, 4.0),
    ]
    table = pa.table({
        "transaction_id": [row[0] for row in rows], "account_id": ["a"] * 8, "direction": ["debit"] * 8,
        "category": ["fuel"] * 8, "amount": [row[1] for row in rows], "status": [row[2] for row in rows],
        "deleted": [row[3] for row in rows], "occurred_at": [begin] * 8,
        "ingested_at": [begin + row[4] * DAY for row in rows],
    })  # fmt: skip
    pq.write_table(table, tmp_path / "t.parquet")
    found = changes_of(str(tmp_path / "t.parquet"), "a", begin, begin + 30 * DAY)
    assert [(change.amount, change.late, (change.end - change.begin) / DAY) for change in found] == [
        (90.0, False, 9.0),
        (40.0, True, 3.0),
    ]
