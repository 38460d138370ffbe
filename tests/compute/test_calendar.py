"""Banking days: every expected date is read off the published holiday schedules or a wall calendar."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asof.compute.calendar import (
    add_banking_days,
    banking_deadline_us,
    day_start_us,
    fed_holidays,
    is_banking_day,
    local_days,
)
from asof.errors import DataError, DefinitionError


def days(*texts):
    return np.array(texts, dtype="datetime64[D]").astype(np.int64)


def instants(*texts):
    return np.array(texts, dtype="datetime64[us]").astype(np.int64)


def texts(values, unit):
    return [str(value) for value in values.astype(f"datetime64[{unit}]")]


# ------------------------------------------------------------------------------------------------------ holidays


def test_the_eleven_holidays_of_2024():
    assert [str(day) for day in fed_holidays(2024)] == [
        "2024-01-01",
        "2024-01-15",
        "2024-02-19",
        "2024-05-27",
        "2024-06-19",
        "2024-07-04",
        "2024-09-02",
        "2024-10-14",
        "2024-11-11",
        "2024-11-28",
        "2024-12-25",
    ]


def test_a_sunday_holiday_is_observed_on_monday():
    assert date(2022, 6, 20) in fed_holidays(2022)  # Juneteenth
    assert date(2023, 1, 2) in fed_holidays(2023)  # New Year's Day
    assert date(2021, 7, 5) in fed_holidays(2021)  # Independence Day
    assert date(2018, 11, 12) in fed_holidays(2018)  # Veterans Day
    assert date(2022, 12, 26) in fed_holidays(2022)  # Christmas Day


def test_a_saturday_holiday_is_not_moved_to_friday():
    assert date(2022, 1, 1) in fed_holidays(2022)
    assert is_banking_day(days("2021-12-31", "2022-01-01")).tolist() == [True, False]
    assert is_banking_day(days("2020-07-03", "2026-07-03")).tolist() == [True, True]


def test_juneteenth_counts_from_2022_on():
    assert len(fed_holidays(2021)) == 10
    assert len(fed_holidays(2022)) == 11
    assert is_banking_day(days("2020-06-19", "2021-06-18", "2023-06-19")).tolist() == [True, True, False]


def test_memorial_day_is_the_last_monday_even_when_may_has_five():
    assert date(2023, 5, 29) in fed_holidays(2023)
    assert date(2021, 5, 31) in fed_holidays(2021)
    assert date(2026, 5, 25) in fed_holidays(2026)


def test_a_year_outside_the_tables_is_an_error_that_names_the_years():
    with pytest.raises(DataError, match="year 1989 is outside 1990 to 2100") as caught:
        fed_holidays(1989)
    assert caught.value.facts["first_year"] == 1990
    with pytest.raises(DataError, match="2101"):
        fed_holidays(2101)


# -------------------------------------------------------------------------------------------------- banking days


def test_known_days_are_open_or_closed():
    known = {
        "2024-07-03": True,
        "2024-07-04": False,
        "2022-06-20": False,
        "2021-12-31": True,
        "2023-01-02": False,
        "2024-03-29": True,  # Good Friday is no Federal Reserve holiday
        "2024-11-29": True,  # nor is the day after Thanksgiving
        "2024-07-06": False,
        "2024-07-07": False,
        "1990-01-01": False,
        "2100-12-31": True,
    }
    assert is_banking_day(days(*known)).tolist() == list(known.values())


def test_2024_has_251_banking_days():
    every_day = np.arange(days("2024-01-01")[0], days("2025-01-01")[0])
    assert is_banking_day(every_day).sum() == 262 - 11  # 262 weekdays, 11 holidays on weekdays


def test_the_next_banking_day_skips_weekends_and_holidays():
    start = days("2024-07-03", "2024-07-04", "2024-07-05", "2024-07-06", "2024-12-24", "2021-12-30")
    assert texts(add_banking_days(start, 1), "D") == [
        "2024-07-05",
        "2024-07-05",
        "2024-07-08",
        "2024-07-08",
        "2024-12-26",
        "2021-12-31",
    ]


def test_zero_banking_days_is_the_day_itself_or_the_next_open_one():
    assert texts(add_banking_days(days("2024-07-03", "2024-07-04", "2024-07-06"), 0), "D") == [
        "2024-07-03",
        "2024-07-05",
        "2024-07-08",
    ]


def test_negative_steps_go_back_and_never_count_the_start():
    assert texts(add_banking_days(days("2024-07-05", "2024-07-06", "2024-07-08"), -1), "D") == [
        "2024-07-03",
        "2024-07-05",
        "2024-07-05",
    ]


def test_steps_may_differ_by_row():
    start = days("2024-07-03", "2024-07-03", "2024-07-03")
    assert texts(add_banking_days(start, np.array([1, 2, 3])), "D") == [
        "2024-07-05",
        "2024-07-08",
        "2024-07-09",
    ]


def test_empty_in_is_empty_out():
    empty = np.array([], dtype=np.int64)
    for result in (
        add_banking_days(empty, 2),
        local_days(empty),
        day_start_us(empty),
        banking_deadline_us(empty, 2),
    ):
        assert result.dtype == np.int64
        assert result.shape == (0,)
    assert is_banking_day(empty).shape == (0,)


@pytest.mark.parametrize("outside", ["1989-12-31", "2101-01-01"])
def test_days_outside_the_tables_are_errors(outside):
    with pytest.raises(DataError, match="outside the years 1990 to 2100"):
        is_banking_day(days("2024-01-02", outside))


def test_a_result_outside_the_tables_is_an_error():
    with pytest.raises(DataError, match="a result is outside"):
        add_banking_days(days("2100-12-31"), 1)
    with pytest.raises(DataError, match="a result is outside"):
        add_banking_days(days("1990-01-02"), -1)


def naive_add_banking_days(day, n):
    """Walk day by day."""
    step = timedelta(days=1 if n >= 0 else -1)

    def is_open(a_day):
        return a_day.weekday() < 5 and a_day not in fed_holidays(a_day.year)

    if n == 0:
        while not is_open(day):
            day += step
    for _ in range(abs(n)):
        day += step
        while not is_open(day):
            day += step
    return day


@given(st.dates(date(1995, 1, 1), date(2095, 1, 1)), st.integers(-25, 25))
def test_the_table_agrees_with_walking_day_by_day(day, n):
    assert texts(add_banking_days(days(str(day)), n), "D") == [str(naive_add_banking_days(day, n))]


# ------------------------------------------------------------------------------------------- time zones, deadlines


def test_the_local_day_turns_at_midnight_in_new_york_in_winter_and_summer():
    winter_and_summer = instants(
        "2024-01-16T04:59:59.999999", "2024-01-16T05:00", "2024-07-16T03:59:59.999999", "2024-07-16T04:00"
    )
    assert texts(local_days(winter_and_summer), "D") == [
        "2024-01-15",
        "2024-01-16",
        "2024-07-15",
        "2024-07-16",
    ]


def test_a_day_starts_at_local_midnight_on_the_days_when_clocks_change():
    clock_changes = days("2024-03-10", "2024-03-11", "2024-11-03", "2024-11-04")
    assert texts(day_start_us(clock_changes), "us") == [
        "2024-03-10T05:00:00.000000",
        "2024-03-11T04:00:00.000000",
        "2024-11-03T04:00:00.000000",
        "2024-11-04T05:00:00.000000",
    ]


def test_a_day_that_skips_midnight_starts_at_the_skip():
    assert texts(day_start_us(days("2024-03-31"), "Asia/Beirut"), "us") == ["2024-03-30T22:00:00.000000"]


@given(
    st.datetimes(datetime(1990, 1, 3), datetime(2100, 12, 29)),  # noqa: DTZ001 (the zone follows)
    st.sampled_from(["America/New_York", "UTC", "Australia/Lord_Howe", "America/St_Johns", "Pacific/Apia"]),
)
def test_local_days_agree_with_the_standard_library(moment, zone):
    moment = moment.replace(tzinfo=UTC)
    t_us = (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    assert texts(local_days(np.array([t_us]), zone), "D") == [str(moment.astimezone(ZoneInfo(zone)).date())]


def test_the_whole_year_of_clock_changes_agrees_with_the_standard_library():
    for zone in ("America/New_York", "Pacific/Apia"):  # Apia skipped 2011-12-30 altogether
        hours = np.arange(instants("2010-12-30T00:00")[0], instants("2012-01-03T00:00")[0], 3_600_000_000)
        expected = [
            str(datetime.fromtimestamp(t_us // 1_000_000, ZoneInfo(zone)).date()) for t_us in hours.tolist()
        ]
        assert texts(local_days(hours, zone), "D") == expected


def test_two_banking_days_after_the_eve_of_independence_day():
    # Wednesday 2024-07-03; Thursday is a holiday; Friday is the first banking day, Monday the second.
    noon_and_last_microsecond = instants("2024-07-03T16:00", "2024-07-04T03:59:59.999999")
    assert (
        texts(banking_deadline_us(noon_and_last_microsecond, 2), "us") == ["2024-07-09T04:00:00.000000"] * 2
    )


def test_an_evening_in_new_york_belongs_to_the_local_day_not_to_the_utc_day():
    # 2024-01-13T02:00Z is Friday evening in New York; Monday 2024-01-15 is a holiday.
    assert texts(banking_deadline_us(instants("2024-01-13T02:00"), 1), "us") == ["2024-01-17T05:00:00.000000"]
    assert texts(banking_deadline_us(instants("2024-01-13T02:00"), 1, "UTC"), "us") == [
        "2024-01-17T00:00:00.000000"
    ]


def test_a_deadline_of_zero_banking_days_ends_with_the_same_or_the_next_banking_day():
    friday_and_saturday = instants("2024-07-05T16:00", "2024-07-06T16:00")
    assert texts(banking_deadline_us(friday_and_saturday, 0), "us") == [
        "2024-07-06T04:00:00.000000",
        "2024-07-09T04:00:00.000000",
    ]


def test_the_deadline_lies_on_the_other_side_of_the_clock_change():
    assert texts(banking_deadline_us(instants("2024-03-08T17:00"), 1), "us") == ["2024-03-12T04:00:00.000000"]


def test_horizons_may_differ_by_row():
    twice = instants("2024-07-03T16:00", "2024-07-03T16:00")
    assert texts(banking_deadline_us(twice, np.array([1, 3])), "us") == [
        "2024-07-06T04:00:00.000000",
        "2024-07-10T04:00:00.000000",
    ]


def test_an_unknown_zone_is_a_definition_error():
    for call in (local_days, day_start_us):
        with pytest.raises(DefinitionError, match="unknown time zone 'America/Gotham'"):
            call(
                np.array([20_000]) if call is day_start_us else instants("2024-07-03T16:00"), "America/Gotham"
            )


def test_milliseconds_taken_for_microseconds_are_told():
    in_milliseconds = instants("2024-07-03T16:00") // 1_000
    with pytest.raises(DataError, match="hint: are the times in microseconds"):
        banking_deadline_us(in_milliseconds, 2)
