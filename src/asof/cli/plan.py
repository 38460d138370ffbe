"""`asof plan`: what an apply would change, before anything happens."""

from __future__ import annotations

import json

import click

CHANGES = 3


@click.command("plan")
@click.option(
    "--env", "environment", default=None, help="The environment. [default: the setting `environment`]"
)
@click.option("--create", is_flag=True, help="The environment may be a new one, made from prod.")
@click.option("--no-estimates", is_flag=True, help="Do not look at the sources' statistics.")
@click.option("--full", is_flag=True, help="Show everything, however long.")
@click.option("--project", default=".", show_default=True, help="The project's folder.")
@click.option("--json", "as_json", is_flag=True, help="Print the plan as JSON.")
@click.option("--markdown", is_flag=True, help="Print the plan as Markdown, for a pull request.")
@click.option("-q", "--quiet", is_flag=True, help="No progress.")
def command(
    *,
    environment: str | None,
    create: bool,
    no_estimates: bool,
    full: bool,
    project: str,
    as_json: bool,
    markdown: bool,
    quiet: bool,
) -> int:
    """Show what applying the definitions would change in an environment: objects, what is affected downstream,
    backfills, and what breaks. Changes nothing.

    Exits 0 without changes, 3 with changes, 2 when a definition is wrong.
    """
    from asof.cli.console import ProgressBars, color
    from asof.cli.plan_markdown import plan_markdown
    from asof.cli.plan_text import apply_command, plan_text
    from asof.cli.text_table import printable
    from asof.flows.plan_report import plan_data
    from asof.flows.project import open as open_project

    if as_json and markdown:
        raise click.UsageError("--json and --markdown: one of them")
    opened = open_project(project)
    with ProgressBars(quiet=quiet or as_json or markdown) as bars:
        plan = opened.plan(environment, create=create, estimates=not no_estimates, progress=bars.step)
    if as_json:
        click.echo(json.dumps({"plan": plan_data(plan)}, indent=2))
    elif markdown:
        click.echo(plan_markdown(plan), nl=False)
    else:
        click.echo(printable(plan_text(plan, full=full)), color=color())
        if plan.has_changes:
            click.echo(f"\n{apply_command(plan)}", err=True)
    return CHANGES if plan.has_changes else 0
