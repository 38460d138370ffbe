from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from asof.testing.clock import FakeClock
from asof.usage import LedgerMeter, MemoryMeter, Meter, NullMeter, UsageEvent, read_ledger


def a_run(meter: Meter, run_id: str = "r1", rows: int = 3) -> None:
    with meter.run("training_set", run_id=run_id, labels={"team": "risk"}) as run:
        with run.stage("read", asset="transactions") as stage:
            stage.rows += rows
            stage.bytes += 100
        with run.stage("compute"):
            pass


def test_each_stage_leaves_one_receipt_with_the_id_and_labels_of_its_run() -> None:
    meter = MemoryMeter(FakeClock("2025-01-01"))
    a_run(meter)
    read, compute = meter.events
    assert (read.run_id, read.flow, read.stage, read.asset) == ("r1", "training_set", "read", "transactions")
    assert (read.rows, read.bytes, read.started_us) == (3, 100, 1_735_689_600_000_000)
    assert (compute.run_id, compute.stage, compute.asset, compute.rows) == ("r1", "compute", "", 0)
    assert read.labels == compute.labels == {"team": "risk"}
    assert meter.flushes == 1


def test_a_run_keeps_its_receipts_for_the_report_of_its_flow() -> None:
    with NullMeter().run("plan") as run, run.stage("diff"):
        pass
    assert [event.stage for event in run.events] == ["diff"]
    assert len(run.run_id) == 32


def test_wall_and_processor_seconds_are_measured() -> None:
    meter = MemoryMeter()
    with meter.stage(flow="bench", stage="spin") as stage:
        while not stage.rows:
            stage.rows = int(sum(range(100_000)) > 0)
    (event,) = meter.events
    assert event.seconds > 0
    assert event.cpu_seconds >= 0


def test_threads_count_towards_processor_seconds() -> None:
    meter = MemoryMeter()

    def spin() -> None:
        sum(range(2_000_000))

    with meter.stage(flow="bench", stage="spin"):
        thread = threading.Thread(target=spin)
        thread.start()
        thread.join()
    assert meter.events[0].cpu_seconds > 0


def test_a_stage_that_fails_leaves_its_receipt_and_the_error_goes_on() -> None:
    meter = MemoryMeter()
    with pytest.raises(ZeroDivisionError), meter.run("backfill") as run, run.stage("write") as stage:
        stage.rows += 7
        raise ZeroDivisionError
    (event,) = meter.events
    assert (event.rows, event.labels) == (7, {"outcome": "failed"})
    assert meter.flushes == 1


def test_the_ledger_gives_back_what_was_written_and_is_one_file_a_day(tmp_path: Path) -> None:
    clock = FakeClock("2025-01-31T23:59:59Z")
    meter, kept = LedgerMeter(tmp_path / "usage", clock), MemoryMeter(clock)
    a_run(meter)
    clock.advance("1s")
    a_run(meter, "r2")
    assert sorted(file.name for file in (tmp_path / "usage").iterdir()) == [
        "2025-01-31.jsonl",
        "2025-02-01.jsonl",
    ]
    events = list(read_ledger(tmp_path / "usage"))
    a_run(kept)
    assert [event.run_id for event in events] == ["r1", "r1", "r2", "r2"]
    assert [(e.rows, e.bytes, e.labels) for e in events[:2]] == [
        (e.rows, e.bytes, e.labels) for e in kept.events
    ]
    assert list(read_ledger(tmp_path / "usage" / "2025-02-01.jsonl")) == events[2:]


def test_nothing_is_written_before_the_flush_and_nothing_for_an_empty_run(tmp_path: Path) -> None:
    meter = LedgerMeter(tmp_path / "usage")
    with meter.run("plan") as run:
        with run.stage("diff"):
            pass
        assert not (tmp_path / "usage").exists()
    assert (tmp_path / "usage").exists()
    with LedgerMeter(tmp_path / "other").run("plan"):
        pass
    assert not (tmp_path / "other").exists()


def test_a_flow_without_end_does_not_keep_all_its_receipts_in_memory(tmp_path: Path) -> None:
    meter = LedgerMeter(tmp_path)
    run = meter.run("stream")
    for _ in range(1_500):
        with run.stage("apply"):
            pass
    assert len(list(read_ledger(tmp_path))) == 1_000


def test_half_a_line_costs_no_other_receipt(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    clock = FakeClock("2025-01-01")
    a_run(LedgerMeter(tmp_path, clock))
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:-20])  # a crash in the middle of a write
    assert [event.stage for event in read_ledger(tmp_path)] == ["read"]
    a_run(LedgerMeter(tmp_path, clock), "r2")
    assert [(e.run_id, e.stage) for e in read_ledger(tmp_path)] == [
        ("r1", "read"),
        ("r2", "read"),
        ("r2", "compute"),
    ]
    assert "line 2: not a receipt, skipped" in caplog.text


def test_a_key_that_a_later_version_added_is_passed_over(tmp_path: Path) -> None:
    a_run(LedgerMeter(tmp_path, FakeClock("2025-01-01")))
    (file,) = tmp_path.iterdir()
    line = json.loads(file.read_text().splitlines()[0])
    file.write_text(json.dumps({**line, "gpu_seconds": 1}) + "\n[]\n{}\n")
    assert list(read_ledger(file)) == [UsageEvent(**line)]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_does_not_fail_the_flow_and_is_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "2025-01-01.jsonl").symlink_to("/dev/full")
    meter = LedgerMeter(tmp_path, FakeClock("2025-01-01"))
    with caplog.at_level(logging.WARNING):
        a_run(meter)
        a_run(meter)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "2 receipts lost" in caplog.text


def test_a_folder_that_cannot_be_made_does_not_fail_the_flow(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "usage").write_text("a file where the folder should be")
    a_run(LedgerMeter(tmp_path / "usage"))
    assert "receipts lost" in caplog.text


def test_processes_and_threads_may_share_a_ledger(tmp_path: Path) -> None:
    code = (
        "import sys, threading; from pathlib import Path; from asof.usage import LedgerMeter\n"
        "meter = LedgerMeter(Path(sys.argv[1]))\n"
        "def work():\n"
        "    for _ in range(50):\n"
        "        with meter.stage(flow='f', stage='s'): pass\n"
        "threads = [threading.Thread(target=work) for _ in range(4)]\n"
        "[t.start() for t in threads]; [t.join() for t in threads]\n"
    )
    workers = [subprocess.Popen([sys.executable, "-c", code, os.fspath(tmp_path)]) for _ in range(2)]
    assert [worker.wait(60) for worker in workers] == [0, 0]
    assert len(list(read_ledger(tmp_path))) == 2 * 4 * 50
