"""`asof stream status` and `asof stream replay`: how far workers have come, and having them go back."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from asof.flows.stream_replay import Begin, PartitionReplay
    from asof.flows.stream_status import PartitionStatus, SourceStatus, ViewStatus

_COUNTS = ("events", "dead", "late", "repeated")


@click.command("status")
@click.argument("sources", metavar="[SOURCE]...", nargs=-1)
@click.option("--check", is_flag=True, help="Exit with 1 when a view does not meet its freshness.")
@click.option("--project", default=".", show_default=True, help="The project's folder.")
@click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON.")
def status(*, sources: tuple[str, ...], check: bool, project: str, as_json: bool) -> int:
    """Show how far the workers of each SOURCE (of all that have a stream) have come; also while none is running."""
    from asof.flows.project import open as open_project

    found = open_project(project).stream_status(sources or None)
    if as_json:
        click.echo(json.dumps({"sources": [_source(each) for each in found]}, indent=2))
    else:
        _tell_status(found)
    late = [view.view for each in found for view in each.views if view.is_late]
    if check and late:
        click.echo(f"late: {', '.join(dict.fromkeys(late))}", err=True)
    return int(check and bool(late))


@click.command("replay")
@click.argument("source")
@click.option(
    "--from", "begin", default=None, metavar="TIME|OFFSET",
    help="What was known from this time on, or the events from this offset on.",
)  # fmt: skip
@click.option(
    "--view", "views", multiple=True, help="Only this view; several times for several. [default: all]"
)
@click.option("--partition", default=None, type=click.IntRange(0), help="Only this partition.")
@click.option(
    "--skip", is_flag=True, help="Go on behind events that the stream forgot before a worker saw them."
)
@click.option("--project", default=".", show_default=True, help="The project's folder.")
@click.option("--json", "as_json", is_flag=True, help="Print what will be read again as JSON.")
def replay(
    *, source: str, begin: str | None, views: tuple[str, ...], partition: int | None, skip: bool, project: str,
    as_json: bool,
) -> None:  # fmt: skip
    """Have the landed events of SOURCE applied to records again, by the worker that runs or by the next one.

    What a record holds already changes nothing in it. Events that have not landed yet are read anyway.
    """
    from asof.flows.online import open_online_store
    from asof.flows.project import open as open_project
    from asof.flows.stream_open import streamed_source
    from asof.flows.stream_replay import replay as run_replay

    if begin is None and not skip:
        raise click.UsageError("--from or --skip is needed: what shall be done?")
    opened = open_project(project)
    found = streamed_source(opened, source)
    place = None if begin is None else _begin(begin, partition)
    store = open_online_store(opened)
    try:
        made = run_replay(opened, store, found, place, views=views or None, partition=partition, skip=skip)
    finally:
        store.close()
    _tell_replay(made, as_json=as_json)


def _begin(text: str, partition: int | None) -> Begin:
    from asof.clock import parse_time
    from asof.flows.stream_replay import Begin

    if not text.isdecimal():
        return Begin(known_us=parse_time(text))
    if partition is None and text != "0":
        raise click.UsageError("an offset is a place in one partition: say --partition")
    return Begin(offset=int(text))


def _tell_replay(made: Sequence[PartitionReplay], *, as_json: bool) -> None:
    from asof.cli.text_table import table_lines

    if as_json:
        click.echo(json.dumps({"partitions": [vars(each) for each in made]}, indent=2))
        return
    head = ("partition", "from", "up to", "landed events", "given up")
    rows = [(each.partition, each.start, each.next, each.events, each.skipped or "") for each in made]
    click.echo("\n".join(table_lines(head, rows)))
    click.echo(
        "a worker that runs does it within seconds, else the next one; later events are read anyway", err=True
    )


def _source(each: SourceStatus) -> dict[str, Any]:
    return {
        "source": each.source,
        "problem": each.problem,
        "lag_events": each.lag_events,
        "lag_s": _seconds(each.lag_us),
        "partitions": [_partition(part) for part in each.partitions],
        "views": [_view(view) for view in each.views],
    }


def _partition(each: PartitionStatus) -> dict[str, Any]:
    return {
        "partition": each.partition,
        "worker": each.is_live,
        "next": each.next,
        "end": each.end,
        "lag_events": each.lag_events,
        "lag_s": _seconds(each.lag_us),
        "forgotten": each.forgotten,
        "known": None if each.known_us is None else _time(each.known_us),
        "events_per_s": each.events_per_s,
        **{name: each.counts.get(name, 0) for name in _COUNTS},
    }


def _view(each: ViewStatus) -> dict[str, Any]:
    return {
        "view": each.view,
        "age_s": _seconds(each.age_us),
        "freshness_s": _seconds(each.freshness_us),
        "waiting": each.waiting,
        "late": each.is_late,
    }


def _tell_status(found: Sequence[SourceStatus]) -> None:
    from asof.cli.text_table import table_lines

    if not found:
        click.echo("no source of the project has a stream", err=True)
        return
    head = ("source", "partition", "worker", "lag", "lag s", "known before", "events/s", *_COUNTS, "")
    rows = [_row(each, part) for each in found for part in each.partitions]
    click.echo("\n".join(table_lines(head, rows)))
    views = [(each.source, view) for each in found for view in each.views]
    if views:
        head = ("view", "source", "age s", "freshness s", "")
        rows = [
            (view.view, source, _number(view.age_us), _number(view.freshness_us, ""), _words(view))
            for source, view in views
        ]
        click.echo("\n" + "\n".join(table_lines(head, rows)))
    for each in found:
        if each.problem is not None:
            click.echo(f"{each.source}: {each.problem}", err=True)


def _row(source: SourceStatus, each: PartitionStatus) -> tuple[object, ...]:
    known = "-" if each.known_us is None else _time(each.known_us)
    note = f"the stream forgot {each.forgotten:,} events: asof stream replay --skip" if each.forgotten else ""
    return (
        source.source, each.partition, "yes" if each.is_live else "no",
        "-" if each.lag_events is None else each.lag_events, _number(each.lag_us), known, f"{each.events_per_s:g}",
        *(each.counts.get(name, 0) for name in _COUNTS), note,
    )  # fmt: skip


def _words(view: ViewStatus) -> str:
    waiting = f"{view.waiting:,} landed events will be applied again" if view.waiting else ""
    judged = "" if view.freshness_us is None else "late" if view.is_late else "ok"
    unseen = "no worker has come to it yet" if view.age_us is None else ""
    return "; ".join(text for text in (judged, unseen, waiting) if text)


def _seconds(us: int | None) -> float | None:
    return None if us is None else us / 1e6


def _number(us: int | None, none: str = "-") -> str:
    return none if us is None else f"{us / 1e6:.1f}"


def _time(at_us: int) -> str:
    from asof.clock import format_time

    return format_time(at_us)
