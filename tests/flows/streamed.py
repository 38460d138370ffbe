"""A small project with a streamed source, and what tests do with it: push, work, read, train, look."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

import asof
from asof.clock import format_time, from_us
from asof.define.feature_view import FeatureView
from asof.define.fingerprint import fingerprint
from asof.define.service import FeatureService
from asof.engines.landed import OFFSET, PARTITION, landed_files
from asof.flows.materialize import ViewReport
from asof.flows.project import Project
from asof.flows.push import Pushed, Pusher
from asof.flows.stream import Limits, SourceWorker
from asof.flows.stream_open import open_source_stream, open_worker
from asof.online.store import OnlineStore
from asof.registry.state import namespace_of
from asof.streams.stream import Outgoing
from asof.testing.clock import FakeClock

START = 1_767_225_600_000_000  # 2026-01-01T00:00:00Z
SECOND = 1_000_000
HOUR = 3_600 * SECOND
TYPES: dict[str, pa.DataType] = {
    "account": pa.string(), "device": pa.string(), "amount": pa.int64(), "note": pa.string(), "id": pa.string(),
    "gone": pa.bool_(), "at": pa.timestamp("us", "UTC"), "known": pa.timestamp("us", "UTC"),
}  # fmt: skip
ACCOUNT = asof.Entity("account", keys={"account": "string"})
DEVICE = asof.Entity("device", keys={"device": "string"})
HOURLY = (asof.count().over("1h"), asof.sum("amount").over("1h"))


def table(rows: Sequence[dict[str, Any]]) -> pa.Table:
    """A declared history; times in seconds from START, `known` is `at` where it is not said."""
    made = [{**row, "known": row.get("known", row["at"])} for row in rows]
    columns = {
        name: pa.array(
            [START + row[name] * SECOND if name in {"at", "known"} else row.get(name) for row in made], kind
        )
        for name, kind in TYPES.items()
    }
    return pa.table(columns)


@dataclass
class Bank:
    """A project over one streamed source `tx` in a folder, and a store."""

    folder: Path
    store: OnlineStore
    history: Sequence[dict[str, Any]] = ()
    stream: Any = field(default_factory=lambda: asof.Log(partitions=2, partition_by="account"))
    key: str | None = None
    views: Sequence[tuple[asof.Entity, Sequence[Any]]] = ((ACCOUNT, HOURLY),)
    more: Sequence[FeatureView] = ()

    def __post_init__(self) -> None:
        self.clock = FakeClock(from_us(START))
        deleted = None if self.key is None else "gone"
        self.source = asof.Events(
            "tx", asof.InMemory(table(self.history), "tx"), event_time="at", known_at="known", key=self.key,
            deleted=deleted, stream=self.stream,
        )  # fmt: skip
        self.workers: list[SourceWorker] = []
        self.define(self.views)

    def define(self, views: Sequence[tuple[asof.Entity, Sequence[Any]]]) -> None:
        """The project has these views now, one for each entity, and a service of all."""
        self.made = [
            FeatureView(f"by_{entity.name}_{at}", entity=entity, source=self.source, features=list(features),
                        online=True)
            for at, (entity, features) in enumerate(views)
        ]  # fmt: skip
        self._project([*self.made, *self.more])

    def materialize(self, *, whole: bool = False, until: int | None = None) -> tuple[ViewReport, ...]:
        """One run up to now, or to a second."""
        end = None if until is None else from_us(START + until * SECOND)
        return self.project.materialize(store=self.store, whole=whole, until=end).views

    def join(self, *views: FeatureView) -> None:
        """The project has these views as well."""
        self.more = views
        self._project([*self.made, *views])

    def _project(self, views: Sequence[FeatureView]) -> None:
        services = [FeatureService(view.name, [view]) for view in views]
        self.project = Project([*views, *services], clock=self.clock, folder=self.folder)
        self.pusher = Pusher(lambda: self.project)

    @property
    def now(self) -> int:
        """Seconds since START."""
        return (self.clock.now_us() - START) // SECOND

    def push(self, *rows: dict[str, Any], key: str | None = None, source: str = "tx") -> Pushed:
        """Events; `at` in seconds from START."""
        made = [
            {**row, "at": None if row["at"] is None else format_time(START + row["at"] * SECOND)}
            for row in rows
        ]
        return self.pusher.push(source, made, idempotency_key=key)

    def push_raw(self, *bodies: bytes, key: bytes = b"a") -> None:
        """Events as bytes, past every check."""
        stream = open_source_stream(self.project, self.source)
        for body in bodies:
            stream.append(Outgoing(1, "json", events=[body], keys=[key]))
        stream.close()

    def worker(
        self, *, batch: int = 10_000, source: Any = None, store: OnlineStore | None = None
    ) -> SourceWorker:
        """One more worker."""
        limits = Limits(batch_events=batch, land_us=10**15)
        made = open_worker(self.project, source or self.source, store or self.store, limits=limits)
        self.workers.append(made)
        return made

    def drain(self, *workers: SourceWorker, flush: bool = True) -> None:
        """Lets workers do all there is, in turn."""
        for _ in range(2):
            while sum([worker.step() for worker in workers]):
                pass
        for worker in workers if flush else ():
            worker.flush()

    def settle(self, *workers: SourceWorker) -> None:
        """Workers that find nothing promise that what comes is known from now on."""
        for worker in workers:
            limits = worker.limits
            worker.limits = replace(limits, land_us=0)
            worker.step()
            worker.limits = limits

    def online(self, view: int = 0, *entities: str, at: int | None = None) -> list[dict[str, Any]]:
        """What a reader answers now, or at an instant in seconds."""
        name, key = self._of(view)
        clock = FakeClock(from_us(self.clock.now_us() if at is None else START + at * SECOND))
        reader = Project(self.project.definitions.all(), clock=clock).online(store=self.store)
        return reader.read(name, {key: list(entities)}).rows()

    def trained(self, view: int = 0, *entities: str, at: int | None = None) -> list[dict[str, Any]]:
        """The same from a training set."""
        name, key = self._of(view)
        when = self.clock.now_us() if at is None else START + at * SECOND
        spine = pa.table({key: list(entities), "event_time": pa.array([when] * len(entities), TYPES["at"])})
        made = self.project.training_set(name, spine=spine).table
        return made.drop_columns([key, "event_time"]).to_pylist()

    def both(self, view: int = 0, *entities: str, at: int | None = None) -> list[tuple[Any, ...]]:
        """The values of each entity, the same online and in the training set."""
        online, trained = self.online(view, *entities, at=at), self.trained(view, *entities, at=at)
        assert online == trained
        return [tuple(row.values()) for row in online]

    def _of(self, view: int) -> tuple[str, str]:
        made = [*self.made, *self.more][view]
        return made.name, made.entity.keys.names[0]

    def landed(self, source: str = "tx") -> list[tuple[int, int]]:
        """The partition and offset of each landed row that counts."""
        landing = self.project.landing
        assert landing is not None
        found: list[tuple[int, int]] = []
        for path in landed_files(landing / source):
            made = pq.read_table(path, partitioning=None)
            found += zip(made[PARTITION].to_pylist(), made[OFFSET].to_pylist(), strict=True)
        return sorted(found)

    def counted(self) -> dict[str, int]:
        """What the workers of all partitions have counted, as the checkpoints tell."""
        total: dict[str, int] = {}
        for each in self.checkpoints.all().values():
            for name, count in each.counts.items():
                total[name] = total.get(name, 0) + count
        return total

    @property
    def checkpoints(self) -> Any:
        """The checkpoints of the source."""
        return self.workers[0].checkpoints

    def letters(self) -> list[tuple[int, str]]:
        """Offset and reason of each dead letter."""
        return [(letter.offset, letter.reason) for letter in self.workers[0].dead_letters.all()]

    def space(self, view: FeatureView) -> str:
        """The namespace of a view's records."""
        return namespace_of(fingerprint(view))

    def close(self) -> None:
        """Gives everything back."""
        for worker in self.workers:
            worker.abandon()
        self.pusher.close()


def row(account: str | None, at: float | None, amount: int | None = 1, **more: Any) -> dict[str, Any]:
    """An event of an account, at a second."""
    return {"account": account, "at": at, "amount": amount, **more}
