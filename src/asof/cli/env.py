"""`asof env`: environments: list, create, remove, clean."""

from __future__ import annotations

import json
import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from asof.flows.environments import Drop
    from asof.flows.project import Project
    from asof.online.store import OnlineStore
    from asof.registry.state import Materialized

_PROJECT = click.option("--project", default=".", show_default=True, help="The project's folder.")
_JSON = click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON.")
_YES = click.option("--yes", is_flag=True, help="Do not ask.")


@click.group("env")
def group() -> None:
    """Environments: names that point at versions. One shares every version that it did not change."""


@group.command("list")
@_PROJECT
@_JSON
def list_environments(*, project: str, as_json: bool) -> None:
    """Show all environments: their revision, what they share with prod and what only they have, and whether
    they are abandoned (the setting `abandoned_after`).
    """
    from asof.cli.state_options import open_settings
    from asof.clock import format_time
    from asof.flows.environments import list_environments as list_all

    opened = open_settings(project, None)[0]
    registry = opened.registry()
    try:
        found = list_all(
            registry, now_us=opened.clock.now_us(), abandoned_after_us=_abandoned_after_us(opened)
        )
    finally:
        registry.close()
    if as_json:
        rows = [
            {
                "name": each.environment.name,
                "revision": each.environment.revision,
                "base": each.environment.base,
                "base_revision": each.environment.base_revision,
                "created": format_time(each.environment.created_us),
                "updated": format_time(each.environment.updated_us),
                "objects": each.objects,
                "shared_with_prod": each.shared,
                "own": list(each.own),
                "own_bytes": each.materialized_bytes,
                "abandoned": each.is_abandoned,
                "protected": each.environment.protected,
            }
            for each in found
        ]
        click.echo(json.dumps({"environments": rows}, indent=2))
        return
    line = "{:<24} {:>8}  {:<16} {:<20} {:>8} {:>7} {:>5} {:>12}  {}"
    head = ("environment", "revision", "from", "changed", "objects", "shared", "own", "own bytes", "")
    click.echo(line.format(*head).rstrip())
    for each in found:
        own, base = each.environment, each.environment.base
        origin = f"{base}@{own.base_revision}" if base else "-"
        mark = "abandoned" if each.is_abandoned else "protected" if own.protected else ""
        click.echo(
            line.format(
                own.name, own.revision, origin, format_time(own.updated_us)[:19] + "Z", each.objects, each.shared,
                len(each.own), f"{each.materialized_bytes:,}", mark,
            ).rstrip()
        )  # fmt: skip


@group.command("create")
@click.argument("name")
@click.option("--from", "base", default="prod", show_default=True, help="The environment that it starts as.")
@_PROJECT
@_JSON
def create(*, name: str, base: str, project: str, as_json: bool) -> None:
    """Make the environment NAME, pointing at what another one points at; nothing is computed or copied."""
    from asof.cli.state_options import open_settings
    from asof.flows.author import find_author
    from asof.flows.environments import create_environment

    opened = open_settings(project, None)[0]
    author = find_author(opened.root, user=None if opened.config is None else opened.config.user)
    registry = opened.registry()
    try:
        revision = create_environment(registry, name, base, who=author.who, commit=author.commit)
    finally:
        registry.close()
    if as_json:
        click.echo(json.dumps({"environment": name, "base": base, "revision": revision}, indent=2))
    else:
        click.echo(f"revision {revision}")


@group.command("remove")
@click.argument("names", nargs=-1, required=True)
@_YES
@_PROJECT
@_JSON
def remove(*, names: tuple[str, ...], yes: bool, project: str, as_json: bool) -> None:
    """Remove the environments NAMES, with the versions and records that only they have. prod cannot be removed."""
    from asof.cli.state_options import open_settings

    _remove(open_settings(project, None)[0], names, yes=yes, as_json=as_json)


@group.command("clean")
@click.option(
    "--older-than", default=None, help="Unchanged for so long, e.g. 14d. [default: `abandoned_after`]"
)
@_YES
@_PROJECT
@_JSON
def clean(*, older_than: str | None, yes: bool, project: str, as_json: bool) -> None:
    """Remove all abandoned environments with everything that only they have."""
    from asof.cli.state_options import open_settings
    from asof.clock import parse_duration
    from asof.flows.environments import list_environments as list_all

    opened = open_settings(project, None)[0]
    after_us = _abandoned_after_us(opened) if older_than is None else parse_duration(older_than)
    registry = opened.registry()
    try:
        found = list_all(registry, now_us=opened.clock.now_us(), abandoned_after_us=after_us)
    finally:
        registry.close()
    old = {each.environment.name: each.environment.revision for each in found if each.is_abandoned}
    _remove(opened, list(old), yes=yes, as_json=as_json, expected=old)


def _abandoned_after_us(project: Project) -> int:
    from asof.clock import parse_duration

    return parse_duration("30d") if project.config is None else project.config.abandoned_after_us


def _remove(
    project: Project,
    names: Sequence[str],
    *,
    yes: bool,
    as_json: bool,
    expected: Mapping[str, int] | None = None,
) -> None:
    from asof.flows.author import find_author
    from asof.flows.environments import remove_environments

    if names and not yes:
        if not sys.stdin.isatty():
            raise click.UsageError(f"there is nobody to ask: say --yes to remove {', '.join(names)}")
        click.confirm(f"Remove {', '.join(names)} with everything that only they have?", abort=True, err=True)
    author = find_author(project.root, user=None if project.config is None else project.config.user)
    registry = project.registry()
    try:
        with _dropping(project) as drop:
            dropped = remove_environments(
                registry, names, who=author.who, commit=author.commit, drop=drop, expected=expected,
                idle_since_us=project.clock.now_us() - _abandoned_after_us(project),
            )  # fmt: skip
    finally:
        registry.close()
    spaces, size_bytes = (
        sorted({each.namespace for each in dropped}),
        sum(each.size_bytes for each in dropped),
    )
    if as_json:
        answer = {"removed": list(names), "dropped": spaces, "dropped_bytes": size_bytes}
        click.echo(json.dumps(answer, indent=2))
        return
    click.echo(f"removed {', '.join(names)}" if names else "nothing to remove", err=True)
    if spaces:
        versions = "version" if len(spaces) == 1 else "versions"
        click.echo(f"dropped the online records of {len(spaces)} {versions}, {size_bytes:,} bytes", err=True)


@contextmanager
def _dropping(project: Project) -> Generator[Drop]:
    """What takes the records of a version out of the online store, which is opened when there are some."""
    from asof.flows.online import open_online_store

    opened: list[OnlineStore] = []

    def drop(each: Materialized) -> None:
        if not opened:
            opened.append(open_online_store(project))
        opened[0].drop(each.namespace)

    try:
        yield drop
    finally:
        for store in opened:
            store.close()
