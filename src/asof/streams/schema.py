"""What the events of a source may bring: the columns of its history, each with its Arrow type.

`event_type.py` makes decoders of it, `decode.py` columns of events, and `encode.py` checks what is to be appended.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa

from asof.define.source import Events
from asof.errors import MissingColumn, StateError, did_you_mean


@dataclass(frozen=True)
class EventSchema:
    """The columns of a source's events.

    A column that an event does not bring is null. What an event brings as `known_at` is not looked at: the platform
    writes there when the stream took it.

    Args:
        source: the source's name.
        columns: the columns of the source's history, before the derived ones, with their Arrow types.
        event_time: column (perhaps a derived one) of the event time.
        known_at: column of the time at which the stream took the event.
        key: column (perhaps a derived one) that identifies an event.
        partition_by: column whose value chooses an event's partition.
        zone: the zone of times that name none; None: UTC.

    Example:
        >>> made = EventSchema(
        ...     "s", (("at", pa.timestamp("us", "UTC")), ("known", pa.timestamp("us", "UTC"))), "at", "known"
        ... )
        >>> made.names, made.arrow.names
        (('at',), ['at', 'known'])
    """

    source: str
    columns: tuple[tuple[str, pa.DataType], ...]
    event_time: str
    known_at: str
    key: str | None = None
    partition_by: str | None = None
    zone: str | None = None

    @classmethod
    def of(cls, source: Events, columns: Mapping[str, pa.DataType]) -> EventSchema:
        """The schema of a source with a stream, whose history has these columns.

        Raises:
            StateError: the source has no stream. MissingColumn: the history lacks `known_at` or `partition_by`.
        """
        if source.stream is None or source.known_at is None:
            raise StateError(
                f"source {source.name!r} has no stream, so that it takes no events",
                hint="stream=Log() in its definition",
                source=source.name,
            )
        partition_by = source.stream.partition_by
        for what, name in (("known_at", source.known_at), ("partition_by", partition_by)):
            if name is not None and name not in columns:
                raise MissingColumn(
                    f"source {source.name!r}: {what} {name!r} is no column of its history",
                    hint=did_you_mean(name, columns),
                    column=name,
                )
        times = source.event_time, source.known_at
        return cls(source.name, tuple(columns.items()), *times, source.key, partition_by, source.zone)

    @property
    def names(self) -> tuple[str, ...]:
        """The columns that events bring: all but `known_at`."""
        return tuple(name for name, _ in self.columns if name != self.known_at)

    @property
    def arrow(self) -> pa.Schema:
        """All columns as an Arrow schema."""
        return pa.schema(list(self.columns))
