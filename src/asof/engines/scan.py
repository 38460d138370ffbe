"""What a flow asks of an engine: a scan of one source, as data, and the seam that every engine implements."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import pyarrow as pa

from asof.compute.arrays import Ints
from asof.define.source import Events, Mapped
from asof.types import DType

EVENT, KNOWN = "event_us", "known_us"
KEY, HASH, DELETED = "event_key", "event_hash", "deleted"
PART, PLACE = "part", "place"
KEY_LOW, KEY_HIGH = "event_key_low", "event_key_high"


@dataclass(frozen=True)
class KeyFilter:
    """The entity keys that are asked for, for one key column: all values when few, else the least and the
    largest.
    """

    values: tuple[object, ...] = ()
    least: object = None
    largest: object = None


@dataclass(frozen=True)
class Scan:
    """Rows of one source, projected.

    The result's columns: `k0..` entity keys, `event_us`, `known_us` (where the source has a known-at column),
    `event_key`, `event_hash` and `deleted` (where it has a key), `v0..` values, `p0..` predicates, and `part`
    (where partitions > 1), in the source's own order of rows (by `sequence` where it has one). With `digests` also
    `event_key_low` and `event_key_high`, 128 bits that stand for the event key: a number itself and 0, or the MD5 of a
    text.

    Args:
        source: the source and how its columns are mapped.
        keys: SQL and type of each entity key.
        values: columns to read.
        predicates: SQL predicates to evaluate.
        event_range: only rows with event time in `[lo, hi)`; a hint that lets an engine skip files, never
        more than needed.
        key_filters: only rows with such keys, one for each entity key or none at all; a hint as well.
        partitions: number of hash partitions of the entity keys to tell in `part`.
        known_range: only rows known in `[lo, hi)`; a hint like `event_range`.
        places: tell in `place` where each row stands, for `fetch`, if the source can find rows again.
    """

    source: Mapped
    keys: tuple[tuple[str, DType], ...]
    values: tuple[str, ...] = ()
    predicates: tuple[str, ...] = ()
    event_range: tuple[int, int] | None = None
    key_filters: tuple[KeyFilter | None, ...] = ()
    partitions: int = 1
    places: bool = False
    known_range: tuple[int, int] | None = None
    digests: bool = False


@dataclass(frozen=True)
class Snapshot:
    """The identity of a file (or table) as it was read: equal identities have equal rows."""

    name: str
    size_bytes: int
    digest: str


class Engine(Protocol):
    """Reads and projects history. Errors of the engine leave it as `DataError`, `DefinitionError` or
    `BackendError`.
    """

    def schema(self, source: Mapped) -> dict[str, pa.DataType]:
        """Columns of a source, derived and mapped ones included, with their Arrow types."""
        ...

    def read(self, scan: Scan, batch_rows: int) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
        """The rows of a scan, batch by batch, always in the same order, and their schema."""
        ...

    def fetch(self, scan: Scan, places: Ints) -> pa.Table:
        """The values of the rows at the places that a scan with `places` gave: `place` and `v0..`, in any order."""
        ...

    def load(self, source: Mapped | str) -> pa.Table:
        """All columns and rows of a source, or of a query of the user's own."""
        ...

    def count_rows(self, source: Events) -> int:
        """About how many rows a source has, from what can be had without reading it."""
        ...

    def split(self, scan: Scan, keys: Sequence[pa.ChunkedArray]) -> tuple[pa.Array, pa.Array]:
        """For a partitioned scan: the partition of each of the keys given, and the hashes of the event keys
        whose versions lie in more than one partition.
        """
        ...

    def snapshots(self, source: Events) -> tuple[Snapshot, ...]:
        """The identities of a source's files."""
        ...
