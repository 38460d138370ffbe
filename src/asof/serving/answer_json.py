"""An answer as the JSON of `POST /v1/features`, put together from parts of which the longest are kept.

The body is one object: service, names, at, values (a row for each entity), statuses (a text for each row with a letter
for each value: `LETTERS`) and freshness by view. Measured in bench/serving.py: the encoding costs less than the read.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import msgspec

from asof.clock import format_time
from asof.define.window import BEGIN_US
from asof.flows.answer import Answer, Freshness
from asof.serving.cells import IdentityCache, rows

LETTERS = "pnmes"
"""The first letters of `STATUSES`: present, null, missing, expired, stale."""

_TO_LETTERS = bytes.maketrans(bytes(range(len(LETTERS))), LETTERS.encode())
_ENCODER = msgspec.json.Encoder()
encode = _ENCODER.encode


_names_of: IdentityCache[bytes] = IdentityCache(encode)


def answer_json(answer: Answer) -> bytes:
    """The body of the answer.

    Example:
        >>> import numpy as np
        >>> from asof.types import DType
        >>> one = np.ones((1, 1), np.int64)
        >>> made = Answer("s", 0, ("n",), (DType("int64"),), one, one > 0, np.zeros((1, 1), np.uint8))
        >>> answer_json(made)
        b'{"service":"s","names":["n"],"at":"1970-01-01T00:00:00Z","values":[[1]],"statuses":["p"],"freshness":{}}'
    """
    freshness = {each.view: freshness_of(each, answer.at_us) for each in answer.freshness}
    rest = encode({"values": rows(answer), "statuses": letters(answer), "freshness": freshness})
    at = instant(answer.at_us).encode()
    return b'{"service":%b,"names":%b,"at":"%b",%b' % (
        encode(answer.service),
        _names_of(answer.names),
        at,
        rest[1:],
    )


def letters(answer: Answer) -> list[str]:
    """One text for each entity, with the letter of each value's status.

    Shape: `(n,)` texts of f letters.
    """
    text = answer.statuses.tobytes().translate(_TO_LETTERS).decode()
    width = len(answer.names)
    return (
        [text[start : start + width] for start in range(0, width * answer.size, width)]
        if width
        else [""] * answer.size
    )


def freshness_of(view: Freshness, at_us: int) -> dict[str, Any]:
    """The watermark as text, and for each entity the seconds since its newest event, None where it has none."""
    return {"watermark": time_text(view.watermark_us), "ages_s": view.ages_s(at_us)}


def instant(at_us: int) -> str:
    """The time as `format_time` writes it; the second that it is in is kept, for the next request is in it too.

    Example:
        >>> instant(1_735_689_600_250_000), instant(1_735_689_600_000_000)
        ('2025-01-01T00:00:00.250000Z', '2025-01-01T00:00:00Z')
    """
    second, rest_us = divmod(at_us, 1_000_000)
    text = _second(second)
    return f"{text[:-1]}.{rest_us:06d}Z" if rest_us else text


@lru_cache(maxsize=256)
def _second(second: int) -> str:
    return format_time(second * 1_000_000)


@lru_cache(maxsize=4_096)
def time_text(at_us: int) -> str | None:
    """The time as ISO 8601, None for the beginning of time; watermarks seldom change."""
    return None if at_us <= BEGIN_US else format_time(at_us)
