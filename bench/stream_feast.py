"""Feast's side of `stream_push`, in a warm process of the peers' environment; and the rows that both sides push.

`FeatureStore.push(..., to=PushMode.ONLINE)` of the same columns. Feast computes nothing of them: what is in its store
is the newest row of each account. It gets data frames, as its push takes them.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from bench.latency import call_each

if TYPE_CHECKING:
    from collections.abc import Callable

ACCOUNTS = 50_000
_NAMES = ("food", "travel", "fuel", "clothing")


def accounts_of(size: int, call: int, seed: int) -> list[int]:
    """The accounts of a batch, drawn alike."""
    drawn: list[int] = (
        np.random.default_rng([20_240_105, size, call, seed]).integers(0, ACCOUNTS, size).tolist()
    )
    return drawn


def rows_of(size: int, call: int, seed: int) -> pa.Table:
    """A batch of payments that happened just now."""
    accounts, rng = accounts_of(size, call, seed), np.random.default_rng([20_240_106, size, call, seed])
    now_us = time.time_ns() // 1_000
    return pa.table(
        {
            "account_id": [f"acct_{each:08d}" for each in accounts],
            "amount": rng.integers(1, 100_000, size),
            "merchant": [f"dev_{each:06d}" for each in rng.integers(0, 20_000, size).tolist()],
            "category": [_NAMES[each] for each in rng.integers(0, len(_NAMES), size).tolist()],
            "at": pa.array(np.full(size, now_us), pa.timestamp("us", "UTC")),
            "flag": rng.random(size) < 0.1,
        }
    )


class Feast:
    """A feature store with a push source, in SQLite or Redis; arguments as of `online_feast.Feast`."""

    def __init__(self, folder: str, store: str, port: int = 0) -> None:
        from datetime import timedelta

        import pyarrow.parquet as pq
        from feast import Entity, FeatureView, Field, FileSource, PushSource, ValueType
        from feast.types import Bool, Int64, String

        from bench import online_feast

        self.feast = online_feast.Feast(folder, store, port)
        path = str(self.feast.folder / "history.parquet")
        pq.write_table(rows_of(1, 0, 0), path)
        account = Entity(name="account", join_keys=["account_id"], value_type=ValueType.STRING)
        source = PushSource(
            name="payments", batch_source=FileSource(name="history", path=path, timestamp_field="at")
        )
        types = {"account_id": String, "amount": Int64, "merchant": String, "category": String, "flag": Bool}
        view = FeatureView(
            name="payment", entities=[account], ttl=timedelta(days=0), source=source,
            schema=[Field(name=name, dtype=dtype) for name, dtype in types.items()],
        )  # fmt: skip
        self.feast.store.apply([account, source, view])

    def time(self, size: int, calls: int, seed: int, **_: Any) -> dict[str, float]:
        """Batches of `size` rows, pushed to the online store."""
        from feast.data_source import PushMode

        frames = [rows_of(size, call, seed).to_pandas() for call in range(calls)]
        push: Callable[[Any], object] = lambda frame: self.feast.store.push(  # noqa: E731
            "payments", frame, to=PushMode.ONLINE
        )
        return call_each(push, frames, calls)

    def check(self) -> dict[str, Any]:
        """A read gives the row that was pushed last."""
        from feast.data_source import PushMode

        row = rows_of(1, 1, 1)
        self.feast.store.push("payments", row.to_pandas(), to=PushMode.ONLINE)
        entity = {"account_id": row["account_id"][0].as_py()}
        found = self.feast.store.get_online_features(["payment:amount"], [entity]).to_dict()
        if found["amount"] != row["amount"].to_pylist():
            raise AssertionError(f"Feast has {found}")
        return {"rows": 1}
