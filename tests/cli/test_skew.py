"""`asof skew`: exit codes, the report as text and JSON, keys only when they are asked for, samples and records."""

from __future__ import annotations

import json

import pytest

import asof
from asof.cli.app import app, run_app
from asof.flows.request_log import RequestLog
from asof.testing.clock import FakeClock

DEFINITIONS = """
from asof import CSV, Entity, Events, FeatureService, FeatureView, count, sum

account = Entity("account", keys={"account_id": "string"})
payments = Events(
    "payments", CSV("payments.csv", columns={"amount": "decimal(18,2)"}), event_time="paid_at", known_at="known_at"
)
activity = FeatureView(
    "activity", entity=account, source=payments, features=[count().over("30d"), sum("amount").over("30d")]
)
risk = FeatureService("risk", features=[activity])
"""
HEAD = "account_id,amount,paid_at,known_at\n"
ANN = "ann,10.50,2026-01-01T10:00:00Z,2026-01-01T10:00:01Z\n"
ROWS = HEAD + ANN + "leo,3.00,2026-01-03T10:00:00Z,2026-01-03T10:00:01Z\n"
BEHIND = ROWS + "ann,4.25,2026-01-02T10:00:00Z,2026-01-02T10:00:01Z\n"


@pytest.fixture
def folder(tmp_path):
    """A project whose answers of 2026-01-04 are in a log."""
    (tmp_path / "asof.toml").write_text('name = "risk"\n')
    (tmp_path / "definitions.py").write_text(DEFINITIONS)
    (tmp_path / "payments.csv").write_text(ROWS)
    project = asof.open(tmp_path, clock=FakeClock("2026-01-04T00:00:00Z"))
    project.materialize()
    reader = project.online()
    entities = {"account_id": ["ann", "leo", "nobody"]}
    with RequestLog(tmp_path / "requests") as log:
        log.write("risk", entities, None, reader.read("risk", entities))
    reader.close()
    return tmp_path


def run(folder, *arguments):
    return run_app(app, ["skew", "risk", "--project", str(folder), *arguments])


def test_a_log_without_differences_is_exit_0(folder, capsys):
    assert run(folder, "--log", str(folder / "requests")) == 0
    assert "3 rows, 6 values compared, 0 different" in capsys.readouterr().out


def test_a_difference_is_exit_1_and_names_no_key(folder, capsys):
    (folder / "payments.csv").write_text(BEHIND)
    assert run(folder, "--log", str(folder / "requests")) == 1
    out = capsys.readouterr().out
    assert "count_30d, row 0, at 2026-01-04T00:00:00+00:00: online 1, offline 2" in out
    assert "ann" not in out


def test_keys_and_records_are_shown_when_they_are_asked_for(folder, capsys):
    (folder / "payments.csv").write_text(BEHIND)
    assert run(folder, "--log", str(folder / "requests"), "--show-keys", "--record", "--json") == 1
    found = json.loads(capsys.readouterr().out)
    assert (found["rows"], found["compared"], found["different"]) == (3, 6, 2)
    first = found["differences"][0]
    assert (first["feature"], first["keys"]) == ("count_30d", {"account_id": "ann"})
    assert (first["online"], first["offline"]) == (1, 2)
    assert [row["amount"] for row in first["record"]] == ["10.50"]
    assert found["features"][1]["largest_absolute"] == 4.25


def test_a_record_as_text(folder, capsys):
    (folder / "payments.csv").write_text(BEHIND)
    assert run(folder, "--log", str(folder / "requests"), "--record") == 1
    assert "event_time 2026-01-01 10:00:00+00:00" in capsys.readouterr().out


def test_a_sample_reads_now_and_is_replayed(folder, capsys):
    assert run(folder, "--sample", "5", "--json") == 0
    assert json.loads(capsys.readouterr().out)["rows"] == 2


def test_a_part_of_the_log(folder, capsys):
    log = ("--log", str(folder / "requests"))
    assert run(folder, *log, "--limit", "1", "--json") == 0
    assert json.loads(capsys.readouterr().out)["rows"] == 1
    assert run(folder, *log, "--until", "2026-01-04", "--json") == 0
    assert json.loads(capsys.readouterr().out)["rows"] == 0


@pytest.mark.parametrize("arguments", [(), ("--log", "requests", "--sample", "3")])
def test_a_log_or_a_sample_has_to_be_named(folder, arguments):
    assert run(folder, *arguments) == 2


def test_no_log_is_exit_1(folder, capsys):
    assert run(folder, "--log", str(folder / "nothing")) == 1
    assert "nothing of service 'risk'" in capsys.readouterr().err
