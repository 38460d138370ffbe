"""`asof show`: everything that is known of one object, or of one feature."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from asof.cli.state_options import state_options

if TYPE_CHECKING:
    from asof.cli.state_options import Opened
    from asof.flows.describe import Description, Known
    from asof.flows.lineage import Lineage

_HEADS = {
    "feature_view": ("feature", "computes"),
    "feature_service": ("column", "from"),
    "source": ("column", "is"),
}
_UNITS = (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1))


@click.command("show")
@click.argument("name")
@click.option("--types", is_flag=True, help="Look up types in object stores too, which may take a while.")
@state_options
def command(
    *, name: str, types: bool, environment: str | None, local: bool, project: str, as_json: bool
) -> None:
    """Show all about NAME: owner, description, features with types and windows, versions, freshness, and who reads it.

    NAME is an object (`activity`, or `feature_view:activity` where several have the name), or a part of one
    (`activity.amount_sum_7d`).
    """
    from asof.cli.state_options import open_state
    from asof.cli.text_table import printable
    from asof.flows.column_types import Types
    from asof.flows.describe import describe
    from asof.flows.find_node import find_node

    with open_state(project, environment, local=local) as opened:
        lineage = opened.lineage()
        node = find_node(lineage, name)
        told = Types(opened.state, opened.source_types(remote=types))
        made = describe(lineage, node, told, _known(opened, lineage, node))
    if as_json:
        click.echo(json.dumps(made.as_dict(), indent=2, default=str))
        return
    for line in _lines(made):
        click.echo(printable(line))


def _known(opened: Opened, lineage: Lineage, node: str) -> Known:
    from asof.define.place import place_of
    from asof.flows.describe import Known, registry_notes
    from asof.registry.lineage import object_of

    if opened.registry is not None:
        return registry_notes(opened.registry, lineage, node, opened.project.clock.now_us())
    kind, _, name = object_of(node).partition(":")
    project = opened.project
    return Known(written_in=place_of(project.definitions.get(kind, name), project.root))


def _lines(made: Description) -> Iterator[str]:
    from asof.cli.text_table import named, table_lines
    from asof.flows.find_node import words_of

    yield words_of(made.node)
    yield from table_lines(("", ""), list(_facts(made)), "  ")[1:]
    yield from _parts(made)
    if made.code:
        yield "\ncode"
        yield from (f"  {line}" for line in made.code.splitlines())
    if made.known.versions:
        yield "\nversions"
        yield from table_lines(("", "", "", ""), list(_versions(made)), "  ")[1:]
    for head, found in (("stands on", made.reads), ("read by", made.read_by)):
        yield f"\n{head}" + ("" if found else ": nothing")
        yield from (f"  {words_of(node)}{named(through)}" for node, through in found)


def _facts(made: Description) -> Iterator[tuple[str, str]]:
    yield "owner", made.owner or "nobody"
    if made.description:
        yield "description", " ".join(made.description.split())
    if made.tags:
        yield "tags", ", ".join(made.tags)
    if made.deprecated:
        yield "deprecated", str(made.deprecated).removeprefix("deprecated ")
    if made.version is None:
        yield "in", "the code"
    else:
        yield "in", f"{made.environment} at revision {made.revision}, version {made.version}"
    yield from made.facts.items()
    for fresh in made.known.fresh:
        until = _minute(fresh.until_us)
        yield "freshness", f"{_age(fresh.age_us)} ({fresh.view} is materialized until {until})"
    if made.known.written_in:
        yield "written in", made.known.written_in


def _parts(made: Description) -> Iterator[str]:
    from asof.cli.text_table import table_lines

    if made.parts:
        rows = [
            (part.name, part.computes, part.type, "personal" if part.personal else "",
             part.deprecated or " ".join(part.description.split()))
            for part in made.parts
        ]  # fmt: skip
        name, computes = _HEADS[made.node.partition(":")[0]]
        yield ""
        yield from table_lines((name, computes, "type", "data", "note"), rows, "  ")


def _versions(made: Description) -> Iterator[tuple[object, ...]]:
    for each in reversed(made.known.versions):
        here = f"<- {made.environment}" if each.fingerprint == made.fingerprint else ""
        yield each.number, _minute(each.at_us), each.fingerprint[:12], here


def _minute(at_us: int) -> str:
    from asof.clock import format_time

    return format_time(at_us)[:16].replace("T", " ") + "Z"


def _age(age_us: int) -> str:
    """How old something is, in its two largest units: `3d 4h`."""
    rest, words = age_us // 1_000_000, list[str]()
    for unit, size in _UNITS:
        count, rest = divmod(rest, size)
        words += [f"{count}{unit}"] if count else []
    return " ".join(words[:2]) or "0s"
