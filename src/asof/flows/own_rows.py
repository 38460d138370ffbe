"""Own rows: the scored events themselves, read from the spine through the very projection that history goes
through.
"""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from asof.compute.arrays import EMPTY_INTS, Ints
from asof.compute.arrow_ops import different, places, taken
from asof.define.source import Events, InMemory, Mapped, Union, parts_of
from asof.engines.scan import KEY, Engine, Scan
from asof.errors import DataError, MissingColumn
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
    source = _as_spine(group.source, spine)
    columns, predicates = group.columns, group.predicates
    key_sql = tuple((name, dtype) for name, dtype in group.entity.keys)
    scan = Scan(Mapped(source), key_sql, columns, predicates)
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
    return OwnTable(
        {name: table[f"v{i}"] for i, name in enumerate(columns)},
        {sql: table[f"p{i}"] for i, sql in enumerate(predicates)},
        table[KEY] if source.key is not None else None,
    )


def _as_spine(source: Events | Union, spine: Spine) -> Events:
    """The source with the spine as its history."""
    parts = parts_of(source)
    first = parts[0].source
    names = set(spine.table.column_names)
    keys = {part.source.key for part in parts}
    key = keys.pop() if len(keys) == 1 else None
    derived = first.columns if isinstance(source, Events) else ()
    missing = {name: sql for name, sql in derived if name not in names}
    table = spine.table
    if first.event_time not in names and isinstance(source, Events):
        table = table.append_column(first.event_time, table[spine.time])
    return Events("spine", InMemory(table, "spine"), event_time=spine.time, key=key, columns=missing)
