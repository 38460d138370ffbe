"""Two workers on one view: a topic in two parts by account, and a view of merchants, whose events come from both parts.

Any worker writes any record, by compare-and-swap: who comes second reads the record again. Other side: the same view
over the same events in parts by merchant, where no two workers ever meet. The notes tell how often they do.
"""

from __future__ import annotations

import threading
from statistics import median
from typing import TYPE_CHECKING, Any

from bench import online, stream, stream_data, stream_sides
from bench.equal import WrongAnswer
from bench.harness import OURS, Options, Row
from bench.process import Side, Worker
from bench.turns import workers
from bench.windows import our_places

if TYPE_CHECKING:
    from pathlib import Path

KEY, OTHER = "merchant", "parts by the view's key"
PARTS = {OURS: "account_id", OTHER: KEY}


def run(options: Options) -> list[Row]:
    if not options.ours:
        return []
    rows = stream.size(options)
    with online.place() as folder:
        ran: dict[str, list[dict[str, Any]]] = {name: [] for name in PARTS}
        sides = [side for name in PARTS for side in _sides(folder / PARTS[name], name, rows)]
        with workers(sides, options.threads) as found:
            for turn in range(options.runs + 1):
                for name in PARTS:
                    took = _together([found[f"{name}, {number}"] for number in (0, 1)], rows)
                    ran[name] += [took] if turn else []
            for name in PARTS:
                found[f"{name}, 0"].call("check")
    row = stream.row("stream_entities", "stream-entities", ran, rows, OTHER, None)
    row.notes += [_conflicts(name, PARTS[name], of) for name, of in ran.items()]
    return [row]


def _sides(folder: Path, name: str, rows: int) -> list[Side]:
    log = {"partitions": 2, "partition_by": PARTS[name]}
    stream_data.payments(rows)
    stream_sides.fill(folder / "log", rows, **log)
    facts = {
        "folder": str(folder / "work"), "rows": rows, "log": str(folder / "log"), "stream": log, "key": KEY,
    }  # fmt: skip
    return [
        Side(f"{name}, {number}", "bench.stream_sides:Worker", facts, env=our_places()) for number in (0, 1)
    ]


def _together(pair: list[Worker], rows: int) -> dict[str, Any]:
    """What two workers took together, each in a process of its own."""
    pair[0].call("prepare")
    pair[1].call("join")
    made: list[dict[str, Any]] = []
    threads = [threading.Thread(target=lambda each=each: made.append(each.call("work"))) for each in pair]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if len(made) < len(pair):
        raise WrongAnswer("a worker has failed")
    counted = max(each["counted_events"] for each in made)
    if counted != rows:
        raise WrongAnswer(f"{counted:,} of {rows:,} events")
    facts = {name: sum(each[name] for each in made) for name in ("cpu_seconds", "written", "conflicts")}
    return {**facts, "events": counted, "seconds": max(each["seconds"] for each in made)}


def _conflicts(name: str, parts: str, ran: list[dict[str, Any]]) -> str:
    rate = median(each["conflicts"] / (each["written"] + each["conflicts"]) for each in ran)
    return (
        f"{name} (parts by {parts}, view by {KEY}): {100 * rate:.2f} % of records that were written had been changed"
        f" by the other worker meanwhile and were merged again ({median(e['conflicts'] for e in ran):,.0f} of"
        f" {median(e['written'] for e in ran):,.0f})"
    )
