"""15 window features: count, sum, mean, max, std over 1, 7, 30 days, `[t - W, t)`; from Parquet to Arrow in memory.

Other side: the best of three hand-written DuckDB queries (`windows_others.py`). Floor: DuckDB reads and sorts the
columns that are needed. Polars, and variants of the data, stand in the table for information, without a bar.
"""

from __future__ import annotations

import tempfile
from typing import TYPE_CHECKING, Any

from bench import data
from bench.harness import OURS, Options, Row, fastest, measure, versus
from bench.peers import python
from bench.process import Side
from bench.windows_others import DAYS

if TYPE_CHECKING:
    from bench.equal import Kinds

DUCKDB = ("DuckDB range frames", "DuckDB range join", "DuckDB range join in bands")
FLOOR = "floor: DuckDB reads and sorts"
POLARS = "Polars join"


def kinds(amount: str) -> Kinds:
    """How columns are compared: all exactly, but what adds up floats."""
    found: Kinds = {"row_id": "exact"}
    for d in DAYS:
        found |= {f"count_{d}d": "exact", f"{amount}_max_{d}d": "exact"}
        found[f"{amount}_sum_{d}d"] = "exact" if amount == "amount_exact" else "float"
        found |= {f"{amount}_mean_{d}d": "float", f"{amount}_std_{d}d": "float"}
    return found


def run(options: Options) -> list[Row]:
    size, asked = (1_000_000, 20_000) if options.quick else (5_000_000, 100_000)
    many = 10 * asked
    log = data.events(size, (asked, many))
    rows = _main(options, _arguments(log, asked), size)
    variants = (
        ("windows-as-known", "1 % of the rows came late", _arguments(log, asked, known_at="ingested_at")),
        ("windows-decimal", "decimal(18,2), exact sums", _arguments(log, asked, amount="amount_exact")),
        ("windows-string-key", "the key is a string", _arguments(log, asked, key="account_key")),
        ("windows-many-rows", f"{many:,} spine rows", _arguments(log, many)),
    )
    return rows + [_variant(options, *variant) for variant in variants]


def _arguments(
    log: data.Dataset, asked: int, key: str = "account_id", amount: str = "amount", **more: Any
) -> dict[str, Any]:
    return {"log": log.log, "spine": log.spine(asked), "key": key, "amount": amount, **more}


def _main(options: Options, arguments: dict[str, Any], size: int) -> list[Row]:
    """The headline: integer key, float amount, known at once."""
    peer, threads = python(), {"threads": options.threads}
    queries = ("duckdb_frames", "duckdb_join", "duckdb_bands")
    sides = [ours(arguments)] if options.ours else []
    sides += [
        Side(n, f"bench.windows_others:{q}", arguments | threads, peer)
        for n, q in zip(DUCKDB, queries, strict=True)
    ]
    sides += [Side(POLARS, "bench.windows_others:polars_join", arguments, peer)]
    found = measure(sides, options, kinds=kinds("amount"))
    bare = {k: v for k, v in arguments.items() if k != "spine"}
    again = [s for s in sides if s.name == OURS and OURS in found]
    floors = measure([*again, Side(FLOOR, "bench.windows_others:floor", bare | threads, peer)], options)
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
    """Compilation, told apart: the first run of a process without cached compiled code, against one that has it."""
    with tempfile.TemporaryDirectory() as empty:
        side = ours(arguments, {"NUMBA_CACHE_DIR": empty})
        cold = measure([side], options, runs=0, peak=False)[OURS].first_s
    note = "the first run of a process: without and with cached compiled code, imports included"
    return Row("windows", "windows-first-use", cold, cached_s, "asof, compiled code cached", notes=[note])


def _variant(options: Options, name: str, note: str, arguments: dict[str, Any]) -> Row:
    """One row for information: the same against the two joins (the frames lose by far, or cannot do it)."""
    peer, more = python(), arguments | {"threads": options.threads}
    sides = [ours(arguments)] if options.ours else []
    sides += [
        Side(DUCKDB[1], "bench.windows_others:duckdb_join", more, peer),
        Side(DUCKDB[2], "bench.windows_others:duckdb_bands", more, peer),
    ]
    found = measure(sides, options, kinds=kinds(arguments["amount"]), runs=min(options.runs, 2))
    row = versus("windows", name, found, DUCKDB[1:], wanted=options.ours)
    row.notes = [note, f"{row.other_name}: peak {fastest(found, DUCKDB[1:]).peak / 1e9:.2f} GB"]
    return row


def ours(arguments: dict[str, Any], env: dict[str, str] | None = None) -> Side:
    """Our side, in the environment that runs the bench."""
    return Side(OURS, "bench.ours:windows", arguments, env=our_places() | (env or {}))


def our_places() -> dict[str, str]:
    """Where receipts and spilled data go: the cache."""
    return {f"ASOF_{name}_DIR": str(data.cache() / name.lower()) for name in ("USAGE", "SPILL")}
