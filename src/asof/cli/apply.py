"""`asof apply`, `asof rollback`, `asof promote`: a plan, a question, and one transaction."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Callable

    from asof.flows.author import Author
    from asof.flows.plan import Plan
    from asof.flows.project import Project
    from asof.registry.store import Registry

_ENV = click.option(
    "--env", "environment", default=None, help="The environment. [default: the setting `environment`]"
)
_PROJECT = click.option("--project", default=".", show_default=True, help="The project's folder.")
_YES = click.option("--yes", is_flag=True, help="Do not ask.")
_FORCE = click.option("--force", is_flag=True, help="Even when it breaks somebody who is known.")
_MESSAGE = click.option("-m", "--message", default="", help="Why, for the history.")
_PLAN = click.option("--plan", "plan_id", default=None, help="Only when the plan is this one.")
_JSON = click.option("--json", "as_json", is_flag=True, help="Print what was done as JSON; needs --yes.")


@click.command("apply")
@_ENV
@click.option("--create", is_flag=True, help="Make the environment from prod when it is not there.")
@_PLAN
@_YES
@_FORCE
@click.option("--no-estimates", is_flag=True, help="Do not look at the sources' statistics.")
@_MESSAGE
@_PROJECT
@_JSON
@click.option("-q", "--quiet", is_flag=True, help="No progress.")
def apply(
    *,
    environment: str | None,
    create: bool,
    plan_id: str | None,
    yes: bool,
    force: bool,
    no_estimates: bool,
    message: str,
    project: str,
    as_json: bool,
    quiet: bool,
) -> int:
    """Make an environment hold the project's definitions: show the plan, ask, and do exactly that, in one
    transaction. Without a terminal it never asks: --yes, or --plan ID with the ID that `asof plan` showed.

    Applying the same twice does nothing. `asof rollback` takes it back.
    """
    from asof.cli.console import ProgressBars
    from asof.flows.project import open as open_project

    opened = open_project(project)
    with ProgressBars(quiet=quiet or as_json) as bars:
        # Whoever names the plan has seen it.
        estimates = plan_id is None and not no_estimates
        plan = opened.plan(environment, create=create, estimates=estimates, progress=bars.step)

    def make() -> int | None:
        # The files may have changed while the question stood.
        again = opened if yes or plan_id else open_project(project)
        return again.apply(plan, force=force, message=message)

    return _carry_out(opened, plan, make, plan_id=plan_id, yes=yes, as_json=as_json)


@click.command("rollback")
@_ENV
@click.option(
    "--to", type=int, default=None, help="The revision to go back to. [default: before the last change]"
)
@_PLAN
@_YES
@_FORCE
@_MESSAGE
@_PROJECT
@_JSON
def rollback(
    *,
    environment: str | None,
    to: int | None,
    plan_id: str | None,
    yes: bool,
    force: bool,
    message: str,
    project: str,
    as_json: bool,
) -> int:
    """Bring an environment back to what it was at a revision. The history goes on: going back is a revision too.

    The code is not changed: until it is, the next plan shows the difference again.
    """
    from asof.cli.state_options import open_settings
    from asof.flows.apply import rollback as make_rollback
    from asof.flows.apply import rollback_plan
    from asof.flows.plan_project import carry_out, recent_receipts

    # Code that is broken must not keep anybody from going back: it is not loaded.
    opened, name = open_settings(project, environment)
    registry = opened.registry()
    try:
        plan, found = rollback_plan(registry, name, to, receipts=lambda: recent_receipts(opened))
    finally:
        registry.close()

    def change(registry: Registry, author: Author) -> int | None:
        return make_rollback(registry, plan, found, author, force=force)

    def make() -> int | None:
        return carry_out(opened, plan, change, message or f"back to revision {found}")

    return _carry_out(opened, plan, make, plan_id=plan_id, yes=yes, as_json=as_json)


@click.command("promote")
@click.argument("source")
@click.option("--to", "target", default="prod", show_default=True, help="The environment to change.")
@_PLAN
@_YES
@_FORCE
@_MESSAGE
@_PROJECT
@_JSON
def promote(
    *,
    source: str,
    target: str,
    plan_id: str | None,
    yes: bool,
    force: bool,
    message: str,
    project: str,
    as_json: bool,
) -> int:
    """Point an environment at exactly what the environment SOURCE points at, in one transaction; nothing is
    computed or copied.
    """
    from asof.cli.state_options import open_settings
    from asof.flows.apply import promote as make_promotion
    from asof.flows.apply import promotion_plan
    from asof.flows.plan_project import carry_out, recent_receipts

    opened, _ = open_settings(project, None)
    registry = opened.registry()
    try:
        plan = promotion_plan(registry, source, target, receipts=lambda: recent_receipts(opened))
    finally:
        registry.close()

    def change(registry: Registry, author: Author) -> int | None:
        return make_promotion(registry, plan, source, author, force=force)

    def make() -> int | None:
        return carry_out(opened, plan, change, message or f"from {source}")

    return _carry_out(opened, plan, make, plan_id=plan_id, yes=yes, as_json=as_json)


def _carry_out(
    project: Project,
    plan: Plan,
    make: Callable[[], int | None],
    *,
    plan_id: str | None,
    yes: bool,
    as_json: bool,
) -> int:
    """Show the plan, ask where there is somebody to ask, and make it."""
    from asof.cli.console import color
    from asof.cli.plan_text import plan_text
    from asof.cli.text_table import printable
    from asof.errors import RegistryMoved
    from asof.flows.plan_report import plan_data

    if plan_id is not None and plan_id != plan.id and _is_done(project, plan, plan_id):
        if as_json:
            click.echo(json.dumps({"revision": None, "plan": plan_data(plan)}, indent=2))
        click.echo("nothing to do: this plan has been applied", err=True)
        return 0
    if plan_id is not None and plan_id != plan.id:
        raise RegistryMoved(
            f"the plan is {plan.id}, not {plan_id}: the definitions or the registry have changed since;"
            " nothing was changed",
            hint="plan again, look, and apply",
        )
    if not as_json:
        click.echo(printable(plan_text(plan)), err=True, color=color())
    agreed = yes or plan_id is not None or not plan.has_changes
    if not agreed and (as_json or not sys.stdin.isatty()):
        raise click.UsageError(
            f"there is nobody to ask: say --yes, or --plan {plan.id} for exactly this plan"
        )
    if not agreed and not click.confirm(f"\nApply this to {plan.target.environment!r}?", err=True):
        click.echo("nothing was changed", err=True)
        return 1
    revision = make()
    if as_json:
        click.echo(json.dumps({"revision": revision, "plan": plan_data(plan)}, indent=2))
    elif revision is None:
        click.echo("nothing to do", err=True)
    else:
        click.echo(f"revision {revision}")
    return 0


def _is_done(project: Project, plan: Plan, plan_id: str) -> bool:
    """True when this plan is the last that was made and nothing has changed since: a job that runs again."""
    registry = project.registry()
    try:
        last = registry.history(plan.target.environment, limit=1)
    finally:
        registry.close()
    return not plan.has_changes and bool(last) and last[0].plan == plan_id
