"""`asof push`: files and the standard input into a stream, as a script uses it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import asof
from tests.cli.test_plan_and_apply import plain_environment, run  # noqa: F401 - a fixture for all tests here
from tests.flows.test_push import CARDS, DEFINITIONS, rows_of


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "asof.toml").write_text('name = "bank"\n')
    (tmp_path / "definitions.py").write_text(DEFINITIONS)
    (tmp_path / "cards.csv").write_text(CARDS)
    (tmp_path / "new.csv").write_text("account_id,amount\na,1.10\nb,2.20\nc,\n")
    return tmp_path


def accounts(folder: Path) -> list[str]:
    return [row["account_id"] for row in rows_of(asof.open(folder), "payments")]


def test_a_file_is_pushed_and_a_second_run_under_its_key_adds_nothing(folder: Path) -> None:
    done = run(folder, "push", "payments", "new.csv", "--batch", "2", "--idempotency-key", "k", "-q")
    assert (done.returncode, done.stdout) == (0, "3 events in 2 batches are in the stream of 'payments'\n")
    again = run(folder, "push", "payments", "new.csv", "--batch", "2", "--idempotency-key", "k", "--json")
    told = {"source": "payments", "count": 3, "repeated": 3, "batches": 2, "offsets": {"0": [0, 3]}}
    assert json.loads(again.stdout) == told
    assert accounts(folder) == ["a", "b", "c"]


def test_json_lines_come_from_the_standard_input(folder: Path) -> None:
    command = [sys.executable, "-m", "asof", "push", "payments", "-"]
    given = b'{"account_id": "a"}\n\n{"account_id": "b"}'
    done = subprocess.run(command, cwd=folder, input=given, capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (0, b"2 events in 1 batches are in the stream of 'payments'\n")
    assert done.stderr == b"push payments ...\n"
    assert accounts(folder) == ["a", "b"]


def test_errors_have_their_exit_codes_and_no_value(folder: Path) -> None:
    (folder / "bad.ndjson").write_text('{"account_id": "a"}\n{"amount": "secret"}\n')
    bad = run(folder, "push", "payments", "bad.ndjson")
    assert (bad.returncode, "event 1: field 'amount'" in bad.stderr, "secret" in bad.stderr) == (
        1,
        True,
        False,
    )
    unknown = run(folder, "push", "payment", "new.csv")
    assert (unknown.returncode, "hint: did you mean 'payments'?" in unknown.stderr) == (2, True)
    quiet = run(folder, "push", "quiet", "new.csv")
    assert (quiet.returncode, "hint: stream=Log() in its definition" in quiet.stderr) == (1, True)
    assert run(folder, "push", "payments", "no.csv").returncode == 1
    told = json.loads(run(folder, "push", "payments", "bad.ndjson", "--json").stdout)
    assert (told["error"]["code"], told["error"]["facts"]["event"]) == ("data_error", 1)
    assert accounts(folder) == []
