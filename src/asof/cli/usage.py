"""`asof usage`: what flows have used, from the project's ledger of receipts."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path

import click


@click.command("usage")
@click.option("--project", default=".", show_default=True, help="The project's folder.")
@click.option("--json", "as_json", is_flag=True, help="Print the totals as JSON.")
def command(*, project: str, as_json: bool) -> None:
    """Show rows, bytes and seconds by flow, stage and asset."""
    import os

    from asof.config import load_config
    from asof.usage import read_ledger

    totals: dict[tuple[str, str, str], list[float]] = defaultdict(lambda: [0, 0, 0.0, 0.0])
    for event in read_ledger(load_config(Path(project), os.environ).usage_dir):
        sums = totals[event.flow, event.stage, event.asset]
        for place, value in enumerate((event.rows, event.bytes, event.seconds, event.cpu_seconds)):
            sums[place] += value
    names = ("rows", "bytes", "seconds", "cpu_seconds")
    rows = [
        {"flow": flow, "stage": stage, "asset": asset, **dict(zip(names, sums, strict=True))}
        for (flow, stage, asset), sums in sorted(totals.items())
    ]
    if as_json:
        click.echo(json.dumps({"usage": rows}, indent=2))
        return
    click.echo(f"{'flow':<16}{'stage':<12}{'asset':<24}{'rows':>14}{'bytes':>16}{'seconds':>10}{'cpu s':>10}")
    for row in rows:
        click.echo(
            f"{row['flow']:<16}{row['stage']:<12}{row['asset']:<24}{row['rows']:>14,}{row['bytes']:>16,}"
            f"{row['seconds']:>10.2f}{row['cpu_seconds']:>10.2f}"
        )
