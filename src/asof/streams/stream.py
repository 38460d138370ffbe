"""The seam of streams: one source's events, appended by anybody, and read in order by workers that share them.

A stream knows bytes, offsets and times; `decode.py` makes columns of bytes, and what an event means is said in flows.
Every stream passes one contract suite, `asof.testing.streams`. Which streams there are is the table of entry points
`asof.streams` in pyproject.toml, by the names of the records in `define/stream.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from asof.compute.arrays import Ints

Form = Literal["json", "arrow", "avro"]
"""How events are written: JSON objects; an Arrow IPC stream; Avro with the schema's number before it."""


@dataclass(frozen=True)
class Capabilities:
    """What a stream can do, as data.

    Args:
        embedded: it lives in the process, and its appends cost no round trip.
        dense: offsets count events, so that the difference of two is a number of events.
        whole_batches: a batch without keys may be appended as it came (`Outgoing.body`); else event by event.
        max_event_bytes: the largest event that it takes.
    """

    embedded: bool
    dense: bool
    whole_batches: bool
    max_event_bytes: int


@dataclass(frozen=True)
class Outgoing:
    """Events to append: `count` of them, written as `form`.

    Args:
        count: how many.
        form: how they are written.
        body: all of them in one: a JSON array, JSON lines, or an Arrow IPC stream; None where `events` are given.
        events: each for itself, one JSON object (or Avro datum) each.
        keys: the bytes whose hash chooses each event's partition; events of equal keys stay in order. None: any.
        idempotency_key: a batch with a key that was appended already, and not long ago, is not appended again.
    """

    count: int
    form: Form
    body: bytes | None = None
    events: Sequence[bytes] | None = None
    keys: Sequence[bytes] | None = None
    idempotency_key: str | None = None


@dataclass(frozen=True)
class Appended:
    """What became of a batch: for each partition the first offset and how many events; `repeated`: a batch with this
    idempotency key was there already, and these are its places (none where the stream does not know them any more).
    """

    count: int
    places: Mapping[int, tuple[int, int]] = field(default_factory=dict[int, tuple[int, int]])
    repeated: bool = False


@dataclass(frozen=True)
class Chunk:
    """Events of one partition that were read together, in the order of their offsets.

    Shape: `offsets` and `stamps_us` `(n,)`: each event's place, and when the stream took it.

    Args:
        form: how the events are written.
        body: n events in one (a JSON array, JSON lines, an Arrow IPC stream); None where `events` are given.
        events: each for itself.
        skip: so many events at the beginning of `body` are not part of the chunk (offsets start after them).
    """

    partition: int
    offsets: Ints
    stamps_us: Ints
    form: Form
    body: bytes | None = None
    events: Sequence[bytes] = ()
    skip: int = 0

    @property
    def next_offset(self) -> int:
        """The offset after the last event."""
        return int(self.offsets[-1]) + 1


@dataclass(frozen=True)
class Ends:
    """What a partition holds: the first offset that is still there, the offset after its newest event, and when the
    newest was taken (None: nothing was, or the stream does not tell).
    """

    first: int
    next: int
    newest_us: int | None = None


@dataclass(frozen=True)
class Polled:
    """What a follower has got: chunks, and which partitions became its own or another's since the last time."""

    chunks: Sequence[Chunk] = ()
    gained: Sequence[int] = ()
    lost: Sequence[int] = ()


class Follower(Protocol):
    """One worker's share of a stream. All methods are called by one thread."""

    def poll(self, timeout_s: float, most: int) -> Polled:
        """Waits until there is something, at most so long, and gives about `most` events at once (whole chunks).

        A partition that was gained gives nothing before `seek` says where to begin. Chunks come in order, without gaps
        but for offsets that the stream itself skips.
        """
        ...

    def seek(self, partition: int, offset: int) -> None:
        """The next chunk of a partition begins at this offset, or at the first that is still there."""
        ...

    def commit(self, offsets: Mapping[int, int]) -> None:
        """Tells the stream how far its events have been dealt with; for others to see, nothing is read from it."""
        ...

    def close(self) -> None:
        """Gives the partitions back."""
        ...


class Stream(Protocol):
    """Safe to use from several threads and processes. All methods raise `BackendError` (`retryable` where the same
    call may succeed later) within a deadline.
    """

    @property
    def capabilities(self) -> Capabilities:
        """What the stream can do."""
        ...

    def append(self, batch: Outgoing) -> Appended:
        """Appends events, all or (of one partition) none; durable when it returns, as far as the stream promises."""
        ...

    def ends(self) -> dict[int, Ends]:
        """Each partition and what it holds."""
        ...

    def read(self, partition: int, offset: int, most: int) -> list[Chunk]:
        """About `most` events from an offset on, or from the first that is still there; empty at the end."""
        ...

    def find(self, partition: int, at_us: int) -> int:
        """The offset of the first event that was taken at an instant or later; the next offset where there is none."""
        ...

    def follow(self, group: str) -> Follower:
        """Takes part in a group of workers, each of which gets some of the partitions; every partition has one
        follower of a group at a time, as far as the stream can tell.
        """
        ...

    def close(self) -> None:
        """Lets go of connections and files; closing twice is no error."""
        ...
