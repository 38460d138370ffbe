"""`asof test`: cases and generated histories, what is printed, and exit codes that CI can use."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree as ET

import pyarrow.parquet as pq
import pytest

from asof.cli.app import app, run_app
from asof.cli.case_report import FAILED, PASSED, SKIPPED, Line, as_junit, summary
from tests.flows.conftest import ROWS

DEFINITIONS = """
from asof import Entity, Events, FeatureService, FeatureView, Label, Parquet, count, sum

account = Entity("account", keys={"account_id": "string"})
tx = Events("tx", Parquet("tx.parquet"), event_time="at")
activity = FeatureView("activity", entity=account, source=tx, features=[count().over("1d"), sum("amount").over("1d")])
risk = FeatureService("risk", [activity])
again = Label("again", entity=account, source=tx, horizon="1h")
"""
RIGHT = """
- name: two payments of a day
  view: activity
  events:
    tx:
      - {account_id: a, amount: 5, at: 2025-03-01T09:00:00Z}
      - {account_id: a, amount: 7, at: 2025-03-01T10:00:00Z}
  expect:
    - {account_id: a, at: 2025-03-01T12:00:00Z, count_1d: 2, amount_sum_1d: 12}
"""
WRONG = """
- name: nobody pays
  service: risk
  events:
    tx:
      - {account_id: a, amount: 5, at: 2025-03-01T09:00:00Z}
      - {account_id: b, amount: 6, at: 2025-03-01T09:00:00Z}
  expect:
    - {account_id: b, at: 2025-03-01T09:00:00Z, count_1d: 0}
    - {account_id: a, at: 2025-03-01T12:00:00Z, count_1d: 0, amount_sum_1d: 5}
"""
MISSPELT = "- {name: typo, view: activity, expect: [{account_id: a, at: 2025-03-01, count_1dd: 0}]}\n"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    pq.write_table(ROWS, tmp_path / "tx.parquet")
    (tmp_path / "asof.toml").write_text('name = "bank"\n')
    (tmp_path / "definitions.py").write_text(DEFINITIONS)
    (tmp_path / "cases").mkdir()
    (tmp_path / "cases" / "right.yaml").write_text(RIGHT)
    return tmp_path


def run(project: Path, *arguments: str) -> int:
    return run_app(app, ["test", "--project", str(project), *arguments])


def test_all_that_is_right_passes_and_leaves_nothing_behind(project, capsys):
    assert run(project) == 0
    shown = capsys.readouterr()
    assert shown.out == "3 passed\n"  # one case, one view, one label
    assert "test cases ..." in shown.err
    assert sorted(path.name for path in project.iterdir()) == [
        "asof.toml",
        "cases",
        "definitions.py",
        "tx.parquet",
    ]


def test_a_failing_case_prints_file_line_row_column_and_both_values(project, capsys):
    (project / "cases" / "wrong.yaml").write_text(WRONG)
    assert run(project, "--no-generated") == 1
    assert capsys.readouterr().out.splitlines() == [
        "FAILED  cases/wrong.yaml:2: nobody pays",
        "  row 2 (line 10): account_id=a at=2025-03-01T12:00:00Z",
        "    column    expected  got",
        "    count_1d  0         1",
        "    known by then:",
        "      tx: account_id=a amount=5 at=2025-03-01T09:00:00Z",
        "1 passed, 1 failed",
    ]


def test_a_wrong_case_is_a_usage_error_and_the_others_run(project, capsys):
    (project / "cases" / "a.yaml").write_text(MISSPELT)
    (project / "cases" / "wrong.yaml").write_text(WRONG)
    assert run(project, "--no-generated") == 2
    out = capsys.readouterr().out
    assert (
        "FAILED  cases/a.yaml:1: typo\n  expect: nothing is named 'count_1dd'\n  hint: did you mean 'count_1d'?"
        in out
    )
    assert out.endswith("1 passed, 2 failed\n")


def test_a_file_that_cannot_be_read_stops_everything(project, capsys):
    (project / "cases" / "a.yaml").write_text("- name: [")
    assert run(project) == 2
    assert "cases/a.yaml:1: is not YAML" in capsys.readouterr().err


def test_json_has_every_test_with_its_facts(project, capsys):
    (project / "cases" / "wrong.yaml").write_text(WRONG)
    assert run(project, "--json", "--examples", "2") == 1
    shown = capsys.readouterr()
    answer = json.loads(shown.out)
    assert shown.err == ""
    assert (answer["passed"], answer["failed"], answer["skipped"]) == (3, 1, 0)
    failed = next(test for test in answer["tests"] if test["state"] == "failed")
    assert failed == {
        "state": "failed", "place": "cases/wrong.yaml:2", "name": "nobody pays", "values": 3,
        "differences": [{"row": 2, "line": 10, "asked": {"account_id": "a", "at": "2025-03-01T12:00:00Z"},
                         "column": "count_1d", "expected": "0", "got": "1"}],
    }  # fmt: skip
    assert answer["tests"][-1] == {
        "state": "passed", "place": "generated", "name": "label 'again'", "examples": 2, "values": 40,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("pattern", "names"),
    [("right.yaml", ["two payments of a day"]), ("two*", ["two payments of a day"]), ("again", ["label 'again'"]),
     ("activity", ["two payments of a day", "feature view 'activity'"]), ("cases/*", ["two payments of a day"])],
)  # fmt: skip
def test_patterns_choose_cases_and_definitions(project, capsys, pattern, names):
    assert run(project, pattern, "--json", "--examples", "1") == 0
    assert [test["name"] for test in json.loads(capsys.readouterr().out)["tests"]] == names


def test_a_pattern_that_matches_nothing_is_refused(project, capsys):
    assert run(project, "nothing", "like it") == 2
    assert "no case and no definition matches nothing like it" in capsys.readouterr().err


def test_junit_is_xml_that_ci_servers_read(project):
    (project / "cases" / "wrong.yaml").write_text(WRONG)
    file = project / "out.xml"
    assert run(project, "--no-generated", "--junit", str(file)) == 1
    suite = ET.fromstring(file.read_text()).find("testsuite")  # noqa: S314 - our own
    assert {name: suite.get(name) for name in ("tests", "failures", "errors", "skipped")} == {
        "tests": "2", "failures": "1", "errors": "0", "skipped": "0",
    }  # fmt: skip
    assert [(test.get("classname"), test.get("name")) for test in suite] == [
        ("cases/right.yaml", "two payments of a day"), ("cases/wrong.yaml", "nobody pays"),
    ]  # fmt: skip
    assert "count_1d  0         1" in suite.find("testcase/failure").text


def test_junit_needs_a_folder_that_is_there(project, capsys):
    assert run(project, "--junit", str(project / "no" / "out.xml")) == 2
    assert "there is no folder" in capsys.readouterr().err


def test_junit_takes_any_text_and_tells_what_was_skipped():
    lines = [
        Line(SKIPPED, "generated", "view <&>", facts={"reason": "a\x00b"}),
        Line(FAILED, "c.yaml:1", "x\x07"),
    ]
    suite = ET.fromstring(as_junit(lines, 1.5)).find("testsuite")  # noqa: S314 - our own
    assert suite.find("testcase/skipped").get("message") == "a?b"
    assert [test.get("name") for test in suite] == ["view <&>", "x?"]
    assert suite.get("time") == "1.500"
    assert summary([*lines, Line(PASSED, "", "")]) == "1 passed, 1 failed, 1 skipped"


def test_definitions_whose_files_are_out_of_reach_are_skipped_unless_a_case_gives_types(project, capsys):
    (project / "tx.parquet").unlink()
    assert run(project, "--examples", "2") == 0
    out = capsys.readouterr().out
    assert "SKIPPED generated: feature view 'activity': no types for the columns of source 'tx'" in out
    assert "no file matches 'tx.parquet'" in out
    assert out.endswith("1 passed, 2 skipped\n")
    (project / "cases" / "types.yaml").write_text(
        RIGHT.replace("view: activity", "view: activity\n  types: {tx: {amount: float64}}")
    )
    assert run(project, "--examples", "2") == 0
    assert capsys.readouterr().out == "4 passed\n"


def test_a_project_without_cases_is_told_how_to_write_one(project, capsys):
    (project / "cases" / "right.yaml").unlink()
    assert run(project, "--examples", "1") == 0
    assert "no cases: write some to cases/*.yaml" in capsys.readouterr().err


def test_a_users_function_that_raises_fails_its_case_alone(project, capsys):
    (project / "definitions.py").write_text(
        DEFINITIONS
        + "from asof import request_feature\n\n"
        + "@request_feature(inputs=[activity['count_1d']])\n"
        + "def odd(count_1d):\n    raise RuntimeError('no')\n\n"
        + "odd_one = FeatureService('odd_one', [odd])\n"
    )
    row = "{account_id: a, at: 2025-03-01, odd: 1}"
    (project / "cases" / "odd.yaml").write_text(f"- {{name: odd, service: odd_one, expect: [{row}]}}\n")
    assert run(project, "--examples", "1") == 1
    out = capsys.readouterr().out
    assert "FAILED  cases/odd.yaml:1: odd" in out
    assert "request feature 'odd': RuntimeError in " in out


def test_seeds_and_examples_reach_the_generator(project, capsys):
    assert run(project, "--seed", "7", "--examples", "3", "--json") == 0
    tests = json.loads(capsys.readouterr().out)["tests"]
    assert [test["examples"] for test in tests if test["place"] == "generated"] == [3, 3]
    assert run(project, "--examples", "0") == 2


def test_a_fault_of_the_engine_is_shown_with_the_events_that_show_it(project, capsys, monkeypatch):
    from asof.flows.project import Project

    right = Project.training_set

    def wrong(self, service, **options):
        made = right(self, service, **options)
        return (
            made if "count_1d" not in made.table.column_names else made.select(["count_1d", "amount_sum_1d"])
        )

    monkeypatch.setattr("asof.testing.generated.check.differing", lambda *_: [(0, "count_1d")])
    monkeypatch.setattr(Project, "training_set", wrong)
    assert run(project, "activity", "--examples", "1") == 1
    out = capsys.readouterr().out
    assert "FAILED  generated: feature view 'activity'\n  column count_1d, example 0, as known" in out
    assert "oracle  engine" in out
    assert "that is a fault of asof" in out
