"""`asof skew`: values that were served, against the training path as of the same instants."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from asof.flows.project import Project
    from asof.flows.skew import Difference, SkewReport

_SHOWN = 20


@click.command("skew")
@click.argument("service")
@click.option(
    "--log", type=click.Path(path_type=Path), default=None, help="The folder of a request log to replay."
)
@click.option(
    "--sample", type=click.IntRange(min=1), default=None,
    help="Read so many entities from the store now, and replay that.",
)  # fmt: skip
@click.option("--since", default=None, help="Of the log, only what was asked at this time or later.")
@click.option("--until", default=None, help="Of the log, only what was asked before this time.")
@click.option(
    "--limit", type=click.IntRange(min=1), default=None, help="Of the log, only so many of the newest rows."
)
@click.option(
    "--tolerance", type=click.FloatRange(min=0), default=0.0, show_default=True,
    help="Numbers apart by no more than this share are equal.",
)  # fmt: skip
@click.option("--show-keys", is_flag=True, help="Show the entity keys of values that differ.")
@click.option("--record", is_flag=True, help="Show what the store holds now of entities whose values differ.")
@click.option("--project", default=".", show_default=True, help="The project's folder.")
@click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON.")
def command(
    *,
    service: str,
    log: Path | None,
    sample: int | None,
    since: str | None,
    until: str | None,
    limit: int | None,
    tolerance: float,
    show_keys: bool,
    record: bool,
    project: str,
    as_json: bool,
) -> int:
    """Replay what SERVICE answered through the training path, and report every value that differs.

    Exit code 1 when there is one. Example: asof skew ach_risk --log .asof/requests --since 2025-06-01
    """
    from asof.clock import parse_time
    from asof.flows.project import open as open_project
    from asof.flows.request_log import read_log
    from asof.flows.skew import replay

    if (log is None) == (sample is None):
        raise click.UsageError("--log FOLDER or --sample N: one of them")
    opened = open_project(project)
    found = opened.get_service(service)
    if log is not None:
        times = [None if text is None else parse_time(text) for text in (since, until)]
        table = read_log(log, service, since_us=times[0], until_us=times[1], limit=limit)
    else:
        table = _sampled(opened, service, sample or 1)
    report = replay(opened, found, table, tolerance=tolerance)
    records = _records(opened, service, report.differences) if record else None
    if as_json:
        click.echo(json.dumps(_as_dict(report, records, show_keys=show_keys), indent=2, default=str))
    else:
        for line in _lines(report, records, show_keys=show_keys):
            click.echo(line)
    return 1 if report.different else 0


def _sampled(project: Project, service: str, rows: int) -> Any:
    from asof.flows.request_log import log_rows
    from asof.flows.skew_sample import sample_entities

    entities = sample_entities(project, project.get_service(service), rows)
    reader = project.online()
    try:
        return log_rows(entities, None, reader.read(service, entities))
    finally:
        reader.close()


def _records(project: Project, service: str, differences: Sequence[Difference]) -> list[Any]:
    from asof.define.feature_view import FeatureRef
    from asof.flows.online import open_online_store
    from asof.flows.skew_records import record_rows

    views = {
        ref.name: ref.view for ref in project.get_service(service).features if isinstance(ref, FeatureRef)
    }
    store = open_online_store(project)
    try:
        return [
            record_rows(store, views[each.column], each.keys) if each.column in views else None
            for each in differences
        ]
    finally:
        store.close()


def _lines(report: SkewReport, records: list[Any] | None, *, show_keys: bool) -> list[str]:
    from asof.cli.text_table import printable, table_lines

    head = (
        "feature",
        "compared",
        "different",
        "largest difference",
        "relative",
        "fresher offline",
        "skipped",
    )
    rows = [
        (
            each.name, each.compared, each.different, f"{each.largest_absolute:g}" if each.different else "",
            f"{each.largest_relative:.1g}" if each.different else "", each.fresher or "", each.skipped or "",
        )
        for each in report.columns
    ]  # fmt: skip
    lines = table_lines(head, rows)
    lines += [
        "",
        f"{report.rows:,} rows, {report.compared:,} values compared, {report.different:,} different",
    ]
    for place, each in enumerate(report.differences[:_SHOWN]):
        lines.append(
            f"  {_where(each, show_keys=show_keys)}: online {each.online!r}, offline {each.offline!r}"
        )
        if records is not None:
            lines += [f"    {row}" for row in _record_lines(records[place])]
    if report.different > _SHOWN:
        lines.append(f"  and {report.different - _SHOWN:,} more")
    return [printable(line) for line in lines]


def _record_lines(rows: list[dict[str, Any]] | None) -> list[str]:
    if not rows:
        return ["the store has no record"]
    return [", ".join(f"{name} {value}" for name, value in row.items() if value is not None) for row in rows]


def _where(each: Difference, *, show_keys: bool) -> str:
    from asof.clock import from_us

    who = (
        ", ".join(f"{name} {value}" for name, value in each.keys.items()) if show_keys else f"row {each.row}"
    )
    return f"{each.column}, {who}, at {from_us(each.at_us).isoformat()}"


def _as_dict(report: SkewReport, records: list[Any] | None, *, show_keys: bool) -> dict[str, Any]:
    from asof.clock import from_us

    differences: list[dict[str, Any]] = []
    for place, each in enumerate(report.differences):
        made: dict[str, Any] = {
            "feature": each.column, "row": each.row, "at": from_us(each.at_us).isoformat(),
            "online": each.online, "offline": each.offline,
        }  # fmt: skip
        if show_keys:
            made["keys"] = dict(each.keys)
        if records is not None:
            made["record"] = records[place]
        differences.append(made)
    features = [
        {
            "feature": each.name, "compared": each.compared, "equal": each.compared - each.different,
            "different": each.different, "skipped": each.skipped, "fresher_offline": each.fresher,
            "largest_absolute": each.largest_absolute, "largest_relative": each.largest_relative,
        }
        for each in report.columns
    ]  # fmt: skip
    return {
        "service": report.service, "rows": report.rows, "compared": report.compared, "different": report.different,
        "features": features, "differences": differences,
    }  # fmt: skip
