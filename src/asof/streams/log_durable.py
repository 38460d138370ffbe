"""How far a partition of the embedded log is on the disk, in the small file `durable`: readers stop there.

```
next offset 8 | first offset of the segment 8 | place in the segment 8 | CRC-32 of these 4 | 0 4
```

Whoever appends writes it after `fsync` and before it answers, under the lock of the partition; so a power loss does not
take away what a reader has seen. The file itself is not synced: where it is old, lost or damaged, the next appender, or
a reader that opens the log, brings the remainder to the disk and publishes it, under the same lock (`settle`).
"""

from __future__ import annotations

import os
import struct
import sys
import zlib
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from asof.errors import AsofError
from asof.streams.log_lock import locked, locked_at_once, path_to_disk
from asof.streams.log_segment import Tail, segment_firsts, segment_path

_MARK = struct.Struct("<qqqI4x")
_CHECKED_BYTES = 24
_RETRIES = 20


class Mark(NamedTuple):
    """An end: the next offset, the first offset of the segment that it is in (-1 without one), and the place there."""

    next: int = 0
    segment: int = -1
    pos: int = 0


class _File:
    """An open file; closed when nobody holds it any more, so that threads may share it."""

    __slots__ = ("fd",)

    def __init__(self, path: str, flags: int) -> None:
        self.fd = -1
        self.fd = os.open(path, flags, 0o644)

    def __del__(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)


class DurableFile:
    """The file of one partition; opened again where another has taken its place."""

    def __init__(self, folder: Path, flags: int = os.O_RDONLY) -> None:
        self._path = f"{folder}/durable"
        self._flags = flags
        self._file: _File | None = None

    def read(self) -> Mark | None:
        """The end that was published last; None where the file is not there or does not say."""
        for _ in range(_RETRIES):  # a write may be under way
            try:
                data = os.pread(self._open().fd, _MARK.size, 0)
            except FileNotFoundError:
                return None
            if len(data) == _MARK.size:
                *mark, crc = _MARK.unpack(data)
                if zlib.crc32(data[:_CHECKED_BYTES]) == crc:
                    return Mark(*mark)
        return None

    def publish(self, mark: Mark, *, look: bool = True) -> None:
        """Writes an end; for the holder of the partition's lock. `look`: whether the open file is still the one that is
        there (2 us).
        """
        data = _MARK.pack(*mark, 0)
        data = _MARK.pack(*mark, zlib.crc32(data[:_CHECKED_BYTES]))
        os.pwrite(self._open(look=look).fd, data, 0)

    def _open(self, *, look: bool = True) -> _File:
        file = self._file
        if file is None or (look and os.fstat(file.fd).st_nlink == 0):
            file = self._file = _File(self._path, self._flags)
        return file


def mark_of(tail: Tail) -> Mark:
    """Where a tail is."""
    return Mark() if tail.segment is None else Mark(tail.next, tail.segment.first, tail.pos)


def settle(file: DurableFile, tail: Tail, *, fsync: bool) -> Mark:
    """Brings what no end was published for to the disk, and publishes the tail; for the holder of the lock.

    A power loss may have left an end behind that is too old or (of a log that was not synced) too far.
    """
    published, mark = file.read(), mark_of(tail)
    if published == mark:
        return mark
    if fsync:
        for first in segment_firsts(tail.folder):
            if published is None or first >= published.segment:
                path_to_disk(str(segment_path(tail.folder, first)))
        path_to_disk(str(tail.folder))
    file.publish(mark)
    return mark


class DurableEnd:
    """How far a partition may be read; safe to use from threads."""

    def __init__(self, folder: Path, *, fsync: bool = True) -> None:
        self._folder = folder
        self._fsync = fsync
        self._file = DurableFile(folder)
        self._is_open = False
        self._seen = 0

    def limit(self, enough: int = sys.maxsize) -> int:
        """The offset before which events may be seen; not looked up where as many as are `enough` were there before.

        Raises:
            BackendError: no end is published, and another process holds the lock for too long.
            CorruptSource: no end is published, and the newest segment is damaged.
        """
        if not self._is_open:
            self._is_open = True
            self._catch_up()
        if self._seen < enough:
            mark = self._file.read()
            self._seen = self._recovered() if mark is None else mark.next
        return self._seen

    def close(self) -> None:
        """Lets go of the file."""
        self._file = DurableFile(self._folder)

    def _catch_up(self) -> None:
        """What a dead appender has left becomes visible, unless one that is alive is at work; reading on tells what
        is damaged.
        """
        mark = self._file.read()
        if mark is None or not self._is_behind(mark):
            return
        with suppress(OSError, AsofError), locked_at_once(f"{self._folder}/lock") as is_held:
            if is_held:
                self._settle()

    def _is_behind(self, mark: Mark) -> bool:
        firsts = segment_firsts(self._folder)
        if not firsts or firsts[-1] != mark.segment:
            return bool(firsts)
        return segment_path(self._folder, mark.segment).stat().st_size != mark.pos

    def _recovered(self) -> int:
        with locked(f"{self._folder}/lock"):
            return self._settle().next

    def _settle(self) -> Mark:
        tail = Tail(self._folder)
        tail.advance()
        return settle(DurableFile(self._folder, os.O_RDWR | os.O_CREAT), tail, fsync=self._fsync)
