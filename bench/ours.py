"""Our side of every bench, as a user writes it: the public API and nothing else.

Every function goes from files to an Arrow table in memory, definitions and project included, and keeps the
spine's `row_id` (or TRANSACTION_ID), by which the answers are compared.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from bench.data import cache

if TYPE_CHECKING:
    import pyarrow as pa

WINDOWS = ("1d", "7d", "30d")


def training_set(service: Any, *, spine: Any) -> pa.Table:
    """The table of one training set; the project takes its settings from the environment (ASOF_MEMORY_LIMIT ...)."""
    import asof
    from asof.config import load_config

    folder = cache() / "project"
    folder.mkdir(exist_ok=True)
    (folder / "asof.toml").write_text('name = "bench"\n')
    project = asof.Project([service], config=load_config(folder, os.environ))
    return project.training_set(service, spine=spine).table


def windows(log: str, spine: str, key: str, amount: str, known_at: str | None = None) -> pa.Table:
    """OURS for `windows`, `scaling` and `memory`: 15 features over `[t - W, t)`."""
    from asof import Entity, Events, FeatureService, FeatureView, Parquet, count, max, mean, std, sum

    account = Entity("account", keys={key: "int64" if key == "account_id" else "string"})
    transactions = Events("transactions", Parquet(log), event_time="occurred_at", known_at=known_at)
    activity = FeatureView(
        "activity",
        entity=account,
        source=transactions,
        features=[
            count().over(*WINDOWS),
            sum(amount).over(*WINDOWS),
            mean(amount).over(*WINDOWS),
            max(amount).over(*WINDOWS),
            std(amount).over(*WINDOWS),
        ],
    )
    return training_set(FeatureService("windows", features=[activity]), spine=spine)


def latest(log: str, spine: str, columns: list[str]) -> pa.Table:
    """OURS for `latest`: the newest row's values of 10 columns at or before t."""
    from asof import Entity, Events, FeatureService, FeatureView, Parquet
    from asof import latest as newest

    account = Entity("account", keys={"account_id": "int64"})
    readings = Events("readings", Parquet(log), event_time="occurred_at")
    state = FeatureView("state", entity=account, source=readings, features=[newest(*columns)])
    return training_set(FeatureService("latest", features=[state]), spine=spine)


def handbook(path: str) -> pa.Table:
    """OURS for `handbook`: the 14 features of examples/fraud_handbook, for every transaction."""
    from examples.fraud_handbook.definitions import service_of

    spine = f"SELECT TRANSACTION_ID, CUSTOMER_ID, TERMINAL_ID, TX_DATETIME AS event_time FROM '{path}'"
    return training_set(service_of(path), spine=spine)
