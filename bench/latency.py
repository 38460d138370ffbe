"""Times one call over and over, each call by itself. Standard library only: both sides use it."""

from __future__ import annotations

import time
from statistics import median
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

T = TypeVar("T")


def call_each(
    call: Callable[[T], object], names: Sequence[T], calls: int, *, own: bool = False
) -> dict[str, float]:
    """Microseconds of a call, over so many calls that take the names in turn; `own`: of the processor, without what
    others on the machine took from it.
    """
    taken: list[int] = []
    clock = time.thread_time_ns if own else time.perf_counter_ns
    cpu = time.process_time()
    for i in range(calls):
        name = names[i % len(names)]
        started = clock()
        call(name)
        taken.append(clock() - started)
    cpu_s = time.process_time() - cpu
    return {**spread(taken), "cpu_us": cpu_s / calls * 1e6}


def spread(taken_ns: list[int]) -> dict[str, float]:
    """Number, median, 99 % and maximum of what calls took."""
    found = sorted(taken_ns)
    calls = len(found)
    return {
        "calls": calls,
        "median_us": median(found) / 1e3,
        "p99_us": found[min(calls - 1, -(-calls * 99 // 100) - 1)] / 1e3,
        "max_us": found[-1] / 1e3,
    }
