"""Rows on their way into records: the history of a source for all of its entities, as known before a watermark."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from asof.compute.arrays import Bools, Ints
from asof.compute.arrow import physical_to_arrow
from asof.compute.arrow_ops import ints, kept, places, taken, valid_mask
from asof.compute.entity_index import EntityIndex
from asof.compute.history import History, Part
from asof.compute.record import Layout
from asof.define.source import parts_of
from asof.define.window import END_US
from asof.engines.scan import EVENT, HASH, KNOWN, PART, Engine, Scan
from asof.flows.groups import Group
from asof.flows.read_history import BATCH_ROWS, ReadStats, read_part
from asof.online.keys import encode_keys
from asof.usage import Run

Progress = "Callable[[str, str, int, int], None]"


@dataclass(frozen=True)
class Interval:
    """Rows known in `[from_us, until_us)`; `least_event_us`: older events do not matter to any window."""

    from_us: int
    until_us: int
    least_event_us: int


@dataclass
class Rows:
    """What was read of a group: the parts of its history, the entities' keys, and counts."""

    parts: list[Part]
    keys: list[bytes]
    stats: ReadStats = field(default_factory=ReadStats)


def scans_for(group: Group, interval: Interval, partitions: int) -> list[Scan]:
    """One scan for each source of a group."""
    sources = parts_of(group.source)
    revised = group.is_revised
    return [
        Scan(
            part,
            group.key_sql,
            group.columns,
            group.predicates,
            event_range=None if revised else (interval.least_event_us, END_US),
            known_range=None if revised else (interval.from_us, interval.until_us),
            partitions=partitions,
            digests=part.source.key is not None,
        )
        for part in sources
    ]


def read_rows(
    engine: Engine, group: Group, interval: Interval, run: Run, progress: object, partition: tuple[int, int]
) -> Rows:
    """The rows of one partition of a group's entities (`(number, of how many)`).

    Raises:
        WrongType: a feature does not take its column's type.
    """
    number, of = partition
    stats = ReadStats()
    batches: list[tuple[Scan, pa.Schema, list[pa.RecordBatch]]] = []
    for scan in scans_for(group, interval, of):
        name = scan.source.source.name
        with run.stage("read", asset=name) as stage:
            total = engine.count_rows(scan.source.source)
            schema, stream = engine.read(scan, BATCH_ROWS)
            group.check_types(scan, schema)
            moved = _moved(engine, scan, group, of)
            found: list[pa.RecordBatch] = []
            for batch in stream:
                stage.rows += batch.num_rows
                stage.bytes += batch.nbytes
                progress("read", name, stage.rows, max(total, stage.rows))  # pyright: ignore[reportCallIssue]
                found.append(_within(batch, scan, interval, number, of, moved))
            batches.append((scan, schema, found))
    index, keys = _entities(group, batches, number, of)
    parts = [read_part(scan, iter(found), index, schema, stats) for scan, schema, found in batches]
    return Rows(parts, keys, stats)


def _moved(engine: Engine, scan: Scan, group: Group, of: int) -> pa.Array | None:
    """The hashes of events whose versions lie in several partitions: each partition has to see them all."""
    if of == 1 or scan.source.source.key is None:
        return None
    nobody = [pa.chunked_array([pa.array([], type=pa.string())]).cast(_key_type(dtype.kind)) for _, dtype in group.key_sql]
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


def _entities(
    group: Group, batches: Sequence[tuple[Scan, pa.Schema, list[pa.RecordBatch]]], number: int, of: int
) -> tuple[EntityIndex, list[bytes]]:
    """The entities that have rows, numbered, and their keys."""
    columns: list[pa.ChunkedArray] = []
    for i, (_, dtype) in enumerate(group.key_sql):
        arrow = _key_type(dtype.kind)
        chunks = [_mine(batch, f"k{i}", number, of).cast(arrow) for batch in _all(batches)]
        columns.append(pa.chunked_array(chunks, arrow))
    index = EntityIndex(columns)
    codes = index.spine_codes
    for column in columns:
        if column.null_count:
            codes = np.where(valid_mask(column), codes, -1)
    first = np.full(index.size, -1, np.int64)
    backwards = np.flatnonzero(codes >= 0)[::-1]
    first[codes[backwards]] = backwards
    rows = np.where(first >= 0, first, 0)
    values = [taken(column, rows).to_pylist() if len(column) else [] for column in columns]
    return index, encode_keys([dtype.kind for _, dtype in group.key_sql], values)


def _all(batches: Sequence[tuple[Scan, pa.Schema, list[pa.RecordBatch]]]) -> Iterator[pa.RecordBatch]:
    for _, _, found in batches:
        yield from found


def _mine(batch: pa.RecordBatch, name: str, number: int, of: int) -> pa.Array:
    column = batch.column(name)
    return column if of == 1 else column.filter(pa.array(ints(batch.column(PART)) == number))


def part_of_records(history: History, layout: Layout, before_us: int) -> Part:
    """The rows of records that were known before an instant, as a part of a history."""
    group = np.repeat(np.arange(history.starts.size - 1), np.diff(history.starts))
    group = np.where(history.known < before_us, group, -1)
    values: dict[str, pa.ChunkedArray] = {}
    for name, dtype in layout.columns:
        column = history.columns[name]
        made = physical_to_arrow(dtype, column.values, column.valid, column.dictionary)
        values[name] = pa.chunked_array([made])
    predicates = {
        sql: pa.chunked_array([pa.array(mask)]) for sql, mask in history.predicates.items()
    }
    known: Ints | None = None if history.known is history.event else history.known
    return Part(group, history.event, known, values, predicates, delayed=True)
