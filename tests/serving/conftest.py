"""Real servers on free ports of loopback, over the double of double.py; each is stopped at the end of its test."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.serving.live import Live

ROOT = Path(__file__).parents[2]
collect_ignore = ["feast_client.py"]  # run by the Python of an environment that has feast


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Live]]:
    """Starts servers with options: `start(reader={"slow_s": 1}, limits={"in_flight": 2})`."""
    started: list[Live] = []

    def begin(port: int | None = None, **options: Any) -> Live:
        live = Live.start(
            lambda free: [sys.executable, "-m", "tests.serving.run_double", str(free), json.dumps(options)],
            tmp_path / f"log-{len(started)}",
            cwd=ROOT,
            port=port,
        )
        started.append(live)
        return live

    yield begin
    for live in started:
        live.stop()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """One server for all tests of a file that change nothing about it."""
    log = tmp_path_factory.mktemp("server") / "log"
    command = [sys.executable, "-m", "tests.serving.run_double"]
    live = Live.start(lambda port: [*command, str(port), '{"access_log": "all"}'], log, cwd=ROOT)
    yield live
    live.stop()


@pytest.fixture
def http(server: Live) -> Iterator[httpx.Client]:
    """A client of that server."""
    with httpx.Client(base_url=server.url, timeout=20, trust_env=False) as client:
        yield client
