"""Reading history: an engine's batches become the parts of a `History`, in memory or, when they do not fit,
by partitions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from asof.compute import record
from asof.compute.arrays import Bools, Ints
from asof.compute.arrow_ops import different, filled, ints, kept, places, signed, valid_mask
from asof.compute.entity_index import EntityIndex
from asof.compute.history import Part
from asof.compute.revise import EventKeys
from asof.define.source import Mapped
from asof.define.window import END_US
from asof.engines.scan import DELETED, EVENT, HASH, KEY, KEY_HIGH, KEY_LOW, KNOWN, KeyFilter, Scan

BATCH_ROWS = 500_000
_FEW_KEYS = 64
_SPARSE = 0.5  # below this share of wanted rows a batch is filtered; above it, sorting leaves the others out


@dataclass
class ReadStats:
    """What was read, and what could not be matched."""

    rows: int = 0
    size_bytes: int = 0
    without_key: int = 0
    without_event_time: int = 0
    without_known_at: int = 0


@dataclass
class _Rows:
    """Rows of one source as they come, column by column."""

    delay_us: int
    keyed: bool
    group: list[Ints] = field(default_factory=list[Ints])
    event: list[Ints] = field(default_factory=list[Ints])
    known: list[Ints] = field(default_factory=list[Ints])
    deleted: list[Bools] = field(default_factory=list[Bools])
    chunks: dict[str, list[pa.Array]] = field(default_factory=dict[str, list[pa.Array]])

    def add(self, batch: pa.RecordBatch, index: EntityIndex, keys: int) -> None:
        """Take one batch: number its entities, and leave out rows that can never matter."""
        columns = [batch.column(f"k{i}") for i in range(keys)]
        group = index.codes(columns)
        event_column = batch.column(EVENT)
        if event_column.null_count:
            group = np.where(valid_mask(event_column), group, -1)
        if not self.keyed and np.count_nonzero(group >= 0) < _SPARSE * group.size:
            batch, group = kept(batch, group >= 0), group[group >= 0]
        self.group.append(group)
        self.event.append(
            ints(batch.column(EVENT), END_US)
        )  # a row without an event time is never known either
        if KNOWN in batch.schema.names:
            self.known.append(ints(batch.column(KNOWN), END_US))
        elif self.delay_us:
            self.known.append(np.minimum(self.event[-1] + self.delay_us, END_US))
        if DELETED in batch.schema.names:
            self.deleted.append(filled(batch.column(DELETED), null=False).astype(np.bool_))
        for name in batch.schema.names:
            if (name[0] in "vp" and name[1:].isdigit()) or name in {HASH, KEY}:
                self.chunks.setdefault(name, []).append(batch.column(name))
            elif name in {KEY_LOW, KEY_HIGH}:
                self.chunks.setdefault(name, []).append(signed(batch.column(name)))

    def part(self, scan: Scan, types: pa.Schema, own_keys: pa.Array | None) -> Part:
        """All rows as a part of a history."""
        columns = {
            name: pa.chunked_array(self.chunks.get(name, []), types.field(name).type)
            for name in types.names
            if name not in {KEY_LOW, KEY_HIGH} and (name in self.chunks or name[0] in "vp")
        }
        return Part(
            group=_joined(self.group),
            event=_joined(self.event),
            known=_joined(self.known) if KNOWN in types.names or self.delay_us else None,
            values={name: columns[f"v{i}"] for i, name in enumerate(scan.values)}
            | _digests(self.chunks, types),
            predicates={sql: columns[f"p{i}"] for i, sql in enumerate(scan.predicates)},
            keys=_event_keys(columns) if self.keyed and HASH in columns else None,
            deleted=np.concatenate(self.deleted) if self.deleted else None,
            own_code=_own_codes(columns.get(KEY), own_keys),
            delayed=KNOWN not in types.names,
        )


def scans_of(
    parts: Sequence[Mapped],
    keys: Sequence[tuple[str, object]],
    columns: tuple[str, ...],
    predicates: tuple[str, ...],
    event_range: tuple[int, int] | None,
    spine_keys: Sequence[pa.ChunkedArray],
) -> list[Scan]:
    """One scan for each source of a group."""
    filters = tuple(_key_filter(column) for column in spine_keys)
    scans: list[Scan] = []
    for part in parts:
        keyed = part.source.key is not None
        scan = Scan(
            part, tuple(keys), columns, predicates,  # pyright: ignore[reportArgumentType]
            None if keyed else event_range, () if keyed else filters,
        )  # fmt: skip
        scans.append(scan)
    return scans


def read_part(
    scan: Scan, batches: Iterator[pa.RecordBatch], index: EntityIndex, types: pa.Schema, stats: ReadStats,
    own_keys: pa.Array | None = None,
) -> Part:  # fmt: skip
    """All rows of a scan that matter to the entities of an index."""
    rows = _Rows(scan.source.source.delay_us, scan.source.source.key is not None)
    for batch in batches:
        count_batch(stats, batch, len(scan.keys))
        rows.add(batch, index, len(scan.keys))
    return rows.part(scan, types, own_keys)


def count_batch(stats: ReadStats, batch: pa.RecordBatch, key_columns: int) -> None:
    """Add a batch's rows to the counts, and those of its rows that nothing can match."""
    stats.rows += batch.num_rows
    stats.size_bytes += batch.nbytes
    keys = [batch.column(f"k{i}") for i in range(key_columns)]
    if any(column.null_count for column in keys):
        null = np.zeros(batch.num_rows, np.bool_)
        for column in keys:
            null |= ~valid_mask(column)
        stats.without_key += int(null.sum())
    stats.without_event_time += batch.column(EVENT).null_count
    if KNOWN in batch.schema.names:
        stats.without_known_at += batch.column(KNOWN).null_count


def _digests(chunks: dict[str, list[pa.Array]], types: pa.Schema) -> dict[str, pa.ChunkedArray]:
    """The two halves of the event keys under the names that records know, where the scan gives them."""
    halves = {KEY_LOW: record.KEY_LOW, KEY_HIGH: record.KEY_HIGH}
    return {
        kept_as: pa.chunked_array(chunks.get(name, []), pa.int64())
        for name, kept_as in halves.items()
        if name in types.names
    }


def _joined(parts: list[Ints]) -> Ints:
    if len(parts) == 1:
        return parts[0]
    return np.concatenate(parts) if parts else np.empty(0, np.int64)


def _event_keys(columns: dict[str, pa.ChunkedArray]) -> EventKeys:
    key = columns[KEY]
    number = pa.types.is_integer(key.type)
    hashes = filled(columns[HASH], 0).view(np.int64)
    return EventKeys(hashes, valid_mask(key), None if number else key)


def _own_codes(key: pa.ChunkedArray | None, own_keys: pa.Array | None) -> Ints | None:
    if key is None or own_keys is None:
        return None
    return places(key.cast(own_keys.type), own_keys)


def _key_filter(column: pa.ChunkedArray) -> KeyFilter | None:
    """The few values of a key column, or its range when it is a number."""
    asked = different(column)
    if 0 < len(asked) <= _FEW_KEYS:
        return KeyFilter(values=tuple(asked.to_pylist()))
    if len(asked) and pa.types.is_integer(column.type):
        numbers = ints(asked)
        return KeyFilter(least=int(numbers.min()), largest=int(numbers.max()))
    return None
