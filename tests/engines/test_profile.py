"""Rows over time and rows of each entity, as the engine counts them, against numbers that are counted by hand."""

from __future__ import annotations

import random
from collections import Counter
from hashlib import sha256
from pathlib import Path

import pyarrow as pa
import pytest

import asof
from asof.engines.duckdb import DuckDBEngine, open_database
from asof.engines.profile import KeyRows, Times, profile_keys, profile_times, rung_of, rungs
from asof.engines.scan import Scan
from asof.errors import MissingColumn, SourceNotFound
from asof.types import DType

HOUR = 3_600_000_000
TEXT = DType("string")


def engine_at(root: Path) -> DuckDBEngine:
    return DuckDBEngine(root, open_database(threads=2))


@pytest.fixture
def engine(tmp_path: Path) -> DuckDBEngine:
    return engine_at(tmp_path)


def table(rows: list[tuple[str | None, int | None]]) -> pa.Table:
    """Accounts and the hours of their events."""
    times = [None if hour is None else hour * HOUR for _, hour in rows]
    keys = pa.array([key for key, _ in rows], pa.string())
    return pa.table({"account_id": keys, "at": pa.array(times, pa.timestamp("us"))})


def scan_of(rows: list[tuple[str | None, int | None]], **more: object) -> Scan:
    source = asof.Events("tx", asof.InMemory(table(rows)), event_time="at", **more)
    return Scan(asof.Union("one", [source]).sources[0], (("account_id", TEXT),))


ROWS: list[tuple[str | None, int | None]] = [
    ("a", 1), ("a", 2), ("a", 9), ("b", 9), ("c", 3), (None, 9), ("a", None), ("d", 99),
]  # fmt: skip


def test_rows_over_time_stop_at_now_and_count_what_each_reach_needs(engine: DuckDBEngine) -> None:
    found = profile_times(engine, [scan_of(ROWS)], [HOUR, 8 * HOUR, None], 10 * HOUR)
    # The row of hour 99 is not before now, that of "a" has no time: both are among the 8, and nowhere else.
    since = {HOUR: (3, 9 * HOUR), 8 * HOUR: (5, 2 * HOUR), None: (6, HOUR)}
    assert found == Times(8, HOUR, 9 * HOUR, since)


def test_a_source_without_rows_has_no_times(engine: DuckDBEngine) -> None:
    found = profile_times(engine, [scan_of([])], [HOUR], HOUR)
    assert found == Times(0, None, None, {HOUR: (0, None)})


def test_rows_of_each_entity_are_counted_within_each_reach(engine: DuckDBEngine) -> None:
    found = profile_keys(engine, [scan_of(ROWS)], [0, 7 * HOUR, None], 9 * HOUR, personal=False)
    assert found[0] == KeyRows((1.0,), (2,), (2,), 1, "b")  # a and b at hour 9; of equals the last in order
    assert found[7 * HOUR] == KeyRows((1.0, 2.0), (2, 3), (2, 4), 2, "a")  # b and c once, a twice
    assert found[None] == KeyRows((1.0, 3.0), (2, 3), (2, 5), 3, "a")


def test_rows_of_an_entity_are_none_where_none_has_a_key(engine: DuckDBEngine) -> None:
    assert profile_keys(engine, [scan_of([(None, 1)])], [None], HOUR, personal=False) == {None: KeyRows()}


def test_quantiles_are_by_nearest_rank_and_count_entities_without_rows() -> None:
    spread = KeyRows((1.0, 4.0, 9.0), (5, 9, 10), (5, 21, 30), 9, "x")
    assert [spread.quantile(q, 10) for q in (0.5, 0.51, 0.9, 0.99, 1.0)] == [1, 4, 4, 9, 9]
    assert [spread.quantile(q, 20) for q in (0.5, 0.75, 0.76, 1.0)] == [0, 1, 4, 9]
    assert KeyRows().quantile(0.5, 0) == 0


def test_totals_are_sums_of_the_smaller_of_rows_and_cap() -> None:
    spread = KeyRows((1.0, 4.0, 9.0), (5, 9, 10), (5, 21, 30), 9, "x")
    assert [spread.total(cap) for cap in (0, 1, 2, 4, 100)] == [0, 10, 5 + 8 + 2, 5 + 16 + 4, 30]
    assert KeyRows().total(7) == 0


def test_quantiles_of_real_counts_are_exact_below_64_and_near_above(engine: DuckDBEngine) -> None:
    draw = random.Random(7)
    names = [f"k{min(int(draw.paretovariate(0.5)), 400)}" for _ in range(20_000)]
    counts = sorted(Counter(names).values())
    found = profile_keys(engine, [scan_of([(name, 1) for name in names])], [None], HOUR, personal=False)[None]
    assert (found.count, found.rows[-1], found.most) == (len(counts), 20_000, counts[-1])
    for q in (0.1, 0.5, 0.9, 0.95, 0.99):
        exact = counts[-(-int(q * 1000) * len(counts) // 1000) - 1]
        assert found.quantile(q, found.count) == (exact if exact < 64 else pytest.approx(exact, rel=0.05))
    for cap in (1, 10, 1000):
        assert found.total(cap) == pytest.approx(sum(min(count, cap) for count in counts), rel=0.05)


def test_a_personal_key_is_told_as_a_hash_and_never_leaves_the_engine(engine: DuckDBEngine) -> None:
    found = profile_keys(engine, [scan_of([("123-45-6789", 1)])], [None], HOUR, personal=True)
    assert found[None].key == f"sha256:{sha256(b'123-45-6789').hexdigest()[:8]}…"


def test_a_key_is_cut_and_cannot_write_to_a_terminal(engine: DuckDBEngine) -> None:
    found = profile_keys(engine, [scan_of([("\x1b[31m" + "x" * 100, 1)])], [None], HOUR, personal=False)
    assert found[None].key == "\ufffd[31m" + "x" * 59


def test_keys_of_several_columns_are_told_in_order(engine: DuckDBEngine) -> None:
    rows = pa.table({"bank": ["x", "x"], "n": [7, None], "at": pa.array([HOUR, HOUR], pa.timestamp("us"))})
    source = asof.Events("tx", asof.InMemory(rows), event_time="at")
    scan = Scan(asof.Union("one", [source]).sources[0], (("bank", TEXT), ("n", DType("int64"))))
    assert profile_keys(engine, [scan], [None], HOUR, personal=False)[None] == KeyRows(
        (1.0,), (1,), (1,), 1, "x, 7"
    )


def test_parts_of_a_union_are_counted_together(engine: DuckDBEngine) -> None:
    card = scan_of([("a", 1), ("b", 2)], zone="Etc/GMT+5")  # five hours behind: hours 6 and 7
    known = table([("a", 3)]).append_column("seen", pa.array([4 * HOUR], pa.timestamp("us")))
    ach = asof.Events("ach", asof.InMemory(known), event_time="at", known_at="seen", sequence="seen")
    scans = [card, Scan(asof.Union("two", [ach]).sources[0], (("account_id", TEXT),))]
    assert profile_times(engine, scans, [None], 10 * HOUR) == Times(
        3, 3 * HOUR, 7 * HOUR, {None: (3, 3 * HOUR)}
    )
    found = profile_keys(engine, scans, [None], 7 * HOUR, personal=False)
    assert found[None] == KeyRows((1.0, 2.0), (1, 2), (1, 3), 2, "a")


def test_a_missing_file_or_key_column_is_told(engine: DuckDBEngine) -> None:
    gone = asof.Events("gone", asof.Parquet("gone.parquet"), event_time="at")
    with pytest.raises(SourceNotFound):
        profile_times(engine, [Scan(asof.Union("one", [gone]).sources[0], ())], [None], HOUR)
    scan = Scan(scan_of(ROWS).source, (("account", TEXT),))
    with pytest.raises(MissingColumn):
        profile_keys(engine, [scan], [None], HOUR, personal=False)


def test_few_reaches_stand_for_themselves_and_many_for_shorter_ones() -> None:
    assert rungs([30, None, 1, 7, 7]) == (1, 7, 30, None)
    many = rungs([*range(1, 1000), None])
    assert len(many) <= 8
    assert many[-2:] == (999, None)
    assert all(rung_of(reach, many) >= reach for reach in range(1, 1000))
    assert [rung_of(reach, (1, 7, None)) for reach in (1, 2, 8, None)] == [1, 7, None, None]
