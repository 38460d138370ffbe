"""`asof dead-letter`: events that could not be used, and what becomes of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from asof.flows.dead_letters import Place
    from asof.flows.stream_dead import DeadLetter

F = TypeVar("F", bound=Callable[..., object])


@click.group("dead-letter")
def group() -> None:
    """Dead letters: events of a stream that could not be used."""


def _choosing(command: F) -> F:
    options = (
        click.argument("source"),
        click.option(
            "--offset", "offsets", multiple=True, metavar="P:N", help="That of partition P and offset N; also several."
        ),
        click.option("--all", "everything", is_flag=True, help="All of the source."),
        click.option("--project", default=".", show_default=True, help="The project's folder."),
        click.option("--json", "as_json", is_flag=True, help="Print what was done as JSON."),
    )  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


@group.command("list")
@click.argument("source")
@click.option("--reason", default=None, metavar="TEXT", help="Only those whose reason contains this text.")
@click.option("--show-events", is_flag=True, help="Show the events themselves, which may be personal.")
@click.option("--project", default=".", show_default=True, help="The project's folder.")
@click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON.")
def list_command(*, source: str, reason: str | None, show_events: bool, project: str, as_json: bool) -> None:
    """Show the dead letters of SOURCE: where each stood, when it was met, and why it cannot be used."""
    from asof.cli.text_table import printable, table_lines
    from asof.flows.dead_letters import list_dead
    from asof.flows.project import open as open_project
    from asof.flows.stream_open import streamed_source

    opened = open_project(project)
    found = list_dead(opened, streamed_source(opened, source), reason or "")
    if as_json:
        click.echo(json.dumps({"letters": [_letter(each, event=show_events) for each in found]}, indent=2))
        return
    if found:
        head = ("offset", "met at", "reason", "event")
        rows = [
            (_place(each), _time(each.at_us), each.reason, _event(each) if show_events else "")
            for each in found
        ]
        click.echo(printable("\n".join(table_lines(head, rows))))
    click.echo(f"{len(found):,} dead letters", err=True)


@group.command("retry")
@_choosing
def retry(*, source: str, offsets: tuple[str, ...], everything: bool, project: str, as_json: bool) -> int:
    """Append the events of dead letters to the stream of SOURCE again; those that are still wrong stay on the list."""
    from asof.flows.dead_letters import retry_dead
    from asof.flows.project import open as open_project
    from asof.flows.stream_open import streamed_source

    places = _places(offsets, everything=everything)
    opened = open_project(project)
    done = retry_dead(opened, streamed_source(opened, source), places)
    refused = [{"offset": _place(letter), "reason": reason} for letter, reason in done.refused]
    if as_json:
        click.echo(json.dumps({"source": source, "retried": done.count, "refused": refused}, indent=2))
    else:
        for each in refused:
            click.echo(f"{each['offset']} is still wrong: {each['reason']}", err=True)
        click.echo(f"{done.count:,} events are in the stream of {source!r} again")
    return int(bool(refused))


@group.command("drop")
@_choosing
def drop(*, source: str, offsets: tuple[str, ...], everything: bool, project: str, as_json: bool) -> None:
    """Take dead letters of SOURCE off the list for good."""
    from asof.flows.dead_letters import drop_dead
    from asof.flows.project import open as open_project
    from asof.flows.stream_open import streamed_source

    places = _places(offsets, everything=everything)
    opened = open_project(project)
    count = drop_dead(opened, streamed_source(opened, source), places)
    if as_json:
        click.echo(json.dumps({"source": source, "dropped": count}, indent=2))
    else:
        click.echo(f"{count:,} dead letters of {source!r} were dropped")


def _places(offsets: tuple[str, ...], *, everything: bool) -> list[Place] | None:
    if everything == bool(offsets):
        raise click.UsageError("which ones? --offset P:N, or --all")
    if everything:
        return None
    made: list[Place] = []
    for text in offsets:
        partition, _, offset = text.partition(":")
        if not (partition.isdecimal() and offset.isdecimal()):
            raise click.BadParameter(f"{text!r} is not PARTITION:OFFSET, such as 0:17", param_hint="--offset")
        made.append((int(partition), int(offset)))
    return made


def _letter(each: DeadLetter, *, event: bool) -> dict[str, Any]:
    made: dict[str, Any] = {"offset": _place(each), "at": _time(each.at_us), "reason": each.reason}
    return made | ({"event": _event(each)} if event else {})


def _place(each: DeadLetter) -> str:
    return f"{each.partition}:{each.offset}"


def _event(each: DeadLetter) -> str:
    return each.event.decode(errors="backslashreplace")


def _time(at_us: int) -> str:
    from asof.clock import format_time

    return format_time(at_us)
