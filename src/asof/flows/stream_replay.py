"""Replay: events that have landed are applied to records again, because a checkpoint says that they are not yet.

Only checkpoints are changed here; the worker that runs, or the next one, does the work. What a record holds already
changes nothing in it, so that a replay is harmless, and heals records that were lost.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow.parquet as pq

from asof.compute.arrow_ops import ints
from asof.define.feature_view import FeatureView
from asof.define.fingerprint import fingerprint
from asof.define.source import Events
from asof.engines.landed import OFFSET
from asof.errors import BackendError, StateError, UnknownName, did_you_mean
from asof.flows.stream_checkpoint import Checkpoint, Checkpoints
from asof.flows.stream_landing import first_landed, landed_chain
from asof.flows.stream_open import open_source_stream, views_of_source
from asof.online.store import OnlineStore
from asof.registry.state import namespace_of

if TYPE_CHECKING:
    from asof.flows.project import Project

_ROUNDS = 50


@dataclass(frozen=True)
class Begin:
    """Where a replay begins: at an offset, or at the events that were known at an instant or later; one of them."""

    offset: int | None = None
    known_us: int | None = None


@dataclass(frozen=True)
class PartitionReplay:
    """What will be read again of a partition.

    Args:
        start: from this offset on.
        next: up to this one; what comes behind it lies in the stream, and is read anyway.
        events: so many landed events are between them.
        skipped: so many events the stream has forgotten that no worker has seen; they are given up.
    """

    partition: int
    start: int
    next: int
    events: int = 0
    skipped: int = 0


def replay(
    project: Project,
    store: OnlineStore,
    source: Events,
    begin: Begin | None,
    *,
    views: Sequence[str] | None = None,
    partition: int | None = None,
    skip: bool = False,
) -> list[PartitionReplay]:
    """Has landed events applied again; gives what that will be, partition by partition.

    Args:
        project: defines the source.
        store: where its checkpoints are.
        source: what is replayed.
        begin: where; None: nothing is applied again, for a `skip` alone.
        views: names of views; default: all that are read online and get rows of the source.
        partition: only this one.
        skip: go on behind events that the stream has forgotten.

    Raises:
        UnknownName: no such view. StateError: no worker has come to the source, or to the partition, yet.
        BackendError: the store or the stream cannot be reached.
    """
    if project.landing is None:
        raise StateError("a project in memory has no place for streams", hint="Project(..., folder=...)")
    names = [namespace_of(fingerprint(each)) for each in _views(project, source, views)]
    checkpoints = Checkpoints(store, source.name)
    taken = sorted(checkpoints.all())
    if not taken or (partition is not None and partition not in taken):
        where = "" if partition is None else f", partition {partition}"
        raise StateError(
            f"source {source.name!r}{where}: no worker has come yet, so that nothing was applied",
            hint="`asof stream` reads all that the stream holds",
            source=source.name,
        )
    firsts = _firsts(project, source) if skip else {}
    folder = project.landing / source.name
    return [
        _Replay(checkpoints, folder, names, begin, firsts.get(each)).run(each)
        for each in ([partition] if partition is not None else taken)
    ]


def _views(project: Project, source: Events, names: Iterable[str] | None) -> list[FeatureView]:
    found = {each.name: each for each in views_of_source(project, source)}
    for name in names or ():
        if name not in found:
            raise UnknownName(
                f"no view {name!r} is read online and gets rows of source {source.name!r}",
                hint=did_you_mean(name, found),
                name=name,
                kind="feature_view",
            )
    return list(found.values()) if names is None else [found[name] for name in dict.fromkeys(names)]


def _firsts(project: Project, source: Events) -> dict[int, int]:
    """The first offset that each partition of a stream still holds."""
    stream = open_source_stream(project, source)
    try:
        return {partition: ends.first for partition, ends in stream.ends().items()}
    finally:
        stream.close()


@dataclass(frozen=True)
class _Replay:
    """The replay of one partition; `first` is the first offset to go on at, None without a skip."""

    checkpoints: Checkpoints
    folder: Path
    namespaces: Sequence[str]
    begin: Begin | None
    first: int | None

    def run(self, partition: int) -> PartitionReplay:
        """Changes the checkpoint as it is now, whoever writes it meanwhile."""
        for _ in range(_ROUNDS):
            before = self.checkpoints.find(partition) or Checkpoint(partition, "")
            skipped = self._skipped(before)
            start = before.next if self.begin is None else self._start(before, self.begin)
            if self._save(before, self._made(before, start, skipped)):
                events = _count_landed(self.folder, partition, start, before.next)
                return PartitionReplay(partition, start, before.next, events, skipped)
        raise BackendError(
            "the checkpoint of the stream changes all the time", hint="try again", retryable=True
        )

    def _save(self, before: Checkpoint, after: Checkpoint) -> bool:
        return before == after or self.checkpoints.save(before, after)

    def _skipped(self, before: Checkpoint) -> int:
        return 0 if self.first is None or before.next == 0 else max(0, self.first - before.next)

    def _start(self, before: Checkpoint, begin: Begin) -> int:
        if begin.offset is not None:
            return min(begin.offset, before.next)
        first = first_landed(self.folder, before.partition, max(0, begin.known_us or 0))
        return before.next if first is None else min(first, before.next)

    def _made(self, before: Checkpoint, start: int, skipped: int) -> Checkpoint:
        end = before.next + skipped
        views = {name: end if at == before.next else at for name, at in before.views.items()}
        if start < before.next:
            views |= {name: min(start, views.get(name, start)) for name in self.namespaces}
        return replace(before, next=end, views=views)


def _count_landed(folder: Path, partition: int, start: int, end: int) -> int:
    """How many events have landed with offsets in `[start, end)`."""
    count = 0
    for file, path in landed_chain(folder, partition):
        if file.end <= start or file.start >= end:
            continue
        if start <= file.start and file.end <= end:
            count += pq.read_metadata(path).num_rows
            continue
        offsets = ints(pq.read_table(path, columns=[OFFSET])[OFFSET])
        count += int(np.count_nonzero((offsets >= start) & (offsets < end)))
    return count
