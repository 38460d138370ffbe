"""The idempotency keys that one partition of the embedded log remembers, and where their batches are."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

from asof.streams.log_frame import NO_KEY, Frame, walk
from asof.streams.log_segment import first_stamp, open_segments, segment_firsts

REMEMBERED_US = 24 * 3_600_000_000
MAX_KEYS = 1_000_000

Place = tuple[int, int]
"""First offset, and how many events."""


class Keys:
    """Hashes of keys of the last 24 hours, the newest million at most; read from the files when first needed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._places: OrderedDict[bytes, tuple[int, int, int]] | None = None

    def note(self, frame: Frame) -> None:
        """Remembers a frame's key; before the first question there is nothing to do."""
        if self._places is not None and frame.key != NO_KEY:
            self._places[frame.key] = (frame.stamp_us, frame.first, frame.events)

    def find(self, key: bytes, now_us: int) -> Place | None:
        """Where the batch of a key is; None where it is not remembered."""
        if self._places is None:
            self._places = self._load(now_us - REMEMBERED_US)
        places = self._places
        while places and (len(places) > MAX_KEYS or next(iter(places.values()))[0] < now_us - REMEMBERED_US):
            places.popitem(last=False)
        found = places.get(key)
        return None if found is None else found[1:]

    def _load(self, since_us: int) -> OrderedDict[bytes, tuple[int, int, int]]:
        """Those of the newest segments, as far back as they count."""
        parts: list[list[Frame]] = []
        for segment in open_segments(self._folder, reversed(segment_firsts(self._folder))):
            parts.append([f for f in walk(segment.fd, 0) if f.key != NO_KEY and f.stamp_us >= since_us])
            oldest_us = first_stamp(segment)
            if sum(map(len, parts)) >= MAX_KEYS or (oldest_us is not None and oldest_us < since_us):
                break
        frames = (frame for part in reversed(parts) for frame in part)
        return OrderedDict((frame.key, (frame.stamp_us, frame.first, frame.events)) for frame in frames)
