"""From an event to the read that counts it: 5,000 events a second, while a server answers 500 reads a second.

Four processes on the machine's cores: a producer that appends batches of 50 to the embedded log (each event's time
counts from when it was due), a worker, `asof serve` over the same LMDB, and the generator of reads. An event is
servable when the worker's write has returned: every read that begins later counts it.
"""

from __future__ import annotations

import json
import threading
import time
from statistics import median
from typing import TYPE_CHECKING, Any

from bench import online, stream_data
from bench.equal import WrongAnswer
from bench.harness import OURS, Measured, Options, Row
from bench.process import Side, Worker
from bench.serving import load, server
from bench.stream_latency_side import WARM_S
from bench.turns import workers
from bench.windows import our_places
from bench.worker import versions

if TYPE_CHECKING:
    from collections.abc import Callable

MEDIAN_MS, P99_MS = 30.0, 150.0
READS, BATCH, SECONDS, QUICK_S = 500, 50, 20.0, 6.0
"""Reads a second; events in a batch; how long a run takes."""


def run(options: Options) -> list[Row]:
    if not options.ours:
        return []
    seconds = WARM_S + (QUICK_S if options.quick else SECONDS)
    with online.place() as folder:
        facts = {"folder": str(folder)}
        sides = [
            Side(name, f"bench.stream_latency_side:{name}", facts, env=our_places())
            for name in ("Follower", "Producer")
        ]
        with workers(sides, options.threads) as found:
            found["Follower"].call("prepare")
            with server("ours", str(folder), module="bench.stream_servers") as port:
                ran = [_run(found, port, seconds) for _ in range(options.runs + 1)][1:]
    return [_row(ran, "sent_50", "p50", MEDIAN_MS), _row(ran, "sent_99", "p99", P99_MS)]


def _run(found: dict[str, Worker], port: int, seconds: float) -> dict[str, Any]:
    until_s = time.time() + seconds + 1.0
    bodies = [
        json.dumps({"service": stream_data.SERVICE, "entities": {"account_id": stream_data.account_id(each)}})
        for each in range(0, 50_000, 50)
    ]
    made: dict[str, dict[str, Any]] = {}
    jobs: dict[str, Callable[[], dict[str, Any]]] = {
        "worker": lambda: found["Follower"].call("run", until_s=until_s + 1.0),
        "producer": lambda: found["Producer"].call("run", until_s=until_s, size=BATCH),
        "reads": lambda: load(port, bodies, seconds, READS, 8),
    }
    threads = [
        threading.Thread(target=lambda name=name, job=job: made.update({name: job()}))
        for name, job in jobs.items()
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if len(made) < len(jobs) or made["worker"]["events"] != made["producer"]["events"]:
        raise WrongAnswer(f"not every event was applied once: {made}")
    return made


def _row(ran: list[dict[str, Any]], fact: str, name: str, most_ms: float) -> Row:
    values = [each["worker"][fact] for each in ran]
    row = Row(
        "stream_latency", f"stream-latency-{name}", median(values), most_ms, f"limit {most_ms:g} ms", "ms",
        "<= 1.0",
    )  # fmt: skip
    cpu = [each["worker"]["cores"] for each in ran]
    row.sides = {
        OURS: Measured(OURS, values[0] / 1e3, [value / 1e3 for value in values], cpu, versions=versions())
    }
    row.notes = [_told(ran, "sent"), _told(ran, "taken"), _around(ran)]
    return row


def _told(ran: list[dict[str, Any]], which: str) -> str:
    since = {"sent": "since an event was due to be sent", "taken": "since the log took it"}[which]
    facts = {name: sorted(each["worker"][f"{which}_{name}"] for each in ran) for name in ("50", "99", "max")}
    said = (f"{name} {median(of):.1f} ms ({of[0]:.1f} to {of[-1]:.1f})" for name, of in facts.items())
    return f"{since}: p{', p'.join(said)}".replace("pmax", "largest")


def _around(ran: list[dict[str, Any]]) -> str:
    def middle(of: str, fact: str) -> float:
        return median(each[of][fact] for each in ran)

    return (
        f"worker {middle('worker', 'cores'):.2f} cores, {middle('worker', 'batches'):,.0f} batches of"
        f" {middle('worker', 'events'):,.0f} events; producer {middle('producer', 'cores'):.2f} cores, at most"
        f" {middle('producer', 'most_late_ms'):.0f} ms late; reads {middle('reads', 'per_s'):,.0f} a second,"
        f" median {middle('reads', 'median_us') / 1e3:.2f} ms, 99 % in {middle('reads', 'p99_us') / 1e3:.2f} ms"
    )
