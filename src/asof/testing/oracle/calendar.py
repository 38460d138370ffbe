"""Banking days, counted one by one over holidays that were copied by hand.

Source: Federal Reserve Financial Services, "Holiday Schedules". On a Saturday holiday the banks are open on the
Friday before it; a Sunday holiday closes them on the Monday after it, which is the day that stands here.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from asof.errors import DataError

_HOLIDAYS = {
    2023: "01-02 01-16 02-20 05-29 06-19 07-04 09-04 10-09 11-11 11-23 12-25",
    2024: "01-01 01-15 02-19 05-27 06-19 07-04 09-02 10-14 11-11 11-28 12-25",
    2025: "01-01 01-20 02-17 05-26 06-19 07-04 09-01 10-13 11-11 11-27 12-25",
    2026: "01-01 01-19 02-16 05-25 06-19 07-04 09-07 10-12 11-11 11-26 12-25",
}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SATURDAY = 5


def is_banking_day(day: date) -> bool:
    """True from Monday to Friday, except on a Federal Reserve Bank holiday.

    Raises:
        DataError: a year of which this oracle has no holidays.

    Example:
        >>> [is_banking_day(date(2024, 7, day)) for day in (3, 4, 6)]
        [True, False, False]
    """
    if day.year not in _HOLIDAYS:
        raise DataError(f"oracle: no banking holidays for {day.year}", hint="2023 to 2026")
    return day.weekday() < _SATURDAY and f"{day:%m-%d}" not in _HOLIDAYS[day.year].split()


def banking_deadline_us(t_us: int, n: int, zone: str) -> int:
    """The local midnight at which the n-th banking day after the local date of t ends, in microseconds UTC."""
    local = (_EPOCH + timedelta(microseconds=t_us)).astimezone(ZoneInfo(zone))
    day, counted = local.date(), 0
    while counted < n:
        day += timedelta(days=1)
        counted += is_banking_day(day)
    midnight = datetime.combine(day + timedelta(days=1), time(), ZoneInfo(zone))
    return (midnight - _EPOCH) // timedelta(microseconds=1)
