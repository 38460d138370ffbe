"""`asof push`: events of a file into the stream of a source."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from asof.flows.push import Pushed


@click.command("push")
@click.argument("source")
@click.argument("file", type=click.Path(dir_okay=False, allow_dash=True))
@click.option(
    "--batch", default=10_000, show_default=True, type=click.IntRange(1, 1_000_000),
    help="How many events are appended at a time.",
)  # fmt: skip
@click.option(
    "--idempotency-key", "key", default=None,
    help="Batches that were appended under it are not appended again.",
)  # fmt: skip
@click.option("--project", default=".", show_default=True, help="The project's folder.")
@click.option("--json", "as_json", is_flag=True, help="Print what was done as JSON.")
@click.option("-q", "--quiet", is_flag=True, help="No progress.")
def command(
    *, source: str, file: str, batch: int, key: str | None, project: str, as_json: bool, quiet: bool
) -> None:
    """Append the events of FILE to the stream of SOURCE; `-` reads JSON lines from the standard input.

    Example: asof push payments new.parquet --idempotency-key 2026-01-31
    """
    from asof.cli.console import ProgressBars
    from asof.flows.project import open as open_project
    from asof.flows.push import Pusher
    from asof.flows.push_files import push_file

    opened = open_project(project)
    pusher = Pusher(lambda: opened)
    made: list[Pushed] = []
    count = 0
    try:
        pusher.opened(source)
        with ProgressBars(quiet=quiet or as_json) as bars:
            stdin = sys.stdin.buffer if file == "-" else None
            for each in push_file(pusher, source, file, stdin, size=batch, idempotency_key=key):
                made.append(each)
                count += each.count
                bars.step("push", source, count, count)
    finally:
        pusher.close()
    _tell(source, made, as_json=as_json)


def _tell(source: str, made: list[Pushed], *, as_json: bool) -> None:
    count = sum(each.count for each in made)
    repeated = sum(each.count for each in made if each.repeated)
    if as_json:
        body = {
            "source": source,
            "count": count,
            "repeated": repeated,
            "batches": len(made),
            "offsets": _next(made),
        }
        click.echo(json.dumps(body, indent=2))
        return
    again = f", {repeated:,} of them were there already" if repeated else ""
    click.echo(f"{count:,} events in {len(made):,} batches are in the stream of {source!r}{again}")


def _next(made: list[Pushed]) -> dict[str, list[int]]:
    """For each partition the first offset that was given and the last's next."""
    found: dict[str, list[int]] = {}
    for each in made:
        for partition, (first, count) in sorted(each.places.items()):
            begin, end = found.get(str(partition), (first, 0))
            found[str(partition)] = [min(begin, first), max(end, first + count)]
    return found
