"""`asof init`: a new project that checks, tests, plans and applies at once."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from pathlib import Path

import click

# The file of a project -> its template; ".txt" keeps tools from taking a template for code of ours.
_FILES = {
    "asof.toml": "asof.toml.txt",
    "definitions.py": "definitions.py.txt",
    "cases/payments.yaml": "cases.yaml.txt",
    "README.md": "readme.md.txt",
    "requirements.txt": "requirements.txt.txt",
    ".gitignore": "gitignore.txt",
}
_CI = {"github": {".github/workflows/asof.yml": "github_workflow.yml.txt"}, "none": {}}
_TEMPLATES = Path(__file__).parent / "templates"
_DATA = "data/payments.csv"


@click.command("init")
@click.argument("folder", default=".", type=click.Path(path_type=Path, file_okay=False))
@click.option("--name", default=None, help="The project's name. [default: the folder's]")
@click.option(
    "--ci", type=click.Choice(list(_CI)), default="github", show_default=True,
    help="Whose workflow to write: lint, test, plan on pull requests, apply on merge.",
)  # fmt: skip
def command(*, folder: Path, name: str | None, ci: str) -> None:
    """Write a new project to FOLDER: definitions over sample data, cases that test them, and a workflow for CI.

    Nothing is overwritten: where a file is in the way, nothing is written at all.
    """
    texts = project_files(name or _name_of(folder), ci)
    write_new(folder, texts)
    for path in texts:
        click.echo(str(folder / path))
    where = "" if folder == Path() else f"cd {shlex.quote(str(folder))} && "
    click.echo(f"next: {where}asof check && asof test && asof plan", err=True)


def project_files(name: str, ci: str) -> dict[str, str]:
    """The files of a new project: path -> text.

    Raises:
        click.UsageError: a name that a project cannot have.
    """
    if re.fullmatch(r"[a-z][a-z0-9_]*", name) is None:
        raise click.UsageError(
            f"{name!r} is not a name: lower-case letters, digits and underscores, a letter first: --name my_project"
        )
    marks = {
        "@NAME@": name,
        "@CI_ROW@": _template("ci_row.txt") if ci == "github" else "",
        "@CI_STEPS@": _template("ci_steps.txt") if ci == "github" else "",
    }
    from asof.cli.sample import payments_csv

    made = {path: _filled(_template(template), marks) for path, template in {**_FILES, **_CI[ci]}.items()}
    return {**made, _DATA: payments_csv()}


def write_new(folder: Path, texts: Mapping[str, str]) -> None:
    """Write new files below a folder, all of them or none.

    Raises:
        click.UsageError: a file is there already. click.ClickException: one cannot be written.
    """
    there = [path for path in texts if (folder / path).exists() or (folder / path).is_symlink()]
    if there:
        raise click.UsageError(f"{folder} has {', '.join(there)} already; nothing was written")
    made: list[Path] = []
    try:
        for path, text in texts.items():
            _make_folders((folder / path).parent, made)
            with (folder / path).open("x", encoding="utf-8", newline="\n") as file:
                made.append(folder / path)
                file.write(text)
    except OSError as exc:
        _undo(made)
        raise click.ClickException(f"{exc.filename or folder}: {exc.strerror}; nothing was written") from exc


def _name_of(folder: Path) -> str:
    """A name for a project from its folder's: `Card-Risk` becomes `card_risk`."""
    words = re.findall(r"[a-z0-9]+", folder.resolve().name.lower())
    name = "_".join(words)
    return name if name[:1].isalpha() else f"project_{name}".rstrip("_")


def _template(name: str) -> str:
    return (_TEMPLATES / name).read_text(encoding="utf-8")


def _filled(text: str, marks: Mapping[str, str]) -> str:
    for mark, value in marks.items():
        text = (
            text.replace(f"{mark}\n", value)
            if value.endswith("\n") or not value
            else text.replace(mark, value)
        )
    return text


def _make_folders(folder: Path, made: list[Path]) -> None:
    for each in reversed([folder, *folder.parents]):
        if not each.exists():
            each.mkdir()
            made.append(each)


def _undo(made: list[Path]) -> None:
    for each in reversed(made):
        if each.is_dir() and not each.is_symlink():
            each.rmdir()
        else:
            each.unlink()
