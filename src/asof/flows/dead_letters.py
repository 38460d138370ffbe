"""Dead letters, as somebody deals with them: looked at, tried again, or dropped.

A letter is tried again as a push of the same event: into the partition of its key, and not while it is still not of the
source's form. What the worker refuses again becomes a new dead letter.
"""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from asof.define.source import Events
from asof.errors import DataError, LimitError, StateError
from asof.flows.push import SourceStream, schema_of
from asof.flows.stream_dead import DeadLetter, DeadLetters
from asof.flows.stream_open import open_dead_letters, open_source_stream
from asof.streams.encode import encode_json
from asof.streams.stream import Outgoing

if TYPE_CHECKING:
    from asof.flows.project import Project

Place = tuple[int, int]
_AT_ONCE = 100


@dataclass(frozen=True)
class Retried:
    """What became of dead letters that were tried again: how many are in the stream, and those that are still not of
    the source's form, each with the reason now; they stay on the list.
    """

    count: int
    refused: tuple[tuple[DeadLetter, str], ...] = ()


def list_dead(project: Project, source: Events, reason: str = "") -> list[DeadLetter]:
    """The dead letters of a source whose reason contains a text, in any case, in the order in which they were met."""
    with _opened(project, source) as letters:
        return [each for each in letters.all() if reason.lower() in each.reason.lower()]


def retry_dead(project: Project, source: Events, places: Collection[Place] | None) -> Retried:
    """Appends the events of dead letters to the stream again, and takes them off the list; None: all of them.

    Raises:
        StateError: there is no dead letter at a place. BackendError: the stream failed; trying again does the rest.
    """
    count = 0
    refused: list[tuple[DeadLetter, str]] = []
    with _opened(project, source) as letters:
        found = _chosen(letters, source, places)
        if not found:
            return Retried(0)
        schema, stream = schema_of(project, source), open_source_stream(project, source)
        try:
            for some in _pieces(found):
                good, bad = _append(SourceStream(source, stream, schema), some)
                letters.forget(good)
                count += len(good)
                refused += bad
        finally:
            stream.close()
    return Retried(count, tuple(refused))


def drop_dead(project: Project, source: Events, places: Collection[Place] | None) -> int:
    """Takes dead letters off the list for good, None: all of them; gives how many.

    Raises:
        StateError: there is no dead letter at a place.
    """
    with _opened(project, source) as letters:
        found = _chosen(letters, source, places)
        for some in _pieces(found):
            letters.forget(some)
        return len(found)


def _append(
    to: SourceStream, letters: Sequence[DeadLetter]
) -> tuple[list[DeadLetter], list[tuple[DeadLetter, str]]]:
    """Letters whose events are in the stream again, and those that are still not of its form; no event twice, for each
    goes under a key of its own.
    """
    good: list[DeadLetter] = []
    bad: list[tuple[DeadLetter, str]] = []
    for letter in letters:
        key = f"dead-letter {letter.partition}:{letter.offset}:{letter.at_us}"
        try:
            if letter.form == "avro":
                to.stream.append(Outgoing(1, "avro", events=[letter.event], idempotency_key=key))
            else:
                to.append(
                    lambda s, t, e=letter.event, k=key: encode_json(e, s, t, strict=False, idempotency_key=k)
                )
            good.append(letter)
        except (DataError, LimitError) as exc:
            bad.append((letter, exc.message))
    return good, bad


def _chosen(letters: DeadLetters, source: Events, places: Collection[Place] | None) -> list[DeadLetter]:
    found = {(each.partition, each.offset): each for each in letters.all()}
    if places is None:
        return list(found.values())
    for partition, offset in places:
        if (partition, offset) not in found:
            raise StateError(
                f"source {source.name!r}: no dead letter at {partition}:{offset}",
                hint=f"`asof dead-letter list {source.name}` shows those that there are",
                source=source.name,
            )
    return [found[place] for place in dict.fromkeys(places)]


@contextmanager
def _opened(project: Project, source: Events) -> Generator[DeadLetters]:
    letters = open_dead_letters(project, source)
    try:
        yield letters
    finally:
        letters.close()


def _pieces(letters: Sequence[DeadLetter]) -> Iterator[Sequence[DeadLetter]]:
    for start in range(0, len(letters), _AT_ONCE):
        yield letters[start : start + _AT_ONCE]
