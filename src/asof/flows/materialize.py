"""Materialization: the rows of views' sources become records in the online store, interval by interval.

A run reads what became known since the last one (again from `lateness` before it, for rows that came late), puts it in
the place of what the records hold of that interval, and moves the watermark when all is written. So a run that is
killed and started again gives the same records: nothing is counted twice and nothing is left out. Views of a source
that is revised are made anew whole, since a correction may move an event to another entity.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
import pyarrow as pa

from asof.compute.history import History, Part
from asof.compute.record import KEY_HIGH, KEY_LOW, Layout, Packed, join, pack_history, unpack_history
from asof.compute.retain import Retention, compacted, merged_features, retention_of
from asof.define.feature_view import FeatureView
from asof.define.fingerprint import fingerprint
from asof.define.source import parts_of
from asof.define.window import BEGIN_US
from asof.engines.scan import Engine
from asof.errors import DataError
from asof.flows.groups import Group, group_features
from asof.flows.materialize_rows import Interval, Rows, part_of_records, read_rows, scans_for
from asof.flows.spill import plan_partitions
from asof.online.codec import Meta
from asof.online.store import META_KEY, Item, OnlineStore
from asof.registry.state import namespace_of
from asof.usage import Run

Progress = Callable[[str, str, int, int], None]
_WRITE_AT_ONCE = 20_000  # records


@dataclass(frozen=True)
class Resources:
    """How a run works: memory and threads; how far back records stay readable (`history_us`), how late rows may come
    (`lateness_us`), and how long the store keeps a record that nobody renews.
    """

    threads: int
    memory_bytes: int
    history_us: int
    lateness_us: int
    ttl_s: int | None = None


@dataclass(frozen=True)
class Step:
    """What a run does for one view: rows known in `[from_us, until_us)`; `whole`: the records are made anew."""

    view: FeatureView
    namespace: str
    from_us: int
    until_us: int
    whole: bool
    meta: Meta | None

    @property
    def is_done(self) -> bool:
        """True where the store has reached the watermark already."""
        return self.meta is not None and not self.whole and self.meta.watermark_us >= self.until_us


@dataclass
class ViewReport:
    """What a run did for one view."""

    view: str
    namespace: str
    fingerprint: str
    from_us: int
    until_us: int
    whole: bool
    rows: int = 0
    records: int = 0
    removed: int = 0
    size_bytes: int = 0
    done: bool = False


def plan_steps(
    views: Iterable[FeatureView], store: OnlineStore, until_us: int, now_us: int, resources: Resources, *, whole: bool
) -> list[Step]:
    """What a run has to do; nothing is changed.

    Raises:
        DataError: the end lies in the future.
    """
    if until_us > now_us:
        raise DataError(
            "the end of the interval lies in the future",
            hint="what is not known yet cannot be materialized; leave --until away for now",
            until_us=until_us,
        )
    steps: list[Step] = []
    for view in views:
        namespace = namespace_of(fingerprint(view))
        found = store.get([(namespace, [META_KEY])])[0]
        meta = None if found is None else Meta.parse(found)
        revised = any(part.source.key is not None for part in parts_of(view.source))
        anew = whole or meta is None or revised
        current = meta is not None and meta.watermark_us >= until_us and not whole
        from_us = BEGIN_US if anew or meta is None else meta.watermark_us - resources.lateness_us
        steps.append(Step(view, namespace, from_us, until_us, anew and not current, meta))
    return steps


def run_steps(
    engine: Engine, steps: Sequence[Step], store: OnlineStore, resources: Resources, run: Run, progress: Progress
) -> list[ViewReport]:
    """Does what was planned; views that share a source and an entity share one reading."""
    reports: dict[str, ViewReport] = {}
    for step in steps:
        print_ = fingerprint(step.view)
        reports[step.view.name] = ViewReport(
            step.view.name, step.namespace, print_, step.from_us, step.until_us, step.whole, done=step.is_done
        )
    open_steps = [step for step in steps if not step.is_done]
    for group, members in _groups(open_steps):
        _Job(engine, group, members, store, resources, run, progress).run_all(reports)
    return [reports[step.view.name] for step in steps]


def _groups(steps: Sequence[Step]) -> Iterator[tuple[Group, list[Step]]]:
    for whole, from_us in dict.fromkeys((step.whole, step.from_us) for step in steps):
        mine = {step.view.name: step for step in steps if (step.whole, step.from_us) == (whole, from_us)}
        refs = [ref for step in mine.values() for ref in step.view.refs()]
        for group in group_features(refs):
            names = dict.fromkeys(view for (view, _), _ in group.features)
            yield group, [mine[name] for name in names]


class _Job:
    """One reading of a source for the views that share it."""

    def __init__(
        self,
        engine: Engine,
        group: Group,
        steps: Sequence[Step],
        store: OnlineStore,
        resources: Resources,
        run: Run,
        progress: Progress,
    ) -> None:
        self.engine, self.group, self.steps, self.store = engine, group, steps, store
        self.resources, self.run, self.progress = resources, run, progress
        self.until_us = steps[0].until_us
        self.floor_us = self.until_us - resources.history_us
        self.retentions = {step.view.name: self._retention(step.view) for step in steps}

    def _retention(self, view: FeatureView) -> Retention:
        return retention_of(merged_features(view.features), revised=self.group.is_revised)

    def run_all(self, reports: dict[str, ViewReport]) -> None:
        """Reads, writes, sweeps, and moves the watermark last."""
        step = self.steps[0]
        interval = Interval(step.from_us, self.until_us, self._least_event_us())
        parts = plan_partitions(self.engine, scans_for(self.group, interval, 1), self.resources.memory_bytes)
        layouts: dict[str, Layout] = {}
        for number in range(parts):
            rows = read_rows(self.engine, self.group, interval, self.run, self.progress, (number, parts))
            for each in self.steps:
                layouts[each.view.name] = self._write(each, rows, reports[each.view.name])
        for each in self.steps:
            report = reports[each.view.name]
            if each.whole and each.meta is not None:
                report.removed += self._sweep(each)
            self._finish(each, layouts[each.view.name], report)

    def _least_event_us(self) -> int:
        """Events before it cannot matter: no window reaches so far, and nobody asks for the newest or oldest."""
        needs = list(self.retentions.values())
        if any(each.reach_us is None or each.edges for each in needs):
            return BEGIN_US
        return self.floor_us - max(each.reach_us or 0 for each in needs)

    def _write(self, step: Step, rows: Rows, report: ViewReport) -> Layout:
        """The records of one view; gives their layout."""
        name = step.view.name
        with self.run.stage("pack", asset=name) as stage:
            history, layout = self._history(step, rows)
            report.rows += sum(int((part.group >= 0).sum()) for part in rows.parts)
            history = compacted(history, self.retentions[name], self.floor_us)
            packed = pack_history(history, layout, watermark_us=self.until_us, floor_us=self.floor_us)
            stage.rows += history.size
            stage.bytes += packed.data.size
        with self.run.stage("write", asset=name) as stage:
            written = 0
            for chunk in _chunks(_items(rows.keys, packed)):
                written += self.store.write(step.namespace, chunk, ttl_s=self.resources.ttl_s)
                self.progress("write", name, written, len(rows.keys))
            stage.rows += written
            stage.bytes += packed.data.size
        report.records += written
        report.size_bytes += packed.data.size
        if not step.whole:
            empty = [key for key, size in zip(rows.keys, np.diff(packed.offsets), strict=True) if size == 0]
            report.removed += self.store.delete(step.namespace, empty) if empty else 0
        return layout

    def _history(self, step: Step, rows: Rows) -> tuple[History, Layout]:
        """The history of a view's entities: what was read, and what their records hold from before the interval."""
        features = merged_features(step.view.features)
        columns = sorted({name for f in features for name in (f.column, f.by) if name is not None})
        predicates = tuple(sorted({f.predicate for f in features if f.predicate is not None}))
        keyed = self.group.is_revised
        wanted = [*columns, *([KEY_LOW, KEY_HIGH] if keyed else [])]
        parts = [
            replace(
                part,
                values={name: part.values.get(name, _nobody(part)) for name in wanted},
                predicates={sql: part.predicates[sql] for sql in predicates},
            )
            for part in rows.parts
        ]
        if not step.whole and step.meta is not None and rows.keys:
            data, offsets = join(self.store.get([(step.namespace, rows.keys)]))
            held = unpack_history(data, offsets, step.meta.layout)
            parts.insert(0, part_of_records(held, step.meta.layout, step.from_us))
        history = History.build(parts, len(rows.keys), threads=self.resources.threads)
        layout = Layout(tuple((name, history.columns[name].dtype) for name in columns), predicates, keyed)
        return history, layout

    def _sweep(self, step: Step) -> int:
        """Removes the records that the new state does not have."""
        gone: list[bytes] = []
        for key, record in self.store.scan(step.namespace):
            if key != META_KEY and int.from_bytes(record[8:16], "little", signed=True) < self.until_us:
                gone.append(key)
        return self.store.delete(step.namespace, gone) if gone else 0

    def _finish(self, step: Step, layout: Layout, report: ViewReport) -> None:
        before = 0 if step.meta is None or step.whole else step.meta.entities
        entities = max(before, report.records)
        meta = Meta(layout, self.until_us, self.floor_us, BEGIN_US, report.fingerprint, entities)
        self.store.write(step.namespace, [(META_KEY, meta.to_bytes())])
        report.done = True


def _nobody(part: Part) -> pa.ChunkedArray:
    """The event keys of a source that has none, beside one that does."""
    return pa.chunked_array([pa.nulls(part.group.size, pa.int64())])


def _items(keys: Sequence[bytes], packed: Packed) -> Iterator[Item]:
    for key, record in zip(keys, packed.records(), strict=True):
        if record:
            yield key, record


def _chunks(items: Iterator[Item]) -> Iterator[list[Item]]:
    while chunk := list(islice(items, _WRITE_AT_ONCE)):
        yield chunk
