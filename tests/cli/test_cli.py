"""The command line: data to stdout, the rest to stderr, exit codes that scripts can use."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.flows.conftest import ROWS, spine_of

DEFINITIONS = """
from asof import Entity, Events, FeatureService, FeatureView, Label, Parquet, count, sum

account = Entity("account", keys={"account_id": "string"})
tx = Events("tx", Parquet("tx.parquet"), event_time="at")
activity = FeatureView("activity", entity=account, source=tx, features=[count().over("1d"), sum("amount").over("1d")])
risk = FeatureService("risk", [activity])
again = Label("again", entity=account, source=tx, horizon="1h")
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    pq.write_table(ROWS, tmp_path / "tx.parquet")
    pq.write_table(spine_of([("a", 3), ("b", 2)]), tmp_path / "spine.parquet")
    (tmp_path / "asof.toml").write_text('name = "bank"\n')
    (tmp_path / "definitions.py").write_text(DEFINITIONS)
    return tmp_path


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "asof", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_a_training_set_is_written_and_its_path_printed(project: Path) -> None:
    done = run(project, "training-set", "risk", "--spine", "spine.parquet", "--out", "out.parquet")
    assert (done.returncode, done.stdout) == (0, "out.parquet\n"), done.stderr
    assert "2 of 2 spine rows" in done.stderr
    assert pq.read_table(project / "out.parquet")["count_1d"].to_pylist() == [2, 0]


def test_json_holds_the_report_and_the_manifest(project: Path) -> None:
    done = run(project, "training-set", "risk", "--spine", "spine.parquet", "--out", "out.csv", "--label", "again",
               "--cutoff", "2024-01-01T00:00:00Z", "--json")  # fmt: skip
    answer = json.loads(done.stdout)
    assert answer["report"]["labels"] == [
        {"name": "again", "mature": 2, "immature": 0, "positive_share": 0.5, "early": 0}
    ]
    assert answer["manifest"]["options"]["cutoff_us"] == 1_704_067_200_000_000
    assert done.stderr == ""
    assert (
        (project / "out.csv")
        .read_text()
        .startswith('"account_id","event_time","count_1d","amount_sum_1d","again"')
    )


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (
            ("training-set", "rsk", "--spine", "spine.parquet", "--out", "o.parquet"),
            2,
            "did you mean 'risk'?",
        ),
        (("training-set", "risk", "--spine", "nothing.parquet", "--out", "o.parquet"), 1, "no file matches"),
        (
            ("training-set", "risk", "--spine", "spine.parquet", "--out", "o.xlsx"),
            1,
            "cannot write '.xlsx' files",
        ),
        (("training-set", "risk", "--spine", "spine.parquet"), 2, "--out"),
        (
            ("training-set", "risk", "--spine", "spine.parquet", "--out", "o.parquet", "--cutoff", "soon"),
            2,
            "soon",
        ),
        (
            ("training-set", "risk", "--spine", "s", "--out", "o.parquet", "--project", "elsewhere"),
            2,
            "no asof.toml",
        ),
        (("no-such-command",), 2, "no-such-command"),
    ],
)
def test_errors_have_exit_codes_and_say_the_cure(
    project: Path, arguments: tuple[str, ...], code: int, words: str
) -> None:
    done = run(project, *arguments)
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(project.glob("o.*"))


def test_an_error_is_json_when_json_was_asked(project: Path) -> None:
    done = run(project, "training-set", "rsk", "--spine", "spine.parquet", "--out", "o.parquet", "--json")
    error = json.loads(done.stdout)["error"]
    assert (done.returncode, error["code"], error["hint"]) == (2, "unknown_name", "did you mean 'risk'?")


def test_a_wrong_definition_is_told_with_its_file_and_line(project: Path) -> None:
    (project / "definitions.py").write_text(
        DEFINITIONS.replace('sum("amount")', 'sum("amount").over("1 dy")')
    )
    done = run(project, "check")
    assert done.returncode == 2
    assert "definitions.py:6: " in done.stderr
    assert "'1 dy'" in done.stderr


@pytest.mark.parametrize(
    ("text", "words"),
    [("import nothing_like_it\n", "definitions.py:1: ModuleNotFoundError"),
     ("1 / 0\n", "definitions.py:1: ZeroDivisionError"),
     ("def f(:\n", "definitions.py:1: ")],
)  # fmt: skip
def test_an_error_of_a_users_module_is_told_as_theirs(project: Path, text: str, words: str) -> None:
    (project / "definitions.py").write_text(text)
    done = run(project, "check")
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_check_finds_what_does_not_fit_the_data(project: Path) -> None:
    assert run(project, "check").returncode == 0
    (project / "definitions.py").write_text(DEFINITIONS.replace("amount", "amuont"))
    done = run(project, "check", "--json")
    findings = json.loads(done.stdout)["findings"]
    assert done.returncode == 2
    assert [(f["kind"], f["name"], f["error"]["code"]) for f in findings] == [
        ("feature_view", "activity", "missing_column")
    ]


def test_usage_adds_up_the_ledger(project: Path) -> None:
    run(project, "training-set", "risk", "--spine", "spine.parquet", "--out", "o.parquet", "-q")
    usage = json.loads(run(project, "usage", "--json").stdout)["usage"]
    rows = {(u["stage"], u["asset"]): u["rows"] for u in usage}
    assert rows[("spine", "")] == 2
    assert rows[("read", "tx")] == 5
    assert "training_set" in run(project, "usage").stdout


def test_help_and_version_are_there(project: Path) -> None:
    assert "training-set" in run(project, "--help").stdout
    assert run(project, "--version").stdout.startswith("asof, version ")


def test_paths_on_the_command_line_start_where_the_user_stands(project: Path) -> None:
    folder = project.name
    paths = ("--spine", f"{folder}/spine.parquet", "--out", f"{folder}/o.parquet")
    done = run(project.parent, "training-set", "risk", "--project", folder, *paths)
    assert done.returncode == 0, done.stderr
    assert (project / "o.parquet").exists()
