from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asof.clock import (
    MAX_US,
    Clock,
    SystemClock,
    format_duration,
    format_time,
    from_us,
    parse_duration,
    parse_time,
    to_us,
)
from asof.errors import DefinitionError, NumericOverflow
from asof.testing.clock import FakeClock

SECOND = 1_000_000


def test_instants_are_exact_microseconds_since_the_epoch() -> None:
    assert to_us(datetime(1970, 1, 1, 0, 0, 1, 5, tzinfo=UTC)) == 1_000_005
    assert to_us(datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC)) == -1_000_000
    assert to_us(datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)) == 253_402_300_799_999_999


def test_a_datetime_without_a_zone_is_utc_and_one_with_a_zone_is_converted() -> None:
    naive = datetime(2025, 7, 1, 12)  # noqa: DTZ001 - the point of this test
    assert to_us(naive) == to_us(naive.replace(tzinfo=UTC))
    assert to_us(datetime(2025, 7, 1, 8, tzinfo=ZoneInfo("America/New_York"))) == to_us(naive)


def test_the_hour_that_comes_twice_in_autumn_is_told_apart_by_fold() -> None:
    first = datetime(2025, 11, 2, 1, 30, tzinfo=ZoneInfo("America/New_York"))
    assert to_us(first.replace(fold=1)) - to_us(first) == 3_600 * SECOND


@given(st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=45))])))
def test_an_instant_survives_the_round_trip(at: datetime) -> None:
    at_us = to_us(at)
    try:
        back = from_us(at_us)
    except NumericOverflow:  # the year 1 or 9999 in a zone may lie outside of it in UTC
        assert at.year in {1, 9999}
        return
    assert (back, back.tzinfo) == (at, UTC)
    assert parse_time(format_time(at_us)) == at_us


def test_an_instant_that_datetime_cannot_tell_is_an_error() -> None:
    with pytest.raises(NumericOverflow, match="nanoseconds") as caught:
        from_us(1_735_689_600_000_000_000)
    assert caught.value.facts == {"at_us": 1_735_689_600_000_000_000}


@pytest.mark.parametrize("text", ["", "yesterday", "2025-13-01", "2025-01-01T25:00", 7, None])
def test_a_text_that_is_no_time_is_told(text: str) -> None:
    with pytest.raises(DefinitionError, match="is not an ISO 8601 date or time"):
        parse_time(text)


@pytest.mark.parametrize(
    ("text", "length_us"),
    [
        ("1h", 3_600 * SECOND),
        ("5m", 300 * SECOND),
        ("30d", 2_592_000 * SECOND),
        ("2w", 14 * 86_400 * SECOND),
        ("90s", 90 * SECOND),
        ("250ms", 250_000),
        ("7us", 7),
        ("1h30m", 5_400 * SECOND),
        (" 1d 12 h ", 129_600 * SECOND),
        ("1w2d3h4m5s6ms7us", 788_645_006_007),
        ("0s", 0),
        (timedelta(days=1, microseconds=1), 86_400 * SECOND + 1),
        (timedelta(0), 0),
    ],
)
def test_a_duration_is_read(text: str | timedelta, length_us: int) -> None:
    assert parse_duration(text) == length_us


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "is no duration"),
        ("30", "is no duration"),
        ("-1d", "is no duration"),
        ("1.5h", "is no duration"),
        ("d", "is no duration"),
        ("1h!", "is no duration"),
        ("9" * 5_000 + "d", "is no duration"),
        ("1month", "months and years differ in length"),
        ("3M", "months and years differ in length"),
        ("7days", "did you mean 'd'?"),
        ("7x", "no unit 'x'"),
        ("30m1h", "largest first"),
        ("1h1h", "each unit may stand once"),
        ("99999999999999999w", "from 0 to"),
        (timedelta(days=-1), "from 0 to"),
        (timedelta.max, "from 0 to"),
        (30, "a number needs its unit"),
        (None, "is no text and no timedelta"),
    ],
)
def test_a_wrong_duration_says_what_was_seen_and_what_is_allowed(text: str, told: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        parse_duration(text)
    assert told in str(caught.value)
    assert caught.value.facts["seen"] == repr(text)
    assert "w, d, h, m, s, ms, us" in caught.value.message


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("7d", "7d"),
        ("24h", "1d"),
        ("2w", "14d"),
        ("60m", "1h"),
        ("90m", "90m"),
        ("90s", "90s"),
        ("36h", "36h"),
    ],
)
def test_one_length_has_one_name(written: str, name: str) -> None:
    assert format_duration(parse_duration(written)) == name


@given(st.integers(0, MAX_US))
def test_a_duration_survives_the_round_trip(length_us: int) -> None:
    assert parse_duration(format_duration(length_us)) == length_us


@given(st.integers(0, 10_000), st.sampled_from(["d", "h", "m", "s", "ms", "us"]))
def test_the_name_of_a_duration_is_never_longer_than_what_was_written(number: int, unit: str) -> None:
    assert len(format_duration(parse_duration(f"{number}{unit}"))) <= len(f"{number}{unit}")


def test_the_system_clock_tells_utc() -> None:
    clock: Clock = SystemClock()
    before, at, after = clock.now_us(), clock.now(), clock.now_us()
    assert at.tzinfo is UTC
    assert before <= to_us(at) <= after


def test_the_fake_clock_moves_only_when_told() -> None:
    clock = FakeClock("2025-01-01")
    reads: Clock = clock
    assert reads.now_us() == reads.now_us() == 1_735_689_600 * SECOND
    clock.advance("1h30m")
    assert reads.now() == datetime(2025, 1, 1, 1, 30, tzinfo=UTC)
    clock.set(datetime(2024, 2, 29, tzinfo=UTC))
    assert reads.now().isoformat() == "2024-02-29T00:00:00+00:00"
