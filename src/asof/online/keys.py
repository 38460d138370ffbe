"""Entity keys as bytes: what a record lies under.

One text key is its UTF-8; numbers are decimal, dates ISO, booleans `t` or `f`; of several keys each but the last has
its length before it (`3:abc`), so that different keys never share bytes. A key that is empty, begins with a byte that
the store keeps for itself, or is long, is a 0xFF and the BLAKE2b of those bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from datetime import date
from typing import Any, cast

LONGEST_BYTES = 200
_SPECIAL = {0x00, 0xFF}


def _whole(encoded: bytes) -> bytes:
    if not encoded or len(encoded) > LONGEST_BYTES or encoded[0] in _SPECIAL:
        return b"\xff" + hashlib.blake2b(encoded, digest_size=32).digest()
    return encoded


def _text(value: Any) -> bytes:
    return cast("str", value).encode()


def _number(value: Any) -> bytes:
    return b"%d" % value


def _date(value: Any) -> bytes:
    return cast("date", value).isoformat().encode()


def _bool(value: Any) -> bytes:
    return b"t" if value else b"f"


ENCODERS: dict[str, Callable[[Any], bytes]] = {
    "string": _text,
    "int32": _number,
    "int64": _number,
    "date": _date,
    "bool": _bool,
}


def encode_texts(texts: Sequence[bytes]) -> list[bytes]:
    """The keys of entities that have one key, a text, of their UTF-8; the same as `encode_keys` gives.

    Example:
        >>> encode_texts([b"a1", b""])[0]
        b'a1'
    """
    return [key if 0 < len(key) <= LONGEST_BYTES and key[0] not in _SPECIAL else _whole(key) for key in texts]


def encode_keys(kinds: Sequence[str], columns: Sequence[Sequence[object]]) -> list[bytes]:
    """The keys of entities, whose parts come column by column; none of them is null.

    Example:
        >>> encode_keys(["string", "int64"], [["a", "bc"], [7, 8]])
        [b'1:a7', b'2:bc8']
        >>> encode_keys(["string"], [["a1"]])
        [b'a1']
    """
    encoders = [ENCODERS[kind] for kind in kinds]
    if len(encoders) == 1:
        return [_whole(encoders[0](value)) for value in columns[0]]
    keys: list[bytes] = []
    for values in zip(*columns, strict=True):
        parts = [encode(value) for encode, value in zip(encoders, values, strict=True)]
        keys.append(_whole(b"".join(b"%d:" % len(part) + part for part in parts[:-1]) + parts[-1]))
    return keys
