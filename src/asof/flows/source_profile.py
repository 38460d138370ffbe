"""The statistics of one source and one mapping of its keys, shared by all views over them.

One query for rows over time, one for rows of each entity, one per source for the bytes of columns, whatever the
number of views; see engines/profile.py and engines/columns.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil

import pyarrow as pa

from asof.define.feature_view import FeatureView
from asof.define.source import parts_of
from asof.engines.columns import Column, Lineage, Stored, sample_columns, sample_times, stored_columns
from asof.engines.duckdb import DuckDBEngine
from asof.engines.profile import KeyRows, Reach, Times, profile_keys, profile_times, rung_of, rungs
from asof.engines.scan import Scan
from asof.errors import MissingColumn, did_you_mean
from asof.flows.groups import Group
from asof.flows.read_history import scans_of
from asof.flows.record_size import Facts, row_bits

_KEY_BYTES = 16  # of an entity key, where no file tells
_COUNTED = {"distinct", "topk"}


@dataclass(frozen=True)
class Part:
    """One source of a profile: what its columns are made of, how they are stored, what every scan of it reads, and
    its share of the rows.
    """

    lineage: Lineage
    stored: Stored | None
    always: frozenset[str]
    share: float

    def read_bytes(self, group: Group, facts: Facts, rows: int) -> float:
        """The bytes of the columns that a group reads, in so many rows of all sources."""
        if self.stored is None:  # in memory, a database, an object store: as wide as the values
            return rows * self.share * (row_bits(group, facts) / 8 + _KEY_BYTES * len(group.key_sql))
        texts = (*group.columns, *group.predicates)
        names = self.always.union(*(self.lineage.columns(text) for text in texts))
        sizes = self.stored.columns
        return self.stored.whole_bytes + rows * self.share * sum(sizes.get(name, 0) for name in names)


@dataclass(frozen=True)
class SourceProfile:
    """What `profile_source` found."""

    times: Times
    keys: Mapping[Reach, KeyRows]
    facts: Facts
    parts: tuple[Part, ...]

    def within(self, reach_us: Reach) -> KeyRows:
        """How rows within a reach are spread over entities."""
        return self.keys[rung_of(reach_us, tuple(self.keys))]

    def rows(self, q: float | None, among: int, reach_us: Reach, cap: float) -> float:
        """Rows within a reach, at most `cap`: of the entity at a quantile, or with q None of all together."""
        found = self.within(reach_us)
        return found.total(cap) if q is None else min(cap, found.quantile(q, among))

    def read_bytes(self, group: Group, rows: int) -> int:
        """The bytes of the columns that a group reads, in so many rows."""
        return ceil(sum(part.read_bytes(group, self.facts, rows) for part in self.parts))

    def check_columns(self, group: Group) -> None:
        """Nothing, when the source has all columns that a group reads; else raises MissingColumn."""
        for name in group.columns:
            if name not in self.facts.columns:
                hint = did_you_mean(name, self.facts.columns)
                raise MissingColumn(
                    f"source {group.source.name!r} has no column {name!r}", hint=hint, column=name
                )


def profile_source(
    engine: DuckDBEngine, members: Sequence[tuple[FeatureView, Group]], now_us: int
) -> SourceProfile:
    """The statistics that these views over one source and one mapping of its keys need.

    Raises:
        AsofError: what reading the source would raise (no such file, a key column that is missing, ...).
    """
    group = members[0][1]
    features = [feature for _, each in members for _, feature in each.features]
    columns = tuple(dict.fromkeys(name for _, each in members for name in each.columns))
    scans = scans_of(parts_of(group.source), group.key_sql, columns, (), None, ())
    reaches = rungs(feature.window.reach_us for feature in features)
    times = profile_times(engine, scans, reaches if None in reaches else (*reaches, None), now_us)
    parts = _parts(engine, scans)
    keys: dict[Reach, KeyRows] = dict.fromkeys(reaches, KeyRows())
    if times.last_us is not None:
        personal = _is_personal(members, parts)
        keys = profile_keys(engine, scans, reaches, times.last_us, personal=personal)
    asked = [feature.by for feature in features]
    asked += [feature.column for feature in features if feature.function in _COUNTED]
    sampled = sample_columns(engine, scans, {name for name in asked if name is not None})
    return SourceProfile(times, keys, _facts(engine, scans, sampled), parts)


def _parts(engine: DuckDBEngine, scans: Sequence[Scan]) -> tuple[Part, ...]:
    counts = [engine.count_rows(scan.source.source) if len(scans) > 1 else 1 for scan in scans]
    made: list[Part] = []
    for scan, count in zip(scans, counts, strict=True):
        source = scan.source.source
        lineage = Lineage(engine, scan.source)
        texts = (
            source.event_time,
            source.known_at,
            source.key,
            source.deleted,
            *(sql for sql, _ in scan.keys),
        )
        always = frozenset[str]().union(*(lineage.columns(text) for text in texts if text is not None))
        made.append(Part(lineage, stored_columns(engine, source), always, count / max(sum(counts), 1)))
    return tuple(made)


def _is_personal(members: Sequence[tuple[FeatureView, Group]], parts: Sequence[Part]) -> bool:
    """True where a key is made of a column that any view's source marks (sources that differ in nothing else are
    equal).
    """
    for view, group in members:
        for mapped, part in zip(parts_of(view.source), parts, strict=True):
            marked = {name.lower() for name in mapped.source.personal}
            if marked and any(marked & part.lineage.columns(sql) for sql, _ in group.key_sql):
                return True
    return False


def _facts(engine: DuckDBEngine, scans: Sequence[Scan], columns: Mapping[str, Column]) -> Facts:
    sources = [scan.source.source for scan in scans]
    key_bytes = [0]
    for scan in scans:
        if scan.source.source.key is not None:
            arrow = engine.schema(scan.source)[scan.source.source.key]
            key_bytes.append(8 if pa.types.is_integer(arrow) else 16)
    return Facts(
        columns=columns,
        known_at=any(source.known_at is not None or source.key is not None for source in sources),
        event_key_bytes=max(key_bytes),
        deleted=any(source.deleted is not None for source in sources),
        times=sample_times(engine, scans),
    )
