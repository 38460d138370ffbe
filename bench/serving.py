"""The feature server over HTTP, 1 and 100 accounts with 50 features in a request, one worker, 32 connections.

Other side: a bare application in the same server (Granian, ASGI, one worker, the same settings) that answers as many
bytes from memory. Requests as fast as they are answered, and at a fixed rate, each due at its own time. Both servers
run all the time, and are asked in turn by a generator of loads in a process of its own (`serving_load.py`). Before that
the server's answers are compared with those of a reader in a process.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from statistics import median
from typing import TYPE_CHECKING, Any

from bench import data, online
from bench.equal import WrongAnswer
from bench.harness import OURS, Measured, Options, Row
from bench.online_reads import asked
from bench.online_views import SERVICE
from bench.process import ROOT, SideFailed
from bench.turns import workers
from bench.windows import our_places
from bench.worker import versions
from tests.services import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

BARE = "bare Granian app"
CONNECTIONS, SIZES = 32, (1, 100)
BAR, P99_US = "<= 2", 5_000.0
RATES = {1: 1_000, 100: 100}  # requests a second; 1,000 of 100 accounts are more than one worker answers
FLAT_S, RATE_S = 3.0, 10.0
REQUESTS = 1_000  # different ones, sent over and over


def run(options: Options) -> list[Row]:
    if not options.ours:
        return []
    size, many = (1_000_000, 20_000) if options.quick else (5_000_000, 100_000)
    log = data.events(size, (many, 10 * many)).log
    rows: list[Row] = []
    with online.place() as folder:
        url = f"lmdb:///{folder / 'lmdb'}"
        with workers([online.ours(log, url)], options.threads) as found:
            found[OURS].call("fill")
            found[OURS].call("open")
            online.check_answers(found[OURS], folder)
            with server("ours", log, url) as port:
                for count in SIZES:
                    body = _check(port, found[OURS], count)
                    file = folder / f"{count}.json"
                    file.write_bytes(body)
                    with server("bare", str(file)) as other:
                        rows += _rows(options, count, {OURS: port, BARE: other}, len(body))
    return rows


@contextmanager
def server(kind: str, *arguments: str, module: str = "bench.serving_side") -> Iterator[int]:
    """A server in a process of its own, from its first answer to its end; gives its port."""
    port = free_port()
    command = [sys.executable, "-m", module, kind, str(port), *arguments]
    process = subprocess.Popen(command, cwd=ROOT, env=dict(os.environ) | our_places(), start_new_session=True)
    try:
        _wait_for(port, process)
        yield port
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            process.wait()


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    for _ in range(600):
        try:
            socket.create_connection(("127.0.0.1", port), 5).close()
        except OSError:
            if process.poll() is not None:
                break
            time.sleep(0.1)
        else:
            return
    raise SideFailed("the server did not start")


def _bodies(count: int, calls: int, seed: int = 0) -> list[str]:
    drawn = asked(count, calls, seed)
    one = count == 1
    made = [{"service": SERVICE, "entities": {"account_id": each[0] if one else each}} for each in drawn]
    return [json.dumps(body, separators=(",", ":")) for body in made]


def _check(port: int, worker: Any, count: int) -> bytes:
    """Compares answers with those of a reader; gives one of median length."""
    found: list[bytes] = []
    drawn = asked(count, 50, 0)
    for accounts, body in zip(drawn, _bodies(count, 50), strict=True):
        found.append(_post(port, body))
        said = json.loads(found[-1])
        wanted = worker.call("rows", accounts=accounts)
        values = [[None if v is None else float(v) for v in row] for row in said["values"]]
        if said["names"] != wanted["names"] or values != wanted["values"]:
            raise WrongAnswer(f"HTTP: the answer about accounts {accounts[:3]} ... is not that of the reader")
    return sorted(found, key=len)[len(found) // 2]


def _post(port: int, body: str) -> bytes:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    with contextlib.closing(connection):
        connection.request("POST", "/v1/features", body.encode(), {"content-type": "application/json"})
        return connection.getresponse().read()


def load(
    port: int,
    bodies: list[str],
    seconds: float,
    rate: int = 0,
    connections: int = CONNECTIONS,
    path: str = "/v1/features",
) -> dict[str, Any]:
    """One run of the generator of loads."""
    order = {
        "port": port, "bodies": bodies, "connections": connections, "seconds": seconds, "rate": rate, "path": path,
    }  # fmt: skip
    ran = subprocess.run(
        [sys.executable, "-m", "bench.serving_load"],
        cwd=ROOT, input=json.dumps(order), capture_output=True, text=True, check=False, timeout=20 * seconds + 60,
    )  # fmt: skip
    if ran.returncode:
        raise SideFailed(f"load: {ran.stderr[-2000:]}")
    told: dict[str, Any] = json.loads(ran.stdout)
    return told


def _rows(options: Options, count: int, ports: dict[str, int], body_bytes: int) -> list[Row]:
    bodies = _bodies(count, REQUESTS)
    flat: dict[str, list[dict[str, Any]]] = {name: [] for name in ports}
    paced: dict[str, list[dict[str, Any]]] = {name: [] for name in ports}
    for turn in range(options.runs + 1):
        for name, port in ports.items():
            ran = load(port, bodies, FLAT_S)
            flat[name] += [ran] if turn else []
        for name, port in ports.items() if turn else ():
            paced[name].append(load(port, bodies, RATE_S, RATES[count]))
    each_us = {name: 1e6 / _of(ran, "per_s") for name, ran in flat.items()}
    row = Row("serving", f"serving-{count}", each_us[OURS], each_us[BARE], BARE, "us", BAR)
    row.sides = {name: _measured(name, [1 / each["per_s"] for each in ran]) for name, ran in flat.items()}
    row.notes = [
        f"accounts in a request: {count}, {body_bytes:,} bytes an answer, {CONNECTIONS} connections",
        f"{100 * each_us[BARE] / each_us[OURS]:.0f} % of the bare app's requests a second",
        *(_told(name, ran) for name, ran in flat.items()),
    ]
    words = f"limit {P99_US / 1e3:g} ms"
    bar = "<= 1.0" if count == 1 else None
    late = Row("serving", f"serving-{count}-p99", _of(paced[OURS], "p99_us"), P99_US, words, "us", bar)
    late.notes = [f"{RATES[count]:,} requests a second for {RATE_S:.0f} s"]
    late.notes += [_told(name, ran) for name, ran in paced.items()]
    late.sides = {
        name: _measured(name, [each["p99_us"] / 1e6 for each in ran]) for name, ran in paced.items()
    }
    return [row, late]


def _of(ran: list[dict[str, Any]], fact: str) -> float:
    return median(each[fact] for each in ran)


def _measured(name: str, seconds: list[float]) -> Measured:
    return Measured(name, seconds[0], seconds, seconds, versions=versions())


def _told(name: str, ran: list[dict[str, Any]]) -> str:
    rates = [each["per_s"] for each in ran]
    return (
        f"{name}: {median(rates):,.0f} requests a second ({min(rates):,.0f} to {max(rates):,.0f}), median"
        f" {_of(ran, 'median_us') / 1e3:.2f} ms, 99 % in {_of(ran, 'p99_us') / 1e3:.2f} ms; the generator took"
        f" {100 * _of(ran, 'cpu_share'):.0f} % of a core"
    )
