"""Bringing a registry's tables to the newest shape, in one transaction; a registry from a newer asof is refused."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, inspect, select, text

from asof.errors import RegistryTooNew, StateError
from asof.registry.tables import NEWEST, head

_SCRIPTS = Path(__file__).parent / "migrations"


def shape_of(connection: Connection) -> str | None:
    """The migration that the registry stands at, or None for an empty database.

    Raises:
        StateError: a database that holds other tables of our names, or that another application migrates.
    """
    tables = inspect(connection).get_table_names()
    shape: str | None = None
    if "alembic_version" in tables:
        shape = connection.execute(text("select version_num from alembic_version")).scalar()
    if shape is None and head.name in tables:
        raise StateError("registry: tables are there, but not which migration made them")
    if shape is not None and head.name not in tables:
        raise StateError(
            f"registry: the database is another application's, at its migration {shape!r}",
            hint="give the registry a database of its own",
        )
    return shape


def check_shape(connection: Connection, version: str) -> bool:
    """True when the registry's tables are as this asof needs them, False when a migration is needed.

    Raises:
        RegistryTooNew: a newer asof has changed the tables; says which version is needed.
    """
    shape = shape_of(connection)
    if shape is None or shape < NEWEST:
        return False
    if shape == NEWEST:
        return True
    needs = connection.execute(select(head.c.needs)).scalar()
    raise RegistryTooNew(
        f"registry: it has been written by a newer asof and needs asof >= {needs}; this is asof {version}",
        hint=f"pip install 'asof>={needs}'",
        needs=needs,
        version=version,
    )


def migrate(connection: Connection) -> None:
    """Runs the migrations that are missing; the caller's transaction makes them all or none.

    Raises:
        StateError: the registry stands at a migration that this asof does not have.
    """
    from alembic import command  # a registry that is as it should be does not need it
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", str(_SCRIPTS).replace("%", "%%"))
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        raise StateError(f"registry: cannot be brought to this asof's shape: {error}") from error
