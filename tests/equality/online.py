"""Online against training: materialize in several runs, read at instants, and compare every value and status.

What the store can know is modelled here: a row is in it when some run read it after it had arrived in the source. So
the expected table is the source without the rows that came too late for every run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa
from hypothesis import strategies as st

import asof
from asof.define.feature_view import FeatureRef, FeatureView
from asof.define.fingerprint import fingerprint
from asof.define.service import FeatureService
from asof.define.window import BEGIN_US
from asof.errors import NumericOverflow
from asof.flows.answer import EXPIRED, MISSING, NULL, PRESENT, Answer
from asof.flows.materialize import Resources, ViewReport, plan_steps, run_steps
from asof.online.codec import Meta
from asof.online.keys import encode_keys
from asof.online.store import META_KEY, OnlineStore
from asof.registry.state import namespace_of
from asof.testing.clock import FakeClock
from asof.testing.generated import same
from asof.testing.generated.naive import Needed
from asof.testing.oracle import Row
from asof.testing.oracle.rows import visible
from tests.equality.checking import OVERFLOW, by_oracle, by_project, instant, micros
from tests.equality.definitions import oracle_rows
from tests.equality.strategies import instants, mostly

NOW = 10**6  # after everything in these histories
MANY = 2**40


@dataclass(frozen=True)
class Work:
    """One run: the watermark that it makes, how late rows may come, how far back records reach, and how it works."""

    until: int
    lateness: int = 100
    history: int = 3
    whole: bool = False
    memory: int = MANY
    threads: int = 1


@st.composite
def works(draw: st.DrawFn, max_size: int = 4) -> list[Work]:
    """Several runs, whose watermarks grow or stay."""
    made: list[Work] = []
    until = draw(st.integers(-3, 14))
    for _ in range(draw(st.integers(1, max_size))):
        made.append(
            Work(
                until,
                lateness=draw(st.sampled_from([0, 1, 3, 100])),
                history=draw(st.sampled_from([0, 1, 3, 100])),
                whole=draw(mostly(st.sampled_from([False]), st.booleans(), 3)),
                memory=draw(mostly(st.just(MANY), st.just(2000), 8)),
                threads=draw(st.sampled_from([1, 1, 2])),
            )
        )
        until += draw(st.sampled_from([0, 1, 2, 5]))
    return made


def arrivals(most: int = 3) -> st.SearchStrategy[list[int]]:
    """For each row of a history (and over again) the run before which it arrives."""
    return st.lists(mostly(st.just(0), st.integers(0, most), 2), min_size=1, max_size=8)


@dataclass
class Told:
    """What the runs have told: where the store stands, and the rows that it has."""

    watermark: int = BEGIN_US
    floor: int = BEGIN_US
    reports: list[list[ViewReport]] = field(default_factory=list)


def materialize(
    service: FeatureService, store: OnlineStore, work: Work, *, now: int = NOW
) -> list[ViewReport]:
    """One run over what the definitions hold now."""
    project = asof.Project(objects=[service])
    views = list({ref.view.name: ref.view for ref in service.refs}.values())
    resources = Resources(work.threads, work.memory, work.history, work.lateness)
    steps = plan_steps(views, store, work.until, now, resources, whole=work.whole)
    engine = project.engine()
    try:
        with project.meter.run("materialize") as run:
            return run_steps(engine, steps, store, resources, run, lambda *_: None)
    finally:
        engine.close()


def forget(service: FeatureService, store: OnlineStore) -> None:
    """Leaves nothing of a service's views in the store."""
    for ref in service.refs:
        store.drop(namespace(ref.view))


def namespace(view: FeatureView) -> str:
    return namespace_of(fingerprint(view))


def meta_of(store: OnlineStore, view: FeatureView) -> Meta:
    found = store.get([(namespace(view), [META_KEY])])[0]
    assert found is not None
    return Meta.parse(found)


# ------------------------------------------------------------------------------------------------ runs, as modelled
def run_all(
    make: Any, table: pa.Table, knowns: Sequence[int | None], came: Sequence[int], runs: Sequence[Work],
    store: OnlineStore, *, revised: bool,
) -> tuple[FeatureService, int, int]:  # fmt: skip
    """Does all runs, each over the rows that have arrived by then (`make(table)` is the service over them).

    Gives the service over the rows that the store has, its watermark, and its floor.
    """
    came = [came[row % len(came)] for row in range(len(knowns))]
    forget(make(table), store)
    inside = [False] * len(knowns)
    watermark = floor = None
    for number, work in enumerate(runs):
        there = [row for row, at in enumerate(came) if at <= number]
        materialize(make(table.take(pa.array(there, pa.int64()))), store, work)
        if watermark is not None and work.until <= watermark and not work.whole:
            continue
        anew = work.whole or revised or watermark is None
        since = BEGIN_US if anew or watermark is None else watermark - work.lateness
        for row in there:
            known = knowns[row]
            inside[row] |= anew or (known is not None and known >= since)
        floor = work.until - work.history if anew or floor is None else max(floor, work.until - work.history)
        watermark = work.until
    assert watermark is not None
    assert floor is not None
    service = make(table.take(pa.array([row for row, has in enumerate(inside) if has], pa.int64())))
    for ref in service.refs:
        meta = meta_of(store, ref.view)
        assert (meta.watermark_us, meta.floor_us) == (watermark, floor)
    return service, watermark, floor


# ------------------------------------------------------------------------------------------------ reads
def check_online(
    service: FeatureService, store: OnlineStore, spine: pa.Table, watermark: int, floor: int
) -> None:
    """Reads the spine's entities at its instants: all equal what the oracle and the training set say as known then."""
    asked = [(row, micros(at)) for row, at in enumerate(spine["event_time"].to_pylist())]
    for at in dict.fromkeys(at for _, at in asked if at is not None and at >= floor):
        lines = spine.take(pa.array([row for row, when in asked if when == at], pa.int64()))
        check_at(service, store, lines, at, watermark, floor)


def check_at(
    service: FeatureService, store: OnlineStore, lines: pa.Table, at: int, watermark: int, floor: int
) -> None:
    """The same for one instant."""
    slow = by_oracle(service, lines, as_known=True, cutoff_us=watermark - 1)
    fast = by_project(service, lines, as_known=True, cutoff_us=watermark - 1)
    answer = read(service, store, lines, at)
    if OVERFLOW in (
        slow if isinstance(slow, str) else "",
        fast if isinstance(fast, str) else "",
    ) or isinstance(answer, str):
        assert answer == fast == slow
        return
    for item in service.features:
        name = item.name
        one, other = answer.arrow(name), fast[name].combine_chunks()
        assert one.type == other.type, name
        found, wanted = repr(one.to_pylist()), repr(other.to_pylist())
        feature = getattr(item, "feature", None)
        assert found == wanted, f"{name} at {at}, watermark {watermark}: {found}, not {wanted}; {feature}"
        assert answer.lists[service.names.index(name)] == one.to_pylist() or "nan" in repr(one.to_pylist())
    for ref in (item for item in service.features if isinstance(item, FeatureRef)):
        found = answer.arrow(ref.name).to_pylist()
        for row, line in enumerate(slow):
            assert same(ref.feature, found[row], line[ref.name]), (ref.name, row, found[row], line[ref.name])
    check_marks(service, store, lines, answer, watermark, floor)


def read(service: FeatureService, store: OnlineStore, lines: pa.Table, at: int) -> Answer | str:
    """The answer of a reader that knows nothing yet, or OVERFLOW."""
    reader = asof.Project(objects=[service], clock=FakeClock(instant(at))).online(store=store)
    keys = {name for entity in service.entities for name in entity.keys.names}
    wanted = [name for name, _ in reader.describe(service.name).request]
    request = {name: lines[name] for name in wanted} if wanted else None
    try:
        return reader.read(service.name, {name: lines[name].to_pylist() for name in keys}, request)
    except NumericOverflow:
        return OVERFLOW


def check_marks(
    service: FeatureService, store: OnlineStore, lines: pa.Table, answer: Answer, watermark: int, floor: int
) -> None:
    """What the answer says of its values: missing, expired, null or present; and each view's newest event."""
    views = {ref.view.name: ref.view for ref in service.refs}
    seen = {name: _seen(view, store, lines, answer.at_us, watermark) for name, view in views.items()}
    for column, item in enumerate(service.features):
        if not isinstance(item, FeatureRef):
            continue
        values = answer.arrow(item.name).to_pylist()
        for row, (missing, events) in enumerate(seen[item.view.name]):
            wanted = MISSING if missing else _worth(item, events, values[row], answer.at_us)
            assert answer.statuses[row, column] == wanted, (item.name, row)
    for fresh in answer.freshness:
        assert fresh.watermark_us == watermark
        reach = max((f.window.reach_us or MANY) + 1 for f in views[fresh.view].features)
        for row, (missing, events) in enumerate(seen[fresh.view]):
            newest = max((one.event_us or 0 for one in events), default=None)
            found = int(fresh.newest_us[row])
            if found <= BEGIN_US:
                assert missing or newest is None or newest < floor - reach, (row, newest)
            else:
                assert found == newest


def _worth(item: FeatureRef, events: Sequence[Row], value: Any, at: int) -> int:
    past = [row.event_us or 0 for row in events if (row.event_us or 0) <= at]
    ttl = item.feature.ttl_us
    if item.feature.function == "latest" and ttl is not None and past and at - past[-1] > ttl:
        return EXPIRED
    return NULL if value is None else PRESENT


def _seen(
    view: FeatureView, store: OnlineStore, lines: pa.Table, at: int, watermark: int
) -> list[tuple[bool, list[Row]]]:
    """For each line whether the store has no record, and the entity's visible rows."""
    names = view.entity.keys.names
    read = Needed.by(view.features)
    rows = oracle_rows(view.source, [dict(view.keys).get(n, n) for n in names], read.columns, read.predicates)
    shown = visible(rows, min(at, watermark - 1))
    kinds = [dtype.kind for _, dtype in view.entity.keys]
    found: list[tuple[bool, list[Row]]] = []
    for line in lines.to_pylist():
        entity = tuple(line[name] for name in names)
        if None in entity:
            found.append((True, []))
            continue
        key = encode_keys(kinds, [[value] for value in entity])
        record = store.get([(namespace(view), key)])[0]
        found.append((record is None, [row for row in shown if row.entity == entity]))
    return found


def knowns_of(table: pa.Table, options: Any) -> list[int | None]:
    """When each row of a history is known, as its source declares it."""
    rows = zip(table["happened"].to_pylist(), table["known"].to_pylist(), strict=True)
    if options.known_at is not None:
        return [None if h is None and options.key is None else micros(k) for h, k in rows]
    late = 2 if options.delay else 0
    return [None if h is None else (micros(h) or 0) + late for h, _ in rows]


TIMES = instants(-4, 22)
__all__ = ["TIMES", "Work", "arrivals", "check_at", "check_online", "forget", "knowns_of", "materialize", "meta_of",
           "namespace", "read", "replace", "run_all", "works"]  # fmt: skip
