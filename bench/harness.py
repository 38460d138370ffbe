"""Measures sides against each other: equal answers first, then in turn, warm, on the same files.

1. Every side runs once in a process of its own (imports, page cache, compiled code: the `first` run, told apart).
2. The answers are compared; a side with a wrong answer is never timed (`equal.py`).
3. The sides run in turn, A B A B ..., `runs` times each. A side that was more than three times slower than the fastest
   of its group in the first run is measured once only: it will not win.
4. Peak memory: a fresh process per side, one run.
"""

from __future__ import annotations

import statistics
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.equal import Kinds, compare
from bench.process import Side, SideFailed, Worker

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

OURS = "asof"
HOPELESS = 3.0


@dataclass(frozen=True)
class Options:
    """What the command line chose."""

    runs: int = 5
    quick: bool = False
    threads: int = 2
    ours: bool = True
    data: Path = Path("../shared/data")


@dataclass
class Measured:
    """The runs of one side."""

    side: str
    first_s: float
    seconds: list[float] = field(default_factory=list)
    cpu_seconds: list[float] = field(default_factory=list)
    memory: dict[str, int] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @property
    def peak(self) -> int:
        return self.memory.get("peak_bytes", 0)

    def facts(self) -> dict[str, Any]:
        """The numbers as they go into the JSON file."""
        return {
            "median_s": self.median,
            "min_s": min(self.seconds),
            "max_s": max(self.seconds),
            "cpu_median_s": statistics.median(self.cpu_seconds),
            "runs": len(self.seconds),
            "first_s": self.first_s,
            "memory": self.memory,
            "versions": self.versions,
        }


@dataclass
class Row:
    """One line of the table and one JSON file: ours against one other, and the bar."""

    bench: str
    name: str
    ours: float | None
    other: float | None
    other_name: str
    unit: str = "s"
    bar: str | None = None  # ">= 10" on other / ours, "<= 2" on ours / other
    sides: dict[str, Measured] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    failed: bool = False

    @property
    def ratio_is(self) -> str:
        return "other / ours" if self.bar is None or self.bar.startswith(">") else "ours / other"

    @property
    def ratio(self) -> float | None:
        if not self.ours or not self.other:
            return None
        return self.other / self.ours if self.ratio_is == "other / ours" else self.ours / self.other

    @property
    def holds(self) -> bool | None:
        if self.bar is None or self.ratio is None:
            return None
        sign, limit = self.bar.split()[:2]
        return self.ratio >= float(limit) if sign == ">=" else self.ratio <= float(limit)


def measure(
    sides: Sequence[Side],
    options: Options,
    *,
    kinds: Kinds | None = None,
    runs: int | None = None,
    peak: bool = True,
) -> dict[str, Measured]:
    """The runs of every side that could run; ours may be missing, with its error printed.

    Raises:
        SideFailed: another side than ours failed.
        WrongAnswer: two sides disagree.
    """
    with ExitStack() as stack, tempfile.TemporaryDirectory() as folder:
        workers: dict[str, Worker] = {}
        found: dict[str, Measured] = {}
        for side in sides:
            try:
                worker = stack.enter_context(Worker(side, options.threads))
                found[side.name] = Measured(
                    side.name, worker.ask("run")["seconds"], versions=worker.ask("versions")
                )
            except SideFailed as failure:
                if side.name != OURS:
                    raise
                print(f"bench: ours could not run: {failure}", flush=True)
                continue
            workers[side.name] = worker
            if kinds is not None:
                worker.ask("save", path=str(Path(folder) / f"{len(workers)}.arrow"))
        if kinds is not None:
            compare([(n, Path(folder) / f"{i}.arrow") for i, n in enumerate(workers, 1)], kinds)
        _turns(workers, found, options.runs if runs is None else runs)
    for side in sides:
        if peak and side.name in found:
            found[side.name].memory = peak_memory(side, options)
    return found


def _turns(workers: dict[str, Worker], found: dict[str, Measured], runs: int) -> None:
    fastest = min((m.first_s for m in found.values() if m.side != OURS), default=0.0)
    for turn in range(runs):
        for name, worker in workers.items():
            if turn and name != OURS and found[name].first_s > HOPELESS * fastest:
                continue
            answer = worker.ask("run")
            found[name].seconds.append(answer["seconds"])
            found[name].cpu_seconds.append(answer["cpu_seconds"])


def peak_memory(side: Side, options: Options) -> dict[str, int]:
    """Resident memory of one run in a fresh process: before it, its peak, and the highest samples seen from outside."""
    with Worker(side, options.threads) as worker:
        answer = worker.ask("run")
        sampled = {f"sampled_{name}_bytes": size for name, size in worker.samples.items()}
    return {name: value for name, value in answer.items() if name.endswith("_bytes")} | sampled


def fastest(found: dict[str, Measured], names: Iterable[str]) -> Measured:
    """The one of these sides with the smallest median."""
    return min((found[name] for name in names), key=lambda m: m.median)


def versus(
    bench: str,
    name: str,
    found: dict[str, Measured],
    others: Sequence[str],
    *,
    bar: str | None = None,
    wanted: bool = True,
) -> Row:
    """The row that sets ours against the fastest of the others; `wanted` is false when ours was left out on purpose."""
    best = fastest(found, others)
    ours = found.get(OURS)
    sides = {n: found[n] for n in (OURS, *others) if n in found}
    return Row(
        bench,
        name,
        ours.median if ours else None,
        best.median,
        best.side,
        bar=bar,
        sides=sides,
        failed=wanted and ours is None,
    )
