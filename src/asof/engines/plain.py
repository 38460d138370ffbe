"""Projections in which nothing is computed: columns as they are, under the names of a scan.

DuckDB takes a millisecond to hand a table back, however few rows it has. Where a scan only picks columns, and DuckDB
would give each in the very type that it has, the same table is put together here. What is computed (derived columns,
predicates, casts, keys of text that become digests) goes through DuckDB.
"""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa

from asof.define.source import Events
from asof.engines.scan import DELETED, EVENT, HASH, KEY, KEY_HIGH, KEY_LOW, KNOWN, PART, PLACE, Scan

_COMPUTED = {HASH, KEY, KEY_LOW, KEY_HIGH, DELETED, PART, PLACE}


def plain_projection(scan: Scan, made: pa.Schema, given: pa.Schema) -> Callable[[pa.Table], pa.Table] | None:
    """The scan as a function of tables with the columns of `given`, where nothing is computed; else None.

    Args:
        scan: what is asked of a source in memory.
        made: the columns and types that DuckDB gives.
        given: the columns of the tables.
    """
    source = scan.source.source
    if source.columns or scan.source.columns or scan.predicates or _COMPUTED & {*made.names}:
        return None
    picked = _picked(scan, source)
    if any(name not in given.names for name in picked.values()):
        return None
    for name, column in picked.items():
        kind = given.field(column).type
        is_time = name in {EVENT, KNOWN}
        if is_time and not _is_micros(kind, source):
            return None
        if not is_time and kind != made.field(name).type:
            return None
    names = list(made.names)

    def project(table: pa.Table) -> pa.Table:
        columns = [
            table[picked[name]].cast(pa.int64()) if name in {EVENT, KNOWN} else table[picked[name]]
            for name in names
        ]
        return pa.table(columns, names=names)

    return project


def _picked(scan: Scan, source: Events) -> dict[str, str]:
    """The source's column behind each of the scan's."""
    picked = {EVENT: source.event_time}
    if source.known_at is not None:
        picked[KNOWN] = source.known_at
    picked |= {f"k{i}": sql for i, (sql, _) in enumerate(scan.keys)}
    return picked | {f"v{i}": name for i, name in enumerate(scan.values)}


def _is_micros(kind: pa.DataType, source: Events) -> bool:
    """True for times whose numbers are microseconds in UTC already."""
    if not isinstance(kind, pa.TimestampType) or kind.unit != "us":
        return False
    return kind.tz is not None or source.zone is None
