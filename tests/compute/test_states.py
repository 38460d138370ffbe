"""The laws of aggregate states: merge is associative, has a neutral element, and finishes right."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asof.compute.bags import Counter, Edge, Registers
from asof.compute.states import Count, DecayedSum, Extreme, Mean, Moments, State, Sum
from asof.errors import NumericOverflow

EXACT: dict[str, Callable[[], Any]] = {
    "count": Count,
    "sum": Sum,
    "mean": Mean,
    "min": lambda: Extreme(largest=False),
    "max": lambda: Extreme(largest=True),
    "counter": Counter,
    "registers": Registers,
    "first 2": lambda: Edge(2, newest=False),
    "last 2": lambda: Edge(2, newest=True),
}
ROUNDED: dict[str, Callable[[], Any]] = {
    "float sum": lambda: Sum("float64"),
    "variance": Moments,
    "decayed": lambda: DecayedSum(1000.0),
}
Event = tuple[int, bool, int]
events = st.lists(st.tuples(st.integers(0, 50), st.booleans(), st.integers(0, 5000)), min_size=1, max_size=6)


def lifted(aggregate: Any, event: Event) -> State:
    value, valid, at = event
    values = np.array([value], np.int64 if not isinstance(aggregate, Moments) else np.float64)
    return aggregate.lift(values, np.array([valid]), np.array([at]))


def folded(aggregate: Any, given_events: list[Event]) -> State:
    state = aggregate.identity(1)
    for event in given_events:
        state = aggregate.merge(state, lifted(aggregate, event))
    return state


def same(left: State, right: State, *, exact: bool) -> bool:
    if exact:
        return all(np.array_equal(left[key], right[key]) for key in left)
    return all(np.allclose(left[key], right[key], rtol=1e-12, atol=1e-12) for key in left)


def ordered(name: str, parts: list[list[Event]]) -> list[list[Event]]:
    """Edges tell apart events of one time by their sequence, which `lift` does not get here: give each its own time."""
    if name not in {"first 2", "last 2"}:
        return parts
    number = iter(range(10_000))
    return [[(value, valid, at * 100 + next(number)) for value, valid, at in part] for part in parts]


@pytest.mark.parametrize("name", [*EXACT, *ROUNDED])
@given(parts=st.tuples(events, events, events))
def test_merge_is_associative_with_identity_as_its_neutral_element(
    name: str, parts: tuple[list[Event], ...]
) -> None:
    aggregate = (EXACT | ROUNDED)[name]()
    a, b, c = (folded(aggregate, part) for part in ordered(name, list(parts)))
    left = aggregate.merge(aggregate.merge(a, b), c)
    right = aggregate.merge(a, aggregate.merge(b, c))
    assert same(left, right, exact=name in EXACT)
    assert same(aggregate.merge(aggregate.identity(1), a), a, exact=name in EXACT)
    assert same(aggregate.merge(a, aggregate.identity(1)), a, exact=name in EXACT)


@pytest.mark.parametrize("name", [*EXACT, *ROUNDED])
@given(parts=st.tuples(events, events))
def test_merge_commutes(name: str, parts: tuple[list[Event], ...]) -> None:
    aggregate = (EXACT | ROUNDED)[name]()
    a, b = (folded(aggregate, part) for part in ordered(name, list(parts)))
    assert same(aggregate.merge(a, b), aggregate.merge(b, a), exact=name in EXACT)


@given(given_events=events)
def test_finished_states_are_what_the_statistics_module_says(given_events: list[Event]) -> None:
    values = [value for value, valid, _ in given_events if valid]

    def finished(aggregate: Any) -> Any:
        value, has = aggregate.finish(folded(aggregate, given_events))
        return value[0] if has[0] else None

    assert finished(Count()) == len(values)
    assert finished(Sum()) == sum(values)
    assert finished(Mean(scale=2)) == (sum(values) / (len(values) * 100) if values else None)
    assert finished(Extreme(largest=True)) == (max(values) if values else None)
    assert finished(Extreme(largest=False)) == (min(values) if values else None)
    assert finished(Counter()) == len(set(values))
    variance = finished(Moments())
    if len(values) < 2:
        assert variance is None
    else:
        assert math.isclose(variance, statistics.variance(values), rel_tol=1e-9, abs_tol=1e-9)
        assert math.isclose(
            finished(Moments(root=True)), statistics.stdev(values), rel_tol=1e-9, abs_tol=1e-9
        )


def test_a_decayed_sum_is_read_as_of_any_instant() -> None:
    aggregate = DecayedSum(half_life_us=10.0)
    state = aggregate.merge(lifted(aggregate, (8, True, 0)), lifted(aggregate, (4, True, 10)))
    assert state["sum"].tolist() == [8.0]
    assert aggregate.as_of(state, np.array([30]))["sum"].tolist() == [2.0]


def test_top_and_rank_read_a_counter() -> None:
    state = folded(
        Counter(), [(5, True, 0), (3, True, 0), (5, True, 0), (9, True, 0), (3, True, 0), (1, False, 0)]
    )
    assert Counter().top(state, 4).tolist() == [[3, 5, 9, -1]]
    assert [Counter().rank(state, q).tolist() for q in (0.0, 0.5, 1.0)] == [[3], [5], [9]]
    assert Counter().rank(Counter().identity(1), 0.5).tolist() == [-1]


def test_an_exact_sum_that_leaves_64_bits_is_an_error() -> None:
    aggregate = Sum()
    big = {"sum": np.array([2**62])}
    with pytest.raises(NumericOverflow):
        aggregate.merge(big, big)
