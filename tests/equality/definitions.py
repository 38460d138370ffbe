"""Definitions for the property tests, and the rows that the oracle makes of their histories with plain DuckDB."""

from __future__ import annotations

import atexit
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import duckdb
import pyarrow as pa
from hypothesis import strategies as st

import asof
from asof.define.source import Events, Mapped, Union, parts_of
from asof.testing.generated.naive import AnyPart
from asof.testing.oracle import Row

SIMPLE = asof.Entity("thing", keys={"k": "string"})
COMPOSITE = asof.Entity("pair", keys={"k": "string", "k2": "int64"})
ENTITIES = st.sampled_from([SIMPLE, COMPOSITE])


@dataclass(frozen=True)
class Options:
    """How a source declares its times and its key."""

    known_at: str | None = "known"
    delay: str | None = None
    key: str | None = "id"
    deleted: str | None = "gone"
    sequence: str | None = None


OPTIONS = st.sampled_from([
    Options(), Options(), Options(sequence="seq"), Options(key=None, deleted=None), Options(deleted=None),
    Options(known_at=None, key=None, deleted=None), Options(known_at=None, delay="2us"),
    Options(known_at=None, key=None, deleted=None, sequence="seq"),
])  # fmt: skip


def events(name: str, table: pa.Table, options: Options, **more: Any) -> Events:
    return Events(
        name, asof.InMemory(table, name=name), event_time="happened", known_at=options.known_at, delay=options.delay,
        key=options.key, deleted=options.deleted, sequence=options.sequence, **more,
    )  # fmt: skip


def oracle_rows(
    source: Events | Union, keys: Sequence[str], columns: Sequence[str], predicates: Sequence[str]
) -> list[Row]:
    """The rows of a source, in order of arrival, with `keys` (SQL) as their entity."""
    rows: list[Row] = []
    for number, part in enumerate(parts_of(source)):
        for line in _read(part, keys, columns, predicates):
            entity = tuple(line[f"_k{at}"] for at in range(len(keys)))
            key = None if line["_key"] is None else (number, line["_key"])
            values = {name: line[name] for name in columns}
            values |= {sql: line[f"_p{at}"] for at, sql in enumerate(predicates)}
            place = (number, line["_seq"], line["_pos"])
            rows.append(
                Row(entity, line["_event"], line["_known"], place, key, line["_gone"] is True, values)
            )
    return rows


def _read(
    part: Mapped, keys: Sequence[str], columns: Sequence[str], predicates: Sequence[str]
) -> list[dict[str, Any]]:
    source = part.source
    table = source.history.table  # every history of these tests is in memory
    table = table.append_column("_pos", pa.array(range(len(table)), pa.int64()))
    event = f"epoch_us({source.event_time})"
    known = f"{event} + {source.delay_us}" if source.known_at is None else f"epoch_us({source.known_at})"
    times = {"_event": event, "_known": known, "_key": source.key or "null", "_gone": source.deleted or "false",
             "_seq": source.sequence or "0"}  # fmt: skip
    hidden = ["_pos", *times]
    query = _layer("history", table.column_names, dict(source.columns))
    known_columns = [*table.column_names, *(name for name, _ in source.columns)]
    query = _layer(f"({query})", known_columns, times)
    query = _layer(f"({query})", [*known_columns, *hidden], dict(part.columns))
    asked = {f"_k{at}": sql for at, sql in enumerate(keys)}
    asked |= {f"_p{at}": sql for at, sql in enumerate(predicates)}
    wanted = [*hidden, *columns]
    picked = ", ".join(
        [f'"{name}"' for name in wanted] + [f'({sql}) AS "{name}"' for name, sql in asked.items()]
    )
    return _run(f"SELECT {picked} FROM ({query}) ORDER BY _pos", history=table)


def _layer(source: str, columns: Iterable[str], made: Mapping[str, str]) -> str:
    kept = [f'"{name}"' for name in dict.fromkeys(columns) if name not in made]
    return f"SELECT {', '.join(kept + [f'({sql}) AS {name}' for name, sql in made.items()])} FROM {source}"


def own_rows(
    spine: pa.Table,
    source: Events | Union,
    keys: Sequence[str],
    columns: Sequence[str],
    predicates: Sequence[str],
) -> list[Row]:
    """The spine's rows as events of a source; the event may be one of any part that has its key."""
    first = parts_of(source)[0].source
    numbered = spine.append_column("_pos", pa.array(range(len(spine)), pa.int64()))
    asked = {f"_p{at}": sql for at, sql in enumerate(predicates)}
    picked = [f'"{name}"' for name in (*keys, *columns)] + [
        f"({sql}) AS {name}" for name, sql in asked.items()
    ]
    key = first.key or "null"
    picked += [f"({key}) AS _key", "epoch_us(event_time) AS _event"]
    query = f"SELECT {', '.join(dict.fromkeys(picked))} FROM spine ORDER BY _pos"
    return [
        Row(
            tuple(line[name] for name in keys), line["_event"], None, (),
            None if line["_key"] is None else AnyPart(line["_key"]), values={name: line[name] for name in columns}
            | {sql: line[f"_p{at}"] for at, sql in enumerate(predicates)},
        )
        for line in _run(query, spine=numbered)
    ]  # fmt: skip


def _run(query: str, **tables: pa.Table) -> list[dict[str, Any]]:
    connection = _connection()
    for name, table in tables.items():
        connection.register(name, table)
    return connection.sql(query).to_arrow_table().to_pylist()


@cache
def _connection() -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(config={"threads": 1})
    atexit.register(_connection.cache_clear)  # DuckDB complains of connections that outlive the interpreter
    return connection
