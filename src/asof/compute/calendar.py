"""Banking days of the United States: the Federal Reserve Bank holidays and arithmetic on them.

A banking day is a day from Monday to Friday that is no Federal Reserve Bank holiday. Days are integers, days
since 1970-01-01; instants are integer microseconds UTC. Everything is vectorised and pure. The tables cover
the years 1990 to 2100, and a day outside of them is a `DataError`, never a silent guess. Labels need it: an
ACH return R01 is due within two banking days of settlement.

Source: Federal Reserve Financial Services, "Holiday Schedules". A holiday that falls on a Sunday closes the
Federal Reserve Banks on the following Monday; for one that falls on a Saturday they are open on the preceding
Friday. Juneteenth is a federal holiday since 2021-06-17 and stands in the schedules from 2022 on.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from functools import cache, lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
from numpy.typing import ArrayLike, NDArray

from asof.errors import DataError, DefinitionError

FIRST_YEAR = 1990
LAST_YEAR = 2100

_EPOCH = date(1970, 1, 1)
_EPOCH_UTC = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST_DAY = (date(FIRST_YEAR, 1, 1) - _EPOCH).days
_END_DAY = (date(LAST_YEAR + 1, 1, 1) - _EPOCH).days
_DAY_S = 86_400
_SECOND_US = 1_000_000
_DAY_US = _DAY_S * _SECOND_US
_MONDAY, _THURSDAY, _SUNDAY = 0, 3, 6


def fed_holidays(year: int) -> tuple[date, ...]:
    """The dates on which the Federal Reserve Banks observe their holidays of a year, in order: 11, or 10
    before 2022.

    A Sunday holiday is given as the Monday on which it is observed. A Saturday holiday is given as that
    Saturday: the banks are open on the Friday before it.

    Raises:
        DataError: the year is outside 1990 to 2100.

    Example:
        >>> [str(day) for day in fed_holidays(2022)[:5]]
        ['2022-01-01', '2022-01-17', '2022-02-21', '2022-05-30', '2022-06-20']

    Source: Federal Reserve Financial Services, "Holiday Schedules".
    """
    if not FIRST_YEAR <= year <= LAST_YEAR:
        raise DataError(
            f"banking calendar: year {year} is outside {FIRST_YEAR} to {LAST_YEAR}",
            year=year,
            first_year=FIRST_YEAR,
            last_year=LAST_YEAR,
        )
    holidays = [
        _observed(date(year, 1, 1)),  # New Year's Day
        _nth_weekday(year, 1, _MONDAY, 3),  # Birthday of Martin Luther King, Jr.
        _nth_weekday(year, 2, _MONDAY, 3),  # Washington's Birthday
        _nth_weekday(year, 6, _MONDAY, 1) - timedelta(days=7),  # Memorial Day, the last Monday of May
        _observed(date(year, 7, 4)),  # Independence Day
        _nth_weekday(year, 9, _MONDAY, 1),  # Labor Day
        _nth_weekday(year, 10, _MONDAY, 2),  # Columbus Day
        _observed(date(year, 11, 11)),  # Veterans Day
        _nth_weekday(year, 11, _THURSDAY, 4),  # Thanksgiving Day
        _observed(date(year, 12, 25)),  # Christmas Day
    ]
    if year >= 2022:
        holidays.append(_observed(date(year, 6, 19)))  # Juneteenth National Independence Day
    return tuple(sorted(holidays))


def is_banking_day(days: ArrayLike) -> NDArray[np.bool_]:
    """Which of the days are banking days.

    Shape: any -> the same. Units: days since 1970-01-01.

    Raises:
        DataError: a day is outside the years 1990 to 2100.

    Example:
        >>> is_banking_day(np.array(["2024-07-03", "2024-07-04", "2024-07-06"], "datetime64[D]"))
        array([ True, False, False])
    """
    index = _as_days(days) - _FIRST_DAY
    open_days, _, _ = _tables()
    return open_days[index]


def add_banking_days(days: ArrayLike, n: ArrayLike) -> NDArray[np.int64]:
    """The n-th banking day after each day (before it, when n is negative).

    The start itself never counts: from a Friday or a Saturday, n = 1 is the next Monday that is no holiday. n
    = 0 is the day itself if it is a banking day, else the next one.

    Shape: days and n broadcast against each other. Units: days since 1970-01-01.

    Raises:
        DataError: a day or a result is outside the years 1990 to 2100.

    Example:
        >>> friday_before_memorial_day = np.array(["2024-05-24"], "datetime64[D]")
        >>> add_banking_days(friday_before_memorial_day, 1).astype("datetime64[D]")
        array(['2024-05-28'], dtype='datetime64[D]')
    """
    index = _as_days(days) - _FIRST_DAY
    steps = np.asarray(n, dtype=np.int64)
    _, before, banking_days = _tables()
    until = before[index + 1]  # banking days up to and with the day: the position of the first one after it
    position = np.where(steps > 0, until + steps - 1, before[index] + steps)
    if position.size and (position.min() < 0 or position.max() >= len(banking_days)):
        raise _outside("a result")
    return banking_days[position]


def local_days(t_us: ArrayLike, zone: str = "America/New_York") -> NDArray[np.int64]:
    """The calendar day, in a time zone, of each instant.

    Shape: any -> the same. Units: microseconds UTC -> days since 1970-01-01.

    Raises:
        DefinitionError: no such time zone.
        DataError: an instant is outside the years 1990 to 2100.

    Example:
        >>> around_midnight = np.array(["2024-07-04T03:59:59", "2024-07-04T04:00"], "datetime64[us]")
        >>> local_days(around_midnight).astype("datetime64[D]")
        array(['2024-07-03', '2024-07-04'], dtype='datetime64[D]')
    """
    instants = _as_instants(t_us)
    if not instants.size:
        return instants.copy()
    _find_zone(zone)
    utc_days = _checked(np.array([instants.min(), instants.max()]) // _DAY_US, "an instant")
    first, last = utc_days.astype("datetime64[D]").astype("datetime64[Y]").astype(np.int64) + 1970
    steps = [_offset_steps(zone, year) for year in range(int(first), int(last) + 1)]
    starts_us = np.concatenate([start for start, _ in steps])
    offsets_us = np.concatenate([offset for _, offset in steps])
    offset_us = offsets_us[np.searchsorted(starts_us, instants, side="right") - 1]
    return (instants + offset_us) // _DAY_US


def day_start_us(days: ArrayLike, zone: str = "America/New_York") -> NDArray[np.int64]:
    """The instant at which each calendar day begins in a time zone: local midnight.

    Where clocks skip midnight the day begins at the skip; where they strike midnight twice, at the first.

    Shape: any -> the same. Units: days since 1970-01-01 -> microseconds UTC.

    Raises:
        DefinitionError: no such time zone.
        DataError: a day is outside the years 1990 to 2100.

    Example:
        >>> day_start_us(np.array(["2024-01-15", "2024-07-15"], "datetime64[D]")).astype("datetime64[us]")
        array(['2024-01-15T05:00:00.000000', '2024-07-15T04:00:00.000000'], dtype='datetime64[us]')
    """
    tz = _find_zone(zone)
    unique, inverse = np.unique(_as_days(days), return_inverse=True)
    midnights = [datetime.combine(_EPOCH + timedelta(days=day), time.min, tz) for day in unique.tolist()]
    starts_us = [(midnight - _EPOCH_UTC) // timedelta(microseconds=1) for midnight in midnights]
    return np.array(starts_us, dtype=np.int64)[inverse]


def banking_deadline_us(t_us: ArrayLike, n: ArrayLike, zone: str = "America/New_York") -> NDArray[np.int64]:
    """The instant at which the n-th banking day after the local date of each instant is over.

    The deadline is exclusive: it is the local midnight that ends that banking day, so `t < deadline` holds
    until the day's last microsecond. n = 0 is the day itself, or the next banking day if it is none.

    Shape: t_us and n broadcast against each other. Units: microseconds UTC.

    Raises:
        DefinitionError: no such time zone.
        DataError: an instant or a deadline is outside the years 1990 to 2100.

    Example:
        >>> wednesday_before_independence_day = np.array(["2024-07-03T14:00"], "datetime64[us]")
        >>> banking_deadline_us(wednesday_before_independence_day, 2).astype("datetime64[us]")
        array(['2024-07-09T04:00:00.000000'], dtype='datetime64[us]')
    """
    return day_start_us(add_banking_days(local_days(t_us, zone), n) + 1, zone)


def _observed(day: date) -> date:
    return day + timedelta(days=1) if day.weekday() == _SUNDAY else day


def _nth_weekday(year: int, month: int, weekday: int, nth: int) -> date:
    first = date(year, month, 1)
    return first + timedelta(days=(weekday - first.weekday()) % 7 + 7 * (nth - 1))


@cache
def _tables() -> tuple[NDArray[np.bool_], NDArray[np.int64], NDArray[np.int64]]:
    """By day from 1990: is it a banking day; how many banking days lie before it; and the banking days
    themselves.
    """
    days = np.arange(_FIRST_DAY, _END_DAY, dtype=np.int64)
    open_days = (days + 3) % 7 < 5  # 1970-01-01 was a Thursday, so day + 3 counts from a Monday
    for year in range(FIRST_YEAR, LAST_YEAR + 1):
        for holiday in fed_holidays(year):
            open_days[(holiday - _EPOCH).days - _FIRST_DAY] = False
    before = np.concatenate([[0], np.cumsum(open_days)])
    return open_days, before, days[open_days]


def _as_days(days: ArrayLike) -> NDArray[np.int64]:
    values = np.asarray(days)
    if values.dtype.kind == "M":
        values = values.astype("datetime64[D]")
    return _checked(values.astype(np.int64), "a day")


def _as_instants(t_us: ArrayLike) -> NDArray[np.int64]:
    values = np.asarray(t_us)
    if values.dtype.kind == "M":
        values = values.astype("datetime64[us]")
    return values.astype(np.int64)


def _checked(days: NDArray[np.int64], what: str) -> NDArray[np.int64]:
    if days.size and (days.min() < _FIRST_DAY or days.max() >= _END_DAY):
        raise _outside(what)
    return days


def _outside(what: str) -> DataError:
    return DataError(
        f"banking calendar: {what} is outside the years {FIRST_YEAR} to {LAST_YEAR}",
        hint="are the times in microseconds and the days in days since 1970-01-01?",
        first_year=FIRST_YEAR,
        last_year=LAST_YEAR,
    )


def _find_zone(zone: str) -> ZoneInfo:
    try:
        return ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise DefinitionError(
            f"unknown time zone {zone!r}", hint="a name such as 'America/New_York'", zone=zone
        ) from error


@lru_cache(maxsize=512)
def _offset_steps(zone: str, year: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The instants of a UTC year from which each offset to UTC holds, and these offsets (both in
    microseconds).
    """
    tz = ZoneInfo(zone)

    def offset_s(second: int) -> int:
        offset = (_EPOCH_UTC + timedelta(seconds=second)).astimezone(tz).utcoffset()
        return round(offset.total_seconds()) if offset is not None else 0

    first, end = ((date(y, 1, 1) - _EPOCH).days * _DAY_S for y in (year, year + 1))
    starts, offsets = [first], [offset_s(first)]
    for day_end in range(first + _DAY_S, end + 1, _DAY_S):
        after = offset_s(day_end)
        if after != offsets[-1]:
            low, high = day_end - _DAY_S, day_end  # the offset changes in (low, high]
            while high - low > 1:
                middle = (low + high) // 2
                low, high = (middle, high) if offset_s(middle) == offsets[-1] else (low, middle)
            starts.append(high)
            offsets.append(after)
    return np.array(starts, dtype=np.int64) * _SECOND_US, np.array(offsets, dtype=np.int64) * _SECOND_US
