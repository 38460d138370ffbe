"""`asof history`: who changed which environment, when, from which commit."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import cast

import click


@click.command("history")
@click.option("--env", "environment", default=None, help="Only this environment.")
@click.option(
    "--limit", default=20, show_default=True, type=click.IntRange(1, 10_000), help="How many, newest first."
)
@click.option("--changes", is_flag=True, help="Name what each revision changed.")
@click.option("--project", default=".", show_default=True, help="The project's folder.")
@click.option("--json", "as_json", is_flag=True, help="Print the history as JSON.")
def command(*, environment: str | None, limit: int, changes: bool, project: str, as_json: bool) -> None:
    """Show what has been applied, newest first: revision, time, environment, action, who, commit, and how many
    objects.
    """
    from dataclasses import asdict

    from asof.cli.state_options import open_settings
    from asof.cli.text_table import printable
    from asof.clock import format_time
    from asof.errors import UnknownEnvironment, did_you_mean

    registry = open_settings(project, environment)[0].registry()
    try:
        found = registry.history(environment, limit=limit)
        if environment is not None and not found:
            names = [each.name for each in registry.environments()]
            hint = did_you_mean(environment, names) or "nothing has been applied yet: asof apply"
            raise UnknownEnvironment(f"no environment {environment!r}", hint=hint, environment=environment)
    finally:
        registry.close()
    if as_json:
        rows = [{**asdict(each), "at": format_time(each.at_us)} for each in found]
        click.echo(json.dumps({"history": rows}, indent=2))
        return
    line = "{:>8}  {:<20}  {:<16} {:<9} {:<16} {:<13} {}"
    click.echo(line.format("revision", "time", "environment", "action", "who", "commit", "what"))
    for each in found:
        counts = cast("Mapping[str, int]", each.summary.get("counts", {}))
        words = {"metadata": "without new values"}
        what = ", ".join(f"{count} {words.get(action, action)}" for action, count in counts.items()) or "-"
        commit = "-" if each.commit is None else each.commit[:12] + ("+" if each.commit.endswith("+") else "")
        said = " ".join(each.message.split())
        more = f" ({said})" if said else ""
        when = format_time(each.at_us)[:19] + "Z"
        row = (each.number, when, each.environment, each.action, each.who[:16], commit, what + more)
        click.echo(printable(line.format(*row)))
        if changes:
            for line_of in cast("list[str]", each.summary.get("changes", [])):
                click.echo(printable(f"{'':>10}{line_of}"))
