"""The one way from a route to the online store: where a read runs, how many may run, and what is counted about it.

A read of an embedded store takes microseconds and runs in the event loop; any other runs in a pool of threads before
which only so many may wait, so that memory does not grow while a store is slow.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime
from functools import partial
from typing import Any

from asof.errors import UnknownName, did_you_mean
from asof.flows.answer import Answer
from asof.flows.online_service import ServiceInfo
from asof.serving.cells import IdentityCache
from asof.serving.failures import HttpError
from asof.serving.metrics import Metrics
from asof.serving.reader import Reader
from asof.serving.selection import Selections
from asof.serving.tracing import Tracer

Columns = Mapping[str, Sequence[Any]]
OnRead = Callable[[str, Columns, Columns | None, Answer], None]
"""Told of every answer: service, entities, request columns and answer; for a log that is replayed in search of skew."""

_log = logging.getLogger(__name__)
_WAITING = 4
"""Reads that may wait for a thread, for each thread."""
_BELIEVED_S = 1.0  # a service's description; the next reload or materialization is seen after it


class Reads:
    """Reads services for the routes.

    Args:
        reader: who reads.
        metrics: what is counted.
        tracer: what is traced.
        threads: how many reads may run at once where the store is not embedded.
        on_read: told of every answer.
    """

    def __init__(
        self, reader: Reader, metrics: Metrics, tracer: Tracer, *, threads: int, on_read: OnRead | None = None
    ) -> None:
        self.reader = reader
        self._metrics = metrics
        self._tracer = tracer
        self._on_read = on_read
        self._names: IdentityCache[frozenset[str]] = IdentityCache(frozenset)
        self._described: dict[str, tuple[ServiceInfo, float]] = {}
        self._selections = Selections()
        self._most = threads * _WAITING
        self._free = asyncio.Semaphore(threads)
        self._waiting = 0
        self._pool = None if reader.embedded else ThreadPoolExecutor(threads, thread_name_prefix="asof-read")

    async def read(
        self,
        service: str,
        entities: Columns,
        request: Columns | None = None,
        at: datetime | None = None,
        columns: Sequence[str] | None = None,
    ) -> Answer:
        """The answer of one read.

        Raises:
            HttpError: there is no such service, or too many reads wait. What the reader raises.
        """
        loop = asyncio.get_running_loop()
        begun = loop.time()
        work = partial(self.reader.read, service, entities, request, at)
        try:
            if self._pool is None and not self._tracer.enabled:
                answer = work()
            else:
                with self._tracer.read(service):
                    answer = work() if self._pool is None else await self._in_thread(self._pool, work)
        except UnknownName as exc:
            if self.known(service):
                raise
            raise self._no_service(service) from exc
        self._metrics.observe_read(answer, loop.time() - begun)
        if self._on_read is not None:
            self._tell(service, entities, request, answer)
        return answer if columns is None else self._selections.select(answer, tuple(columns))

    def known(self, service: str) -> str:
        """The name, if a service has it, else an empty text: labels of metrics have to be bounded."""
        return service if service in self._names(self.reader.services()) else ""

    def describe(self, service: str) -> ServiceInfo:
        """One service.

        Raises:
            HttpError: there is none of this name; the hint has the nearest.
        """
        now = asyncio.get_running_loop().time()
        found = self._described.get(service)
        if found is not None and now < found[1]:
            return found[0]
        try:
            described = self.reader.describe(service)
        except UnknownName as exc:
            raise self._no_service(service) from exc
        self._described[service] = described, now + _BELIEVED_S
        return described

    def close(self) -> None:
        """Waits for no read."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)

    def _no_service(self, service: str) -> HttpError:
        names = self.reader.services()
        return HttpError(
            "not_found",
            f"there is no feature service {service[:128]!r} in environment {self.reader.environment!r}",
            hint=did_you_mean(service[:128], names),
            service=service[:128],
            allowed=list(names[:100]),
        )

    async def _in_thread(self, pool: ThreadPoolExecutor, work: Callable[[], Answer]) -> Answer:
        if self._waiting >= self._most:
            text = "the online store is slow, and as many reads wait for it as may"
            raise HttpError("overloaded", text, limit=self._most)
        self._waiting += 1
        try:
            await self._free.acquire()
        finally:
            self._waiting -= 1
        # Begun only where a thread is free: what a request that has met its deadline leaves behind is its running read,
        # which keeps its thread until it ends, and never an entry in a queue.
        future = pool.submit(work)
        future.add_done_callback(partial(self._ended, asyncio.get_running_loop()))
        return await asyncio.wrap_future(future)

    def _ended(self, loop: asyncio.AbstractEventLoop, _future: Future[Answer]) -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(self._free.release)

    def _tell(self, service: str, entities: Columns, request: Columns | None, answer: Answer) -> None:
        try:
            if self._on_read is not None:
                self._on_read(service, entities, request, answer)
        except Exception:  # noqa: BLE001
            _log.exception("serving: the log of requests failed")
