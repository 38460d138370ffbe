"""Tells what was measured: a table on the terminal, and one `bench/out/NAME.json` for each row."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.process import ROOT
from bench.worker import versions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.harness import Options, Row

OUT = Path(__file__).parent / "out"


def machine() -> dict[str, Any]:
    """What matters of the machine, and nothing that names it."""
    return {
        "system": platform.system(),
        "architecture": platform.machine(),
        "cores": os.cpu_count(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "load_1m": round(os.getloadavg()[0], 2),
    }


def commit() -> dict[str, Any]:
    """The commit that was measured, and whether code has changed since."""
    head = _git("rev-parse", "HEAD")
    return {"commit": head or None, "changed": bool(_git("status", "--porcelain", "--", "src", "bench"))}


def _git(*words: str) -> str:
    return subprocess.run(
        ["git", *words], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.strip()


def write(rows: Sequence[Row], options: Options, facts: dict[str, Any]) -> None:
    """One file per row; quick runs go to a folder of their own, so that they never pass for measurements."""
    folder = OUT / "quick" if options.quick else OUT
    folder.mkdir(parents=True, exist_ok=True)
    for row in rows:
        body = {
            "name": row.name,
            "bench": row.bench,
            "ours": row.ours,
            "other": row.other,
            "other_name": row.other_name,
            "unit": row.unit,
            "ratio": row.ratio,
            "ratio_is": row.ratio_is,
            "bar": row.bar,
            "holds": row.holds,
            "notes": row.notes,
            "sides": {name: side.facts() for name, side in row.sides.items() if side.seconds},
            "versions": versions(),
            "threads": options.threads,
            "quick": options.quick,
            "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
            **facts,
        }
        (folder / f"{row.name}.json").write_text(json.dumps(body, indent=2) + "\n")


def show(rows: Sequence[Row]) -> None:
    """The table of ratios; below it the notes, and what the table cannot say."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title="asof bench")
    for column, justify in (
        ("bench", "left"),
        ("asof", "right"),
        ("other", "right"),
        ("", "left"),
        ("ratio", "right"),
    ):
        table.add_column(column, justify=justify, no_wrap=True)
    table.add_column("bar")
    table.add_column("holds")
    for row in rows:
        table.add_row(
            row.name, _number(row.ours, row.unit), _number(row.other, row.unit), row.other_name, _ratio(row),
            row.bar or "", {True: "yes", False: "[bold red]NO", None: ""}[row.holds],
        )  # fmt: skip
    console = Console() if sys.stdout.isatty() else Console(width=140)
    console.print(table)
    for row in rows:
        for note in row.notes:
            console.print(f"[dim]{row.name}:[/] {note}", highlight=False)


def _number(value: float | None, unit: str) -> str:
    return "-" if value is None else f"{value:.3f} {unit}"


def _ratio(row: Row) -> str:
    return "" if row.ratio is None else f"{row.ratio:.2f}x {row.ratio_is}"
