"""Deadlines of requests: one look at all that are open, every tenth of a second.

A timer for every request would be a tenth of its cost; the server's own deadline is seconds long and may be met a
tenth of a second late. A request that asks for a deadline of its own has a timer of its own (`app.py`).
"""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Any

_LOOK_S = 0.1


class Deadlines:
    """The server's own deadline, for all requests that have begun and not ended.

    Args:
        after_s: how long a request may take.
    """

    def __init__(self, after_s: float) -> None:
        self.after_s = after_s
        self._ends: dict[asyncio.Task[Any], float] = {}
        self._late: set[asyncio.Task[Any]] = set()
        self._looking = False

    def within(self, loop: asyncio.AbstractEventLoop) -> _Within:
        """A block that is cancelled, and raises TimeoutError, when it takes too long."""
        return _Within(self, loop)

    def begin(self, loop: asyncio.AbstractEventLoop) -> asyncio.Task[Any] | None:
        """The task that has begun now."""
        task = asyncio.current_task(loop)
        if task is not None:
            self._ends[task] = loop.time() + self.after_s
            if not self._looking:
                self._looking = True
                loop.call_later(_LOOK_S, self._look, loop)
        return task

    def end(self, task: asyncio.Task[Any] | None) -> bool:
        """Takes the task off, and tells whether it came too late."""
        if task is None:
            return False
        self._ends.pop(task, None)
        if task not in self._late:
            return False
        self._late.discard(task)
        task.uncancel()
        return True

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        for task in [task for task, end in self._ends.items() if end <= now]:
            del self._ends[task]
            self._late.add(task)
            task.cancel()
        self._looking = bool(self._ends)
        if self._looking:
            loop.call_later(_LOOK_S, self._look, loop)


class _Within:
    """One block; see `Deadlines.within`."""

    __slots__ = ("_deadlines", "_loop", "_task")

    def __init__(self, deadlines: Deadlines, loop: asyncio.AbstractEventLoop) -> None:
        self._deadlines = deadlines
        self._loop = loop
        self._task: asyncio.Task[Any] | None = None

    async def __aenter__(self) -> None:
        self._task = self._deadlines.begin(self._loop)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._deadlines.end(self._task) and kind is asyncio.CancelledError:
            raise TimeoutError from error
