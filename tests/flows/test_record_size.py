"""Sizes of online records against numbers that are written out by hand."""

from __future__ import annotations

import pyarrow as pa
import pytest

import asof
from asof.engines.columns import Column
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
COLUMNS = {"amount": Column(8), "note": Column(10), "kind": Column(6, 3)}
FACTS = Facts(COLUMNS)


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
    return record_bytes(made, FACTS, rows(n)) - HEADER_BYTES


def test_a_row_holds_its_times_its_key_the_columns_and_the_predicates() -> None:
    plain = group(asof.sum("amount").over("1d"))
    assert row_bits(plain, FACTS) == (8 + 8) * 8 + 1  # event time and amount, and whether it is null
    assert record_bytes(plain, FACTS, rows(10)) == 64 + 162  # 10 * 129 bits
    filtered = asof.sum("amount").where("kind = 'x'").by("note").over("1d").named("f")
    rich = group(filtered, asof.mean("amount").over("7d"), key="id", deleted="gone", known_at="seen")
    facts = Facts(COLUMNS, known_at=True, event_key_bytes=16, deleted=True)
    assert row_bits(rich, facts) == (8 + 8 + 16 + 8 + 10 + 1) * 8 + 2 + 1  # amount once, note, one predicate


def test_rows_are_those_within_the_longest_window() -> None:
    made = group(asof.count().over("1h"), asof.count().over("7d", offset="1d"))
    day = 86_400_000_000
    within = {3_600_000_001: 5, 8 * day + 1: 100}
    assert record_bytes(made, FACTS, lambda reach, cap: min(within[reach], cap)) == 64 + 800


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
    assert record_bytes(made, FACTS, rows(1000)) == 64 + -(-129 * kept // 8)


def test_oldest_and_newest_rows_are_not_more_than_there_are() -> None:
    made = group(asof.first("amount", 30), asof.last("amount", 50))
    assert record_bytes(made, FACTS, rows(8)) == 64 + 129


def test_a_revised_source_keeps_all_versions_even_for_latest_values() -> None:
    made = group(asof.latest("amount"), key="id")
    assert not has_lifetime(made)  # few versions, and all of them are counted
    assert (
        record_bytes(made, Facts(COLUMNS, known_at=True, event_key_bytes=8), rows(8))
        == 64 + (8 + 8 + 8 + 8) * 8 + 1
    )


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


@pytest.mark.parametrize(
    ("aggregation", "state"),
    [
        (asof.count(), 8),
        (asof.sum("amount"), 16),
        (asof.mean("amount"), 24),
        (asof.min("amount"), 9),
        (asof.max("note"), 11),
        (asof.std("amount"), 24),
        (asof.decayed_sum("amount", "1h"), 16),
        (asof.last("note"), 18),
        (asof.approx_distinct("note"), 4096),
        (asof.quantile("amount", 0.5), 1020),
        (asof.distinct("kind"), 3 * 6),
        (asof.topk("kind", 2), 3 * 14),
        (asof.sum("amount").by("kind"), 3 * 22),
        (asof.ratio(asof.sum("amount"), asof.count()), 24),
    ],
)
def test_a_full_tile_holds_its_start_and_its_state(aggregation: asof.Aggregation, state: int) -> None:
    # 1 d in hops of 1 h touches 25 tiles.
    assert tiled(aggregation.over("1d", hop="1h"), n=10**9) == 25 * (8 + state)


def test_a_tile_without_rows_is_not_there_and_values_are_not_more_than_rows() -> None:
    assert tiled(asof.sum("amount").over("1d", hop="1h"), n=3) == 3 * (8 + 16)
    assert tiled(asof.distinct("note").over("1d", hop="1h"), n=1000) == 25 * 8 + 1000 * 10
    assert tiled(asof.quantile("amount", 0.5).over("1d", hop="1h"), n=100) == 25 * 8 + 100 * 12
    nulls = Facts({"note": Column(4), "kind": Column(4, 0)})
    made = group(asof.distinct("note").by("kind").over("1d", hop="1h"))
    assert record_bytes(made, nulls, rows(2)) == 64 + 2 * 8 + 2 * 8


def test_windows_and_features_of_one_hop_share_tiles_and_states() -> None:
    shared = [asof.count().over("1d", "2d", hop="1h"), asof.quantile("amount", 0.5).over("1d", hop="1h"),
              asof.quantile("amount", 0.9).over("1d", hop="1h")]  # fmt: skip
    assert tiled(*shared, n=10**9) == 49 * (8 + 8) + 25 * 1020
    apart = [asof.count().over("1d", hop="1h"), asof.count().over("2d", hop="1d")]
    assert tiled(*apart, n=10**9) == 25 * (8 + 8) + 3 * (8 + 8)


def test_the_shortest_hop_that_makes_a_record_small_is_told() -> None:
    made = group(asof.sum("amount").over("30d"))
    # 5 m: 8,641 tiles of 24 bytes are too many; 15 m: 2,881 tiles are 69,144 bytes; 1 h: 721 tiles.
    assert smaller_hop(made, FACTS, rows(10**6)) == ("1h", 64 + 721 * 24)
    assert smaller_hop(group(asof.sum("amount").over("1h")), FACTS, rows(10**6)) == ("1m", 64 + 61 * 24)
    assert LARGE_RECORD_BYTES == 65_536
    assert list(HOPS) == ["1s", "1m", "5m", "15m", "1h", "6h", "1d"]


def test_no_hop_is_told_where_none_fits_or_helps() -> None:
    many = rows(10**6)
    assert smaller_hop(group(asof.sum("amount").over("1h", "365d")), FACTS, many) is None  # 1 h: 8,761 tiles
    assert smaller_hop(group(asof.distinct("note").over("30d")), FACTS, many) is None  # values do not repeat
    assert smaller_hop(group(asof.sum("amount").over("lifetime")), FACTS, many) is None
    assert smaller_hop(group(asof.latest("amount"), asof.sum("amount").over("30d")), FACTS, many) is None
    assert smaller_hop(group(asof.sum("amount").over("30d"), key="id"), FACTS, many) is None
    assert smaller_hop(group(asof.sum("amount").over("30d", hop="1s")), FACTS, many) is None


def test_the_sum_of_records_is_that_of_their_rows_and_headers() -> None:
    made = group(asof.sum("amount").over("1d"))
    assert record_bytes(made, FACTS, rows(80), 7) == 7 * 64 + 1290
