"""Run by the Python of an environment that has feast: a feature store whose online store is a server at a URL.

`python feast_client.py FOLDER URL` prints what its clients read, as JSON.
"""

from __future__ import annotations

import json
import sys
from datetime import timedelta
from pathlib import Path

import pandas as pd
from feast import Entity, FeatureService, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
from feast.types import Bool, Float64, Int64, String

folder, url = Path(sys.argv[1]), sys.argv[2]
pd.DataFrame({"account_id": ["a1"], "event_timestamp": [pd.Timestamp("2026-01-31", tz="UTC")]}).to_parquet(
    folder / "x.parquet"
)
store = FeatureStore(
    config=RepoConfig(
        project="asof",
        provider="local",
        registry=str(folder / "registry.db"),
        online_store={"type": "remote", "path": url, "connection_retries": 0},
        offline_store={"type": "file"},
        entity_key_serialization_version=3,
    )
)
account = Entity(name="account", join_keys=["account_id"], value_type=ValueType.STRING)
source = FileSource(path=str(folder / "x.parquet"), timestamp_field="event_timestamp")
activity = FeatureView(
    name="activity",
    entities=[account],
    ttl=timedelta(days=3650),
    schema=[
        Field(name="account_id", dtype=String),
        Field(name="count_1d", dtype=Int64),
        Field(name="amount_mean_7d", dtype=Float64),
    ],
    source=source,
)
balances = FeatureView(
    name="balances",
    entities=[account],
    ttl=timedelta(days=3650),
    schema=[
        Field(name="account_id", dtype=String),
        Field(name="is_open", dtype=Bool),
        Field(name="home", dtype=String),
    ],
    source=source,
)
service = FeatureService(name="small", features=[activity[["count_1d"]]])
store.apply([account, activity, balances, service])
names = ["activity:count_1d", "activity:amount_mean_7d", "balances:is_open", "balances:home"]
rows = [
    {"account_id": "a1", "amount": 50.0},
    {"account_id": "a2", "amount": 1.0},
    {"account_id": "zz", "amount": 1.0},
]
read: dict[str, object] = {
    "by_name": store.get_online_features(features=names, entity_rows=rows).to_dict(),
    "full": store.get_online_features(
        features=names[:1], entity_rows=rows[:1], full_feature_names=True
    ).to_dict(),
    "service": store.get_online_features(features=service, entity_rows=[{"account_id": "a1"}]).to_dict(),
}
try:
    store.get_online_features(features=["activity:nothing"], entity_rows=rows)
except Exception as exc:  # noqa: BLE001
    read["wrong"] = f"{type(exc).__name__}: {exc}"
provider = store._get_provider()
from feast.protos.feast.types.EntityKey_pb2 import EntityKey  # noqa: E402
from feast.protos.feast.types.Value_pb2 import Value  # noqa: E402

keys = [EntityKey(join_keys=["account_id"], entity_values=[Value(string_val=each)]) for each in ("a1", "zz")]
view = store.get_feature_view("activity")
found = provider.online_read(store.config, view, keys, ["count_1d"])
read["online_read"] = [
    [
        None if at is None else at.isoformat(),
        {name: value.int64_val for name, value in (values or {}).items()},
    ]
    for at, values in found
]
print(json.dumps(read))
