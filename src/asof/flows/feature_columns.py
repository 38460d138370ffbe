"""The columns of one group: read its history, sort it, ask it for every spine row, and put the answers in the
spine's order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from asof.compute.aggregate import evaluate, hidden_rows
from asof.compute.arrays import EMPTY_INTS, Bools, Ints
from asof.compute.arrow_ops import taken
from asof.compute.entity_index import EntityIndex
from asof.compute.history import History, OwnRows, Part
from asof.compute.secondary import evaluate_map
from asof.compute.sort import order_rows, take
from asof.compute.windows import Locator, Queries
from asof.define.aggregation import Feature
from asof.define.source import parts_of
from asof.define.window import Window
from asof.engines.scan import Engine, Scan
from asof.flows.groups import FeatureId, Group
from asof.flows.own_rows import OwnTable
from asof.flows.read_history import BATCH_ROWS, ReadStats, read_part, scans_of
from asof.flows.spill import Partitions, plan_partitions
from asof.flows.spine import Spine, null_rows
from asof.usage import Run

Progress = Callable[[str, str, int, int], None]  # stage, asset, done, total
_SEEN = Feature("seen", "count", None, Window(None, closed="right"))


@dataclass(frozen=True)
class Settings:
    """How a run computes: knowledge, resources, receipts."""

    as_known: bool
    cutoff_us: int | None
    threads: int
    memory_bytes: int
    spill_dir: str
    run: Run
    progress: Progress


@dataclass
class GroupColumns:
    """What a group gave: a column for each feature in the spine's order, and what the report tells of it."""

    columns: dict[FeatureId, pa.Array] = field(default_factory=dict[FeatureId, pa.Array])
    hidden: dict[FeatureId, tuple[int, int]] = field(default_factory=dict[FeatureId, tuple[int, int]])
    stats: ReadStats = field(default_factory=ReadStats)
    missing: int = 0
    late: int = 0


@dataclass(frozen=True)
class Asked:
    """The spine as a group sees it: each row's entity and instants, and optional ends of forward windows.

    `own` are the rows of the scored events; `ends` maps a feature to the end of its forward window in each
    spine row.
    """

    keys: tuple[pa.ChunkedArray, ...]
    at: Ints
    as_known: Ints
    usable: Bools
    own: OwnTable | None = None
    ends: dict[FeatureId, Ints] = field(default_factory=dict[FeatureId, Ints])

    def take(self, rows: Ints) -> Asked:
        """The same for some spine rows."""
        keys = tuple(taken(key, rows) for key in self.keys)
        own = None if self.own is None else self.own.take(rows)
        ends = {name: end[rows] for name, end in self.ends.items()}
        return Asked(keys, self.at[rows], self.as_known[rows], self.usable[rows], own, ends)


def asked_of(group: Group, spine: Spine, as_known: Ints, owner: str) -> Asked:
    """The spine as a group sees it."""
    keys = tuple(spine.key(name, dtype, owner) for name, dtype in group.entity.keys)
    usable = spine.valid & ~null_rows(keys, spine.size)
    return Asked(keys, spine.at, as_known, usable)


def group_columns(engine: Engine, group: Group, asked: Asked, settings: Settings) -> GroupColumns:
    """All columns of a group."""
    ranged = group.event_range(asked.at[asked.usable], asked.ends.values())
    scans = scans_of(
        parts_of(group.source), group.key_sql, group.columns, group.predicates, ranged, asked.keys
    )
    made = GroupColumns()
    partitions = plan_partitions(engine, scans, settings.memory_bytes)
    if partitions == 1:
        _compute(group, asked, settings, made, _read_whole(engine, group, scans, settings, made.stats))
        return made
    folder, check = settings.spill_dir, group.check_types
    with Partitions(engine, scans, partitions, folder, asked.keys, check) as spilled:
        spilled.write(settings.run, settings.progress, made.stats)
        for rows, parts in spilled.each():
            piece = GroupColumns()
            _compute(group, asked.take(rows), settings, piece, parts)
            _merge(made, piece)
    order = np.argsort(spilled.row_order, kind="stable")
    made.columns = {name: taken(column, order) for name, column in made.columns.items()}
    return made


def _merge(made: GroupColumns, piece: GroupColumns) -> None:
    made.missing += piece.missing
    made.late += piece.late
    for name, column in piece.columns.items():
        made.columns[name] = (
            pa.concat_arrays([made.columns[name], column]) if name in made.columns else column
        )
    for name, (hidden, affected) in piece.hidden.items():
        before = made.hidden.get(name, (0, 0))
        made.hidden[name] = (before[0] + hidden, before[1] + affected)


Reader = Callable[[EntityIndex, pa.Array | None], list[Part]]


def _read_whole(
    engine: Engine, group: Group, scans: Sequence[Scan], settings: Settings, stats: ReadStats
) -> Reader:
    def read(index: EntityIndex, own_keys: pa.Array | None) -> list[Part]:
        parts: list[Part] = []
        for scan in scans:
            name = scan.source.source.name
            with settings.run.stage("read", asset=name) as stage:
                before = stats.rows, stats.size_bytes
                total = engine.count_rows(scan.source.source)
                types, batches = engine.read(scan, BATCH_ROWS)
                group.check_types(scan, types)
                watched = _watched(batches, settings.progress, name, total)
                parts.append(read_part(scan, watched, index, types, stats, own_keys))
                stage.rows += stats.rows - before[0]
                stage.bytes += stats.size_bytes - before[1]
        return parts

    return read


def _watched(
    batches: Iterator[pa.RecordBatch], progress: Progress, name: str, total: int
) -> Iterator[pa.RecordBatch]:
    done = 0
    for batch in batches:
        done += batch.num_rows
        progress("read", name, done, max(total, done))
        yield batch


def _compute(group: Group, asked: Asked, settings: Settings, made: GroupColumns, read: Reader) -> None:
    index = EntityIndex(asked.keys)
    codes = index.spine_codes if asked.usable.all() else np.where(asked.usable, index.spine_codes, -1)
    order, inverse = query_order(codes, asked.at, index.size, settings.threads)
    own_keys, own_codes = (None, EMPTY_INTS) if asked.own is None else asked.own.numbered(order)
    parts = read(index, own_keys)
    name = group.source.name
    with settings.run.stage("sort", asset=name) as stage:
        own = None if asked.own is None else _own_rows(asked, order, own_codes)
        history = History.build(parts, index.size, threads=settings.threads, own=own)
        stage.rows += history.size
    del parts
    made.late += history.late
    at, groups = take(asked.at, order, settings.threads), take(codes, order, settings.threads)
    as_known = at if asked.as_known is asked.at else asked.as_known[order]
    queries = Queries(groups, at, as_known, own_codes)
    locator = Locator(history, queries)
    with settings.run.stage("compute", asset=name) as stage:
        stage.rows += queries.size
        made.missing += int((evaluate(_SEEN, Locator(history.without_own(), queries)).values == 0).sum())
        for i, (feature_id, feature) in enumerate(group.features):
            settings.progress(
                "compute", f"{name} for {group.entity.name}.{feature.name}", i + 1, len(group.features)
            )
            there = (
                locator if feature_id not in asked.ends else _ending(locator, asked.ends[feature_id][order])
            )
            if feature.by:
                made.columns[feature_id] = taken(evaluate_map(feature, there), inverse)
            else:
                made.columns[feature_id] = (
                    evaluate(feature, there).taken(inverse, settings.threads).to_arrow()
                )
            if settings.as_known:
                made.hidden[feature_id] = hidden_rows(feature, there)


def query_order(codes: Ints, at: Ints, groups: int, threads: int) -> tuple[Ints, Ints]:
    """The order of queries by (entity, instant), those without an entity first, and its inverse."""
    order, _ = order_rows(codes + 1, groups + 1, at, at, threads)
    inverse = np.empty(order.size, np.int64)
    inverse[order] = np.arange(order.size)
    return order, inverse


def _ending(locator: Locator, end: Ints) -> Locator:
    queries = locator.queries
    return Locator(
        locator.history, Queries(queries.group, queries.at, queries.as_known, queries.own_code, end)
    )


def _own_rows(asked: Asked, order: Ints, own_codes: Ints) -> OwnRows | None:
    own = asked.own
    if own is None:
        return None
    return OwnRows(
        event=asked.at[order],
        values={name: taken(column, order) for name, column in own.values.items()},
        predicates={sql: taken(column, order) for sql, column in own.predicates.items()},
        code=own_codes,
    )
