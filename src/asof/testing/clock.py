"""A clock that stands still until a test moves it: pass it wherever a `Clock` is asked for."""

from __future__ import annotations

from datetime import datetime, timedelta

from asof.clock import from_us, parse_duration, parse_time


class FakeClock:
    """Tells the instant that it was set to; time passes when `advance` says so.

    Example:
        >>> clock = FakeClock("2025-01-01")
        >>> clock.advance("1h30m")
        >>> clock.now().isoformat()
        '2025-01-01T01:30:00+00:00'
    """

    def __init__(self, at: datetime | str = "2025-01-01T00:00:00Z") -> None:
        self._at_us = parse_time(at)

    def now_us(self) -> int:
        """The instant that the clock was set to, in microseconds."""
        return self._at_us

    def now(self) -> datetime:
        """The instant that the clock was set to, as a datetime in UTC."""
        return from_us(self._at_us)

    def advance(self, by: timedelta | str) -> None:
        """Lets a duration pass: `advance("5m")`."""
        self._at_us += parse_duration(by)

    def set(self, at: datetime | str) -> None:
        """Sets the clock to an instant, later or earlier."""
        self._at_us = parse_time(at)
