"""Own rows: the scored events themselves, read from the spine through the very projection that history goes
through.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import pyarrow as pa

from asof.compute.arrays import EMPTY_INTS, Ints
from asof.compute.arrow_ops import different, places, taken
from asof.define.source import Events, InMemory, Mapped, parts_of
from asof.engines.scan import KEY, KEY_HIGH, KEY_LOW, Engine, Scan
from asof.errors import DataError, MissingColumn, WrongType
from asof.flows.groups import Group
from asof.flows.spine import Spine


@dataclass(frozen=True)
class OwnTable:
    """The own row of each spine row: values and predicates as the features read them, and its event key where
    there is one.
    """

    values: dict[str, pa.ChunkedArray]
    predicates: dict[str, pa.ChunkedArray]
    keys: pa.ChunkedArray | None
    digests: tuple[pa.ChunkedArray, pa.ChunkedArray] | None = None

    def take(self, rows: Ints) -> OwnTable:
        """The own rows of some spine rows."""
        return OwnTable(
            {name: taken(column, rows) for name, column in self.values.items()},
            {sql: taken(column, rows) for sql, column in self.predicates.items()},
            None if self.keys is None else taken(self.keys, rows),
        )

    def numbered(self, order: Ints) -> tuple[pa.Array | None, Ints]:
        """The different event keys, and the number of each row's key in the given order (-1: none)."""
        if self.keys is None:
            return None, EMPTY_INTS
        keys = different(self.keys)
        return keys, places(self.keys, keys)[order]


def own_table(engine: Engine, group: Group, spine: Spine) -> OwnTable:
    """The own rows of a spine, projected as the group's source projects its history.

    The spine carries the source's columns (a union's common columns); a derived column that the spine already
    has is taken as it is.

    Raises:
        MissingColumn: the spine lacks a column that the features, or the event key, need.
    """
    source = as_source(engine, group, spine)
    scan = own_scan(group, source)
    columns, predicates = scan.values, scan.predicates
    try:
        types, batches = engine.read(scan, max(spine.size, 1))
        table = pa.Table.from_batches(batches, types)
    except MissingColumn as exc:
        raise MissingColumn(
            f"spine: the service counts the row itself (own_row), and {exc.message}",
            hint="give the spine the source's columns",
            **exc.facts,
        ) from exc
    if table.num_rows != spine.size:
        raise DataError("spine: own rows and spine rows do not match")
    nobody_asks = pa.chunked_array([pa.nulls(spine.size)])
    values = dict.fromkeys(group.columns, nobody_asks)
    tests = dict.fromkeys(group.predicates, nobody_asks.cast(pa.bool_()))
    values |= {name: table[f"v{i}"] for i, name in enumerate(columns)}
    tests |= {sql: table[f"p{i}"] for i, sql in enumerate(predicates)}
    if source.key is None:
        return OwnTable(values, tests, None)
    return OwnTable(values, tests, table[KEY], (table[KEY_LOW], table[KEY_HIGH]))


def own_scan(group: Group, source: Events) -> Scan:
    """The projection of own rows: what the features that are asked read, and the event key."""
    asked = replace(group, read_too=())
    key_sql = tuple((name, dtype) for name, dtype in group.entity.keys)
    return Scan(Mapped(source), key_sql, asked.columns, asked.predicates, digests=source.key is not None)


def as_source(engine: Engine, group: Group, spine: Spine) -> Events:
    """The source with the spine as its history, in the types of the source's own columns."""
    source, parts = group.source, parts_of(group.source)
    first, table = parts[0].source, spine.table
    names = set(table.column_names)
    keys = {part.source.key for part in parts} - {None}
    key = keys.pop() if len(keys) == 1 else None
    if not isinstance(source, Events):
        return Events("spine", InMemory(table, "spine"), event_time=spine.time, key=key)
    if first.event_time not in names:
        table = table.append_column(first.event_time, table[spine.time])
    table = _as_declared(
        table, engine.schema(parts[0]), {*replace(group, read_too=()).columns, *({key} if key else set())}
    )
    missing = {name: sql for name, sql in first.columns if name not in names}
    return Events("spine", InMemory(table, "spine"), event_time=spine.time, key=key, columns=missing)


def _as_declared(table: pa.Table, types: dict[str, pa.DataType], needed: set[str]) -> pa.Table:
    for place, name in enumerate(table.column_names):
        if name in needed and name in types and table[name].type != types[name]:
            try:
                column = table[name].cast(types[name])
            except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as exc:
                raise WrongType(
                    f"spine: column {name!r} is {table[name].type} and does not fit the source's {types[name]}",
                    hint="cast it in the spine",
                    column=name,
                ) from exc
            table = table.set_column(place, name, column)
    return table
