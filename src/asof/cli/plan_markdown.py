"""A plan as Markdown, for a pull request."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from asof.cli.plan_text import HEADINGS, apply_command, because, counts, hints, interval, more, size
from asof.cli.text_table import printable
from asof.flows.plan import Plan
from asof.flows.plan_report import is_served
from asof.registry.diff import ACTIONS, ObjectChange

_MOST = 200  # lines of a section: a comment has a limit


def plan_markdown(plan: Plan) -> str:
    """The plan with headings and tables; long sections are folded."""
    target = plan.target
    parts = [f"### asof plan for `{target.environment}`", counts(plan)]
    if target.base and plan.specs:
        parts.append(f"Shares {plan.shared} of {len(plan.specs)} objects with prod.")
    if plan.damaged:
        parts.append(f"**Damaged in the registry: {escape(', '.join(plan.damaged))}**")
    if plan.blocking:
        parts.append("**Refused without `--force`: somebody would miss something.**")
    if plan.unheld:
        parts.append(
            f"**Refused: to be served, and in no online store as defined: {escape(', '.join(plan.unheld))}**"
        )
    parts += [*_breaks(plan), *_changes(plan), *_backfills(plan)]
    if plan.warnings:
        parts.append("**Warnings**\n\n" + "\n".join(f"- {escape(said)}" for said in plan.warnings[:_MOST]))
    revision = "a new environment" if target.is_new else f"revision {target.revision}"
    parts.append(f"<sub>plan `{plan.id}` on {revision}; apply exactly this: `{apply_command(plan)}`</sub>")
    return "\n\n".join(parts) + "\n"


def escape(text: str) -> str:
    """Text that may stand in a table's cell or a list, and is no markup.

    Example:
        >>> print(escape("a & b <c>"))
        a &amp; b &lt;c&gt;
    """
    made = printable(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    made = made.replace("@", "&#64;").replace("://", ":&#47;/")  # nobody is called, and nothing is a link
    for mark in "\\|`*_[]":
        made = made.replace(mark, f"\\{mark}")
    return " ".join(made.split())


def _folded(title: str, lines: list[str]) -> str:
    shown = lines[:_MOST] + ([f"- ... {len(lines)} lines in all"] if len(lines) > _MOST else [])
    opened = " open" if len(lines) <= 20 else ""
    return f"<details{opened}><summary>{title}</summary>\n\n" + "\n".join(shown) + "\n\n</details>"


def _breaks(plan: Plan) -> Iterator[str]:
    if plan.breaks:
        rows = [
            f"| {escape(each.service)} | {escape(each.what)} | {escape(', '.join(each.readers) or 'nobody known')} |"
            for each in plan.breaks
        ]
        yield "\n".join(["| service | what breaks | read by |", "|---|---|---|", *rows])


def _changes(plan: Plan) -> Iterator[str]:
    for action in ACTIONS:
        found = [each for each in plan.changes if each.action == action]
        if found:
            lines = [line for each in found for line in _object(each)]
            yield _folded(f"{HEADINGS[action][0]} ({len(found)})", lines)
    if plan.affected:
        lines = [f"- {escape(because(each))}" for each in plan.affected]
        yield _folded(f"Affected downstream ({len(plan.affected)})", lines)


def _object(change: ObjectChange) -> Iterator[str]:
    was = f" (was {change.old.name})" if change.action == "renamed" and change.old else ""
    yield f"- **{escape(change.spec.words + was)}**{escape(more(change.spec, change.action))}"
    for field in change.fields:
        if "\n" in f"{field.old}{field.new}":
            old = "\n".join(f"    - {line}" for line in printable(field.old or "").splitlines())
            new = "\n".join(f"    + {line}" for line in printable(field.new or "").splitlines())
            yield f"  - {escape(field.path)}:\n\n    ```diff\n{old}\n{new}\n    ```"
        else:
            yield f"  - {escape(field.path)}: {escape(field.old or '(none)')} → {escape(field.new or '(none)')}"
    yield from (f"  - because {escape(ref)} changes" for ref in change.because)


def _backfills(plan: Plan) -> Iterator[str]:
    if not plan.backfills:
        return
    rows = ["| view | served | interval | rows | read | seconds | records | p50 / p99 / max | layout |",
            "|---|---|---|---:|---:|---:|---:|---:|---|"]  # fmt: skip
    for each in plan.backfills:
        served = "yes" if is_served(plan.specs.get(f"feature_view:{each.view}")) else "no"
        sizes = " / ".join(
            size(n) for n in (each.record_p50_bytes, each.record_p99_bytes, each.record_max_bytes)
        )
        rows.append(
            f"| {escape(each.view)} | {served} | {interval(each)} | {each.rows:,} | {size(each.read_bytes)} |"
            f" {each.seconds:.1f} | {each.entities:,} | {sizes} | {each.layout} |"
        )
    yield _folded(f"Backfill, estimated ({len(plan.backfills)})", rows)
    # A comment is read by more people than a terminal: it does not name the key.
    hidden = [replace(each, hot_key=each.hot_key and "(named by `asof plan`)") for each in plan.backfills]
    said = [f"- {escape(each.view)}: {escape(text)}" for each in hidden for text in hints(each)]
    if said:
        yield "\n".join(said[:_MOST])
