"""From a source's history to the oracle's rows: the engine evaluates the SQL and nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import pyarrow as pa

from asof.compute.arrow import arrow_type, common_type, find_dtype
from asof.define.aggregation import Feature
from asof.define.label import Label
from asof.define.source import Events, InMemory, Mapped, Union, parts_of
from asof.engines.scan import DELETED, EVENT, KEY, KNOWN, Engine, Scan
from asof.testing.oracle import Row
from asof.types import DType

Keys = tuple[tuple[str, DType], ...]


@dataclass(frozen=True)
class Needed:
    """The columns and the predicates that features read."""

    columns: tuple[str, ...]
    predicates: tuple[str, ...]

    @classmethod
    def by(cls, features: Iterable[Feature]) -> Needed:
        """What these features, and the parts of ratios, read."""
        columns, predicates = dict[str, None](), dict[str, None]()
        for feature in features:
            inner = cls.by(feature.parts)
            columns |= dict.fromkeys(name for name in (feature.column, feature.by, *inner.columns) if name)
            predicates |= dict.fromkeys(sql for sql in (feature.predicate, *inner.predicates) if sql)
        return cls(tuple(columns), tuple(predicates))

    @classmethod
    def of_label(cls, label: Label) -> Needed:
        """What a label reads."""
        value = label.value
        columns = (label.outcome, None if value is None else value.column)
        predicates = (label.predicate, None if value is None else value.predicate)
        return cls(
            tuple(dict.fromkeys(name for name in columns if name)),
            tuple(dict.fromkeys(sql for sql in predicates if sql)),
        )


@dataclass(frozen=True, eq=False)
class AnyPart:
    """The event key of an own row: equal to the key of an event of any part of its source."""

    value: object

    def __eq__(self, other: object) -> bool:
        return isinstance(other, tuple) and cast("tuple[object, object]", other)[1] == self.value

    def __hash__(self) -> int:
        return hash(self.value)


def rows_of(engine: Engine, source: Events | Union, keys: Keys, needed: Needed) -> list[Row]:
    """The rows of a source in order of arrival, with the values of `keys` (SQL and type) as their entity."""
    tables = [_read(engine, Scan(part, keys, needed.columns, needed.predicates)) for part in parts_of(source)]
    types = value_types(needed, tables)
    rows: list[Row] = []
    for number, (part, table) in enumerate(zip(parts_of(source), tables, strict=True)):
        values, entities = _values(table, needed, types), _entities(table, len(keys))
        events: list[int | None] = table[EVENT].to_pylist()
        event_keys = _plain(table, KEY)
        gone = _plain(table, DELETED)
        for at, event_us in enumerate(events):
            key = None if event_keys[at] is None else (number, event_keys[at])
            known_us = _known(table, at, event_us, part.source.delay_us)
            rows.append(
                Row(entities[at], event_us, known_us, (number, at), key, gone[at] is True, values[at])
            )
    return rows


def own_rows(
    engine: Engine, source: Events | Union, spine: pa.Table, time: str, keys: Keys, needed: Needed
) -> list[Row]:
    """The spine's rows as events of a source; the event may be one of any part that has its key.

    The spine carries the columns of the source: derived ones are made where it does not have them.
    """
    first, table = parts_of(source)[0].source, spine
    event_keys = {part.source.key for part in parts_of(source) if part.source.key is not None}
    key = event_keys.pop() if len(event_keys) == 1 else None
    derived: dict[str, str] = {}
    if isinstance(source, Events):
        if first.event_time not in table.column_names:
            table = table.append_column(first.event_time, table[time])
        table = _as_declared(table, engine.schema(Mapped(source)), {*needed.columns, key or ""})
        derived = {name: sql for name, sql in first.columns if name not in table.column_names}
    held = Events("spine", InMemory(table, "spine"), event_time=time, key=key, columns=derived)
    read = _read(engine, Scan(Mapped(held), keys, needed.columns, needed.predicates))
    values, entities = _values(read, needed, value_types(needed, [read])), _entities(read, len(keys))
    return [
        Row(entity, event_us, None, (), None if name is None else AnyPart(name), values=each)
        for entity, event_us, name, each in zip(
            entities, read[EVENT].to_pylist(), _plain(read, KEY), values, strict=True
        )
    ]


def value_types(needed: Needed, tables: Sequence[pa.Table]) -> list[pa.DataType]:
    """The types of the values that are read: asof's own, and one for all parts of a union."""
    made: list[pa.DataType] = []
    for i, name in enumerate(needed.columns):
        arrow = common_type(name, [table.schema.field(f"v{i}").type for table in tables])
        dtype = find_dtype(arrow)
        made.append(arrow if dtype is None else arrow_type(dtype))
    return made


def _read(engine: Engine, scan: Scan) -> pa.Table:
    types, batches = engine.read(scan, 10_000)
    return pa.Table.from_batches(batches, types)


def _values(table: pa.Table, needed: Needed, types: Sequence[pa.DataType]) -> list[dict[str, Any]]:
    columns = {
        name: _cast(table[f"v{i}"], arrow).to_pylist()
        for i, (name, arrow) in enumerate(zip(needed.columns, types, strict=True))
    }
    columns |= {sql: table[f"p{i}"].to_pylist() for i, sql in enumerate(needed.predicates)}
    return [{name: values[at] for name, values in columns.items()} for at in range(table.num_rows)]


def _cast(column: pa.ChunkedArray, arrow: pa.DataType) -> pa.ChunkedArray:
    if isinstance(column.type, pa.DictionaryType):
        column = column.cast(column.type.value_type)
    return column if column.type == arrow else column.cast(arrow)


def _entities(table: pa.Table, count: int) -> list[tuple[object, ...]]:
    return list(zip(*(table[f"k{i}"].to_pylist() for i in range(count)), strict=True))


def _plain(table: pa.Table, name: str) -> Sequence[object]:
    return table[name].to_pylist() if name in table.column_names else [None] * table.num_rows


def _known(table: pa.Table, at: int, event_us: int | None, delay_us: int) -> int | None:
    if KNOWN in table.column_names:
        return cast("int | None", table[KNOWN][at].as_py())
    return None if event_us is None else event_us + delay_us


def _as_declared(table: pa.Table, types: dict[str, pa.DataType], needed: set[str]) -> pa.Table:
    """The spine's columns in the types of the source's own, as far as they are read."""
    for place, name in enumerate(table.column_names):
        if name in needed and name in types and table[name].type != types[name]:
            table = table.set_column(place, name, table[name].cast(types[name]))
    return table
