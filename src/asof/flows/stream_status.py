"""How far the workers of streams have come: partition by partition, and for each view against its objective.

All of it is read from what streams hold and from what workers have noted (`stream_checkpoint.py`), so that it is told
also where no worker is running. Lag is told in events where a stream's offsets count them, and in time: how long the
first event that is not in the records has been waiting.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from asof.define.feature_view import FeatureView
from asof.define.fingerprint import fingerprint
from asof.define.source import Events
from asof.define.window import BEGIN_US
from asof.errors import BackendError, ConfigError, MissingExtra
from asof.flows.stream_checkpoint import Checkpoint, Checkpoints
from asof.flows.stream_open import open_source_stream, streamed_source, streamed_sources, views_of_source
from asof.online.store import OnlineStore
from asof.registry.state import namespace_of
from asof.streams.stream import Ends, Stream

if TYPE_CHECKING:
    from asof.flows.project import Project

_LIVE_US = 5_000_000  # a worker tells once a second where it is


@dataclass(frozen=True)
class PartitionStatus:
    """How far a partition has come.

    Args:
        next: the offset after the last event that is in the records.
        end: the offset after the newest event; None where the stream cannot be reached.
        lag_events: how many events wait; None where offsets do not count events, or the stream cannot be reached.
        lag_us: how long the first of them has waited, 0 where none does; None where the stream cannot be reached.
        forgotten: so many events has the stream forgotten before a worker has seen them.
        known_us: all that was known before it is in the records; None where no worker has come yet.
        is_live: a worker is at it.
        events_per_s: how many events it dealt with in its last second.
        counts: `events`, `dead`, `late`, `repeated` and more, since the first worker.
    """

    partition: int
    next: int = 0
    end: int | None = None
    lag_events: int | None = None
    lag_us: int | None = None
    forgotten: int = 0
    known_us: int | None = None
    is_live: bool = False
    events_per_s: float = 0.0
    counts: Mapping[str, int] = field(default_factory=dict[str, int])


@dataclass(frozen=True)
class ViewStatus:
    """How fresh a view is, as far as one source goes.

    Args:
        age_us: how long the first event that its records do not hold has waited, at most; None where no worker has
            come to the view yet.
        freshness_us: its objective.
        waiting: so many offsets of landed events will be applied again (`asof stream replay`).
    """

    view: str
    age_us: int | None
    freshness_us: int | None = None
    waiting: int = 0

    @property
    def is_late(self) -> bool:
        """True where it has an objective and does not meet it."""
        return self.freshness_us is not None and (self.age_us is None or self.age_us > self.freshness_us)


@dataclass(frozen=True)
class SourceStatus:
    """How far the workers of a source have come; `problem` says why its stream cannot be reached."""

    source: str
    partitions: tuple[PartitionStatus, ...]
    views: tuple[ViewStatus, ...]
    problem: str | None = None

    @property
    def lag_events(self) -> int | None:
        """How many events wait in all partitions; None where that is not known."""
        lags = [each.lag_events for each in self.partitions]
        return None if self.problem is not None or None in lags else sum(lag for lag in lags if lag)

    @property
    def lag_us(self) -> int | None:
        """How long the first event that is not in the records has waited; None where that is not known."""
        return (
            None
            if self.problem is not None
            else max((each.lag_us or 0 for each in self.partitions), default=0)
        )

    def count(self, name: str) -> int:
        """A count over all partitions."""
        return sum(each.counts.get(name, 0) for each in self.partitions)


def read_statuses(project: Project, store: OnlineStore, sources: Iterable[str] | None) -> list[SourceStatus]:
    """How far the workers of these sources have come, or of all that have a stream.

    Raises:
        UnknownName: no such source. StateError: it has no stream. BackendError: the store cannot be reached.
    """
    found = list(streamed_sources(project).values())
    if sources is not None:
        found = [streamed_source(project, name) for name in dict.fromkeys(sources)]
    return [read_status(project, store, source) for source in found]


def read_status(
    project: Project, store: OnlineStore, source: Events, stream: Stream | None = None
) -> SourceStatus:
    """How far the workers of a source have come.

    Args:
        project: defines the source.
        store: where its checkpoints are.
        source: who is looked at.
        stream: its stream, where it is open already.

    Raises:
        BackendError: the store cannot be reached.
    """
    reading = _Reading(Checkpoints(store, source.name), project.clock.now_us())
    problem, opened = None, stream
    try:
        opened = opened or open_source_stream(project, source)
        ends = opened.ends()
        partitions = [reading.partition(each, opened, ends.get(each)) for each in reading.names(ends)]
    except (BackendError, ConfigError, MissingExtra) as exc:
        problem = exc.message
        partitions = [reading.partition(each, None, None) for each in reading.names(())]
    finally:
        if stream is None and opened is not None:
            opened.close()
    views = [reading.view(each, partitions) for each in views_of_source(project, source)]
    return SourceStatus(source.name, tuple(partitions), tuple(views), problem)


class _Reading:
    """What workers have noted of a source."""

    def __init__(self, checkpoints: Checkpoints, now_us: int) -> None:
        self._now_us = now_us
        self._checkpoints: dict[int, Checkpoint] = checkpoints.all()
        self._notes: dict[int, dict[str, Any]] = checkpoints.notes()

    def names(self, found: Iterable[int]) -> list[int]:
        """The partitions that there are, or that a worker has taken."""
        return sorted({*found, *self._checkpoints})

    def partition(self, partition: int, stream: Stream | None, ends: Ends | None) -> PartitionStatus:
        """How far a partition is; without a stream only what workers know."""
        checkpoint = self._checkpoints.get(partition) or Checkpoint(partition, "")
        note = self._notes.get(partition, {})
        if note.get("next", -1) < checkpoint.next:  # the stream has been skipped since
            note = {"at_us": note.get("at_us", 0)}
        at = int(note.get("next", checkpoint.next))
        known_us = max(checkpoint.known_us, int(note.get("known_us", BEGIN_US)))
        is_live = self._now_us - int(note.get("at_us", 0)) < _LIVE_US
        lag_events = lag_us = None
        forgotten = 0
        if stream is not None and ends is not None:
            lag_us = self._waited(partition, stream, ends, at)
            if stream.capabilities.dense:
                lag_events, forgotten = max(0, ends.next - at), max(0, ends.first - at)
        return PartitionStatus(
            partition,
            at,
            None if ends is None else ends.next,
            lag_events,
            lag_us,
            forgotten,
            known_us if known_us > BEGIN_US else None,
            is_live,
            float(note.get("events_per_s", 0.0)) if is_live else 0.0,
            note.get("counts", checkpoint.counts),
        )

    def _waited(self, partition: int, stream: Stream, ends: Ends, at: int) -> int:
        if ends.next <= at:
            return 0
        chunks = stream.read(partition, at, 1)
        return max(0, self._now_us - int(chunks[0].stamps_us[0])) if chunks else 0

    def view(self, view: FeatureView, partitions: Iterable[PartitionStatus]) -> ViewStatus:
        """How fresh a view is."""
        namespace, waiting = namespace_of(fingerprint(view)), 0
        ages: list[int | None] = [0]
        for each in partitions:
            checkpoint = self._checkpoints.get(each.partition)
            if checkpoint is not None and namespace in checkpoint.views:
                waiting += max(0, checkpoint.next - checkpoint.views[namespace])
            elif checkpoint is not None and checkpoint.next:  # others have been applied, and this one has not
                ages.append(None)
            age_us = each.lag_us
            if age_us is None and each.known_us is not None:
                age_us = max(0, self._now_us - each.known_us)
            ages.append(age_us)
        age_us = None if None in ages else max(age for age in ages if age is not None)
        return ViewStatus(view.name, age_us, view.freshness_us, waiting)
