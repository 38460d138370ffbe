"""Backfills: intervals, rows and records of small sources, written out by hand; and against a brute count."""

from __future__ import annotations

import random
from collections import Counter
from hashlib import sha256
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import asof
from asof.clock import parse_time
from asof.engines.duckdb import DuckDBEngine, open_database
from asof.flows.estimate import (
    DEFAULT_ROWS_PER_SECOND,
    Backfill,
    estimate_backfills,
    measured_rows_per_second,
)
from asof.usage import UsageEvent

HOUR, DAY = 3_600_000_000, 86_400_000_000
NOW = parse_time("2025-03-01")
ACCOUNT = asof.Entity("account", keys={"account_id": "string"})
LIFETIME = "a lifetime window keeps every event: give it a size, or keep the view for training"
Row = tuple[str, int]


def table(rows: list[Row]) -> pa.Table:
    """Accounts, and how many hours before now their events were; with amounts that are no round numbers, and a note of
    4 letters. A record has 72 bytes, and of each row 3 for its time (whole seconds of a month) and 8 for its amount.
    """
    return pa.table({
        "account_id": pa.array([key for key, _ in rows], pa.string()),
        "amount": pa.array([8 + i / 7 for i in range(1, len(rows) + 1)], pa.float64()),
        "note": pa.array(["note"] * len(rows), pa.string()),
        "at": pa.array([NOW - hours * HOUR for _, hours in rows], pa.timestamp("us")),
    })  # fmt: skip


def view(
    source: object, *features: object, name: str = "v", online: bool = True, **more: object
) -> asof.FeatureView:
    return asof.FeatureView(name, entity=ACCOUNT, source=source, features=features, online=online, **more)


def events(rows: list[Row], **more: object) -> asof.Events:
    return asof.Events("tx", asof.InMemory(table(rows)), event_time="at", **more)


def estimate(*views: asof.FeatureView, root: Path = Path(), rate: float | None = 1.0) -> list[Backfill]:
    engine = DuckDBEngine(root, open_database(threads=2))
    return estimate_backfills(engine, views, now_us=NOW, rows_per_second=rate, progress=lambda *_: None)


ROWS: list[Row] = [("a", 1), ("a", 2), ("a", 30), ("b", 1), ("c", 50), ("d", -1)]


def test_a_backfill_reads_what_windows_can_still_need() -> None:
    (found,) = estimate(view(events(ROWS), asof.sum("amount").over("1d")), rate=2.0)
    # Rows of the last day: a, a, b; a's record has two rows.
    # In memory a row is as wide as its values, and its key is taken for 16 bytes: 3 * (129 / 8 + 16).
    assert found == Backfill(
        "v", NOW - 2 * HOUR, NOW, rows=3, read_bytes=97, seconds=1.5, entities=2, layout="rows",
        record_p50_bytes=83, record_p99_bytes=94, record_max_bytes=94, total_bytes=177,
    )  # fmt: skip


def test_a_view_that_is_not_served_is_read_whole() -> None:
    (found,) = estimate(view(events(ROWS), asof.sum("amount").over("1d"), online=False))
    assert (found.from_us, found.rows, found.entities) == (NOW - 50 * HOUR, 5, 2)


def test_latest_values_need_all_of_history_and_keep_one_row_of_each_entity() -> None:
    (found,) = estimate(view(events(ROWS), asof.latest("amount")))
    assert (found.from_us, found.rows, found.entities) == (NOW - 50 * HOUR, 5, 3)
    assert (found.record_p50_bytes, found.record_max_bytes, found.total_bytes) == (
        84,
        84,
        3 * 84,
    )  # years need 4 bytes
    assert found.note is None


def test_a_lifetime_window_is_told() -> None:
    served = view(events(ROWS), asof.sum("amount").over("lifetime"))
    trained = view(events(ROWS), asof.sum("amount").over("lifetime"), online=False)
    assert [found.note for found in estimate(served, trained)] == [LIFETIME, None]
    assert estimate(served)[0].record_max_bytes == 72 + 3 * 12  # a's three events


def test_tiles_are_told_as_their_own_layout() -> None:
    (found,) = estimate(view(events(ROWS), asof.sum("amount").over("1d", hop="1h")))
    # a has two rows, each in a tile of 1 + 8 bytes; b one.
    assert (found.layout, found.record_p50_bytes, found.record_max_bytes) == ("tiles", 144 + 9, 144 + 18)
    assert found.total_bytes == 2 * 144 + 3 * 9


def hot(n: int = 20_000) -> list[Row]:
    """A hot key with so many rows over 25 days, and ten others with one."""
    return [("hot", 1 + i % 600) for i in range(n)] + [(f"cold-{i}", 5) for i in range(10)]


def test_a_hot_key_is_named_with_the_hop_that_makes_its_record_small() -> None:
    (found,) = estimate(view(events(hot()), asof.sum("amount").over("30d")))
    assert (found.record_p50_bytes, found.record_max_bytes) == (83, 72 + 220_000)
    # Tiles of 9 bytes: no more than rows, so 20,000 tiles of 1 s are too many, as are 8,641 of 5 m; 15 m has 2,881.
    assert (found.hot_key, found.hop, found.hop_bytes) == ("hot", "15m", 144 + 2_881 * 9)
    assert found.note is None
    (small,) = estimate(view(events(hot(5_000)), asof.sum("amount").over("30d")))
    assert (small.record_max_bytes, small.hot_key, small.hop) == (72 + 55_000, None, None)


@pytest.mark.parametrize(
    ("features", "more", "note"),
    [
        ([asof.sum("amount").over("1h", "365d")], {}, "no hop that fits all windows"),
        ([asof.sum("amount").over("30d"), asof.latest("note")], {}, "'note' needs the events themselves"),
        ([asof.sum("amount").over("lifetime")], {}, "a lifetime window keeps every event"),
        ([asof.sum("amount").over("30d")], {"key": "amount"}, "a revised source keeps its events"),
        ([asof.sum("amount").over("30d", hop="1s")], {}, "over 64 KiB with its hops"),
    ],
)
def test_a_hot_key_that_no_hop_helps_says_why(
    features: list[object], more: dict[str, object], note: str
) -> None:
    rows = [("hot", 1 + i % 600) for i in range(20_000)]
    seconds = [NOW - i * 120_000_000 for i in range(1, 20_001)]
    spread = table(rows).set_column(3, "at", pa.array(seconds, pa.timestamp("us")))
    source = asof.Events("tx", asof.InMemory(spread), event_time="at", **more)
    (found,) = estimate(view(source, *features))
    assert (found.hot_key, found.hop) == ("hot", None)
    assert note in (found.note or "")


def test_a_personal_key_is_never_shown() -> None:
    shown = f"sha256:{sha256(b'hot').hexdigest()[:8]}…"
    feature = asof.sum("amount").over("30d")
    direct = events(hot(), personal=["account_id"])
    derived = events(hot(), columns={"who": "lower(ACCOUNT_ID)"}, personal=["account_id"])
    united = asof.Union("both", [derived.mapped(account_id="who"), asof.Events(
        "other", asof.InMemory(table([("x", 1)])), event_time="at")])  # fmt: skip
    elsewhere = events(hot(), personal=["note"])
    views = [view(direct, feature), view(derived, feature, keys={"account_id": "trim(who)"}), view(united, feature),
             view(elsewhere, feature)]  # fmt: skip
    assert [found.hot_key for found in estimate(*views)] == [shown, shown, shown, "hot"]


def test_a_key_is_personal_for_all_views_when_one_of_equal_sources_says_so() -> None:
    history = asof.InMemory(table(hot()))
    plain = asof.Events("tx", history, event_time="at")
    marked = asof.Events("tx", history, event_time="at", personal=["account_id"])
    assert plain == marked
    feature = asof.sum("amount").over("30d")
    keys = {
        found.hot_key for found in estimate(view(plain, feature, name="p"), view(marked, feature, name="m"))
    }
    assert keys == {f"sha256:{sha256(b'hot').hexdigest()[:8]}…"}


def test_parts_of_a_union_count_together() -> None:
    ach = asof.Events("ach", asof.InMemory(table([("a", 3), ("e", 4)])), event_time="at")
    both = asof.Union("both", [events(ROWS), ach])
    (found,) = estimate(view(both, asof.sum("amount").over("1d")))
    assert (found.rows, found.entities, found.record_max_bytes) == (5, 3, 72 + 33)  # a: two and one


def test_versions_of_a_revised_source_count() -> None:
    rows = table([("a", 1), ("a", 1), ("a", 1), ("b", 90)]).append_column("id", pa.array([1, 1, 2, 3]))
    source = asof.Events("tx", asof.InMemory(rows), event_time="at", key="id", deleted="amount < 0")
    (found,) = estimate(view(source, asof.sum("amount").over("1d")))
    # Read whole. Two columns for the key and one for until when a row counts; a row has 3 + 8 + 8 bytes, and
    # a's two events have three versions, as on average 4 / 3 (b's has one).
    assert (found.from_us, found.rows, found.entities) == (NOW - HOUR, 4, 1)
    assert found.record_max_bytes == 72 + 3 * 16 + -(-19 * 9 // 4)


def test_a_source_that_cannot_be_read_says_so_and_stops_nothing(tmp_path: Path) -> None:
    gone = asof.Events("gone", asof.Parquet("gone/*.parquet"), event_time="at")
    empty = asof.Events("empty", asof.InMemory(table([])), event_time="at")
    feature = asof.sum("amount").over("1d")
    views = [view(gone, feature, name="g"), view(events(ROWS), feature), view(empty, feature, name="e"),
             view(events(ROWS), asof.sum("amuont").over("1d"), name="typo"),
             view(events(ROWS), asof.count().where("1 +").over("1d").named("n"), name="sql")]  # fmt: skip
    found = estimate(*views, root=tmp_path)
    assert found[0] == Backfill("g", None, NOW, note="source 'gone': no file matches 'gone/*.parquet'")
    assert (found[1].rows, found[1].note) == (3, None)
    assert found[2] == Backfill(
        "e", None, NOW, note="source 'empty' has no event before 2025-03-01T00:00:00Z"
    )
    assert found[3] == Backfill("typo", None, NOW, note="source 'tx' has no column 'amuont'")
    assert found[4].rows == 3  # predicates of a source in memory are not looked at: `asof check` does


def test_one_view_that_is_wrong_does_not_hide_the_others_of_its_source(tmp_path: Path) -> None:
    pq.write_table(table(ROWS), tmp_path / "tx.parquet")
    source = asof.Events("tx", asof.Parquet("tx.parquet"), event_time="at")
    wrong = view(source, asof.count().where("1 +").over("1d").named("n"), name="wrong")
    typo = view(source, asof.sum("amuont").over("1d"), name="typo")
    found = estimate(wrong, typo, view(source, asof.sum("amount").over("1d")), root=tmp_path)
    assert "'1 +' is not an SQL expression" in (found[0].note or "")
    assert found[1].note == "source 'tx' has no column 'amuont'"
    assert (found[2].rows, found[2].note) == (3, None)


def test_bytes_are_those_that_the_files_have_of_the_columns(tmp_path: Path) -> None:
    pq.write_table(table(ROWS), tmp_path / "tx.parquet")
    chunks = pq.read_metadata(tmp_path / "tx.parquet").row_group(0)
    size = {name: chunks.column(i).total_compressed_size for i, name in enumerate(table(ROWS).column_names)}
    source = asof.Events("tx", asof.Parquet("tx.parquet"), event_time="at", columns={"cents": "amount * 100"})
    views = [
        view(source, asof.sum("cents").over("1d")),
        view(source, asof.count("note").over("1d"), name="n"),
    ]
    derived, text = estimate(*views, root=tmp_path)
    half = [size["account_id"] + size["at"] + size[name] for name in ("amount", "note")]
    assert [derived.read_bytes, text.read_bytes] == [-(-each // 2) for each in half]  # 3 of 6 rows


def test_a_source_whose_events_are_all_too_old_says_of_when_its_sizes_are() -> None:
    old = [("a", 24 * 100), ("a", 24 * 100 + 1), ("b", 24 * 100 + 2)]
    (found,) = estimate(view(events(old), asof.sum("amount").over("1d")))
    assert (found.from_us, found.rows, found.seconds, found.entities, found.record_max_bytes) == (
        None,
        0,
        0,
        2,
        94,
    )
    newest = "2024-11-21T00:00:00Z"
    assert found.note == f"no event is in any window now: the newest is of {newest}, and sizes are as of then"


def test_views_over_one_source_share_its_statistics(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    real = DuckDBEngine.summarize
    monkeypatch.setattr(DuckDBEngine, "summarize", lambda *given: asked.append(given[2]) or real(*given))
    source = events(ROWS)
    views = [view(source, asof.sum("amount").over(f"{i + 1}h"), name=f"v{i}") for i in range(100)]
    found = estimate(*views)
    assert len(asked) == 4  # rows over time, rows of each entity, how values lie apart, and times
    assert [each.view for each in found] == [f"v{i}" for i in range(100)]
    assert [each.entities for each in found] == sorted(each.entities for each in found)
    assert found[0].entities >= 2  # a and b in the last hour; at most as many as within the next longer reach
    assert found[99].entities == 3


def test_progress_and_the_default_rate(tmp_path: Path) -> None:
    seen: list[tuple[str, str, int, int]] = []
    engine = DuckDBEngine(tmp_path, open_database(threads=2))
    views = [view(events(ROWS), asof.sum("amount").over("1d"))] * 2
    found = estimate_backfills(
        engine, views, now_us=NOW, rows_per_second=None, progress=lambda *told: seen.append(told)
    )
    assert seen == [("profile", "tx", 1, 1)]
    assert [each.seconds for each in found] == [round(3 / DEFAULT_ROWS_PER_SECOND, 6)] * 2
    assert estimate_backfills(engine, [], now_us=NOW, rows_per_second=None, progress=lambda *_: None) == []


def test_the_order_of_record_sizes_is_that_of_a_brute_count() -> None:
    draw = random.Random(11)
    rows = [(f"k{min(int(draw.paretovariate(0.6)), 60)}", draw.randrange(1, 24 * 60)) for _ in range(20_000)]
    features = [asof.sum("amount").over(f"{days}d") for days in (1, 7, 30)]
    source = events(rows)
    found = estimate(*(view(source, feature, name=f"v{i}") for i, feature in enumerate(features)))
    newest = min(hours for _, hours in rows)
    for days, each in zip((1, 7, 30), found, strict=True):
        counts = sorted(Counter(key for key, hours in rows if hours <= newest + 24 * days).values())
        size = [72 + 11 * count for count in counts]
        middle, high = size[-(-len(size) // 2) - 1], size[-(-99 * len(size) // 100) - 1]
        assert (each.entities, each.record_max_bytes) == (len(counts), size[-1])
        assert (each.record_p50_bytes, each.record_p99_bytes) == pytest.approx((middle, high), rel=0.05)
        assert each.total_bytes == pytest.approx(sum(size), abs=len(size))  # each is rounded up


def receipt(run: str, stage: str, rows: int, seconds: float, **labels: str) -> UsageEvent:
    return UsageEvent(run, "training_set", stage, "tx", rows, 0, seconds, seconds, 0, labels)


def test_the_rate_of_this_machine_is_the_median_of_its_runs() -> None:
    events_ = [
        receipt("slow", "read", 1_000_000, 1.0), receipt("slow", "sort", 1_000_000, 1.0),
        receipt("slow", "compute", 10, 9.0), receipt("slow", "spine", 10_000_000, 9.0),
        receipt("fast", "read", 3_000_000, 0.5), receipt("fast", "read", 3_000_000, 0.5),
        receipt("spilled", "spill", 2_000_000, 1.0), receipt("tiny", "read", 99_999, 0.001),
        receipt("failed", "read", 9_000_000, 1.0), receipt("failed", "sort", 0, 0.1, outcome="failed"),
    ]  # fmt: skip
    assert measured_rows_per_second(events_) == 2_000_000  # of 500,000, 2,000,000 and 6,000,000
    assert measured_rows_per_second(iter(events_[:3])) == 500_000
    assert measured_rows_per_second(events_[7:]) is None
