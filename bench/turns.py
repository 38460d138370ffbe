"""Sides that are classes, warm in processes of their own, and timed call by call in turn.

Such a side has a method `time(size, calls, seed)` that answers what `latency.call_each` does. The seed decides what is
asked, so in one turn all sides are asked the same, and in the next turn something else.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING, Any

from bench.harness import Measured, Row
from bench.process import Worker

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from bench.process import Side


@dataclass
class Timed:
    """What calls of one side took, turn by turn."""

    side: str
    turns: list[dict[str, float]] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)

    def of(self, fact: str) -> float:
        """The median of a fact over the turns."""
        return median(turn[fact] for turn in self.turns)

    @property
    def words(self) -> str:
        """The fact in a line for the notes."""
        medians = [turn["median_us"] for turn in self.turns]
        own = (
            f" (by the processor's clock {self.of('own_p99_us'):,.1f} us)"
            if "own_p99_us" in self.turns[0]
            else ""
        )
        return (
            f"{self.side}: median {self.of('median_us'):,.1f} us ({min(medians):,.1f} to {max(medians):,.1f}),"
            f" 99 % in {self.of('p99_us'):,.1f} us{own}, of processors {self.of('cpu_us'):,.1f} us a call"
        )

    @property
    def measured(self) -> Measured:
        """The same in seconds, for the JSON file."""
        cpu = [turn["cpu_us"] / 1e6 for turn in self.turns]
        return Measured(
            self.side, self.turns[0]["median_us"] / 1e6, [t["median_us"] / 1e6 for t in self.turns], cpu,
            versions=self.versions,
        )  # fmt: skip


@contextmanager
def workers(sides: Sequence[Side], threads: int) -> Iterator[dict[str, Worker]]:
    """The processes of sides, by their names."""
    with ExitStack() as stack:
        yield {side.name: stack.enter_context(Worker(side, threads)) for side in sides}


def take_turns(
    sides: Mapping[str, Worker],
    size: int,
    calls: Mapping[str, int],
    runs: int,
    *,
    own: bool = False,
    **more: Any,
) -> dict[str, Timed]:
    """`runs` turns of every side, after one that is not counted. `own`: each call is then timed once more by the
    processor's clock, which tells what a call takes where nobody else is on the machine.
    """
    found = {name: Timed(name, versions=dict(worker.ask("versions"))) for name, worker in sides.items()}
    for turn in range(runs + 1):
        for name, worker in sides.items():
            answer = worker.call("time", size=size, calls=calls[name], seed=turn, **more)
            if own:
                alone = worker.call("time", size=size, calls=calls[name], seed=turn, own=True, **more)
                answer["own_p99_us"] = alone["p99_us"]
            if turn:
                found[name].turns.append(answer)
    return found


def limit(bench: str, name: str, ours: Timed, most_us: float) -> Row:
    """The row of a bar on 99 % of our calls."""
    words = f"limit {most_us / 1e3:g} ms"
    row = Row(bench, name, ours.of("p99_us"), most_us, words, "us", "<= 1.0")
    row.sides = {ours.side: ours.measured}
    row.notes = [ours.words]
    return row


def against(
    bench: str, name: str, found: Mapping[str, Timed], ours: str, other: str, bar: str | None = None
) -> Row:
    """The row of one side's median against another's."""
    mine, theirs = found.get(ours), found[other]
    row = Row(bench, name, mine.of("median_us") if mine else None, theirs.of("median_us"), other, "us", bar)
    row.sides = {each.side: each.measured for each in (mine, theirs) if each}
    row.notes = [each.words for each in (mine, theirs) if each]
    return row
