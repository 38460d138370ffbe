"""The log of requests that `asof skew` replays, written beside the requests: by a thread, from a bounded queue.

What does not fit into the queue is dropped and counted; the requests themselves never wait for the disk.
"""

from __future__ import annotations

import logging
import queue
import random
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from asof.flows.answer import Answer
from asof.flows.request_log import RequestLog

_log = logging.getLogger(__name__)
_MOST_WAITING = 1_000
_IDLE_S = 5.0
_BATCH_ROWS = 1_000
Columns = Mapping[str, Sequence[Any]]
_Read = tuple[str, Columns, Columns | None, Answer]


class Counting(Protocol):
    """Something that counts."""

    def inc(self, amount: float = 1) -> None:
        """Adds to the count."""
        ...


class RequestSink:
    """Takes a share of the reads, and writes them to a folder.

    Args:
        folder: where the log's files are.
        share: which share of the reads is kept, 0 to 1.
        lost: counts what was dropped.
    """

    def __init__(self, folder: Path, share: float, lost: Counting) -> None:
        self._log = RequestLog(folder, batch_rows=_BATCH_ROWS)
        self._share, self._lost = share, lost
        self._reads: queue.Queue[_Read | None] = queue.Queue(_MOST_WAITING)
        self._thread = threading.Thread(target=self._write, name="asof-request-log", daemon=True)
        self._thread.start()

    def __call__(self, service: str, entities: Columns, request: Columns | None, answer: Answer) -> None:
        """One read; kept or not by chance."""
        if self._share < 1 and random.random() >= self._share:  # noqa: S311 - a sample, not a secret
            return
        try:
            self._reads.put_nowait((service, entities, request, answer))
        except queue.Full:
            self._lost.inc()

    def close(self) -> None:
        """Writes what waits, and ends the thread."""
        try:
            self._reads.put(None, timeout=5)
            self._thread.join(10)
        except queue.Full:
            _log.warning(
                "serving: the request log's disk is too slow; %d reads are lost", self._reads.qsize()
            )

    def _write(self) -> None:
        while True:
            try:
                read = self._reads.get(timeout=_IDLE_S)
            except queue.Empty:
                self._safely(self._log.flush)
                continue
            if read is None:
                self._safely(self._log.flush)
                return
            self._safely(self._log.write, *read)

    def _safely(self, work: Any, *arguments: Any) -> None:
        try:
            work(*arguments)
        except Exception:  # noqa: BLE001
            self._lost.inc()
            _log.warning("serving: the request log could not be written", exc_info=True)
