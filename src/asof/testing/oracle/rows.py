"""Rows of history, and which of them are visible at an instant.

A row is one delivered version of an event. At an instant every event shows one version, the newest that was known by
then; that is all that pending, posted, corrected, moved, repeated and withdrawn transactions need.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

Entity = tuple[object, ...]


@dataclass(frozen=True)
class Row:
    """One version of one event, as it was delivered.

    Attributes:
        entity: the values of the entity's key columns, in order.
        event_us: when it happened; None where the source does not say.
        known_us: when it could first be known; None if that is not known, and then the row is never visible.
        sequence: the place in the order of arrival, larger is later; several numbers where sources are united.
        key: what identifies the event. None makes the row an event of its own.
        deleted: True withdraws the event from `known_us` on.
        values: what the row says: each column and each SQL predicate (by its text) that the view reads.
    """

    entity: Entity
    event_us: int | None
    known_us: int | None
    sequence: tuple[int, ...] = (0,)
    key: object = None
    deleted: bool = False
    values: Mapping[str, object] = field(default_factory=dict[str, object])


def visible(rows: Iterable[Row], as_known_us: int) -> list[Row]:
    """The visible version of each event at an instant, in canonical order: event time, known-at time, sequence.

    Of the versions of one key that are known by then, the last one counts, in the order of known-at time and sequence.
    A version that says the same as the one before it (entity, event time and values) is a repeated delivery and changes
    nothing, not even the known-at time that decides ties. A version that is deleted, or that has no event time or
    entity, still takes the place of the one before it: it leaves nothing to see.
    """
    current: dict[object, Row] = {}
    for number, row in enumerate(sorted(rows, key=_arrival)):
        if row.known_us is None or row.known_us > as_known_us:
            continue
        name = ("row", number) if row.key is None else ("key", row.key)
        if name not in current or not same_version(current[name], row):
            current[name] = row
    return sorted((row for row in current.values() if can_match(row)), key=canonical)


def canonical(row: Row) -> tuple[int, int, tuple[int, ...]]:
    """The place of a row among events: event time, then known-at time, then sequence; the last one is the newest."""
    return (row.event_us or 0, row.known_us or 0, row.sequence)


def can_match(row: Row) -> bool:
    """True for a row that is not deleted and has an event time and a whole entity key."""
    return not row.deleted and row.event_us is not None and None not in row.entity


def same_version(one: Row, other: Row) -> bool:
    """True when two versions say the same: entity, event time, deleted and all values."""
    if (one.entity, one.event_us, one.deleted) != (other.entity, other.event_us, other.deleted):
        return False
    return one.values.keys() == other.values.keys() and all(
        _same(value, other.values[name]) for name, value in one.values.items()
    )


def is_null(value: object) -> bool:
    """True for None and for a float that is not a number: inputs that no function counts."""
    return value is None or (isinstance(value, float) and value != value)  # noqa: PLR0124 - NaN alone differs from itself


def _same(one: object, other: object) -> bool:
    return one == other or (is_null(one) and is_null(other))


def _arrival(row: Row) -> tuple[int, tuple[int, ...]]:
    return (row.known_us or 0, row.sequence)
