"""`asof list`, `search`, `show` and `lineage`, as a user types them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import asof
from asof.flows.lineage import state_of
from asof.registry.state import Change, Materialized

DEFINITIONS = '''
from asof import Entity, Events, FeatureService, FeatureView, Model, Parquet, count, request_feature, sum

account = Entity("account", keys={"account_id": "string"})
tx = Events("tx", Parquet("tx.parquet"), event_time="at", personal=["note"], owner="payments")
activity = FeatureView(
    "activity", entity=account, source=tx, owner="risk", tags=["card"], description="What an account does.",
    features=[count().over("1d"), sum("amount").over("1d").deprecated("2027-01-31", use="count_1d"),
              count("note").over("1d")],
)

@request_feature(inputs=[activity["amount_sum_1d"]], request={"ticket": "float64"})
def vs_usual(amount_sum_1d, ticket):
    """The ticket against the spend of a day."""
    return ticket / amount_sum_1d

risk = FeatureService("risk", [activity, vs_usual], owner="risk")
model = Model("risk", service=risk)
'''


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project that has been applied to `prod`; it is only read."""
    folder = tmp_path_factory.mktemp("project")
    at = pa.array([1_000_000], pa.timestamp("us"))
    rows = pa.table({"account_id": ["a"], "amount": pa.array([5], pa.int32()), "note": ["x"], "at": at})
    pq.write_table(rows, folder / "tx.parquet")
    (folder / "asof.toml").write_text('name = "bank"\n')
    (folder / "definitions.py").write_text(DEFINITIONS)
    opened = asof.open(folder)
    specs = state_of(opened.definitions.all()).specs
    registry = opened.registry()
    registry.commit(Change("prod", "apply", None, tuple(specs.values())))
    view = specs["feature_view:activity"].fingerprint
    registry.record_materialized([Materialized(view, 0, opened.clock.now_us() - 7_300_000_000, "n")])
    registry.close()
    return folder


def run(folder: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "asof", *arguments]
    return subprocess.run(
        command, cwd=folder, capture_output=True, encoding="utf-8", check=False, env={**os.environ, **environ}
    )


def lines_of(folder: Path, *arguments: str, **environ: str) -> list[str]:
    done = run(folder, *arguments, **environ)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_list_shows_all_objects_in_a_table(project: Path) -> None:
    done = run(project, "list")
    assert done.stdout.splitlines() == [
        "kind             name      version  owner     tags  features",
        "entity           account         1",
        "source           tx              1  payments",
        "feature view     activity        1  risk      card         3",
        "request feature  vs_usual        1",
        "feature service  risk            1  risk                   4",
        "model            risk            1",
    ]
    assert done.stderr == "6 of 6 objects in environment 'prod'\n"


def test_list_takes_a_kind_and_gives_json(project: Path) -> None:
    answer = json.loads(run(project, "list", "views", "--json").stdout)
    assert answer == {
        "environment": "prod",
        "revision": 1,
        "objects": [
            {"kind": "feature_view", "name": "activity", "version": 1, "owner": "risk", "tags": ["card"],
             "features": 3, "deprecated": None, "description": "What an account does.", "damaged": None}
        ],
    }  # fmt: skip
    done = run(project, "list", "veiws")
    assert (done.returncode, done.stderr.splitlines()[0]) == (2, "error: no kind 'veiws'")


def test_search_shows_where_it_was_found(project: Path) -> None:
    assert lines_of(project, "search", "amount") == [
        "kind             name      owner     found in",
        "source           tx        payments  column amount",
        "feature view     activity  risk      feature amount_sum_1d",
        "feature service  risk      risk      column amount_sum_1d",
    ]


def test_search_is_narrowed_and_gives_json(project: Path) -> None:
    options = ("--kind", "view", "--owner", "risk", "--tag", "card", "--json")
    (hit,) = json.loads(run(project, "search", "account", *options).stdout)["hits"]
    assert (hit["name"], hit["matches"]) == (
        "activity",
        [{"where": "description", "text": "What an account does."}],
    )
    done = run(project, "search", "nothing like it")
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == "nothing in environment 'prod' matches 'nothing like it'\n"


def test_show_tells_all_about_a_view(project: Path) -> None:
    lines = lines_of(project, "show", "activity")
    version = lines.pop(lines.index("versions") + 1)
    until = next(line for line in lines if "freshness" in line)
    lines.remove(until)
    assert version.startswith("  1  20")
    assert version.endswith("  <- prod")
    assert until.startswith("  freshness    2h 1m (activity is materialized until 20")
    assert lines == [
        "feature view activity",
        "  owner        risk",
        "  description  What an account does.",
        "  tags         card",
        "  in           prod at revision 1, version 1",
        "  entity       account (account_id string)",
        "  source       tx",
        "  times        event time at, known at the event time",
        "  windows      1d",
        "  online       no",
        "",
        "  feature        computes             type   data      note",
        "  count_1d       count() over 1d      int64",
        "  amount_sum_1d  sum(amount) over 1d  int64            deprecated from 2027-01-31: use count_1d",
        "  note_count_1d  count(note) over 1d  int64  personal",
        "",
        "versions",
        "",
        "stands on",
        "  entity account",
        "  source tx [account_id, amount, note]",
        "",
        "read by",
        "  request feature vs_usual [amount_sum_1d]",
        "  feature service risk [count_1d, amount_sum_1d, note_count_1d]",
        "  model risk",
    ]


def test_show_of_the_code_tells_where_it_is_written(project: Path) -> None:
    lines = lines_of(project, "show", "service:risk", "--local")
    assert lines[:8] == [
        "feature service risk",
        "  owner       risk",
        "  in          the code",
        "  entities    account (account_id string)",
        "  request     ticket float64",
        "  written in  definitions.py:17",
        "",
        "  column         from                      type     data      note",
    ]
    assert "  vs_usual       request feature vs_usual  float64" in lines


def test_show_gives_json(project: Path) -> None:
    answer = json.loads(run(project, "show", "vs_usual", "--json", "--types").stdout)
    assert answer["node"] == "request_feature:vs_usual"
    assert answer["code"] == "def vs_usual(amount_sum_1d, ticket):\n    return ticket / amount_sum_1d"
    assert [each["view"] for each in answer["freshness"]] == ["activity"]
    assert answer["versions"][0]["number"] == 1


def test_lineage_is_a_tree(project: Path) -> None:
    assert lines_of(project, "lineage", "tx") == [
        "source tx",
        "",
        "stands on: nothing",
        "",
        "read by",
        "└─ feature view activity [account_id, amount, note]",
        "   ├─ request feature vs_usual [amount_sum_1d]",
        "   │  └─ feature service risk",
        "   │     └─ model risk [count_1d, amount_sum_1d, note_count_1d, vs_usual]",
        "   └─ feature service risk [count_1d, amount_sum_1d, note_count_1d] ...",
    ]


def test_lineage_of_a_column_is_a_tree_of_columns(project: Path) -> None:
    assert lines_of(project, "lineage", "activity.note_count_1d", "--up") == [
        "feature activity.note_count_1d (personal)",
        "",
        "stands on",
        "├─ column tx.note (personal)",
        "└─ feature view activity",
        "   ├─ entity account",
        "   ├─ source tx",
        "   │  └─ column tx.at",
        "   └─ column tx.account_id",
    ]
    assert lines_of(project, "lineage", "tx.note", "--down")[3:] == [
        "└─ feature activity.note_count_1d (personal)",
        "   └─ service column risk.note_count_1d (personal)",
        "      └─ model risk",
    ]


def test_a_terminal_without_these_characters_gets_plain_ones(project: Path) -> None:
    lines = lines_of(project, "lineage", "tx.note", "--down", PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert lines[3:] == [
        "`- feature activity.note_count_1d (personal)",
        "   `- service column risk.note_count_1d (personal)",
        "      `- model risk",
    ]


def test_lineage_gives_json(project: Path) -> None:
    answer = json.loads(run(project, "lineage", "model:risk", "--up", "--json").stdout)
    assert answer["node"] == "model:risk"
    assert {"from": "entity:account", "to": "feature_view:activity", "through": []} in answer["edges"]
    assert [node["id"] for node in answer["nodes"]] == [
        "model:risk",
        "feature_service:risk",
        "feature_view:activity",
        "request_feature:vs_usual",
        "entity:account",
        "source:tx",
    ]


def test_lineage_gives_openlineage_events_one_a_line(project: Path) -> None:
    lines = lines_of(project, "lineage", "activity.amount_sum_1d", "--up", "--openlineage")
    events = [json.loads(line) for line in lines]
    assert [(event.get("job") or event["dataset"])["name"] for event in events] == [
        "source.tx",
        "feature_view.activity",
    ]
    assert {event["outputs"][0]["namespace"] for event in events[1:]} == {"bank"}
    fields = events[1]["outputs"][0]["facets"]["schema"]["fields"]
    assert {field["name"]: field["type"] for field in fields}["amount_sum_1d"] == "int64"


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [(("lineage", "risk"), "'risk' is the name of a feature service and of a model",
      "say feature_service:risk or model:risk"),
     (("show", "activty"), "no object 'activty' in environment 'prod'", "did you mean 'activity'?"),
     (("lineage", "tx.amuont", "--local"), "no definition reads or names a column 'amuont' of source 'tx'",
      "did you mean 'amount'?"),
     (("list", "--env", "dev"), "no environment 'dev'",
      "`asof apply` makes an environment, --local looks at the code"),
     (("list", "--env", "prd"), "no environment 'prd'",
      "did you mean 'prod'? `asof apply` makes an environment, --local looks at the code")],
)  # fmt: skip
def test_a_wrong_name_is_told_with_the_cure(
    project: Path, arguments: tuple[str, ...], message: str, hint: str
) -> None:
    done = run(project, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"error: {message}\nhint: {hint}\n"
    error = json.loads(run(project, *arguments, "--json").stdout)["error"]
    assert (error["message"], error["hint"]) == (message, hint)


@pytest.mark.parametrize(
    "arguments", [("list", "--env", "prod", "--local"), ("lineage", "tx", "--json", "--openlineage")]
)
def test_options_that_contradict_each_other_are_refused(project: Path, arguments: tuple[str, ...]) -> None:
    done = run(project, *arguments)
    assert done.returncode == 2
    assert "one of them" in done.stdout + done.stderr


def test_the_setting_environment_is_looked_at(project: Path) -> None:
    done = run(project, "list", ASOF_ENVIRONMENT="dev")
    assert "no environment 'dev'" in done.stderr


def test_broken_code_does_not_hide_the_registry(project: Path, tmp_path: Path) -> None:
    (tmp_path / "asof.toml").write_text(
        f'name = "bank"\nregistry = "sqlite:///{project / ".asof" / "registry.sqlite"}"\n'
    )
    (tmp_path / "definitions.py").write_text("1 / 0\n")
    for arguments in (("list",), ("search", "amount"), ("lineage", "tx"), ("show", "activity")):
        assert run(tmp_path, *arguments).returncode == 0, arguments
    assert "  amount_sum_1d  sum(amount) over 1d                   deprecated" in "\n".join(
        lines_of(tmp_path, "show", "activity")
    )
    assert run(tmp_path, "list", "--local").returncode == 2
