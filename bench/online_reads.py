"""The sides of `online` in a warm process each: ours, and raw reads of the same records from LMDB and Redis.

Every side is asked about the same accounts: `asked(size, calls, seed)`. What a raw side needs is prepared before the
clock runs: the bytes of its keys, and its connection. Ours gets key columns as a user has them, and gives an `Answer`.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.data import ACCOUNTS
from bench.latency import call_each

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

PATIENCE_S = 30.0


def asked(size: int, calls: int, seed: int, accounts: int = ACCOUNTS) -> list[list[int]]:
    """Accounts for so many calls, drawn alike."""
    rng = np.random.default_rng([20_240_103, size, seed])
    drawn: list[list[int]] = rng.integers(0, accounts, (calls, size)).tolist()
    return drawn


class Ours:
    """asof: `Project.online(...).read(...)`, with a store at an address."""

    def __init__(self, log: str, url: str) -> None:
        from asof.online.open_store import open_store
        from bench import online_views

        self.service = online_views.SERVICE
        self.project = online_views.project(log)
        self.store = open_store(url, timeout_s=PATIENCE_S)
        self.reader: Any = None

    def fill(self) -> dict[str, Any]:
        """Materializes all views; gives their namespaces, and how many records of what size there are."""
        views = self.project.materialize(store=self.store, whole=True).views
        records, size_bytes = (
            sum(each) for each in zip(*((v.records, v.size_bytes) for v in views), strict=True)
        )
        return {"namespaces": [v.namespace for v in views], "records": records, "bytes": size_bytes}

    def open(self) -> None:
        """The reader, and one read that is not timed."""
        self.reader = self.project.online(store=self.store)
        self.reader.read(self.service, {"account_id": [0]})

    def time(
        self, size: int, calls: int, seed: int, kind: str = "answer", *, own: bool = False
    ) -> dict[str, float]:
        """Reads; `kind`: `answer` as it is, or `dict`, with all values as Python objects."""
        read, service = self.reader.read, self.service
        columns = [{"account_id": accounts} for accounts in asked(size, calls, seed)]
        if kind == "dict":
            return call_each(lambda entities: read(service, entities).to_dict(), columns, calls)
        return call_each(lambda entities: read(service, entities), columns, calls, own=own)

    def save(self, path: str, accounts: Sequence[int]) -> None:
        """Our answer about accounts, as an Arrow file."""
        table = self.reader.read(self.service, {"account_id": list(accounts)}).to_arrow()
        write_ids(table, accounts, path)

    def rows(self, accounts: Sequence[int]) -> dict[str, Any]:
        """Our answer about accounts, numbers in rows."""
        answer = self.reader.read(self.service, {"account_id": list(accounts)})
        rows = [[None if v is None else float(v) for v in row.values()] for row in answer.rows()]
        return {"names": list(answer.names), "values": rows}

    def digest(self, accounts: Sequence[int], namespaces: Sequence[str]) -> dict[str, Any]:
        """Which bytes our store gives, for the comparison with a raw side."""
        keys = [b"%d" % account for account in accounts]
        return digest(self.store.get([(name, keys) for name in namespaces]))

    def training_set(self, path: str, accounts: Sequence[int]) -> None:
        """The training set at the same instant: what the answer has to be."""
        write_ids(training_set(self.project, self.service, accounts), accounts, path)

    def values(self, path: str) -> None:
        """The same of all accounts as a Parquet file, for a store of ready-made values: numbers, and a time."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        accounts = range(ACCOUNTS)
        table = _with_ids(training_set(self.project, self.service, accounts), accounts)
        plain = [pa.float64() if pa.types.is_decimal(field.type) else field.type for field in table.schema]
        table = table.cast(pa.schema(zip(table.column_names, plain, strict=True)))
        just_before = pa.array(
            [self.project.clock.now_us() - 1_000_000] * table.num_rows, pa.timestamp("us", "UTC")
        )
        pq.write_table(table.append_column("event_timestamp", just_before), path)


class _Raw:
    """Reads of records as bytes: keys in the order of views and then accounts."""

    def __init__(self, namespaces: Sequence[str]) -> None:
        self.namespaces = list(namespaces)

    def keys(self, accounts: Sequence[int]) -> list[bytes]:
        raise NotImplementedError

    def get(self, keys: Sequence[bytes]) -> Sequence[bytes | None]:
        raise NotImplementedError

    def time(
        self, size: int, calls: int, seed: int, kind: str = "answer", *, own: bool = False
    ) -> dict[str, float]:
        """Reads of the records that our side reads for the same question; `kind="keys"`: the bytes of their keys are
        made within the time.
        """
        found, keys, get = asked(size, calls, seed), self.keys, self.get
        if kind == "keys":
            return call_each(lambda accounts: get(keys(accounts)), found, calls, own=own)
        return call_each(get, [keys(accounts) for accounts in found], calls, own=own)

    def digest(self, accounts: Sequence[int]) -> dict[str, Any]:
        """Which bytes these are."""
        return digest(self.get(self.keys(accounts)))


class RawLmdb(_Raw):
    """The plain binding: one read transaction, one `get` after the other."""

    def __init__(self, folder: str, namespaces: Sequence[str]) -> None:
        import lmdb

        super().__init__(namespaces)
        self.env: Any = lmdb.open(folder, readonly=True, max_readers=1022)
        self.prefixes = [bytes.fromhex(name[1:]) for name in namespaces]

    def keys(self, accounts: Sequence[int]) -> list[bytes]:
        return [prefix + b"%d" % account for prefix in self.prefixes for account in accounts]

    def get(self, keys: Sequence[bytes]) -> Sequence[bytes | None]:
        with self.env.begin() as txn:
            find = txn.get
            return [find(key) for key in keys]


class RawRedis(_Raw):
    """redis-py with hiredis: one MGET, which is one round trip."""

    def __init__(self, port: int, namespaces: Sequence[str]) -> None:
        import redis

        super().__init__(namespaces)
        self.client: Any = redis.Redis(port=port)

    def keys(self, accounts: Sequence[int]) -> list[bytes]:
        return [b"asof:{%d}:%s" % (a, name.encode()) for name in self.namespaces for a in accounts]

    def get(self, keys: Sequence[bytes]) -> Sequence[bytes | None]:
        found: Sequence[bytes | None] = self.client.mget(keys)
        return found


def digest(records: Sequence[bytes | None]) -> dict[str, Any]:
    """Records in short: how many, how many bytes, and a hash over all of them."""
    there = [record for record in records if record is not None]
    whole = hashlib.blake2b(b"".join(b"-" if r is None else b"%d:" % len(r) + r for r in records))
    return {"records": len(there), "bytes": sum(map(len, there)), "hash": whole.hexdigest()}


def training_set(project: Any, service: Any, accounts: Sequence[int]) -> pa.Table:
    """The features of accounts as of the project's now, by the way of training."""
    import pyarrow as pa

    at = pa.array([project.clock.now_us()] * len(accounts), pa.timestamp("us", "UTC"))
    spine = pa.table({"account_id": pa.array(accounts, pa.int64()), "event_time": at})
    found: pa.Table = project.training_set(service, spine=spine).table
    return found.drop_columns(["account_id", "event_time"])


def write_ids(table: pa.Table, accounts: Sequence[int], path: str) -> None:
    """Writes features as an Arrow file, with the accounts that they are of."""
    from pyarrow import feather

    feather.write_feather(_with_ids(table, accounts), path, compression="uncompressed")


def _with_ids(table: pa.Table, accounts: Sequence[int]) -> pa.Table:
    import pyarrow as pa

    return table.add_column(0, "account_id", pa.array(accounts, pa.int64()))
