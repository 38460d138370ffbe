"""`asof search`: objects that a text is found in."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from asof.cli.state_options import state_options

if TYPE_CHECKING:
    from asof.flows.discover import Hit

HEAD = ("kind", "name", "owner", "found in", "note")
_SHOWN = 3  # matches of one object


@click.command("search")
@click.argument("text")
@click.option("--kind", default=None, help="Only this kind: views, services, sources ...")
@click.option("--owner", default=None, help="Only what belongs to this owner.")
@click.option("--tag", default=None, help="Only what has this tag.")
@state_options
def command(
    *,
    text: str,
    kind: str | None,
    owner: str | None,
    tag: str | None,
    environment: str | None,
    local: bool,
    project: str,
    as_json: bool,
) -> None:
    """Show the objects that TEXT is found in, the nearest first: in names, features, columns of sources, tags, owners
    and descriptions, in any case. Of several words all have to be there.
    """
    from asof.cli.state_options import open_state
    from asof.cli.text_table import printable, table_lines
    from asof.define.kinds import spoken
    from asof.flows.discover import search
    from asof.flows.find_node import find_kind
    from asof.flows.lineage import name_of

    wanted = None if kind is None else find_kind(kind)
    with open_state(project, environment, local=local) as opened:
        state = opened.state
        hits = search(opened.lineage(), text, kind=wanted, owner=owner, tag=tag)
    if as_json:
        answer = {"environment": state.environment, "revision": state.revision}
        click.echo(json.dumps(answer | {"hits": [_data(hit) for hit in hits]}, indent=2))
        return
    if not hits:
        click.echo(f"nothing in {name_of(state)} matches {text!r}", err=True)
        return
    rows = [
        (spoken(hit.listed.kind), hit.listed.name, hit.listed.owner, _found(hit), hit.listed.deprecated)
        for hit in hits
    ]
    click.echo(printable("\n".join(table_lines(HEAD, rows))))


def _found(hit: Hit) -> str:
    said = [
        each.where if each.where == "name" else f"{each.where} {each.text}" for each in hit.matches[:_SHOWN]
    ]
    more = f" and {len(hit.matches) - _SHOWN} more" if len(hit.matches) > _SHOWN else ""
    return ", ".join(said) + more


def _data(hit: Hit) -> dict[str, object]:
    from dataclasses import asdict

    return {**asdict(hit.listed), "matches": [asdict(each) for each in hit.matches]}
