"""Opens the embedded log: the entry point `Log` of `asof.streams`."""

from __future__ import annotations

from pathlib import Path

from asof.clock import Clock
from asof.define.stream import Log
from asof.streams.log import LogStream


def open_log(definition: Log, *, folder: Path, clock: Clock) -> LogStream:
    """The log that lies in a folder, which is made where there is none."""
    return LogStream(folder, definition, clock=clock)
