"""`asof list`: all objects of an environment, or of the code."""

from __future__ import annotations

import json

import click

from asof.cli.state_options import state_options

HEAD = ("kind", "name", "version", "owner", "tags", "features", "note")


@click.command("list")
@click.argument("kind", required=False)
@state_options
def command(*, kind: str | None, environment: str | None, local: bool, project: str, as_json: bool) -> None:
    """Show all objects, or those of a KIND (`views`, `services`, `sources` ...): version, owner, tags, number of
    features.
    """
    from dataclasses import asdict

    from asof.cli.state_options import open_state
    from asof.cli.text_table import printable, table_lines
    from asof.define.kinds import spoken
    from asof.flows.discover import list_objects
    from asof.flows.find_node import find_kind
    from asof.flows.lineage import name_of

    wanted = None if kind is None else find_kind(kind)
    with open_state(project, environment, local=local) as opened:
        state = opened.state
        found = list_objects(state, wanted)
    if as_json:
        answer = {"environment": state.environment, "revision": state.revision}
        click.echo(json.dumps(answer | {"objects": [asdict(each) for each in found]}, indent=2))
        return
    rows = [
        (spoken(each.kind), each.name, each.version, each.owner, ", ".join(each.tags), each.features,
         f"damaged: {each.damaged}" if each.damaged else each.deprecated)
        for each in found
    ]  # fmt: skip
    if rows:
        click.echo(printable("\n".join(table_lines(HEAD, rows))))
    click.echo(
        f"{len(rows)} of {len(state.specs) + len(state.corrupted)} objects in {name_of(state)}", err=True
    )
