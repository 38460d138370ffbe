"""Events into the stream of a source: `asof push`, `Project.push` and `POST /v1/events` are doors to this.

A batch is appended when all of its events are of the source's form, else nothing of it is; what is told is durable. A
batch that is sent again under its idempotency key is not appended again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from asof.define.source import Events
from asof.define.stream import Kafka, Log
from asof.errors import DataError, StateError
from asof.flows.stream_open import open_source_stream, streamed_source, streamed_sources
from asof.streams.encode import Target, encode_arrow, encode_json, encode_rows
from asof.streams.schema import EventSchema
from asof.streams.stream import Outgoing, Stream

if TYPE_CHECKING:
    from asof.flows.project import Project

LONGEST_KEY = 255
Encode = Callable[[EventSchema, Target], Outgoing]


@dataclass(frozen=True)
class Pushed:
    """What became of a batch: how many events, for each partition the first offset and how many, and whether the batch
    was there already under its idempotency key.
    """

    count: int
    places: Mapping[int, tuple[int, int]] = field(default_factory=dict[int, tuple[int, int]])
    repeated: bool = False


@dataclass(frozen=True)
class SourceStream:
    """A source, its open stream, and what its events may bring."""

    source: Events
    stream: Stream
    schema: EventSchema

    @property
    def target(self) -> Target:
        """Whether the stream takes batches as they come. Keys choose partitions only where there are several."""
        capabilities = self.stream.capabilities
        several = not isinstance(self.source.stream, Log) or self.source.stream.partitions > 1
        split = not capabilities.whole_batches or (several and self.schema.partition_by is not None)
        return Target(split, capabilities.max_event_bytes)

    def append(self, encode: Encode) -> Pushed:
        """Appends what is encoded for this stream.

        Raises:
            DataError: an event is not of the source's form. BackendError: the stream does not take it.
        """
        batch = encode(self.schema, self.target)
        if batch.count == 0:
            return Pushed(0)
        made = self.stream.append(batch)
        if made.repeated and made.places and sum(count for _, count in made.places.values()) != batch.count:
            raise DataError(
                f"source {self.source.name!r}: another batch was appended with this idempotency key, not this one",
                hint="a key stands for one batch; give each its own",
                source=self.source.name,
            )
        return Pushed(made.count, made.places, made.repeated)


def open_pushing(project: Project, name: str) -> SourceStream:
    """The source of a name, with its stream opened; close that when done.

    Raises:
        UnknownName: the project defines no such source. StateError: it has no stream that asof writes to, or no place
            for it. DataError: its history cannot be read. ConfigError, MissingExtra, BackendError: the stream cannot be
            opened.
    """
    source = streamed_source(project, name)
    if isinstance(source.stream, Kafka) and source.stream.format == "avro":
        raise StateError(
            f"source {name!r}: events of its topic are Avro, and asof writes JSON",
            hint="its own producers write to the topic",
            source=name,
        )
    schema = schema_of(project, source)
    return SourceStream(source, open_source_stream(project, source), schema)


def schema_of(project: Project, source: Events) -> EventSchema:
    """What the events of a source may bring: the columns of its history before the derived ones.

    Raises:
        StateError: the source has no stream. DataError: its history cannot be read, or lacks a column of the stream.
    """
    engine = project.engine()
    try:
        return EventSchema.of(source, engine.raw_schema(source))
    finally:
        engine.close()


def push(project: Project, source: str, rows: Any, *, idempotency_key: str | None = None) -> Pushed:
    """Appends events to the stream of a source: all of them, or none.

    Args:
        project: defines the source.
        source: its name.
        rows: a list of mappings, or a table (PyArrow, pandas, Polars).
        idempotency_key: of this batch; a batch that is pushed again under its key is not appended again.

    Raises:
        UnknownName: no such source. StateError: it has no stream. DataError: an event is not of its form; carries
            `event`, its number from 0, and `field`. BackendError: the stream does not take them.
    """
    pusher = Pusher(lambda: project)
    try:
        return pusher.push(source, rows, idempotency_key=idempotency_key)
    finally:
        pusher.close()


class Pusher:
    """Pushes to the sources of a project, whose streams stay open; safe for threads.

    Args:
        open_project: gives the project; called when it is first needed, and after `refresh`.
    """

    def __init__(self, open_project: Callable[[], Project]) -> None:
        self._open_project = open_project
        self._project: Project | None = None
        self._open: dict[str, SourceStream] = {}
        self._old: list[Stream] = []
        self._lock = threading.Lock()
        self._closed = False

    def push(self, source: str, rows: Any, *, idempotency_key: str | None = None) -> Pushed:
        """Appends rows; see `push`."""
        key = check_key(idempotency_key)
        return self.opened(source).append(lambda s, to: encode_rows(rows, s, to, idempotency_key=key))

    def push_texts(
        self, source: str, rows: list[dict[str, str | None]], *, idempotency_key: str | None = None
    ) -> Pushed:
        """Appends rows of texts, as files without types have them."""
        key = check_key(idempotency_key)
        return self.opened(source).append(
            lambda s, to: encode_rows(rows, s, to, text=True, idempotency_key=key)
        )

    def push_json(self, source: str, body: bytes, *, idempotency_key: str | None = None) -> Pushed:
        """Appends a JSON array, or JSON lines."""
        key = check_key(idempotency_key)
        return self.opened(source).append(lambda s, to: encode_json(body, s, to, idempotency_key=key))

    def push_arrow(self, source: str, body: bytes, *, idempotency_key: str | None = None) -> Pushed:
        """Appends an Arrow stream."""
        key = check_key(idempotency_key)
        return self.opened(source).append(lambda s, to: encode_arrow(body, s, to, idempotency_key=key))

    def opened(self, source: str) -> SourceStream:
        """A source with its stream; opened once.

        Raises:
            See `open_pushing`.
        """
        found = self._open.get(source)
        if found is not None:
            return found
        with self._lock:
            if self._closed:
                raise StateError("events are no longer taken: the stream was closed")
            if source not in self._open:
                if self._project is None:
                    self._project = self._open_project()
                self._open[source] = open_pushing(self._project, source)
            return self._open[source]

    def refresh(self) -> None:
        """What is pushed from now on is checked by the definitions as they are now; streams that stay are kept open.

        Raises:
            AsofError: the project's code cannot be loaded; everything stays as it was.
        """
        with self._lock:
            if self._project is None:
                return
            project = self._open_project()
            kept: dict[str, SourceStream] = {}
            sources = streamed_sources(project)
            for name, each in self._open.items():
                source = sources.get(name)
                if source is not None and source.stream == each.source.stream:
                    kept[name] = SourceStream(source, each.stream, schema_of(project, source))
                else:
                    self._old.append(each.stream)  # an append may be going on
            self._project, self._open = project, kept

    def close(self) -> None:
        """Closes all streams."""
        with self._lock:
            self._closed = True
            waiting = [each.stream for each in self._open.values()] + self._old
            self._open, self._old = {}, []
        for each in waiting:
            each.close()


def check_key(key: str | None) -> str | None:
    """The idempotency key.

    Raises:
        DataError: it is empty, too long, or not of visible ASCII.
    """
    if key is None or (0 < len(key) <= LONGEST_KEY and key.isascii() and key.isprintable()):
        return key
    raise DataError("idempotency key: not 1 to 255 visible characters of ASCII", hint="such as a UUID")
