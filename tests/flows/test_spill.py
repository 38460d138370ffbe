"""Larger than memory: partitions give what memory gives, moved events included."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import asof
from asof.config import load_config

MINUTE = 60_000_000


def _project(tmp_path: Path, memory_bytes: int) -> asof.Project:
    (tmp_path / "asof.toml").write_text('name = "spill"\n')
    config = load_config(tmp_path, {})
    view = asof.FeatureView(
        "activity",
        entity=asof.Entity("account", keys={"account_id": "string", "book": "int64"}),
        source=asof.Events(
            "tx",
            asof.Parquet("tx.parquet"),
            event_time="at",
            known_at="known",
            key="id",
            deleted="gone",
        ),
        features=[
            asof.count().over("1h", "6h"),
            asof.sum("amount").over("6h"),
            asof.last("note", 3),
            asof.sum("amount").by("note").over("6h"),
        ],
    )
    latest = asof.FeatureView(
        "latest", entity=view.entity, source=view.source, features=[asof.latest("note").named("newest")]
    )
    return asof.Project([view, latest], config=replace(config, memory_limit_bytes=memory_bytes))


def _write(tmp_path: Path, n: int = 4000) -> pa.Table:
    rng = np.random.default_rng(7)
    at = rng.integers(0, 24 * 60, n) * MINUTE
    table = pa.table(
        {
            "id": pa.array([f"t{i}" for i in rng.integers(0, n // 2, n)]),  # half of the events are revised
            "account_id": pa.array([f"a{i}" for i in rng.integers(0, 40, n)]),  # and move between accounts
            "book": rng.integers(0, 2, n),
            "at": pa.array(at, pa.timestamp("us", "UTC")),
            "known": pa.array(at + rng.integers(0, 120, n) * MINUTE, pa.timestamp("us", "UTC")),
            "amount": pa.array(rng.integers(-500, 500, n)),
            "note": pa.array([f"n{i}" for i in rng.integers(0, 5, n)]),
            "gone": rng.random(n) < 0.1,
        }
    )
    pq.write_table(table, tmp_path / "tx.parquet")
    m = 300
    return pa.table(
        {
            "account_id": pa.array([f"a{i}" if i < 38 else None for i in rng.integers(0, 41, m)]),
            "book": rng.integers(0, 2, m),
            "event_time": pa.array(rng.integers(0, 26 * 60, m) * MINUTE, pa.timestamp("us", "UTC")),
            "row": np.arange(m),
        }
    )


def test_partitions_on_disk_give_the_same_table_as_memory(tmp_path: Path) -> None:
    spine = _write(tmp_path)
    whole = _project(tmp_path, 2 * 10**9)
    views = whole.definitions.list("feature_view")
    expected = whole.training_set(views, spine=spine)
    spilled = _project(tmp_path, 150_000).training_set(views, spine=spine)
    assert "spill" in {stage.stage for stage in spilled.report.stages}
    assert "spill" not in {stage.stage for stage in expected.report.stages}
    assert spilled.table.equals(expected.table)
    assert spilled.table["row"].to_pylist() == list(range(300))
    by_name = {f.name: f for f in expected.report.features}
    assert all(by_name[f.name].hidden_rows == f.hidden_rows for f in spilled.report.features)


def test_a_failed_run_leaves_no_spilled_file_behind(tmp_path: Path) -> None:
    spine = _write(tmp_path)
    project = _project(tmp_path, 150_000)
    views = project.definitions.list("feature_view")

    def stop(stage: str, *_: object) -> None:
        if stage == "compute":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        project.training_set(views, spine=spine, progress=stop)
    assert project.config is not None
    assert list(project.config.spill_dir.glob("asof-*")) == []
