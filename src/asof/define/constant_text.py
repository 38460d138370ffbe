"""Constants as text: equal text is equal value, in every process and Python version.

Only for values that hold no other values; `function_source.py` goes through containers and objects. No text comes
from the `repr` of an unknown class, so none holds an address in memory.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from fractions import Fraction
from pathlib import PurePath
from typing import Any, cast
from uuid import UUID
from zoneinfo import ZoneInfo

LONG = 2_000  # characters; longer text stands as its checksum
_BITS_IN_DIGITS = 1_000  # Python refuses to write out huge numbers
_KINDS_OF_VALUES = "biufcmMSU"  # kinds of dtype whose bytes are their values


def constant_text(value: object) -> str | None:
    """The text of a constant or of a NumPy array or number; None for everything else.

    Example:
        >>> constant_text(Decimal("1.50")), constant_text(2.0), constant_text([2.0])
        ("Decimal('1.50')", '2.0', None)
    """
    make = _TEXT.get(type(value))
    if make is not None:
        return shortened(make(value))
    if isinstance(value, timedelta):  # that of pandas, say
        return f"{type_name(type(value))}({value.days},{value.seconds},{value.microseconds})"
    if isinstance(value, date | time):
        return f"{type_name(type(value))}({value.isoformat()})"
    if isinstance(value, PurePath) and type(value).__module__.split(".")[0] == "pathlib":
        return f"Path({value.as_posix()!a})"
    if isinstance(value, tzinfo):
        return f"zone {type_name(type(value))}"
    return _array_text(value)


def shortened(text: str) -> str:
    """The text, or its checksum where it is long."""
    if len(text) <= LONG:
        return text
    return f"sha256({hashlib.sha256(text.encode()).hexdigest()},{len(text)})"


def type_name(kind: type) -> str:
    """The class by the name of its module and its own."""
    return public_name(kind.__module__, kind.__qualname__)


def public_name(module: object, name: str) -> str:
    """A library's name without its private modules, which are others from version to version.

    Example:
        >>> (
        ...     public_name("_collections", "deque"),
        ...     public_name("pathlib._local", "Path"),
        ...     public_name(None, "log"),
        ... )
        ('collections.deque', 'pathlib.Path', 'log')
    """
    top, *inner = str(module or "").split(".")
    parts = [top.strip("_"), *(part for part in inner if not part.startswith("_")), name]
    return ".".join(part for part in parts if part)


def _time_text(value: datetime | time) -> str:
    zone = None if value.tzinfo is None else constant_text(value.tzinfo)
    return f"{type(value).__name__}({value.replace(tzinfo=None).isoformat()},fold={value.fold},{zone})"


def is_array(value: object) -> bool:
    """Whether it is a NumPy array or number, or one that behaves like it."""
    is_like_one = all(hasattr(type(value), name) for name in ("dtype", "shape", "tobytes", "tolist"))
    return is_like_one and isinstance(getattr(cast("Any", value).dtype, "str", None), str)


def _array_text(value: Any) -> str | None:
    """An array by type, shape and checksum of its bytes; None where bytes would be addresses or hold padding."""
    if not is_array(value) or value.dtype.kind not in _KINDS_OF_VALUES:
        return None
    # A long double is padded with whatever was in memory.
    held = value.astype("U64") if value.dtype.char in "gG" else value
    return f"array({value.dtype.str},{tuple(value.shape)},{hashlib.sha256(held.tobytes()).hexdigest()})"


_TEXT: dict[type, Callable[[Any], str]] = {
    type(None): repr,
    type(...): repr,
    type(NotImplemented): repr,
    bool: repr,
    int: lambda value: repr(value) if value.bit_length() < _BITS_IN_DIGITS else hex(value),
    float: repr,
    complex: repr,
    str: ascii,  # which characters `repr` prints depends on the Python version
    bytes: repr,
    bytearray: repr,
    range: repr,
    Decimal: repr,
    Fraction: repr,
    UUID: repr,
    date: repr,
    timedelta: repr,
    timezone: repr,
    ZoneInfo: lambda value: f"ZoneInfo({value.key!a})",
    datetime: _time_text,
    time: _time_text,
    re.Pattern: lambda value: f"Pattern({value.pattern!a},{value.flags})",
}
