"""One store with 10 M entities beside one with 10 k: reads of the same service in LMDB, and how large records are.

The records are packed by the kernel that packs every record (`pack_history`), from rows that are drawn in chunks; what
the service reads of them is checked against counts and sums of the same rows. Every page of both stores is read once
before the clock runs, so that both are warm: what is compared is the deeper tree, and how much of a store the caches of
the processor hold. The bar is on 99 % of the reads by the thread's own clock: where others use the machine, the tail by
the clock on the wall is what they took, on both sides. For information: the same of raw gets in second processes.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import data
from bench.harness import OURS, Options, Row
from bench.process import Side
from bench.turns import take_turns, workers

if TYPE_CHECKING:
    from bench.turns import Timed

SMALL, LARGE = 10_000, 10_000_000
SIZES = {1: 20_000, 100: 1_000}  # entities in a read: reads in a turn
BAR = "<= 1.5"
RAW = "raw LMDB gets"


def run(options: Options) -> list[Row]:
    if not options.ours:
        return []
    counts = (SMALL, LARGE // 20 if options.quick else LARGE)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="scale-", dir=data.cache()) as folder:
        places = {
            entities: {"folder": str(Path(folder) / str(entities)), "entities": entities}
            for entities in counts
        }
        sides = [Side(_name(OURS, n), "bench.online_scale_side:Ours", places[n]) for n in counts]
        raws = [Side(_name(RAW, n), "bench.online_scale_side:Raw", places[n]) for n in counts]
        with workers(sides, options.threads) as found, workers(raws, options.threads) as raw:
            held = {name: worker.call("fill") for name, worker in found.items()}
            for name, worker in found.items():
                worker.call("check")
                held[name] |= worker.call("warm")
            for worker in raw.values():
                worker.call("warm")
            everybody = found | raw
            for size, calls in SIZES.items():
                timed = take_turns(everybody, size, dict.fromkeys(everybody, calls), options.runs, own=True)
                rows += _rows(f"online-scale-{size}", timed, list(found), list(raw))
    rows[0].notes[:0] = [_told(name, facts) for name, facts in held.items()]
    return rows


def _name(side: str, entities: int) -> str:
    return f"{side}, {entities:,} entities"


def _told(name: str, facts: dict[str, Any]) -> str:
    return (
        f"{name}: {facts['record_bytes']:.1f} bytes a record, {facts['rows']:.1f} rows in each; on disk"
        f" {facts['stored'] / 1e9:.2f} GB, {facts['stored_bytes']:.1f} bytes an entity, {facts['depth']} levels, map"
        f" {facts['map'] / 1e9:.2f} GB; packed in {facts['pack_s']:.1f} s, written in {facts['write_s']:.1f} s, read"
        f" through in {facts['warm_s']:.1f} s"
    )


def _rows(name: str, timed: dict[str, Timed], ours: list[str], raw: list[str]) -> list[Row]:
    """Many entities against few: ours with a bar, and raw gets for information."""
    made: list[Row] = []
    for tail, names, fact in (
        ("-p99", ours, "own_p99_us"),
        ("", ours, "median_us"),
        ("-raw", raw, "median_us"),
    ):
        small, large = (timed[each] for each in names)
        bar = BAR if tail == "-p99" else None
        row = Row("online_scale", f"{name}{tail}", large.of(fact), small.of(fact), small.side, "us", bar)
        row.sides = {each.side: each.measured for each in (small, large)}
        row.notes = [small.words, large.words] if tail else []
        made.append(row)
    return made
