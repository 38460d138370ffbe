"""`python -m bench [NAME ...]`: measures asof against other sides, prints a table, writes bench/out/.

Exit code: 0 measured, 1 a side failed or gave a wrong answer (or, with --strict, a bar was missed), 2 wrong
usage.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import time
from pathlib import Path

from bench import report
from bench.equal import WrongAnswer
from bench.harness import Options, Row
from bench.process import SideFailed

BENCHES = (
    "windows", "scaling", "memory", "latest", "handbook", "registry", "online", "online_scale", "backfill", "serving",
    "stream", "stream_kafka", "stream_entities", "stream_latency", "stream_push", "stream_events", "log",
)  # fmt: skip


def main(arguments: list[str] | None = None) -> int:
    options, names, strict = _parse(arguments)
    facts = {"machine": report.machine(), **report.commit()}
    rows: list[Row] = []
    failed = False
    for name in names:
        print(f"bench: {name} ...", flush=True)
        started = time.perf_counter()
        try:
            made = importlib.import_module(f"bench.{name}").run(options)
        except (WrongAnswer, SideFailed, FileNotFoundError) as failure:
            print(f"bench: {name} failed: {failure}", file=sys.stderr, flush=True)
            failed = True
            continue
        report.write(made, options, facts)
        rows += made
        print(f"bench: {name} took {time.perf_counter() - started:.0f} s", flush=True)
    if rows:
        report.show(rows)
    missed = [row.name for row in rows if row.holds is False]
    if missed:
        print(f"bars missed: {', '.join(missed)}")
    failed = failed or any(row.failed for row in rows)
    return 1 if failed or (strict and missed) else 0


def _parse(arguments: list[str] | None) -> tuple[Options, tuple[str, ...], bool]:
    parser = argparse.ArgumentParser(prog="python -m bench", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(BENCHES)} (default: all)")
    parser.add_argument("--runs", type=int, default=5, help="timed runs of each side (default 5)")
    parser.add_argument("--quick", action="store_true", help="small data, to try the bench itself")
    parser.add_argument(
        "--threads", type=int, default=min(2, os.cpu_count() or 1), help="of every side (default 2)"
    )
    parser.add_argument("--others-only", action="store_true", help="leave our side out")
    parser.add_argument("--strict", action="store_true", help="exit 1 when a bar is missed")
    parser.add_argument(
        "--data", type=Path, help="folder of shared data sets (default: ASOF_SHARED_DATA or ../shared/data)"
    )
    given = parser.parse_args(arguments)
    unknown = [name for name in given.names if name not in BENCHES]
    if unknown or given.runs < 1:
        parser.error(
            f"no bench {unknown[0]!r}: {', '.join(BENCHES)}" if unknown else "--runs must be at least 1"
        )
    shared = given.data or Path(os.environ.get("ASOF_SHARED_DATA", "../shared/data"))
    options = Options(given.runs, given.quick, given.threads, not given.others_only, shared.resolve())
    return options, tuple(given.names) or BENCHES, given.strict


if __name__ == "__main__":
    sys.exit(main())
