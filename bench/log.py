"""The embedded log against SQLite as a log: appends that are on the disk when they return, and reads.

Other side: one table of batches by first offset, WAL, `synchronous=FULL`, a transaction an append. Both are warm
processes, take turns on the same disk and get the same bytes; before that, what both give back is compared.
"""

from __future__ import annotations

import hashlib
import shutil
import sqlite3
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import online
from bench.equal import WrongAnswer
from bench.harness import OURS, Options, Row
from bench.latency import call_each
from bench.process import Side
from bench.turns import against, take_turns, workers
from bench.windows import our_places

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bench.process import Worker

SQLITE = "SQLite"
APPENDS = {1: 300, 100: 200, 10_000: 30}  # events in a batch: appends in a turn
READS = {1: 100_000, 100: 500_000, 10_000: 1_000_000}  # events in a batch: events in a turn
THREADS, EACH = 16, 60
READ_EVENTS = 10_000
CHECKED = 300


def run(options: Options) -> list[Row]:
    named = {SQLITE: "bench.log:Sqlite"} | ({OURS: "bench.log:Ours"} if options.ours else {})
    rows: list[Row] = []
    with online.place() as folder:
        sides = [
            Side(name, target, {"folder": str(folder / name)}, env=our_places())
            for name, target in sorted(named.items(), reverse=True)
        ]
        with workers(sides, options.threads) as found:
            for size in APPENDS:
                check(found, size)
            for size, calls in APPENDS.items():
                rows.append(timed(found, f"log-append-{size}", "append", size, calls, options))
            rows.append(timed(found, f"log-append-1-threads-{THREADS}", "threads", 1, EACH, options))
            for size, events in READS.items():
                rows.append(timed(found, f"log-read-{size}", "read", size, events // READ_EVENTS, options))
    return rows


def timed(
    found: dict[str, Worker], name: str, kind: str, size: int, calls: int, options: Options
) -> Row:  # fmt: skip
    """One row: the median time of a call (with threads: of an event) of both sides."""
    fewer = max(calls // 10, 3) if options.quick else calls
    ran = take_turns(found, size, dict.fromkeys(found, fewer), options.runs, kind=kind)
    row = against("log", name, ran, OURS, SQLITE)
    events = {"append": size, "threads": 1, "read": READ_EVENTS}[kind]
    row.notes += [
        f"{side}: {events * 1e6 / each.of('median_us'):,.0f} events a second" for side, each in ran.items()
    ]
    return row


def check(found: dict[str, Worker], size: int) -> None:
    """Nothing, where all sides give back what they got.

    Raises:
        WrongAnswer: else.
    """
    wanted = digest(body(size, number) for number in range(CHECKED))
    for name, side in found.items():
        if (got := side.call("check", size=size)["digest"]) != wanted:
            raise WrongAnswer(f"{name}: batches of {size} come back otherwise: {got}, not {wanted}")


def digest(bodies: Iterator[bytes]) -> str:
    """What a log's bodies are, in their order."""
    made = hashlib.sha256()
    for each in bodies:
        made.update(each)
    return made.hexdigest()


def body(size: int, number: int) -> bytes:
    """A batch of events of 150 bytes."""
    event = (
        b'{"event_id":"%016d","account_id":"acc-00012345","amount":"123.45",'
        b'"at":"2025-01-01T00:00:00.000000Z","kind":"card","merchant":"m-123456"}'
    ) % number
    return event if size == 1 else b"[" + b",".join([event] * size) + b"]"


class Kept:
    """What both sides have in common: a folder that begins empty, and the three things that are timed."""

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)
        self.held: int | None = None  # batches of this size are there to be read

    def time(self, size: int, calls: int, seed: int, kind: str) -> dict[str, float]:
        """Times `calls` appends of a batch, appends of so many by each of 16 threads, or reads of 10,000 events."""
        if kind == "read":
            return self._read(size, calls)
        self.empty()
        append, written = self.appender(durable=True), body(size, seed)
        append(size, written)
        if kind == "append":
            return call_each(lambda each: append(size, each), [written], calls)
        return self._threads(size, calls, written)

    def check(self, size: int) -> dict[str, Any]:
        """What comes back of so many batches."""
        self.empty()
        append = self.appender(durable=False)
        for number in range(CHECKED):
            append(size, body(size, number))
        bodies = [each for bodies in self.reads(size) for each in bodies]
        return {"digest": digest(iter(bodies))}

    def _read(self, size: int, calls: int) -> dict[str, float]:
        if self.held != size:
            self.empty()
            append, written = self.appender(durable=False), body(size, 0)
            for _ in range(calls * READ_EVENTS // size):
                append(size, written)
            self.held = size
        reads = self.reads(size)
        return call_each(lambda _: next(reads), [None], calls)

    def _threads(self, size: int, calls: int, written: bytes) -> dict[str, float]:
        def work() -> None:
            append = self.appender(durable=True)
            for _ in range(calls):
                append(size, written)

        threads = [threading.Thread(target=work) for _ in range(THREADS)]
        started, cpu = time.perf_counter(), time.process_time()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        each_us = (time.perf_counter() - started) * 1e6 / (THREADS * calls)
        cpu_us = (time.process_time() - cpu) * 1e6 / (THREADS * calls)
        return {"calls": THREADS * calls, "median_us": each_us, "p99_us": each_us, "cpu_us": cpu_us}

    def empty(self) -> None:
        """Begins anew."""
        self.held = None
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)

    def appender(self, *, durable: bool) -> Callable[[int, bytes], object]:
        """A function that appends a batch, for one thread."""
        raise NotImplementedError

    def reads(self, size: int) -> Iterator[list[bytes]]:
        """The bodies from the beginning on, about 10,000 events at a time."""
        raise NotImplementedError


class Ours(Kept):
    """asof: one log for all threads."""

    def __init__(self, folder: str) -> None:
        super().__init__(folder)
        self.log: Any = None

    def empty(self) -> None:
        if self.log is not None:
            self.log.close()
        super().empty()
        self.log = None

    def appender(self, *, durable: bool) -> Callable[[int, bytes], object]:
        from asof.streams.stream import Outgoing

        log = self._open("always" if durable else "never")
        return lambda count, body: log.append(Outgoing(count, "json", body=body))

    def reads(self, size: int) -> Iterator[list[bytes]]:  # noqa: ARG002 - the log counts events, not batches
        log, offset = self._open("never"), 0
        while chunks := log.read(0, offset, READ_EVENTS):
            offset = chunks[-1].next_offset
            yield [b for chunk in chunks for b in (chunk.events if chunk.body is None else [chunk.body])]

    def _open(self, fsync: Any) -> Any:
        from asof.clock import SystemClock
        from asof.define.stream import Log
        from asof.streams.log import LogStream

        if self.log is None:
            self.log = LogStream(self.folder, Log(), clock=SystemClock(), fsync=fsync)
        return self.log


class Sqlite(Kept):
    """SQLite: one connection a thread."""

    def appender(self, *, durable: bool) -> Callable[[int, bytes], object]:
        connection = self._open("full" if durable else "off")
        connection.execute(
            "create table if not exists log(first integer primary key, n int, stamp int, key blob, body blob)"
        )

        def append(count: int, body: bytes) -> None:
            connection.execute("begin immediate")
            ((after,),) = connection.execute("select coalesce(max(first), 0) from log").fetchall()
            connection.execute(
                "insert into log values (?, ?, ?, ?, ?)", (after + count, count, time.time_ns(), None, body)
            )
            connection.execute("commit")

        return append

    def reads(self, size: int) -> Iterator[list[bytes]]:
        connection, after, most = self._open("off"), -1, max(1, READ_EVENTS // size)
        query = "select first, n, stamp, body from log where first > ? order by first limit ?"
        while rows := connection.execute(query, (after, most)).fetchall():
            after = rows[-1][0]
            yield [row[3] for row in rows]

    def _open(self, synchronous: str) -> sqlite3.Connection:
        connection = sqlite3.connect(self.folder / "log.db", isolation_level=None, timeout=60)
        connection.execute("pragma journal_mode=wal")
        connection.execute(f"pragma synchronous={synchronous}")
        return connection
