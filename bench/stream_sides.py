"""The sides of `stream` and `stream_entities`, and ours of `stream_kafka`, each warm in a process of its own.

`Worker` is one worker of a log: from the log to records in LMDB and landed files, each time from nothing. `Decode`
reads the same log and makes Arrow columns of it, and does nothing with them.
"""

from __future__ import annotations

import math
import shutil
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench import stream_data
from bench.data import ACCOUNTS
from bench.equal import WrongAnswer
from bench.worker import memory

CHECKED = 2_000  # entities whose answers are compared
LATER_US = 1_000_000
_WAIT_S, _IDLE_STEPS, _LOST_STEPS = 0.05, 20, 600
_KEYS: dict[str, tuple[str, Callable[[int], str], int]] = {
    "account_id": ("account", stream_data.account_id, ACCOUNTS),
    "merchant": ("device", stream_data.merchant, stream_data.DEVICES),
}


def definition(**arguments: Any) -> Any:
    """The stream of a bench: a topic where one is told, else a log that keeps all of its 30 days."""
    from asof.define.stream import Kafka, Log

    return Kafka(**arguments) if "topic" in arguments else Log(retention="60d", **arguments)


def fill(folder: Path, rows: int, **stream: Any) -> None:
    """Appends all payments to a new log in a project's folder, each body at the time of its last event."""
    from asof.clock import from_us
    from asof.flows.push import SourceStream
    from asof.flows.stream_open import open_source_stream, streamed_source
    from asof.streams.encode import encode_json
    from asof.testing.clock import FakeClock

    clock = FakeClock(from_us(stream_data.START_US))
    project = stream_data.project(folder, definition(**stream), clock)
    source = streamed_source(project, stream_data.SOURCE)
    stream_of = SourceStream(source, open_source_stream(project, source), schema(project))
    for body, _, until_us in stream_data.payments(rows).bodies():
        clock.set(from_us(until_us))
        stream_of.append(lambda schema, target, body=body: encode_json(body, schema, target))
    stream_of.stream.close()


def flush(url: str) -> None:
    """Empties a Redis server of the bench's own."""
    import redis

    redis.Redis.from_url(url).flushall()


def schema(project: Any) -> Any:
    """What the events of a project's source bring."""
    from asof.flows.push import schema_of
    from asof.flows.stream_open import streamed_source

    return schema_of(project, streamed_source(project, stream_data.SOURCE))


def shared(folder: Path, log: str) -> Path:
    """A new folder of a project that has the log of another."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    if log:
        (folder / "streams").symlink_to(Path(log) / "streams", target_is_directory=True)
    return folder


class Tally:
    """Listens to a worker: records written, and how often another writer came first."""

    def __init__(self) -> None:
        self.records = self.conflicts = 0

    def applied(self, source: str, batch: Any, views: dict[str, Any], servable_us: Any) -> None:
        """Counts what a batch did."""
        del source, batch, servable_us
        self.records += sum(each.records for each in views.values())
        self.conflicts += sum(each.conflicts for each in views.values())

    def dead(self, source: str, count: int) -> None:
        """Events that could not be used; the worker counts them, too."""


class Worker:
    """asof: one worker, until all events are in the records, landed and checkpointed.

    Args:
        folder: for projects and stores.
        rows: how many events there are.
        log: the folder of the project that has the log; "" for a topic.
        stream: the arguments of the log's definition, or of the topic's.
        key: the entity's column.
        url: the store; "": LMDB in the folder.
    """

    def __init__(
        self, folder: str, rows: int, log: str = "", stream: dict[str, Any] | None = None,
        key: str = "account_id", url: str = "",
    ) -> None:  # fmt: skip
        from asof.clock import from_us
        from asof.testing.clock import FakeClock

        self.folder, self.rows, self.log, self.key, self.url = Path(folder), rows, log, key, url
        self.definition = definition(**(stream or {}))
        self.clock = FakeClock(from_us(stream_data.END_US + LATER_US))
        self.project: Any = None
        self.store: Any = None

    def prepare(self) -> None:
        """A new project, with a store in which nothing is but the view's beginning."""
        from asof.clock import from_us

        if self.store is not None:
            self.store.close()
        shared(self.folder, self.log)
        self.join()
        if self.url:
            flush(self.url)
        self.clock.set(from_us(stream_data.START_US))
        self.project.materialize(store=self.store)
        self.clock.set(from_us(stream_data.END_US + LATER_US))

    def join(self) -> None:
        """The project and the store that are in the folder, whoever made them."""
        from asof.online.open_store import open_store

        self.project = stream_data.project(self.folder, self.definition, self.clock, key=self.key)
        self.store = open_store(self.url or f"lmdb:///{self.folder / 'online'}", timeout_s=30.0)

    def run(self) -> dict[str, Any]:
        """All events, from nothing to the last checkpoint."""
        self.prepare()
        return self.work(whole=True)

    def work(self, *, whole: bool = False) -> dict[str, Any]:
        """One worker, until there is nothing more to do (`whole`: until it has done all); waiting does not count."""
        from asof.flows.stream_open import open_worker, streamed_source

        source, tally = streamed_source(self.project, stream_data.SOURCE), Tally()
        group = f"bench-{uuid.uuid4()}" if whole else "bench"
        worker = open_worker(self.project, source, self.store, watch=tally, group=group)
        cpu, started = time.process_time(), time.perf_counter()
        steps, total, idle = [(0, 0.0)], 0, 0
        while total < self.rows if whole else idle < _IDLE_STEPS:
            count = worker.step(_WAIT_S)
            total, idle = total + count, 0 if count else idle + 1
            if count:
                steps.append((count, time.perf_counter() - started))
            if idle > _LOST_STEPS:
                raise WrongAnswer(f"{total:,} of {self.rows:,} events came")
        closing = time.perf_counter()
        worker.close()
        seconds = steps[-1][1] + time.perf_counter() - closing
        worker.stream.close()
        notes = worker.checkpoints.all().values()
        counted = ("events", "late", "dead")
        return {
            "seconds": seconds, "cpu_seconds": time.process_time() - cpu, "last_third_per_s": _late(steps),
            "events": total, "written": tally.records, "conflicts": tally.conflicts, **memory(),
            **{f"counted_{name}": sum(each.counts.get(name, 0) for each in notes) for name in counted},
        }  # fmt: skip

    def check(self) -> dict[str, Any]:
        """Compares the records with what counting the events says, and tells how large they are.

        Raises:
            WrongAnswer: they are not the same, or an event is missing.
        """
        from asof.define.fingerprint import fingerprint
        from asof.registry.state import namespace_of

        column, name, count = _KEYS[self.key]
        numbers = list(range(0, count, count // CHECKED))
        reader = self.project.online(store=self.store)
        answer = reader.read(stream_data.SERVICE, {self.key: list(map(name, numbers))}).to_arrow()
        names = [f for f in answer.column_names if f.rpartition("_")[2] in stream_data.WINDOWS]
        found = [list(row.values()) for row in answer.select(names).to_pylist()]
        at_us = stream_data.END_US + LATER_US
        wanted = stream_data.answers(stream_data.payments(self.rows).columns(), column, numbers, at_us)
        for number, mine, theirs in zip(numbers, found, wanted, strict=True):
            if not all(map(_same, mine, theirs)):
                raise WrongAnswer(f"{name(number)}: {dict(zip(names, mine, strict=True))}, counted {theirs}")
        view = self.project.definitions.get("feature_view", stream_data.VIEW)
        sizes = [len(data) for _, data in self.store.scan(namespace_of(fingerprint(view)))]
        return {"records": len(sizes), "bytes": sum(sizes)}


class Decode:
    """The floor: the same log, read and decoded to Arrow columns."""

    def __init__(self, log: str) -> None:
        from asof.clock import from_us
        from asof.testing.clock import FakeClock

        clock = FakeClock(from_us(stream_data.END_US))
        self.project = stream_data.project(Path(log), definition(), clock)
        self.schema = schema(self.project)

    def run(self) -> dict[str, Any]:
        """All events, once."""
        from asof.flows.stream_open import open_source_stream, streamed_source
        from asof.streams.decode import decode

        stream = open_source_stream(self.project, streamed_source(self.project, stream_data.SOURCE))
        cpu, started = time.process_time(), time.perf_counter()
        events, offset = 0, 0
        while chunks := stream.read(0, offset, stream_data.BATCH):
            for chunk in chunks:
                events += decode(chunk, self.schema).table.num_rows
                offset = chunk.next_offset
        seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu
        stream.close()
        return {"seconds": seconds, "cpu_seconds": cpu_seconds, "events": events, **memory()}


def _late(steps: list[tuple[int, float]]) -> float:
    """Events a second in the last third, when records are large."""
    late = steps[-(len(steps) // 3) - 1 :]
    taken = late[-1][1] - late[0][1]
    return sum(count for count, _ in late[1:]) / taken if taken else 0.0


def _same(mine: float | None, theirs: float | None) -> bool:
    return mine == theirs if mine is None or theirs is None else math.isclose(mine, theirs, rel_tol=1e-9)
