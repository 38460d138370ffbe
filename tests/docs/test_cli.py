"""docs/reference/cli.md: every command and option as click knows them, and the exit codes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import click
import pytest

from asof.cli import app as cli
from asof.cli import plan
from asof.errors import AsofError, DefinitionError
from tests.docs.pages import REFERENCE, code, prose, sections, table, tables_in
from tests.docs.test_errors import classes


def commands(group: click.Group, prefix: str = "") -> Iterator[tuple[str, click.Command]]:
    """All commands by name, those of a group as `env list`."""
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, f"{prefix}{name} ")
        else:
            yield prefix + name, command


PAGE = REFERENCE / "cli.md"
COMMANDS = dict(commands(cli.app))
SECTIONS = sections(PAGE)


def options(command: click.Command) -> dict[tuple[str, ...], click.Option]:
    return {tuple(p.opts): p for p in command.params if isinstance(p, click.Option)}


def test_every_command_has_a_section_and_no_other_has():
    assert {name.removeprefix("`asof ").rstrip("`") for name in SECTIONS if "`asof " in name} == set(COMMANDS)


@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_every_option_is_told_as_click_tells_it(name):
    found = options(COMMANDS[name] if name else cli.app)
    text = SECTIONS[f"`asof {name}`"] if name else PAGE.read_text().partition("\n## ")[0]
    (rows,) = [rows for rows in tables_in(text) if "option" in rows[0]]
    assert [tuple(code(row["option"])) for row in rows] == list(found)
    for row, option in zip(rows, found.values(), strict=True):
        assert row["meaning"].startswith(option.help or "?")
        assert ("required" in row["meaning"]) == option.required
        if isinstance(option.default, str):
            assert f"default `{option.default}`" in row["meaning"]
        if isinstance(option.type, click.Choice):
            assert set(option.type.choices) <= set(code(row["meaning"]))


def test_every_command_that_answers_has_json():
    silent = {"init", "serve"}  # they make something, and say which; a server answers others
    assert {name for name, command in COMMANDS.items() if ("--json",) not in options(command)} <= silent


def test_exit_codes_are_those_of_the_table(capsys):
    rows = {int(row["code"]): row["when"] for row in table(PAGE, "code")}
    assert set(rows) == {0, cli.FAILED, cli.MISUSED, plan.CHANGES, cli.INTERRUPTED}
    named = cli.MISUSES
    assert code(rows[2]) == ["asof check", *(each.__name__ for each in named)]
    for error in classes():
        made = error("feature", "extra") if error.__name__ == "MissingExtra" else error("message")
        expected = cli.MISUSED if issubclass(error, named) else cli.FAILED
        assert cli._tell(made, as_json=False) == expected
    assert AsofError in classes()
    capsys.readouterr()


def test_an_error_with_json_has_the_shape_that_the_page_shows(capsys):
    (shape,) = [text for text in code(" ".join(prose(PAGE).split())) if text.startswith('{"error"')]
    cli._tell(DefinitionError("wrong", hint="right", name="x"), as_json=True)
    assert set(re.findall(r'"(\w+)"', shape)) - {"error"} == set(json.loads(capsys.readouterr().out)["error"])
