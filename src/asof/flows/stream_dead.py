"""Dead letters: events that cannot be used, kept with their reason until somebody has them tried again or removes them.

They are a stream of their own beside their source's: `{"partition", "offset", "reason", "at_us", "form", "event"}`, an
event as text (or as base64, where it is none). What is tried again is noted there, too. A worker that was killed may
write one twice; its partition and offset say that it is the same.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

from asof.flows.stream_events import Dead
from asof.streams.raw_event import raw_event
from asof.streams.stream import Chunk, Form, Outgoing, Stream

_PAGE = 1_000


@dataclass(frozen=True)
class DeadLetter:
    """An event that could not be used: where it stood, why, when that was met, and the event itself."""

    partition: int
    offset: int
    reason: str
    at_us: int
    form: Form
    event: bytes


class DeadLetters:
    """The dead letters of one source."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    def add(self, dead: Sequence[Dead], chunks: Sequence[Chunk], at_us: int) -> None:
        """Keeps events that cannot be used; they are durable when it returns."""
        letters: list[bytes] = []
        for each in dead:
            chunk, place = _found(chunks, each.offset)
            form: Form = "json" if chunk.form == "arrow" else chunk.form
            letters.append(
                _written(
                    DeadLetter(each.partition, each.offset, each.reason, at_us, form, raw_event(chunk, place))
                )
            )
        self._append(letters)

    def all(self) -> Iterator[DeadLetter]:
        """Those that were not tried again since, each once, in the order in which they were met."""
        found: dict[tuple[int, int], DeadLetter] = {}
        gone: set[tuple[int, int]] = set()  # a worker that reads again after a crash may write them once more
        for body in self._bodies():
            if "retried" in body:
                gone.update((partition, offset) for partition, offset in body["retried"])
                continue
            letter = _read(body)
            found.setdefault((letter.partition, letter.offset), letter)
        yield from (letter for place, letter in found.items() if place not in gone)

    def forget(self, letters: Sequence[DeadLetter]) -> None:
        """Takes letters off the list, since they were tried again or are given up."""
        places = [[letter.partition, letter.offset] for letter in letters]
        self._append([json.dumps({"retried": places}).encode()] if places else [])

    def close(self) -> None:
        """Lets go of the stream."""
        self._stream.close()

    def _append(self, events: Sequence[bytes]) -> None:
        if events:
            self._stream.append(Outgoing(len(events), "json", events=events))

    def _bodies(self) -> Iterator[dict[str, Any]]:
        for partition, ends in sorted(self._stream.ends().items()):
            offset = ends.first
            while chunks := self._stream.read(partition, offset, _PAGE):
                for chunk in chunks:
                    offset = chunk.next_offset
                    for place in range(len(chunk.offsets)):
                        yield cast("dict[str, Any]", json.loads(raw_event(chunk, place)))


def _found(chunks: Sequence[Chunk], offset: int) -> tuple[Chunk, int]:
    for chunk in chunks:
        if int(chunk.offsets[0]) <= offset <= int(chunk.offsets[-1]):
            return chunk, int(chunk.offsets.searchsorted(offset))
    raise LookupError(offset)


def _written(letter: DeadLetter) -> bytes:
    body = {name: value for name, value in vars(letter).items() if name != "event"}
    try:
        event = {"event": letter.event.decode()}
    except UnicodeDecodeError:
        event = {"event_base64": base64.b64encode(letter.event).decode()}
    return json.dumps(body | event).encode()


def _read(body: dict[str, Any]) -> DeadLetter:
    text = body.pop("event", None)
    coded = body.pop("event_base64", "")
    return DeadLetter(**body, event=base64.b64decode(coded) if text is None else text.encode())
