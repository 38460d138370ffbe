"""A worker of the embedded log: 3 windows x 5 aggregations of 50,000 accounts into LMDB, landed and checkpointed.

Other side: the same events read from the same log and decoded to Arrow columns, which is what any consumer has to do.
Both are warm processes and take turns. Before that, the records are compared with what counting the events says.
"""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING, Any

from bench import online, stream_data, stream_sides
from bench.equal import WrongAnswer
from bench.harness import OURS, Measured, Options, Row
from bench.process import Side, Worker
from bench.turns import workers
from bench.windows import our_places

if TYPE_CHECKING:
    from collections.abc import Mapping

DECODE = "read + decode"
BAR = ">= 0.4"
QUICK, FULL = 200_000, 1_000_000


def run(options: Options) -> list[Row]:
    if not options.ours:
        return []
    rows = size(options)
    stream_data.payments(rows)
    with online.place() as folder:
        log = folder / "log"
        stream_sides.fill(log, rows)
        facts = {"folder": str(folder / "work"), "rows": rows, "log": str(log)}
        sides = [
            Side(OURS, "bench.stream_sides:Worker", facts, env=our_places()),
            Side(DECODE, "bench.stream_sides:Decode", {"log": str(log)}, env=our_places()),
        ]
        with workers(sides, options.threads) as found:
            ran = turns(found, rows, options.runs)
            held = found[OURS].call("check")
    return [row("stream", "stream", ran, rows, DECODE, BAR, held)]


def size(options: Options) -> int:
    """How many events."""
    return QUICK if options.quick else FULL


def turns(sides: Mapping[str, Worker], rows: int, runs: int) -> dict[str, list[dict[str, Any]]]:
    """What `runs` turns of every side took, after one that is not counted but for its check.

    Raises:
        WrongAnswer: a side has not seen every event once.
    """
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in sides}
    for turn in range(runs + 1):
        for name, side in sides.items():
            ran = side.call("run")
            complete(name, ran, rows)
            if turn:
                found[name].append(ran)
        if not turn and OURS in sides:
            sides[OURS].call("check")
    return found


def complete(name: str, ran: dict[str, Any], rows: int) -> None:
    """Nothing, where every event was dealt with once.

    Raises:
        WrongAnswer: else.
    """
    lost = ran.get("counted_late", 0) + ran.get("counted_dead", 0)
    if ran["events"] != rows or lost:
        raise WrongAnswer(f"{name}: {ran['events']:,} of {rows:,} events, {lost:,} late or dead")


def row(
    bench: str, name: str, ran: Mapping[str, list[dict[str, Any]]], rows: int, other: str,
    bar: str | None, held: dict[str, Any] | None = None,
) -> Row:  # fmt: skip
    """Time of an event on our side against the other; the notes tell events a second."""
    each_us = {side: 1e6 * median(each["seconds"] for each in of) / rows for side, of in ran.items()}
    made = Row(bench, name, each_us.get(OURS), each_us[other], other, "us", bar)
    made.sides = {side: measured(side, of) for side, of in ran.items()}
    made.notes = [told(side, of, rows) for side, of in ran.items()]
    if held:
        made.notes.append(f"{held['records']:,} records of {held['bytes'] / held['records']:,.0f} bytes")
    return made


def measured(side: str, ran: list[dict[str, Any]]) -> Measured:
    """The runs of a side for the JSON file."""
    return Measured(
        side, ran[0]["seconds"], [each["seconds"] for each in ran], [each["cpu_seconds"] for each in ran],
        {"peak_bytes": max(each.get("peak_bytes", 0) for each in ran)},
    )  # fmt: skip


def told(side: str, ran: list[dict[str, Any]], rows: int) -> str:
    """A side in a line."""
    rates = sorted(rows / each["seconds"] for each in ran)
    cpu = median(each["cpu_seconds"] for each in ran) / median(each["seconds"] for each in ran)
    late = [each["last_third_per_s"] for each in ran if "last_third_per_s" in each]
    return (
        f"{side}: {median(rates):,.0f} events a second ({rates[0]:,.0f} to {rates[-1]:,.0f})"
        + (f", in the last third {median(late):,.0f}" if late else "")
        + f"; {cpu:.2f} cores"
    )
