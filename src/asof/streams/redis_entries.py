"""Entries of a stream of Redis, as offsets and events.

An entry's identifier is `<milliseconds>-<number>`; its offset is `milliseconds << 20 | number`. An event is the field
`e` of an entry. An entry that somebody else wrote without it is the JSON object of its fields, all of them text.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from asof.streams.stream import Chunk

FIELD = b"e"
NUMBER_BITS = 20
_MOST_NUMBER = (1 << NUMBER_BITS) - 1
_MOST_MS = (1 << 63 - NUMBER_BITS) - 1


def offset_of(identifier: bytes) -> int | None:
    """An identifier's offset; None where it is none, since the number or the time is too large.

    Example:
        >>> offset_of(b"1700000000000-3"), offset_of(b"1-1048576")
        (1782579200000000003, None)
    """
    at_ms, _, number = identifier.partition(b"-")
    if int(number) > _MOST_NUMBER or int(at_ms) > _MOST_MS:
        return None
    return int(at_ms) << NUMBER_BITS | int(number)


def identifier_of(offset: int) -> bytes:
    """An offset's identifier.

    Example:
        >>> identifier_of(1782579200000000003)
        b'1700000000000-3'
    """
    return b"%d-%d" % (offset >> NUMBER_BITS, offset & _MOST_NUMBER)


def stamp_us(offset: int) -> int:
    """When an entry was taken, to the millisecond."""
    return (offset >> NUMBER_BITS) * 1_000


def chunk_of(entries: Sequence[Any]) -> Chunk | None:
    """Entries of an XRANGE or XREAD as a chunk; None where an identifier has no offset.

    Shape: n entries `(identifier, fields)`, at least one -> offsets and stamps `(n,)`.
    """
    offsets = [offset_of(identifier) for identifier, _ in entries]
    if None in offsets:
        return None
    places = np.array(offsets, np.int64)
    events = [_event(fields) for _, fields in entries]
    return Chunk(0, places, (places >> NUMBER_BITS) * 1_000, "json", events=events)


def _event(fields: dict[bytes, bytes]) -> bytes:
    event = fields.get(FIELD)
    if event is not None:
        return event
    try:
        return json.dumps({name.decode(): value.decode() for name, value in fields.items()}).encode()
    except UnicodeDecodeError:
        return b" ".join(fields.values())  # no JSON: a letter that nobody can read
