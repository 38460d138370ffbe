"""A run that dies anywhere and is run again leaves exactly what one leaves that did not die."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from asof import Events, FeatureView, Parquet
from asof.errors import AsofError, BackendError, CorruptSource
from asof.flows import materialize_rows, materialize_write
from asof.flows.materialize_write import watermark_of
from asof.online.store import META_KEY
from tests.flows.materializing import (
    HOUR,
    Bench,
    Hooked,
    down,
    events,
    open_lmdb,
    space,
    table,
    uncounted,
    view_of,
    view_of_tiles,
    view_with_last,
)

ROOT = Path(__file__).parents[2]
ROWS = [(f"a{i * 7 % 5}", i / 4, i, i / 4 + (i % 5) / 4, f"e{i}") for i in range(40)]


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch):
    """Many calls of the store for few records."""
    monkeypatch.setattr(materialize_write, "_WRITE_AT_ONCE", 2)
    monkeypatch.setattr(materialize_write, "_READ_AT_ONCE", 5)


@pytest.fixture(params=["window", "newest", "revised", "tiles"])
def view(request) -> FeatureView:
    if request.param == "tiles":
        return view_of_tiles(events(table(ROWS)))
    if request.param == "newest":
        return view_with_last(events(table(ROWS)))
    return view_of(events(table(ROWS), key="id" if request.param == "revised" else None))


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_run_that_fails_at_any_call_of_the_store_can_be_run_again(tmp_path, view, moment):
    real = open_lmdb(tmp_path)
    bench = Bench(real)
    for until in (4, 6, 9):
        bench.run(until, view)
    wanted, failures = bench.records(view), 0
    for at in range(1, 200):
        real.drop(space(view))
        bench.run(4, view)
        hooked = Hooked(real)
        setattr(hooked, moment, down(at))
        try:
            Bench(hooked).run(6, view)
        except BackendError:
            failures += 1
            meta = bench.meta(view)
            assert meta is not None
            last_call = moment == "after" and meta.watermark_us == 6 * HOUR
            assert meta.watermark_us == 4 * HOUR or last_call
            bench.run(6, view)
        bench.run(9, view)
        assert uncounted(bench.records(view)) == uncounted(wanted)
        if hooked.calls < at:
            break
    assert failures > 5
    real.close()


def test_a_backfill_that_fails_at_any_call_can_be_run_again(tmp_path, view):
    real = open_lmdb(tmp_path)
    bench = Bench(real)
    bench.run(6, view)
    fresh, failures = bench.records(view), 0
    for at in range(1, 200):
        real.drop(space(view))
        bench.run(4, view)
        hooked = Hooked(real)
        hooked.before = down(at)
        try:
            Bench(hooked).run(6, view, whole=True)
        except BackendError:
            failures += 1
            bench.run(6, view, whole=True)
        assert bench.records(view) == fresh
        if hooked.calls < at:
            break
    assert failures > 5
    real.close()


def test_a_source_that_breaks_half_way_moves_no_watermark(tmp_path, monkeypatch, view):
    bench = Bench(open_lmdb(tmp_path))
    bench.run(4, view)
    before = bench.records(view)

    def broken(*_: object) -> None:
        raise CorruptSource("source 'tx': half a file")

    with monkeypatch.context() as patched:
        patched.setattr(materialize_rows, "_within", broken)
        with pytest.raises(AsofError, match="half a file"):
            bench.run(6, view)
    assert bench.records(view) == before
    assert bench.run(6, view)[0].done
    bench.store.close()


def test_the_views_that_were_done_before_a_failure_keep_what_they_have(tmp_path):
    source = events(table(ROWS))
    first, second = view_of(source), view_with_last(events(table(ROWS), name="other"))
    real = open_lmdb(tmp_path)
    hooked = Hooked(real)
    hooked.before = lambda name, _: (
        down(1)(name, 1) if name == "write" and Bench(real).meta(first) is not None else None
    )
    with pytest.raises(BackendError):
        Bench(hooked).run(6, first, second)
    bench = Bench(real)
    assert bench.meta(first) is not None
    assert bench.meta(second) is None
    reports = bench.run(6, first, second)
    assert [(report.done, report.rows > 0) for report in reports] == [(True, False), (True, True)]
    real.close()


# ------------------------------------------------------------------------------------------------ kill -9
PROCESS = """
import os, sys
from pathlib import Path
import numba
from asof.flows import materialize_write
from tests.flows import test_materialize_faults as tests
from tests.flows.materializing import Bench, open_lmdb
materialize_write._WRITE_AT_ONCE = 40
for line in sys.stdin:  # a run for each line, in a process of its own
    folder, until, how = line.rstrip().split("|")
    if (pid := os.fork()) == 0:
        Bench(open_lmdb(Path(folder))).run(float(until), *tests.killed_views(Path(folder).parent), whole=how == "whole")
        os._exit(0)
    print(pid, flush=True)
    print(os.waitpid(pid, 0)[1], flush=True)
"""


def killed_views(folder: Path) -> list[FeatureView]:
    """Views over a file, that two processes see as the same."""
    plain = Events("tx", Parquet(str(folder / "tx.parquet")), event_time="at", known_at="known")
    revised = Events("rx", Parquet(str(folder / "tx.parquet")), event_time="at", known_at="known", key="id")
    return [view_of(plain), view_of(revised, "revised")]


def write_source(folder: Path) -> None:
    rows = [(f"a{i * 7 % 601}", i / 500, i, i / 500 + (i % 5) / 4, f"e{i % 3900}") for i in range(4000)]
    pq.write_table(table(rows), folder / "tx.parquet")


@contextmanager
def runner() -> Generator[subprocess.Popen[str]]:
    """A process that starts runs."""
    command = [sys.executable, "-c", PROCESS]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with process:
        yield process


def run_killed(process: subprocess.Popen[str], folder: Path, until: float, how: str, after_s: float) -> bool:
    """Whether a run died by the signal that it was sent after some time."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(f"{folder}|{until}|{how}\n")
    process.stdin.flush()
    pid = int(process.stdout.readline())
    time.sleep(after_s)
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    return int(process.stdout.readline()) == signal.SIGKILL


def kills(folder: Path, times: int) -> int:
    """Kills a run so many times at a random moment, and gives how many died; each leaves what a run leaves."""
    write_source(folder)
    views = killed_views(folder)
    store = folder / "store"
    wanted = {}
    for how in ("on", "whole"):
        bench = Bench(open_lmdb(folder / how))
        for until in [4, 7] if how == "on" else [7]:
            bench.run(until, *views)
        wanted[how] = [uncounted(bench.records(view)) for view in views]
        bench.store.close()
    draw, died = random.Random(7), 0
    with runner() as process:
        for number in range(times):
            how = "whole" if number % 3 == 2 else "on"
            shutil.rmtree(store, ignore_errors=True)
            first = Bench(open_lmdb(store))
            first.run(4, *views)
            first.store.close()
            died += run_killed(process, store, 7, how, draw.uniform(0, 0.9))
            bench = Bench(open_lmdb(store))
            for view in views:
                meta = bench.meta(view)
                assert meta is not None
                assert meta.watermark_us in {4 * HOUR, 7 * HOUR}
                found = {
                    watermark_of(record) for key, record in bench.records(view).items() if key != META_KEY
                }
                assert found <= {4 * HOUR, 7 * HOUR}
            bench.run(7, *views, whole=how == "whole")
            assert [uncounted(bench.records(view)) for view in views] == wanted[how]
            bench.store.close()
    return died


def test_killed_runs_leave_no_trace(tmp_path, monkeypatch):
    monkeypatch.setattr(materialize_write, "_WRITE_AT_ONCE", 1_000)
    monkeypatch.setattr(materialize_write, "_READ_AT_ONCE", 1_000)
    assert kills(tmp_path, 20) >= 5


@pytest.mark.skipif(
    os.environ.get("ASOF_HYPOTHESIS_PROFILE") != "soak", reason="200 kills are for `make soak`"
)
def test_two_hundred_killed_runs_leave_no_trace(tmp_path, monkeypatch):
    monkeypatch.setattr(materialize_write, "_WRITE_AT_ONCE", 1_000)
    monkeypatch.setattr(materialize_write, "_READ_AT_ONCE", 1_000)
    assert kills(tmp_path, 200) >= 50


# --------------------------------------------------------------------------------------- two runs at once
def at_call(at: int, do: Callable[[], object]) -> Callable[[str, int], None]:
    """Something that happens before one call of the store."""

    def before(_name: str, number: int) -> None:
        if number == at:
            do()

    return before


@pytest.mark.parametrize("whole", [False, True])
def test_an_older_run_that_ends_later_changes_nothing_that_a_newer_one_wrote(tmp_path, view, whole):
    real = open_lmdb(tmp_path)
    bench = Bench(real)
    for until in (4, 9):
        bench.run(until, view)
    wanted, calls = bench.records(view), 99
    for at in range(2, 60):  # the first call plans: what comes before it is no other run at the same time
        real.drop(space(view))
        bench.run(4, view)
        hooked = Hooked(real)
        hooked.before = at_call(at, lambda: bench.run(9, view))
        (report,) = Bench(hooked).run(6, view, whole=whole)
        calls = hooked.calls
        if calls <= at:  # nothing is compared any more when the meta record is written
            break
        found = bench.records(view)
        news = {key for key, record in wanted.items() if key == META_KEY or watermark_of(record) == 9 * HOUR}
        assert found.keys() >= news
        assert {key: uncounted(found)[key] for key in news} == {key: uncounted(wanted)[key] for key in news}
        assert report.done
    assert calls > 5
    real.close()


def test_two_first_runs_at_once(tmp_path, view):
    real = open_lmdb(tmp_path)
    bench = Bench(real)
    bench.run(9, view)
    wanted, calls = bench.records(view), 99
    for at in range(2, 60):
        real.drop(space(view))
        hooked = Hooked(real)
        hooked.before = at_call(at, lambda: bench.run(9, view))
        Bench(hooked).run(6, view)
        calls = hooked.calls
        if calls <= at:
            break
        found = bench.records(view)
        assert {key: uncounted(found).get(key) for key in wanted} == uncounted(wanted)
    assert calls > 5
    real.close()


def test_a_run_gives_up_when_others_come_further_all_the_time(tmp_path):
    view = view_with_last(events(table(ROWS)))
    real = open_lmdb(tmp_path)
    bench, hooked = Bench(real), Hooked(real)
    ends = iter(range(11, 100))

    def meanwhile(name: str, _: int) -> None:
        if name == "write":
            bench.run(next(ends), view)

    hooked.before = meanwhile
    with pytest.raises(AsofError, match="let one run at a time"):
        Bench(hooked, lateness_us=90 * HOUR).run(6, view)
    real.close()
