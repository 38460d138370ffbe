"""The stream of a definition: which record opens what is the table of entry points `asof.streams`.

An entry point has the name of a record of `define/stream.py`; it is called with the record and the keywords `folder`
and `clock`, and gives a `Stream`. Its file imports the library that it needs.
"""

from __future__ import annotations

from importlib.metadata import entry_points
from pathlib import Path
from typing import Protocol, cast

from asof.clock import Clock
from asof.define.stream import Kafka
from asof.define.stream import Stream as Definition
from asof.errors import ConfigError, did_you_mean
from asof.streams.decode import Avro
from asof.streams.stream import Stream

GROUP, DECODERS = "asof.streams", "asof.decoders"


class _Decoder(Protocol):
    @property
    def decode(self) -> Avro: ...


class _Opener(Protocol):
    def __call__(self, definition: Definition, *, folder: Path, clock: Clock) -> Stream: ...


def open_stream(definition: Definition, *, name: str, folder: Path, clock: Clock) -> Stream:
    """The stream of a source; close it when done.

    Args:
        definition: what the source says of its stream.
        name: the source's name.
        folder: where embedded streams lie, each in a folder of its source's name.
        clock: tells when events were taken, where the stream itself does not.

    Raises:
        MissingExtra: the stream's library is not installed. ConfigError: nothing opens such a stream.
        BackendError: an embedded stream cannot be opened; others connect when they are first used.
    """
    kind = type(definition).__name__
    found = {each.name: each for each in entry_points(group=GROUP)}
    if kind not in found:
        raise ConfigError(f"source {name!r}: nothing opens a stream {kind!r}", hint=did_you_mean(kind, found))
    opener = cast("_Opener", found[kind].load())
    return opener(definition, folder=folder / name, clock=clock)


def open_decoder(definition: Definition) -> Avro | None:
    """What reads the events of a stream that are no JSON; None where there are none such.

    Raises:
        MissingExtra: its library is not installed.
    """
    if not isinstance(definition, Kafka) or definition.format == "json":
        return None
    (found,) = entry_points(group=DECODERS, name=definition.format)
    return cast("_Decoder", found.load()(definition)).decode
