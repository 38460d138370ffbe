"""`asof training-set`: a training set from a spine, to a file."""

from __future__ import annotations

import json
from pathlib import Path

import click


@click.command("training-set")
@click.argument("service")
@click.option(
    "--spine",
    required=True,
    help="Rows of entity keys and a time: a Parquet, CSV or Arrow file, or an SQL query.",
)
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="Where to write: .parquet, .csv or .arrow."
)
@click.option("--label", "labels", multiple=True, help="A label to add; may be given several times.")
@click.option(
    "--time", default=None, help="The spine's time column (default: event_time, else its only time column)."
)
@click.option("--row-id", default=None, help="A spine column that must be unique.")
@click.option("--hindsight", is_flag=True, help="Count late rows and later corrections as if always known.")
@click.option(
    "--cutoff", default=None, help="Nothing known after this time counts, e.g. 2025-06-30T00:00:00Z."
)
@click.option(
    "--immature", type=click.Choice(["drop", "null", "negative"]), default="drop", show_default=True,
    help="What becomes of rows whose label is not final at the cut-off.",
)  # fmt: skip
@click.option("--project", default=".", show_default=True, help="The project's folder.")
@click.option("--json", "as_json", is_flag=True, help="Print the report and the manifest as JSON.")
@click.option("-q", "--quiet", is_flag=True, help="No progress.")
def command(
    *,
    service: str,
    spine: str,
    out: Path,
    labels: tuple[str, ...],
    time: str | None,
    row_id: str | None,
    hindsight: bool,
    cutoff: str | None,
    immature: str,
    project: str,
    as_json: bool,
    quiet: bool,
) -> None:
    """Build the training set of SERVICE for the rows of a spine, as known at each row's time.

    Example: asof training-set ach_risk --spine payments.parquet --label returned --out training.parquet
    """
    from asof.cli.console import ProgressBars
    from asof.clock import from_us, parse_time
    from asof.flows.project import open as open_project
    from asof.flows.result import check_target

    check_target(out)
    until = None if cutoff is None else from_us(parse_time(cutoff))
    opened = open_project(project)
    with ProgressBars(quiet=quiet or as_json) as bars:
        made = opened.training_set(
            service, spine=spine, labels=labels, time=time, row_id=row_id, as_known=not hindsight,
            cutoff=until, immature=immature, progress=bars.step,  # pyright: ignore[reportArgumentType]
        )  # fmt: skip
    made.write(out)
    if as_json:
        report = {
            "out": str(out),
            "report": made.report.as_dict(),
            "manifest": json.loads(made.manifest.to_json()),
        }
        click.echo(json.dumps(report, indent=2, default=str))
        return
    click.echo(str(made.report), err=True)
    click.echo(str(out))
