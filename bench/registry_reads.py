"""Our side of `registry`, in a warm process: what the registry holds, and one service read over and over.

`python -m bench.registry_reads FOLDER CALLS` prints JSON; 0 calls tell what the registry holds and no more.
"""

from __future__ import annotations

import json
import os
import sqlite3
import sys
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asof.config import load_config
from asof.registry.reader import Reader
from asof.registry.store import Registry, open_registry
from bench.latency import call_each
from bench.worker import versions

if TYPE_CHECKING:
    from asof.registry.state import State

ENVIRONMENT = "prod"
WHOLE = 20  # reads of everything, as after an apply


def main(folder: str, calls: int) -> None:
    registry = open_registry(load_config(Path(folder), os.environ).registry)
    try:
        state = registry.state(ENVIRONMENT)
        found = _held(state)
        reads = {"reads": _reads(registry, found, calls)} if calls else {}
        print(json.dumps(found | reads | {"versions": _versions()}))
    finally:
        registry.close()


def _held(state: State) -> dict[str, Any]:
    """How many views and features there are, and the features of each service."""
    views = [spec for spec in state.specs.values() if spec.kind == "feature_view"]
    services = [spec for spec in state.specs.values() if spec.kind == "feature_service"]
    assert not state.corrupted
    return {
        "views": len(views),
        "features": sum(len(view.body["features"]) for view in views),
        "services": {
            each.name: [[item["ref"].partition(":")[2], item["feature"]] for item in each.body["features"]]
            for each in services
        },
    }


def _reads(registry: Registry, found: dict[str, Any], calls: int) -> dict[str, Any]:
    """`held` is from memory, as between two looks at the revision; `checked` looks each time; `whole` is what the
    first read after somebody's apply costs.
    """
    names = sorted(found["services"])
    held, checked = Reader(registry, ENVIRONMENT), Reader(registry, ENVIRONMENT, check_us=0)
    for reader in (held, checked):
        reader.state()
    return {
        "held": call_each(lambda name: held.state().get("feature_service", name).body, names, calls),
        "checked": call_each(lambda name: checked.state().get("feature_service", name).body, names, calls),
        "whole": call_each(
            lambda name: registry.state(ENVIRONMENT).get("feature_service", name).body, names, WHOLE
        ),
    }


def _versions() -> dict[str, str]:
    made = {name: metadata.version(name) for name in ("sqlalchemy", "psycopg")}
    return versions() | made | {"sqlite": sqlite3.sqlite_version}


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
