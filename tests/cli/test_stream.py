"""`asof stream` and `asof dead-letter` on a project in a folder: followed, looked at, replayed, mended, ended."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import asof
from asof.define.fingerprint import fingerprint
from asof.flows.online import open_online_store
from asof.flows.stream_checkpoint import Checkpoint, Checkpoints
from asof.flows.stream_landing import landed_chain
from asof.flows.stream_open import open_source_stream, streamed_source
from asof.registry.state import namespace_of
from asof.streams.stream import Outgoing
from tests.cli.test_plan_and_apply import edit, plain_environment, run  # noqa: F401 - a fixture for all tests here

DEFINITIONS = """
from asof import Entity, Events, FeatureService, FeatureView, Landed, Log, count, sum

account = Entity("account", keys={"account_id": "string"})
tx = Events(
    "tx",
    Landed(columns={"account_id": "string", "amount": "int64", "at": "timestamp", "known_at": "timestamp"}),
    event_time="at", known_at="known_at", stream=Log(partitions=2, partition_by="account_id"),
)
activity = FeatureView(
    "activity", entity=account, source=tx, features=[count().over("3650d"), sum("amount").over("3650d")],
    online=True, freshness="60s",
)
risk = FeatureService("risk", [activity])
"""
ROWS = [
    {"account_id": "ann", "amount": 5, "at": "2026-01-01T10:00:00Z"},
    {"account_id": "ann", "amount": 7, "at": "2026-01-01T11:00:00Z"},
    {"account_id": "bob", "amount": 9, "at": "2026-01-02T10:00:00Z"},
]
LARGE = b'{"account_id": "ann", "amount": 3000000000, "at": "2026-01-01T12:00:00Z"}'
WRONG = b'{"account_id": "ann", "amount": "seven", "at": "2026-01-01T12:00:00Z"}'


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "asof.toml").write_text('name = "bank"\nuser = "anna"\n')
    (tmp_path / "definitions.py").write_text(DEFINITIONS)
    return tmp_path


def follow(folder: Path, *arguments: str) -> dict[str, Any]:
    done = run(folder, "stream", "--until-idle", "--json", *arguments)
    assert done.returncode == 0, done.stderr + done.stdout
    return json.loads(done.stdout)["sources"]


def push(folder: Path, *rows: dict[str, Any]) -> None:
    asof.open(folder).push("tx", list(rows))


def push_raw(folder: Path, *events: bytes) -> None:
    """Events past every check, as other producers may write them."""
    project = asof.open(folder)
    stream = open_source_stream(project, streamed_source(project, "tx"))
    for event in events:
        stream.append(Outgoing(1, "json", events=[event], keys=[b"ann"]))
    stream.close()


def online(folder: Path, *accounts: str) -> list[tuple[Any, ...]]:
    reader = asof.open(folder).online()
    try:
        table = reader.read("risk", {"account_id": list(accounts)}).to_arrow()
    finally:
        reader.close()
    return [(row["count_3650d"], row["amount_sum_3650d"]) for row in table.to_pylist()]


def status(folder: Path, *arguments: str) -> dict[str, Any]:
    (found,) = json.loads(run(folder, "stream", "status", "--json", *arguments).stdout)["sources"]
    return found


def checkpoints(folder: Path) -> dict[int, Checkpoint]:
    store = open_online_store(asof.open(folder))
    try:
        return Checkpoints(store, "tx").all()
    finally:
        store.close()


def test_what_was_pushed_is_read_online_once_the_worker_has_been_there(project: Path) -> None:
    push(project, *ROWS)
    done = run(project, "stream", "--until-idle", "-q")
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines() == [
        "materializing activity", "following tx", "tx: 3 events; 2 records written"
    ]  # fmt: skip
    assert online(project, "ann", "bob", "zoe") == [(2, 12), (1, 9), (0, 0)]
    push(project, ROWS[2])
    assert follow(project, "tx") == {
        "tx": {
            "events": 1,
            "dead": 0,
            "views": {
                "activity": {
                    "applied": 1, "repeated": 0, "late": 0, "unkeyed": 0, "records": 1, "conflicts": 0
                }
            },
        }
    }  # fmt: skip
    assert online(project, "ann", "bob") == [(2, 12), (2, 18)]
    assert run(project, "stream", "--until-idle").stderr.splitlines() == ["following tx", "no new events"]


def test_batches_of_one_event_come_to_the_same(project: Path) -> None:
    push(project, *ROWS)
    assert follow(project, "--batch", "1", "--no-backfill")["tx"]["events"] == 3
    assert run(project, "materialize", "-q").returncode == 0
    assert online(project, "ann", "bob") == [(2, 12), (1, 9)]


def test_status_tells_what_waits_before_and_that_nothing_does_after(project: Path) -> None:
    push(project, *ROWS)
    before = status(project)
    assert (before["lag_events"], before["problem"]) == (3, None)
    assert [(each["next"], each["known"], each["worker"]) for each in before["partitions"]] == [
        (0, None, False), (0, None, False)
    ]  # fmt: skip
    assert before["lag_s"] > 0
    follow(project)
    after = status(project, "tx")
    assert (after["lag_events"], after["lag_s"]) == (0, 0.0)
    assert sum(each["events"] for each in after["partitions"]) == 3
    assert all(each["next"] == each["end"] and not each["worker"] for each in after["partitions"])
    assert after["views"] == [
        {"view": "activity", "age_s": 0.0, "freshness_s": 60.0, "waiting": 0, "late": False}
    ]
    shown = run(project, "stream", "status").stdout.splitlines()
    assert " ".join(shown[0].split()) == (
        "source partition worker lag lag s known before events/s events dead late repeated"
    )
    assert shown[-1].split() == ["activity", "tx", "0.0", "60.0", "ok"]


def test_status_checks_the_freshness_of_views(project: Path) -> None:
    edit(project, 'freshness="60s"', 'freshness="1us"')
    push(project, *ROWS)
    done = run(project, "stream", "status", "--check")
    assert (done.returncode, done.stderr) == (1, "late: activity\n")
    assert done.stdout.splitlines()[-1].split()[-1] == "late"
    follow(project)
    assert run(project, "stream", "status", "--check").returncode == 0


def test_status_tells_what_workers_know_of_a_stream_that_cannot_be_reached(project: Path) -> None:
    push(project, *ROWS)
    follow(project)
    (project / "asof.toml").write_text(
        'name = "bank"\nstream.folder = "asof.toml/x"\nstream.landing = ".asof/landed"\n'
    )
    found = status(project)
    assert found["problem"] is not None
    assert (found["lag_events"], found["lag_s"]) == (None, None)
    assert sum(each["next"] for each in found["partitions"]) == 3


def test_a_project_without_a_stream_is_told_the_cure(project: Path) -> None:
    edit(project, "    online=True, ", "    ")
    edit(project, 'risk = FeatureService("risk", [activity])', "")
    done = run(project, "stream", "--until-idle")
    assert done.returncode == 1
    assert "hint: say online=True of a view, or name the source: asof stream tx" in done.stderr
    done = run(project, "stream", "ty")
    assert (done.returncode, done.stderr) == (2, "error: no source 'ty'\nhint: allowed: tx\n")


def test_a_source_without_views_is_landed_when_it_is_named(project: Path) -> None:
    edit(project, "    online=True, ", "    ")
    edit(project, 'risk = FeatureService("risk", [activity])', "")
    push(project, *ROWS)
    assert run(project, "stream", "tx", "--until-idle", "-q").returncode == 0
    landed = project / ".asof" / "landed" / "tx"
    assert sum(file.end - file.start for p in (0, 1) for file, _ in landed_chain(landed, p)) == 3


def test_dead_letters_are_listed_mended_and_tried_again(project: Path) -> None:
    push(project, *ROWS)
    push_raw(project, WRONG, b"{")
    assert follow(project)["tx"]["dead"] == 2
    letters = json.loads(run(project, "dead-letter", "list", "tx", "--json").stdout)["letters"]
    assert [sorted(each) for each in letters] == [["at", "offset", "reason"]] * 2
    done = run(project, "dead-letter", "list", "tx")
    assert (done.stderr, "seven" in done.stdout) == ("2 dead letters\n", False)
    (shown,) = json.loads(
        run(project, "dead-letter", "list", "tx", "--reason", "AMOUNT", "--show-events", "--json").stdout
    )["letters"]
    assert shown["event"] == WRONG.decode()
    done = run(project, "dead-letter", "retry", "tx", "--all", "--json")
    assert (done.returncode, json.loads(done.stdout)["retried"]) == (1, 0)
    assert run(project, "dead-letter", "list", "tx").stderr == "2 dead letters\n"


def test_after_the_definition_was_mended_dead_letters_go_through_the_stream_again(project: Path) -> None:
    edit(project, '"int64"', '"int32"')
    push(project, *ROWS)
    push_raw(project, LARGE, LARGE, WRONG)
    assert follow(project)["tx"]["dead"] == 3
    first, second, wrong = json.loads(run(project, "dead-letter", "list", "tx", "--json").stdout)["letters"]
    edit(project, '"int32"', '"int64"')
    done = run(project, "dead-letter", "retry", "tx", "--offset", first["offset"])
    assert (done.returncode, done.stdout) == (0, "1 events are in the stream of 'tx' again\n"), done.stderr
    follow(project)
    assert online(project, "ann", "bob") == [(3, 3_000_000_012), (1, 9)]
    done = run(project, "dead-letter", "retry", "tx", "--all")
    assert (done.returncode, done.stdout) == (1, "1 events are in the stream of 'tx' again\n")
    assert done.stderr.startswith(f"{wrong['offset']} is still wrong: source 'tx': event 0: ")
    assert "seven" not in done.stderr
    follow(project)
    assert online(project, "ann", "bob") == [(4, 6_000_000_012), (1, 9)]
    left = json.loads(run(project, "dead-letter", "list", "tx", "--json").stdout)["letters"]
    assert [each["offset"] for each in left] == [wrong["offset"]]
    assert second["offset"] != wrong["offset"]


def test_a_mended_event_is_pushed_and_its_letter_dropped(project: Path) -> None:
    push_raw(project, WRONG)
    follow(project)
    (letter,) = json.loads(run(project, "dead-letter", "list", "tx", "--json").stdout)["letters"]
    push(project, {"account_id": "ann", "amount": 7, "at": "2026-01-01T12:00:00Z"})
    done = run(project, "dead-letter", "drop", "tx", "--offset", letter["offset"])
    assert done.stdout == "1 dead letters of 'tx' were dropped\n"
    follow(project)
    assert online(project, "ann") == [(1, 7)]
    done = run(project, "dead-letter", "drop", "tx", "--offset", letter["offset"])
    assert (done.returncode, done.stderr.splitlines()[0]) == (
        1, f"error: source 'tx': no dead letter at {letter['offset']}"
    )  # fmt: skip


def test_dead_letters_have_to_be_named(project: Path) -> None:
    for arguments in ([], ["--all", "--offset", "0:1"], ["--offset", "7"]):
        assert run(project, "dead-letter", "retry", "tx", *arguments).returncode == 2


def namespace(folder: Path) -> str:
    return namespace_of(fingerprint(asof.open(folder).definitions.get("feature_view", "activity")))


def test_a_replay_gives_the_same_answers_on_good_records_and_on_wiped_ones(project: Path) -> None:
    push(project, *ROWS)
    follow(project)
    before = online(project, "ann", "bob")
    done = run(project, "stream", "replay", "tx", "--from", "2026-01-01T00:00:00Z", "--json")
    assert sum(each["events"] for each in json.loads(done.stdout)["partitions"]) == 3, done.stderr
    assert status(project)["views"][0]["waiting"] == 3
    assert follow(project) == {}
    assert status(project)["views"][0]["waiting"] == 0
    assert online(project, "ann", "bob") == before == [(2, 12), (1, 9)]
    store = open_online_store(asof.open(project))
    store.drop(namespace(project))
    store.close()
    assert run(project, "backfill", "-q", "--until", "2026-01-01T00:00:00Z").returncode == 0
    assert online(project, "ann", "bob") == [(0, 0), (0, 0)]
    assert run(project, "stream", "replay", "tx", "--from", "0").returncode == 0
    follow(project)
    assert online(project, "ann", "bob") == before


def test_a_replay_of_one_partition_and_view_by_offset(project: Path) -> None:
    push(project, *ROWS)
    follow(project)
    (ann,) = [each for each, at in checkpoints(project).items() if at.next == 2]
    done = run(
        project, "stream", "replay", "tx", "--from", "1", "--partition", str(ann), "--view", "activity"
    )
    assert done.stdout.splitlines()[1].split() == [str(ann), "1", "2", "1"]
    assert checkpoints(project)[ann].views == {namespace(project): 1}
    assert run(project, "stream", "replay", "tx", "--from", "1").returncode == 2
    assert run(project, "stream", "replay", "tx").returncode == 2
    assert run(project, "stream", "replay", "tx", "--from", "0", "--view", "nope").returncode == 2


def test_a_replay_before_any_worker_is_refused(project: Path) -> None:
    push(project, *ROWS)
    done = run(project, "stream", "replay", "tx", "--from", "0")
    assert (done.returncode, done.stderr.splitlines()) == (
        1,
        [
            "error: source 'tx': no worker has come yet, so that nothing was applied",
            "hint: `asof stream` reads all that the stream holds",
        ],
    )


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "asof", "stream", "--json", *arguments],
        cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def test_sigterm_leaves_a_checkpoint_at_the_last_event(project: Path) -> None:
    push(project, *ROWS)
    worker = start(project)
    try:
        deadline = time.monotonic() + 120
        while (
            not any(each["worker"] for each in status(project)["partitions"]) or status(project)["lag_events"]
        ):
            assert worker.poll() is None, worker.communicate()
            assert time.monotonic() < deadline
        push(project, ROWS[2])
        while status(project)["lag_events"]:
            assert time.monotonic() < deadline
        worker.send_signal(signal.SIGTERM)
        out, err = worker.communicate(timeout=60)
    finally:
        worker.kill()
    assert worker.returncode == 0, err
    assert json.loads(out)["sources"]["tx"]["events"] == 4
    assert sorted(each.next for each in checkpoints(project).values()) == [2, 2]
    assert online(project, "ann", "bob") == [(2, 12), (2, 18)]
    assert "stopping: what was applied is landed" in err
