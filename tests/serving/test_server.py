"""The server as processes: the drain at SIGTERM, kill -9 of a worker and of all, workers that count together."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import httpx

from tests.serving.inside import SMALL
from tests.serving.live import Live

SLOW = {"embedded": False, "slow_s": 1.0}
Start = Callable[..., Live]


def ask(live: Live, **headers: str) -> int:
    made = httpx.post(live.url + "/v1/features", json=SMALL, headers=headers, timeout=30, trust_env=False)
    return made.status_code


def until(true: Callable[[], bool]) -> None:
    for _ in range(400):
        if true():
            return
        Event().wait(0.05)
    raise AssertionError("it did not come to that")


def test_sigterm_finishes_what_is_in_flight_and_exits_with_0(start: Start):
    live = start(reader=SLOW)
    with ThreadPoolExecutor(8) as pool:
        going = [pool.submit(ask, live) for _ in range(8)]
        Event().wait(0.4)
        live.term()
        assert [each.result() for each in going] == [200] * 8
    assert live.wait() == 0
    assert live.get("/healthz") is None


def test_while_it_drains_it_is_not_ready_and_answers_everything_else(start: Start):
    live = start(listen={"drain_s": 1.5})
    live.term()
    assert live.answers("/readyz", 503)
    assert ask(live) == 200
    assert live.get("/healthz") == 200
    assert live.wait() == 0


def test_what_takes_longer_than_the_grace_is_cut(start: Start):
    live = start(reader={"embedded": False, "slow_s": 20}, listen={"grace_s": 1}, limits={"deadline_s": 30.0})
    with ThreadPoolExecutor(1) as pool:
        going = pool.submit(ask, live)
        Event().wait(0.4)
        live.term()
        assert live.wait() == 0
        assert isinstance(going.exception(20), httpx.HTTPError)


def test_ctrl_c_ends_it_as_well(start: Start):
    live = start()
    live.process.send_signal(signal.SIGINT)
    assert live.wait() == 0


def test_a_worker_that_is_killed_is_replaced(start: Start):
    live = start()
    (worker,) = live.children()
    os.kill(worker, signal.SIGKILL)
    until(lambda: live.children() not in ([], [worker]))
    assert live.answers("/v1/services", 200)
    assert ask(live) == 200


def test_after_kill_9_of_all_it_starts_again_on_the_same_port(start: Start):
    live = start()
    workers = live.children()
    for pid in (live.process.pid, *workers):
        os.kill(pid, signal.SIGKILL)
    live.wait()
    again = start(port=live.port)
    assert ask(again) == 200


def test_several_workers_count_together(start: Start, tmp_path, monkeypatch):
    (tmp_path / "metrics").mkdir()
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path / "metrics"))
    live = start(listen={"workers": 2})
    assert len(live.children()) == 2
    for _ in range(20):
        assert ask(live) == 200
    text = httpx.get(live.url + "/metrics", trust_env=False).text
    assert 'asof_feature_request_seconds_count{outcome="ok",service="small"} 20.0' in text
    assert "asof_registry_revision 7.0" in text


def test_a_port_that_is_taken_is_told_and_not_shared(start: Start):
    live = start()
    done = subprocess.run(live.process.args, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode != 0
    assert f"cannot listen on 127.0.0.1:{live.port}: Address already in use" in done.stderr
    assert ask(live) == 200
