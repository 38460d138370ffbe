"""Applying events to records: `apply(batch) -> receipt`, whoever calls it, as often as he likes.

A batch of one source goes through the projection of its history, is grouped by entity, and is merged into the records
of every view of the source. Who has read a record writes it only if it is still the same (`OnlineStore.swap`), else
reads it again; and a record knows what has been applied to it. So neither a crash at any place, nor the same events
twice, nor two workers on one record, nor a run of materialization beside it changes what comes of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Self

import numpy as np
import pyarrow as pa

from asof.compute.arrays import Bools, Ints
from asof.compute.arrow_ops import kept, valid_mask
from asof.compute.history import Part
from asof.compute.merge import Arrivals, merge_arrivals
from asof.compute.record import KEY_HIGH, KEY_LOW, Layout
from asof.compute.retain import Retention, merged_features, retention_of
from asof.compute.splice import KNOWN_BEFORE, REPEATED
from asof.define.feature_view import FeatureView
from asof.define.fingerprint import fingerprint
from asof.define.source import Events, Mapped, parts_of
from asof.define.window import BEGIN_US
from asof.engines.duckdb import DuckDBEngine
from asof.engines.scan import Scan
from asof.errors import BackendError, StateError
from asof.flows.groups import Group, group_features
from asof.flows.materialize_history import layout_of, salted
from asof.flows.materialize_rows import Interval, entities_of, scans_for
from asof.flows.materialize_steps import Resources, Step, is_revised
from asof.flows.read_history import ReadStats, read_part
from asof.flows.stream_events import EventBatch, Project, in_memory, project_each
from asof.online.codec import Meta
from asof.online.store import META_KEY, OnlineStore, Swap
from asof.registry.state import namespace_of

_ROUNDS = 20
_SLOT = 1 << 20  # partitions of one source's slot in a union: an origin is a number of both
_AT_ONCE = 50_000  # records in one round trip


@dataclass
class ViewReceipt:
    """What applying a batch did to a view: rows applied; rows that were there already (`repeated`), that no window can
    count any more (`late`), and that have no entity (`unkeyed`); records written, and how often another writer came
    first.
    """

    applied: int = 0
    repeated: int = 0
    late: int = 0
    unkeyed: int = 0
    records: int = 0
    conflicts: int = 0

    def __iadd__(self, other: ViewReceipt) -> Self:
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)
        return self


@dataclass(frozen=True)
class Receipt:
    """What applying a batch did, view by view."""

    views: dict[str, ViewReceipt] = field(default_factory=dict[str, ViewReceipt])


@dataclass(frozen=True)
class StreamedView:
    """A view that follows a stream."""

    view: FeatureView
    group: Group
    layout: Layout
    namespace: str
    ttl_s: int | None = None

    @cached_property
    def retention(self) -> Retention:
        """Which rows its records keep."""
        return retention_of(merged_features(self.view.features), revised=is_revised(self.view))


@dataclass
class _Slot:
    """One place of the source in a group: the group's features, read from this source as one of its parts."""

    group: Group
    number: int
    scan: Scan
    project: Project
    schema: pa.Schema
    views: list[StreamedView]


class Applier:
    """Applies events of one source to the records of views.

    Raises:
        MissingColumn, WrongType, InvalidExpression: a view does not fit its sources.
    """

    def __init__(
        self,
        engine: DuckDBEngine,
        source: Events,
        views: Iterable[FeatureView],
        store: OnlineStore,
        empty: pa.Table,
        resources: Resources,
    ) -> None:
        self.source, self.store, self._resources = source, store, resources
        self._slots: list[_Slot] = []
        self._seen: set[str] = set()
        refs = [ref for view in views for ref in view.refs()]
        for group in group_features(refs):
            self._add(engine, group, {ref.view.name: ref.view for ref in refs}, empty)

    def _add(
        self, engine: DuckDBEngine, group: Group, views: dict[str, FeatureView], empty: pa.Table
    ) -> None:
        scans = scans_for(group, Interval(BEGIN_US, BEGIN_US, BEGIN_US))
        schemas = [(scan, engine.read(scan, 1)[0]) for scan in scans]
        for scan, schema in schemas:
            group.check_types(scan, schema)
        names = dict.fromkeys(view for (view, _), _ in group.features)
        made = [
            self._view(view, group, layout_of(view, group, schemas))
            for view in (views[name] for name in names)
        ]
        for number, part in enumerate(parts_of(group.source)):
            if part.source.name != self.source.name:
                continue
            table = Mapped(in_memory(self.source, empty), part.columns)
            scan = Scan(
                table, group.key_sql, group.columns, group.predicates, digests=self.source.key is not None
            )
            project = engine.project(scan)
            self._slots.append(_Slot(group, number, scan, project, project(empty).schema, made))

    def _view(self, view: FeatureView, group: Group, layout: Layout) -> StreamedView:
        namespace = namespace_of(fingerprint(view))
        step = Step(view, namespace, BEGIN_US, BEGIN_US, whole=True, meta=None)
        return StreamedView(view, group, layout, namespace, step.lasting_s(self._resources))

    @property
    def views(self) -> list[StreamedView]:
        """The views, each once."""
        return list({each.namespace: each for slot in self._slots for each in slot.views}.values())

    @property
    def judged(self) -> int | None:
        """Which of the tables of `projected` has the times and keys of the source itself; None where none has."""
        return next((i for i, slot in enumerate(self._slots) if not slot.scan.source.columns), None)

    def projected(self, batch: EventBatch) -> tuple[list[pa.Table], dict[int, str]]:
        """The batch as each group sees it; and the places of events that one of them cannot be computed of."""
        tables: list[pa.Table] = []
        bad: dict[int, str] = {}
        for slot in self._slots:
            table, mine = project_each(slot.project, batch.table)
            tables.append(table)
            bad |= mine
        return tables, bad

    def apply(
        self, batch: EventBatch, floor_us: int, only: Iterable[str] | None = None,
        projected: Sequence[pa.Table] | None = None,
    ) -> Receipt:  # fmt: skip
        """Brings the events of a batch into the records; again and again comes to the same.

        Args:
            batch: events that can be used (see `projected`), in the order of their offsets.
            floor_us: nobody asks for values before it any more.
            only: namespaces of views; default: all.
            projected: the batch as `projected` gave it.

        Raises:
            BackendError: the store failed; what was written stays, and applying the batch again does the rest.
            StateError: the records of a view have other columns than its definition now.
        """
        receipt = Receipt()
        if batch.size == 0:
            return receipt
        wanted = None if only is None else frozenset(only)
        for number, slot in enumerate(self._slots):
            views = [each for each in slot.views if wanted is None or each.namespace in wanted]
            if not views:
                continue
            table, offsets = self._keyed_rows(slot, batch, None if projected is None else projected[number])
            part, keys = self._part(slot, table)
            origin = np.full(offsets.size, slot.number * _SLOT + batch.partition)
            for each in views:
                made = self._merge(each, Arrivals(_for_view(part, each), origin, offsets), keys, floor_us)
                made.unkeyed = batch.size - offsets.size
                receipt.views.setdefault(each.view.name, ViewReceipt()).__iadd__(made)
        return receipt

    def _keyed_rows(self, slot: _Slot, batch: EventBatch, table: pa.Table | None) -> tuple[pa.Table, Ints]:
        """The rows of a batch that have an entity, as the slot sees them, and their offsets.

        What has landed before a view was there may hold events that it cannot be computed of: they are left out.
        """
        offsets = batch.offsets
        if table is None:
            table, bad = project_each(slot.project, batch.table)
            offsets = np.delete(offsets, list(bad))
        there = np.ones(offsets.size, np.bool_)
        for i in range(len(slot.group.key_sql)):
            there &= valid_mask(table[f"k{i}"])
        return (table, offsets) if there.all() else (kept(table, there), offsets[there])

    def _part(self, slot: _Slot, table: pa.Table) -> tuple[Part, list[bytes]]:
        """The rows of a projected batch as a part of a history, in their order, and their entities' keys."""
        batches = table.combine_chunks().to_batches()
        index, keys = entities_of(slot.group, batches, 0, 1)
        part = read_part(slot.scan, iter(batches), index, slot.schema, ReadStats())
        return salted(part, slot.group, slot.number), keys

    def _check_there(self, view: StreamedView, meta: bytes | None) -> None:
        """Nothing, but where the records of a view are being made anew with other columns: nobody may write them then.

        Raises:
            BackendError: so it is; `retryable`, until it is known with which columns.
        """
        if meta is not None:
            self._seen.add(view.namespace)
        elif view.namespace in self._seen:
            raise BackendError(
                f"view {view.view.name!r}: its records are being made anew",
                hint="wait for the backfill",
                retryable=True,
            )

    def _merge(
        self, view: StreamedView, arrivals: Arrivals, keys: Sequence[bytes], floor_us: int
    ) -> ViewReceipt:
        total = ViewReceipt()
        for start in range(0, len(keys), _AT_ONCE):
            stop = min(start + _AT_ONCE, len(keys))
            mine = _of_groups(arrivals, start, stop) if (start, stop) != (0, len(keys)) else arrivals
            total += self._merge_some(view, mine, keys[start:stop], floor_us)
        return total

    def _merge_some(
        self, view: StreamedView, arrivals: Arrivals, keys: Sequence[bytes], floor_us: int
    ) -> ViewReceipt:
        """Reads, merges and swaps, until nobody else came between.

        Raises:
            BackendError: somebody came between all the time.
        """
        receipt = ViewReceipt()
        for _ in range(_ROUNDS):
            meta, *held = self.store.get([(view.namespace, [META_KEY, *keys])])
            self._check_there(view, meta)
            merged = merge_arrivals(
                held, arrivals, view.layout, view.retention,
                watermark_us=_watermark(view, meta), floor_us=floor_us,
            )  # fmt: skip
            records = merged.packed.records()
            places = [int(i) for i in np.flatnonzero(merged.changed)]
            items: list[Swap] = [(keys[i], held[i], records[i] or None) for i in places]
            done = self.store.swap(view.namespace, items, ttl_s=view.ttl_s) if items else []
            lost = np.zeros(len(keys), np.bool_)
            lost[[i for i, good in zip(places, done, strict=True) if not good]] = True
            mine = arrivals.part.group >= 0
            settled = mine & ~lost[np.maximum(arrivals.part.group, 0)]
            before = (merged.state == REPEATED) | (merged.state == KNOWN_BEFORE)
            receipt.late += int((settled & merged.late).sum())
            receipt.repeated += int((settled & before).sum())
            receipt.applied += int((settled & ~before & ~merged.late).sum())
            receipt.records += len(items) - int(lost.sum())
            receipt.conflicts += int(lost.sum())
            if not lost.any():
                return receipt
            arrivals = _only(arrivals, lost)
        raise BackendError(
            f"view {view.view.name!r}: other writers have changed records {_ROUNDS} times while these were merged",
            retryable=True,
        )


def _watermark(view: StreamedView, meta: bytes | None) -> int:
    if meta is None:
        return BEGIN_US
    found = Meta.parse(meta)
    if found.layout != view.layout:
        raise StateError(
            f"view {view.view.name!r}: its records hold other columns than its definition has now",
            hint="`asof backfill` makes them anew; then start the worker again",
            view=view.view.name,
        )
    return found.watermark_us


def _for_view(part: Part, view: StreamedView) -> Part:
    """The columns that the view's records hold."""
    layout = view.layout
    names = [*layout.names, *([KEY_LOW, KEY_HIGH] if layout.keyed else [])]
    nothing = pa.chunked_array([pa.nulls(part.group.size, pa.int64())])
    return replace(
        part,
        values={name: part.values.get(name, nothing) for name in names},
        predicates={sql: part.predicates[sql] for sql in layout.predicates},
    )


def _of_groups(arrivals: Arrivals, start: int, stop: int) -> Arrivals:
    """What arrives for the entities from start to stop, numbered from 0 on."""
    group = arrivals.part.group
    mine = (group >= start) & (group < stop)
    return replace(arrivals, part=replace(arrivals.part, group=np.where(mine, group - start, -1)))


def _only(arrivals: Arrivals, groups: Bools) -> Arrivals:
    """What arrives for the entities where the mask is true."""
    group = arrivals.part.group
    mine = (group >= 0) & groups[np.maximum(group, 0)]
    return replace(arrivals, part=replace(arrivals.part, group=np.where(mine, group, -1)))
