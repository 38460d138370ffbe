"""Time limits of the online stores, and retries within them: bounded, with full jitter, never past the deadline.

A driver's error has been translated before it comes here: `BackendError.retryable` alone decides. What the clock says,
how one sleeps and what is drawn can be handed in, so that tests do not wait.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from asof.errors import BackendError

STEP_FACTOR = 20
"""One step of a write, scan, delete or drop may take this many times as long as a whole read."""

T = TypeVar("T")


class Deadline:
    """An instant of the monotonic clock, so many seconds from now.

    Example:
        >>> ticks = iter([10.0, 10.1, 10.6])
        >>> deadline = Deadline(0.5, now=lambda: next(ticks))
        >>> round(deadline.left_s(), 3), deadline.left_s()
        (0.4, 0.0)
    """

    __slots__ = ("_at_s", "_now")

    def __init__(self, wait_s: float, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._at_s = now() + wait_s

    def left_s(self) -> float:
        """The seconds that are left; 0 once it has passed."""
        return max(0.0, self._at_s - self._now())


@dataclass(frozen=True)
class Retries:
    """How often a call is made, and how long the pauses between are: drawn evenly from 0 to a bound that doubles."""

    attempts: int = 4
    first_s: float = 0.01
    longest_s: float = 0.5
    draw: Callable[[], float] = random.random
    sleep: Callable[[float], None] = time.sleep

    def pause_s(self, failures: int) -> float:
        """The pause after so many failures in a row.

        Example:
            >>> [Retries(draw=lambda: 1.0).pause_s(n) for n in (1, 2, 3, 9)]
            [0.01, 0.02, 0.04, 0.5]
        """
        return self.draw() * min(self.longest_s, self.first_s * 2.0 ** min(failures - 1, 30))

    def run(self, call: Callable[[], T], deadline: Deadline) -> T:
        """What the call gives; it is made again while it fails in a way that may pass and there is time.

        Raises:
            BackendError: the last one, when attempts or time are used up, or at once if it is not retryable.
        """
        for failures in range(1, self.attempts):
            try:
                return call()
            except BackendError as error:
                pause_s = self.pause_s(failures)
                if not error.retryable or pause_s >= deadline.left_s():
                    raise
            self.sleep(pause_s)
        return call()
