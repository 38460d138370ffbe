"""`POST /v1/events/SOURCE` with 100 events a batch, one worker, 32 connections, as fast as it is answered.

Ours checks every event, and answers when the batch is durable in the embedded log. Other side: a bare application in
the same server that appends the same bytes to a file and answers when they are on the disk (`fsync`, too); the faster
of two ways. All servers run all the time and are asked in turn. At the end the log holds every batch that was answered.
"""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from bench import online, stream_data
from bench.equal import WrongAnswer
from bench.harness import OURS, Measured, Options, Row
from bench.process import Side, Worker
from bench.serving import CONNECTIONS, load, server
from bench.stream_feast import rows_of
from bench.windows import our_places
from bench.worker import versions

if TYPE_CHECKING:
    from collections.abc import Mapping

BARE = {"bare, in the loop": "bare-loop", "bare, in threads": "bare-threads"}
BAR = ">= 0.6"
BATCH, BATCHES, SECONDS = 100, 200, 3.0
PATH = f"/v1/events/{stream_data.SOURCE}"


def run(options: Options) -> list[Row]:
    if not options.ours:
        return []
    bodies = [json.dumps(_plain(rows_of(BATCH, call, 0).to_pylist())) for call in range(BATCHES)]
    ran: dict[str, list[dict[str, Any]]] = {name: [] for name in (OURS, *BARE)}
    with online.place() as folder, ExitStack() as stack:
        _prepare(folder, options)
        ports = {
            name: stack.enter_context(server(kind, str(folder), module="bench.stream_servers"))
            for name, kind in {OURS: "ours", **BARE}.items()
        }
        answered = 0
        for turn in range(options.runs + 1):
            for name, port in ports.items():
                took = load(port, bodies, SECONDS, path=PATH)
                answered += took["calls"] * (name == OURS)
                ran[name] += [took] if turn else []
        _check(folder, answered)
    return [_row(ran)]


def _prepare(folder: Path, options: Options) -> None:
    side = Side("prepare", "bench.stream_latency_side:Follower", {"folder": str(folder)}, env=our_places())
    with Worker(side, options.threads) as made:
        made.call("prepare")


def _check(folder: Path, answered: int) -> None:
    """The log has every batch that was answered, and no more than those under way at the end of a turn."""
    from asof.flows.stream_open import open_source_stream, streamed_source
    from bench import stream_servers

    project = stream_servers.project(str(folder))
    stream = open_source_stream(project, streamed_source(project, stream_data.SOURCE))
    events = stream.ends()[0].next
    stream.close()
    if not 0 < answered * BATCH <= events:
        raise WrongAnswer(f"the log has {events:,} events, and {answered * BATCH:,} were answered")


def _plain(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{**row, "at": row["at"].isoformat()} for row in rows]


def _row(ran: Mapping[str, list[dict[str, Any]]]) -> Row:
    each_us = {name: median(1e6 / each["per_s"] for each in of) for name, of in ran.items()}
    best = min(BARE, key=each_us.__getitem__)
    row = Row("stream_events", "stream-events", each_us[OURS], each_us[best], best, "us", BAR)
    seconds = {name: [1 / each["per_s"] for each in of] for name, of in ran.items()}
    row.sides = {name: Measured(name, of[0], of, of, versions=versions()) for name, of in seconds.items()}
    row.notes = [
        f"{BATCH} events a batch, {CONNECTIONS} connections",
        *(_told(n, of) for n, of in ran.items()),
    ]
    return row


def _told(name: str, ran: list[dict[str, Any]]) -> str:
    rates = sorted(each["per_s"] for each in ran)
    return (
        f"{name}: {median(rates):,.0f} batches a second ({rates[0]:,.0f} to {rates[-1]:,.0f}),"
        f" {BATCH * median(rates):,.0f} events; median {median(each['median_us'] for each in ran) / 1e3:.1f} ms,"
        f" 99 % in {median(each['p99_us'] for each in ran) / 1e3:.1f} ms"
    )
