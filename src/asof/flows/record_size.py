"""How large the online record of an entity is, by layout; `compute/pack.py` has the format.

Rows (one record holds the events that windows can still need):

    record  = HEADER_BYTES + 16 for each column + for each text its dictionary + kept rows * bits of a row
    columns = the event time; the known-at time, where rows come late; of a revised source until when a row counts
              (mostly for ever: 0 bytes), and two for the event key; and those that the features read
    kept    = rows within the longest window, or the n newest where only first, last and latest values are asked; of a
              revised source the newest version of each event
    row     = of each column as many bytes as tell its values apart (a text's place in its dictionary: 1)
              + 1 bit for each predicate

Tiles (one state per hop, where every window has a hop, every function a state of fixed size, and the source is never
revised):

    record  = twice HEADER_BYTES + 16 for each component + tiles * (1 for its start + bytes of its states)
    tiles   = the smaller of rows within the window, and ceil((window + offset) / hop) + 1

How far values lie apart is measured on a sample of the source, and not for each entity: these are estimates.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from math import ceil, gcd, inf
from typing import Literal

from asof.define.aggregation import Feature
from asof.engines.columns import Column, TimeShape, width_bytes
from asof.flows.groups import Group

Layout = Literal["rows", "tiles"]
CappedRows = Callable[[int | None, float], float]
"""Rows within a reach, at most as many as the cap: of one entity, or the sum over entities of theirs."""

HEADER_BYTES = 40  # of a record: watermark, floor, newest event; and of its block
LARGE_RECORD_BYTES = 64 * 1024
HOPS = {"1s": 1_000_000, "1m": 60_000_000, "5m": 300_000_000, "15m": 900_000_000, "1h": 3_600_000_000,
        "6h": 21_600_000_000, "1d": 86_400_000_000}  # fmt: skip
_COLUMN_BYTES = 16
_FAR_US = 10 * 365 * 86_400_000_000  # how far times lie apart where no window says it
_START_BYTES = 1
_STATES: Mapping[str, tuple[str, ...]] = {
    "count": ("count",), "sum": ("sum",), "mean": ("count", "sum"), "min": ("value",), "max": ("value",),
    "var": ("count", "mean", "m2"), "std": ("count", "mean", "m2"),
}  # fmt: skip
_COUNT_BYTES, _MOMENT_BYTES = 1, 5  # where most tiles have one row, less; 8 where they have many
_NEWEST = {"last", "latest"}
_ENDS = {"first", *_NEWEST}


@dataclass(frozen=True)
class Facts:
    """What sizes depend on beside the features: the source's columns, and what each row brings along."""

    columns: Mapping[str, Column]
    known_at: bool = False
    event_key_bytes: int = 0
    deleted: bool = False
    times: TimeShape = field(default_factory=TimeShape)


def layout_of(group: Group) -> Layout:
    """Tiles when every window has a hop, every state a fixed size, and no row can change an earlier one."""
    features = [feature for _, feature in group.features]
    hops = all(f.window.hop_us and f.window.closed in {"left", "both"} for f in features)
    return "tiles" if hops and not group.is_revised and all(map(has_state, features)) else "rows"


def has_state(feature: Feature) -> bool:
    """True where tiles of a fixed size are enough for a feature."""
    leaves = feature.parts or (feature,)
    return not any(each.by for each in (feature, *leaves)) and all(
        leaf.function in _STATES for leaf in leaves
    )


def has_lifetime(group: Group) -> bool:
    """True where a window keeps every event: a lifetime of anything but oldest, newest and latest values."""
    features = [f for _, f in group.features if f.window.reach_us is None]
    return any(f.function not in _ENDS or f.by is not None for f in features)


def record_bytes(group: Group, facts: Facts, rows: CappedRows, entities: int = 1) -> int:
    """The bytes of one record, or with rows summed over so many entities of all their records."""
    features = [feature for _, feature in group.features]
    if layout_of(group) == "tiles":
        hop_us = reduce(gcd, (feature.window.hop_us for feature in features))
        return ceil(_tiles_bytes(features, hop_us, facts, rows, entities))
    kept, reach_us = _kept_rows(group, rows) / facts.times.versions, _reach_us(features)
    widths = list(_widths(group, facts, reach_us, kept / max(1, entities)))
    texts = [facts.columns[name] for name in group.columns if facts.columns[name].is_text]
    dictionaries = sum(_dictionary_bytes(text, kept, entities) for text in texts)
    fixed = HEADER_BYTES + _COLUMN_BYTES * len(widths) + (len(group.predicates) + 7) // 8 * 8
    return ceil(fixed * entities + kept * (sum(widths) + len(group.predicates) / 8) + dictionaries)


def _reach_us(features: Sequence[Feature]) -> int:
    reaches = [feature.window.reach_us for feature in features]
    return max((_FAR_US if reach is None else reach for reach in reaches), default=_FAR_US)


def _widths(group: Group, facts: Facts, reach_us: int, rows: float) -> Iterator[float]:
    """The bytes of a row in each column; in how many records of so many rows one is late, known-at times are kept."""
    unit_us = facts.times.unit_us
    yield width_bytes(reach_us / unit_us)
    if facts.times.late_us:
        late = 1.0 if group.is_revised else 1 - (1 - facts.times.late_share) ** rows
        yield late * width_bytes(facts.times.late_us / unit_us)
    if group.is_revised:
        yield from (0, 8, 8 if facts.event_key_bytes > 8 else 0)
    for name in group.columns:
        yield packed_bytes(facts.columns[name])


def packed_bytes(column: Column) -> int:
    """The bytes of a value in a record: as measured, else as it is."""
    if column.is_text:
        return 1
    return column.size_bytes if column.packed_bytes is None else column.packed_bytes


def _dictionary_bytes(text: Column, rows: float, entities: int) -> float:
    """All texts once in each record; how often they repeat is measured, and grows with the rows."""
    each = rows / max(1, entities)
    found = text.fresh * (each if each <= text.among else (each * text.among) ** 0.5)
    return entities * (
        min(max(found, min(each, 1.0)), inf if text.values is None else text.values) * text.size_bytes + 4
    )


def smaller_hop(group: Group, facts: Facts, rows: CappedRows) -> tuple[str, int] | None:
    """The shortest hop that brings a record of rows below `LARGE_RECORD_BYTES`, and the bytes it then has.

    A hop fits where it is not longer than any window; where one window cannot have a hop, none helps.
    """
    features = [feature for _, feature in group.features]
    sizes = [f.window.size_us for f in features]
    if layout_of(group) == "tiles" or group.is_revised or None in sizes or not all(map(has_state, features)):
        return None
    shortest = min(size for size in sizes if size is not None)
    for text, hop_us in HOPS.items():
        if hop_us <= shortest:
            common_us = reduce(gcd, (f.window.hop_us or hop_us for f in features))
            size_bytes = ceil(_tiles_bytes(features, common_us, facts, rows, 1))
            if size_bytes < LARGE_RECORD_BYTES:
                return text, size_bytes
    return None


def row_bits(group: Group, facts: Facts) -> int:
    """The bits of one row as it is read, with all its values as wide as they are."""
    size_bytes = 8 * (2 if facts.known_at else 1) + facts.event_key_bytes + len(group.predicates)
    size_bytes += sum(facts.columns[name].size_bytes for name in group.columns)
    return 8 * size_bytes + len(group.columns) + int(facts.deleted)


def _bounded(feature: Feature, group: Group) -> bool:
    """True where n rows are all that a feature needs, now and later, however many there are."""
    if group.is_revised or feature.by is not None or feature.window.offset_us:
        return False
    lifetime_first = feature.function == "first" and feature.window.size_us is None
    return feature.function in _NEWEST or lifetime_first


def _kept_rows(group: Group, rows: CappedRows) -> float:
    newest, oldest = 0.0, 0
    for _, feature in group.features:
        reach_us, n = feature.window.reach_us, int(feature.param("n", 1))
        if not _bounded(feature, group):
            newest = max(newest, rows(reach_us, inf))
        elif feature.function == "first":
            oldest = max(oldest, n)
        else:
            newest = max(newest, rows(reach_us, n))
    return min(newest + rows(None, oldest), rows(None, inf)) if oldest else newest


def _tiles_bytes(
    features: Sequence[Feature], hop_us: int, facts: Facts, rows: CappedRows, entities: int
) -> float:
    """Tiles of one hop, the largest that all hops are multiples of; a state that features share is there once."""
    windows = [feature.window for feature in features]
    most = ceil(max((window.size_us or 0) + window.offset_us for window in windows) / hop_us) + 1
    reach_us = max((window.reach_us or 0) for window in windows)
    leaves = [leaf for feature in features for leaf in (feature.parts or (feature,))]
    states = dict.fromkeys(
        (name, leaf.column, leaf.predicate) for leaf in leaves for name in _STATES[leaf.function]
    )
    sizes = [_state_bytes(name, column, facts) for name, column, _ in states]
    columns = {leaf.column for leaf in leaves if leaf.column is not None}
    fixed = 2 * HEADER_BYTES + _COLUMN_BYTES * (2 + len(sizes) + len(columns))
    return fixed * entities + rows(reach_us, most) * (_START_BYTES + sum(sizes))


def _state_bytes(name: str, column: str | None, facts: Facts) -> int:
    if column is None or name == "count":
        return _COUNT_BYTES
    if name in {"mean", "m2"}:
        return _MOMENT_BYTES
    return min(8, packed_bytes(facts.columns[column]) + (name == "sum"))
