"""Latest values without a sort agree with latest values from a sorted history."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

import asof
from asof.clock import from_us

MINUTE = 60_000_000


@pytest.mark.parametrize("as_known", [True, False])
@pytest.mark.parametrize("cutoff", [None, 700 * MINUTE])
def test_streaming_and_sorting_give_the_same_values_and_the_same_report(
    monkeypatch: pytest.MonkeyPatch, *, as_known: bool, cutoff: int | None
) -> None:
    rng = np.random.default_rng(3)
    n, m = 3000, 500
    at = rng.integers(0, 1000, n) * MINUTE
    late = rng.integers(0, 3, n) * rng.integers(0, 200, n) * MINUTE
    rows = pa.table(
        {
            "k": rng.integers(0, 30, n),
            "at": pa.array(at, pa.timestamp("us")),
            "known": pa.array(at + late, pa.timestamp("us")),
            "tier": pa.array([None if i % 7 == 0 else f"t{i % 5}" for i in range(n)]),
            "n": pa.array([None if i % 11 == 0 else i for i in range(n)], pa.int64()),
        }
    )
    spine = pa.table(
        {
            "k": pa.array([None if i == 33 else int(i) for i in rng.integers(0, 34, m)], pa.int64()),
            "event_time": pa.array(rng.integers(0, 1100, m) * MINUTE, pa.timestamp("us")),
        }
    )
    source = asof.Events("s", asof.InMemory(rows), event_time="at", known_at="known")
    features = [asof.latest("tier", "n"), asof.latest("n", ttl="90m").named("fresh")]
    view = asof.FeatureView(
        "v", entity=asof.Entity("e", keys={"k": "int64"}), source=source, features=features
    )
    until = None if cutoff is None else from_us(cutoff)
    monkeypatch.setattr("asof.flows.latest.BATCH_ROWS", 128)

    def made() -> asof.flows.result.TrainingSet:  # type: ignore[name-defined]
        return asof.Project([]).training_set([view], spine=spine, as_known=as_known, cutoff=until)

    streamed = made()
    monkeypatch.setattr("asof.flows.groups.Group.streams", property(lambda _: False))
    sorted_ = made()
    assert "sort" in {stage.stage for stage in sorted_.report.stages}
    assert "sort" not in {stage.stage for stage in streamed.report.stages}
    assert streamed.table.equals(sorted_.table)
    assert streamed.report.features == sorted_.report.features
    assert streamed.report.sources == sorted_.report.sources
