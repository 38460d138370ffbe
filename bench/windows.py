"""15 window features: count, sum, mean, max and std over 1, 7 and 30 days, `[t - W, t)`; from Parquet to Arrow in memory.

Other side: the best of three hand-written DuckDB queries. `duckdb_frames`: RANGE frames over the union of events and
spine. `duckdb_join`: range join + group by, one filtered aggregate per feature. `duckdb_bands`: the same join, but every
pair is added once to its band (0-1, 1-7, 7-30 days) and the bands are merged. Times are compared as integers, which is faster
than timestamps and intervals. Only columns that are needed are read. Floor: reading and sorting those same columns.
"""

from __future__ import annotations

import tempfile
from typing import TYPE_CHECKING, Any

from bench import data
from bench.harness import OURS, Options, Row, fastest, measure, versus
from bench.peers import python
from bench.process import Side

if TYPE_CHECKING:
    import pyarrow as pa

    from bench.equal import Kinds

DAYS = (1, 7, 30)
FUNCTIONS = ("sum", "mean", "max", "std")
DUCKDB = ("DuckDB range frames", "DuckDB range join", "DuckDB range join in bands")
FLOOR = "floor: DuckDB reads and sorts"
POLARS = "Polars join"


def ask(sql: str, threads: int) -> pa.Table:
    import duckdb

    with duckdb.connect(config={"threads": threads}) as con:
        return con.sql(sql).to_arrow_table()


def _features(value: str, name: str, over: dict[int, str]) -> str:
    """The 15 columns; `over` is what follows each aggregate, by days: an OVER or a FILTER clause."""
    return ",\n  ".join(
        f"count({value}) {o} AS count_{d}d, coalesce(sum({value}) {o}, 0) AS {name}_sum_{d}d, "
        f"avg({value}) {o} AS {name}_mean_{d}d, max({value}) {o} AS {name}_max_{d}d, "
        f"stddev_samp({value}) {o} AS {name}_std_{d}d"
        for d, o in over.items()
    )


def duckdb_frames(log: str, spine: str, key: str, amount: str, threads: int) -> pa.Table:
    frames = ", ".join(
        f"w{d} AS (PARTITION BY k ORDER BY t RANGE BETWEEN {d * data.DAY_US} PRECEDING AND 1 PRECEDING)" for d in DAYS
    )
    sql = f"""
    WITH merged AS (
      SELECT {key} AS k, epoch_us(occurred_at) AS t, {amount} AS a, NULL::BIGINT AS row_id FROM '{log}'
      UNION ALL SELECT {key}, epoch_us(event_time), NULL, row_id FROM '{spine}'
    ), framed AS (
      SELECT row_id, {_features("a", amount, {d: f"OVER w{d}" for d in DAYS})} FROM merged WINDOW {frames}
    )
    SELECT * FROM framed WHERE row_id IS NOT NULL ORDER BY row_id"""
    return ask(sql, threads)


def _tables(log: str, spine: str, key: str, amount: str, known_at: str | None) -> str:
    known = f", epoch_us({known_at}) AS known" if known_at else ""
    return f"""
    WITH e AS (SELECT {key} AS k, epoch_us(occurred_at) AS t, {amount} AS a{known} FROM '{log}'),
    s AS (SELECT row_id, {key} AS k, epoch_us(event_time) AS t FROM '{spine}')"""


def _pairs(known_at: str | None) -> str:
    known = "AND e.known <= s.t" if known_at else ""
    return f"ON e.k = s.k AND e.t < s.t AND e.t >= s.t - {30 * data.DAY_US} {known}"


def duckdb_join(log: str, spine: str, key: str, amount: str, threads: int, known_at: str | None = None) -> pa.Table:
    over = {1: f"FILTER (WHERE e.t >= s.t - {data.DAY_US})", 7: f"FILTER (WHERE e.t >= s.t - {7 * data.DAY_US})", 30: ""}
    sql = f"""{_tables(log, spine, key, amount, known_at)}
    SELECT s.row_id, {_features("a", amount, over)}
    FROM s LEFT JOIN e {_pairs(known_at)} GROUP BY s.row_id ORDER BY s.row_id"""
    return ask(sql, threads)


def duckdb_bands(log: str, spine: str, key: str, amount: str, threads: int, known_at: str | None = None) -> pa.Table:
    """n, s, m, q: count, sum, max and sum of squared differences of one band; upper case: of all bands up to it."""
    turned = ", ".join(
        f"coalesce(any_value(n) FILTER (band = {d}), 0) AS n{d}, coalesce(any_value(s) FILTER (band = {d}), 0) AS s{d}, "
        f"any_value(m) FILTER (band = {d}) AS m{d}, coalesce(any_value(q) FILTER (band = {d}), 0) AS q{d}"
        for d in DAYS
    )
    finished = ", ".join(
        f"coalesce(cn{d}, 0) AS count_{d}d, coalesce(cs{d}, 0) AS {amount}_sum_{d}d, cs{d} / nullif(cn{d}, 0) AS {amount}_mean_{d}d, "
        f"cm{d} AS {amount}_max_{d}d, sqrt(cq{d} / nullif(greatest(cn{d} - 1, 0), 0)) AS {amount}_std_{d}d"
        for d in DAYS
    )
    sql = f"""{_tables(log, spine, key, amount, known_at)},
    banded AS (
      SELECT s.row_id, CASE WHEN e.t >= s.t - {data.DAY_US} THEN 1 WHEN e.t >= s.t - {7 * data.DAY_US} THEN 7 ELSE 30 END AS band,
        count(*) AS n, sum(a) AS s, max(a) AS m, var_pop(a) * count(*) AS q
      FROM s JOIN e {_pairs(known_at)} GROUP BY ALL
    ),
    c1 AS (SELECT *, n1 AS cn1, s1 AS cs1, m1 AS cm1, q1 AS cq1 FROM (SELECT row_id, {turned} FROM banded GROUP BY row_id)),
    c7 AS (SELECT *, {_merged(1, 7)} FROM c1), c30 AS (SELECT *, {_merged(7, 30)} FROM c7)
    SELECT s.row_id, {finished} FROM s LEFT JOIN c30 USING (row_id) ORDER BY s.row_id"""
    return ask(sql, threads)


def _merged(a: int, b: int) -> str:
    """Chan's rule for two groups: squared differences add up, plus what lies between their means."""
    between = f"(cs{a} / cn{a} - s{b} / n{b}) ** 2 * cn{a} * n{b} / (cn{a} + n{b})"
    return (
        f"cn{a} + n{b} AS cn{b}, cs{a} + s{b} AS cs{b}, greatest(cm{a}, m{b}) AS cm{b}, "
        f"CASE WHEN cn{a} = 0 THEN q{b} WHEN n{b} = 0 THEN cq{a} ELSE cq{a} + q{b} + {between} END AS cq{b}"
    )


def floor(log: str, key: str, amount: str, threads: int) -> pa.Table:
    return ask(f"SELECT {key}, occurred_at, {amount} FROM '{log}' ORDER BY {key}, occurred_at", threads)


def polars_join(log: str, spine: str, key: str, amount: str) -> pa.Table:
    """A streaming hash join, filtered to 30 days; faster here than `rolling` over the union (five times) or `join_where`."""
    import polars as pl

    events = pl.scan_parquet(log).select(key, "occurred_at", amount)
    rows = pl.scan_parquet(spine).select("row_id", key, "event_time")
    age = pl.col("event_time") - pl.col("occurred_at")
    pairs = rows.join(events, on=key).filter(age > pl.duration(days=0), age <= pl.duration(days=30)).with_columns(age=age)
    made = []
    for d in DAYS:
        value = pl.col(amount) if d == 30 else pl.col(amount).filter(pl.col("age") <= pl.duration(days=d))
        made += [value.count().alias(f"count_{d}d")]
        made += [getattr(value, name)().alias(f"{amount}_{name}_{d}d") for name in FUNCTIONS]
    zeros = pl.col([f"{name}_{d}d" for d in DAYS for name in ("count", f"{amount}_sum")]).fill_null(0)
    found = pairs.group_by("row_id").agg(made)
    return rows.select("row_id").join(found, on="row_id", how="left").with_columns(zeros).sort("row_id").collect().to_arrow()


def kinds(amount: str) -> Kinds:
    """How columns are compared: all exactly, but what adds up floats."""
    exact_sum = amount == "amount_exact"
    found: Kinds = {"row_id": "exact"}
    for d in DAYS:
        found |= {f"count_{d}d": "exact", f"{amount}_max_{d}d": "exact", f"{amount}_sum_{d}d": "exact" if exact_sum else "float"}
        found |= {f"{amount}_mean_{d}d": "float", f"{amount}_std_{d}d": "float"}
    return found


def run(options: Options) -> list[Row]:
    size, asked = (1_000_000, 20_000) if options.quick else (5_000_000, 100_000)
    many = 10 * asked
    log = data.events(size, (asked, many))
    rows = _main(options, _arguments(log, asked), size)
    rows += _variant(options, "windows-as-known", _arguments(log, asked, known_at="ingested_at"), "1 % of the rows came late")
    rows += _variant(options, "windows-decimal", _arguments(log, asked, amount="amount_exact"), "decimal(18,2), exact")
    rows += _variant(options, "windows-string-key", _arguments(log, asked, key="account_key"), "the key is a string")
    rows += _variant(options, "windows-many-rows", _arguments(log, many), f"{many:,} spine rows")
    return rows


def _arguments(log: data.Dataset, asked: int, key: str = "account_id", amount: str = "amount", **more: Any) -> dict[str, Any]:
    return {"log": log.log, "spine": log.spine(asked), "key": key, "amount": amount, **more}


def _main(options: Options, arguments: dict[str, Any], size: int) -> list[Row]:
    """The headline: integer key, float amount, known at once."""
    peer, threads = python(), {"threads": options.threads}
    queries = ("duckdb_frames", "duckdb_join", "duckdb_bands")
    sides = [ours(arguments)] if options.ours else []
    sides += [Side(n, f"bench.windows:{q}", arguments | threads, peer) for n, q in zip(DUCKDB, queries, strict=True)]
    sides += [Side(POLARS, "bench.windows:polars_join", arguments, peer)]
    found = measure(sides, options, kinds=kinds("amount"))
    bare = {k: v for k, v in arguments.items() if k != "spine"}
    again = [s for s in sides if s.name == OURS and OURS in found]
    floors = measure([*again, Side(FLOOR, "bench.windows:floor", bare | threads, peer)], options)
    notes = [f"{n}: {found[n].median:.2f} s, peak {found[n].peak / 1e9:.2f} GB" for n in (*DUCKDB, POLARS)]
    first = versus("windows", "windows", found, DUCKDB, bar=">= 10", wanted=options.ours)
    first.notes = [f"{size:,} events, 50,000 accounts", *notes]
    lowest = versus("windows", "windows-floor", floors, (FLOOR,), bar="<= 2.0", wanted=options.ours)
    polars = versus("windows", "windows-polars", found, (POLARS,), wanted=options.ours)
    rows = [first, lowest, polars]
    if OURS in found:
        rows.append(_first_use(options, arguments, found[OURS].first_s))
    return rows


def _first_use(options: Options, arguments: dict[str, Any], cached_s: float) -> Row:
    """Compilation, told apart: the first run of a process whose compiled code is not cached yet, against one where it is."""
    with tempfile.TemporaryDirectory() as empty:
        side = ours(arguments, {"NUMBA_CACHE_DIR": empty})
        cold = measure([side], options, runs=0, peak=False)[OURS].first_s
    note = "the first run of a process: without and with cached compiled code, imports included"
    return Row("windows", "windows-first-use", cold, cached_s, "asof, compiled code cached", notes=[note])


def _variant(options: Options, name: str, arguments: dict[str, Any], note: str) -> list[Row]:
    """One row for information: the same against the two joins (the frames lose by far, or cannot do it)."""
    peer, more = python(), arguments | {"threads": options.threads}
    sides = [ours(arguments)] if options.ours else []
    sides += [Side(DUCKDB[1], "bench.windows:duckdb_join", more, peer), Side(DUCKDB[2], "bench.windows:duckdb_bands", more, peer)]
    found = measure(sides, options, kinds=kinds(arguments["amount"]), runs=min(options.runs, 3))
    row = versus("windows", name, found, DUCKDB[1:], wanted=options.ours)
    row.notes = [note, f"{row.other_name}: peak {fastest(found, DUCKDB[1:]).peak / 1e9:.2f} GB"]
    return [row]


def ours(arguments: dict[str, Any], env: dict[str, str] | None = None) -> Side:
    """Our side, in the environment that runs the bench; receipts and spilled data go to the cache."""
    places = {f"ASOF_{name}_DIR": str(data.cache() / name.lower()) for name in ("USAGE", "SPILL")}
    return Side(OURS, "bench.ours:windows", arguments, env=places | (env or {}))
