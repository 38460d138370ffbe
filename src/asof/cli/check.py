"""`asof check`: do the definitions fit each other and the data that they name?"""

from __future__ import annotations

import json

import click


@click.command("check")
@click.option("--project", default=".", show_default=True, help="The project's folder.")
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
def command(*, project: str, as_json: bool) -> int:
    """Load the project and check every view and label against its source's files, columns and types; reads no
    rows.

    Exits 2 when something is wrong.
    """
    from asof.flows.project import open as open_project

    opened = open_project(project)
    findings = opened.check()
    if as_json:
        found = [{"kind": f.kind, "name": f.name, **f.error.as_dict()} for f in findings]
        click.echo(json.dumps({"findings": found}, indent=2, default=str))
    else:
        for finding in findings:
            click.echo(f"{finding.kind.replace('_', ' ')} {finding.name}: {finding.error}", err=True)
        kinds = ("feature_view", "feature_service", "label")
        counts = ", ".join(_counted(len(opened.definitions.list(k)), k.replace("_", " ")) for k in kinds)
        click.echo(f"{_counted(len(findings), 'problem')} in {counts}", err=True)
    return 2 if findings else 0


def _counted(n: int, what: str) -> str:
    return f"{n} {what}" if n == 1 else f"{n} {what}s"
