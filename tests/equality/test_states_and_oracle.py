"""Aggregate states, merged from pieces in any shape, finish as the oracle's value of all events together."""

from __future__ import annotations

import math
from functools import reduce
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asof.compute.bags import Counter, Edge, Registers
from asof.compute.sketch import hash_numbers
from asof.compute.states import Count, DecayedSum, Extreme, Mean, Moments, Sum
from asof.testing.oracle.functions import decayed_sum, deviation, mean, topk, total, variance

NUMBER = st.integers(-1000, 1000)
FLOAT = st.floats(-1e6, 1e6)
INSTANT = st.integers(-50, 50)


def pieces(values: st.SearchStrategy[Any]) -> st.SearchStrategy[list[list[tuple[Any, bool, int]]]]:
    """Tiles of events: a value, whether it is there, and a time (before 1970 too); tiles may be empty."""
    return st.lists(st.lists(st.tuples(values, st.booleans(), INSTANT), max_size=5), min_size=1, max_size=6)


def merged(aggregate: Any, tiles: list[list[tuple[Any, bool, int]]], dtype: str, *, tree: bool) -> Any:
    """The state of all tiles: one after the other, or in pairs."""
    states = [fold(aggregate, tile, dtype) for tile in tiles]
    while tree and len(states) > 1:
        paired = [reduce(aggregate.merge, states[i : i + 2]) for i in range(0, len(states), 2)]
        states = paired
    return reduce(aggregate.merge, states, aggregate.identity(1))


def fold(aggregate: Any, tile: list[tuple[Any, bool, int]], dtype: str) -> Any:
    state = aggregate.identity(1)
    for value, there, event in tile:
        one = aggregate.lift(np.array([value], dtype), np.array([there]), np.array([event], np.int64))
        state = aggregate.merge(state, one)
    return state


def finished(aggregate: Any, state: Any) -> Any:
    value, there = aggregate.finish(state)
    return value[0].item() if there[0] else None


def there(tiles: list[list[tuple[Any, bool, int]]]) -> list[Any]:
    return [value for tile in tiles for value, there, _ in tile if there]


@given(pieces(NUMBER), st.booleans())
def test_counts_sums_means_and_extremes_of_integers_are_exact(tiles, tree):
    values = there(tiles)
    expected = {
        Count(): len(values),
        Sum(): total(values),
        Mean(): mean(values),
        Extreme(largest=True): max(values, default=None),
        Extreme(largest=False): min(values, default=None),
        Counter(): len(set(values)),
    }
    for aggregate, value in expected.items():
        assert finished(aggregate, merged(aggregate, tiles, "int64", tree=tree)) == value


@given(pieces(FLOAT), st.booleans())
def test_sums_and_moments_of_floats_agree_up_to_rounding(tiles, tree):
    values = there(tiles)
    size = sum(map(abs, values)) or 1.0
    assert finished(Sum("float64"), merged(Sum("float64"), tiles, "float64", tree=tree)) == pytest.approx(
        total(values), rel=1e-12, abs=1e-12 * size
    )
    for aggregate, expected in ((Moments(), variance(values)), (Moments(root=True), deviation(values))):
        found = finished(aggregate, merged(aggregate, tiles, "float64", tree=tree))
        assert (found is None) == (expected is None)
        assert expected is None or math.isclose(found, expected, rel_tol=1e-9, abs_tol=1e-6)


@given(pieces(FLOAT), st.booleans(), st.integers(50, 90), st.sampled_from([3, 40, 10**9]))
def test_a_decayed_sum_can_be_merged_first_and_aged_later(tiles, tree, asked_us, half_life_us):
    aggregate = DecayedSum(float(half_life_us))
    aged = aggregate.as_of(merged(aggregate, tiles, "float64", tree=tree), np.array([asked_us]))
    ages = [asked_us - event for tile in tiles for _, there, event in tile if there]
    expected = decayed_sum(there(tiles), ages, half_life_us)
    assert finished(aggregate, aged) == pytest.approx(expected, rel=1e-9, abs=1e-9)


@given(pieces(st.integers(0, 6)), st.booleans(), st.integers(1, 4), st.sampled_from([0.0, 0.3, 0.5, 1.0]))
def test_counters_give_top_values_and_ranks(tiles, tree, k, q):
    values = there(tiles)
    state = merged(Counter(), tiles, "int64", tree=tree)
    best = topk(values, k)
    assert Counter().top(state, k)[0].tolist() == best + [-1] * (k - len(best))
    rank = sorted(values)[math.floor(q * (len(values) - 1))] if values else -1
    assert Counter().rank(state, q).tolist() == [rank]


@given(pieces(NUMBER), st.booleans(), st.randoms(use_true_random=False))
def test_registers_depend_on_the_set_of_values_alone(tiles, tree, shuffler):
    hashed = [[(int(hash_numbers(np.array([v]))[0]), ok, at) for v, ok, at in tile] for tile in tiles]
    again = [list(tile) + tile[:1] for tile in hashed]
    shuffler.shuffle(again)
    one, other = (
        merged(Registers(), hashed, "int64", tree=tree),
        merged(Registers(), again, "int64", tree=not tree),
    )
    assert np.array_equal(one["registers"], other["registers"])
    assert abs(finished(Registers(), one) - len(set(there(tiles)))) <= 1


ENTRY = st.tuples(NUMBER, st.booleans(), st.integers(0, 3), st.integers(0, 2))


@given(
    st.lists(ENTRY, max_size=12),
    st.lists(st.integers(0, 3), min_size=12, max_size=12),
    st.booleans(),
    st.booleans(),
)
def test_edges_keep_the_canonical_order_however_events_are_dealt_to_tiles(entries, dealt, newest, tree):
    edge = Edge(3, newest=newest)
    tiles = [edge.identity(1) for _ in range(4)]
    for number, (value, ok, event, late) in enumerate(entries):
        one = edge.lift(
            np.array([value]), np.array([ok]), np.array([event]), np.array([event + late]), np.array([number])
        )
        tiles[dealt[number]] = edge.merge(tiles[dealt[number]], one)
    if tree:
        tiles = [edge.merge(tiles[2], tiles[0]), edge.merge(tiles[3], tiles[1])]
    found = reduce(edge.merge, tiles)["value"].tolist()
    order = sorted(
        (event, event + late, number, value) for number, (value, ok, event, late) in enumerate(entries) if ok
    )
    assert found == [value for *_, value in (order[::-1] if newest else order)[:3]]
