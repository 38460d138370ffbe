"""`asof online`: a look at the online store."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from asof.flows.online_stats import ViewStats


@click.group("online")
def group() -> None:
    """The online store: what it holds."""


@group.command("stats")
@click.argument("views", metavar="[VIEW]...", nargs=-1)
@click.option("--env", "environment", default=None, help="Only the versions that this environment points at.")
@click.option(
    "--show-keys", is_flag=True, help="Show the entity keys of the largest records, instead of a hash."
)
@click.option(
    "--largest", default=5, show_default=True, type=click.IntRange(0, 1_000), help="How many to name."
)
@click.option("--project", default=".", show_default=True, help="The project's folder.")
@click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON.")
def stats(
    *,
    views: tuple[str, ...],
    environment: str | None,
    show_keys: bool,
    largest: int,
    project: str,
    as_json: bool,
) -> None:
    """Show the records of each VIEW (of all that are read online): how many, their sizes, the largest, how old.

    Every record is looked at, which takes a while in a large store behind a network.
    """
    from asof.flows.online import open_online_store
    from asof.flows.online_stats import read_stats
    from asof.flows.online_views import choose_views
    from asof.flows.project import open as open_project

    opened = open_project(project)
    chosen = choose_views(opened, views or None, environment)
    store = open_online_store(opened)
    try:
        now_us = opened.clock.now_us()
        found = list(read_stats(store, chosen.views, now_us=now_us, show_keys=show_keys, largest=largest))
    finally:
        store.close()
    if as_json:
        click.echo(
            json.dumps({"views": [_data(each) for each in found], "absent": list(chosen.absent)}, indent=2)
        )
        return
    _tell(found)
    if chosen.absent:
        click.echo(f"not in this code: {', '.join(chosen.absent)}", err=True)


def _data(each: ViewStats) -> dict[str, Any]:
    from dataclasses import asdict

    from asof.clock import format_time

    made = asdict(each)
    for name in ("watermark", "floor"):
        at_us = made.pop(f"{name}_us")
        made[name] = None if at_us is None else format_time(at_us)
    age_us = made.pop("age_us")
    made["age_s"] = None if age_us is None else age_us / 1e6
    made["largest"] = [{"key": key, "bytes": size} for key, size in each.largest]
    return made


def _age(age_us: int) -> str:
    """A duration in its largest whole unit of which there are at least two: `90m`, `3d`."""
    seconds = max(0, age_us // 1_000_000)
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def _tell(found: Sequence[ViewStats]) -> None:
    from asof.cli.text_table import printable, table_lines
    from asof.clock import format_time

    head = ("view", "layout", "records", "bytes", "p50", "p99", "max", "watermark", "age", "")
    rows: list[tuple[object, ...]] = []
    for each in found:
        if each.watermark_us is None or each.age_us is None:
            note = f"not materialized: asof materialize --views {each.view}"
            rows.append((each.view, "", each.records, each.total_bytes, "", "", "", "", "", note))
            continue
        age = _age(each.age_us)
        rows.append(
            (
                each.view, each.layout, each.records, each.total_bytes, each.p50_bytes, each.p99_bytes, each.max_bytes,
                format_time(each.watermark_us), age, "",
            )
        )  # fmt: skip
    if rows:
        click.echo("\n".join(table_lines(head, rows)))
    largest = [(each.view, key, size) for each in found for key, size in each.largest]
    if largest:
        click.echo("")
        click.echo(printable("\n".join(table_lines(("largest of", "key", "bytes"), largest))))
