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
        StateError: a database that holds other tables of our names.
    """
    tables = inspect(connection).get_table_names()
    if "alembic_version" not in tables:
        if head.name in tables:
            raise StateError("registry: tables are there, but not which migration made them")
        return None
    return connection.execute(text("select version_num from alembic_version")).scalar()


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
    """Runs the migrations that are missing; the caller's transaction makes them all or none."""
    from alembic import command  # a registry that is as it should be does not need it
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_SCRIPTS).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
