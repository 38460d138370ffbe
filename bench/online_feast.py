"""Feast's side of the online benches, in a warm process of the peers' environment; see `online.py` and `backfill.py`.

Its feature views hold ready-made columns: Feast has no windows of its own, and what it serves was computed elsewhere.
Settings are those of its local template (file registry, SQLite), or Redis as online store.
"""

from __future__ import annotations

import io
import logging
import shutil
import time
import warnings
from contextlib import redirect_stderr, redirect_stdout
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from feast import (  # what peers.txt pins
    Entity,
    FeatureStore,
    FeatureView,
    Field,
    FileSource,
    RepoConfig,
    ValueType,
)
from feast.types import Float64, Int64, String, UnixTimestamp
from pyarrow import feather

from bench.latency import call_each
from bench.online_reads import asked

if TYPE_CHECKING:
    from collections.abc import Sequence

KEY = "account_id"
_TYPES = {"int64": Int64, "double": Float64, "string": String, "timestamp[us]": UnixTimestamp}


class Feast:
    """A feature store in a folder, with SQLite, or with a Redis server at a port."""

    def __init__(self, folder: str, store: str, port: int = 0) -> None:
        warnings.simplefilter("ignore")
        logging.getLogger().setLevel(logging.ERROR)
        self.folder, self.kind = Path(folder), store
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        online = {
            "sqlite": {"type": "sqlite", "path": str(self.folder / "online.db")},
            "redis": {"type": "redis", "connection_string": f"localhost:{port},db=1"},
        }
        self.store = FeatureStore(
            config=RepoConfig(
                project="bench",
                registry=str(self.folder / "registry.db"),
                provider="local",
                online_store=online[store],
                entity_key_serialization_version=3,
            )
        )
        self.features: list[str] = []

    def plain(self, log: str, columns: list[str], path: str) -> dict[str, Any]:
        """A file with columns of a log in types that Feast has: it has no decimals, they become floats."""
        table = ds.dataset(sorted(str(each) for each in Path(log).parent.glob(Path(log).name))).to_table(
            columns=[KEY, "occurred_at", *columns]
        )
        types = [pa.float64() if pa.types.is_decimal(field.type) else field.type for field in table.schema]
        pq.write_table(table.cast(pa.schema(zip(table.column_names, types, strict=True))), path)
        return {"path": path}

    def fill(
        self, values: str, views: dict[str, list[str]], until_us: int, time_column: str
    ) -> dict[str, Any]:
        """Applies views of these columns over a file, and materializes the newest row of each account; the seconds are
        of the latter.
        """
        schema = pq.read_schema(values)
        account = Entity(name="account", join_keys=[KEY], value_type=ValueType.INT64)
        source = FileSource(name="values", path=values, timestamp_field=time_column)
        made = [
            FeatureView(
                name=name,
                entities=[account],
                ttl=timedelta(days=0),
                schema=[Field(name=KEY, dtype=Int64), *(_field(schema, column) for column in columns)],
                source=source,
            )
            for name, columns in views.items()
        ]
        self.store.apply([account, source, *made])
        self.features = [f"{name}:{column}" for name, columns in views.items() for column in columns]
        until = datetime.fromtimestamp(until_us / 1e6, UTC)
        started = time.perf_counter()
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):  # it tells its progress
            self.store.materialize(until - timedelta(days=365), until)
        seconds = time.perf_counter() - started
        self.read([0])
        return {"store": self.kind, "seconds": seconds}

    def read(self, accounts: Sequence[int]) -> Any:
        """Feast's online read."""
        return self.store.get_online_features(self.features, [{KEY: account} for account in accounts])

    def time(self, size: int, calls: int, seed: int, kind: str = "answer") -> dict[str, float]:
        """Reads; `kind`: `answer` as it is, or `dict`, with all values as Python objects."""
        get, features = self.store.get_online_features, self.features
        rows = [[{KEY: account} for account in accounts] for accounts in asked(size, calls, seed)]
        if kind == "dict":
            return call_each(lambda entities: get(features, entities).to_dict(), rows, calls)
        return call_each(lambda entities: get(features, entities), rows, calls)

    def save(self, path: str, accounts: Sequence[int]) -> None:
        """Feast's answer about accounts, as an Arrow file."""
        feather.write_feather(pa.table(self.read(accounts).to_dict()), path, compression="uncompressed")


def _field(schema: pa.Schema, column: str) -> Field:
    return Field(name=column, dtype=_TYPES[str(schema.field(column).type)])
