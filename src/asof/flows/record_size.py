"""How large the online record of an entity is, by layout.

Rows (one record holds the events that windows can still need):

    record = HEADER_BYTES + kept rows * bytes of a row
    kept   = rows within the longest window, or the n newest where only first, last and latest values are asked
    row    = 8 (event time) + 8 (known-at time, where the source has one or is revised)
             + 8 or 16 (event key: a number or a text) + the columns that the features read
             + 1 for each predicate + 1 bit for a delete and for each column (null)

Tiles (one mergeable state per hop, where every window has a hop and the source is never revised):

    record = HEADER_BYTES + for each hop: tiles * 8 (its start) + for each state: tiles * bytes of the state
    tiles  = the smaller of rows within the window, and ceil((window + offset) / hop) + 1

A state that different features share is kept once. States that grow with their values (distinct, top k, maps of
`by`) hold at most as many as there are rows, and per tile at most as many as the column has different ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from math import ceil, inf
from typing import Literal

from asof.define.aggregation import Feature
from asof.engines.columns import Column
from asof.flows.groups import Group

Layout = Literal["rows", "tiles"]
CappedRows = Callable[[int | None, float], float]
"""Rows within a reach, at most as many as the cap: of one entity, or the sum over entities of theirs."""

HEADER_BYTES = 64  # watermarks of both parts, stream offsets, counts, checksum; the key itself
LARGE_RECORD_BYTES = 64 * 1024
HOPS = {"1s": 1_000_000, "1m": 60_000_000, "5m": 300_000_000, "15m": 900_000_000, "1h": 3_600_000_000,
        "6h": 21_600_000_000, "1d": 86_400_000_000}  # fmt: skip
_TIME_BYTES = 8
_STATE_BYTES = {"count": 8, "sum": 16, "mean": 24, "var": 24, "std": 24, "decayed_sum": 16}
_BUCKET_BYTES, _BUCKETS = 12, 85  # a quantile's sketch: about 1 KiB when it is full
_REGISTERS_BYTES = 4096
_HASH_BYTES = 8
_NEWEST = {"last", "latest"}
_ENDS = {"first", *_NEWEST}


@dataclass(frozen=True)
class Facts:
    """What sizes depend on beside the features: the source's columns, and what each row brings along."""

    columns: Mapping[str, Column]
    known_at: bool = False
    event_key_bytes: int = 0
    deleted: bool = False


def layout_of(group: Group) -> Layout:
    """Tiles when every window has a hop and no later row can change an earlier one, else rows."""
    hops = all(feature.window.hop_us for _, feature in group.features)
    return "tiles" if hops and not group.is_revised else "rows"


def has_lifetime(group: Group) -> bool:
    """True where a window keeps every event: a lifetime of anything but oldest, newest and latest values."""
    features = [f for _, f in group.features if f.window.reach_us is None]
    return any(f.function not in _ENDS or f.by is not None for f in features)


def record_bytes(group: Group, facts: Facts, rows: CappedRows, entities: int = 1) -> int:
    """The bytes of one record, or with rows summed over so many entities of all their records."""
    features = [feature for _, feature in group.features]
    if layout_of(group) == "tiles":
        held = _tiles_bytes([(f, f.window.hop_us) for f in features], facts, rows)
    else:
        held = _kept_rows(group, rows) * row_bits(group, facts) / 8
    return HEADER_BYTES * entities + ceil(held)


def smaller_hop(group: Group, facts: Facts, rows: CappedRows) -> tuple[str, int] | None:
    """The shortest hop that brings a record of rows below `LARGE_RECORD_BYTES`, and the bytes it then has.

    A hop fits where it is not longer than any window; where one window cannot have a hop, none helps.
    """
    features = [feature for _, feature in group.features]
    sizes = [f.window.size_us for f in features]
    if layout_of(group) == "tiles" or group.is_revised or None in sizes:
        return None
    shortest = min(size for size in sizes if size is not None)
    for text, hop_us in HOPS.items():
        if hop_us <= shortest:
            hopped = [(f, f.window.hop_us or hop_us) for f in features]
            size_bytes = HEADER_BYTES + ceil(_tiles_bytes(hopped, facts, rows))
            if size_bytes < LARGE_RECORD_BYTES:
                return text, size_bytes
    return None


def row_bits(group: Group, facts: Facts) -> int:
    """The bits of one row in the rows layout."""
    size_bytes = _TIME_BYTES * (2 if facts.known_at else 1) + facts.event_key_bytes + len(group.predicates)
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


def _tiles_bytes(hopped: Iterable[tuple[Feature, int]], facts: Facts, rows: CappedRows) -> float:
    """The sum over states (and over the tiles' starts) of features with their hops, each within the longest window
    that needs it.
    """
    needed: dict[tuple[object, ...], tuple[int, int | None, float, float]] = {}
    for feature, hop_us in hopped:
        window = feature.window
        tiles = ceil(((window.size_us or 0) + window.offset_us) / hop_us) + 1
        states = [_state(state, facts) for state in feature.parts or (feature,)]
        for name, entries, size_bytes in [(("start",), 1, _TIME_BYTES), *states]:
            if needed.get((hop_us, *name), (0,))[0] < tiles:
                needed[hop_us, *name] = tiles, window.reach_us, entries, size_bytes
    return sum(rows(reach, tiles * entries) * size for tiles, reach, entries, size in needed.values())


def _state(feature: Feature, facts: Facts) -> tuple[tuple[object, ...], float, float]:
    """The name of a feature's state, how many entries a tile of it has at most, and the bytes of an entry."""
    value = facts.columns[feature.column] if feature.column is not None else Column(0)
    entries, size_bytes = _entries(feature, value)
    if feature.by is not None:
        key = facts.columns[feature.by]
        entries *= _values(key)
        size_bytes += key.size_bytes
    n = dict(feature.params).get("n")
    name = (feature.function, feature.column, feature.predicate, feature.by, n)
    return (*name, dict(feature.params).get("half_life_us")), entries, size_bytes


def _entries(feature: Feature, value: Column) -> tuple[float, float]:
    different = _values(value)
    one = value.size_bytes + 1
    edge = (feature.param("n", 1), value.size_bytes + _TIME_BYTES)
    growing: dict[str, tuple[float, float]] = {
        "distinct": (different, value.size_bytes),
        "topk": (different, value.size_bytes + 8),
        "approx_distinct": (_REGISTERS_BYTES // _HASH_BYTES, _HASH_BYTES),
        "quantile": (_BUCKETS, _BUCKET_BYTES),
        "first": edge,
        "last": edge,
        "min": (1, one),
        "max": (1, one),
    }
    return growing.get(feature.function) or (1, _STATE_BYTES[feature.function])


def _values(column: Column) -> float:
    return inf if column.values is None else max(1, column.values)
