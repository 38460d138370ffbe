"""Feast's own client, in an environment of its own, reads from a live server; and the answer field by field."""

from __future__ import annotations

import json
import os
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import pytest

from bench import peers
from tests.services import absent
from tests.serving.live import Live


@cache
def feast_python() -> str:
    """The Python of the environment that the bench keeps for other feature stores; made on first use."""
    try:
        return peers.python()
    except (subprocess.CalledProcessError, OSError):
        absent(
            "feast",
            "its environment is made from bench/peers.txt, for which a package index has to be in reach",
        )


def read(server: Live, folder: Path) -> dict[str, Any]:
    script = Path(__file__).with_name("feast_client.py")
    environ = {**os.environ, "FEAST_USAGE": "False", "HOME": str(folder), "NO_PROXY": "127.0.0.1"}
    done = subprocess.run(
        [feast_python(), str(script), str(folder), server.url],
        capture_output=True, text=True, check=False, env=environ, timeout=300, cwd=folder,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3_000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.service("feast")
def test_feasts_remote_online_store_reads_from_asof(server: Live, tmp_path: Path):
    made = read(server, tmp_path)
    assert made["by_name"] == {
        "account_id": ["a1", "a2", "zz"],
        "count_1d": [3, 0, 0],
        "amount_mean_7d": [12.5, None, None],
        "is_open": [True, None, None],
        "home": ["Köln", None, None],
    }
    assert made["full"]["activity__count_1d"] == [3]
    assert made["service"] == {"account_id": ["a1"], "count_1d": [3]}
    assert "activity:nothing" in made["wrong"]
    assert made["online_read"] == [
        ["2026-01-31T11:58:30+00:00", {"count_1d": 3}],
        ["2026-01-31T11:58:30+00:00", {"count_1d": 0}],
    ]


def ask(http: httpx.Client, **body: Any) -> httpx.Response:
    return http.post("/get-online-features", json=body)


def test_the_answer_is_column_by_column_with_the_keys_first(http: httpx.Client):
    made = ask(
        http,
        features=["activity:count_1d", "balances:balance", "balances:home"],
        entities={"account_id": ["a1", "a2", "zz"], "amount": [1, 2, 3]},
    ).json()
    times = ["2026-01-31T11:58:30Z", "2026-01-31T11:58:30Z", "1970-01-01T00:00:00Z"]
    assert made["metadata"] == {"feature_names": ["account_id", "count_1d", "balance", "home"]}
    keys, count, balance, home = made["results"]
    assert keys == {
        "values": ["a1", "a2", "zz"], "statuses": ["PRESENT"] * 3, "event_timestamps": ["2026-01-31T12:00:00Z"] * 3,
    }  # fmt: skip
    assert count == {
        "values": [3, 0, 0],
        "statuses": ["PRESENT", "PRESENT", "NOT_FOUND"],
        "event_timestamps": times,
    }
    assert balance["values"] == ["-12.05", None, None]
    assert balance["statuses"] == ["PRESENT", "OUTSIDE_MAX_AGE", "NOT_FOUND"]
    assert home["statuses"] == ["PRESENT", "OUTSIDE_MAX_AGE", "NOT_FOUND"]  # stale and null


def test_full_names_are_view_and_feature(http: httpx.Client):
    body = {"feature_service": "ach_risk", "entities": {"account_id": ["a1"], "amount": [1]}}
    names = ask(http, **body, full_feature_names=True).json()["metadata"]["feature_names"]
    assert names[:3] == ["account_id", "activity__count_1d", "activity__amount_mean_7d"]
    assert names[-1] == "share"
    short = ask(http, **body).json()["metadata"]["feature_names"]
    assert short[1:3] == ["count_1d", "mean_7d"]  # as the service calls them
    asked = ask(
        http, features=["activity:amount_mean_7d"], entities={"account_id": ["a1"], "amount": [1]}
    ).json()
    assert asked["metadata"]["feature_names"] == ["account_id", "amount_mean_7d"]  # as the request does


def test_a_version_in_a_reference_is_passed_over(http: httpx.Client):
    made = ask(http, features=["activity@v2:count_1d"], entities={"account_id": ["a1"], "amount": [1]})
    assert made.json()["metadata"]["feature_names"] == ["account_id", "count_1d"]


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({"features": ["activity:cuont_1d"], "entities": {"account_id": ["a1"]}}, 400, "activity:count_1d"),
        ({"features": ["x:y"], "entities": {}}, 400, "no feature service has the feature 'x:y'"),
        ({"feature_service": "smal", "entities": {}}, 404, "did you mean 'small'?"),
        ({"entities": {"account_id": ["a1"]}}, 400, "neither feature_service nor features"),
        ({"feature_service": "small", "entities": {"account_id": "a1"}}, 400, "Expected `array`"),
        ({"feature_service": "small", "entities": {"account_id": ["a"], "x": []}}, 400, "different lengths"),
    ],
)
def test_wrong_input_is_told(http: httpx.Client, body: dict[str, Any], status: int, said: str):
    made = ask(http, **body)
    error = made.json()["error"]
    assert made.status_code == status
    assert said in f"{error['message']} {error['hint']}"


def test_it_says_that_it_is_there(http: httpx.Client):
    assert http.get("/health").status_code == 200
