"""Every online store that can run here, one after another: `STORES` for `parametrize`, `open_one` for the fixture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from asof.online.open_store import open_store
from asof.online.store import OnlineStore

WAIT_S = 10.0
STORES = [
    pytest.param("lmdb"),
    pytest.param("redis", marks=pytest.mark.service("redis")),
    pytest.param("postgres", marks=pytest.mark.service("postgres")),
    pytest.param("dynamodb", marks=pytest.mark.service("dynamodb")),
]


def open_one(name: str, request: pytest.FixtureRequest, folder: Path) -> OnlineStore:
    """The store of a name, over the server of the session."""
    if name == "lmdb":
        return open_store("lmdb:///online", root=folder)
    server: Any = request.getfixturevalue({"redis": "redis_server"}.get(name, name))
    if name == "redis":
        return open_store(server.url, timeout_s=WAIT_S)
    if name == "postgres":
        return open_store(server.create().replace("+psycopg", ""), timeout_s=WAIT_S)
    return open_store(server.url(), timeout_s=WAIT_S)
