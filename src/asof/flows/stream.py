"""The worker of a stream: events in, fresh records out, and the same events landed in the history.

Around `Applier.apply` this is the loop: poll, decode, judge, apply, land, and now and then a checkpoint. Everything
before the last checkpoint is done; what came after it is read again by whoever goes on, and changes nothing that was
done. Nothing is lost with a worker: it holds no state but buffers.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import pyarrow as pa

from asof.clock import Clock
from asof.compute.arrays import Ints
from asof.compute.arrow_ops import kept
from asof.define.window import BEGIN_US
from asof.errors import BackendError, StateError
from asof.flows.stream_apply import Applier, ViewReceipt
from asof.flows.stream_checkpoint import Checkpoint, Checkpoints
from asof.flows.stream_dead import DeadLetters
from asof.flows.stream_events import Dead, EventBatch, Judge, events_of, known_times, with_known
from asof.flows.stream_landing import (
    Lander,
    first_landed,
    hour_of,
    landed_batches,
    landed_chain,
    merge_hours,
)
from asof.online.codec import Meta
from asof.online.store import META_KEY
from asof.streams.decode import Avro, decode
from asof.streams.schema import EventSchema
from asof.streams.stream import Chunk, Follower, Stream

_NOTE_US = 1_000_000
_RETRY_S = 0.2
_LONGEST_RETRY_S = 5.0
_IDLE = 6  # polls without an event, before it is asked whether there is one


@dataclass(frozen=True)
class Limits:
    """How a worker works: events in one batch; how long events may wait to be landed, and how many of them; how far
    back records stay readable; how often it notes for others how far it is.
    """

    batch_events: int = 50_000
    land_us: int = 10_000_000
    land_events: int = 200_000
    history_us: int = 3_600_000_000
    note_us: int = _NOTE_US


class Watch(Protocol):
    """What a worker tells about its work, for metrics; of one source, from one thread."""

    def applied(
        self, source: str, batch: EventBatch, views: dict[str, ViewReceipt], servable_us: Ints
    ) -> None:
        """A batch is in the records; `servable_us` is how long after each event was taken it could be served."""
        ...

    def dead(self, source: str, count: int) -> None:
        """So many events could not be used."""
        ...


@dataclass
class _Partition:
    """What a worker knows of a partition that is its own."""

    checkpoint: Checkpoint
    next: int
    known_us: int
    counts: dict[str, int]
    noted_us: int = 0
    noted_events: int = 0
    landed_us: int = 0


@dataclass
class SourceWorker:
    """Follows the stream of one source; for one thread."""

    stream: Stream
    schema: EventSchema
    applier: Applier
    judge: Judge
    checkpoints: Checkpoints
    dead_letters: DeadLetters
    landing: Path
    clock: Clock
    limits: Limits = field(default_factory=Limits)
    watch: Watch | None = None
    group: str = "asof"
    avro: Avro | None = None

    def __post_init__(self) -> None:
        self.owner = uuid.uuid4().hex
        self.source = self.applier.source
        self._lander = Lander(self.landing / self.source.name, self.source)
        self._types = self.schema.arrow
        self._partitions: dict[int, _Partition] = {}
        self._wanted: set[int] = set()
        self._follower: Follower | None = None
        self._total = max(1, len(self.stream.ends()))

    def step(self, timeout_s: float = 0.0) -> int:
        """Polls once, and deals with what came; gives how many events that were.

        Raises:
            BackendError: the stream or a store failed; `retryable` says whether trying again may help. Nothing is lost.
        """
        if self._follower is None:
            self._follower = self.stream.follow(self.group)
        before_us = self.clock.now_us()
        polled = self._follower.poll(timeout_s, self.limits.batch_events)
        for partition in polled.lost:
            self._lose(partition)
        self._wanted |= {*polled.gained}
        for partition in sorted(self._wanted):
            self._try_gain(partition)
        done = 0
        by_partition: dict[int, list[Chunk]] = {}
        for chunk in polled.chunks:
            by_partition.setdefault(chunk.partition, []).append(chunk)
        try:
            for partition, chunks in by_partition.items():
                if partition in self._partitions:
                    done += self._again(lambda p=partition, c=chunks: self._deal_with(p, c))
        except BaseException:
            for (
                partition,
                state,
            ) in self._partitions.items():  # who calls again gets again what was not dealt with
                self._follower.seek(partition, state.next)
            raise
        for partition in list(self._partitions):
            quiet = partition not in by_partition
            self._maybe_commit(partition, before_us, quiet=quiet, empty=not by_partition)
        return done

    def flush(self) -> None:
        """Lands and checkpoints all that was applied."""
        for partition in list(self._partitions):
            self._commit(partition)

    def close(self) -> None:
        """Lands, checkpoints, and gives the partitions back."""
        try:
            self.flush()
            for partition, state in self._partitions.items():
                self._note(partition, 0, state.known_us)  # nobody is at it any more
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Stops as if killed, but gives the partitions back."""
        if self._follower is not None:
            self._follower.close()
            self._follower = None
        self._partitions.clear()
        self._wanted.clear()

    def has_caught_up(self) -> bool:
        """Whether all that the stream holds now was dealt with, by this worker or (as checkpoints tell) by others."""
        ends = self.stream.ends()
        others = self.checkpoints.all() if ends.keys() - self._partitions.keys() else {}
        for partition, end in ends.items():
            known = self._partitions.get(partition) or others.get(partition)
            at = 0 if known is None else known.next
            if at < end.next and self.stream.read(partition, at, 1):
                return False
        return True

    def _again(self, work: Callable[[], int]) -> int:
        """Does something again that may be done twice, while a back end says that trying again may help."""
        wait_s, since = _RETRY_S, time.monotonic()
        while True:
            try:
                return work()
            except BackendError as exc:
                if not exc.retryable or time.monotonic() - since > 60:
                    raise
                time.sleep(wait_s)
                wait_s = min(2 * wait_s, _LONGEST_RETRY_S)

    def _try_gain(self, partition: int) -> None:
        """Takes a partition that is given to this worker; where another one comes between, it is tried again."""
        with suppress(_Lost):
            self._gain(partition)
            self._wanted.discard(partition)

    def _gain(self, partition: int) -> None:
        checkpoint = self.checkpoints.take(partition, self.owner)
        checkpoint = self._catch_up(self._begun(checkpoint))
        self._partitions[partition] = _Partition(
            checkpoint,
            checkpoint.next,
            checkpoint.known_us,
            dict(checkpoint.counts),
            landed_us=self.clock.now_us(),
        )
        first = self.stream.ends()[partition].first
        if checkpoint.next < first and self.stream.capabilities.dense and checkpoint.next:
            raise StateError(
                f"source {self.source.name!r}: its stream has forgotten events {checkpoint.next} to {first - 1} of "
                f"partition {partition}, which no worker has seen",
                hint="`asof stream replay` with --skip goes on behind them; a longer retention avoids it",
                partition=partition,
            )
        assert_follower(self._follower).seek(partition, checkpoint.next)

    def _begun(self, checkpoint: Checkpoint) -> Checkpoint:
        """A new checkpoint goes on behind what has landed: this store has lost its own, or is another one."""
        if checkpoint.next:
            return checkpoint
        folder = self.landing / self.source.name
        files = [file for file, _ in landed_chain(folder, checkpoint.partition)]
        if not files:
            return checkpoint
        start, end = files[-1].start, files[-1].end
        known_us = checkpoint.known_us
        for batch in landed_batches(folder, self.source, self._types, checkpoint.partition, start, end):
            known_us = max(known_us, int(batch.known_us.max()))
        return self._saved(checkpoint, replace(checkpoint, next=end, known_us=known_us))

    def _lose(self, partition: int) -> None:
        self._partitions.pop(partition, None)
        self._wanted.discard(partition)
        self._lander.drop(partition)

    def _catch_up(self, checkpoint: Checkpoint) -> Checkpoint:
        """Applies landed events that a view has not seen yet: one that is new, or whose worker was told to replay."""
        made = checkpoint
        for view in self.applier.views:
            start = made.views.get(view.namespace)
            if start is None:
                start = self._first_for(view.namespace, checkpoint)
            if start < checkpoint.next:
                folder = self.landing / self.source.name
                for batch in landed_batches(
                    folder, self.source, self._types, checkpoint.partition, start, checkpoint.next
                ):
                    self._again(lambda b=batch, n=view.namespace: self._apply_only(b, n))
                    so_far = replace(made, views={**made.views, view.namespace: batch.end})
                    if not self.checkpoints.save(checkpoint, so_far):
                        return self._saved(checkpoint, so_far)
                    made = checkpoint = so_far
            made = replace(made, views={**made.views, view.namespace: checkpoint.next})
        return self._saved(checkpoint, made)

    def _apply_only(self, batch: EventBatch, namespace: str) -> int:
        self.applier.apply(batch, BEGIN_US, only=[namespace])
        return batch.size

    def _first_for(self, namespace: str, checkpoint: Checkpoint) -> int:
        """The offset from which on events may be missing in the batch part of a view."""
        data = self.applier.store.get([(namespace, [META_KEY])])[0]
        watermark_us = BEGIN_US if data is None else Meta.parse(data).watermark_us
        folder = self.landing / self.source.name
        first = first_landed(folder, checkpoint.partition, max(watermark_us, 0))
        return checkpoint.next if first is None else min(first, checkpoint.next)

    def _saved(self, before: Checkpoint, after: Checkpoint) -> Checkpoint:
        if after == before:
            return before
        if not self.checkpoints.save(before, after):
            now = self.checkpoints.find(before.partition)
            if now is None or now.owner != self.owner:
                raise _Lost
            return self._catch_up(now)  # told to replay meanwhile
        return after

    def _deal_with(self, partition: int, chunks: Sequence[Chunk]) -> int:
        """Chunks of a partition, applied and noted to be landed."""
        state = self._partitions[partition]
        chunks = [chunk for chunk in chunks if chunk.next_offset > state.next]
        if not chunks:
            return 0
        batch, known_us, dead = self._decoded(state, chunks)
        batch, tables, more = self._usable(batch)
        dead += more
        if dead:
            self.dead_letters.add(dead, chunks, self.clock.now_us())
        receipt = self.applier.apply(batch, self._floor_us(), projected=tables)
        self._lander.add(batch)
        state.next, state.known_us = batch.end, known_us
        self._note_batch(state, batch, len(dead), receipt.views)
        return sum(len(chunk.offsets) for chunk in chunks)

    def _usable(self, batch: EventBatch) -> tuple[EventBatch, list[pa.Table], list[Dead]]:
        """The events that can be used, as each group of features sees them, and the others."""
        tables, bad = self.applier.projected(batch)
        looked = self.applier.judged
        rows, more = self.judge.project(batch.table) if looked is None else (tables[looked], {})
        bad |= more
        if bad:
            good = np.ones(batch.size, np.bool_)
            good[list(bad)] = False
            dead = [Dead(batch.partition, int(batch.offsets[i]), reason) for i, reason in sorted(bad.items())]
            batch, tables, more_dead = self._usable(batch.kept(good))
            return batch, tables, dead + more_dead
        good, dead = self.judge.judge(batch, rows)
        if dead:
            batch, tables = batch.kept(good), [kept(table, good) for table in tables]
        return batch, tables, dead

    def _decoded(self, state: _Partition, chunks: Sequence[Chunk]) -> tuple[EventBatch, int, list[Dead]]:
        """The events of chunks as one batch, when the last of them was known, and those that are not of the schema."""
        partition, known_us, start = chunks[0].partition, state.known_us, state.next
        batches: list[EventBatch] = []
        dead: list[Dead] = []
        for chunk in chunks:
            decoded = decode(chunk, self.schema, avro=self.avro)
            ahead = chunk.stamps_us > self.clock.now_us() + self.judge.ahead_us
            known = known_times(np.where(ahead, BEGIN_US, chunk.stamps_us), known_us, partition, self._total)
            dead += [Dead(partition, int(chunk.offsets[place]), reason) for place, reason in decoded.bad]
            rows, table = decoded.rows, decoded.table
            if ahead.any():  # a producer's clock: nothing may be known from then on only
                dead += [
                    Dead(partition, int(chunk.offsets[place]), "its stamp is too far in the future")
                    for place in rows[ahead[rows]]
                ]
                table, rows = kept(table, ~ahead[rows]), rows[~ahead[rows]]
            mine, offsets = known[rows], chunk.offsets[rows]
            table = with_known(self.source, table, mine)
            batches.append(EventBatch(self.source, partition, table, offsets, mine, start, chunk.next_offset))
            known_us, start = int(known[-1]), chunk.next_offset
        return events_of(batches), known_us, dead

    def _note_batch(
        self, state: _Partition, batch: EventBatch, dead: int, views: dict[str, ViewReceipt]
    ) -> None:
        now_us = self.clock.now_us()
        counts = state.counts
        most = max((each.applied for each in views.values()), default=0)
        for name, count in (
            ("events", batch.size + dead), ("dead", dead), ("applied", most),
            ("late", sum(each.late for each in views.values())),
            ("repeated", sum(each.repeated for each in views.values())),
            ("conflicts", sum(each.conflicts for each in views.values())),
        ):  # fmt: skip
            counts[name] = counts.get(name, 0) + count
        if self.watch is not None and dead:
            self.watch.dead(self.source.name, dead)
        if self.watch is not None and batch.size:
            self.watch.applied(self.source.name, batch, views, now_us - batch.known_us)

    def _floor_us(self) -> int:
        """Nobody asks for values before it any more: so long before what is in the records of all partitions."""
        known = [each.known_us for each in self._partitions.values()]
        others = [each.known_us for p, each in self._others.items() if p not in self._partitions]
        return max(BEGIN_US, min([self.clock.now_us(), *known, *others]) - self.limits.history_us)

    @property
    def _others(self) -> dict[int, Checkpoint]:
        now = time.monotonic()
        if now - self._others_at > 5:
            self._known_others, self._others_at = self.checkpoints.all(), now
        return self._known_others

    _others_at: float = field(default=-60.0, init=False)
    _known_others: dict[int, Checkpoint] = field(default_factory=dict[int, Checkpoint], init=False)

    def _is_idle(self, state: _Partition, partition: int, *, empty: bool) -> bool:
        """True where nothing waits in the stream. Where offsets do not tell, nothing did if none came from anywhere."""
        if self.stream.ends()[partition].next <= state.next:
            return True
        return empty and not self.stream.capabilities.dense

    def _maybe_commit(self, partition: int, before_us: int, *, quiet: bool, empty: bool) -> None:
        state = self._partitions[partition]
        now_us = self.clock.now_us()
        is_due = (
            self._lander.rows >= self.limits.land_events or now_us - state.landed_us >= self.limits.land_us
        )
        if not is_due and now_us - state.noted_us < self.limits.note_us:
            return
        idle = quiet and self._is_idle(state, partition, empty=empty)
        if is_due:
            if idle:  # all that is taken from now on is known from now on
                state.known_us = max(state.known_us, before_us)
            self._commit(partition)
        else:
            self._note(partition, now_us, max(state.known_us, before_us) if idle else state.known_us)

    def _commit(self, partition: int) -> None:
        """Lands what was applied, and says so."""
        state = self._partitions[partition]
        now_us = self.clock.now_us()
        self._again(lambda: self._flush(partition))
        views = {each.namespace: state.next for each in self.applier.views}
        before = state.checkpoint
        after = replace(
            before, next=state.next, known_us=state.known_us, at_us=now_us, counts=dict(state.counts),
            views={**before.views, **views},
        )  # fmt: skip
        if self._save(before, after):
            state.checkpoint, state.landed_us = after, now_us
            assert_follower(self._follower).commit({partition: state.next})
            self._note(partition, now_us, state.known_us)
            return
        now = self.checkpoints.find(partition)
        self._lose(partition)
        if now is not None and now.owner == self.owner:  # told to replay
            self._wanted.add(partition)
            self._try_gain(partition)

    def _save(self, before: Checkpoint, after: Checkpoint) -> bool:
        made: list[bool] = []
        self._again(lambda: made.append(self.checkpoints.save(before, after)) or 0)
        return made[-1]

    def _flush(self, partition: int) -> int:
        state = self._partitions[partition]
        hour = hour_of(max(0, state.checkpoint.known_us))
        self._lander.flush(partition, state.known_us)
        if hour_of(max(0, state.known_us)) != hour and state.checkpoint.at_us:
            merge_hours(self.landing / self.source.name, partition, hour_of(state.known_us))
        return 0

    def _note(self, partition: int, now_us: int, known_us: int) -> None:
        state = self._partitions[partition]
        seconds = (now_us - state.noted_us) / 1e6 if state.noted_us else 0.0
        events = state.counts.get("events", 0)
        rate = (events - state.noted_events) / seconds if seconds > 0 else 0.0
        self.checkpoints.note(
            partition,
            {
                "next": state.next, "known_us": known_us, "at_us": now_us, "events_per_s": round(rate, 1),
                "counts": dict(state.counts), "owner": self.owner,
                "views": [each.namespace for each in self.applier.views],
            },
        )  # fmt: skip
        state.noted_us, state.noted_events = now_us, events


class _Lost(Exception):
    """Another worker has taken the partition while this one took it."""


def assert_follower(follower: Follower | None) -> Follower:
    """The follower, which a worker has while it has partitions."""
    if follower is None:
        raise StateError("the worker is closed")
    return follower


def run_workers(
    workers: Iterable[SourceWorker], stop: threading.Event, *, until_idle: bool = False, wait_s: float = 0.02
) -> None:
    """Runs each worker in a thread of its own until `stop` is set, or until there is nothing more to do.

    Raises:
        AsofError: what a worker failed of, after the others were stopped as well.
    """
    failures: list[BaseException] = []

    def run(worker: SourceWorker) -> None:
        idle = 0
        try:
            try:
                while not stop.is_set():
                    idle = 0 if worker.step(wait_s) else idle + 1
                    if until_idle and idle % _IDLE == _IDLE - 1:
                        worker.flush()  # so that others of the group see how far it is
                        if worker.has_caught_up():
                            break
            finally:
                worker.close()
        except BaseException as exc:  # noqa: BLE001 - told to the caller's thread
            failures.append(exc)
            stop.set()

    threads = [threading.Thread(target=run, args=(worker,), name=worker.source.name) for worker in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
