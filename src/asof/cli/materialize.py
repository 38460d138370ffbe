"""`asof materialize` and `asof backfill`: what became known, into the online store."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from asof.flows.materialize_steps import Step, ViewReport
    from asof.flows.online import Materialization
    from asof.flows.online_views import Chosen

F = TypeVar("F", bound=Callable[..., object])
_AT_WATERMARK = "nothing: already at its watermark"


def _options(command: F) -> F:
    options = (
        click.option(
            "--views", multiple=True, metavar="NAMES",
            help="Only these views; several with commas, or the option several times. [default: those with"
            " online=True, and those of services]",
        ),
        click.option(
            "--until", default=None, help="The new watermark, e.g. 2025-06-30T00:00:00Z. [default: now]"
        ),
        click.option("--env", "environment", default=None, help="Only the versions that this environment points at."),
        click.option("--dry-run", is_flag=True, help="Show what would be read and written, and do nothing."),
        click.option("--project", default=".", show_default=True, help="The project's folder."),
        click.option("--json", "as_json", is_flag=True, help="Print the report as JSON."),
        click.option("-q", "--quiet", is_flag=True, help="No progress."),
    )  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


@click.command("materialize")
@_options
def materialize(**options: Any) -> int:
    """Bring what became known since the last run into the online store, and move the watermark.

    A run that fails moves none, and can be run again; late rows within the setting online.lateness are taken again.
    """
    return _run(**options, whole=False)


@click.command("backfill")
@_options
def backfill(**options: Any) -> int:
    """Make the online records of views anew from the whole history, and remove those of entities that are gone.

    Readers get the old or the new record of an entity, never a part of one.
    """
    return _run(**options, whole=True)


def _run(
    *, views: Sequence[str], until: str | None, environment: str | None, dry_run: bool, project: str, as_json: bool,
    quiet: bool, whole: bool,
) -> int:  # fmt: skip
    from asof.cli.console import ProgressBars
    from asof.clock import from_us, parse_time
    from asof.flows.online import materialize_project, open_online_store, plan_materialization
    from asof.flows.online_views import choose_views
    from asof.flows.project import open as open_project

    opened = open_project(project)
    end = None if until is None else from_us(_past(parse_time(until), opened.clock.now_us()))
    names = [name.strip() for text in views for name in text.split(",") if name.strip()]
    chosen = choose_views(opened, names or None, environment)
    store = open_online_store(opened)
    try:
        steps = plan_materialization(opened, chosen.views, store, end, whole=whole)
        if dry_run:
            _tell_steps(steps, chosen, as_json=as_json)
        else:
            with ProgressBars(quiet=quiet or as_json) as bars:
                made = materialize_project(opened, steps, store, bars.step)
            _tell(made, chosen, as_json=as_json)
    finally:
        store.close()
    return _warn_of_absent(chosen, environment)


def _past(until_us: int, now_us: int) -> int:
    if until_us > now_us:
        raise click.UsageError("--until lies in the future; what is not known yet cannot be materialized")
    return until_us


def _warn_of_absent(chosen: Chosen, environment: str | None) -> int:
    """1 where an environment serves what this code does not have: nobody else keeps it fresh."""
    if not chosen.views and not chosen.absent:
        click.echo("no view is read online: say online=True, or take one into a service", err=True)
    if not chosen.absent:
        return 0
    names = ", ".join(chosen.absent)
    click.echo(
        f"error: environment {environment!r} serves versions that are not in this code: {names}", err=True
    )
    click.echo("hint: run it with the code that was applied, or apply this code", err=True)
    return 1


def _tell(made: Materialization, chosen: Chosen, *, as_json: bool) -> None:
    from asof.cli.text_table import table_lines

    if as_json:
        body = {
            "views": [_report(each) for each in made.views],
            "absent": list(chosen.absent),
            "rows": made.rows,
            "seconds": round(made.seconds, 6),
        }
        click.echo(json.dumps(body, indent=2))
        return
    head = ("view", "from", "until", "rows", "records", "removed", "bytes", "entities", "")
    rows = [
        (
            each.view, _begin(each.from_us), _time(each.until_us), each.rows, each.records, each.removed,
            each.size_bytes, each.entities, "; ".join(each.notes) or _note(each),
        )
        for each in made.views
    ]  # fmt: skip
    if rows:
        click.echo("\n".join(table_lines(head, rows)))
    if made.rows:
        rate = f" ({made.rows / max(made.seconds, 1e-6):,.0f} rows/s)" if made.rows >= 1_000 else ""
        click.echo(f"{made.rows:,} rows in {made.seconds:.1f} s{rate}", err=True)


def _note(report: ViewReport) -> str:
    if report.from_us == report.until_us:
        return _AT_WATERMARK
    return "" if report.rows or report.records or report.removed else "nothing new"


def _report(each: ViewReport) -> dict[str, Any]:
    return {
        "view": each.view,
        "namespace": each.namespace,
        "from": None if _begin(each.from_us) == "-" else _time(each.from_us),
        "until": _time(each.until_us),
        "whole": each.whole,
        "rows": each.rows,
        "records": each.records,
        "removed": each.removed,
        "bytes": each.size_bytes,
        "entities": each.entities,
        "held_bytes": each.held_bytes,
        "notes": each.notes,
    }


def _tell_steps(steps: Sequence[Step], chosen: Chosen, *, as_json: bool) -> None:
    from asof.cli.text_table import table_lines
    from asof.flows.materialize_steps import groups_of

    together: dict[str, tuple[str, list[str]]] = {}
    for group, members in groups_of([step for step in steps if not step.is_done]):
        names = [step.view.name for step in members]
        together |= dict.fromkeys(names, (group.source.name, names))
    if as_json:
        body = [_step(step, *together.get(step.view.name, (None, []))) for step in steps]
        click.echo(json.dumps({"views": body, "absent": list(chosen.absent)}, indent=2))
        return
    rows = [(s.view.name, _begin(s.from_us), _time(s.until_us), _how(s)) for s in steps]
    if rows:
        click.echo("\n".join(table_lines(("view", "from", "until", "what"), rows)))
    for source, names in dict.fromkeys((source, tuple(names)) for source, names in together.values()):
        if len(names) > 1:
            click.echo(f"source {source!r} is read once for {', '.join(names)}")
    click.echo("nothing was changed", err=True)


def _step(step: Step, source: str | None, together: Sequence[str]) -> dict[str, Any]:
    return {
        "view": step.view.name,
        "namespace": step.namespace,
        "from": None if _begin(step.from_us) == "-" else _time(step.from_us),
        "until": _time(step.until_us),
        "whole": step.whole,
        "done": step.is_done,
        "source": source,
        "read_with": [name for name in together if name != step.view.name],
    }


def _how(step: Step) -> str:
    if step.is_done:
        return _AT_WATERMARK
    return "the records are made anew" if step.whole else "new rows are taken"


def _begin(at_us: int) -> str:
    from asof.define.window import BEGIN_US

    return "-" if at_us <= BEGIN_US else _time(at_us)


def _time(at_us: int) -> str:
    from asof.clock import format_time

    return format_time(at_us)
