"""Streams: whatever happens to workers, reads equal the training set and the oracle in the end, to the last bit."""

from __future__ import annotations

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

import asof
from asof.flows.stream import Limits
from asof.online.open_store import open_store
from asof.streams import log_follow
from tests.equality.online import Work
from tests.equality.strategies import feature_lists, mostly, rows_of_events
from tests.equality.streaming import BEGIN, KEYED, NEVER, UNKEYED, World

SOAK = settings.default is not None and settings.default.max_examples >= 5_000
# An event stays with its entity: corrections that move one to another are told in the documentation of streams.
OWNERS = {
    "1": ("a", 1),
    "2": ("a", 1),
    "3": ("a", 2),
    "4": ("b", 1),
    "5": ("b", None),
    "6": ("c", 2),
    None: ("a", 1),
}


def owned(row: dict[str, Any]) -> dict[str, Any]:
    """The row with the entity that its event has."""
    k, k2 = OWNERS[row["id"]]
    return {**row, "k": k, "k2": k2}


EVENTS = st.lists(rows_of_events(-10, 2), min_size=1, max_size=4)
LIMITS = st.builds(
    Limits,
    batch_events=st.sampled_from([1, 1, 2, 5, 100]),
    land_us=st.sampled_from([0, 1, 3, NEVER]),
    land_events=st.sampled_from([1, 3, 10**6]),
    history_us=st.sampled_from([0, 3, 3, 100]),
)
# Records with tiles are a little less exact for floats (test_online_tiles.py), so that one feature here has no hop ...
IN_ROWS = feature_lists(max_size=4).map(lambda made: [*made, asof.count().over("1us").named("rows")])
# ... but where all numbers are exact.
TILED = st.lists(
    st.builds(
        lambda function, size, hop, offset: function.over(size, hop=hop, offset=offset),
        st.sampled_from([asof.count(), asof.count("s"), asof.sum("n"), asof.sum("i"), asof.min("i"), asof.max("n"),
                         asof.sum("n").where("i > 0")]),
        st.sampled_from(["2us", "4us", "8us"]), st.sampled_from(["1us", "2us"]), st.sampled_from([None, "4us"]),
    ),
    min_size=1, max_size=3,
).map(lambda made: [one.named(f"f{number}") for number, one in enumerate(made)])  # fmt: skip
CHANGES = st.sampled_from([
    {}, {}, {"gone": True}, {"gone": True}, {"i": 7}, {"f": None}, {"s": "v", "n": 1}, {"happened": -3},
    {"happened": 0},
])  # fmt: skip


class Streaming(RuleBasedStateMachine):
    """A world, and what may happen in it."""

    store: Any

    @initialize(
        keyed=st.booleans(),
        partitions=st.sampled_from([1, 2, 3]),
        features=mostly(IN_ROWS, TILED, 3),
        history=st.lists(rows_of_events(0, 18), max_size=6),
        first=st.booleans(),
    )
    def begin(self, keyed, partitions, features, history, first):
        """The declared history is there from the beginning, and may be materialized before all."""
        self.keyed = keyed
        rows = [self._fitting({**row, "known": 19}, 0) for row in history]
        self.world = World(self.store, rows, KEYED if keyed else UNKEYED, features, partitions)
        if first:
            self.world.materialize(Work(BEGIN))

    def _fitting(self, row: dict[str, Any], base: int) -> dict[str, Any]:
        row = owned(row) if self.keyed else row
        happened = None if row["happened"] is None else row["happened"] + base
        return {**row, "happened": happened}

    @rule(rows=EVENTS)
    def push(self, rows):
        """Events, late ones and such that cannot be used among them."""
        self.world.push([self._fitting(row, self.world.now) for row in rows])

    @precondition(lambda self: self.keyed and self.world.pushed)
    @rule(which=st.integers(0, 100), change=CHANGES)
    def push_again(self, which, change):
        """A former event: repeated, corrected or withdrawn."""
        old = self.world.pushed[which % len(self.world.pushed)]
        made = {**old, **change}
        if "happened" in change:
            made["happened"] = self.world.now + change["happened"]
        self.world.push([made])

    @rule(by=mostly(st.sampled_from([1, 2, 5]), st.just(3_600_000_001), 10))
    def advance(self, by):
        """Time passes, sometimes a long one."""
        self.world.advance(by)

    @precondition(lambda self: len(self.world.workers) < 2)
    @rule(limits=LIMITS)
    def start(self, limits):
        """One more worker."""
        self.world.start(limits)

    @precondition(lambda self: self.world.workers)
    @rule(which=st.integers(0, 1), times=st.integers(1, 4))
    def step(self, which, times):
        """A worker works."""
        self.world.step(self._one(which), times)

    @precondition(lambda self: self.world.workers)
    @rule(which=st.integers(0, 1))
    def flush(self, which):
        """A worker lands what it has."""
        self._one(which).worker.flush()

    @precondition(lambda self: self.world.workers)
    @rule(which=st.integers(0, 1))
    def kill(self, which):
        """A worker is gone between two steps."""
        self.world.kill(self._one(which))

    @precondition(lambda self: self.world.workers)
    @rule(which=st.integers(0, 1), writes=st.integers(0, 8), flush=st.booleans())
    def kill_while_writing(self, which, writes, flush):
        """A worker is gone in the midst of a write."""
        self.world.kill_at(self._one(which), writes, flush=flush)

    @precondition(lambda self: len(self.world.workers) == 1)
    @rule(limits=LIMITS)
    def overtake(self, limits):
        """A worker is held up, and another one takes over."""
        self.world.overtake(self._one(0), limits)

    @rule(
        back=st.sampled_from([0, 0, 1, 5]),
        whole=st.booleans(),
        lateness=st.sampled_from([0, 3, 100]),
        history=st.sampled_from([0, 3, 100]),
        dies=mostly(st.none(), st.integers(0, 8), 3),
    )
    def materialize(self, back, whole, lateness, history, dies):
        """A run beside the workers."""
        work = Work(self.world.now - back, lateness, history, whole)
        self.world.materialize(work, dies_after=dies)

    @rule(view=st.integers(0, 2))
    def replay(self, view):
        """A view takes everything again."""
        self.world.replay(view)

    @rule()
    def check(self):
        """All the same, now."""
        self.world.drain()
        self.world.check()

    def _one(self, which: int) -> Any:
        return self.world.workers[which % len(self.world.workers)]

    def teardown(self):
        if not hasattr(self, "world"):
            return
        try:
            self.world.drain()
            self.world.check()
            self.world.materialize(Work(self.world.now, history=0, whole=True))
            self.world.check()
            self.world.advance(3)
            self.world.check()
        finally:
            self.world.close()


def test_whatever_happens_to_workers_reads_equal_training_sets_and_the_oracle(tmp_path, monkeypatch):
    monkeypatch.setattr(log_follow, "_BALANCE_EVERY_S", 0.0)
    store = open_store("lmdb:///online", root=tmp_path)
    machine = type("Machine", (Streaming,), {"store": store})
    examples = 1_000 if SOAK else 25
    try:
        run_state_machine_as_test(
            machine, settings=settings(settings.default, max_examples=examples, stateful_step_count=22)
        )
    finally:
        store.close()
