"""`asof lineage`: what an object or a column stands on, and what stands on it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from asof.cli.state_options import state_options

if TYPE_CHECKING:
    from asof.cli.state_options import Opened
    from asof.flows.lineage import Lineage
    from asof.registry.lineage import Direction

_HEADS = {"up": "stands on", "down": "read by"}


@click.command("lineage")
@click.argument("name")
@click.option("--up", is_flag=True, help="Only what it stands on.")
@click.option("--down", is_flag=True, help="Only what stands on it.")
@click.option("--openlineage", is_flag=True, help="Print OpenLineage events, one JSON document a line.")
@state_options
def command(
    *,
    name: str,
    up: bool,
    down: bool,
    openlineage: bool,
    environment: str | None,
    local: bool,
    project: str,
    as_json: bool,
) -> None:
    """Show as a tree what NAME stands on and what stands on it, from columns of sources to models.

    NAME is an object (`ach_risk`, or `feature_view:ach_risk` where several have the name), a feature
    (`activity.amount_sum_7d`), a column of a source (`transactions.amount`) or of a service.
    """
    from asof.cli.state_options import open_state
    from asof.flows.find_node import find_node
    from asof.flows.lineage import graph_data

    directions: list[Direction] = [*(["up"] if up or not down else []), *(["down"] if down or not up else [])]
    if openlineage and as_json:
        raise click.UsageError("--json and --openlineage: one of them")
    with open_state(project, environment, local=local) as opened:
        lineage = opened.lineage()
        node = find_node(lineage, name)
        if openlineage:
            _print_events(opened, lineage, node, directions)
        elif as_json:
            click.echo(json.dumps(graph_data(lineage, node, directions), indent=2))
        else:
            _print_trees(lineage, node, directions)


def _print_trees(lineage: Lineage, node: str, directions: list[Direction]) -> None:
    from asof.cli.text_table import printable, tree_lines
    from asof.flows.lineage import tree_of

    def words(each: str) -> str:
        return _words(lineage, each)

    click.echo(printable(words(node)))
    for direction in directions:
        tree = tree_of(lineage, node, direction)
        click.echo(f"\n{_HEADS[direction]}" + ("" if tree.branches else ": nothing"))
        for line in tree_lines(tree.branches, words):
            click.echo(printable(line))


def _words(lineage: Lineage, node: str) -> str:
    """A node in words, with the marks that a reader should see."""
    from asof.flows.find_node import words_of
    from asof.flows.lineage import deprecation_of
    from asof.registry.lineage import object_of, part_of

    deprecated = deprecation_of(lineage.state, node)
    marks = [str(deprecated)] if deprecated else []
    marks += ["personal"] if part_of(node) and lineage.personal(node) else []
    marks += ["damaged"] if object_of(node) in lineage.state.corrupted else []
    return words_of(node) + (f" ({', '.join(marks)})" if marks else "")


def _print_events(opened: Opened, lineage: Lineage, node: str, directions: list[Direction]) -> None:
    from asof.flows.column_types import Types
    from asof.flows.openlineage import to_json
    from asof.flows.openlineage_events import events_of
    from asof.registry.lineage import object_of

    graph = lineage.graph_of(node)
    reached = [node, *(each for direction in directions for each in graph.reach(node, direction))]
    keys = dict.fromkeys(object_of(each) for each in reached)
    config = opened.project.config
    name = "project" if config is None else config.name
    types = Types(opened.state, opened.source_types())
    now_us = opened.project.clock.now_us()
    for event in events_of(lineage, name, at_us=now_us, keys=keys, types=types):
        click.echo(to_json(event))
