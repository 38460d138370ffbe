"""Appending to one partition of the embedded log: under a lock of the file system, whole groups at once.

While one thread writes and waits for the disk, others put their batches into a queue; the next of them writes all that
are there, with one `fsync`. Other processes append under the same lock, so each group begins with what they have added.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections import deque
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from asof.clock import Clock
from asof.errors import AsofError, BackendError
from asof.streams.log_frame import HEAD, NO_KEY, encode, frame_at, written_later
from asof.streams.log_keys import Keys, Place
from asof.streams.log_segment import Segment, Tail, first_stamp, open_segments, segment_firsts, told

Fsync = Literal["always", "interval", "never"]
SEGMENT_BYTES = 1 << 26
INTERVAL_S = 1.0
LOCK_WAIT_S = 10.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.000_05, 0.002


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
        self._keys = Keys(folder)
        self._tail = Tail(folder, self._keys.note, os.O_RDWR)
        self._queue: deque[Pending] = deque()
        self._turn = threading.Lock()
        self._timer: threading.Timer | None = None
        self._unsafe = False  # written and not known to be on disk
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
            self._tail = Tail(self._folder, self._keys.note, os.O_RDWR)

    def _write_group(self, group: list[Pending]) -> None:
        error: AsofError = BackendError(f"log {self._folder}: the append was broken off", retryable=True)
        try:
            with told(self._folder), _locked(self._lock_path):
                self._tail.advance()
                self._cut_torn()
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
            self._make_safe()
            for pending in group:
                pending.done = pending.place is not None
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
        if self._fsync == "always":
            self._sync()
        elif self._fsync == "interval" and self._unsafe and self._timer is None:
            self._timer = threading.Timer(INTERVAL_S, self._sync_later)
            self._timer.daemon = True
            self._timer.start()

    def _sync_later(self) -> None:
        with self._turn:
            self._timer = None
            try:
                self._sync()
            except OSError:
                return  # it stays unsafe, and the next append tries again

    def _sync(self) -> None:
        if self._unsafe and self._tail.segment is not None:
            to_disk(self._tail.segment.fd)
        self._unsafe = False

    def _room_for(self, size: int) -> Segment:
        segment = self._tail.segment
        if segment is not None and (self._tail.pos == 0 or self._tail.pos + size <= self._segment_bytes):
            return segment
        if segment is not None and self._fsync != "never":
            to_disk(segment.fd)
        self._tail.segment = Segment(self._folder, self._tail.next, os.O_RDWR | os.O_CREAT)
        self._tail.pos = 0
        if self._fsync != "never":
            folder = os.open(self._folder, os.O_RDONLY)
            try:
                to_disk(folder)
            finally:
                os.close(folder)
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


@contextmanager
def _locked(path: str) -> Generator[None]:
    """Holds the lock of a file; it goes with the process if that is killed.

    Raises:
        BackendError: another process has held it for too long.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        waited_s, pause_s = 0.0, _FIRST_PAUSE_S
        while not try_lock(fd):
            if waited_s > LOCK_WAIT_S:
                raise BackendError(
                    f"log {path}: another process has held the lock for {LOCK_WAIT_S:g} s",
                    retryable=True,
                )
            time.sleep(pause_s)
            waited_s, pause_s = waited_s + pause_s, min(pause_s * 2, _LONGEST_PAUSE_S)
        yield
    finally:
        fcntl.flock(fd, fcntl.LOCK_UN)  # a forked child may have the descriptor too
        os.close(fd)


def try_lock(fd: int, how: int = fcntl.LOCK_EX) -> bool:
    """Whether the lock of an open file could be had at once."""
    try:
        fcntl.flock(fd, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def to_disk(fd: int) -> None:
    """Waits until a file's content is on the disk, past the disk's own memory where the system can say so."""
    full = getattr(fcntl, "F_FULLFSYNC", None)
    if full is not None:
        fcntl.fcntl(fd, full)
    else:
        getattr(os, "fdatasync", os.fsync)(fd)
