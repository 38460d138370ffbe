"""Processes around one stream that are killed at random and started again: producers that push numbered batches, and
workers that share the partitions.

    python -m tests.flows.stream_kills FOLDER STREAM

reads what to start from its standard input, a line each (`work`, or `push FROM`), forks a process for it and tells its
number.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

import asof
from asof.clock import SystemClock, format_time
from asof.define.fingerprint import fingerprint
from asof.engines.landed import OFFSET, PARTITION, landed_files
from asof.flows.project import Project
from asof.flows.push import Pusher
from asof.flows.stream import Limits, run_workers
from asof.flows.stream_checkpoint import Checkpoints
from asof.flows.stream_open import open_worker
from asof.online.codec import offsets_of
from asof.online.keys import encode_keys
from asof.online.open_store import open_store
from asof.online.store import OnlineStore
from asof.registry.state import namespace_of

ROOT = Path(__file__).parents[2]
ACCOUNTS, DEVICES, PARTITIONS, PER_BATCH = 23, 5, 3, 4
COLUMNS = {
    "account": "string", "device": "string", "amount": "int64", "id": "string", "at": "timestamp", "known": "timestamp",
}  # fmt: skip


def project_of(folder: Path, stream: str) -> Project:
    """The project, as every process sees it; `stream` is `log`, or `topic@servers` of Kafka.

    Kafka may take a batch twice from a producer that was killed, so that its events are told apart by `id`.
    """
    topic, at, servers = stream.partition("@")
    settings = {"session.timeout.ms": "6000", "heartbeat.interval.ms": "500"}
    made = (
        asof.Kafka(topic, servers=servers, partition_by="account", settings=settings)
        if at
        else asof.Log(partitions=PARTITIONS, partition_by="account")
    )
    source = asof.Events(
        "tx",
        asof.Landed(columns=COLUMNS),
        event_time="at",
        known_at="known",
        key="id" if at else None,
        stream=made,
    )
    views = [
        asof.FeatureView(
            f"by_{name}", entity=asof.Entity(name, keys={name: "string"}), source=source, online=True,
            features=[asof.count().over("lifetime").named("n"), asof.sum("amount").over("lifetime").named("total")],
        )
        for name in ("account", "device")
    ]  # fmt: skip
    return Project([*views, *(asof.FeatureService(view.name, [view]) for view in views)], folder=folder)


def store_of(folder: Path) -> OnlineStore:
    """The store of all processes."""
    return open_store("lmdb:///online", root=folder)


def batch_of(number: int) -> list[dict[str, Any]]:
    """The events of a batch; equal numbers give equal events."""
    draw = random.Random(number)
    return [
        {
            "account": f"a{draw.randrange(ACCOUNTS)}", "device": f"d{draw.randrange(DEVICES)}",
            "amount": draw.randrange(1, 10**6), "id": f"{number}/{at}",
        }
        for at in range(PER_BATCH)
    ]  # fmt: skip


def expected(batches: int) -> dict[str, tuple[int, int]]:
    """Count and sum of each account and device, every batch counted once."""
    found: dict[str, tuple[int, int]] = {}
    for number in range(batches):
        for row in batch_of(number):
            for entity in (row["account"], row["device"]):
                n, total = found.get(entity, (0, 0))
                found[entity] = n + 1, total + row["amount"]
    return found


# ------------------------------------------------------------------------------------------------ the processes
def work(folder: Path, stream: str) -> None:
    """A worker, for ever."""
    project = project_of(folder, stream)
    worker = open_worker(
        project,
        project.definitions.get("feature_view", "by_account").source,
        store_of(folder),
        limits=Limits(batch_events=20, land_us=30_000),
    )
    run_workers([worker], threading.Event())


def push(folder: Path, stream: str, first: int) -> None:
    """A producer, for ever; `pushed` in the folder says how many batches are certainly there."""
    project, number = project_of(folder, stream), first
    pusher, clock = Pusher(lambda: project), SystemClock()
    with (folder / "pushed").open("a") as told:
        while True:
            at = format_time(clock.now_us())
            pusher.push(
                "tx", [{**row, "at": at} for row in batch_of(number)], idempotency_key=f"batch-{number}"
            )
            number += 1
            told.write(f"{number}\n")
            told.flush()


def main() -> None:
    """Forks what it is told to."""
    folder, stream = Path(sys.argv[1]), sys.argv[2]
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those that end
    for line in sys.stdin:
        what, *more = line.split()
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                work(folder, stream) if what == "work" else push(folder, stream, int(more[0]))
            finally:
                os._exit(status)
        print(pid, flush=True)


# ------------------------------------------------------------------------------------------------ from the outside
@dataclass
class Processes:
    """What runs, by its number."""

    folder: Path
    server: subprocess.Popen[str]
    running: dict[int, str] = field(default_factory=dict[int, str])

    def start(self, what: str) -> int:
        """A producer (from where the former one came) or a worker."""
        line = f"push {self.pushed}" if what == "push" else what
        assert self.server.stdin is not None
        assert self.server.stdout is not None
        self.server.stdin.write(line + "\n")
        self.server.stdin.flush()
        pid = int(self.server.stdout.readline())
        self.running[pid] = what
        return pid

    def kill(self, pid: int) -> str:
        """Ends one at once; gives what it was."""
        os.kill(pid, signal.SIGKILL)
        return self.running.pop(pid)

    @property
    def pushed(self) -> int:
        """How many batches are certainly in the stream."""
        path = self.folder / "pushed"
        lines = path.read_text().split("\n") if path.exists() else []
        return max((int(line) for line in lines[:-1]), default=0)


@contextmanager
def processes(folder: Path, stream: str) -> Iterator[Processes]:
    """The process that forks the others; all end with it."""
    command = [sys.executable, "-m", "tests.flows.stream_kills", str(folder), stream]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as server:
        made = Processes(folder, server)
        try:
            yield made
        finally:
            for pid in list(made.running):
                with suppress(ProcessLookupError):
                    made.kill(pid)


def landed_rows(project: Project) -> list[dict[str, Any]]:
    """What counts of what has landed."""
    assert project.landing is not None
    columns = [PARTITION, OFFSET, "account", "device", "known"]
    return [
        row
        for path in landed_files(project.landing / "tx")
        for row in pq.read_table(path, columns=columns, partitioning=None).to_pylist()
    ]


def check_checkpoints(project: Project, store: OnlineStore) -> int:
    """No checkpoint lies ahead of what is in the landed history and in the records; how many events they tell of."""
    after: Mapping[int, int] = {p: each.next for p, each in Checkpoints(store, "tx").all().items()}
    rows = [row for row in landed_rows(project) if row[OFFSET] < after.get(row[PARTITION], 0)]
    found = {(row[PARTITION], row[OFFSET]) for row in rows}
    assert len(found) == len(rows)
    assert found == {(p, offset) for p, end in after.items() for offset in range(end)}
    for name in ("account", "device"):
        space = namespace_of(fingerprint(project.definitions.get("feature_view", f"by_{name}")))
        keys = encode_keys(["string"], [[row[name] for row in rows]])
        for row, record in zip(rows, store.get([(space, keys)]) if rows else [], strict=True):
            assert record is not None
            applied = offsets_of(record).get(row[PARTITION], 0) > row[OFFSET]
            watermark_us = int.from_bytes(record[8:16], "little", signed=True)
            assert applied or round(row["known"].timestamp() * 1e6) < watermark_us
    return len(rows)


if __name__ == "__main__":
    main()
