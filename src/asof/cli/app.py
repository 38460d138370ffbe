"""The root command, and how errors leave the command line."""

from __future__ import annotations

import json
import logging
import os
import warnings
from collections.abc import Sequence

import click

import asof
from asof.cli import (
    apply,
    check,
    dead_letter,
    env,
    history,
    init,
    lineage,
    list_objects,
    materialize,
    online,
    plan,
    push,
    search,
    serve,
    show,
    skew,
    stream,
    test,
    training_set,
    usage,
)
from asof.cli.text_table import printable
from asof.errors import AsofError, ConfigError, DefinitionError, ProjectNotFound, UnknownEnvironment

FAILED, MISUSED, INTERRUPTED = 1, 2, 130
MISUSES = (DefinitionError, ConfigError, ProjectNotFound, UnknownEnvironment)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(asof.__version__, prog_name="asof")
@click.option("-v", "--verbose", is_flag=True, help="Show log messages and the cause of errors.")
def app(*, verbose: bool) -> None:
    """Features, labels and training sets: the same value in training, streams and serving."""
    level = logging.DEBUG if verbose else logging.WARNING
    logging.basicConfig(level=level, format="%(levelname)s %(name)s: %(message)s")
    warnings.showwarning = _show_warning


def _show_warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, *_: object
) -> None:
    """What a definition or a library warns of, as a message; the place is for those who look closer."""
    place = f"{filename}:{lineno}: {category.__name__}"
    color = False if "NO_COLOR" in os.environ else None
    click.echo(click.style("warning: ", fg="yellow") + str(message), err=True, color=color)
    logging.getLogger("asof").debug("warned at %s", place)


for _command in (
    init.command,
    check.command,
    test.command,
    plan.command,
    apply.apply,
    apply.rollback,
    apply.promote,
    history.command,
    env.group,
    list_objects.command,
    search.command,
    show.command,
    lineage.command,
    training_set.command,
    push.command,
    stream.group,
    dead_letter.group,
    materialize.materialize,
    materialize.backfill,
    online.group,
    serve.command,
    skew.command,
    usage.command,
):
    app.add_command(_command)


def run_app(command: click.Command, arguments: Sequence[str]) -> int:
    """Run a command and turn what it raises into a message and an exit code."""
    as_json = "--json" in arguments
    try:
        code = command.main(list(arguments), prog_name="asof", standalone_mode=False)
    except AsofError as error:
        return _tell(error, as_json=as_json)
    except click.Abort:
        click.echo("interrupted", err=True)
        return INTERRUPTED
    except KeyboardInterrupt:
        click.echo("interrupted", err=True)
        return INTERRUPTED
    except BrokenPipeError:
        return FAILED
    except click.ClickException as error:
        if as_json:
            body = {"code": "usage_error", "message": error.format_message(), "hint": None, "facts": {}}
            click.echo(json.dumps({"error": body}))
        else:
            error.show()
        return error.exit_code
    return code if isinstance(code, int) else 0


def _tell(error: AsofError, *, as_json: bool) -> int:
    if as_json:
        click.echo(json.dumps(error.as_dict(), default=str))
    else:
        message, _, hint = printable(str(error)).partition("\nhint: ")
        color = False if "NO_COLOR" in os.environ else None
        click.echo(click.style("error: ", fg="red") + message, err=True, color=color)
        if hint:
            click.echo(click.style("hint: ", fg="cyan") + hint, err=True, color=color)
    logging.getLogger("asof").debug("cause", exc_info=error)
    return MISUSED if isinstance(error, MISUSES) else FAILED
