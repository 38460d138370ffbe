"""A plan for people, on a terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

import click

from asof.clock import format_time
from asof.define.spec import Spec
from asof.flows.estimate import Backfill
from asof.flows.plan import Plan
from asof.flows.plan_report import is_served
from asof.registry.diff import ACTIONS, ObjectChange
from asof.registry.fields import summary
from asof.registry.state import PROTECTED

HEADINGS = {
    "added": ("Added", "+", "green"),
    "changed": ("Changed", "~", "yellow"),
    "metadata": ("No value changes", "·", "cyan"),
    "renamed": ("Renamed", ">", "cyan"),
    "removed": ("Removed", "-", "red"),
}
_MOST = 40  # objects of a section, and lines of an object


def plan_text(plan: Plan, *, full: bool = False) -> str:
    """The plan, section by section; long sections are cut unless `full`."""
    lines = [*_title(plan)]
    for action in ACTIONS:
        found = [each for each in plan.changes if each.action == action]
        if found:
            lines += ["", click.style(HEADINGS[action][0], bold=True)]
            lines += _cut(
                (line for each in found for line in _object(each, full=full)), len(found), full=full
            )
    if plan.affected:
        lines += ["", click.style("Affected downstream: their values change too", bold=True)]
        lines += _cut((f"  ~ {because(each)}" for each in plan.affected), len(plan.affected), full=full)
    lines += [*_backfills(plan, full=full), *_notes(plan, full=full), "", counts(plan)]
    return "\n".join(lines)


def _title(plan: Plan) -> Iterator[str]:
    target = plan.target
    if target.is_new:
        origin = f"a new environment from {target.base!r}" if target.base else "a new environment"
    else:
        origin = f"revision {target.revision}"
    yield click.style(f"Plan {plan.id} for environment {target.environment!r}, {origin}", bold=True)
    if target.base and plan.specs:
        yield f"  shares {plan.shared} of {len(plan.specs)} objects with prod"
    if target.rebases:
        yield f"  stands on revision {target.held_base} of {target.base!r}, which is at {target.base_revision}"
    if plan.damaged:
        again = [f"{key} ({'written anew' if key in plan.specs else 'taken out'})" for key in plan.damaged]
        yield click.style(f"  damaged in the registry: {', '.join(again)}", fg="red")


def _object(change: ObjectChange, *, full: bool) -> Iterator[str]:
    _, mark, color = HEADINGS[change.action]
    was = f" (was {change.old.name!r})" if change.action == "renamed" and change.old else ""
    yield click.style(f"  {mark} {change.spec.words}{was}", fg=color) + more(change.spec, change.action)
    shown = change.fields if full else change.fields[:_MOST]
    for field in shown:
        yield from field_lines(field.path, field.old, field.new)
    if len(change.fields) > len(shown):
        yield f"      ... and {len(change.fields) - len(shown)} more fields; --full shows them"
    for ref in change.because:
        yield f"      because {ref} changes"


def more(spec: Spec, action: str) -> str:
    """What is worth a word behind a new object's name."""
    if action != "added" or spec.kind != "feature_view":
        return ""
    features = spec.body["features"]
    said = "; ".join(f"{each['name']} = {summary(each)}" for each in features[:3])
    rest = f"; ... {len(features)} in all" if len(features) > 3 else ""
    return f": {said}{rest}" + (" [online]" if spec.about("online") else "")


def field_lines(path: str, old: str | None, new: str | None) -> Iterator[str]:
    """One field that differs; texts of several lines (code) stand below each other."""
    if "\n" in f"{old}{new}":
        yield f"      {path}:"
        yield from (click.style(f"        - {line}", fg="red") for line in (old or "").splitlines())
        yield from (click.style(f"        + {line}", fg="green") for line in (new or "").splitlines())
    elif old is None:
        yield f"      {path}: + {new}"
    elif new is None:
        yield f"      {path}: - {old}"
    else:
        yield f"      {path}: {old} -> {new}"


def because(change: ObjectChange) -> str:
    """An object that changes through others, with those."""
    causes = ", ".join(change.because[:4]) + (", ..." if len(change.because) > 4 else "")
    return f"{change.spec.words} (through {causes})"


def _cut(lines: Iterable[str], objects: int, *, full: bool) -> list[str]:
    made = list(lines)
    if full or len(made) <= 3 * _MOST:
        return made
    return [*made[: 2 * _MOST], f"  ... {objects} in all; --full shows them"]


def _backfills(plan: Plan, *, full: bool) -> Iterator[str]:
    found = sorted(plan.backfills, key=lambda each: -each.total_bytes)
    if not found:
        return
    yield ""
    yield click.style(
        "Backfill (estimates from the source's statistics; * to be served, the rest when trained)", bold=True
    )
    widths = "  {:<30} {:>23} {:>13} {:>9} {:>8} {:>10} {:>9} {:>9} {:>9} {:>6}"
    yield widths.format(
        "view", "from .. until", "rows", "read", "seconds", "records", "p50", "p99", "max", "layout"
    )
    for each in found if full else found[:_MOST]:
        mark = "*" if is_served(plan.specs.get(f"feature_view:{each.view}")) else " "
        yield widths.format(
            f"{mark} {each.view}", interval(each), f"{each.rows:,}", size(each.read_bytes), f"{each.seconds:.1f}",
            f"{each.entities:,}", size(each.record_p50_bytes), size(each.record_p99_bytes),
            size(each.record_max_bytes), each.layout,
        )  # fmt: skip
        yield from (click.style(f"      {said}", fg="yellow") for said in hints(each))
    if len(found) > _MOST and not full:
        yield f"  ... {len(found)} in all; --full shows them"


def interval(each: Backfill) -> str:
    """The days that a backfill reads."""
    if each.from_us is None:
        return "-"
    return f"{format_time(each.from_us)[:10]} .. {format_time(each.until_us)[:10]}"


def hints(each: Backfill) -> Iterator[str]:
    """What the estimate warns of: a hot key with a large record, and the hop that would shrink it."""
    if each.hot_key is not None:
        cure = f'; hop="{each.hop}" would make it {size(each.hop_bytes or 0)}' if each.hop else ""
        yield f"hot key {each.hot_key}: a record of {size(each.record_max_bytes)}{cure}"
    if each.note:
        yield each.note


def size(size_bytes: int) -> str:
    """A number of bytes in a form for people.

    Example:
        >>> size(999), size(1_500), size(2_000_000)
        ('999 B', '1.5 kB', '2.0 MB')
    """
    value, units = float(size_bytes), ["B", "kB", "MB", "GB", "TB", "PB"]
    while value >= 1000 and len(units) > 1:
        value /= 1000
        units.pop(0)
    return f"{value:.0f} B" if units[0] == "B" else f"{value:.1f} {units[0]}"


def _notes(plan: Plan, *, full: bool) -> Iterator[str]:
    if plan.breaks:
        yield ""
        yield click.style("Breaks", bold=True, fg="red")
    for each in plan.breaks:
        readers = f"read by {', '.join(each.readers)}" if each.readers else "nobody is known to read it"
        yield click.style(f"  ! feature service {each.service!r} {each.what}: {readers}", fg="red")
    if plan.blocking:
        yield "  apply refuses this without --force"
    if plan.unheld:
        yield ""
        yield click.style("Refused: to be served, and in no online store as defined", bold=True, fg="red")
        yield from (f"  ! {words}" for words in plan.unheld)
        yield "  fill it first, with the code that defines it: asof materialize"
    if plan.warnings:
        yield ""
        yield click.style("Warnings", bold=True)
        yield from _cut((f"  {said}" for said in plan.warnings), len(plan.warnings), full=full)


def counts(plan: Plan) -> str:
    """The last line: how many objects of each action."""
    if not plan.has_changes:
        return "No changes."
    found = Counter(each.action for each in plan.changes)
    words = {"metadata": "without new values"}
    said = [f"{found[action]} {words.get(action, action)}" for action in ACTIONS if found[action]]
    said += [f"{len(plan.affected)} affected downstream"] if plan.affected else []
    return ", ".join(said or ["no object changes"]) + "."


def apply_command(plan: Plan) -> str:
    """The command that makes exactly this plan."""
    create = " --create" if plan.target.is_new and plan.target.environment != PROTECTED else ""
    force = " --force" if plan.blocking else ""
    return f"asof apply --env {plan.target.environment}{create} --plan {plan.id}{force}"
