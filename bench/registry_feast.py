"""Feast's side of `registry`, in a warm process; see `registry_reads.py`. It runs in the peers' environment.

`python -m bench.registry_feast FOLDER CALLS` prints JSON; 0 calls tell what the registry holds and no more.
"""

from __future__ import annotations

import json
import os
import sys
from importlib import metadata
from typing import Any

from feast import FeatureStore  # what peers.txt pins

from bench.latency import call_each
from bench.worker import versions

KEYS = {"account_id"}
FEWER = 10  # a read takes milliseconds


def main(folder: str, calls: int) -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever the library prints must not reach the answer
    store = FeatureStore(repo_path=folder)
    found = _held(store)
    found["versions"] = versions() | {
        name: metadata.version(name) for name in ("feast", "protobuf", "sqlalchemy")
    }
    if calls:
        names = sorted(found["services"])
        store.get_feature_service(names[0], allow_cache=True)
        found["reads"] = {
            "held": call_each(
                lambda name: store.get_feature_service(name, allow_cache=True).feature_view_projections,
                names,
                max(calls // FEWER, 1),
            ),
            "checked": call_each(
                lambda name: store.get_feature_service(name).feature_view_projections,
                names,
                max(calls // FEWER, 1),
            ),
        }
    answers.write(json.dumps(found) + "\n")
    answers.flush()


def _held(store: FeatureStore) -> dict[str, Any]:
    """How many views and features there are, and the features of each service."""
    views = store.list_feature_views()
    return {
        "views": len(views),
        "features": sum(len({field.name for field in view.features} - KEYS) for view in views),
        "services": {
            each.name: [
                [projection.name, field.name]
                for projection in each.feature_view_projections
                for field in projection.features
            ]
            for each in store.list_feature_services()
        },
    }


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
