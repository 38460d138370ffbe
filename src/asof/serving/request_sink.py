"""The log of requests that `asof skew` replays, written beside the requests: by a thread, from a bounded queue.

What does not fit into the queue is dropped and counted, and so are the reads of a batch that cannot be written; the
requests themselves never wait for the disk.
"""

from __future__ import annotations

import logging
import queue
import random
import sys
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
        self._folder = folder
        self._log = self._new_log()
        self._held_reads = self._held_rows = 0
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
            waiting = self._reads.qsize()
            self._lost.inc(waiting)
            _log.warning("serving: the request log's disk is too slow; %d reads are lost", waiting)

    def _write(self) -> None:
        while True:
            try:
                read = self._reads.get(timeout=_IDLE_S)
            except queue.Empty:
                self._flush()
                continue
            if read is None:
                self._flush()
                return
            self._keep(read)

    def _keep(self, read: _Read) -> None:
        try:
            self._log.write(*read)
        except Exception as exc:  # noqa: BLE001
            self._failed(exc, 1)
            return
        self._held_reads += 1
        self._held_rows += read[3].size
        if self._held_rows >= _BATCH_ROWS:
            self._flush()

    def _flush(self) -> None:
        """Writes what is held; a batch that cannot be written is lost, so that memory does not grow."""
        try:
            self._log.flush()
        except Exception as exc:  # noqa: BLE001
            self._failed(exc, self._held_reads)
            self._log = self._new_log()
        self._held_reads = self._held_rows = 0

    def _new_log(self) -> RequestLog:
        """A log that writes when it is told to."""
        return RequestLog(self._folder, batch_rows=sys.maxsize)

    def _failed(self, error: Exception, reads: int) -> None:
        self._lost.inc(reads)
        # Only the type: the text of an error may quote a key.
        _log.warning("serving: the request log: %s; reads that are lost: %d", type(error).__name__, reads)
