"""The table of windows, edge by edge."""

from __future__ import annotations

import numpy as np
import pytest

from asof.compute.windows import as_known_at, bounds
from asof.define.window import BEGIN_US, END_US, Window, parse_window

MINUTE = 60_000_000
AT = np.array([662 * MINUTE])  # 11:02


@pytest.mark.parametrize(
    ("closed", "lo", "hi"),
    [("left", 602 * MINUTE, 662 * MINUTE), ("right", 602 * MINUTE + 1, 662 * MINUTE + 1),
     ("both", 602 * MINUTE, 662 * MINUTE + 1), ("neither", 602 * MINUTE + 1, 662 * MINUTE)],
)  # fmt: skip
def test_closed_moves_an_edge_by_one_microsecond(closed: str, lo: int, hi: int) -> None:
    found = bounds(parse_window("1h", closed=closed), AT)  # type: ignore[arg-type]
    assert [edge.tolist() for edge in found] == [[lo], [hi]]


def test_an_offset_moves_the_whole_window_back() -> None:
    found = bounds(parse_window("1h", offset="30m"), AT)
    assert [edge.tolist() for edge in found] == [[572 * MINUTE], [632 * MINUTE]]


def test_a_hop_floors_the_left_edge_on_the_epoch() -> None:
    found = bounds(parse_window("1h", hop="5m"), AT)
    assert [edge.tolist() for edge in found] == [[600 * MINUTE], [662 * MINUTE]]


def test_a_hop_floors_towards_minus_infinity_before_the_epoch() -> None:
    lo, _ = bounds(parse_window("1h", hop="1h"), np.array([-30 * MINUTE]))
    assert lo.tolist() == [-120 * MINUTE]


def test_a_lifetime_begins_before_every_event() -> None:
    lo, hi = bounds(parse_window("lifetime"), AT)
    assert (lo.tolist(), hi.tolist()) == ([BEGIN_US], AT.tolist())


def test_a_forward_window_ends_where_each_query_says() -> None:
    window = Window(60 * MINUTE, forward=True)
    assert [e.tolist() for e in bounds(window, AT)] == [AT.tolist(), [722 * MINUTE]]
    assert bounds(window, AT, AT + 5)[1].tolist() == [662 * MINUTE + 5]


def test_knowledge_is_that_of_the_instant_or_of_the_cutoff() -> None:
    at = np.array([10, 30])
    assert as_known_at(at, as_known=True, cutoff_us=None).tolist() == [10, 30]
    assert as_known_at(at, as_known=True, cutoff_us=20).tolist() == [10, 20]
    assert as_known_at(at, as_known=False, cutoff_us=20).tolist() == [20, 20]
    assert as_known_at(at, as_known=False, cutoff_us=None).tolist() == [END_US - 1] * 2
