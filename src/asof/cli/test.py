"""`asof test`: the project's cases on the real engine, and its definitions on generated histories."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import closing
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from asof.cli.case_report import Line
    from asof.cli.console import ProgressBars
    from asof.define.case import Case
    from asof.flows.cases import CaseRunner


@click.command("test")
@click.argument("patterns", metavar="[PATTERN]...", nargs=-1)
@click.option("--no-generated", is_flag=True, help="Run the cases only, without generated histories.")
@click.option(
    "--examples", default=5, show_default=True, type=click.IntRange(min=1),
    help="How many histories to generate for each definition.",
)  # fmt: skip
@click.option("--seed", default=0, show_default=True, help="Equal seeds generate equal histories.")
@click.option(
    "--junit", default=None, type=click.Path(path_type=Path, dir_okay=False),
    help="Also write the results to this file as JUnit XML.",
)  # fmt: skip
@click.option("--project", default=".", show_default=True, help="The project's folder.")
@click.option("--json", "as_json", is_flag=True, help="Print the results as JSON.")
def command(
    *, patterns: tuple[str, ...], no_generated: bool, examples: int, seed: int, junit: Path | None, project: str,
    as_json: bool,
) -> int:  # fmt: skip
    """Run the project's cases (cases/*.yaml, cases/*.py) on the real engine, in memory, and compare its definitions
    with the naive oracle on generated histories. No data of the project is read, only its column types.

    PATTERN chooses tests: a part of a name, file, view, label or service, or a glob.

    Exits 1 when a test failed, 2 when a case or definition is wrong.
    """
    from asof.cli.case_report import FAILED, as_document, as_junit, summary
    from asof.cli.console import ProgressBars
    from asof.flows.case_files import load_cases
    from asof.flows.cases import CaseRunner
    from asof.flows.project import open as open_project
    from asof.usage import NullMeter

    if junit is not None and not junit.absolute().parent.is_dir():
        raise click.UsageError(f"--junit: there is no folder {str(junit.absolute().parent)!r}")
    opened = open_project(project)
    cases = load_cases(opened.root)
    lines: list[Line] = []
    with (
        closing(CaseRunner(opened)) as runner,
        NullMeter().run("test") as run,
        run.stage("test"),
        ProgressBars(quiet=as_json) as bars,
    ):
        lines += _run_cases(runner, [case for case in cases if _chosen(patterns, _names(case))], bars)
        if not no_generated:
            lines += _run_generated(runner, cases, patterns, bars, seed, examples)
    if patterns and not lines:
        raise click.UsageError(f"no case and no definition matches {' '.join(patterns)}")
    seconds = run.events[0].seconds
    if junit is not None:
        _write(junit, as_junit(lines, seconds))
    if as_json:
        click.echo(json.dumps(as_document(lines), indent=2, default=str))
    else:
        _tell(lines, bool(cases))
        click.echo(summary(lines))
        click.echo(f"{seconds:.1f} s", err=True)
    failed = [line for line in lines if line.state == FAILED]
    return 2 if any(line.misused for line in failed) else 1 if failed else 0


def _write(file: Path, text: str) -> None:
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as exc:
        raise click.ClickException(f"{file}: {exc.strerror}") from exc


def _run_cases(runner: CaseRunner, cases: Sequence[Case], bars: ProgressBars) -> Iterator[Line]:
    from asof.cli.case_report import case_line

    for done, case in enumerate(cases, 1):
        bars.step("test", "cases", done - 1, len(cases))
        yield case_line(runner.run(case))
        bars.step("test", "cases", done, len(cases))


def _run_generated(
    runner: CaseRunner,
    cases: Sequence[Case],
    patterns: Sequence[str],
    bars: ProgressBars,
    seed: int,
    examples: int,
) -> Iterator[Line]:
    from asof.cli.case_report import generated_line
    from asof.flows.case_tables import known_types
    from asof.testing.generated import Generated, check_subject, subjects_of

    listed: list[Any] = [
        runner.definitions.list(kind) for kind in ("feature_view", "label", "feature_service")
    ]
    subjects = [each for each in subjects_of(*listed) if _chosen(patterns, (each.name,))]
    types = known_types(runner.schemas, cases)
    for done, subject in enumerate(subjects, 1):
        bars.step("test", "generated histories", done - 1, len(subjects))
        missing = [name for name in subject.sources if name not in types]
        if missing:
            error = runner.schemas.errors.get(missing[0])
            why = f" ({error.message})" if error else ""
            reason = f"no types for the columns of source {missing[0]!r}{why}; a case's `types` may say them"
            yield generated_line(Generated(subject, skipped=reason))
        else:
            engines = runner.project.engine
            yield generated_line(
                check_subject(subject, types, engines, runner.training_set, seed=seed, examples=examples)
            )
        bars.step("test", "generated histories", done, len(subjects))


def _names(case: Case) -> tuple[str, ...]:
    asked = (*case.views, *case.labels, *((case.service,) if case.service else ()))
    return (case.name, case.file, case.place, *asked)


def _chosen(patterns: Sequence[str], names: Sequence[str]) -> bool:
    return not patterns or any(fnmatch(name, p) or p in name for p in patterns for name in names)


def _tell(lines: Sequence[Line], any_cases: bool) -> None:
    from asof.cli.case_report import PASSED
    from asof.cli.console import color

    for line in lines:
        if line.state != PASSED:
            head, _, rest = str(line).partition("\n")
            click.echo(click.style(head, fg="red" if line.state == "failed" else "yellow"), color=color())
            if rest:
                click.echo(rest)
    if not any_cases:
        click.echo("no cases: write some to cases/*.yaml", err=True)
