"""What stands around a read costs: processor time of one worker for each request, by what answers.

`python -m bench.frameworks` starts each side in Granian with one worker, drives it over 32 connections and reads the
worker's processor time from /proc. All sides answer the same body of one entity with 50 features; ours makes it from
an `Answer` that is ready, with metrics, deadline and log. Litestar is measured where it can be imported (it is no
dependency): `pip install --target DIR litestar`, then PYTHONPATH=DIR. The numbers: docs/adr/0006-feature-server.md.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import time
from statistics import median
from typing import Any

import numpy as np
from granian.constants import HTTPModes, Interfaces
from granian.log import LogLevels
from granian.server import MPServer

from asof.clock import SystemClock
from asof.flows.answer import Answer, Freshness
from asof.serving.answer_json import answer_json
from asof.serving.build import Options, build_app
from asof.types import DType
from bench.process import ROOT
from bench.serving_load import Connection, requests_of
from tests.services import free_port

FEATURES, CONNECTIONS, SECONDS, TURNS = 50, 32, 3.0, 5
SIDES = ("bare, RSGI", "bare, ASGI", "Litestar", "asof")
BODY = json.dumps({"service": "s", "entities": {"account_id": "a1"}})


class Ready:
    """A reader whose answer is ready."""

    environment, embedded, revision, problem = "prod", True, 1, None

    def __init__(self) -> None:
        rng = np.random.default_rng(1)
        self.names = tuple(f"feature_{i}_sum_7d" for i in range(FEATURES))
        self.dtypes = tuple(DType("float64" if i % 2 else "int64") for i in range(FEATURES))
        floats = np.round(rng.random((1, FEATURES)) * 1e4, 2).view(np.int64)
        self.values = np.where(np.arange(FEATURES) % 2, floats, rng.integers(0, 10_000, (1, FEATURES)))
        self.valid = rng.random((1, FEATURES)) > 0.1
        self.statuses = np.where(self.valid, 0, 1).astype(np.uint8)
        self.clock = SystemClock()

    def read(self, service: str, *_: Any) -> Answer:
        now_us = self.clock.now_us()
        fresh = (Freshness("activity", now_us - 60_000_000, np.full(1, now_us - 90_000_000)),)
        return Answer(
            service,
            now_us,
            self.names,
            self.dtypes,
            self.values,
            self.valid,
            self.statuses,
            {},
            fresh,
            (0,) * FEATURES,
        )

    def services(self) -> tuple[str, ...]:
        return ()

    def refresh(self) -> bool:
        return False

    def close(self) -> None:
        pass


def load_bare_asgi() -> Any:
    body = answer_json(Ready().read("s"))
    head = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]

    async def app(_scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": head})
        await send({"type": "http.response.body", "body": body})

    return app


def load_bare_rsgi() -> Any:
    body = answer_json(Ready().read("s"))

    async def app(_scope: Any, proto: Any) -> None:
        await proto()
        proto.response_bytes(200, [("content-type", "application/json")], body)

    return app


def load_litestar() -> Any:
    import msgspec
    from litestar import Litestar, Response, post

    body = answer_json(Ready().read("s"))
    request = msgspec.defstruct("Request", [("service", str), ("entities", dict)])

    async def features(data: Any) -> Any:
        del data
        return Response(body, media_type="application/json")

    features.__annotations__ = {"data": request, "return": Response}
    return Litestar([post("/v1/features", status_code=200)(features)], openapi_config=None)


def load_asof() -> Any:
    return build_app(Ready(), Options())  # type: ignore[arg-type]


LOADS = dict(zip(SIDES, (load_bare_rsgi, load_bare_asgi, load_litestar, load_asof), strict=True))


def serve(side: str, port: int) -> None:
    kinds = {"bare, RSGI": Interfaces.RSGI, "bare, ASGI": Interfaces.ASGINL}
    server = MPServer(
        "side", port=port, interface=kinds.get(side, Interfaces.ASGI), websockets=False, http=HTTPModes.http1,
        log_level=LogLevels.error,
    )  # fmt: skip
    server.serve(target_loader=LOADS[side], wrap_loader=False)


def cpu_us(side: str) -> float:
    """Processor microseconds of a side's worker for each request."""
    port = free_port()
    process = subprocess.Popen([sys.executable, "-m", "bench.frameworks", side, str(port)], cwd=ROOT)
    try:
        _drive(port, 0.5, patience_s=60)
        found = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=True)
        worker = int(found.stdout.split()[0])
        before = _ticks(worker)
        requests = _drive(port, SECONDS)
        return (_ticks(worker) - before) / os.sysconf("SC_CLK_TCK") * 1e6 / requests
    finally:
        process.terminate()
        process.wait()


def _ticks(pid: int) -> int:
    with open(f"/proc/{pid}/stat", encoding="ascii") as stat:  # noqa: PTH123 - no file of ours
        return sum(map(int, stat.read().rpartition(")")[2].split()[11:13]))


def _drive(port: int, seconds: float, patience_s: float = 5) -> int:
    import select

    (request,) = requests_of([BODY])
    made = {each.socket.fileno(): each for each in (_connect(port, patience_s) for _ in range(CONNECTIONS))}
    poll, count, end = select.epoll(), 0, time.perf_counter() + seconds
    for number, connection in made.items():
        poll.register(number, select.EPOLLIN)
        connection.send(request, 0)
    while time.perf_counter() < end:
        for number, _ in poll.poll(1.0):
            if made[number].receive():
                count += 1
                made[number].send(request, 0)
    for connection in made.values():
        connection.socket.close()
    return count


def _connect(port: int, patience_s: float) -> Connection:
    end = time.perf_counter() + patience_s
    while True:
        try:
            return Connection(port)
        except ConnectionRefusedError:
            if time.perf_counter() > end:
                raise
            time.sleep(0.05)


def main() -> None:
    sides = [side for side in SIDES if side != "Litestar" or importlib.util.find_spec("litestar")]
    turns = [{side: cpu_us(side) for side in sides} for _ in range(TURNS)]
    for side in sides:
        seen = [turn[side] for turn in turns]
        print(f"{side:<12} {median(seen):6.1f} us a request ({min(seen):.1f} to {max(seen):.1f})")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        serve(sys.argv[1], int(sys.argv[2]))
    else:
        main()
