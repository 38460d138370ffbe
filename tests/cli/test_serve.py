"""`asof serve` on a real project: applied, materialized, served, changed while it is asked, and ended."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import httpx
import pytest

import asof
from tests.serving.live import Live

DEFINITIONS = """
from asof import CSV, Entity, Events, FeatureService, FeatureView, count, distinct, latest, sum

account = Entity("account", keys={"account_id": "string"})
payments = Events(
    "payments", CSV("payments.csv", columns={"amount": "decimal(18,2)"}), event_time="paid_at", known_at="known_at"
)
activity = FeatureView(
    "activity", entity=account, source=payments, online=True,
    features=[count().over("30d"), sum("amount").over("30d"), distinct("merchant").over("30d")],
)
risk = FeatureService("risk", features=[activity])
"""
PAYMENTS = """account_id,merchant,amount,paid_at,known_at
ann,grocer,10.50,2026-01-01T10:00:00Z,2026-01-01T10:00:01Z
ann,fuel,4.25,2026-01-02T10:00:00Z,2026-01-02T10:00:01Z
leo,fuel,3.00,2026-01-03T10:00:00Z,2026-01-03T10:00:01Z
"""
AT = "2026-01-04T00:00:00Z"


def command(folder: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "asof", *arguments],
        cwd=folder, capture_output=True, text=True, check=False, env={**os.environ, **environ}, timeout=120,
    )  # fmt: skip


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("risk")
    (folder / "asof.toml").write_text('name = "risk"\nonline.history = "3650d"\n')
    (folder / "definitions.py").write_text(DEFINITIONS)
    (folder / "payments.csv").write_text(PAYMENTS)
    deploy(folder)
    return folder


def deploy(folder: Path) -> None:
    """Applies what the code says, materialized, to `prod`."""
    asof.open(folder).materialize()
    done = command(folder, "apply", "--yes", "-q")
    assert done.returncode == 0, done.stderr


def serve(folder: Path, *arguments: str) -> Live:
    def words(port: int) -> list[str]:
        return [sys.executable, "-m", "asof", "serve", "--port", str(port), *arguments]

    return Live.start(words, folder / "log", cwd=folder)


@pytest.fixture
def live(project: Path) -> Iterator[Live]:
    made = serve(project, "--access-log", "all", "--drain", "100ms")
    yield made
    made.stop()


def test_it_serves_what_was_applied_and_ends_with_0(live: Live):
    assert live.answers("/readyz")
    with asof.Client(live.url, timeout_s=20) as client:
        made = client.features("risk", {"account_id": ["ann", "leo", "zoe"]}, at=AT)
    assert made.names == ("count_30d", "amount_sum_30d", "merchant_distinct_30d")
    assert made.values == [[2, "14.75", 2], [1, "3.00", 1], [0, "0.00", 0]]
    assert made.statuses == ["ppp", "ppp", "mmm"]
    live.term()
    assert live.wait() == 0
    assert '"service":"risk","entities":3,"status":200' in live.text()
    assert "ann" not in live.text()


def test_a_change_is_served_without_a_request_lost(project: Path, live: Live):
    assert live.answers("/readyz")
    stop = Event()

    def ask_on() -> tuple[int, set[tuple[str, ...]]]:
        seen: set[tuple[str, ...]] = set()
        count = 0
        with asof.Client(live.url, timeout_s=20, retries=0) as client:
            while not stop.is_set():
                seen.add(client.features("risk", {"account_id": "ann"}, at=AT).names)
                count += 1
        return count, seen

    with ThreadPoolExecutor(4) as pool:
        asking = [pool.submit(ask_on) for _ in range(4)]
        text = DEFINITIONS.replace('count().over("30d")', 'count().over("7d", "30d")')
        (project / "definitions.py").write_text(text)
        deploy(project)
        for _ in range(200):
            if httpx.get(live.url + "/readyz", trust_env=False).json()["revision"] == 2:
                break
            Event().wait(0.05)
        Event().wait(0.3)
        stop.set()
        results = [each.result() for each in asking]
    new = ("count_7d", "count_30d", "amount_sum_30d", "merchant_distinct_30d")
    assert {names for _, seen in results for names in seen} == {new[1:], new}
    assert sum(count for count, _ in results) > 50


def test_what_cannot_be_served_is_told(project: Path, tmp_path: Path):
    away = command(project, "serve", "--env", "dev-anna")
    assert away.returncode == 2
    assert "dev-anna" in away.stderr
    open_to_all = command(project, "serve", "--host", "0.0.0.0")  # noqa: S104
    assert open_to_all.returncode == 2
    assert "without keys" in open_to_all.stderr
    short = command(project, "serve", ASOF_SERVE_KEYS="env:KEYS", KEYS="short")
    assert short.returncode == 2
    assert "under 16 characters" in short.stderr
    for option, value in (("--deadline", "soon"), ("--max-body", "1B"), ("--port", "0")):
        assert command(project, "serve", option, value).returncode == 2
    assert command(tmp_path, "serve").returncode == 2
