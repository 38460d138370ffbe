"""Larger than memory: history is split by a hash of its entity keys into files, and partitions are computed
one by one.

Equal values result: an entity lies in one partition whole. Rows of events whose versions name entities of
several partitions are written to all of them, since a version may end one that lies elsewhere.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import pyarrow as pa
from pyarrow import ipc

from asof.compute.arrays import Ints
from asof.compute.arrow_ops import ints, kept, places
from asof.compute.entity_index import EntityIndex
from asof.compute.history import Part
from asof.engines.scan import HASH, PART, Engine, Scan
from asof.flows.read_history import BATCH_ROWS, ReadStats, count_batch, read_part
from asof.usage import Run

_SHARE = 0.45  # of the memory limit for one partition's raw and sorted rows
_MAX_PARTITIONS = 256
_ROW_BYTES = 44  # entity, times, order, flags: raw and sorted
_VALUE_BYTES = 20  # a column: raw, sorted, validity
_KEYED_BYTES = 48  # event key, its hash, the table that finds repeats


def plan_partitions(engine: Engine, scans: Sequence[Scan], memory_bytes: int) -> int:
    """How many partitions keep one partition's rows within its share of the memory limit."""
    size = 0
    for scan in scans:
        width = _ROW_BYTES + _VALUE_BYTES * len(scan.values) + 3 * len(scan.predicates)
        width += _KEYED_BYTES if scan.source.source.key is not None else 0
        size += engine.count_rows(scan.source.source) * width
    return max(1, min(_MAX_PARTITIONS, -(-size // max(1, int(memory_bytes * _SHARE)))))


class Partitions:
    """The partitions of a group's history on disk; a `with` block that leaves nothing behind."""

    def __init__(
        self,
        engine: Engine,
        scans: Sequence[Scan],
        partitions: int,
        folder: str,
        keys: Sequence[pa.ChunkedArray],
        check: Callable[[Scan, pa.Schema], None],
    ) -> None:
        self._engine = engine
        self._scans = [replace(scan, partitions=partitions) for scan in scans]
        self._n, self._keys, self._check = partitions, keys, check
        self._spine_part: Ints = np.empty(0, np.int64)
        self._schemas: list[pa.Schema] = []
        Path(folder).mkdir(parents=True, exist_ok=True)
        self._folder = Path(tempfile.mkdtemp(prefix="asof-", dir=folder))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def row_order(self) -> Ints:
        """The spine rows in the order in which `each` gives them."""
        return np.argsort(self._spine_part, kind="stable")

    def write(self, run: Run, progress: Callable[[str, str, int, int], None], stats: ReadStats) -> None:
        """Read every source once and write its rows to their partitions."""
        index = EntityIndex(self._keys)
        for number, scan in enumerate(self._scans):
            name = scan.source.source.name
            total = self._engine.count_rows(scan.source.source)
            with run.stage("spill", asset=name) as stage:
                parts, moved = self._engine.split(scan, self._keys)
                self._spine_part = ints(parts)
                schema, batches = self._engine.read(scan, BATCH_ROWS)
                self._check(scan, schema)
                self._schemas.append(schema)
                with _Writers(self._folder, number, self._n, schema) as writers:
                    for batch in batches:
                        stage.rows += batch.num_rows
                        stage.bytes += batch.nbytes
                        count_batch(stats, batch, len(scan.keys))
                        progress("spill", name, stage.rows, max(total, stage.rows))
                        writers.write(_wanted(batch, index, scan), moved)

    def each(self) -> Iterator[tuple[Ints, Callable[[EntityIndex, pa.Array | None], list[Part]]]]:
        """For each partition its spine rows, and what reads its history."""
        for part in range(self._n):
            rows = np.flatnonzero(self._spine_part == part).astype(np.int64)
            if rows.size or (
                part == 0 and self._spine_part.size == 0
            ):  # an empty spine has typed columns too
                yield rows, self._reader(part)

    def _reader(self, part: int) -> Callable[[EntityIndex, pa.Array | None], list[Part]]:
        def read(index: EntityIndex, own_keys: pa.Array | None) -> list[Part]:
            made: list[Part] = []
            for number, (scan, schema) in enumerate(zip(self._scans, self._schemas, strict=True)):
                with (
                    pa.OSFile(str(_file(self._folder, number, part)), "rb") as file,
                    ipc.open_stream(file) as stream,
                ):
                    made.append(read_part(scan, iter(stream), index, schema, ReadStats(), own_keys))
            return made

        return read


class _Writers:
    """One open file for each partition of one source."""

    def __init__(self, folder: Path, number: int, n: int, schema: pa.Schema) -> None:
        self._files = [pa.OSFile(str(_file(folder, number, part)), "wb") for part in range(n)]
        self._streams = [ipc.new_stream(file, schema) for file in self._files]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for opened in (*self._streams, *self._files):
            opened.close()

    def write(self, batch: pa.RecordBatch, moved: pa.Array) -> None:
        """Write each row to its partition; rows of moved events to all."""
        part = ints(batch.column(PART))
        everywhere = np.zeros(part.size, np.bool_)
        if len(moved):
            everywhere = places(batch.column(HASH), moved) >= 0
        for number, stream in enumerate(self._streams):
            mine = (part == number) | everywhere
            if mine.any():
                stream.write_batch(kept(batch, mine))


def _wanted(batch: pa.RecordBatch, index: EntityIndex, scan: Scan) -> pa.RecordBatch:
    """The rows that can matter: all of a revised source, else those of the spine's entities."""
    if scan.source.source.key is not None:
        return batch
    known = index.codes([batch.column(f"k{i}") for i in range(len(scan.keys))]) >= 0
    return batch if known.all() else kept(batch, known)


def _file(folder: Path, number: int, part: int) -> Path:
    return folder / f"source{number}-part{part}.arrows"
