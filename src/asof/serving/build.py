"""The application put together: a reader, options, and all routes; and what runs beside them while it serves."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from asof.clock import Clock, SystemClock
from asof.errors import AsofError
from asof.flows.push import Pusher
from asof.serving.access_log import AccessLog
from asof.serving.app import App, Limits
from asof.serving.events import EventRoutes
from asof.serving.feast import FeastRoutes
from asof.serving.features import FeatureRoutes
from asof.serving.keys import Keys
from asof.serving.metrics import Metrics
from asof.serving.read import OnRead, Reads
from asof.serving.reader import Reader, warm
from asof.serving.request_sink import RequestSink
from asof.serving.system import SystemRoutes
from asof.serving.tecton import TectonRoutes
from asof.serving.tracing import Tracer, open_tracer

_log = logging.getLogger(__name__)
DRAIN_SIGNAL = signal.SIGUSR1
"""Tells a worker that it is about to end: `/readyz` answers 503 from then on, and everything else as before."""


@dataclass(frozen=True)
class Options:
    """How one worker serves.

    Args:
        keys: the keys that are let in; none lets everybody in.
        limits: how much it takes on.
        threads: how many reads of a store that is not embedded may run at once.
        refresh_s: how often the registry is asked whether its revision has moved.
        access_log: which requests are logged: `off`, `errors`, `sampled`, `all`.
        tracing: whether spans are sent.
        log_requests: the folder of the log that `asof skew` replays; none is written without one.
        log_share: which share of the reads that log keeps.
    """

    keys: tuple[str, ...] = ()
    limits: Limits = field(default_factory=Limits)
    threads: int = 16
    refresh_s: float = 1.0
    access_log: str = "errors"
    tracing: bool = False
    log_requests: Path | None = None
    log_share: float = 1.0


class Worker:
    """One application with what runs beside it: the look at the registry, and the drain."""

    def __init__(
        self, reader: Reader, options: Options, metrics: Metrics, reads: Reads, system: SystemRoutes
    ) -> None:
        self._reader = reader
        self._options = options
        self._metrics = metrics
        self._reads = reads
        self._system = system
        self.pusher: Pusher | None = None
        self._task: asyncio.Task[None] | None = None
        self._problem: str | None = None
        self.close: list[Callable[[], None]] = []

    async def startup(self) -> None:
        """Begins to look at the registry, and waits for the signal that says the end is near."""
        loop = asyncio.get_running_loop()
        with contextlib.suppress(
            NotImplementedError, RuntimeError, ValueError
        ):  # not in a main thread, or not POSIX
            loop.add_signal_handler(DRAIN_SIGNAL, self.drain)
        await asyncio.to_thread(warm, self._reader)
        self._tell_state()
        self._task = loop.create_task(self._follow())

    async def shutdown(self) -> None:
        """Ends what runs beside the application, and lets go of the store."""
        if self._task is not None:
            self._task.cancel()
        self._reads.close()
        for close in self.close:
            close()
        self._reader.close()

    def drain(self) -> None:
        """From now on not ready; what comes is still answered."""
        self._system.draining = True

    async def _follow(self) -> None:
        """Asks for a new revision again and again; requests go on with the old one until the new one is loaded."""
        while True:
            await asyncio.sleep(self._options.refresh_s)
            try:
                changed = await asyncio.to_thread(self._reader.refresh)
            except Exception:  # noqa: BLE001
                _log.exception("serving: the registry could not be asked for its revision")
                self._metrics.reload_failures.inc()
                continue
            if changed:
                _log.info("serving: revision %s", self._reader.revision)
                await self._refresh_pusher()
            self._tell_state()

    async def _refresh_pusher(self) -> None:
        """Events are checked by the new definitions from now on, or by the old ones where the code cannot be loaded."""
        try:
            if self.pusher is not None:
                await asyncio.to_thread(self.pusher.refresh)
        except AsofError as exc:
            _log.warning("serving: events are checked by the old definitions: %s", exc.message)
            self._metrics.reload_failures.inc()

    def _tell_state(self) -> None:
        """The revision, and whether it is the registry's newest; a new problem is told once."""
        problem = self._reader.problem
        if problem is not None and problem != self._problem:
            self._metrics.reload_failures.inc()
            _log.warning("serving: revision %s is served on: %s", self._reader.revision, problem)
        self._problem = problem
        self._metrics.problem.set(problem is not None)
        if self._reader.revision is not None:
            self._metrics.revision.set(self._reader.revision)


def build_app(
    reader: Reader,
    options: Options,
    *,
    clock: Clock | None = None,
    on_read: OnRead | None = None,
    log_to: IO[bytes] | None = None,
    tracer: Tracer | None = None,
    pusher: Pusher | None = None,
) -> App:
    """The application that serves what the reader reads.

    Args:
        reader: who reads; the application closes it when it ends.
        options: how it serves.
        clock: tells the access log's times.
        on_read: told of every answer.
        log_to: where the access log goes; stderr unless given.
        tracer: traces requests; made from the options unless given.
        pusher: appends events to the streams of sources; the application closes it when it ends.
    """
    metrics = Metrics()
    tracing = tracer or open_tracer(enabled=options.tracing)
    log = AccessLog(options.access_log, clock or SystemClock(), metrics.lost_lines, log_to)
    sink = None
    if options.log_requests is not None and on_read is None:
        on_read = sink = RequestSink(options.log_requests, options.log_share, metrics.lost_reads)
    reads = Reads(reader, metrics, tracing, threads=options.threads, on_read=on_read)
    system = SystemRoutes(reader, metrics)
    worker = Worker(reader, options, metrics, reads, system)
    worker.pusher = pusher
    events = EventRoutes(pusher, metrics, threads=options.threads)
    worker.close = [log.close, tracing.close, events.close, *([] if sink is None else [sink.close])]
    return App(
        (
            *FeatureRoutes(reads).routes(),
            *events.routes(),
            *FeastRoutes(reads).routes(),
            *TectonRoutes(reads).routes(),
            *system.routes(),
        ),
        keys=Keys(options.keys),
        limits=options.limits,
        metrics=metrics,
        log=log,
        tracer=tracing,
        startup=worker.startup,
        shutdown=worker.shutdown,
    )
