"""`POST /v1/events/SOURCE`: events for the stream of a source, answered when they are durable.

Checks and appends run in threads, for an append waits for the disk or the network; a log puts what several threads
append at once into one write. Only so many may wait. A request that meets its deadline leaves its append behind, which
may still succeed: an idempotency key makes it safe to send again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from urllib.parse import unquote

import msgspec

from asof.errors import StateError, UnknownName
from asof.flows.push import Pushed, Pusher, check_key
from asof.serving.answer_arrow import MEDIA_TYPE
from asof.serving.exchange import JSON, Reply, Request, Route, decode, media_of
from asof.serving.failures import HttpError
from asof.serving.metrics import Metrics
from asof.streams.decode import is_array

NDJSON_TYPE = "application/x-ndjson"
_NDJSON, _ARROW = NDJSON_TYPE.encode(), MEDIA_TYPE.encode()
_WAITING = 8
"""Batches that may wait for a thread, for each thread."""
_LONGEST_NAME = 128


class EventsRequest(msgspec.Struct, forbid_unknown_fields=True):
    """The body where it is an object: `{"events": [...]}`."""

    events: msgspec.Raw


_DECODER = msgspec.json.Decoder(EventsRequest)
_encode = msgspec.json.Encoder().encode


class EventRoutes:
    """The route that takes events.

    Args:
        pusher: appends them; without one no source is known.
        metrics: what is counted.
        threads: how many batches may be appended at once.
    """

    def __init__(self, pusher: Pusher | None, metrics: Metrics, *, threads: int) -> None:
        self._pusher = pusher
        self._metrics = metrics
        self._threads = threads
        self._free = asyncio.Semaphore(threads)
        self._waiting = 0
        self._pool: ThreadPoolExecutor | None = None

    def routes(self) -> tuple[Route, ...]:
        """The route."""
        return (Route("/v1/events/", {"POST": self.push}, media=(JSON, _NDJSON, _ARROW)),)

    async def push(self, request: Request) -> Reply:
        """Appends the events of a body: all of them, or none."""
        loop = asyncio.get_running_loop()
        begun = loop.time()
        source = unquote(request.path.rpartition("/")[2])
        key = _key_of(request)
        media = media_of(request.headers.get(b"content-type"))
        body = request.body if media in {_NDJSON, _ARROW} else events_of(request.body)
        made = await self._in_thread(partial(self._append, source, body, media, key))
        request.service, request.entities = source, made.count
        self._metrics.observe_push(source, made.count, loop.time() - begun, repeated=made.repeated)
        return Reply(_encode({"count": made.count, "repeated": made.repeated, "offsets": dict(made.places)}))

    def close(self) -> None:
        """Waits for no append, and closes the streams."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
        if self._pusher is not None:
            self._pusher.close()

    def _append(self, source: str, body: bytes, media: bytes, key: str | None) -> Pushed:
        pusher = self._opened(source)
        append = pusher.push_arrow if media == _ARROW else pusher.push_json
        return append(source, body, idempotency_key=key)

    def _opened(self, source: str) -> Pusher:
        """What appends to a source.

        Raises:
            HttpError: there is no such source, or it has no stream.
        """
        shown = source[:_LONGEST_NAME]
        if self._pusher is None:
            raise HttpError("not_found", f"there is no source {shown!r}", source=shown)
        try:
            self._pusher.opened(source)
        except UnknownName as exc:
            raise HttpError(
                "not_found", f"there is no source {shown!r}", hint=exc.hint, source=shown
            ) from exc
        except StateError as exc:
            if type(exc) is not StateError:
                raise
            raise HttpError("no_stream", exc.message, hint=exc.hint, source=shown) from exc
        return self._pusher

    async def _in_thread(self, work: Callable[[], Pushed]) -> Pushed:
        most = self._threads * _WAITING
        if self._waiting >= most:
            raise HttpError(
                "overloaded", "the stream is slow, and as many batches wait for it as may", limit=most
            )
        self._waiting += 1
        try:
            await self._free.acquire()
        finally:
            self._waiting -= 1
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="asof-push")
        future = self._pool.submit(work)
        future.add_done_callback(partial(self._ended, asyncio.get_running_loop()))
        return await asyncio.wrap_future(future)

    def _ended(self, loop: asyncio.AbstractEventLoop, _future: Future[Pushed]) -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(self._free.release)


def events_of(body: bytes) -> bytes:
    """The array of events of a JSON body: the body itself, or what stands in it as `events`.

    Raises:
        HttpError: it is neither.

    Example:
        >>> events_of(b'[{"n": 1}]'), events_of(b'{"events": [{"n": 1}]}')
        (b'[{"n": 1}]', b'[{"n": 1}]')
    """
    if is_array(body):
        return body
    found = bytes(decode(_DECODER, body).events)
    if not is_array(found):
        raise HttpError("bad_request", "the body is no array of events", hint='{"events": [...]}')
    return found


def _key_of(request: Request) -> str | None:
    seen = request.headers.get(b"idempotency-key")
    return None if seen is None else check_key(seen.decode("latin-1"))
