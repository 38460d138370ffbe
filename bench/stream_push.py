"""Pushes of 1 row and of 10,000 rows, one after the other until all can be served, against Feast's push to SQLite
and to Redis.

Ours goes through the embedded log and a worker that brings 15 windowed aggregations up to date, in LMDB or in Redis;
durable in the log before it is applied. Feast writes the row itself. Both sides push rows of the same columns and take
turns. At the end a read counts every row of ours, and Feast is asked for its newest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench import online, redis_server
from bench.harness import OURS, Options, Row
from bench.peers import python
from bench.process import Side
from bench.turns import Timed, against, take_turns, workers
from bench.windows import our_places

if TYPE_CHECKING:
    from pathlib import Path

BARS = {1: ">= 20", 10_000: ">= 10"}
CALLS = {1: (2_000, 30), 10_000: (8, 2)}  # rows in a batch: batches in a turn, ours and Feast's


def run(options: Options) -> list[Row]:
    with online.place() as folder, redis_server.server() as server:
        rows = _pair(options, "sqlite", folder)
        if server is None:
            print("bench: stream_push: Redis is not installed, its rows are left out", flush=True)
        else:
            rows += _pair(options, "redis", folder, server.port)
    return rows


def _pair(options: Options, kind: str, folder: Path, port: int = 0) -> list[Row]:
    """Ours in LMDB against Feast in SQLite, or both in Redis."""
    feast = f"Feast, {kind}"
    url = f"redis://127.0.0.1:{port}" if port else f"lmdb:///{folder / 'push-lmdb'}"
    places = {"folder": str(folder / f"push-{kind}"), "url": url}
    theirs = {"folder": str(folder / f"feast-push-{kind}"), "store": kind, "port": port}
    sides = [Side(feast, "bench.stream_feast:Feast", theirs, python())]
    if options.ours:
        sides.insert(0, Side(OURS, "bench.stream_push_side:Ours", places, env=our_places()))
    rows: list[Row] = []
    with workers(sides, options.threads) as found:
        for size, (ours, others) in CALLS.items():
            calls = {OURS: ours, feast: others}
            timed = take_turns(found, size, calls, options.runs)
            row = against("stream_push", f"stream-push-{kind}-{size}", timed, OURS, feast, BARS[size])
            row.notes += [_rate(size, each) for each in timed.values()]
            if options.ours:
                one = take_turns({OURS: found[OURS]}, size, calls, options.runs, kind="servable")[OURS]
                ratio = timed[feast].of("median_us") / one.of("median_us")
                row.notes.append(
                    f"each until it can be served, one after the other: {ratio:.1f}x, {_rate(size, one)}"
                )
                alone = take_turns({OURS: found[OURS]}, size, calls, options.runs, kind="push")[OURS]
                ratio = timed[feast].of("median_us") / alone.of("median_us")
                row.notes.append(f"until it is durable in the log, alone: {ratio:.0f}x, {_rate(size, alone)}")
            rows.append(row)
        for side in found.values():
            side.call("check")
    return rows


def _rate(size: int, timed: Timed) -> str:
    return f"{timed.side}: {size * 1e6 / timed.of('median_us'):,.0f} rows a second"
