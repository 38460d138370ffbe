"""One more day of the bank, live: its rows are pushed as they become known, and workers bring them into the records.

An hour of the bank passes in about a second: the project is opened with a clock that runs so fast. At the end nothing
is pushed any more, and what is served is compared with a training set of that instant, which reads what the workers
have landed. Times that are told of the work itself (from an event to its being servable) are this machine's.
"""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import asof
from asof.clock import from_us, to_us
from asof.compute.arrays import Floats, Ints
from asof.define.fingerprint import fingerprint
from asof.errors import BackendError
from asof.flows.online import open_online_store, open_reader
from asof.flows.online_views import online_views_of
from asof.flows.push import Pusher
from asof.flows.read_online import OnlineReader
from asof.flows.stream import Limits, SourceWorker, run_workers
from asof.flows.stream_apply import ViewReceipt
from asof.flows.stream_checkpoint import NAMESPACE
from asof.flows.stream_events import EventBatch
from asof.flows.stream_open import open_worker, streamed_sources
from asof.online.store import OnlineStore
from asof.registry.state import namespace_of
from examples.ach_return_risk.bank import SPINE
from examples.ach_return_risk.live_table import LiveTable
from examples.ach_return_risk.online import SERVICE, Compared, compare, debits_at, question
from examples.ach_return_risk.steps import Steps

DAY_S = 86_400
_PUSH_EVERY_S = 0.03
_SHOW_EVERY_S = 0.25
_LAND_EVERY_S = 8
_WAIT_S = 60.0


class FastClock:
    """A clock that stands at an instant, runs `speed` times as fast as the machine's once it is started, and stands
    again after `stop`.
    """

    def __init__(self, start: datetime, speed: float) -> None:
        self._at_us, self.speed = to_us(start), speed
        self._began_s: float | None = None

    def start(self) -> None:
        """Lets it run."""
        self._began_s = time.monotonic()

    def stop(self) -> None:
        """Lets it stand where it is."""
        self._at_us, self._began_s = self.now_us(), None

    def now_us(self) -> int:
        """The present instant in microseconds since the epoch."""
        if self._began_s is None:
            return self._at_us
        return self._at_us + int((time.monotonic() - self._began_s) * 1e6 * self.speed)

    def now(self) -> datetime:
        """The present instant as a datetime in UTC."""
        return from_us(self.now_us())


@dataclass
class Seen:
    """A `Watch`: what the workers have applied, and how long each event took from the log to the records."""

    speed: float
    events: int = 0
    dead_events: int = 0
    waits: list[Floats] = field(default_factory=list[Floats])
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def applied(
        self, source: str, batch: EventBatch, views: dict[str, ViewReceipt], servable_us: Ints
    ) -> None:
        """A batch is in the records."""
        del source, views
        with self._lock:
            self.events += batch.size
            self.waits.append(servable_us / self.speed / 1e3)

    def dead(self, source: str, count: int) -> None:
        """So many events could not be used."""
        del source
        with self._lock:
            self.dead_events += count

    def wait_ms(self) -> tuple[float, float]:
        """Milliseconds from the log to servable: the median, and that of the slowest of a hundred events."""
        with self._lock:
            waits = np.concatenate(self.waits) if self.waits else np.zeros(1)
        half, slowest = np.percentile(waits, [50, 99])
        return float(half), float(slowest)


@dataclass(frozen=True)
class Streamed:
    """What came of the day: events of each source, how long it took, waits in milliseconds, and what was compared."""

    events: dict[str, int]
    seconds: float
    half_ms: float
    slowest_ms: float
    until: datetime
    moved: int
    compared: Compared


def clear(folder: Path) -> None:
    """Removes what an earlier demo has streamed into the folder: events, landed history, records."""
    project = asof.open(folder)
    for each in (project.stream_folder, project.landing):
        if each is not None:
            shutil.rmtree(each, ignore_errors=True)
    store = open_online_store(project)
    try:
        for view in online_views_of(project, None):
            store.drop(namespace_of(fingerprint(view)))
        store.drop(NAMESPACE)
    finally:
        store.close()


@dataclass(frozen=True)
class Day:
    """What streams in: rows by source in order of ingestion, until when, the clock, and what the workers have done."""

    tables: dict[str, pa.Table]
    end_us: int
    clock: FastClock
    seen: Seen


def stream(
    folder: Path, after: dict[str, pa.Table], now: datetime, seconds: float, steps: Steps
) -> Streamed | None:
    """A day's rows through the streams of the project, and a comparison; None where no source has a stream.

    Raises:
        AsofError: a worker failed, or did not get to the end in time.
    """
    clock = FastClock(now, DAY_S / seconds)
    project = asof.open(folder, clock=clock)
    tables = {name: after[name] for name in streamed_sources(project) if name in after}
    if not tables:
        return None
    day = Day(tables, clock.now_us() + DAY_S * 1_000_000, clock, Seen(clock.speed))
    reader = open_reader(project)
    try:
        with steps.timed("stream a day of events") as step:
            step.rows = _stream(project, day, reader, quiet=steps.quiet)
        with steps.step("the same debits as a training set, again") as step:
            debits = debits_at(pq.read_table(folder / SPINE), clock.now())
            entities, request = question(debits, reader.describe(SERVICE))
            answer = reader.read(SERVICE, entities, request, at=clock.now()).to_arrow()
            expected = project.training_set(SERVICE, spine=debits, progress=step.show).table
            before = project.training_set(SERVICE, spine=debits, cutoff=now, progress=step.show).table
            step.rows = 2 * debits.num_rows
    finally:
        reader.close()
    alone = compare("without the stream", before.select(answer.column_names), expected)
    return Streamed(
        {name: each.num_rows for name, each in tables.items()}, seconds, *day.seen.wait_ms(), clock.now(),
        alone.values - alone.equal, compare("from the store", answer, expected),
    )  # fmt: skip


def _stream(project: asof.Project, day: Day, reader: OnlineReader, *, quiet: bool) -> int:
    """Pushes the day, with workers beside it, until all of it is in the records; gives how many events it has."""
    table = LiveTable(project, reader, day.tables, quiet=quiet)
    with ExitStack() as stack:
        workers = [_worker(project, name, reader.store, day, stack) for name in day.tables]
        pusher = Pusher(lambda: project)
        stack.callback(pusher.close)
        for name in day.tables:
            pusher.opened(name)
        stack.enter_context(table)
        with _running(workers, day.clock) as failures:
            pushed = _push(day, pusher, table, failures)
            _wait(day.seen, pushed, failures)
            day.clock.stop()
            table.show(day.clock.now(), pushed, day.seen.wait_ms())
    return pushed


def _worker(project: asof.Project, name: str, store: OnlineStore, day: Day, stack: ExitStack) -> SourceWorker:
    """A worker for one source; what it holds is let go of at the end of the stack."""
    a_second_us = int(day.clock.speed * 1e6)  # a second of this machine, in the bank's time
    limits = Limits(land_us=_LAND_EVERY_S * a_second_us, note_us=a_second_us)
    worker = open_worker(project, streamed_sources(project)[name], store, watch=day.seen, limits=limits)
    stack.callback(worker.stream.close)
    stack.callback(worker.dead_letters.close)
    return worker


@contextmanager
def _running(workers: list[SourceWorker], clock: FastClock) -> Generator[list[BaseException]]:
    """The workers, each in a thread, until the block ends; then they land what they have and leave.

    Raises:
        AsofError: what a worker failed of.
    """
    stop, failures = threading.Event(), list[BaseException]()

    def run() -> None:
        try:
            run_workers(workers, stop)
        except BaseException as exc:  # noqa: BLE001 - told to the caller's thread
            failures.append(exc)

    thread = threading.Thread(target=run, name="workers")
    clock.start()
    thread.start()
    try:
        yield failures
    finally:
        stop.set()
        thread.join()
    if failures:
        raise failures[0]


def _push(day: Day, pusher: Pusher, table: LiveTable, failures: list[BaseException]) -> int:
    """Pushes the day's rows as they become known, and shows what that does; gives how many rows that were."""
    clock, pushed, shown_s = day.clock, 0, 0.0
    known = {name: rows["ingested_at"].cast(pa.int64()).to_numpy() for name, rows in day.tables.items()}
    done = dict.fromkeys(day.tables, 0)
    while not failures:
        now_us = min(clock.now_us(), day.end_us)
        for name, rows in day.tables.items():
            upto = int(np.searchsorted(known[name], now_us))
            if upto > done[name]:
                pusher.push(name, rows.slice(done[name], upto - done[name]))
                pushed, done[name] = pushed + upto - done[name], upto
        if time.monotonic() - shown_s > _SHOW_EVERY_S:
            table.show(clock.now(), pushed, day.seen.wait_ms())
            shown_s = time.monotonic()
        if now_us == day.end_us:
            break
        time.sleep(_PUSH_EVERY_S)
    return pushed


def _wait(seen: Seen, pushed: int, failures: list[BaseException]) -> None:
    """Until all that was pushed is in the records.

    Raises:
        BackendError: it takes too long.
    """
    until = time.monotonic() + _WAIT_S
    while not failures and seen.events + seen.dead_events < pushed:
        if time.monotonic() > until:
            raise BackendError(f"{pushed - seen.events:,} of {pushed:,} events are not in the records yet")
        time.sleep(_PUSH_EVERY_S)
