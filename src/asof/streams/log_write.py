"""Appending to one partition of the embedded log: under a lock of the file system, whole groups at once.

While one thread writes and waits for the disk, others put their batches into a queue; the next of them writes all that
are there, with one `fsync`. Other processes append under the same lock, so each group begins with what they have added,
and ends with telling readers how far they may go (log_durable.py). What an `fsync` has failed for is removed: nobody
has seen it, and its batch may be appended again.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from asof.clock import Clock
from asof.errors import AsofError, BackendError
from asof.streams.log_durable import DurableFile, Mark, mark_of, settle
from asof.streams.log_frame import HEAD, NO_KEY, encode, frame_at, written_later
from asof.streams.log_keys import Keys, Place
from asof.streams.log_lock import locked, path_to_disk, to_disk
from asof.streams.log_segment import (
    Segment,
    Tail,
    first_stamp,
    open_segments,
    segment_firsts,
    segment_path,
    told,
)

Fsync = Literal["always", "interval", "never"]
SEGMENT_BYTES = 1 << 26
INTERVAL_S = 1.0


@dataclass
class Pending:
    """A frame to append, and then where it is, or why it is not there."""

    form: int
    count: int
    body: bytes
    key: bytes = NO_KEY
    place: Place | None = None
    repeated: bool = False
    done: bool = False
    error: AsofError | None = None


@dataclass(frozen=True)
class _Placed:
    """A frame that has its place in a write."""

    pending: Pending
    place: Place
    stop: int


class Appender:
    """One process's way to append to a partition; safe to use from threads."""

    def __init__(
        self, folder: Path, clock: Clock, retention_us: int, fsync: Fsync, segment_bytes: int = SEGMENT_BYTES
    ) -> None:
        self._folder = folder
        self._lock_path = f"{folder}/lock"
        self._clock = clock
        self._retention_us = retention_us
        self._fsync: Fsync = fsync
        self._segment_bytes = segment_bytes
        self._durable = DurableFile(folder, os.O_RDWR | os.O_CREAT)
        self._published = Mark()
        self._forget()
        self._queue: deque[Pending] = deque()
        self._turn = threading.Lock()
        self._timer: threading.Timer | None = None
        self._unsafe = False  # written and not known to be on disk
        self._failed = False  # something stands behind what was published, and is to be removed
        self._rolled = True

    def put(self, pending: Pending) -> None:
        """Queues a frame; `finish` waits until it is written."""
        self._queue.append(pending)

    def finish(self, pending: Pending) -> None:
        """Writes all that is queued, unless another thread has done so.

        Raises:
            BackendError: the disk is full or broken, or another process holds the lock for too long.
            CorruptSource: what others have written is damaged.
        """
        with self._turn:
            if not pending.done and pending.error is None:
                self._write_group([self._queue.popleft() for _ in range(len(self._queue))])
        if pending.error is not None:
            raise pending.error

    def close(self) -> None:
        """Brings what is written to the disk, and lets go of the files."""
        with self._turn, told(self._folder):
            if self._timer is not None:
                self._timer.cancel()
            if self._fsync != "never":
                self._sync()
            self._durable = DurableFile(self._folder, os.O_RDWR | os.O_CREAT)
            self._tail = Tail(self._folder, self._keys.note, os.O_RDWR)

    def _forget(self) -> None:
        """Knows nothing of the partition any more; the next append looks at its files."""
        self._keys = Keys(self._folder)
        self._tail = Tail(self._folder, self._keys.note, os.O_RDWR)

    def _write_group(self, group: list[Pending]) -> None:
        error: AsofError = BackendError(f"log {self._folder}: the append was broken off", retryable=True)
        try:
            with told(self._folder), locked(self._lock_path):
                if self._failed:
                    self._remove_unsafe()
                self._tail.advance()
                self._cut_torn()
                if self._tail.segment is None or self._tail.next != self._published.next:
                    self._published = settle(self._durable, self._tail, fsync=self._fsync == "always")
                self._write_all(group)
        except AsofError as exc:
            error = exc
        finally:
            for pending in group:
                if not pending.done:
                    pending.error = error

    def _cut_torn(self) -> None:
        """Removes what a dead writer has left half-written; whole frames in it are kept in a file beside."""
        segment = self._tail.segment
        if segment is None or not self._tail.torn:
            return
        _, kept = written_later(segment.fd, self._tail.pos)
        if kept:
            segment.path.with_name(f"{segment.path.stem}.{self._tail.pos}.cut").write_bytes(kept)
        os.ftruncate(segment.fd, self._tail.pos)

    def _write_all(self, group: list[Pending]) -> None:
        now_us = max(self._clock.now_us(), self._tail.stamp_us)
        fresh, same = self._split(group, now_us)
        try:
            left = fresh
            while left:
                left = self._write_some(left, now_us)
        finally:
            try:
                self._make_safe()
            finally:
                for pending in group:
                    pending.done = pending.place is not None and pending.place[0] < self._published.next
        for pending, first in same:
            pending.place, pending.done = first.place, first.done
        if self._rolled:
            self._retain(now_us)
            self._rolled = False

    def _split(
        self, group: list[Pending], now_us: int
    ) -> tuple[list[Pending], list[tuple[Pending, Pending]]]:
        """What is to be written; and what has the key of a batch that stands before it in the group."""
        firsts: dict[bytes, Pending] = {}
        fresh: list[Pending] = []
        same: list[tuple[Pending, Pending]] = []
        for pending in group:
            if pending.key != NO_KEY:
                pending.place = self._keys.find(pending.key, now_us)
                pending.repeated = pending.place is not None or pending.key in firsts
            if pending.place is not None:
                self._unsafe = True  # whoever has written it may not have lived to see it on disk
            elif pending.repeated:
                same.append((pending, firsts[pending.key]))
            else:
                firsts[pending.key] = pending
                fresh.append(pending)
        return fresh, same

    def _write_some(self, group: list[Pending], now_us: int) -> list[Pending]:
        """Writes as many frames as the segment takes; those that are left."""
        segment = self._room_for(HEAD.size + len(group[0].body))
        start, offset = self._tail.pos, self._tail.next
        parts: list[bytes] = []
        placed: list[_Placed] = []
        stop = start
        for pending in group:
            if placed and stop + HEAD.size + len(pending.body) > self._segment_bytes:
                break
            parts.append(
                encode(pending.form, pending.count, offset, now_us, pending.key, pending.body, stop - start)
            )
            stop += len(parts[-1])
            placed.append(_Placed(pending, (offset, pending.count), stop))
            offset += pending.count
        data = parts[0] if len(parts) == 1 else b"".join(parts)
        self._write(segment, data, placed)
        return group[len(placed) :]

    def _write(self, segment: Segment, data: bytes, placed: list[_Placed]) -> None:
        """Writes frames at the end; where only some fit, those are kept and the remainder is removed."""
        start, done = self._tail.pos, 0
        try:
            while done < len(data):
                done += os.pwrite(segment.fd, memoryview(data)[done:], start + done)
        except OSError:
            whole = max((each.stop for each in placed if each.stop <= start + done), default=start)
            os.ftruncate(segment.fd, whole)
            self._note(data, [each for each in placed if each.stop <= whole])
            raise
        self._note(data, placed)

    def _note(self, data: bytes, placed: list[_Placed]) -> None:
        start = self._tail.pos
        for each in placed:
            frame = frame_at(data, self._tail.pos - start, start)
            if frame is not None and frame.key != NO_KEY:
                self._keys.note(frame)
            self._tail.pos, self._tail.next = each.stop, each.place[0] + each.place[1]
            each.pending.place = each.place
            if frame is not None:
                self._tail.stamp_us = frame.stamp_us
            self._unsafe = True

    def _make_safe(self) -> None:
        """Brings what was written to the disk, as the log promises, and lets readers see it."""
        if self._fsync == "always":
            self._sync()
        elif self._fsync == "interval" and self._unsafe and self._timer is None:
            self._timer = threading.Timer(INTERVAL_S, self._sync_later)
            self._timer.daemon = True
            self._timer.start()
        if self._tail.segment is not None:
            self._publish()

    def _publish(self) -> None:
        mark = mark_of(self._tail)
        try:
            self._durable.publish(mark, look=self._fsync == "always" or self._rolled)
        except OSError:
            self._fail()
            raise
        self._published = mark

    def _fail(self) -> None:
        """Removes what stands behind the end that was published, now or before the next append."""
        self._failed, self._unsafe = True, False
        self._forget()
        with suppress(OSError):
            self._remove_unsafe()

    def _remove_unsafe(self) -> None:
        """Nobody has seen it; unless another process has found it in the meantime, and brought it to the disk."""
        safe = self._published
        if self._durable.read() == safe:
            for first in segment_firsts(self._folder):
                if first > safe.segment:
                    segment_path(self._folder, first).unlink()
            if safe.segment >= 0:
                os.truncate(segment_path(self._folder, safe.segment), safe.pos)
        self._failed = False

    def _sync_later(self) -> None:
        with self._turn:
            self._timer = None
            try:
                self._sync()
            except OSError:
                return  # it stays unsafe, and the next append tries again

    def _sync(self) -> None:
        if self._unsafe and self._tail.segment is not None:
            self._to_disk(self._tail.segment)
        self._unsafe = False

    def _to_disk(self, segment: Segment) -> None:
        """A failed `fsync` is not tried again: the system may have given up what it could not write."""
        try:
            to_disk(segment.fd)
        except OSError:
            if self._fsync == "always":
                self._fail()
            raise

    def _room_for(self, size: int) -> Segment:
        segment = self._tail.segment
        if segment is not None and (self._tail.pos == 0 or self._tail.pos + size <= self._segment_bytes):
            return segment
        if segment is not None and self._fsync != "never":
            self._to_disk(segment)
        if segment is not None:
            self._publish()
        self._tail.segment = Segment(self._folder, self._tail.next, os.O_RDWR | os.O_CREAT)
        self._tail.pos = 0
        if self._fsync != "never":
            path_to_disk(str(self._folder))
        self._rolled = True
        return self._tail.segment

    def _retain(self, now_us: int) -> None:
        """Removes the oldest segments whose last event is older than the retention, but never the newest."""
        horizon_us = now_us - self._retention_us
        for segment in open_segments(self._folder, segment_firsts(self._folder)[:-1]):
            oldest_us = first_stamp(segment)
            if oldest_us is None or oldest_us >= horizon_us or (segment.newest_us() or 0) >= horizon_us:
                return
            segment.path.unlink(missing_ok=True)
