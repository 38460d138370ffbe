"""plan, apply, rollback, promote, history and env as a script and as a person use them."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pty
import re
import select
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from asof.cli import app as cli
from tests.flows.conftest import ROWS

DEFINITIONS = """
from asof import Entity, Events, FeatureService, FeatureView, Model, Parquet, count, sum

account = Entity("account", keys={"account_id": "string"})
tx = Events("tx", Parquet("tx.parquet"), event_time="at")
activity = FeatureView("activity", entity=account, source=tx, features=[count().over("1d"), sum("amount").over("7d")])
risk = FeatureService("risk", [activity])
model = Model("returns", service=risk)
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    pq.write_table(ROWS, tmp_path / "tx.parquet")
    (tmp_path / "asof.toml").write_text('name = "bank"\nuser = "anna"\n')
    (tmp_path / "definitions.py").write_text(DEFINITIONS)
    return tmp_path


def environ() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("ASOF_")}


@dataclass(frozen=True)
class Done:
    returncode: int
    stdout: str
    stderr: str


def run(folder: Path, *arguments: str) -> Done:
    """A command in this process; `talk` starts real ones."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.chdir(folder), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = cli.run_app(cli.app, arguments)
    return Done(code, out.getvalue(), err.getvalue())


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch):
    for name in set(os.environ) - set(environ()):
        monkeypatch.delenv(name)
    monkeypatch.setattr(sys, "stdin", io.StringIO())


def edit(folder: Path, old: str, new: str) -> None:
    file = folder / "definitions.py"
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new))


def test_a_plan_exits_with_3_until_it_is_applied(project: Path) -> None:
    done = run(project, "plan")
    assert done.returncode == 3, done.stderr
    assert (
        "+ feature view 'activity': count_1d = count() over 1d; amount_sum_7d = sum(amount) over 7d"
        in done.stdout
    )
    assert "5 added." in done.stdout
    done = run(project, "apply", "--yes", "-m", "first")
    assert (done.returncode, done.stdout) == (0, "revision 1\n"), done.stderr
    done = run(project, "plan")
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "No changes.")
    done = run(project, "apply", "--yes")
    assert (done.returncode, done.stdout) == (0, "")
    assert "nothing to do" in done.stderr


def test_without_a_terminal_nobody_is_asked(project: Path) -> None:
    done = run(project, "apply")
    assert done.returncode == 2
    assert "there is nobody to ask: say --yes, or --plan" in done.stderr
    assert run(project, "history").stdout.count("\n") == 1


def test_the_plan_that_was_shown_is_the_plan_that_is_made(project: Path) -> None:
    (shown,) = re.findall(r"Plan (\w{12}) for", run(project, "plan").stdout)
    edit(project, '"7d"', '"14d"')
    done = run(project, "apply", "--plan", shown)
    assert done.returncode == 1
    assert f"not {shown}: the definitions or the registry have changed" in done.stderr
    edit(project, '"14d"', '"7d"')
    assert run(project, "apply", "--plan", shown).stdout == "revision 1\n"


def test_a_stream_that_is_new_is_planned_and_changes_no_value(project: Path) -> None:
    edit(project, 'event_time="at")', 'event_time="at", known_at="at")')
    run(project, "apply", "--yes")
    edit(project, "import Entity", "import Entity, Log")
    edit(project, 'known_at="at")', 'known_at="at", stream=Log(partitions=4, partition_by="account_id"))')
    edit(project, '.over("7d")])', '.over("7d")], freshness="60s")')
    done = run(project, "plan")
    assert done.returncode == 3, done.stderr
    shown = [line.strip() for line in done.stdout.splitlines()]
    assert "stream: + Log(partition_by=account_id, partitions=4)" in shown
    assert "freshness: + 1m" in shown
    assert "No value changes" in shown
    assert run(project, "apply", "--yes").returncode == 0
    done = run(project, "show", "source:tx")
    assert "Log(partition_by=account_id, partitions=4)" in done.stdout, done.stderr
    edit(project, "partitions=4, ", "partitions=8, ")
    shown = [line.strip() for line in run(project, "plan").stdout.splitlines()]
    assert "stream.partitions: 4 -> 8" in shown


def test_json_is_one_document_with_everything(project: Path) -> None:
    answer = json.loads(run(project, "plan", "--json").stdout)["plan"]
    assert (answer["environment"], answer["has_changes"], answer["is_new"]) == ("prod", True, True)
    assert [each["name"] for each in answer["changes"]] == ["account", "tx", "activity", "risk", "returns"]
    (backfill,) = answer["backfills"]
    assert (backfill["view"], backfill["rows"], backfill["needed"]) == ("activity", 4, False)
    done = json.loads(run(project, "apply", "--yes", "--json").stdout)
    assert (done["revision"], done["plan"]["id"]) == (1, answer["id"])


def test_markdown_is_fit_for_a_pull_request(project: Path) -> None:
    run(project, "apply", "--yes")
    edit(project, '"7d"', '"14d"')
    done = run(project, "plan", "--markdown")
    assert done.returncode == 3
    assert done.stdout.startswith("### asof plan for `prod`\n")
    assert "**Refused without `--force`" in done.stdout
    assert "| risk | loses feature 'amount\\_sum\\_7d' | model 'returns' |" in done.stdout
    assert "features.amount\\_sum\\_14d: (none) → sum(amount) over 14d" in done.stdout


def test_what_breaks_somebody_is_refused_and_rolled_back(project: Path) -> None:
    run(project, "apply", "--yes")
    edit(project, '"7d"', '"14d"')
    done = run(project, "apply", "--yes")
    assert done.returncode == 1
    assert "'risk' loses feature 'amount_sum_7d', read by model 'returns'" in done.stderr
    assert run(project, "apply", "--yes", "--force").stdout == "revision 2\n"
    assert run(project, "rollback", "--yes", "--force").stdout == "revision 3\n"
    assert run(project, "plan", "-q").returncode == 3
    actions = [line.split()[3] for line in run(project, "history").stdout.splitlines()[1:]]
    assert actions == ["rollback", "apply", "apply"]


def test_an_error_in_a_definition_names_file_and_line_and_exits_with_2(project: Path) -> None:
    edit(project, "count().over", "count().ovr")
    done = run(project, "plan")
    assert done.returncode == 2
    assert done.stderr.startswith("error: definitions.py:6: AttributeError:")
    edit(project, "count().ovr", "count().where('amount >').named('n').over")
    done = run(project, "plan")
    assert done.returncode == 2
    assert (
        "definitions.py:6: feature view 'activity': feature 'n': 'amount >' is not an SQL expression"
        in done.stderr
    )


def test_an_environment_is_made_promoted_and_removed(project: Path) -> None:
    run(project, "apply", "--yes")
    edit(project, 'features=[count().over("1d")', 'features=[count().over("1d", "2d")')
    done = run(project, "plan", "--env", "dev-anna")
    assert done.returncode == 2
    assert "--create makes it from 'prod'" in done.stderr
    done = run(project, "apply", "--env", "dev-anna", "--create", "--yes")
    assert done.stdout == "revision 2\n", done.stderr
    assert "shares 2 of 5 objects with prod" in done.stderr
    rows = json.loads(run(project, "env", "list", "--json").stdout)["environments"]
    assert [(row["name"], row["protected"], row["shared_with_prod"]) for row in rows] == [
        ("dev-anna", False, 2), ("prod", True, 5)
    ]  # fmt: skip
    assert run(project, "promote", "dev-anna", "--yes").stdout == "revision 3\n"
    assert run(project, "env", "remove", "dev-anna").returncode == 2
    done = run(project, "env", "remove", "dev-anna", "--yes", "--json")
    assert json.loads(done.stdout) == {"removed": ["dev-anna"], "dropped": [], "dropped_bytes": 0}
    assert run(project, "env", "remove", "prod", "--yes").returncode == 1


def test_the_abandoned_are_cleaned(project: Path) -> None:
    run(project, "apply", "--yes")
    assert run(project, "env", "create", "dev").stdout == "revision 2\n"
    assert "nothing to remove" in run(project, "env", "clean", "--yes").stderr
    assert "removed dev" in run(project, "env", "clean", "--older-than", "0s", "--yes").stderr
    assert "dev" not in run(project, "env", "list").stdout


def test_the_history_of_an_unknown_environment_is_an_error(project: Path) -> None:
    run(project, "apply", "--yes")
    done = run(project, "history", "--env", "prdo", "--json")
    assert done.returncode == 2
    assert json.loads(done.stdout)["error"]["code"] == "unknown_environment"


def test_colours_are_left_out_where_nobody_wants_them(project: Path) -> None:
    assert "\x1b[" not in run(project, "plan").stdout
    seen = talk(project, ["plan", "-q"], {}, {"NO_COLOR": "1"})
    assert "Added" in seen
    assert "\x1b[3" not in seen


def test_a_person_is_asked_and_may_say_no(project: Path) -> None:
    seen = talk(project, ["apply", "-q"], {"Apply this to 'prod'?": "n\n"})
    assert "5 added." in seen
    assert run(project, "history").stdout.count("\n") == 1
    assert "revision 1" in talk(project, ["apply", "-q"], {"Apply this to 'prod'?": "y\n"})


def test_definitions_that_change_while_the_question_stands_are_refused(project: Path) -> None:
    def change() -> str:
        edit(project, '"7d"', '"14d"')
        return "y\n"

    seen = talk(project, ["apply", "-q"], {"Apply this to 'prod'?": change})
    assert "the definitions have changed since the plan was made" in seen
    assert run(project, "history").stdout.count("\n") == 1


def talk(
    folder: Path, arguments: list[str], answers: dict[str, object], more: dict[str, str] | None = None
) -> str:
    """Everything that is shown on a terminal, where these questions get these answers."""
    master, slave = pty.openpty()
    known = {**environ(), "TERM": "xterm", **(more or {})}
    if not more:
        known.pop("NO_COLOR", None)
    started = subprocess.Popen(
        [sys.executable, "-m", "asof", *arguments],
        cwd=folder,
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env=known,
    )
    os.close(slave)
    seen, left = "", dict(answers)
    try:
        while select.select([master], [], [], 60)[0]:
            try:
                part = os.read(master, 65_536)
            except OSError:  # the other side has gone
                break
            if not part:
                break
            seen += part.decode(errors="replace")
            for question in [each for each in left if each in seen]:
                answer = left.pop(question)
                os.write(master, str(answer() if callable(answer) else answer).encode())
        started.wait(60)
    finally:
        started.kill()
        started.wait()
        os.close(master)
    return seen


def test_lineage_events_are_told_after_each_change_where_somebody_asked(project: Path) -> None:
    (project / "asof.toml").write_text('name = "bank"\n[openlineage]\nfile = "lineage.jsonl"\n')
    run(project, "apply", "--yes")
    first = (project / "lineage.jsonl").read_text().splitlines()
    outputs = {each["name"] for line in first for each in json.loads(line).get("outputs", [])}
    assert {"feature_view.activity", "feature_service.risk", "model.returns"} <= outputs
    run(project, "apply", "--yes")
    assert (project / "lineage.jsonl").read_text().splitlines() == first
    edit(project, "service=risk", 'service=risk, owner="fraud"')
    run(project, "apply", "--yes")
    run(project, "rollback", "--yes")
    later = (project / "lineage.jsonl").read_text().splitlines()[len(first) :]
    assert later
    assert all("returns" in line for line in later)


def test_broken_code_keeps_nobody_from_going_back(project: Path) -> None:
    run(project, "apply", "--yes")
    edit(project, "service=risk", 'service=risk, owner="x"')
    run(project, "apply", "--yes")
    with (project / "definitions.py").open("a") as file:
        file.write("raise RuntimeError\n")
    assert run(project, "rollback", "--yes").stdout == "revision 3\n"
    for command in (["history"], ["env", "list"], ["env", "create", "dev"], ["promote", "dev", "--yes"]):
        assert run(project, *command).returncode == 0, command


def test_what_does_not_print_does_not_reach_a_terminal(project: Path) -> None:
    hidden = chr(27) + "[2J" + chr(0x202E)
    edit(project, "service=risk", f"service=risk, owner={hidden!r}, description={hidden!r}")
    for command in (["plan", "--full"], ["plan", "--markdown"], ["apply", "--yes", "-m", hidden], ["history"],
                    ["list"], ["show", "returns"], ["search", "returns"], ["lineage", "returns"]):  # fmt: skip
        done = run(project, *command)
        assert done.returncode in {0, 3}, done.stderr
        assert chr(0x202E) not in done.stdout + done.stderr
        assert "\x1b[2J" not in done.stdout + done.stderr
