"""Times one call over and over, each call by itself. Standard library only: both sides use it."""

from __future__ import annotations

import time
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def call_each(call: Callable[[str], object], names: Sequence[str], calls: int) -> dict[str, float]:
    """Microseconds of a call, over so many calls that take the names in turn."""
    taken: list[int] = []
    clock = time.perf_counter_ns
    for i in range(calls):
        name = names[i % len(names)]
        started = clock()
        call(name)
        taken.append(clock() - started)
    taken.sort()
    return {
        "calls": calls,
        "median_us": median(taken) / 1e3,
        "p99_us": taken[min(calls - 1, -(-calls * 99 // 100) - 1)] / 1e3,
        "max_us": taken[-1] / 1e3,
    }
