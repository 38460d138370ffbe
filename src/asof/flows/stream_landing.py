"""Landing: the events of a stream become part of their source's history, each exactly once.

Files are Parquet by partition and hour of known-at time; their names tell which offsets they hold, and which files
count follows from that (`engines/landed.py`). So a worker that was killed after it wrote a file, and writes its events
again in other pieces, adds nothing. Small files of an hour that is over become one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from asof.clock import from_us
from asof.compute.arrow_ops import ints
from asof.define.source import Events
from asof.engines.landed import OFFSET, PARTITION, LandedFile, choose_files, parse_landed
from asof.errors import BackendError
from asof.flows.stream_events import EventBatch, events_of

_HOUR_US = 3_600_000_000
_AT_ONCE = 50_000
_GRACE_S = 3_600  # whoever listed the pieces of a merged file has read them by then


@dataclass
class Lander:
    """Collects the events of a source and writes them below a folder."""

    folder: Path
    source: Events
    rows: int = 0
    """How many events wait to be written."""
    _waiting: dict[int, list[EventBatch]] = field(default_factory=dict[int, list[EventBatch]])

    def add(self, batch: EventBatch) -> None:
        """Takes a batch that follows the one before of its partition."""
        self._waiting.setdefault(batch.partition, []).append(batch)
        self.rows += batch.size

    def drop(self, partition: int) -> None:
        """Forgets what waits of a partition: it is landed, or somebody else will do that."""
        self.rows -= sum(batch.size for batch in self._waiting.pop(partition, []))

    def flush(self, partition: int, known_us: int) -> None:
        """Writes what waits of a partition; all of it is on disk when it returns. `known_us`: when the last was known.

        Raises:
            BackendError: the folder cannot be written.
        """
        waiting = self._waiting.get(partition)
        if not waiting:
            return
        try:
            self._write(events_of(waiting), known_us)
        except OSError as exc:
            raise BackendError(
                f"source {self.source.name!r}: its landed history cannot be written: {exc.strerror}",
                hint="is there room, and may the worker write there?", retryable=True,
            ) from exc  # fmt: skip
        self.drop(partition)

    def _write(self, batch: EventBatch, known_us: int) -> None:
        hours = batch.known_us // _HOUR_US
        edges = [0, *(np.flatnonzero(np.diff(hours)) + 1).tolist(), batch.size]
        for first, stop in pairwise(edges):
            start = batch.start if first == 0 else int(batch.offsets[first])
            end = batch.end if stop == batch.size else int(batch.offsets[stop])
            hour = hour_of(
                int(batch.known_us[first]) if batch.size else known_us
            )  # none could be used: it says so
            table = batch.table.slice(first, stop - first)
            numbers = pa.array(np.full(stop - first, batch.partition, np.int32))
            table = table.append_column(PARTITION, numbers)
            table = table.append_column(OFFSET, pa.array(batch.offsets[first:stop]))
            write_landed(self.folder, LandedFile(hour, batch.partition, start, end), table)


def hour_of(at_us: int) -> str:
    """The hour of an instant, as landed folders are named.

    Example:
        >>> hour_of(0), hour_of(-1)
        ('1970-01-01T00', '1969-12-31T23')
    """
    return from_us(at_us // _HOUR_US * _HOUR_US).strftime("%Y-%m-%dT%H")


def write_landed(folder: Path, file: LandedFile, table: pa.Table) -> None:
    """Writes a landed file, whole or not at all."""
    path = folder / file.path
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with draft.open("wb") as out:
            pq.write_table(table, out, compression="zstd", use_dictionary=False)  # a fraction of the time
            out.flush()
            os.fsync(out.fileno())
        draft.replace(path)
    finally:
        with suppress(FileNotFoundError):
            draft.unlink()
    for each in (path.parent, folder):
        handle = os.open(each, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def landed_chain(folder: Path, partition: int) -> list[tuple[LandedFile, Path]]:
    """The files of a partition that count, in the order of their offsets."""
    paths = choose_files(folder.glob(f"hour=*/p{partition:05}-*.parquet"))
    named = [(cast("LandedFile", parse_landed(path)), path) for path in paths]
    return sorted(named, key=lambda each: each[0].start)


def first_landed(folder: Path, partition: int, known_us: int) -> int | None:
    """An offset before which no landed event was known at this instant or later; None where none was after it."""
    hour = hour_of(known_us)
    return min((file.start for file, _ in landed_chain(folder, partition) if file.hour >= hour), default=None)


def landed_batches(
    folder: Path, source: Events, types: pa.Schema, partition: int, start: int, end: int
) -> Iterator[EventBatch]:
    """The landed events of a partition with offsets in `[start, end)`, file by file."""
    for file, path in landed_chain(folder, partition):
        if file.end <= start or file.start >= end:
            continue
        table = pq.read_table(path)
        offsets = ints(table[OFFSET])
        mine = np.flatnonzero((offsets >= start) & (offsets < end))
        if not mine.size:
            continue
        for first in range(int(mine[0]), int(mine[-1]) + 1, _AT_ONCE):
            rows = slice(first, min(first + _AT_ONCE, int(mine[-1]) + 1))
            part = table.slice(first, rows.stop - first)
            made = pa.table(cast("Any", [_typed(part, each) for each in types]), schema=types)
            known = ints(made[str(source.known_at)].cast(pa.timestamp("us")).cast(pa.int64()))
            yield EventBatch(
                source,
                partition,
                made,
                offsets[rows],
                known,
                int(offsets[first]),
                int(offsets[rows.stop - 1]) + 1,
            )


def _typed(table: pa.Table, wanted: pa.Field) -> pa.ChunkedArray:
    if wanted.name not in table.column_names:
        return pa.chunked_array([pa.nulls(table.num_rows, wanted.type)])
    column = table[wanted.name]
    return column if column.type == wanted.type else column.cast(wanted.type)


def merge_hours(folder: Path, partition: int, before: str) -> int:
    """Makes one file of each hour before another one, and removes what was merged an hour earlier; gives how many
    files it has written.
    """
    written = 0
    chain = landed_chain(folder, partition)
    newest_s = max((path.stat().st_mtime for _, path in chain), default=0.0)
    for hour in sorted({file.hour for file, _ in chain if file.hour < before}):
        mine = [(file, path) for file, path in chain if file.hour == hour]
        if len(mine) > 1:
            whole = LandedFile(hour, partition, mine[0][0].start, mine[-1][0].end)
            with suppress(
                pa.ArrowInvalid, pa.ArrowTypeError
            ):  # columns have changed so that pieces stay pieces
                tables = [pq.read_table(path) for _, path in mine]
                write_landed(folder, whole, pa.concat_tables(tables, promote_options="permissive"))
                written += 1
        else:
            _remove_pieces(partition, mine, newest_s)
    return written


def _remove_pieces(partition: int, kept: Sequence[tuple[LandedFile, Path]], newest_s: float) -> None:
    """Removes the pieces of which a file was merged an hour before the newest file: who listed them has read them."""
    for file, path in kept:
        pieces = list(path.parent.glob(f"p{partition:05}-*.parquet"))
        if len(pieces) == 1 or newest_s - path.stat().st_mtime < _GRACE_S:
            continue
        for piece in pieces:
            named = parse_landed(piece)
            if named is not None and piece != path and file.start <= named.start and named.end <= file.end:
                piece.unlink(missing_ok=True)
