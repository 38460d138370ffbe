"""A small bank on disk for the flows' tests."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

HOUR = 3_600_000_000
ROWS = pa.table(
    {
        "account_id": ["a", "a", "b", None, "a"],
        "amount": pa.array([5.0, 7.0, 9.0, 1.0, 11.0]),
        "note": ["x", "y", "x", "x", None],
        "at": pa.array([1 * HOUR, 2 * HOUR, 2 * HOUR, 2 * HOUR, None], pa.timestamp("us")),
    }
)


def spine_of(rows: list[tuple[str | None, int | None]]) -> pa.Table:
    """A spine of accounts and hours."""
    times = [None if hour is None else hour * HOUR for _, hour in rows]
    return pa.table({"account_id": pa.array([a for a, _ in rows], pa.string()),
                     "event_time": pa.array(times, pa.timestamp("us"))})  # fmt: skip


@pytest.fixture
def bank(tmp_path: Path) -> Path:
    """A folder with the rows in `tx.parquet`."""
    pq.write_table(ROWS, tmp_path / "tx.parquet")
    return tmp_path
