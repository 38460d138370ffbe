"""Latest values by streaming: the newest visible row of each spine row, without sorting a history that
nothing revises.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import numpy as np
import pyarrow as pa

from asof.compute.aggregate import latest_result
from asof.compute.arrays import Ints
from asof.compute.arrow import to_column, unified
from asof.compute.arrow_ops import ints, taken, valid_mask
from asof.compute.asof import AsOf
from asof.compute.entity_index import EntityIndex
from asof.define.source import parts_of
from asof.define.window import END_US
from asof.engines.scan import EVENT, KNOWN, PLACE, Engine, Scan
from asof.flows.feature_columns import Asked, GroupColumns, Settings, query_order
from asof.flows.groups import Group
from asof.flows.read_history import BATCH_ROWS, count_batch, scans_of

_COMPACT = 4  # kept rows per spine row before the overwritten ones are let go


class _Kept:
    """The best row of each spine row so far: columns in order of arrival, and where each spine row's stands."""

    def __init__(self, size: int) -> None:
        self.place = np.full(size, -1, np.int64)
        self.tables: list[pa.Table] = []
        self.rows = 0
        self.schemas: list[pa.Schema] = []  # of every source, also of one that keeps no row

    def keep(self, slots: Ints, table: pa.Table) -> None:
        self.place[slots] = self.rows + np.arange(slots.size)
        self.tables.append(table)
        self.rows += slots.size
        if self.rows > _COMPACT * self.place.size and len(set(self.schemas)) <= 1:
            self._compact()

    def best(self) -> tuple[Ints, pa.Table]:
        """The spine rows that have a row, and their rows."""
        used = np.flatnonzero(self.place >= 0)
        return used, taken(pa.concat_tables(self.tables), self.place[used])

    def _compact(self) -> None:
        used, table = self.best()
        self.place[used] = np.arange(used.size)
        self.tables, self.rows = [table], int(used.size)


def latest_columns(engine: Engine, group: Group, asked: Asked, settings: Settings) -> GroupColumns:
    """All columns of a group that holds nothing but latest values; see `Group.streams`."""
    made = GroupColumns()
    index = EntityIndex(asked.keys)
    codes = np.where(asked.usable, index.spine_codes, -1)
    order, inverse = query_order(codes, asked.at, index.size, settings.threads)
    starts = np.searchsorted(codes[order], np.arange(index.size + 1)).astype(np.int64)
    limit = END_US - 1 if settings.cutoff_us is None else settings.cutoff_us
    best = AsOf(starts, asked.at[order], limit_us=limit, hindsight=not settings.as_known)
    kept = _Kept(order.size)
    ranged = group.event_range(asked.at[asked.usable])
    scans = scans_of(
        parts_of(group.source), group.key_sql, group.columns, group.predicates, ranged, asked.keys
    )
    for scan in scans:
        _stream(engine, group, scan, index, best, kept, settings, made)
    winner = best.winners()
    hidden = best.hidden()
    seen = int(hidden.sum()), int((hidden > 0).sum())
    made.hidden = dict.fromkeys((feature_id for feature_id, _ in group.features), seen)
    _finish(group, asked, inverse, winner, kept, made)
    return made


def _stream(
    engine: Engine, group: Group, scan: Scan, index: EntityIndex, best: AsOf, kept: _Kept, settings: Settings,
    made: GroupColumns,
) -> None:  # fmt: skip
    """Find the best rows of one source. Where it can find rows again, their values are read at the end, and
    only theirs.
    """
    name = scan.source.source.name
    total = engine.count_rows(scan.source.source)
    with settings.run.stage("read", asset=name) as stage:
        whole, batches = engine.read(scan, BATCH_ROWS)
        group.check_types(scan, whole)
        values = [f"v{i}" for i in range(len(scan.values))]
        schema = pa.schema([whole.field(name) for name in (*values, EVENT)])
        kept.schemas.append(schema)
        placed, places = engine.read(replace(scan, values=(), predicates=(), places=True), BATCH_ROWS)
        late = PLACE in placed.names
        columns = [PLACE, EVENT] if late else [*values, EVENT]
        found = _Kept(kept.place.size)
        for batch in places if late else batches:
            count_batch(made.stats, batch, len(scan.keys))
            stage.rows += batch.num_rows
            stage.bytes += batch.nbytes
            settings.progress("read", name, stage.rows, max(total, stage.rows))
            entity, event, known = _times(batch, scan, index)
            if KNOWN in batch.schema.names:
                made.late += int(np.count_nonzero((known > event) & (entity >= 0)))
            slots, rows = best.offer(entity, event, known)
            if slots.size:
                found.keep(slots, pa.Table.from_batches([taken(batch.select(columns), rows)]))
        if found.tables:
            slots, table = found.best()
            kept.keep(slots, _with_values(engine, scan, table, schema) if late else table)


def _with_values(engine: Engine, scan: Scan, table: pa.Table, schema: pa.Schema) -> pa.Table:
    """The values of rows of which only the places are known so far."""
    places = ints(table[PLACE])
    fetched = engine.fetch(scan, np.unique(places))
    order = np.argsort(ints(fetched[PLACE]))
    rows = order[np.searchsorted(ints(fetched[PLACE])[order], places)]
    values = taken(fetched.drop_columns([PLACE]), rows)
    return values.append_column(EVENT, table[EVENT]).cast(schema)


def _times(batch: pa.RecordBatch, scan: Scan, index: EntityIndex) -> tuple[Ints, Ints, Ints]:
    group = index.codes([batch.column(f"k{i}") for i in range(len(scan.keys))])
    column = batch.column(EVENT)
    if column.null_count:
        group = np.where(valid_mask(column), group, -1)
    event = ints(column)
    if KNOWN not in batch.schema.names:
        return group, event, event + scan.source.source.delay_us if scan.source.source.delay_us else event
    return group, event, ints(batch.column(KNOWN), END_US)


def _joined(group: Group, kept: _Kept) -> pa.Table:
    """The kept rows of all sources, under types that hold the values of each."""
    tables = [*kept.tables, *(schema.empty_table() for schema in kept.schemas)]
    if len({table.schema for table in tables}) == 1:
        return pa.concat_tables(tables)
    columns: dict[str, Any] = {}
    for name in tables[0].column_names:
        label = group.columns[int(name[1:])] if name != EVENT else name
        columns[name] = unified(label, [chunk for table in tables for chunk in _chunks(table[name])])
    return pa.table(cast("Any", columns))


def _chunks(column: pa.ChunkedArray) -> list[pa.Array]:
    return column.chunks or [column.combine_chunks()]  # one without rows has a type as well


def _finish(
    group: Group, asked: Asked, inverse: Ints, winner: Ints, kept: _Kept, made: GroupColumns
) -> None:  # fmt: skip
    rows = np.where(winner >= 0, kept.place[winner], -1)
    rows = rows[inverse]
    made.missing = int((rows < 0).sum())
    table = _joined(group, kept)
    picked = np.where(rows >= 0, rows, 0)
    best = taken(table, picked if table.num_rows else picked[:0])
    event = ints(best[EVENT])
    found = np.where(rows >= 0, np.arange(rows.size), -1)
    for feature_id, feature in group.features:
        place = group.columns.index(str(feature.column))
        column = to_column(str(feature.column), best[f"v{place}"])
        made.columns[feature_id] = latest_result(column, found, event, asked.at, feature.ttl_us).to_arrow()
