"""asof: features, labels and training sets of bank transactions, the same value in training, streams and
serving.

The public names below load lazily: `import asof` loads no engine. Start with
docs/tutorials/first-training-set.md.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0.dev0"

_PUBLIC = {
    "Entity": "asof.define.entity",
    "Events": "asof.define.source",
    "Union": "asof.define.source",
    "Parquet": "asof.define.source",
    "CSV": "asof.define.source",
    "ArrowFile": "asof.define.source",
    "DuckDBTable": "asof.define.source",
    "InMemory": "asof.define.source",
    "Landed": "asof.define.source",
    "Log": "asof.define.stream",
    "Kafka": "asof.define.stream",
    "RedisStream": "asof.define.stream",
    "FeatureView": "asof.define.feature_view",
    "Deprecated": "asof.define.deprecated",
    "FeatureService": "asof.define.service",
    "Label": "asof.define.label",
    "Model": "asof.define.model",
    "banking_days": "asof.define.label",
    "request_feature": "asof.define.request_feature",
    "count": "asof.define.aggregation",
    "sum": "asof.define.aggregation",
    "mean": "asof.define.aggregation",
    "min": "asof.define.aggregation",
    "max": "asof.define.aggregation",
    "var": "asof.define.aggregation",
    "std": "asof.define.aggregation",
    "first": "asof.define.aggregation",
    "last": "asof.define.aggregation",
    "latest": "asof.define.aggregation",
    "distinct": "asof.define.aggregation",
    "approx_distinct": "asof.define.aggregation",
    "quantile": "asof.define.aggregation",
    "topk": "asof.define.aggregation",
    "decayed_sum": "asof.define.aggregation",
    "ratio": "asof.define.aggregation",
    "AsofError": "asof.errors",
    "Project": "asof.flows.project",
    "open": "asof.flows.project",
    "Client": "asof.serving.client",
    "AsyncClient": "asof.serving.client_async",
}

if TYPE_CHECKING:
    from asof.define.aggregation import (
        approx_distinct,
        count,
        decayed_sum,
        distinct,
        first,
        last,
        latest,
        max,
        mean,
        min,
        quantile,
        ratio,
        std,
        sum,
        topk,
        var,
    )
    from asof.define.deprecated import Deprecated
    from asof.define.entity import Entity
    from asof.define.feature_view import FeatureView
    from asof.define.label import Label, banking_days
    from asof.define.model import Model
    from asof.define.request_feature import request_feature
    from asof.define.service import FeatureService
    from asof.define.source import CSV, ArrowFile, DuckDBTable, Events, InMemory, Landed, Parquet, Union
    from asof.define.stream import Kafka, Log, RedisStream
    from asof.errors import AsofError
    from asof.flows.project import Project, open
    from asof.serving.client import Client
    from asof.serving.client_async import AsyncClient

__all__ = [
    "CSV",
    "ArrowFile",
    "AsofError",
    "AsyncClient",
    "Client",
    "Deprecated",
    "DuckDBTable",
    "Entity",
    "Events",
    "FeatureService",
    "FeatureView",
    "InMemory",
    "Kafka",
    "Label",
    "Landed",
    "Log",
    "Model",
    "Parquet",
    "Project",
    "RedisStream",
    "Union",
    "approx_distinct",
    "banking_days",
    "count",
    "decayed_sum",
    "distinct",
    "first",
    "last",
    "latest",
    "max",
    "mean",
    "min",
    "open",
    "quantile",
    "ratio",
    "request_feature",
    "std",
    "sum",
    "topk",
    "var",
]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(importlib.import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'asof' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_PUBLIC])
