"""Sizes of online records against numbers that are written out by hand."""

from __future__ import annotations

import pyarrow as pa
import pytest

import asof
from asof.engines.columns import Column, TimeShape
from asof.flows.groups import Group, group_features
from asof.flows.record_size import (
    HEADER_BYTES,
    HOPS,
    LARGE_RECORD_BYTES,
    CappedRows,
    Facts,
    has_lifetime,
    layout_of,
    record_bytes,
    row_bits,
    smaller_hop,
)

ACCOUNT = asof.Entity("account", keys={"account_id": "string"})
ROWS = pa.table({"account_id": ["a"], "at": pa.array([1], pa.timestamp("us"))})
COLUMNS = {
    "amount": Column(8, None, 3),
    "rate": Column(8),
    "note": Column(10, None, None, is_text=True, among=100),
    "kind": Column(6, 3, None, is_text=True),
}
FACTS = Facts(COLUMNS)
DAY = 86_400_000_000
FIXED = HEADER_BYTES + 2 * 16  # the event time and one column


def group(*features: object, **more: object) -> Group:
    source = asof.Events("tx", asof.InMemory(ROWS), event_time="at", **more)
    view = asof.FeatureView("v", entity=ACCOUNT, source=source, features=features)
    return group_features(view.refs())[0]


def rows(n: float) -> CappedRows:
    def found(reach_us: int | None, cap: float) -> float:
        del reach_us
        return min(n, cap)

    return found


def tiled(*features: object, n: float) -> int:
    made = group(*features)
    assert layout_of(made) == "tiles"
    return record_bytes(made, FACTS, rows(n))


def test_a_row_holds_what_tells_its_times_and_values_apart() -> None:
    plain = group(asof.sum("amount").over("1d"))
    assert HEADER_BYTES == 40
    assert record_bytes(plain, FACTS, rows(10)) == FIXED + 10 * (5 + 3)  # a day in microseconds: 5 bytes
    seconds = Facts(COLUMNS, times=TimeShape(1_000_000))
    assert record_bytes(plain, seconds, rows(10)) == FIXED + 10 * (3 + 3)
    wide = group(asof.sum("rate").over("1d"))
    assert record_bytes(wide, FACTS, rows(10)) == FIXED + 10 * (5 + 8)  # nothing is known of how it packs


def test_a_text_is_there_once_and_a_place_in_each_row() -> None:
    assert record_bytes(group(asof.last("note").by("amount").over("1d")), FACTS, rows(10)) == (
        FIXED + 16 + 10 * (5 + 1 + 3) + 10 * 10 + 4
    )
    assert (
        record_bytes(group(asof.distinct("kind").over("1d")), FACTS, rows(10)) == FIXED + 10 * 6 + 3 * 6 + 4
    )


def test_a_predicate_is_a_bit_of_a_row() -> None:
    made = group(asof.sum("amount").where("kind = 'x'").over("1d").named("f"))
    assert record_bytes(made, FACTS, rows(16)) == FIXED + 8 + 16 * (5 + 3) + 2


def test_late_rows_and_revised_sources_have_more_columns() -> None:
    made = group(asof.sum("amount").over("1d"), known_at="seen")
    always = Facts(COLUMNS, known_at=True, times=TimeShape(1, 1_000_000, 1.0))
    assert record_bytes(made, always, rows(10)) == FIXED + 16 + 10 * (5 + 3 + 3)
    never = Facts(COLUMNS, known_at=True, times=TimeShape(1, 0, 0.0))
    assert record_bytes(made, never, rows(10)) == FIXED + 10 * (5 + 3)
    half = Facts(COLUMNS, known_at=True, times=TimeShape(1, 1_000_000, 0.5))
    assert record_bytes(made, half, rows(1)) == FIXED + 16 + 10  # 5 + 3 + 1.5, rounded up
    revised = group(asof.sum("amount").over("1d"), key="id")
    text_key, number_key = Facts(COLUMNS, event_key_bytes=16), Facts(COLUMNS, event_key_bytes=8)
    assert record_bytes(revised, text_key, rows(10)) == FIXED + 3 * 16 + 10 * (5 + 16 + 3)
    assert record_bytes(revised, number_key, rows(10)) == FIXED + 3 * 16 + 10 * (5 + 8 + 3)


def test_a_row_as_it_is_read_is_as_wide_as_its_values() -> None:
    plain = group(asof.sum("amount").over("1d"))
    assert row_bits(plain, FACTS) == (8 + 8) * 8 + 1  # event time and amount, and whether it is null
    filtered = asof.sum("amount").where("kind = 'x'").by("note").over("1d").named("f")
    rich = group(filtered, asof.mean("amount").over("7d"), key="id", deleted="gone", known_at="seen")
    facts = Facts(COLUMNS, known_at=True, event_key_bytes=16, deleted=True)
    assert row_bits(rich, facts) == (8 + 8 + 16 + 8 + 10 + 1) * 8 + 2 + 1  # amount once, note, one predicate


def test_rows_are_those_within_the_longest_window() -> None:
    made = group(asof.count().over("1h"), asof.count().over("7d", offset="1d"))
    within = {3_600_000_001: 5, 8 * DAY + 1: 100}
    size = record_bytes(made, FACTS, lambda reach, cap: min(within[reach], cap))
    assert size == HEADER_BYTES + 16 + 100 * 5


@pytest.mark.parametrize(
    ("features", "kept"),
    [
        ([asof.latest("amount")], 1),
        ([asof.latest("amount"), asof.last("amount", 5)], 5),
        ([asof.first("amount", 3), asof.last("amount", 5)], 8),
        ([asof.last("amount").over("30d")], 1),
        (
            [asof.last("amount").over("30d", offset="1d")],
            1000,
        ),  # the newest before t - 1 d: not the newest of all
        ([asof.last("amount").by("amount").over("30d")], 1000),  # the newest of each value
        ([asof.first("amount").over("30d")], 1000),  # the oldest leaves the window
        ([asof.latest("amount"), asof.sum("amount").over("1d")], 1000),  # the newest row is one of them
    ],
)
def test_newest_and_oldest_values_need_few_rows(features: list[object], kept: int) -> None:
    made = group(*features)
    assert not has_lifetime(made)
    few = record_bytes(made, FACTS, rows(kept))
    assert record_bytes(made, FACTS, rows(1000)) == few > record_bytes(made, FACTS, rows(kept - 1))


def test_a_revised_source_keeps_all_versions_even_for_latest_values() -> None:
    made = group(asof.latest("amount"), key="id")
    assert not has_lifetime(made)  # few versions, and all of them are counted
    assert record_bytes(made, FACTS, rows(8)) > record_bytes(made, FACTS, rows(7))


def test_a_lifetime_of_anything_but_ends_keeps_every_event() -> None:
    assert has_lifetime(group(asof.sum("amount").over("lifetime")))
    assert has_lifetime(group(asof.last("amount").by("kind")))
    assert not has_lifetime(group(asof.sum("amount").over("365d")))


def test_tiles_need_a_hop_for_every_window_and_a_source_that_is_never_revised() -> None:
    hopped, exact = asof.count().over("1d", hop="1h"), asof.count().over("7d")
    assert layout_of(group(hopped)) == "tiles"
    assert layout_of(group(hopped, exact)) == "rows"
    assert layout_of(group(hopped, asof.latest("amount"))) == "rows"
    assert layout_of(group(hopped, key="id")) == "rows"


def test_functions_without_a_state_of_fixed_size_need_rows() -> None:
    for aggregation in (
        asof.distinct("kind"),
        asof.quantile("amount", 0.5),
        asof.sum("amount").by("kind"),
        asof.last("note"),
    ):
        assert layout_of(group(aggregation.over("1d", hop="1h"))) == "rows"


@pytest.mark.parametrize(
    ("aggregation", "states", "components", "columns"),
    [
        (asof.count(), 1, 1, 0),
        (asof.sum("amount"), 4, 1, 1),
        (asof.mean("amount"), 1 + 4, 2, 1),
        (asof.min("amount"), 3, 1, 1),
        (asof.std("amount"), 1 + 5 + 5, 3, 1),
        (asof.ratio(asof.sum("amount"), asof.count()), 1 + 4, 2, 1),
    ],
)
def test_a_tile_holds_its_start_and_its_states(
    aggregation: asof.Aggregation, states: int, components: int, columns: int
) -> None:
    # 1 d in hops of 1 h touches 25 tiles.
    fixed = 2 * HEADER_BYTES + 16 * (2 + components + columns)
    assert tiled(aggregation.over("1d", hop="1h"), n=10**9) == fixed + 25 * (1 + states)
    assert tiled(aggregation.over("1d", hop="1h"), n=3) == fixed + 3 * (1 + states)


def test_windows_share_the_largest_hop_that_all_hops_are_multiples_of() -> None:
    fixed = 2 * HEADER_BYTES + 16 * 3
    assert tiled(asof.count().over("1d", "2d", hop="1h"), n=10**9) == fixed + 49 * 2
    apart = [asof.count().over("6h", hop="2h"), asof.count().over("2d", hop="3h")]
    assert tiled(*apart, n=10**9) == fixed + 49 * 2


def test_the_shortest_hop_that_makes_a_record_small_is_told() -> None:
    made = group(asof.sum("amount").over("30d"))
    fixed = 2 * HEADER_BYTES + 16 * 4
    # 1 m: 43,201 tiles of 5 bytes are too many; 5 m: 8,641 tiles.
    assert smaller_hop(made, FACTS, rows(10**6)) == ("5m", fixed + 8_641 * 5)
    assert smaller_hop(group(asof.sum("amount").over("1h")), FACTS, rows(10**6)) == ("1s", fixed + 3_601 * 5)
    assert LARGE_RECORD_BYTES == 65_536
    assert list(HOPS) == ["1s", "1m", "5m", "15m", "1h", "6h", "1d"]


def test_no_hop_is_told_where_none_fits_or_helps() -> None:
    many = rows(10**6)
    assert (
        smaller_hop(group(asof.sum("amount").over("1m", "365d")), FACTS, many) is None
    )  # 1 m: 525,601 tiles
    assert smaller_hop(group(asof.distinct("note").over("30d")), FACTS, many) is None  # needs rows
    assert smaller_hop(group(asof.sum("amount").over("lifetime")), FACTS, many) is None
    assert smaller_hop(group(asof.latest("amount"), asof.sum("amount").over("30d")), FACTS, many) is None
    assert smaller_hop(group(asof.sum("amount").over("30d"), key="id"), FACTS, many) is None
    assert smaller_hop(group(asof.sum("amount").over("30d", hop="1s")), FACTS, many) is None


def test_the_sum_of_records_is_that_of_their_rows_and_headers() -> None:
    made = group(asof.sum("amount").over("1d"))
    assert record_bytes(made, FACTS, rows(80), 7) == 7 * FIXED + 80 * 8
