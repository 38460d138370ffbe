"""Time as asof keeps it: integer microseconds since 1970-01-01T00:00:00 UTC, and durations in microseconds.

This is the only module that asks the machine for the time of day; everything else is handed a `Clock`, so
that a test (or a replay) decides what "now" is: see `asof.testing.clock.FakeClock`. Instants and durations of
the public API are `datetime` and `timedelta` or text; inside they are integers whose names end in `_us`. A
datetime without a zone is UTC.
"""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime, timedelta
from typing import Protocol

from asof.errors import DefinitionError, NumericOverflow

# Largest first: this is also the order in which a text may name them. Months and years are not exact and not here.
UNITS_US = {
    "w": 604_800_000_000,
    "d": 86_400_000_000,
    "h": 3_600_000_000,
    "m": 60_000_000,
    "s": 1_000_000,
    "ms": 1_000,
    "us": 1,
}
MAX_US = 2**63 - 1

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ONE_US = timedelta(microseconds=1)
_PART = re.compile(r"([0-9]{1,20})\s*([a-zA-Z]+)\s*")  # 20 digits hold 2^64; int() refuses very long texts
_ALLOWED = "whole numbers of w, d, h, m, s, ms, us, largest first, such as 30d or 1h30m"


class Clock(Protocol):
    """Tells the present instant, in microseconds or as a datetime in UTC."""

    def now_us(self) -> int:
        """The present instant in microseconds since the epoch."""
        ...

    def now(self) -> datetime:
        """The present instant as a datetime in UTC."""
        ...


class SystemClock:
    """The machine's clock.

    Example:
        >>> clock = SystemClock()
        >>> clock.now_us() <= clock.now_us()
        True
    """

    def now_us(self) -> int:
        """The present instant in microseconds since the epoch."""
        return time.time_ns() // 1_000

    def now(self) -> datetime:
        """The present instant as a datetime in UTC."""
        return from_us(self.now_us())


def to_us(at: datetime) -> int:
    """The instant in microseconds since the epoch, exactly; a datetime without a zone is read as UTC.

    Example:
        >>> to_us(datetime(2025, 1, 1)), to_us(datetime(2025, 1, 1, tzinfo=UTC))
        (1735689600000000, 1735689600000000)
    """
    return ((at.replace(tzinfo=UTC) if at.tzinfo is None else at) - _EPOCH) // _ONE_US


def from_us(at_us: int) -> datetime:
    """The instant as a datetime in UTC, exactly.

    Raises:
        NumericOverflow: before the year 1 or after 9999, which `datetime` cannot tell; carries `at_us`.

    Example:
        >>> from_us(1_735_689_600_000_000).isoformat()
        '2025-01-01T00:00:00+00:00'
    """
    try:
        return _EPOCH + timedelta(microseconds=at_us)
    except OverflowError as exc:
        raise NumericOverflow(
            f"time: {at_us} us is outside of the years 1 to 9999",
            hint="are these microseconds, and not nanoseconds?",
            at_us=at_us,
        ) from exc


def parse_time(text: str | datetime) -> int:
    """The instant that an ISO 8601 text or a datetime names, in microseconds; without a zone it is UTC.

    Raises:
        DefinitionError: the text is no ISO 8601 date or time; carries `seen`.

    Example:
        >>> parse_time("2025-01-01") == parse_time("2025-01-01T01:00:00+01:00")
        True
    """
    if isinstance(text, datetime):
        return to_us(text)
    try:
        return to_us(datetime.fromisoformat(text))
    except (ValueError, TypeError) as exc:
        raise DefinitionError(
            f"time: {text!r} is not an ISO 8601 date or time",
            hint="write it as 2025-01-31 or 2025-01-31T09:30:00Z",
            seen=repr(text),
        ) from exc


def format_time(at_us: int) -> str:
    """The instant as ISO 8601 text in UTC, with as many decimals as it needs; `parse_time` reads it back.

    Example:
        >>> format_time(1_735_689_600_000_000), format_time(1_735_689_600_250_000)
        ('2025-01-01T00:00:00Z', '2025-01-01T00:00:00.250000Z')
    """
    return from_us(at_us).isoformat().replace("+00:00", "Z")


def parse_duration(text: str | timedelta) -> int:
    """The length in microseconds of a text such as `30d` or `1h30m`, or of a timedelta.

    Units: w, d, h, m, s, ms, us, each at most once, largest first; a day is 86,400 s and a week is 7 days.

    Raises:
        DefinitionError: not a text or timedelta, no such unit, a negative length, or more than 64 bits hold;
            carries `seen`.

    Example:
        >>> parse_duration("1h30m") == parse_duration(timedelta(minutes=90)) == 5_400_000_000
        True
        >>> parse_duration("3 months")
        Traceback (most recent call last):
        asof.errors.DefinitionError: duration '3 months': no unit 'months'; allowed: whole numbers of w, d,
        ...
        hint: months and years differ in length: count days
    """
    length_us = text // _ONE_US if isinstance(text, timedelta) else _parse_text(text)
    if not 0 <= length_us <= MAX_US:
        raise _refused(text, "must be from 0 to 2^63 - 1 us")
    return length_us


def format_duration(length_us: int) -> str:
    """The length as one whole number of the largest unit from us to d that divides it; `parse_duration` reads
    it back.

    Days are the largest unit, so `7d` stays `7d`, while `24h` and `1d` are one length and have one name.

    Example:
        >>> [format_duration(parse_duration(text)) for text in ("7d", "24h", "2w", "1h30m", "90s", "0s")]
        ['7d', '1d', '14d', '90m', '90s', '0s']
    """
    for unit, unit_us in UNITS_US.items():
        if unit != "w" and length_us % unit_us == 0 and length_us:
            return f"{length_us // unit_us}{unit}"
    return "0s"


def _parse_text(text: str) -> int:
    parts = _parts(text)
    units = list(UNITS_US)
    order = [units.index(unit) for _, unit in parts]
    if order != sorted(set(order)):
        raise _refused(text, "each unit may stand once, largest first")
    return sum(int(number) * UNITS_US[unit] for number, unit in parts)


def _parts(text: str) -> list[tuple[str, str]]:
    if not isinstance(text, str):  # pyright: ignore[reportUnnecessaryIsInstance] - users pass numbers
        raise _refused(text, "is no text and no timedelta", hint="a number needs its unit: '30d'")
    parts: list[tuple[str, str]] = []
    position, clean = 0, text.strip()
    while position < len(clean) or not parts:
        found = _PART.match(clean, position)
        if found is None:
            raise _refused(text, "is no duration")
        if found[2] not in UNITS_US:
            raise _refused(text, f"no unit {found[2]!r}", hint=_unit_hint(found[2]))
        parts.append((found[1], found[2]))
        position = found.end()
    return parts


def _unit_hint(unit: str) -> str | None:
    if unit in {"M", "mo", "month", "months", "y", "year", "years"}:
        return "months and years differ in length: count days"
    first = unit[:1].lower()
    return f"did you mean {first!r}?" if first in UNITS_US else None


def _refused(seen: object, why: str, hint: str | None = None) -> DefinitionError:
    return DefinitionError(f"duration {seen!r}: {why}; allowed: {_ALLOWED}", hint=hint, seen=repr(seen))
