"""Records with tiles answer as the training set does: exactly where numbers are exact, to 1e-12 for floats."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import asof
from asof.flows.project import Project
from asof.online.open_store import open_store
from asof.testing.clock import FakeClock

HOUR = 3_600_000_000
DAY = 24 * HOUR
ACCOUNTS = [f"a{i}" for i in range(12)]
WINDOWS = (("7d", "1h", None), ("1d", "15m", "2h"), ("3d", "1h", "1d"))


def moment(us: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=us)


def payments(seed: int, rows: int = 3_000) -> pa.Table:
    """Thirty days; three rows in ten become known up to five days late, one in ten has no amount."""
    rng = np.random.default_rng(seed)
    at = np.sort(rng.integers(0, 30 * DAY, rows))
    cents, nothing = rng.integers(1, 50_000, rows), rng.random(rows) < 0.1
    late = np.where(rng.random(rows) < 0.3, rng.integers(0, 5 * DAY, rows), 0)
    return pa.table(
        {
            "account": pa.array(rng.choice(ACCOUNTS, rows)),
            "at": pa.array(at, pa.timestamp("us")),
            "known": pa.array(at + late, pa.timestamp("us")),
            "cents": pa.array(cents, mask=nothing),
            "amount": pa.array(cents / 100, mask=nothing),
        }
    )


def project(table: pa.Table) -> Project:
    account = asof.Entity("account", keys={"account": "string"})
    source = asof.Events("payments", asof.InMemory(table), event_time="at", known_at="known")
    functions = (
        asof.count(), asof.count("cents"), asof.sum("cents"), asof.sum("amount"), asof.mean("cents"),
        asof.mean("amount"), asof.min("cents"), asof.max("amount"), asof.std("amount"), asof.var("cents"),
        asof.ratio(asof.sum("cents"), asof.count()),
    )  # fmt: skip
    features = [
        each.over(size, hop=hop, offset=offset) for each in functions for size, hop, offset in WINDOWS
    ]
    features.append(asof.count().where("amount > 50").over("7d", hop="1h").named("large"))
    view = asof.FeatureView("activity", entity=account, source=source, features=features)
    clock = FakeClock(moment(31 * DAY))
    return Project([view, asof.FeatureService("risk", [view])], clock=clock)


def same(left: pa.Array, right: pa.Array) -> bool:
    if not pa.types.is_floating(left.type):
        return left.equals(right)
    mine, theirs = (each.to_numpy(zero_copy_only=False) for each in (left, right))
    return bool(np.allclose(mine, theirs, rtol=1e-12, atol=1e-9, equal_nan=True))


@pytest.mark.parametrize("seed", [1, 2])
def test_a_view_whose_windows_all_have_hops_is_read_from_tiles_and_gives_what_training_gives(
    seed: int, tmp_path: Path
) -> None:
    made = project(payments(seed))
    store = open_store("lmdb:///online", root=tmp_path)
    ends = [int(us) for us in np.sort(np.random.default_rng(seed).integers(10 * DAY, 27 * DAY, 4))]
    asked = [*ACCOUNTS, "nobody"]
    for end in ends:
        made.materialize(store=store, until=moment(end))
        reader = made.online(store=store)
        for at in (end, end + 12_345_678, end + 8 * HOUR, end - HOUR):
            answer = reader.read("risk", {"account": asked}, at=moment(at))
            spine = pa.table(
                {"account": asked, "event_time": pa.array([at] * len(asked), pa.timestamp("us"))}
            )
            table = made.training_set("risk", spine=spine, cutoff=moment(end - 1)).table
            for name in answer.names:
                assert same(table[name].combine_chunks(), answer.arrow(name)), (name, end, at)
    store.close()


def test_the_same_records_come_from_many_runs_and_from_one(tmp_path: Path) -> None:
    made = project(payments(3))
    steps, whole = (open_store(f"lmdb:///{name}", root=tmp_path) for name in ("steps", "whole"))
    for end in (11 * DAY, 12 * DAY, 12 * DAY, 20 * DAY):
        made.materialize(store=steps, until=moment(end))
    made.materialize(store=whole, until=moment(20 * DAY))
    answers = [
        made.online(store=store).read("risk", {"account": ACCOUNTS}, at=moment(21 * DAY))
        for store in (steps, whole)
    ]
    for name in answers[0].names:
        assert same(answers[0].arrow(name), answers[1].arrow(name)), name
    for store in (steps, whole):
        store.close()


def test_a_closed_right_edge_or_a_function_without_a_tile_keeps_rows() -> None:
    from asof.compute.tiles import tile_layout
    from asof.types import DType

    def layout(*each: asof.Aggregation) -> object:
        account = asof.Entity("account", keys={"account": "string"})
        source = asof.Events("payments", asof.InMemory(payments(1, 3)), event_time="at")
        view = asof.FeatureView("v", entity=account, source=source, features=each)
        return tile_layout(view.features, {"cents": DType("int64"), "account": DType("string")})

    assert layout(asof.count().over("1d", hop="1h"), asof.sum("cents").over("1h", hop="15m")) is not None
    assert layout(asof.count().over("1d", hop="1h", closed="right")) is None
    assert layout(asof.count().over("1d", hop="1h"), asof.count().over("1d")) is None
    assert layout(asof.last("cents").over("1d", hop="1h")) is None
    assert layout(asof.max("account").over("1d", hop="1h")) is None
    assert layout(asof.sum("cents").by("account").over("1d", hop="1h")) is None
