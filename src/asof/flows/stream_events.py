"""Events on their way from a stream: when each was known, and which cannot be used.

The known-at time of an event is when its stream took it, never earlier than that of the events before it in its
partition, nor than what a checkpoint has promised (`floor_us`): so the same events get the same times whoever reads
them, however often. Events of different partitions never share a time, so that their order is one, too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from asof.compute.arrays import Bools, Ints
from asof.compute.arrow_ops import ints, kept, valid_mask
from asof.define.source import Events, InMemory, Mapped
from asof.define.substitute import changed
from asof.engines.duckdb import DuckDBEngine
from asof.engines.scan import EVENT, KEY, Scan
from asof.errors import AsofError, DataError, DefinitionError


@dataclass(frozen=True)
class EventBatch:
    """Events of one partition, in order, with the raw columns of their source; `known_us` is in its known-at column.

    `[start, end)` are the offsets that were read for it, those of events that could not be used included.
    """

    source: Events
    partition: int
    table: pa.Table
    offsets: Ints
    known_us: Ints
    start: int
    end: int

    @property
    def size(self) -> int:
        """How many events there are."""
        return self.offsets.size

    def kept(self, mask: Bools) -> EventBatch:
        """The events where the mask is true."""
        if mask.all():
            return self
        return replace(
            self, table=kept(self.table, mask), offsets=self.offsets[mask], known_us=self.known_us[mask]
        )


@dataclass(frozen=True)
class Dead:
    """An event that cannot be used: where it is, and why (never with a value of it)."""

    partition: int
    offset: int
    reason: str


def known_times(stamps_us: Ints, floor_us: int, partition: int, partitions: int) -> Ints:
    """When each of the events of a partition was known; a stream has so many partitions.

    Example:
        >>> known_times(np.array([50, 40, 91]), 45, 2, 3).tolist()
        [50, 50, 94]
    """
    if stamps_us.size == 0:
        return stamps_us
    spread = 1 << (partitions - 1).bit_length()
    known = np.maximum.accumulate(np.maximum(stamps_us, floor_us))
    return known + (partition - known) % spread


def with_known(source: Events, table: pa.Table, known_us: Ints) -> pa.Table:
    """The table with the known-at times in the source's column for them."""
    name = str(source.known_at)
    place = table.schema.get_field_index(name)
    field = table.schema.field(place)
    times = pa.array(known_us, pa.timestamp("us"))
    if isinstance(field.type, pa.TimestampType) and field.type.tz is not None:
        times = pa.array(known_us, pa.timestamp("us", "UTC")).cast(field.type)
    return table.set_column(place, field, times.cast(field.type))


def check_known_at(source: Events, types: dict[str, pa.DataType]) -> None:
    """Nothing, when the source's known-at column can hold the time at which a stream took an event.

    Raises:
        DefinitionError: it cannot.
    """
    where, found = f"source {source.name!r}", types.get(str(source.known_at))
    if found is None:
        raise DefinitionError(
            f"{where}: known_at={source.known_at!r} is no column of its history, and the stream writes there",
            hint="give the history such a column of times; a derived one cannot be written",
        )
    if not isinstance(found, pa.TimestampType) or found.unit not in {"us", "ns"}:
        raise DefinitionError(
            f"{where}: known_at={source.known_at!r} has type {found}, and a stream writes microseconds there",
            hint="make it a timestamp with microseconds",
        )
    if found.tz is None and source.zone is not None:
        raise DefinitionError(
            f"{where}: known_at={source.known_at!r} has no zone, and the source says zone={source.zone!r}",
            hint="a streamed source's known-at times have to be UTC: make the column a timestamp with time zone",
        )


Project = Callable[[pa.Table], pa.Table]


class Judge:
    """Tells which events of a source can be used: they have an event time, not far ahead of when they were known, and
    the keys that the source names.
    """

    def __init__(self, engine: DuckDBEngine, source: Events, empty: pa.Table, ahead_us: int) -> None:
        self._project = engine.project(Scan(Mapped(in_memory(source, empty)), ()))
        self._keyed, self.ahead_us = source.key is not None, ahead_us
        stream = source.stream
        self._partition_by = None if stream is None else stream.partition_by

    def project(self, table: pa.Table) -> tuple[pa.Table, dict[int, str]]:
        """What `judge` looks at, where nobody has projected the events already; and the rows of which that cannot be
        computed, with reasons.
        """
        return project_each(self._project, table)

    def judge(self, batch: EventBatch, rows: pa.Table) -> tuple[Bools, list[Dead]]:
        """Which of the events can be used, and why not the others; `rows` are the times and keys of each."""
        found = [
            ("no event time", ~valid_mask(rows[EVENT])),
            (
                "the event time is too far in the future",
                ints(rows[EVENT]) > batch.known_us + self.ahead_us,
            ),
        ]
        if self._keyed:
            found.append(("no event key", ~valid_mask(rows[KEY])))
        if self._partition_by is not None:
            found.append((f"{self._partition_by} is null", ~valid_mask(batch.table[self._partition_by])))
        bad = np.zeros(batch.size, np.bool_)
        dead: list[Dead] = []
        for reason, mask in found:
            dead += [
                Dead(batch.partition, int(batch.offsets[i]), reason) for i in np.flatnonzero(mask & ~bad)
            ]
            bad |= mask
        return ~bad, dead


def in_memory(source: Events, table: pa.Table) -> Events:
    """The source as one that has just this table."""
    return changed(source, history=InMemory(table), stream=None)


def project_each(project: Project, table: pa.Table) -> tuple[pa.Table, dict[int, str]]:
    """The projection of a table, without the rows that it cannot be computed of; and those, with the reason.

    Raises:
        AsofError: it is not the rows' fault.
    """
    try:
        return project(table), {}
    except DataError as exc:
        if table.num_rows <= 1:
            if table.num_rows == 0:
                raise
            return project(table.slice(0, 0)), {0: _reason(exc)}
    middle = table.num_rows // 2
    left, bad = project_each(project, table.slice(0, middle))
    right, more = project_each(project, table.slice(middle))
    return pa.concat_tables([left, right]), bad | {middle + i: reason for i, reason in more.items()}


def _reason(exc: AsofError) -> str:
    return exc.message.partition("\n")[0]


def events_of(parts: Sequence[EventBatch]) -> EventBatch:
    """Batches of one partition that follow one another, as one."""
    if len(parts) == 1:
        return parts[0]
    return replace(
        parts[0],
        table=pa.concat_tables([part.table for part in parts]),
        offsets=np.concatenate([part.offsets for part in parts]),
        known_us=np.concatenate([part.known_us for part in parts]),
        end=parts[-1].end,
    )
