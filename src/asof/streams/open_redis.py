"""Opens a stream of Redis: the entry point `RedisStream` of `asof.streams`."""

from __future__ import annotations

from pathlib import Path

from asof.clock import Clock
from asof.define.stream import RedisStream
from asof.streams.redis_stream import RedisEvents


def open_redis(definition: RedisStream, *, folder: Path, clock: Clock) -> RedisEvents:
    """The stream; nothing of it lies in the project's folder."""
    del folder, clock
    return RedisEvents(definition)
