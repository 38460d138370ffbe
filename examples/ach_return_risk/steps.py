"""Steps with a name, a clock and a bar: what the demo shows while it works, and the table of times at its end."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field

from asof.cli.console import ProgressBars


@dataclass
class Step:
    """One step of the demo; `rows` is what it worked on, `seconds` how long it took."""

    name: str
    bars: ProgressBars = field(repr=False)
    rows: int = 0
    seconds: float = 0.0

    def show(self, stage: str, asset: str, done: int, total: int) -> None:
        """Show that `done` of `total` are done; what `Project.training_set` takes as `progress`."""
        self.bars.step(stage, asset, done, total)


class Steps:
    """The steps taken so far."""

    def __init__(self, *, quiet: bool = False) -> None:
        self.quiet = quiet
        self.taken: list[Step] = []

    @contextmanager
    def step(self, name: str) -> Generator[Step]:
        """Time a block; on a terminal with progress bars, elsewhere with plain lines, on stderr."""
        with ProgressBars(quiet=self.quiet) as bars:
            step = Step(name, bars)
            begin = time.perf_counter()
            yield step
            step.seconds = time.perf_counter() - begin
        self.taken.append(step)

    @contextmanager
    def timed(self, name: str) -> Generator[Step]:
        """Time a block that shows by itself what it does."""
        step = Step(name, ProgressBars(quiet=True))
        begin = time.perf_counter()
        yield step
        step.seconds = time.perf_counter() - begin
        self.taken.append(step)

    def __str__(self) -> str:
        head = f"{'step':<44}{'seconds':>10}{'rows':>13}{'rows/s':>13}"
        lines = [head, "-" * len(head)]
        for step in self.taken:
            rate = f"{step.rows / max(step.seconds, 1e-6):,.0f}"
            lines.append(f"{step.name:<44}{step.seconds:>10.1f}{step.rows:>13,}{rate:>13}")
        total = sum(step.seconds for step in self.taken)
        note = "The first training set on a machine also compiles the kernels, once."
        return "\n".join([*lines, f"{'in all':<44}{total:>10.1f}", note])
