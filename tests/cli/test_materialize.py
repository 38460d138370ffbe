"""materialize, backfill, online stats, and what they mean for apply, promote and env, as a script uses them."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from asof.registry.store import open_registry
from tests.cli.test_plan_and_apply import edit, plain_environment, run  # noqa: F401 - a fixture for all tests here

HOUR = 3_600_000_000
DEFINITIONS = """
from asof import Entity, Events, FeatureService, FeatureView, Model, Parquet, count, sum

account = Entity("account", keys={"account_id": "string"})
tx = Events("tx", Parquet("tx.parquet"), event_time="at")
activity = FeatureView("activity", entity=account, source=tx, features=[count().over("1d")], online=True)
volume = FeatureView("volume", entity=account, source=tx, features=[sum("amount").over("36500d")])
unread = FeatureView("unread", entity=account, source=tx, features=[count().over("2d")])
risk = FeatureService("risk", [activity, volume])
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    rows = {
        "account_id": ["a", "a", "b", "c"],
        "amount": [5, 7, 9, 1],
        "at": pa.array([1 * HOUR, 20 * HOUR, 30 * HOUR, 40 * HOUR], pa.timestamp("us")),
    }
    pq.write_table(pa.table(rows), tmp_path / "tx.parquet")
    (tmp_path / "asof.toml").write_text('name = "bank"\nuser = "anna"\n')
    (tmp_path / "definitions.py").write_text(DEFINITIONS)
    return tmp_path


def held(folder: Path) -> dict[str, int]:
    """Records of each version that the registry knows to be held, by namespace."""
    registry = open_registry(f"sqlite:///{folder / '.asof' / 'registry.sqlite'}")
    try:
        return {each.namespace: each.rows for each in registry.materialized()}
    finally:
        registry.close()


def test_a_dry_run_tells_and_does_nothing(project: Path) -> None:
    done = run(project, "materialize", "--dry-run", "--until", "1970-01-02T00:00:00Z")
    assert done.stdout.splitlines() == [
        "view      from  until                 what",
        "activity  -     1970-01-02T00:00:00Z  the records are made anew",
        "volume    -     1970-01-02T00:00:00Z  the records are made anew",
        "source 'tx' is read once for activity, volume",
    ]
    assert done.stderr == "nothing was changed\n"
    told = json.loads(run(project, "materialize", "--dry-run", "--json", "--until", "1970-01-02").stdout)
    assert [(each["view"], each["read_with"], each["whole"]) for each in told["views"]] == [
        ("activity", ["volume"], True), ("volume", ["activity"], True)
    ]  # fmt: skip
    assert json.loads(run(project, "online", "stats", "--json").stdout)["views"][0]["watermark"] is None


def test_runs_go_on_where_the_last_one_ended(project: Path) -> None:
    done = run(project, "materialize", "--until", "1970-01-02T00:00:00Z", "-q")
    assert done.stdout.splitlines() == [
        "view      from  until                 rows  records  removed  bytes  entities",
        "activity  -     1970-01-02T00:00:00Z     2        1        0     58         1",
        "volume    -     1970-01-02T00:00:00Z     2        1        0     76         1",
    ]
    answer = json.loads(run(project, "materialize", "--until", "1970-01-02T12:00:00Z", "--json").stdout)
    (first, second) = answer["views"]
    assert (first["from"], first["until"]) == ("1970-01-01T23:00:00Z", "1970-01-02T12:00:00Z")
    assert (first["rows"], first["records"], first["entities"], first["whole"]) == (1, 1, 2, False)
    assert answer["rows"] == 4
    assert second["held_bytes"] > second["bytes"]
    again = run(project, "materialize", "--until", "1970-01-02T12:00:00Z", "-q")
    assert again.stdout.count("nothing: already at its watermark") == 2
    done = run(project, "backfill", "--views", "activity", "--until", "1970-01-02T12:00:00Z", "-q")
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["view", "activity"]


def test_an_end_before_the_watermark_is_told_as_nothing_to_do(project: Path) -> None:
    run(project, "materialize", "--until", "1970-01-02T12:00:00Z", "-q")
    end, note = "1970-01-02T12:00:00Z", "nothing: already at its watermark"
    done = run(project, "materialize", "--until", "1970-01-02T00:00:00Z", "-q")
    assert done.stdout.splitlines()[1] == (
        f"activity  {end}  {end}     0        0        0      0         2  {note}"
    )
    dry = run(project, "materialize", "--until", "1970-01-02T00:00:00Z", "--dry-run")
    assert dry.stdout.splitlines()[1] == f"activity  {end}  {end}  {note}"
    registry = open_registry(f"sqlite:///{project / '.asof' / 'registry.sqlite'}")
    assert {each.until_us for each in registry.materialized()} == {36 * HOUR}
    registry.close()


def test_views_by_name_with_commas_or_several_times(project: Path) -> None:
    for options in (["--views", "unread,volume"], ["--views", "unread", "--views", "volume"]):
        answer = json.loads(run(project, "backfill", "--json", *options).stdout)
        assert [each["view"] for each in answer["views"]] == ["unread", "volume"]
    done = run(project, "materialize", "--views", "volumes")
    assert done.returncode == 2
    assert done.stderr == "error: no feature view 'volumes'\nhint: did you mean 'volume'?\n"


@pytest.mark.parametrize("command", ["materialize", "backfill"])
def test_a_future_end_is_refused(project: Path, command: str) -> None:
    done = run(project, command, "--until", "2999-01-01")
    assert done.returncode == 2
    assert "--until lies in the future" in done.stderr
    assert not (project / ".asof" / "online").exists()


def test_stats_show_sizes_and_keys_only_when_asked(project: Path) -> None:
    run(project, "backfill", "--until", "1970-01-02T18:00:00Z", "-q")
    (activity, volume) = json.loads(run(project, "online", "stats", "--json").stdout)["views"]
    assert (volume["records"], volume["total_bytes"], volume["max_bytes"]) == (3, 76 + 72 + 72, 76)
    assert (volume["p50_bytes"], volume["p99_bytes"]) == (72, 76)
    assert (activity["layout"], activity["watermark"]) == ("rows", "1970-01-02T18:00:00Z")
    assert activity["floor"] == "1970-01-02T17:00:00Z"
    assert all(each["key"].startswith("#") for each in volume["largest"])
    shown = run(project, "online", "stats", "volume", "--show-keys", "--largest", "1")
    assert shown.stdout.splitlines()[-1].split() == ["volume", "a", "76"]
    assert "activity" not in shown.stdout
    told = run(project, "online", "stats", "unread")
    assert "not materialized: asof materialize --views unread" in told.stdout


def test_prod_takes_a_view_to_be_served_once_it_is_materialized(project: Path) -> None:
    done = run(project, "apply", "--yes")
    assert done.returncode == 1
    assert "hint: fill it first, with the code that defines it: asof materialize" in done.stderr
    run(project, "materialize", "-q")
    assert run(project, "apply", "--yes").stdout == "revision 1\n"
    edit(project, '"1d"', '"3d"')
    assert run(project, "apply", "--yes").returncode == 1
    run(project, "apply", "--env", "staging", "--create", "--yes")
    assert run(project, "materialize", "--env", "staging", "-q").returncode == 0
    assert run(project, "promote", "staging", "--yes").stdout == "revision 3\n"


def test_with_an_environment_only_its_versions_are_filled(project: Path) -> None:
    run(project, "apply", "--env", "staging", "--create", "--yes")
    edit(project, '"1d"', '"3d"')
    done = run(project, "materialize", "--env", "staging", "-q")
    assert done.returncode == 1
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["view", "volume"]
    assert done.stderr.splitlines()[-2:] == [
        "error: environment 'staging' serves versions that are not in this code: activity",
        "hint: run it with the code that was applied, or apply this code",
    ]
    edit(project, '"3d"', '"1d"')
    assert run(project, "materialize", "--env", "staging", "-q").returncode == 0
    assert run(project, "materialize", "--env", "nowhere", "-q").returncode == 2


def test_removing_an_environment_drops_the_records_that_only_it_has(project: Path) -> None:
    run(project, "materialize", "-q")
    run(project, "apply", "--yes")
    before = held(project)
    edit(project, '"1d"', '"3d"')
    run(project, "apply", "--env", "dev", "--create", "--yes")
    run(project, "materialize", "--env", "dev", "-q", "--until", "1970-01-02T18:00:00Z")
    (own,) = set(held(project)) - set(before)
    done = run(project, "env", "remove", "dev", "--yes", "--json")
    answer = json.loads(done.stdout)
    assert (answer["removed"], answer["dropped"]) == (["dev"], [own])
    assert answer["dropped_bytes"] > 0
    assert set(held(project)) == set(before)
    (stats,) = json.loads(run(project, "online", "stats", "activity", "--json").stdout)["views"]
    assert (stats["namespace"], stats["records"]) == (own, 0)


def test_cleaning_keeps_what_was_materialized_lately_and_is_not_applied_yet(project: Path) -> None:
    run(project, "materialize", "-q", "--views", "unread")
    run(project, "materialize", "-q", "--views", "volume", "--until", "1970-01-02T18:00:00Z")
    done = run(project, "env", "clean", "--yes")
    assert done.stderr.splitlines()[0] == "nothing to remove"
    assert done.stderr.splitlines()[1].startswith("dropped the online records of 1 version, ")
    assert len(held(project)) == 1


def test_an_environment_is_created_with_json(project: Path) -> None:
    run(project, "materialize", "-q")
    run(project, "apply", "--yes")
    answer = json.loads(run(project, "env", "create", "dev", "--json").stdout)
    assert answer == {"environment": "dev", "base": "prod", "revision": 2}
