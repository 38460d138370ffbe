"""Segment files of the embedded log: `<first offset, 20 digits>.log`, and the end of a partition, which moves."""

from __future__ import annotations

import errno
import os
import sys
from bisect import bisect_right
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from asof.errors import BackendError, CorruptSource
from asof.streams.log_frame import HEAD, Frame, frame_at, walk, written_later

_SUFFIX = ".log"
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_MARK_BYTES = 1 << 18


@contextmanager
def told(folder: Path) -> Generator[None]:
    """What the operating system refuses becomes a `BackendError` that names the folder."""
    try:
        yield
    except OSError as exc:
        if exc.errno in _NO_ROOM:
            raise BackendError(
                f"log {folder}: the disk is full ({exc.strerror})",
                hint="make room on the disk, or shorten the log's retention",
                retryable=True,
            ) from exc
        raise BackendError(
            f"log {folder}: {exc.strerror or exc}", retryable=exc.errno == errno.EMFILE
        ) from exc


class Segment:
    """An open file of frames; closed when nobody holds it any more, so that a reader may outlive its deletion."""

    __slots__ = ("_marks", "fd", "first", "path")

    def __init__(self, folder: Path, first: int, flags: int = os.O_RDONLY) -> None:
        self.fd = -1
        self.first = first
        self.path = segment_path(folder, first)
        self._marks: list[tuple[int, int, int]] = [(first, -1, 0)]  # first offset, stamp and place of a frame
        self.fd = os.open(self.path, flags, 0o644)

    def __del__(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)

    @property
    def size(self) -> int:
        """The file's length."""
        return os.fstat(self.fd).st_size

    @property
    def deleted(self) -> bool:
        """Whether the file has been removed from its folder."""
        return os.fstat(self.fd).st_nlink == 0

    def frame_of(self, offset: int) -> Frame | None:
        """The whole frame that holds an offset."""
        return self._seek(lambda mark: mark[0] <= offset, lambda frame: frame.first + frame.events > offset)

    def frame_since(self, at_us: int) -> Frame | None:
        """The first whole frame that was taken at an instant or later."""
        return self._seek(lambda mark: mark[1] < at_us, lambda frame: frame.stamp_us >= at_us)

    def end(self) -> tuple[int, int]:
        """Where the last whole frame stops, and the offset after it."""
        pos, after = self._marks[-1][2], self._marks[-1][0]
        for frame in walk(self.fd, pos):
            pos, after = frame.stop, frame.first + frame.events
        return pos, after

    def newest_us(self) -> int | None:
        """When the last whole frame was taken."""
        stamp_us = None
        for frame in walk(self.fd, self._marks[-1][2]):
            stamp_us = frame.stamp_us
        return stamp_us

    def _seek(
        self, is_before: Callable[[tuple[int, int, int]], bool], wanted: Callable[[Frame], bool]
    ) -> Frame | None:
        number = bisect_right(self._marks, 0, key=lambda mark: 0 if is_before(mark) else 1)
        for frame in walk(self.fd, self._marks[max(number - 1, 0)][2]):
            if frame.pos >= self._marks[-1][2] + _MARK_BYTES:
                self._marks.append((frame.first, frame.stamp_us, frame.pos))
            if wanted(frame):
                return frame
        return None


def segment_path(folder: Path, first: int) -> Path:
    """The file whose first event has this offset."""
    return folder / f"{first:020d}{_SUFFIX}"


def segment_firsts(folder: Path) -> list[int]:
    """The first offsets of all segments of a partition, ascending."""
    return sorted(int(path.stem) for path in folder.iterdir() if path.suffix == _SUFFIX)


def open_segment(folder: Path, first: int, flags: int = os.O_RDONLY) -> Segment | None:
    """A segment; None where it has been removed."""
    try:
        return Segment(folder, first, flags)
    except FileNotFoundError:
        return None


def open_segments(folder: Path, firsts: Iterable[int]) -> Iterator[Segment]:
    """Segments, one after another, each opened when it is its turn; without those that have been removed."""
    for first in firsts:
        segment = open_segment(folder, first)
        if segment is not None:
            yield segment


def damaged(segment: Segment, pos: int, offset: int) -> CorruptSource:
    """The error that a frame in the middle is not as it was written."""
    return CorruptSource(
        f"log {segment.path}: the frame at byte {pos}, offset {offset}, is damaged, and others follow it",
        hint="restore the file from a copy; nothing of it is removed or left out until then",
        file=str(segment.path),
        position=pos,
        offset=offset,
    )


def still_torn(segment: Segment, pos: int, offset: int) -> bool:
    """Whether a frame that was not whole still is not, and may be the remainder of a write that was cut off.

    Raises:
        CorruptSource: it cannot be that, since others were written behind it.
    """
    if next(walk(segment.fd, pos), None) is not None:
        return False
    later, _ = written_later(segment.fd, pos)
    if later or (not segment.deleted and any(n > segment.first for n in segment_firsts(segment.path.parent))):
        if next(walk(segment.fd, pos), None) is not None:
            return False
        raise damaged(segment, pos, offset)
    return True


class Tail:
    """The end of a partition as it was seen last: `segment` and `pos`, the next offset, and the newest stamp; `torn`:
    what follows is no whole frame. `flags` say how the segment is opened; `limit` is the offset beyond which nothing is
    looked at.
    """

    def __init__(
        self, folder: Path, on_frame: Callable[[Frame], None] | None = None, flags: int = os.O_RDONLY
    ) -> None:
        self.folder = folder
        self._on_frame = on_frame
        self._flags = flags
        self.torn = False
        self.segment: Segment | None = None
        self.pos = 0
        self.next = 0
        self.stamp_us = -1
        self.limit = sys.maxsize

    def advance(self) -> None:
        """Goes on over all whole frames that were written since the last time, into newer segments too."""
        self.torn = False
        if self.segment is not None:
            stat = os.fstat(self.segment.fd)
            if stat.st_nlink == 0:
                self.segment = None
            elif self.next >= self.limit or (stat.st_size == self.pos and not self._has_next()):
                return
        if self.segment is None:
            self._begin()
        while self.segment is not None:
            self._over_frames(self.segment)
            if self.next >= self.limit:
                return
            if self.pos < self.segment.size:
                self.torn = still_torn(self.segment, self.pos, self.next)
                if self.torn:
                    return
            elif not self._enter_next():
                return

    def _begin(self) -> None:
        """The newest segment with a whole frame in it, so that its stamp is known, or else the oldest."""
        firsts = segment_firsts(self.folder)
        for first in reversed([first for first in firsts if first < self.limit] or firsts[:1]):
            segment = open_segment(self.folder, first, self._flags)
            if segment is not None:
                self.segment, self.pos, self.next = segment, 0, first
                if next(walk(segment.fd, 0), None) is not None:
                    return

    def _over_frames(self, segment: Segment) -> None:
        for frame in walk(segment.fd, self.pos):
            if self.next >= self.limit:
                return
            if frame.first != self.next:
                raise damaged(segment, frame.pos, self.next)
            self.pos, self.next, self.stamp_us = frame.stop, frame.first + frame.events, frame.stamp_us
            if self._on_frame is not None:
                self._on_frame(frame)

    def _enter_next(self) -> bool:
        if not self._has_next():
            return False
        self.segment, self.pos = Segment(self.folder, self.next, self._flags), 0
        return True

    def _has_next(self) -> bool:
        named = f"{self.folder}/{self.next:020d}{_SUFFIX}"  # as in segment_path, and quick: every append asks
        return self.segment is not None and self.next != self.segment.first and os.access(named, os.F_OK)


def first_stamp(segment: Segment) -> int | None:
    """When the first frame was taken; None where no frame is there."""
    frame = frame_at(os.pread(segment.fd, HEAD.size, 0), 0)
    return None if frame is None else frame.stamp_us


def find_offset(folder: Path, at_us: int, limit: int) -> int | None:
    """The first offset that was taken at an instant or later; None where there is none before the limit."""
    firsts = segment_firsts(folder)

    def is_later(first: int) -> bool:
        segment = open_segment(folder, first)
        stamp_us = None if segment is None else first_stamp(segment)
        return segment is not None and (stamp_us is None or stamp_us >= at_us)

    later = bisect_right(firsts, 0, key=is_later)
    for segment in open_segments(folder, firsts[max(later - 1, 0) :]):
        frame = segment.frame_since(at_us)
        if frame is not None:
            return frame.first if frame.first < limit else None
    return None
