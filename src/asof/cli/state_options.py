"""What the commands that look at objects share: which environment, or the code, and where the project is."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import click

if TYPE_CHECKING:
    from asof.flows.column_types import SourceTypes
    from asof.flows.lineage import Lineage
    from asof.flows.project import Project
    from asof.registry.state import State
    from asof.registry.store import Registry

F = TypeVar("F", bound=Callable[..., object])


def state_options(command: F) -> F:
    """`--env`, `--local`, `--project` and `--json`, in this order."""
    options = (
        click.option(
            "--env", "environment", default=None, help="The environment. [default: the setting `environment`]"
        ),
        click.option("--local", is_flag=True, help="The definitions in the code, not those in the registry."),
        click.option("--project", default=".", show_default=True, help="The project's folder."),
        click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON."),
    )
    for option in reversed(options):
        command = option(command)
    return command


@dataclass(frozen=True)
class Opened:
    """What a command looks at; `registry` is None for the code."""

    project: Project
    state: State
    registry: Registry | None

    def lineage(self) -> Lineage:
        """The lineage of the state."""
        from asof.flows.lineage import columns_of, lineage_of

        return lineage_of(self.state, columns_of(self.project.engine()))

    def source_types(self, *, remote: bool = False) -> SourceTypes:
        """What sources tell of their columns' types, where the project's code can be run and names them; those in an
        object store only when `remote`.
        """
        from asof.errors import DefinitionError
        from asof.flows.column_types import read_types, written_types
        from asof.flows.project import open as open_project

        try:
            loaded = self.project if self.registry is None else open_project(self.project.root)
        except DefinitionError:  # broken code is no reason not to look at the registry
            return written_types(self.state)
        return read_types(self.state, loaded.definitions, loaded.engine(), remote=remote)


@contextmanager
def open_state(project: str, environment: str | None, *, local: bool) -> Generator[Opened]:
    """The objects of an environment, or those in the code; the code is only loaded where it is asked for.

    Raises:
        UnknownEnvironment: the registry has none of this name; the hint says how it comes to be.
    """
    from asof.flows.lineage import state_of
    from asof.flows.project import open as open_project

    if local and environment is not None:
        raise click.UsageError("--env and --local: one of them")
    if local:
        opened = open_project(project)
        yield Opened(opened, state_of(opened.definitions.all()), None)
        return
    opened, name = open_settings(project, environment)
    registry = opened.registry()
    try:
        yield Opened(opened, _state(registry, name), registry)
    finally:
        registry.close()


def open_settings(project: str, environment: str | None) -> tuple[Project, str]:
    """The project without its code, which may be broken or elsewhere, and the environment that is meant."""
    import os
    from pathlib import Path

    from asof.config import load_config
    from asof.flows.project import Project

    config = load_config(Path(project), os.environ)
    return Project(config=config), config.environment if environment is None else environment


def _state(registry: Registry, name: str) -> State:
    from asof.errors import UnknownEnvironment

    try:
        return registry.state(name)
    except UnknownEnvironment as exc:
        near = f"{exc.hint} " if exc.hint and exc.hint.startswith("did you mean") else ""
        hint = f"{near}`asof apply` makes an environment, --local looks at the code"
        raise UnknownEnvironment(exc.message, hint=hint, **exc.facts) from exc
