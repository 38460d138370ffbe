"""Rows on their way into records: the history of a source for all of its entities, as known before a watermark.

A whole history that does not fit into memory is read once for each of several partitions of the entities. An interval
is read at once where it fits, which mostly it does; only then is it known how large it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import pyarrow as pa

from asof.compute.arrays import Bools
from asof.compute.arrow_ops import ints, kept, places, taken, valid_mask
from asof.compute.entity_index import EntityIndex
from asof.compute.history import Part
from asof.define.source import parts_of
from asof.define.window import END_US
from asof.engines.scan import EVENT, HASH, KNOWN, PART, Engine, Scan
from asof.flows.feature_columns import Progress
from asof.flows.groups import Group
from asof.flows.read_history import BATCH_ROWS, ReadStats, read_part
from asof.flows.spill import plan_partitions
from asof.online.keys import encode_keys, encode_texts
from asof.usage import Run

_SHARE = 0.15  # of the memory limit for raw rows: they are there once more sorted, and once more packed
_HELD_SHARE = 0.1  # of the memory limit for records that are read back; their rows are several times as large


@dataclass(frozen=True)
class Interval:
    """Rows known in `[from_us, until_us)`; `least_event_us`: older events do not matter to any window."""

    from_us: int
    until_us: int
    least_event_us: int


@dataclass
class Rows:
    """What was read of a group: the parts of its history, and the entities' keys."""

    parts: list[Part]
    keys: list[bytes]


@dataclass
class Reading:
    """The rows of a group, partition by partition."""

    engine: Engine
    group: Group
    interval: Interval
    run: Run
    progress: Progress
    partitions: int | None  # None: one, if it fits
    budget_bytes: int
    schemas: list[tuple[Scan, pa.Schema]]

    def __iter__(self) -> Iterator[Rows]:
        """The rows of each partition."""
        if self.partitions is None:
            found, size_bytes = self._read((0, 1))
            if size_bytes <= self.budget_bytes:
                yield self._rows(found, (0, 1))
                return
            del found
            self.partitions = -(-size_bytes // max(1, self.budget_bytes))
        for number in range(self.partitions):
            found, _ = self._read((number, self.partitions))
            yield self._rows(found, (number, self.partitions))

    def _rows(self, found: list[list[pa.RecordBatch]], partition: tuple[int, int]) -> Rows:
        index, keys = entities_of(self.group, [batch for batches in found for batch in batches], *partition)
        return Rows(
            [
                read_part(scan, iter(batches), index, schema, ReadStats())
                for (scan, schema), batches in zip(self._typed(partition[1]), found, strict=True)
            ],
            keys,
        )

    def _typed(self, of: int) -> list[tuple[Scan, pa.Schema]]:
        return [(replace(scan, partitions=of), schema) for scan, schema in self.schemas]

    def _read(self, partition: tuple[int, int]) -> tuple[list[list[pa.RecordBatch]], int]:
        """The batches of each source, and their size; what does not fit is only counted where that is asked."""
        number, of = partition
        made: list[list[pa.RecordBatch]] = []
        size_bytes = 0
        for scan, _ in self._typed(of):
            name = scan.source.source.name
            with self.run.stage("read", asset=name) as stage:
                total = self.engine.count_rows(scan.source.source)
                moved = _moved(self.engine, scan, self.group, of)
                found: list[pa.RecordBatch] = []
                for batch in self.engine.read(scan, BATCH_ROWS)[1]:
                    stage.rows += batch.num_rows
                    stage.bytes += batch.nbytes
                    self.progress("read", name, stage.rows, max(total, stage.rows))
                    mine = _within(batch, scan, self.interval, number, of, moved)
                    size_bytes += mine.nbytes
                    if self.partitions is None and size_bytes > self.budget_bytes:
                        found.clear()
                        made.clear()
                    elif mine.num_rows:
                        found.append(mine)
                self.progress("read", name, stage.rows, stage.rows)
                made.append(found)
        return made, size_bytes


def open_reading(
    engine: Engine,
    group: Group,
    interval: Interval,
    memory_bytes: int,
    run: Run,
    progress: Progress,
    *,
    whole: bool,
) -> Reading:
    """What will read a group; nothing is read yet but the columns' types.

    Raises:
        WrongType: a feature does not take its column's type.
    """
    scans = scans_for(group, interval)
    schemas: list[tuple[Scan, pa.Schema]] = []
    for scan in scans:
        schema, _ = engine.read(scan, BATCH_ROWS)
        group.check_types(scan, schema)
        schemas.append((scan, schema))
    partitions = plan_partitions(engine, scans, memory_bytes) if whole else None
    return Reading(engine, group, interval, run, progress, partitions, int(memory_bytes * _SHARE), schemas)


def scans_for(group: Group, interval: Interval) -> list[Scan]:
    """One scan for each source of a group."""
    revised = group.is_revised
    return [
        Scan(
            part,
            group.key_sql,
            group.columns,
            group.predicates,
            event_range=None if revised else (interval.least_event_us, END_US),
            known_range=None if revised else (interval.from_us, interval.until_us),
            digests=part.source.key is not None,
        )
        for part in parts_of(group.source)
    ]


def _moved(engine: Engine, scan: Scan, group: Group, of: int) -> pa.Array | None:
    """The hashes of events whose versions lie in several partitions: each partition has to see them all."""
    if of == 1 or scan.source.source.key is None:
        return None
    nobody = [pa.chunked_array([pa.array([], _key_type(dtype.kind))]) for _, dtype in group.key_sql]
    return engine.split(scan, nobody)[1]


def _key_type(kind: str) -> pa.DataType:
    types: dict[str, pa.DataType] = {
        "string": pa.string(), "int32": pa.int32(), "int64": pa.int64(), "date": pa.date32(), "bool": pa.bool_(),
    }  # fmt: skip
    return types[kind]


def _within(
    batch: pa.RecordBatch, scan: Scan, interval: Interval, number: int, of: int, moved: pa.Array | None
) -> pa.RecordBatch:
    """The rows that were known in the interval, of one partition."""
    if KNOWN in batch.schema.names:
        known = ints(batch.column(KNOWN), END_US)
    else:
        known = np.minimum(ints(batch.column(EVENT), END_US) + scan.source.source.delay_us, END_US)
    mask: Bools = (known < interval.until_us) & (known >= interval.from_us)
    if of > 1:
        mine = ints(batch.column(PART)) == number
        if moved is not None and len(moved):
            mine |= places(batch.column(HASH), moved) >= 0
        mask &= mine
    return batch if mask.all() else kept(batch, mask)


def entities_of(
    group: Group, batches: Sequence[pa.RecordBatch], number: int, of: int
) -> tuple[EntityIndex, list[bytes]]:
    """The entities that have rows of a partition of all entities, numbered, and their keys."""
    columns: list[pa.ChunkedArray] = []
    for i, (_, dtype) in enumerate(group.key_sql):
        arrow = _key_type(dtype.kind)
        chunks = [_mine(batch, f"k{i}", number, of).cast(arrow) for batch in batches]
        columns.append(pa.chunked_array(chunks, cast("Any", arrow)))
    index = EntityIndex(columns)
    codes = index.spine_codes
    for column in columns:
        if column.null_count:
            codes = np.where(valid_mask(column), codes, -1)
    first = np.full(index.size, -1, np.int64)
    backwards = np.flatnonzero(codes >= 0)[::-1]
    first[codes[backwards]] = backwards
    if len(columns) == 1 and len(columns[0]) and group.key_sql[0][1].kind == "string":
        texts = cast("Any", taken(columns[0], first)).cast(pa.binary()).to_pylist()
        return index, encode_texts(texts)
    values = [taken(column, first).to_pylist() if len(column) else [] for column in columns]
    return index, encode_keys([dtype.kind for _, dtype in group.key_sql], values)


def _mine(batch: pa.RecordBatch, name: str, number: int, of: int) -> pa.Array:
    column = batch.column(name)
    return column if of == 1 else column.filter(pa.array(ints(batch.column(PART)) == number))


def slices_of(rows: Rows, record_bytes: int, memory_bytes: int) -> Iterator[Rows]:
    """The rows in slices of entities whose records, of about so many bytes each (0: they are not read), fit into memory
    together.
    """
    most = max(1_000, int(memory_bytes * _HELD_SHARE) // max(1, record_bytes))
    if not record_bytes or len(rows.keys) <= most:
        yield rows
        return
    for start in range(0, len(rows.keys), most):
        yield _slice(rows, start, min(start + most, len(rows.keys)))


def _slice(rows: Rows, start: int, stop: int) -> Rows:
    parts: list[Part] = []
    for part in rows.parts:
        mine = np.flatnonzero((part.group >= start) & (part.group < stop))
        parts.append(
            replace(
                part,
                group=part.group[mine] - start,
                event=part.event[mine],
                known=None if part.known is None else part.known[mine],
                values={name: taken(column, mine) for name, column in part.values.items()},
                predicates={sql: taken(column, mine) for sql, column in part.predicates.items()},
            )
        )
    return Rows(parts, rows.keys[start:stop])
