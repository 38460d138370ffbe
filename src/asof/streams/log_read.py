"""Reading one partition of the embedded log: without locks, whole frames only, many small ones as one chunk; what is
not on the disk yet is not given (log_durable.py).
"""

from __future__ import annotations

import os
import zlib
from pathlib import Path

import numpy as np

from asof.streams.log_durable import DurableEnd
from asof.streams.log_frame import ARROW, HEAD, JSON_ONE, MAGIC, WINDOW_BYTES, walk
from asof.streams.log_segment import Segment, damaged, open_segment, segment_firsts, segment_path, still_torn
from asof.streams.stream import Chunk

MAX_READ_BYTES = 1 << 25
_SMALL_WINDOW_BYTES = 1 << 16


class Cursor:
    """A place in a partition, where the next event is read; moves on with every `read`. For one thread."""

    def __init__(self, folder: Path, partition: int, offset: int, end: DurableEnd) -> None:
        self._folder = folder
        self._end = end
        self._partition = partition
        self.offset = offset
        self._segment: Segment | None = None
        self._pos = 0

    def read(self, most: int) -> list[Chunk]:
        """About so many events; whole frames, and not more bytes than a process should hold at once.

        Raises:
            CorruptSource: a frame in the middle is damaged; tells the file and the place.
        """
        chunks: list[Chunk] = []
        left, room, limit = most, MAX_READ_BYTES, self._end.limit(self.offset + most)
        while left > 0 and room > 0 and self.offset < limit and (segment := self._ready()) is not None:
            pos = self._pos
            if self.offset >= limit and self.offset >= (limit := self._end.limit()):
                break
            window = _Window(segment.fd, pos, self._partition, self.offset, min(left, limit - self.offset))
            chunks += window.chunks
            self._pos, self.offset = window.pos, window.next
            left, room = left - window.events, room - (window.pos - pos)
            if window.events == 0 and not self._over_end(segment):
                break
        return chunks

    def _ready(self) -> Segment | None:
        """The segment to read from, None where there is nothing; finds the place when asked for the first time."""
        if self._segment is not None:
            return self._segment
        firsts = segment_firsts(self._folder)
        if not firsts:
            return None
        self.offset = max(self.offset, firsts[0])
        segment = open_segment(self._folder, max(first for first in firsts if first <= self.offset))
        if segment is None:
            return self._ready()
        frame = segment.frame_of(self.offset)
        if frame is None:
            return self._at_end_of(segment)
        self._segment, self._pos = segment, frame.pos
        return segment

    def _at_end_of(self, segment: Segment) -> Segment | None:
        """No whole frame of the segment holds the offset: it is the next one, or one that nobody has written."""
        pos, after = segment.end()
        if after == self.offset:
            self._segment, self._pos = segment, pos
            return segment
        if pos < segment.size:
            return None if still_torn(segment, pos, after) else self._ready()
        self._refuse_gap(segment, pos, after)
        return None

    def _over_end(self, segment: Segment) -> bool:
        """Goes on after a read that gave nothing; whether there may be more."""
        if self._pos < segment.size:
            frame = next(walk(segment.fd, self._pos), None)
            if frame is None:
                return not still_torn(segment, self._pos, self.offset)
            if frame.first <= self.offset < frame.first + frame.events:
                return True
            raise damaged(segment, self._pos, self.offset)
        if self.offset != segment.first and segment_path(self._folder, self.offset).exists():
            self._segment, self._pos = open_segment(self._folder, self.offset), 0
            return True
        if segment.deleted:
            self._segment = None
            return True
        self._refuse_gap(segment, self._pos, self.offset)
        return False

    def _refuse_gap(self, segment: Segment, pos: int, after: int) -> None:
        """A segment that ends before the next one begins has lost its end."""
        newer = [first for first in segment_firsts(self._folder) if first > segment.first]
        if newer and newer[0] != after and not segment.deleted and segment.size == pos:
            raise damaged(segment, pos, after)


class _Window:
    """The whole frames of one stretch of a file, as chunks: `pos` and `next` are where the following begins."""

    def __init__(self, fd: int, pos: int, partition: int, offset: int, most: int) -> None:
        self.chunks: list[Chunk] = []
        self.events = 0
        self.pos = pos
        self.next = offset
        self._partition = partition
        self._small: list[bytes] = []
        self._stamps: list[int] = []
        size = WINDOW_BYTES if most > 256 else _SMALL_WINDOW_BYTES
        head = os.pread(fd, HEAD.size, pos)
        if len(head) == HEAD.size:
            length = int.from_bytes(head[8:12], "little") + HEAD.size
            if size < length <= os.fstat(fd).st_size - pos:
                size = length
            self._take(os.pread(fd, size, pos), most)
        self._end_run()

    def _take(self, buffer: bytes, most: int) -> None:
        """Walks over the buffer; the loop that every event appended by itself goes through once."""
        at, end, start = 0, len(buffer), self.pos
        head, crc32, view, unpack = HEAD.size, zlib.crc32, memoryview(buffer), HEAD.unpack_from
        small, stamps, following = self._small, self._stamps, self.next
        while at + head <= end:
            magic, crc, length, form, count, _, first, stamp_us, _ = unpack(buffer, at)
            body, stop = at + head, at + head + length
            if stop > end or magic != MAGIC or crc32(view[at + 8 : stop]) != crc:
                break
            if not 0 <= following - first < count:
                break
            if form == JSON_ONE:
                small.append(buffer[body:stop])
                stamps.append(stamp_us)
            else:
                self.next = following
                self._end_run()
                self._whole(buffer[body:stop], form, count, following - first, stamp_us)
            at, following = stop, first + count
            self.pos, self.next = start + at, following
            if self.events + len(small) >= most:
                break

    def _end_run(self) -> None:
        """The single events before `next` become a chunk."""
        count = len(self._small)
        if count:
            offsets = np.arange(self.next - count, self.next, dtype=np.int64)
            stamps = np.array(self._stamps, np.int64)
            self.chunks.append(Chunk(self._partition, offsets, stamps, "json", events=self._small.copy()))
            self._small.clear()
            self._stamps.clear()
            self.events += count

    def _whole(self, body: bytes, form: int, count: int, skip: int, stamp_us: int) -> None:
        offsets = np.arange(self.next, self.next - skip + count, dtype=np.int64)
        stamps = np.full(count - skip, stamp_us, np.int64)
        named = "arrow" if form == ARROW else "json"
        self.chunks.append(Chunk(self._partition, offsets, stamps, named, body=body, skip=skip))
        self.events += count - skip
