"""What an environment holds, and which intervals of it a store covers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asof.define.window import BEGIN_US
from asof.registry.state import Environment, Materialized, State, covers, namespace_of
from tests.registry.rows import entity

Pair = tuple[int, int]


def intervals(*pairs: Pair) -> list[Materialized]:
    return [Materialized("f", begin, end, "v@f") for begin, end in pairs]


@pytest.mark.parametrize(
    ("held", "reach_us", "enough"),
    [
        ([], 0, False),
        ([(0, 10)], 10, True),
        ([(0, 10)], 11, False),
        ([(0, 10), (10, 20)], 20, True),
        ([(10, 20), (0, 10)], 20, True),
        ([(0, 9), (10, 20)], 20, False),  # a gap of one
        ([(0, 9), (10, 20)], 10, True),  # that is further back
        ([(0, 20), (5, 10)], 20, True),  # one within another
        ([(0, 15), (10, 20)], 20, True),
        ([(0, 100), (200, 210)], 50, False),  # long, but old
        ([(0, 10)], None, False),
        ([(BEGIN_US, 10)], None, True),
        ([(BEGIN_US, 10), (10, 20)], None, True),
        ([(BEGIN_US, 9), (10, 20)], None, False),
        ([(BEGIN_US, 10)], 2**63, True),  # everything there is
    ],
)
def test_intervals_cover_a_reach_without_a_gap_from_the_newest_end(
    held: list[Pair], reach_us: int | None, enough: bool
) -> None:
    assert covers(intervals(*held), reach_us) is enough


@given(
    st.lists(st.tuples(st.integers(0, 30), st.integers(1, 10)), min_size=1, max_size=6), st.integers(1, 40)
)
def test_a_reach_is_covered_when_each_of_its_instants_is(lengths: list[Pair], reach: int) -> None:
    pairs = [(begin, begin + length) for begin, length in lengths]
    held = {instant for begin, end in pairs for instant in range(begin, end)}
    newest = max(end for _, end in pairs)
    assert covers(intervals(*pairs), reach) == (set(range(newest - reach, newest)) <= held)


def test_versions_of_a_view_lie_apart() -> None:
    assert namespace_of("0123456789abcdef" + "0" * 48) == "v0123456789abcdef00000000"


def test_a_state_knows_the_fingerprints_of_its_objects() -> None:
    one, other = entity("a", "id"), entity("b", "id")
    state = State("prod", 1, {one.key: one, other.key: other})
    assert state.fingerprints == {one.fingerprint}  # the names differ, the values do not
    assert state.get("entity", "a") is one


def test_production_alone_is_protected() -> None:
    names = ("prod", "production", "dev")
    assert [Environment(name, 1, None, None, 0, 0).protected for name in names] == [True, False, False]
