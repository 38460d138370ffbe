"""Objects to put into a registry, and what lies in its tables afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, select, text

from asof import Entity
from asof.define.spec import Spec, specs_of
from asof.registry.state import Change
from asof.registry.store import Registry
from asof.registry.tables import metadata

Rows = dict[str, list[tuple[Any, ...]]]


def entity(name: str, key: str = "id", **people: Any) -> Spec:
    """An entity as data; its values follow the key's name, `description` and the like are for people."""
    return specs_of([Entity(name, keys={key: "string"}, **people)])[f"entity:{name}"]


def commit(
    registry: Registry, expected: int | None, *puts: Spec, environment: str = "prod", **more: Any
) -> int:
    return registry.commit(Change(environment, "apply", expected, puts=puts, **more))


@contextmanager
def connected(url: str) -> Iterator[Connection]:
    """A connection past the registry, in a transaction."""
    engine = create_engine(url)
    try:
        with engine.begin() as connection:
            yield connection
    finally:
        engine.dispose()


def run(url: str, *statements: str) -> None:
    with connected(url) as connection:
        for each in statements:
            connection.execute(text(each))


def dump(url: str) -> Rows:
    """Every row of every table of the registry."""
    with connected(url) as connection:
        return {
            table.name: sorted((tuple(row) for row in connection.execute(select(table))), key=repr)
            for table in metadata.sorted_tables
        }


@contextmanager
def statements(registry: Registry) -> Iterator[list[str]]:
    """The statements that a registry sends meanwhile, without those that begin a transaction."""
    sent: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        if not statement.startswith("begin"):
            sent.append(statement)

    engine: Engine = registry.database.engine
    event.listen(engine, "before_cursor_execute", note)
    try:
        yield sent
    finally:
        event.remove(engine, "before_cursor_execute", note)
