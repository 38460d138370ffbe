"""Materialization: the rows of views' sources become records in the online store, interval by interval.

A run reads what became known since the last one (again from `lateness` before it, for rows that came late), puts it in
the place of what the records hold of that interval, and moves the watermark when all is written. So a run that is
killed and started again gives the same records: nothing is counted twice and nothing is left out. Views of a source
that is revised are made anew whole, since a correction may move an event to another entity. Here is what a run does;
how one source becomes records is in materialize.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from asof.compute.retain import Retention, merged_features, retention_of
from asof.define.feature_view import FeatureView
from asof.define.fingerprint import fingerprint
from asof.define.source import is_streamed, parts_of
from asof.define.window import BEGIN_US
from asof.errors import ConfigError, DataError, StateError
from asof.flows.groups import Group, group_features
from asof.flows.stream_checkpoint import Checkpoints
from asof.online.codec import Meta
from asof.online.store import META_KEY, OnlineStore
from asof.registry.state import namespace_of

_ROUNDS = 5


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
    """What a run does for one view: rows known in `[from_us, until_us)`.

    `whole`: the records are made anew, and those that the new state does not have are removed. Where the store has
    reached the watermark already, nothing is known between `from_us` and `until_us`: both are that watermark.
    """

    view: FeatureView
    namespace: str
    from_us: int
    until_us: int
    whole: bool
    meta: Meta | None
    note: str = ""

    @property
    def is_done(self) -> bool:
        """True where the store has reached the watermark already."""
        return self.meta is not None and not self.whole and self.meta.watermark_us >= self.until_us

    @property
    def newest_us(self) -> int:
        """A record with a later watermark is another run's, which began later than this one."""
        return max(self.until_us, BEGIN_US if self.meta is None else self.meta.watermark_us)

    @property
    def is_streamed(self) -> bool:
        """True where the records have a stream part as well, and a worker may write them at the same time."""
        return is_streamed(self.view.source)

    @cached_property
    def retention(self) -> Retention:
        """Which rows the records keep."""
        return retention_of(merged_features(self.view.features), revised=is_revised(self.view))

    def lasting_s(self, resources: Resources) -> int | None:
        """How long a record lives after it was written: never less than a row of it may still count, since a record
        that is gone when its entity's next row comes would miss the older ones.
        """
        if resources.ttl_s is None or self.retention.reach_us is None or self.retention.edges:
            return None
        needed_us = self.retention.reach_us + resources.history_us + resources.lateness_us
        return max(resources.ttl_s, -(-needed_us // 1_000_000))


@dataclass
class ViewReport:
    """What a run did for one view: rows read, records written and removed, bytes written; and what the store holds now
    (`entities`, `held_bytes`). `done` is False while the watermark has not moved.
    """

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
    entities: int = 0
    held_bytes: int = 0
    done: bool = False
    notes: list[str] = field(default_factory=list[str])


def plan_steps(
    views: Iterable[FeatureView],
    store: OnlineStore,
    until_us: int,
    now_us: int,
    resources: Resources,
    *,
    whole: bool,
) -> list[Step]:
    """What a run has to do; nothing is changed.

    Raises:
        DataError: the end lies in the future. ConfigError: records shall expire, and the store cannot do that.
    """
    if until_us > now_us:
        raise DataError(
            "the end of the interval lies in the future",
            hint="what is not known yet cannot be materialized; leave --until away for now",
            until_us=until_us,
        )
    if resources.ttl_s is not None and not store.capabilities.expires:
        raise ConfigError(
            "online.ttl is set, and this online store cannot forget records", hint="unset online.ttl"
        )
    found = list(views)
    spaces = [namespace_of(fingerprint(view)) for view in found]
    metas = store.get([(namespace, [META_KEY]) for namespace in spaces])
    held = [None if data is None else Meta.parse(data) for data in metas]
    ends = [_until(view, store, until_us, meta) for view, meta in zip(found, held, strict=True)]
    return [
        replace(_step(view, space, meta, end, resources, whole=whole), note=note)
        for view, space, meta, (end, note) in zip(found, spaces, held, ends, strict=True)
    ]


def _until(view: FeatureView, store: OnlineStore, until_us: int, meta: Meta | None) -> tuple[int, str]:
    """The end of a view's interval: what is known before it has to be in the history, that of streams included.

    That of a streamed view never goes back: what its batch part has taken of the stream part would be in neither.
    """
    names = [part.source.name for part in parts_of(view.source) if part.source.stream is not None]
    if names and meta is not None and meta.watermark_us > until_us:
        return meta.watermark_us, "up to where an earlier run has come"
    ends = {name: Checkpoints(store, name).settled(until_us) for name in names}
    least = min([until_us, *ends.values()])
    held = sorted(name for name, end in ends.items() if end < until_us)
    return least, f"up to what the stream of {', '.join(held)} has landed" if held else ""


def _step(
    view: FeatureView, namespace: str, meta: Meta | None, until_us: int, resources: Resources, *, whole: bool
) -> Step:
    if meta is not None and meta.watermark_us >= until_us and not whole:
        return Step(view, namespace, meta.watermark_us, meta.watermark_us, whole=False, meta=meta)
    if whole or meta is None or is_revised(view):
        return Step(view, namespace, BEGIN_US, until_us, whole=True, meta=meta)
    return Step(view, namespace, meta.watermark_us - resources.lateness_us, until_us, whole=False, meta=meta)


def is_revised(view: FeatureView) -> bool:
    """True where a later row of the view's source can change an earlier one."""
    return any(part.source.key is not None for part in parts_of(view.source))


def report_of(step: Step) -> ViewReport:
    """The report of a step before anything is done."""
    meta = step.meta
    return ViewReport(
        step.view.name, step.namespace, fingerprint(step.view), step.from_us, step.until_us, step.whole,
        entities=0 if meta is None else meta.entities, held_bytes=0 if meta is None else meta.size_bytes,
        done=step.is_done, notes=[step.note] if step.note else [],
    )  # fmt: skip


def groups_of(steps: Sequence[Step]) -> Iterator[tuple[Group, list[Step]]]:
    """The steps that share one reading: of one source and entity, over one interval."""
    for interval in dict.fromkeys((step.whole, step.from_us, step.until_us) for step in steps):
        mine = {s.view.name: s for s in steps if (s.whole, s.from_us, s.until_us) == interval}
        refs = [ref for step in mine.values() for ref in step.view.refs()]
        for group in group_features(refs):
            names = dict.fromkeys(view for (view, _), _ in group.features)
            yield group, [mine[name] for name in names]


@dataclass
class Rounds:
    """Which steps are still to be done. A step comes again when it has to be made whole after all, or when another run
    has come further meanwhile; that may happen a few times, and not for ever.
    """

    resources: Resources
    left: list[Step]
    count: int = 0

    def __iter__(self) -> Iterator[tuple[Group, list[Step]]]:
        """The groups of all rounds.

        Raises:
            StateError: other runs on a view come further all the time.
        """
        while self.left:
            if self.count == _ROUNDS:
                names = ", ".join(step.view.name for step in self.left)
                raise StateError(
                    f"other runs have moved the watermark {_ROUNDS} times while this one worked: {names}",
                    hint="let one run at a time work on a view",
                )
            self.count += 1
            now, self.left = self.left, []
            yield from groups_of(now)

    def again(self, step: Step, meta: Meta | None, *, whole: bool) -> Step:
        """Has a step done again, from what the store says now: whole, or where another run came further, from the
        watermark of this one on. This one's records hold all that was known before it.
        """
        until_us = step.until_us if meta is None else max(step.until_us, meta.watermark_us)
        whole = whole or meta is None or is_revised(step.view)
        from_us = BEGIN_US if whole else step.until_us - self.resources.lateness_us
        made = Step(step.view, step.namespace, from_us, until_us, whole, meta)
        self.left.append(made)
        return made
