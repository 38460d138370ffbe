"""Materialization at work: for the views that share a source, rows to histories to records, and those to the store.

Nothing here moves a watermark before all records are written, and no record is replaced that a run wrote which began
later. What a run cannot do this way (the columns' types have changed, another run came first) is done again. What a
run is to do is told in materialize_steps.py.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from asof.compute.arrays import Ints
from asof.compute.merge import graft
from asof.compute.record import Layout, Packed
from asof.define.source import parts_of
from asof.define.window import BEGIN_US
from asof.engines.scan import Engine
from asof.flows.feature_columns import Progress
from asof.flows.groups import Group
from asof.flows.materialize_history import floor_of, layout_of
from asof.flows.materialize_pack import make_records
from asof.flows.materialize_rows import Interval, Reading, Rows, open_reading, slices_of
from asof.flows.materialize_steps import Resources, Rounds, Step, ViewReport, plan_steps, report_of
from asof.flows.materialize_write import Graft, Kept, fetch, sweep, write_records
from asof.flows.stream_checkpoint import Checkpoints
from asof.online.codec import Meta
from asof.online.store import META_KEY, OnlineStore
from asof.usage import Run

RETRACT_S = 1.1
"""A reader believes for a second what it knows of a view's records."""


__all__ = ["Resources", "Step", "ViewReport", "plan_steps", "run_steps"]


def run_steps(
    engine: Engine,
    steps: Sequence[Step],
    store: OnlineStore,
    resources: Resources,
    run: Run,
    progress: Progress,
    *,
    on_done: Callable[[ViewReport], None] = lambda _: None,
) -> list[ViewReport]:
    """Does what was planned, and gives a report for each view; views that share a source and an entity share one
    reading. `on_done` hears of each view when it has reached its watermark.

    Raises:
        StateError: other runs come further all the time. DataError, BackendError: no watermark moves that is not told
            to `on_done`.
    """
    reports = {step.view.name: report_of(step) for step in steps}
    for step in steps:
        if step.is_done:
            on_done(reports[step.view.name])
    rounds = Rounds(resources, [step for step in steps if not step.is_done])
    for group, members in rounds:
        job = _Job(engine, group, members, store, resources, run, progress, rounds, reports)
        for report in job.run_all():
            on_done(report)
    return list(reports.values())


@dataclass
class _State:
    """How far one view is: its layout, what was written, and of a whole run the hashes of all keys."""

    layout: Layout
    changed: bool = False
    written: Kept = field(default_factory=Kept)
    hashes: list[Ints] = field(default_factory=list[Ints])
    floor_us: int = BEGIN_US


@dataclass
class _Job:
    """One reading of a source for the views that share it."""

    engine: Engine
    group: Group
    steps: Sequence[Step]
    store: OnlineStore
    resources: Resources
    run: Run
    progress: Progress
    rounds: Rounds
    reports: dict[str, ViewReport]

    def run_all(self) -> Iterator[ViewReport]:
        """Reads, writes, sweeps, and moves the watermarks last; gives the views that are done."""
        first = self.steps[0]
        self.until_us = first.until_us
        self.floor_us = self.until_us - self.resources.history_us
        interval = Interval(first.from_us, self.until_us, self._least_event_us())
        reading = open_reading(
            self.engine,
            self.group,
            interval,
            self.resources.memory_bytes,
            self.run,
            self.progress,
            whole=first.whole,
        )
        states = self._prepare(reading)
        for rows in reading:
            for step in self.steps:
                if step.view.name in states:
                    self._add(step, rows, states[step.view.name])
        for step in self.steps:
            if step.view.name in states and self._finish(step, states[step.view.name]):
                yield self.reports[step.view.name]

    def _least_event_us(self) -> int:
        """Events before it cannot matter: no window reaches so far, and nobody asks for the newest or oldest."""
        needs = [step.retention for step in self.steps]
        if any(each.reach_us is None or each.edges for each in needs):
            return BEGIN_US
        return self.floor_us - max(each.reach_us or 0 for each in needs)

    def _prepare(self, reading: Reading) -> dict[str, _State]:
        """The views whose records can be written now; one whose records have other columns has to be made whole."""
        states: dict[str, _State] = {}
        for step in self.steps:
            report = self.reports[step.view.name]
            layout = layout_of(step.view, self.group, reading.schemas)
            changed = step.meta is not None and step.meta.layout != layout
            if changed and not step.whole:
                report.notes.append("the columns' types have changed: made anew from the whole history")
                made = self.rounds.again(step, step.meta, whole=True)
                report.from_us, report.whole = made.from_us, True
                continue
            states[step.view.name] = _State(layout, changed=changed)
            if changed:
                self._retract(step)
        return states

    def _retract(self, step: Step) -> None:
        """Nobody may read the new records by the old columns: the view is as one that was never materialized, until it
        is done, and readers get the time to see that.
        """
        self.store.delete(step.namespace, [META_KEY])
        for part in parts_of(step.view.source):
            if part.source.stream is not None:
                Checkpoints(self.store, part.source.name).forget(step.namespace)
        time.sleep(RETRACT_S)

    def _add(self, step: Step, rows: Rows, state: _State) -> None:
        """The records of one view and one partition of entities."""
        held_bytes = 0 if step.whole or step.meta is None else step.meta.record_bytes
        for part in slices_of(rows, held_bytes, self.resources.memory_bytes):
            self._write(step, part, state)

    def _write(self, step: Step, rows: Rows, state: _State) -> None:
        report, name = self.reports[step.view.name], step.view.name
        with self.run.stage("pack", asset=name) as stage:
            held: list[bytes | None] = []
            floor_us = self.floor_us
            if state.layout.tiles is not None:  # a row that may still come late is in no tile yet
                floor_us = min(floor_us, self.until_us - self.resources.lateness_us)
            if step.meta is not None and not step.whole:
                held = fetch(self.store, step.namespace, rows.keys)
                floor_us = floor_of(held, max(floor_us, step.meta.floor_us))
            made = make_records(
                step, self.group, state.layout, rows, held, until_us=self.until_us, floor_us=floor_us,
                threads=self.resources.threads,
            )  # fmt: skip
            packed = made.packed
            report.rows += sum(int((part.group >= 0).sum()) for part in rows.parts)
            stage.rows += made.rows
            stage.bytes += packed.data.size
        done, total = state.written.records, state.written.records + int((np.diff(packed.offsets) > 0).sum())
        with self.run.stage("write", asset=name) as stage:
            kept = write_records(
                self.store, step, rows.keys, packed, step.lasting_s(self.resources),
                lambda n: self.progress("write", name, done + n, total), self._graft(step, state),
            )  # fmt: skip
            stage.rows += kept.records
            stage.bytes += kept.size_bytes
        state.floor_us = max(state.floor_us, floor_us)
        state.written += kept
        if step.whole:
            state.hashes.append(np.fromiter(map(hash, rows.keys), np.int64, len(rows.keys)))

    def _graft(self, step: Step, state: _State) -> Graft | None:
        """What puts a new batch part into a record that has a stream part; None where there is none."""
        if not step.is_streamed:
            return None
        fresh = state.changed  # what the stream has left there has other columns: it will be applied again

        def graft_one(made: Packed, held: Sequence[bytes | None]) -> Packed:
            kept = [None] * len(held) if fresh else held
            return graft(made, kept, state.layout, step.retention, step.until_us)

        return graft_one

    def _finish(self, step: Step, state: _State) -> bool:
        """Sweeps, and moves the watermark; False where the view has to be done again."""
        report = self.reports[step.view.name]
        written = state.written
        if step.whole:
            hashes = np.sort(np.concatenate([np.empty(0, np.int64), *state.hashes]))
            written.removed += sweep(
                self.store, step, hashes, self._graft(step, state), step.lasting_s(self.resources)
            )
        report.records += written.records
        report.removed += written.removed
        report.size_bytes += written.size_bytes
        now = self._meta(step.namespace)
        if (
            step.is_streamed
            and now is not None
            and now.watermark_us > step.newest_us
            and now.layout == state.layout
        ):
            # Each record says itself how far its batch part is, and its stream part holds the rest: nothing is missing.
            report.notes.append("another run came further meanwhile: its watermark stays")
            report.until_us, report.done = now.watermark_us, True
            return True
        if now is not None and now.watermark_us > step.newest_us:
            report.notes.append("another run came further meanwhile: done again up to its watermark")
            report.until_us = self.rounds.again(step, now, whole=False).until_us
            return False
        if not step.whole and (now is None or now.layout != state.layout):
            report.notes.append("another run wrote other columns meanwhile: made anew from the whole history")
            self.rounds.again(step, now, whole=True)
            return False
        before = None if step.whole else step.meta
        report.entities = written.entities + (0 if before is None else before.entities)
        report.held_bytes = written.held_bytes + (0 if before is None else before.size_bytes)
        floor_us = state.floor_us if state.layout.tiles is not None else max(self.floor_us, state.floor_us)
        meta = Meta(
            state.layout,
            self.until_us,
            floor_us,
            BEGIN_US,
            report.fingerprint,
            report.entities,
            report.held_bytes,
        )
        self.store.write(step.namespace, [(META_KEY, meta.to_bytes())])
        report.done = True
        return True

    def _meta(self, namespace: str) -> Meta | None:
        found = self.store.get([(namespace, [META_KEY])])[0]
        return None if found is None else Meta.parse(found)
