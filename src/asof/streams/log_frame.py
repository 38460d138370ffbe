"""Frames of the embedded log: a batch of events as it was appended, behind a header that says what it is.

```
magic 4 | CRC-32 of all that follows 4 | length of the body 4 | form 1 | 0 3 | count 4 | bytes of the same write before
this frame 4 | first offset 8 | taken at, us 8 | hash of the idempotency key 16, zeros without | body
```

All numbers are little-endian. A frame is whole where its checksum says so; a frame that was being written when its
writer died is not, and stands at the end of its file.
"""

from __future__ import annotations

import hashlib
import os
import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

MAGIC = b"asL1"
NO_KEY = bytes(16)
JSON_MANY, JSON_ONE, ARROW = 0, 1, 2
"""A JSON array or JSON lines; one JSON object; an Arrow IPC stream."""
HEAD = struct.Struct("<4sIIB3xIIqq16s")
_REST = struct.Struct("<IB3xIIqq16s")
_CHECKED_FROM = HEAD.size - _REST.size
WINDOW_BYTES = 1 << 18


class Frame(NamedTuple):
    """A frame's header, and where it is: the file's bytes from `pos` to `stop`."""

    pos: int
    stop: int
    form: int
    events: int
    before: int
    first: int
    stamp_us: int
    key: bytes


def key_hash(idempotency_key: str) -> bytes:
    """The 16 bytes by which a key is remembered; never those that mean no key."""
    return hashlib.blake2b(idempotency_key.encode(), digest_size=16).digest()


def encode(form: int, count: int, first: int, stamp_us: int, key: bytes, body: bytes, before: int) -> bytes:
    """The bytes of a frame."""
    rest = _REST.pack(len(body), form, count, before, first, stamp_us, key)
    crc = zlib.crc32(body, zlib.crc32(rest))
    return b"".join((MAGIC, crc.to_bytes(4, "little"), rest, body))


def frame_at(buffer: bytes, at: int, buffer_pos: int = 0) -> Frame | None:
    """The header at a place of a buffer, which begins at `buffer_pos` of its file; None where no frame begins there.

    Example:
        >>> frame_at(encode(JSON_ONE, 1, 7, 0, NO_KEY, b"{}", 0), 0, 1_000)[:6]
        (1000, 1058, 1, 1, 0, 7)
    """
    if at + HEAD.size > len(buffer):
        return None
    magic, _, length, form, count, before, first, stamp_us, key = HEAD.unpack_from(buffer, at)
    if magic != MAGIC or not count:
        return None
    pos = buffer_pos + at
    return Frame(pos, pos + HEAD.size + length, form, count, before, first, stamp_us, key)


def is_whole(buffer: bytes, at: int, stop: int) -> bool:
    """Whether the bytes from `at` to `stop` are a frame as it was written."""
    crc = int.from_bytes(buffer[at + 4 : at + _CHECKED_FROM], "little")
    return stop <= len(buffer) and zlib.crc32(memoryview(buffer)[at + _CHECKED_FROM : stop]) == crc


def walk(fd: int, pos: int) -> Iterator[Frame]:
    """The whole frames of a file, one after another from a place on; ends before the first that is not whole."""
    size = os.fstat(fd).st_size
    while pos + HEAD.size <= size:
        buffer = os.pread(fd, WINDOW_BYTES, pos)
        frame = frame_at(buffer, 0, pos)
        if frame is None or frame.stop > size:
            return
        if frame.stop - pos > len(buffer):
            buffer = os.pread(fd, frame.stop - pos, pos)
        at = 0
        while frame is not None and frame.stop - pos <= len(buffer):
            if not is_whole(buffer, at, frame.stop - pos):
                return
            yield frame
            at = frame.stop - pos
            frame = frame_at(buffer, at, pos)
        if frame is None and at + HEAD.size <= len(buffer):
            return
        pos += at


def written_later(fd: int, pos: int) -> tuple[bool, bytes]:
    """Whether a whole frame of a later write stands behind a place; and the bytes from the place on, where a whole
    frame of any write is among them (else none).
    """
    buffer = os.pread(fd, max(os.fstat(fd).st_size - pos, 0), pos)
    at, any_whole = buffer.find(MAGIC, 1), False
    while at >= 0:
        frame = frame_at(buffer, at, pos)
        if frame is not None and is_whole(buffer, at, frame.stop - pos):
            any_whole = True
            if frame.pos - frame.before > pos:
                return True, buffer
        at = buffer.find(MAGIC, at + 1)
    return False, buffer if any_whole else b""
