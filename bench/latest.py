"""Latest values: 10 columns of the newest row at or before t; 10 million rows, 10,000 keys, 100,000 spine rows.

Other side: the best of DuckDB's ASOF join, the same with values fetched late (the join carries row numbers
only, a second scan fetches the values of the rows that won), and Polars' `join_asof` on its default (streaming)
engine. All read the same Parquet files, which are in order of time, and only the columns that are needed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench import data
from bench.harness import OURS, Measured, Options, Row, fastest, measure, versus
from bench.peers import python
from bench.process import Side
from bench.windows import our_places
from bench.windows_others import ask

if TYPE_CHECKING:
    import pyarrow as pa

    from bench.equal import Kinds

COLUMNS = ["x0", "x1", "x2", "x3", "n0", "n1", "n2", "s0", "s1", "s2"]
OTHERS = ("DuckDB ASOF join", "DuckDB ASOF join, values late", "Polars join_asof")


def duckdb_asof(log: str, spine: str, columns: list[str], threads: int) -> pa.Table:
    values = ", ".join(f"e.{name}" for name in columns)
    sql = f"""
    SELECT s.row_id, {values} FROM '{spine}' s
    ASOF LEFT JOIN '{log}' e ON s.account_id = e.account_id AND s.event_time >= e.occurred_at ORDER BY s.row_id"""
    return ask(sql, threads)


def duckdb_late(log: str, spine: str, columns: list[str], threads: int) -> pa.Table:
    values = ", ".join(f"e.{name}" for name in columns)
    sql = f"""
    WITH e AS (SELECT account_id, occurred_at, file_index AS f, file_row_number AS n FROM '{log}'),
    found AS (
      SELECT s.row_id, e.f, e.n FROM '{spine}' s
      ASOF LEFT JOIN e ON s.account_id = e.account_id AND s.event_time >= e.occurred_at
    )
    SELECT found.row_id, {values} FROM found
    LEFT JOIN '{log}' e ON found.f = e.file_index AND found.n = e.file_row_number ORDER BY found.row_id"""
    return ask(sql, threads)


def polars_asof(log: str, spine: str, columns: list[str]) -> pa.Table:
    """The log is in order of time, so only the spine is sorted, and the answer brought back into its order."""
    import polars as pl

    rows = pl.scan_parquet(spine).select("row_id", "account_id", "event_time").sort("event_time")
    values = pl.scan_parquet(log).select("account_id", "occurred_at", *columns).set_sorted("occurred_at")
    joined = rows.join_asof(
        values, left_on="event_time", right_on="occurred_at", by="account_id", check_sortedness=False
    )
    return joined.select("row_id", *columns).sort("row_id").collect().to_arrow()


def run(options: Options) -> list[Row]:
    size, per_key = (1_000_000, 100) if options.quick else (10_000_000, 1_000)
    time, peak = _compare(options, data.readings(size, per_key=per_key), "latest", bars=True)
    skewed, skewed_peak = _compare(
        options, data.readings(size, per_key=per_key, skewed=True), "latest-skewed", bars=False
    )
    return [time, peak, skewed, skewed_peak]


def _compare(options: Options, log: data.Dataset, name: str, *, bars: bool) -> tuple[Row, Row]:
    """Time against the fastest other side, and memory against that same side."""
    arguments = {"log": log.log, "spine": log.spine(100_000), "columns": COLUMNS}
    peer, more = python(), arguments | {"threads": options.threads}
    sides = [Side(OURS, "bench.ours:latest", arguments, env=our_places())] if options.ours else []
    sides += [
        Side(OTHERS[0], "bench.latest:duckdb_asof", more, peer),
        Side(OTHERS[1], "bench.latest:duckdb_late", more, peer),
        Side(OTHERS[2], "bench.latest:polars_asof", arguments, peer),
    ]
    kinds: Kinds = {"row_id": "exact", **dict.fromkeys(COLUMNS, "exact")}
    found = measure(sides, options, kinds=kinds)
    bar = "<= 1.0" if bars else None
    time = versus("latest", name, found, OTHERS, bar=bar, wanted=options.ours)
    time.notes = [f"{log.rows:,} rows", *(_line(found[other]) for other in OTHERS)]
    best, mine = fastest(found, OTHERS), found.get(OURS)
    our_peak = mine.peak / 1e9 if mine else None
    peak = Row(
        "latest", f"{name}-memory", our_peak, best.peak / 1e9, best.side, "GB", bar, failed=time.failed
    )
    return time, peak


def _line(side: Measured) -> str:
    return f"{side.side}: {side.median:.2f} s, peak {side.peak / 1e9:.2f} GB"
