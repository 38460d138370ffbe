"""Small real projects whose sources grow, and stores that fail where a test says."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from asof import Entity, Events, FeatureView, InMemory, count, last, max, sum
from asof.define.fingerprint import fingerprint
from asof.errors import BackendError
from asof.flows.materialize import Resources, ViewReport, plan_steps, run_steps
from asof.flows.project import Project
from asof.online.codec import Meta
from asof.online.lmdb import LmdbStore
from asof.online.store import META_KEY, Item, OnlineStore, Swap, Wanted
from asof.online.store_url import parse_store_url
from asof.registry.state import namespace_of
from asof.usage import NullMeter

HOUR = 3_600_000_000
MANY = 2**40
Row = tuple[Any, ...]

PROJECT = Project()
account = Entity("account", keys={"account_id": "string"})
payment = Entity("payment", keys={"account_id": "string", "day": "int64"})


def table(rows: Iterable[Row], amount: pa.DataType | None = None) -> pa.Table:
    """Rows of (account, hour of the event, amount, hour when it was known, event key or None)."""
    made = [(*row, *(None,) * (5 - len(row))) for row in rows]
    times = [None if r[1] is None else round(r[1] * HOUR) for r in made]
    known = [t if r[3] is None else round(r[3] * HOUR) for r, t in zip(made, times, strict=True)]
    return pa.table(
        {
            "account_id": pa.array([r[0] for r in made], pa.string()),
            "at": pa.array(times, pa.timestamp("us")),
            "amount": pa.array([r[2] for r in made], amount or pa.int64()),
            "known": pa.array(known, pa.timestamp("us")),
            "id": pa.array([r[4] for r in made], pa.string()),
            "day": pa.array([None if r[1] is None else int(r[1]) // 24 for r in made], pa.int64()),
        }
    )


def events(rows: pa.Table, *, key: str | None = None, name: str = "tx") -> Events:
    """A source over a table."""
    return Events(name, InMemory(rows), event_time="at", known_at="known", key=key)


def view_of(source: Any, name: str = "activity", entity: Entity = account, window: str = "3h") -> FeatureView:
    """A view with a window and a newest value."""
    return FeatureView(
        name, entity=entity, source=source, features=[count().over(window), sum("amount").over(window)]
    )


def view_of_tiles(source: Any) -> FeatureView:
    """A view of pre-summed pieces."""
    features = [count().over("3h", hop="1h"), sum("amount").over("2h", hop="30m")]
    return FeatureView("tiled", entity=account, source=source, features=features)


def view_with_last(source: Any) -> FeatureView:
    """A view that also keeps a newest value, however old."""
    return FeatureView(
        "newest", entity=account, source=source, features=[max("amount").over("2h"), last("amount")]
    )


def open_lmdb(folder: Path) -> LmdbStore:
    """A store in a folder."""
    return LmdbStore(parse_store_url("lmdb:///online", folder), timeout_s=5.0)


@dataclass
class Bench:
    """Runs against one store."""

    store: OnlineStore
    history_us: int = 0
    lateness_us: int = HOUR
    memory_bytes: int = MANY
    ttl_s: int | None = None
    seen: list[tuple[str, str, int, int]] = field(default_factory=list[tuple[str, str, int, int]])

    def run(
        self, until: float, *views: FeatureView, whole: bool = False, now: float = 10**6
    ) -> list[ViewReport]:
        """One run up to an hour."""
        engine = PROJECT.engine()
        resources = Resources(2, self.memory_bytes, self.history_us, self.lateness_us, self.ttl_s)
        steps = plan_steps(views, self.store, round(until * HOUR), round(now * HOUR), resources, whole=whole)
        with NullMeter().run("materialize") as run:
            return run_steps(engine, steps, self.store, resources, run, lambda *step: self.seen.append(step))

    def records(self, view: FeatureView) -> dict[bytes, bytes]:
        """All that the store holds of a view."""
        return dict(self.store.scan(space(view)))

    def meta(self, view: FeatureView) -> Meta | None:
        """What it says of it."""
        found = self.store.get([(space(view), [META_KEY])])[0]
        return None if found is None else Meta.parse(found)


def uncounted(records: dict[bytes, bytes]) -> dict[bytes, object]:
    """Records with what is counted left out of the meta record: a run that died has counted nothing."""
    meta = Meta.parse(records[META_KEY])
    return {**records, META_KEY: replace(meta, entities=0, size_bytes=0)}


def space(view: FeatureView) -> str:
    """A view's namespace."""
    return namespace_of(fingerprint(view))


class Hooked:
    """A real store; `before` and `after` hear of each call with its name and number, and may raise."""

    def __init__(self, store: OnlineStore) -> None:
        self.store, self.calls = store, 0
        self.before: Callable[[str, int], None] = lambda *_: None
        self.after: Callable[[str, int], None] = lambda *_: None

    @property
    def capabilities(self) -> Any:
        return self.store.capabilities

    def _call(self, name: str, call: Callable[[], Any]) -> Any:
        self.calls += 1
        number = self.calls
        self.before(name, number)
        made = call()
        self.after(name, number)
        return made

    def get(self, wanted: Wanted) -> list[bytes | None]:
        return self._call("get", lambda: self.store.get(wanted))

    def write(self, namespace: str, items: Iterable[Item], *, ttl_s: int | None = None) -> int:
        return self._call("write", lambda: self.store.write(namespace, items, ttl_s=ttl_s))

    def swap(self, namespace: str, items: Sequence[Swap], *, ttl_s: int | None = None) -> list[bool]:
        return self._call("swap", lambda: self.store.swap(namespace, items, ttl_s=ttl_s))

    def delete(self, namespace: str, keys: Iterable[bytes]) -> int:
        return self._call("delete", lambda: self.store.delete(namespace, keys))

    def scan(self, namespace: str) -> Iterator[Item]:
        return self._call("scan", lambda: self.store.scan(namespace))

    def drop(self, namespace: str) -> None:
        self._call("drop", lambda: self.store.drop(namespace))

    def close(self) -> None:
        self.store.close()


def down(at: int) -> Callable[[str, int], None]:
    """A store that is down from a call on."""

    def fail(name: str, number: int) -> None:
        if number >= at:
            raise BackendError(f"{name}: the store is down", retryable=True)

    return fail
