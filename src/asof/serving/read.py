"""The one way from a route to the online store: where a read runs, how many may run, and what is counted about it.

A read of few entities from an embedded store takes microseconds and runs in the event loop; any other runs in a pool
of threads before which only so many may wait, so that memory does not grow while a store is slow. So does the look at
a service's description, which asks the store as well.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, TypeVar

from asof.errors import AsofError, DataError, DefinitionError, UnknownName, did_you_mean
from asof.flows.answer import Answer
from asof.flows.online_service import ServiceInfo
from asof.serving.cells import IdentityCache
from asof.serving.failures import HttpError, trace_of
from asof.serving.metrics import Metrics
from asof.serving.reader import Reader
from asof.serving.selection import Selections
from asof.serving.tracing import Tracer

Columns = Mapping[str, Sequence[Any]]
OnRead = Callable[[str, Columns, Columns | None, Answer], None]
"""Told of every answer: service, entities, request columns and answer; for a log that is replayed in search of skew."""
T = TypeVar("T")

_log = logging.getLogger(__name__)
MANY = 200
"""More entities than this are read in a thread, also from an embedded store."""
_WAITING = 4
"""Reads that may wait for a thread, for each thread."""
_EMBEDDED_THREADS, _EMBEDDED_WAITING = 2, 32
_BELIEVED_S = 1.0  # a service's description; the next materialization is seen after it
_FAILED_S = 0.2  # that there is none, so that a store that is down is not asked by each request in turn
_ATTEMPTS = 3


class Moved(HttpError):
    """The service has changed between the look at its description and the read."""

    def __init__(self, service: str) -> None:
        super().__init__("service_changed", f"service {service!r} changes; ask again", service=service)


@dataclass(frozen=True)
class _Described:
    """A service's description or why there is none, of which revision it is, and until when it is believed."""

    told: ServiceInfo | Exception
    revision: int | None
    until: float


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
        self._described: dict[str, _Described] = {}
        self._describing: dict[str, asyncio.Task[_Described]] = {}
        self._selections = Selections()
        self._embedded = reader.embedded
        self._threads = _EMBEDDED_THREADS if self._embedded else threads
        self._most = self._threads * (_EMBEDDED_WAITING if self._embedded else _WAITING)
        self._free = asyncio.Semaphore(self._threads)
        self._waiting = 0
        self._pool: ThreadPoolExecutor | None = None

    async def read(
        self,
        service: str,
        entities: Columns,
        request: Columns | None = None,
        at: datetime | None = None,
        columns: Sequence[str] | None = None,
        described: ServiceInfo | None = None,
    ) -> Answer:
        """The answer of one read.

        Raises:
            HttpError: there is no such service, or too many reads wait. Moved: it is no longer what was `described`.
            What the reader raises.
        """
        loop = asyncio.get_running_loop()
        begun = loop.time()
        work = partial(self.reader.read, service, entities, request, at)
        inline = self._embedded and len(next(iter((entities or request or {}).values()), ())) <= MANY
        try:
            if inline and not self._tracer.enabled:
                answer = work()
            else:
                with self._tracer.read(service):
                    answer = work() if inline else await self._in_thread(work)
        except UnknownName as exc:
            if self.known(service):
                raise
            raise self._no_service(service) from exc
        if described is not None and described.names != answer.names:
            self._described.pop(service, None)
            raise Moved(service)
        self._metrics.observe_read(answer, loop.time() - begun)
        if self._on_read is not None:
            self._tell(service, entities, request, answer)
        return answer if columns is None else self._selections.select(answer, tuple(columns))

    async def settled(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """What an attempt gives that looks at descriptions and reads: made anew where a reload came in between.

        Raises:
            Moved: a reload has come in between each time. What the attempt raises.
        """
        for _ in range(_ATTEMPTS - 1):
            revision = self.reader.revision
            try:
                made = await attempt()
                if revision == self.reader.revision:
                    return made
            except Moved:
                continue
            except (DefinitionError, DataError):  # of a request that the new description may take
                if revision == self.reader.revision:
                    raise
        return await attempt()

    async def aside(self, entities: int, work: Callable[[], T]) -> T:
        """What the work on an answer of so many entities gives; that on many does not keep the event loop."""
        return work() if entities <= MANY else await self._in_thread(work)

    def known(self, service: str) -> str:
        """The name, if a service has it, else an empty text: labels of metrics have to be bounded."""
        return service if service in self._names(self.reader.services()) else ""

    async def describe(self, service: str) -> ServiceInfo:
        """One service. Whoever asks while another asks for the same waits for one look at the store.

        Raises:
            HttpError: there is none of this name; the hint has the nearest. What the reader raises.
        """
        found = self._described.get(service)
        now = asyncio.get_running_loop().time()
        if found is None or now >= found.until or found.revision != self.reader.revision:
            if not self.known(service):
                raise self._no_service(service)
            task = self._describing.get(service)
            if task is None:
                task = self._describing[service] = asyncio.create_task(self._look(service))
                task.add_done_callback(lambda _: self._describing.pop(service, None))
            found = await asyncio.shield(task)  # for the others it goes on past this request's deadline
        if isinstance(found.told, AsofError | HttpError):
            raise found.told.with_traceback(None)  # raised again and again, it would grow
        if isinstance(found.told, Exception):
            raise found.told
        return found.told

    async def _look(self, service: str) -> _Described:
        """Asks the reader, and keeps what it says."""
        revision, kept_s = self.reader.revision, _FAILED_S
        work = partial(self.reader.describe, service)
        try:
            told = work() if self._embedded else await self._in_thread(work)
            kept_s = _BELIEVED_S
        except UnknownName:
            told = self._no_service(service)
        except AsofError as exc:
            told = exc
        except Exception as exc:  # noqa: BLE001
            told, kept_s = exc, 0.0
        found = _Described(told, revision, asyncio.get_running_loop().time() + kept_s)
        self._described[service] = found
        return found

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

    async def _in_thread(self, work: Callable[[], T]) -> T:
        if self._waiting >= self._most:
            text = "the online store is slow, and as many reads wait for it as may"
            raise HttpError("overloaded", text, limit=self._most)
        self._waiting += 1
        try:
            await self._free.acquire()
        finally:
            self._waiting -= 1
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="asof-read")
        # Begun only where a thread is free: what a request that has met its deadline leaves behind is its running read,
        # which keeps its thread until it ends, and never an entry in a queue.
        future = self._pool.submit(work)
        future.add_done_callback(partial(self._ended, asyncio.get_running_loop()))
        return await asyncio.wrap_future(future)

    def _ended(self, loop: asyncio.AbstractEventLoop, _future: Future[Any]) -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(self._free.release)

    def _tell(self, service: str, entities: Columns, request: Columns | None, answer: Answer) -> None:
        try:
            if self._on_read is not None:
                self._on_read(service, entities, request, answer)
        except Exception as exc:  # noqa: BLE001
            self._metrics.lost_reads.inc()
            _log.error("serving: the log of requests failed: %s", trace_of(exc))
