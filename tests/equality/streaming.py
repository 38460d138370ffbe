"""A streamed source with its workers in one process, where anything may happen at any time: the model of
test_streaming.py.

What has landed is compared with what was pushed, event by event; and the declared history together with what has landed
is what the oracle reads. So reads, training sets and the oracle have to agree, whatever the workers went through.
"""

from __future__ import annotations

import math
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

import asof
from asof.define.feature_view import FeatureRef, FeatureView
from asof.define.service import FeatureService
from asof.engines.landed import OFFSET, PARTITION, landed_files
from asof.errors import BackendError, NumericOverflow
from asof.flows.materialize import Resources, plan_steps, run_steps
from asof.flows.project import Project
from asof.flows.push import Pusher
from asof.flows.stream import Limits, SourceWorker
from asof.flows.stream_checkpoint import NAMESPACE, Checkpoints
from asof.flows.stream_open import open_worker
from asof.online.codec import Meta
from asof.online.store import META_KEY, Item, OnlineStore, Swap, Wanted
from asof.testing.clock import FakeClock
from asof.testing.generated import same
from tests.equality.checking import OVERFLOW, by_oracle, instant, micros
from tests.equality.definitions import COMPOSITE, SIMPLE, Options
from tests.equality.online import MANY, Work, namespace
from tests.equality.strategies import SCHEMA, US, to_table

OTHER = asof.Entity("other", keys={"k2": "int64"})
BEGIN = 20  # when the stream begins; the declared history is known before
NEVER = 10**15
KEYED, UNKEYED = Options(), Options(key=None, deleted=None)


class Killed(Exception):
    """The process ends here."""


@dataclass
class Dying:
    """A store whose user ends after so many records were written; or before which something happens at a swap."""

    store: OnlineStore
    left: int | None = None
    before: Callable[[], None] | None = None

    @property
    def capabilities(self) -> Any:
        return self.store.capabilities

    def get(self, wanted: Wanted) -> list[bytes | None]:
        return self.store.get(wanted)

    def write(self, namespace: str, items: Iterable[Item], *, ttl_s: int | None = None) -> int:
        return self._some(list(items), lambda part: self.store.write(namespace, part, ttl_s=ttl_s))

    def swap(self, namespace: str, items: Sequence[Swap], *, ttl_s: int | None = None) -> list[bool]:
        before, self.before = self.before, None
        if before is not None:
            before()
        return self._some(items, lambda part: self.store.swap(namespace, part, ttl_s=ttl_s))

    def delete(self, namespace: str, keys: Iterable[bytes]) -> int:
        return self._some(list(keys), lambda part: self.store.delete(namespace, part))

    def scan(self, namespace: str) -> Iterator[Item]:
        return self.store.scan(namespace)

    def drop(self, namespace: str) -> None:
        self.store.drop(namespace)

    def close(self) -> None:
        pass

    def _some(self, items: Sequence[Any], do: Callable[[Sequence[Any]], Any]) -> Any:
        if self.left is None:
            return do(items)
        part, self.left = items[: self.left], self.left - len(items)
        made = do(part)
        if self.left < 0:
            raise Killed
        return made


@dataclass
class Alive:
    """A worker and its store."""

    worker: SourceWorker
    store: Dying


@dataclass
class World:
    """Everything: definitions, stream, store, workers, and what was pushed."""

    store: OnlineStore
    history: Sequence[dict[str, Any]]
    options: Options
    features: Sequence[Any]
    partitions: int = 1
    workers: list[Alive] = field(default_factory=list[Alive])
    pushed: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])

    def __post_init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="asof-stream-"))
        self.clock = FakeClock(instant(BEGIN))
        self.declared = to_table([{**row, "seq": -1} for row in self.history])
        stream = asof.Log(partitions=self.partitions, partition_by="k")
        self.source = asof.Events(
            "moves", asof.InMemory(self.declared, "moves"), event_time="happened", known_at="known",
            key=self.options.key, deleted=self.options.deleted, stream=stream,
        )  # fmt: skip
        self.service = self.service_over(self.source)
        self.views = list({ref.view.name: ref.view for ref in self.service.refs}.values())
        self.project = Project([*self.views, self.service], clock=self.clock, folder=self.folder)
        self.pusher = Pusher(lambda: self.project)
        self.checkpoints = Checkpoints(self.store, "moves")
        for space in (NAMESPACE, *map(namespace, self.views)):
            self.store.drop(space)

    def service_over(self, source: Any) -> FeatureService:
        """The service: of entities that are the partition's, part of it, and spread over partitions."""
        views = [
            FeatureView(entity.name, entity=entity, source=source, features=list(self.features), online=True)
            for entity in (SIMPLE, COMPOSITE, OTHER)
        ]
        return FeatureService(
            "service", [view[name].named(f"{view.name}_{name}") for view in views for name in view.names]
        )

    @property
    def now(self) -> int:
        """The instant."""
        return self.clock.now_us()

    def advance(self, by: int) -> None:
        """Time passes."""
        self.clock.set(instant(self.now + by))

    # ------------------------------------------------------------------------------------------ what may happen
    def push(self, rows: Sequence[dict[str, Any]]) -> None:
        """Events, each with a number of its own in `seq`."""
        made: list[dict[str, Any]] = []
        for row in rows:
            finite = row["f"] is None or math.isfinite(row["f"])  # JSON has no other numbers
            number = {"f": row["f"] if finite else 0.3, "seq": len(self.pushed), "_at": self.now}
            self.pushed.append({**row, **number})
            made.append({
                name: instant(value) if SCHEMA.field(name).type == US and isinstance(value, int) else value
                for name, value in self.pushed[-1].items() if name not in {"_at", "late", "known"}
            })  # fmt: skip
        self.pusher.push("moves", made)

    def start(self, limits: Limits) -> Alive:
        """One more worker."""
        store = Dying(self.store)
        made = Alive(open_worker(self.project, self.source, store), store)
        made.worker.limits = limits
        self.workers.append(made)
        return made

    def step(self, alive: Alive, times: int = 1) -> None:
        """A worker works, till it dies."""
        try:
            for _ in range(times):
                alive.worker.step()
        except Killed:
            self.kill(alive)

    def kill(self, alive: Alive) -> None:
        """A worker is no more: what it had not written is lost."""
        alive.worker.abandon()
        self.workers.remove(alive)

    def kill_at(self, alive: Alive, writes: int, *, flush: bool) -> None:
        """A worker dies after so many more records, or a little later."""
        alive.store.left = writes
        with suppress(Killed):
            for _ in range(3):
                alive.worker.step()
            if flush:
                alive.worker.flush()
        self.kill(alive)

    def overtake(self, alive: Alive, limits: Limits) -> None:
        """A worker stands still with records in its hands, while another one takes its partitions over; then it goes
        on, and has not noticed.
        """
        taken: list[bool] = []

        def take() -> None:
            taken.append(True)
            follower = alive.worker._follower
            assert follower is not None
            follower.close()
            other = self.start(limits)
            for _ in range(4):
                other.worker.step()
            if limits.land_events < 3:
                other.worker.flush()

        alive.store.before = take
        try:
            for _ in range(2):
                alive.worker.step()
                if taken:
                    break
            alive.worker.flush()
        except BackendError:  # its follower is closed
            assert taken
        alive.store.before = None
        if taken:
            self.kill(alive)

    def materialize(self, work: Work, *, dies_after: int | None = None) -> None:
        """One run, which may die."""
        store = Dying(self.store, dies_after)
        resources = Resources(work.threads, MANY, work.history, work.lateness)
        engine, until = self.project.engine(), min(work.until, self.now)
        try:
            with suppress(Killed), self.project.meter.run("materialize") as run:
                steps = plan_steps(self.views, store, until, self.now, resources, whole=work.whole)
                run_steps(engine, steps, store, resources, run, lambda *_: None)
        finally:
            engine.close()

    def replay(self, view: int) -> None:
        """A view is told to take everything again."""
        self.checkpoints.forget(namespace(self.views[view % len(self.views)]))

    # ------------------------------------------------------------------------------------------ what has to hold
    def drain(self) -> None:
        """All events are in the records, and landed."""
        if not self.workers:
            self.start(Limits(land_us=NEVER))
        for alive in self.workers:
            alive.worker.limits = replace(alive.worker.limits, land_us=0)
        for _ in range(3):
            while sum([alive.worker.step() for alive in self.workers]):
                pass
        self.advance(4)  # known-at times of partitions are that far apart
        for alive in self.workers:
            alive.worker.step()
            alive.worker.flush()

    def landed(self) -> pa.Table:
        """What counts of what has landed: each event that can be used exactly once, known in the order of offsets."""
        assert self.project.landing is not None
        tables = [
            pq.read_table(path, partitioning=None) for path in landed_files(self.project.landing / "moves")
        ]
        made = pa.concat_tables(tables) if tables else SCHEMA.empty_table()
        usable = [row for row in self.pushed if self._usable(row)]
        told = list(self.checkpoints.all().values())
        assert sorted(made["seq"].to_pylist()) == [row["seq"] for row in usable], told
        for name in ("k", "k2", "happened", "id", "gone", "n", "i", "d", "f", "s", "b", "day", "at"):
            wanted = to_table(usable)[name].to_pylist()
            found = dict(zip(made["seq"].to_pylist(), made[name].to_pylist(), strict=True))
            assert [found[row["seq"]] for row in usable] == wanted, name
        for partition in range(self.partitions if tables else 0):
            mine = made.filter(pa.compute.equal(made[PARTITION], partition)).sort_by(OFFSET)
            known = [micros(at) or 0 for at in mine["known"].to_pylist()]
            assert known == sorted(known)
            stamps = [self.pushed[seq]["_at"] for seq in mine["seq"].to_pylist()]
            assert all(at >= stamp for at, stamp in zip(known, stamps, strict=True))
        return made.select(SCHEMA.names).cast(SCHEMA)

    def _usable(self, row: dict[str, Any]) -> bool:
        keyed = self.options.key is not None
        return row["happened"] is not None and row["k"] is not None and not (keyed and row["id"] is None)

    def readable(self) -> bool:
        """Whether every view holds all of the declared history."""
        found = self.store.get([(namespace(view), [META_KEY]) for view in self.views])
        return all(data is not None and Meta.parse(data).watermark_us >= BEGIN for data in found)

    def check(self, back: int = 0) -> None:
        """All has been drained: a read now, the training set and the oracle say the same."""
        if not self.readable():
            self.materialize(Work(self.now))
        table = pa.concat_tables([self.declared, self.landed()])
        at = self.now - back
        lines = spine_at(at)
        service = self.service_over(replace_history(self.source, table))
        slow = by_oracle(service, lines, as_known=True, cutoff_us=None)
        fast = self._trained(lines)
        answer = self._read(lines, at)
        if OVERFLOW in [each for each in (slow, fast, answer) if isinstance(each, str)]:
            assert slow == fast == answer
            return
        for item in (item for item in self.service.features if isinstance(item, FeatureRef)):
            name = item.name
            one, other = answer.arrow(name), fast[name].combine_chunks()
            assert one.type == other.type, name
            found, wanted = one.to_pylist(), other.to_pylist()
            for row, line in enumerate(slow):
                assert same(item.feature, wanted[row], line[name]), self._told(
                    "training", item, lines, row, wanted[row], line[name]
                )
                assert repr(found[row]) == repr(wanted[row]), self._told(
                    "online", item, lines, row, found[row], line[name]
                )

    def _told(self, what: str, item: FeatureRef, lines: pa.Table, row: int, found: Any, wanted: Any) -> str:
        return (
            f"{what}: {item.name} of {lines.slice(row, 1).to_pylist()}: {found}, not {wanted}; {item.feature}"
        )

    def _trained(self, lines: pa.Table) -> Any:
        try:
            return self.project.training_set(self.service, spine=lines).table
        except NumericOverflow:
            return OVERFLOW

    def _read(self, lines: pa.Table, at: int) -> Any:
        reader = Project([self.service], clock=FakeClock(instant(at))).online(store=self.store)
        try:
            return reader.read("service", {name: lines[name].to_pylist() for name in ("k", "k2")})
        except NumericOverflow:
            return OVERFLOW

    def close(self) -> None:
        """Gives everything back."""
        for alive in self.workers:
            alive.worker.abandon()
        self.pusher.close()
        shutil.rmtree(self.folder, ignore_errors=True)


def replace_history(source: Any, table: pa.Table) -> Any:
    """The source over another table, without a stream."""
    return asof.Events(
        source.name, asof.InMemory(table, source.name), event_time=source.event_time, known_at=source.known_at,
        key=source.key, deleted=source.deleted,
    )  # fmt: skip


def spine_at(at: int) -> pa.Table:
    """All entities of these histories, and one that is not there, at an instant."""
    pairs = list(product(["a", "b", "c", "nobody", None], [1, 2, None]))
    return pa.table({
        "k": pa.array([k for k, _ in pairs], pa.string()), "k2": pa.array([k2 for _, k2 in pairs], pa.int64()),
        "event_time": pa.array([instant(at)] * len(pairs), US),
    })  # fmt: skip


__all__ = ["BEGIN", "KEYED", "NEVER", "UNKEYED", "Alive", "World"]
