"""Receipts: what every flow used, by stage and asset. They know no prices: money is made of them elsewhere.

A flow opens a run of its meter and counts in stages; each stage leaves one `UsageEvent`, also when it fails:

    with meter.run("training_set") as run:
        with run.stage("read", asset="transactions") as stage:
            stage.rows += table.num_rows

The ledger is a folder with a file of JSON lines for each day. Writing it never fails the flow that it
measures.
"""

from __future__ import annotations

import json
import logging
import os
import threading
import time
import uuid
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from asof.clock import Clock, SystemClock

_log = logging.getLogger(__name__)
_BUFFERED = 1_000  # events; a flow that never ends (a stream) must not keep them all


@dataclass(frozen=True, slots=True)
class UsageEvent:
    """The receipt of one stage of one run.

    Units: `seconds` are wall time; `cpu_seconds` are those of all threads of this process, so stages that run
    at the same time in one process count each other's; `bytes` are as the stage moved them (read, written, or
    held).
    """

    run_id: str
    flow: str
    stage: str
    asset: str
    rows: int
    bytes: int
    seconds: float
    cpu_seconds: float
    started_us: int
    labels: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(slots=True)
class Stage:
    """What is being counted now; a flow adds to its numbers, the meter measures the time."""

    rows: int = 0
    bytes: int = 0
    labels: dict[str, str] = field(default_factory=dict[str, str])


class Meter(Protocol):
    """Takes receipts. An implementation names its clock, and what `record` and `flush` do; the rest it
    inherits.

    `record` and `flush` never raise for want of space or rights: work is worth more than its receipt.
    """

    clock: Clock

    def record(self, event: UsageEvent) -> None:
        """Takes one receipt; it may be kept in memory until `flush`."""
        ...

    def flush(self) -> None:
        """Makes what was taken durable."""
        ...

    def run(self, flow: str, *, run_id: str | None = None, labels: Mapping[str, str] | None = None) -> Run:
        """A run of a flow, for a `with` block: its stages share one id (a new one unless given) and its
        labels.
        """
        return Run(self, flow, run_id or uuid.uuid4().hex, labels or {})

    @contextmanager
    def stage(self, *, flow: str, stage: str, asset: str = "", run_id: str | None = None) -> Generator[Stage]:
        """A run of one stage, for a `with` block."""
        with self.run(flow, run_id=run_id) as run, run.stage(stage, asset) as counted:
            yield counted


class Run:
    """One run of one flow: a `with` block that flushes the meter at its end, also when the flow fails.

    `events` are the receipts of its stages so far, so that a flow can report where its time went.

    Example:
        >>> meter = MemoryMeter()
        >>> with meter.run("training_set", run_id="r1") as run:
        ...     with run.stage("read", asset="transactions") as stage:
        ...         stage.rows += 3
        >>> [(event.run_id, event.stage, event.rows) for event in meter.events]
        [('r1', 'read', 3)]
    """

    def __init__(self, meter: Meter, flow: str, run_id: str, labels: Mapping[str, str]) -> None:
        self.flow = flow
        self.run_id = run_id
        self.events: list[UsageEvent] = []
        self._meter = meter
        self._labels = dict(labels)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._meter.flush()

    @contextmanager
    def stage(self, stage: str, asset: str = "") -> Generator[Stage]:
        """One stage, for a `with` block: its receipt is taken at the end, labelled `outcome=failed` if it
        raises.
        """
        counted = Stage(labels=dict(self._labels))
        started_us = self._meter.clock.now_us()
        wall, cpu = time.perf_counter(), time.process_time()
        try:
            yield counted
        except BaseException:
            counted.labels["outcome"] = "failed"
            raise
        finally:
            cpu_seconds, seconds = time.process_time() - cpu, time.perf_counter() - wall
            event = UsageEvent(
                self.run_id,
                self.flow,
                stage,
                asset,
                counted.rows,
                counted.bytes,
                round(seconds, 6),
                round(cpu_seconds, 6),
                started_us,
                counted.labels,
            )
            self.events.append(event)
            self._meter.record(event)


class NullMeter(Meter):
    """Keeps nothing."""

    def __init__(self, clock: Clock | None = None) -> None:
        self.clock = clock or SystemClock()

    def record(self, event: UsageEvent) -> None:
        """Forgets it."""

    def flush(self) -> None:
        """Has nothing to do."""


class MemoryMeter(Meter):
    """Keeps the receipts in `events`, for tests and notebooks; `flushes` counts the flushes."""

    def __init__(self, clock: Clock | None = None) -> None:
        self.clock = clock or SystemClock()
        self.events: list[UsageEvent] = []
        self.flushes = 0

    def record(self, event: UsageEvent) -> None:
        """Appends it to `events`."""
        self.events.append(event)

    def flush(self) -> None:
        """Counts."""
        self.flushes += 1


class LedgerMeter(Meter):
    """Appends receipts to the ledger: the folder `path`, one file of JSON lines for each day (UTC).

    A flush is one write to a file opened for appending, so processes may share a ledger. Receipts that cannot
    be written (a full disk, a read-only folder) are lost; the first loss is told through `logging`.
    """

    def __init__(self, path: Path, clock: Clock | None = None) -> None:
        self.clock = clock or SystemClock()
        self._path = path
        self._buffer: list[UsageEvent] = []
        self._lock = threading.Lock()
        self._warned = False

    def record(self, event: UsageEvent) -> None:
        """Keeps it for the next flush, which comes by itself after 1,000."""
        with self._lock:
            self._buffer.append(event)
            full = len(self._buffer) >= _BUFFERED
        if full:
            self.flush()

    def flush(self) -> None:
        """Appends what was kept, in one write."""
        with self._lock:
            events, self._buffer = self._buffer, []
            if events:
                self._append(events)

    def _append(self, events: list[UsageEvent]) -> None:
        lines = "".join(map(_format, events)).encode()
        file = self._path / f"{self.clock.now().date().isoformat()}.jsonl"
        try:
            self._path.mkdir(parents=True, exist_ok=True)
            _append_whole(file, lines)
        except OSError as exc:
            if not self._warned:
                self._warned = True
                _log.warning("usage: %d receipts lost: cannot write %s: %s", len(events), file, exc)


def read_ledger(path: Path) -> Iterator[UsageEvent]:
    """The receipts of a ledger, file by file in the order in which they were written; `path` may also be one
    file.

    A line that a crash or a full disk cut short is skipped and told through `logging`; a missing ledger is
    empty.

    Example:
        >>> list(read_ledger(Path("no/such/ledger")))
        []
    """
    for file in sorted(path.glob("*.jsonl")) if path.is_dir() else [path]:
        if not file.exists():
            return
        with file.open(encoding="utf-8", errors="replace") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    event = _parse(line)
                    if event is None:
                        _log.warning("usage: %s, line %d: not a receipt, skipped", file, number)
                    else:
                        yield event


def _format(event: UsageEvent) -> str:
    return json.dumps({name: getattr(event, name) for name in _FIELDS}, separators=(",", ":")) + "\n"


def _parse(line: str) -> UsageEvent | None:
    """The receipt of a line, or None; keys that a later version added are passed over."""
    try:
        found = json.loads(line)
        return UsageEvent(**{name: found[name] for name in _FIELDS})
    except (ValueError, TypeError, KeyError):
        return None


_FIELDS = tuple(each.name for each in fields(UsageEvent))


def _append_whole(file: Path, lines: bytes) -> None:
    """Appends in one write; where a crash left half a line, that one is ended first and costs no other."""
    handle = os.open(file, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        size_bytes = os.fstat(handle).st_size
        if size_bytes and os.pread(handle, 1, size_bytes - 1) != b"\n":
            lines = b"\n" + lines
        written = os.write(handle, lines)
    finally:
        os.close(handle)
    if written < len(lines):
        raise OSError(f"only {written} of {len(lines)} bytes written")
