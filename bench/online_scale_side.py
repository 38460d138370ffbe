"""asof with many entities in LMDB, in a warm process; see `online_scale.py`."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import asof
from asof.compute.arrow import Column
from asof.compute.history import History
from asof.compute.record import Layout, pack_history
from asof.define.fingerprint import fingerprint
from asof.define.window import BEGIN_US
from asof.flows.project import Project
from asof.online.codec import Meta
from asof.online.open_store import open_store
from asof.online.store import META_KEY
from asof.registry.state import namespace_of
from asof.testing.clock import FakeClock
from asof.types import DType
from bench.equal import WrongAnswer
from bench.latency import call_each

if TYPE_CHECKING:
    from collections.abc import Iterator

    from asof.online.store import Item

NOW_US, DAY_US = 1_719_619_200_000_000, 86_400_000_000
FIRST = 10_000_000  # the first key: all have as many digits, so that their order is that of their bytes
CHUNK = 250_000
MOST_ROWS = 8  # each entity has 1 to 8 rows in 30 days
LAYOUT = Layout((("amount", DType("float64")), ("cents", DType("int64"))))


class Ours:
    """A store with so many entities; what they hold follows from their numbers."""

    def __init__(self, folder: str, entities: int) -> None:
        self.folder, self.entities = Path(folder), entities
        view = _view()
        self.namespace = namespace_of(fingerprint(view))
        service = asof.FeatureService("activity", [view])
        project = Project([view, service], clock=FakeClock(datetime.fromtimestamp(NOW_US / 1e6, UTC)))
        self.store = open_store(f"lmdb:///{self.folder}", timeout_s=5.0)
        self.reader = project.online(store=self.store)

    def fill(self) -> dict[str, Any]:
        """Packs and writes all records; how large they are."""
        size_bytes = rows = 0
        pack_s = write_s = 0.0
        for start in range(0, self.entities, CHUNK):
            begun = time.perf_counter()
            stop = min(start + CHUNK, self.entities)
            history = _history(start, stop)
            packed = pack_history(history, LAYOUT, watermark_us=NOW_US, floor_us=NOW_US - DAY_US)
            packed_at = time.perf_counter()
            self.store.write(self.namespace, _items(start, packed.records()))
            pack_s, write_s = pack_s + packed_at - begun, write_s + time.perf_counter() - packed_at
            size_bytes, rows = size_bytes + packed.data.size, rows + history.size
        meta = Meta(LAYOUT, NOW_US, NOW_US - DAY_US, BEGIN_US, "", self.entities, size_bytes)
        self.store.write(self.namespace, [(META_KEY, meta.to_bytes())])
        stored = (self.folder / "data.mdb").stat().st_blocks * 512
        return {
            "record_bytes": size_bytes / self.entities, "rows": rows / self.entities, "stored": stored,
            "stored_bytes": stored / self.entities, "pack_s": pack_s, "write_s": write_s,
        }  # fmt: skip

    def check(self) -> dict[str, Any]:
        """A look at entities all over: counts and sums are those of the rows that were drawn."""
        step = max(1, self.entities // CHUNK)
        for start in range(0, self.entities, step * CHUNK):
            stop = min(start + 1_000, self.entities)
            history = _history(start, stop)
            answer = self.reader.read("activity", {"id": list(range(FIRST + start, FIRST + stop))})
            counts = np.diff(history.starts)
            cents = np.add.reduceat(np.append(history.columns["cents"].values, 0), history.starts[:-1])
            if not np.array_equal(answer.column("count_30d"), counts):
                raise WrongAnswer("counts differ from those of the rows")
            if not np.array_equal(answer.column("cents_sum_30d"), np.where(counts > 0, cents, 0)):
                raise WrongAnswer("sums differ from those of the rows")
        return {}

    def warm(self) -> dict[str, Any]:
        """Reads every page of the store once."""
        begun = time.perf_counter()
        count = sum(1 for _ in self.store.scan(self.namespace))
        if count != self.entities + 1:
            raise WrongAnswer(f"{count:,} records of {self.entities:,} entities")
        env = self.store._shared.env  # noqa: SLF001 - only LMDB's own statistics tell the depth of its tree
        return {
            "warm_s": time.perf_counter() - begun,
            "depth": env.stat()["depth"],
            "map": env.info()["map_size"],
        }

    def time(self, size: int, calls: int, seed: int, *, own: bool = False) -> dict[str, float]:
        """Reads of entities drawn from all."""
        read = self.reader.read
        columns = [{"id": ids} for ids in _asked(self.entities, size, calls, seed)]
        return call_each(lambda entities: read("activity", entities), columns, calls, own=own)


class Raw:
    """The plain binding over the same environment, in a second process; keys are made before the clock runs."""

    def __init__(self, folder: str, entities: int) -> None:
        import lmdb

        self.entities = entities
        self.env: Any = lmdb.open(folder, readonly=True, max_readers=1022)
        self.prefix = bytes.fromhex(namespace_of(fingerprint(_view()))[1:])

    def warm(self) -> dict[str, Any]:
        """Reads every page once."""
        with self.env.begin() as txn:
            return {"records": sum(1 for _ in txn.cursor().iternext(keys=False, values=True))}

    def time(self, size: int, calls: int, seed: int, *, own: bool = False) -> dict[str, float]:
        """Gets of the same records as ours."""
        asked = _asked(self.entities, size, calls, seed)
        return call_each(
            self._get, [[self.prefix + b"%d" % each for each in ids] for ids in asked], calls, own=own
        )

    def _get(self, keys: list[bytes]) -> list[bytes | None]:
        with self.env.begin() as txn:
            find = txn.get
            return [find(key) for key in keys]


def _asked(entities: int, size: int, calls: int, seed: int) -> list[list[int]]:
    rng = np.random.default_rng([20_240_104, size, seed])
    drawn: list[list[int]] = (FIRST + rng.integers(0, entities, (calls, size))).tolist()
    return drawn


def _view() -> asof.FeatureView:
    import pyarrow as pa

    nothing = pa.table(
        {
            "id": pa.array([], pa.int64()),
            "at": pa.array([], pa.timestamp("us")),
            "amount": pa.array([], pa.float64()),
            "cents": pa.array([], pa.int64()),
        }
    )
    return asof.FeatureView(
        "activity",
        entity=asof.Entity("account", keys={"id": "int64"}),
        source=asof.Events("payments", asof.InMemory(nothing), event_time="at"),
        features=[
            asof.count().over("1d", "30d"),
            asof.sum("cents").over("1d", "30d"),
            asof.mean("amount").over("1d", "30d"),
            asof.max("amount").over("1d", "30d"),
            asof.min("amount").over("1d", "30d"),
        ],
        online=True,
    )


def _history(start: int, stop: int) -> History:
    """The rows of entities of one chunk, or of its beginning: the same, however many are asked for."""
    rng = np.random.default_rng([20_240_105, start // CHUNK])
    counts = rng.integers(1, MOST_ROWS + 1, CHUNK)
    at = NOW_US - 1 - rng.integers(0, 30 * DAY_US - 1, (CHUNK, MOST_ROWS))
    cents = rng.integers(1, 1_000_000, (CHUNK, MOST_ROWS))
    size = stop - start
    there = np.arange(MOST_ROWS) < counts[:size, None]
    at = np.sort(np.where(there, at[:size], np.iinfo(np.int64).max), axis=1)
    event, held = at[there], cents[:size][there]
    valid = np.ones(event.size, np.bool_)
    starts = np.zeros(size + 1, np.int64)
    np.cumsum(counts[:size], out=starts[1:])
    columns = {
        "amount": Column(DType("float64"), held / 100, valid),
        "cents": Column(DType("int64"), held, valid),
    }
    return History(starts, event, event, np.empty(0, np.int64), columns, {}, threads=2)


def _items(start: int, records: list[bytes]) -> Iterator[Item]:
    return ((b"%d" % (FIRST + start + i), record) for i, record in enumerate(records))
