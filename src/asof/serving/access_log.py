"""The access log: one JSON object a line for each request, never a key or a value of a customer.

Lines are kept in memory and written by a thread of their own, so that a slow terminal or a full pipe costs no request.
What does not fit into the buffer is dropped and counted.
"""

from __future__ import annotations

import sys
import threading
from collections import deque
from typing import IO, Any, Protocol

import msgspec

from asof.clock import Clock, format_time

WHICH = ("off", "errors", "sampled", "all")
EVERY = 100
"""`sampled` writes one request in this many, and all that failed."""
_MOST_LINES = 10_000
_WAIT_S = 0.25


class Counting(Protocol):
    """Something that counts."""

    def inc(self, amount: float = 1) -> None:
        """Adds to the count."""
        ...


class Line(msgspec.Struct, frozen=True):
    """One request."""

    ts: str
    request_id: str
    method: str
    route: str
    service: str
    entities: int
    status: int
    outcome: str
    seconds: float


class AccessLog:
    """Writes lines, or some of them, or none."""

    def __init__(self, which: str, clock: Clock, lost: Counting, out: IO[bytes] | None = None) -> None:
        self._which = which
        self._clock = clock
        self._lost = lost
        self._out = out
        self._lines: deque[bytes] = deque()
        self._seen = 0
        self._encode = msgspec.json.Encoder().encode
        self._wake = threading.Event()
        self._stopped = False
        self._thread: threading.Thread | None = None

    def add(
        self, request_id: str, method: str, route: str, told: Any, status: int, outcome: str, seconds: float
    ) -> None:
        """One request; `told` has its service and its number of entities."""
        if self._which != "all" and not self._wanted(status):
            return
        if len(self._lines) >= _MOST_LINES:
            self._lost.inc()
            return
        at = format_time(self._clock.now_us())
        line = Line(
            at, request_id, method, route, told.service, told.entities, status, outcome, round(seconds, 6)
        )
        self._lines.append(self._encode(line))
        if self._thread is None:
            self._start()

    def _wanted(self, status: int) -> bool:
        if self._which == "off":
            return False
        if status >= 400:
            return True
        self._seen += 1
        return self._which == "sampled" and self._seen % EVERY == 1

    def _start(self) -> None:
        self._thread = threading.Thread(target=self._write, name="asof-access-log", daemon=True)
        self._thread.start()

    def _write(self) -> None:
        while not self._stopped:
            self._wake.wait(_WAIT_S)
            self.flush()

    def flush(self) -> None:
        """Writes what is kept."""
        lines: list[bytes] = []
        while self._lines:
            lines.append(self._lines.popleft())
        if not lines:
            return
        out = self._out or sys.stderr.buffer
        try:
            out.write(b"\n".join(lines) + b"\n")
            out.flush()
        except (OSError, ValueError):  # a closed pipe: the log is lost, the requests are not
            self._lost.inc(len(lines))

    def close(self) -> None:
        """Writes the rest and ends the thread."""
        self._stopped = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join(2)
        self.flush()
