"""The oracle against values that were worked out by hand: what is visible, and what a window counts."""

from __future__ import annotations

import pytest

from asof import count, first, last, latest, sum
from asof.define.aggregation import Aggregation, Latest
from asof.define.window import Window
from asof.testing.oracle import Row, feature_value, in_window, visible

A, B = ("a",), ("b",)
MINUTE = 60_000_000
DAY = 86_400_000_000


def clock(text: str) -> int:
    """09:58 on the first day, in microseconds."""
    hours, minutes = text.split(":")
    return (int(hours) * 60 + int(minutes)) * MINUTE


def row(
    event: int | None, x: object = None, *, known: int | None = None, entity=A, seq=0, key=None, deleted=False
):
    """A row of one column; known when it happened unless said otherwise."""
    return Row(entity, event, event if known is None else known, (seq,), key, deleted, {"x": x})


def value(what: Aggregation | Latest, rows, t: int, **options):
    (feature,) = what.features("a test")
    return feature_value(feature, rows, options.pop("entity", A), t, **options)


def shown(rows, t: int) -> list:
    return [r.values["x"] for r in visible(rows, t)]


# --------------------------------------------------------------------------------------------------- windows
MORNING = [row(clock(at)) for at in ("09:58", "10:00", "10:03", "10:30", "10:58", "11:00")]


@pytest.mark.parametrize(
    ("hop", "asked_at", "expected"),
    [(None, "11:02", 4), ("5m", "11:02", 5), (None, "11:58", 2), (None, "14:00", 0), ("5m", "14:00", 0)],
)
def test_the_worked_example_of_the_contract(hop, asked_at, expected):
    assert value(count().over("1h", hop=hop), MORNING, clock(asked_at)) == expected


@pytest.mark.parametrize(
    ("closed", "expected"),
    [
        ("left", [2, 3, 4, 5, 6]),
        ("right", [3, 4, 5, 6, 7]),
        ("both", [2, 3, 4, 5, 6, 7]),
        ("neither", [3, 4, 5, 6]),
    ],
)
def test_closed_says_which_edge_counts(closed, expected):
    window = Window(5, offset_us=3, closed=closed)  # asked at 10: from 2 to 7
    assert [at for at in range(12) if in_window(window, at, 10)] == expected


@pytest.mark.parametrize(
    ("closed", "expected"),
    [("left", range(4, 10)), ("right", range(5, 11)), ("both", range(4, 11)), ("neither", range(5, 10))],
)
def test_a_hop_moves_the_left_edge_back_to_a_multiple_of_itself(closed, expected):
    window = Window(5, closed=closed, hop_us=4)  # asked at 10: 10 - 5 = 5, back to 4
    assert [at for at in range(12) if in_window(window, at, 10)] == list(expected)


def test_before_1970_a_hop_still_moves_the_left_edge_back():
    assert [at for at in range(-12, 0) if in_window(Window(4, hop_us=4), at, -3)] == [-8, -7, -6, -5, -4]


def test_a_lifetime_is_everything_before_t():
    window = Window(None)
    assert [at for at in (-(2**61), 0, 4, 5, 6) if in_window(window, at, 5)] == [-(2**61), 0, 4]


def test_a_forward_window_begins_with_t():
    assert [at for at in range(12) if in_window(Window(3, forward=True), at, 5)] == [5, 6, 7]


def test_the_entity_is_the_whole_key_and_a_row_without_a_part_of_it_matches_nothing():
    rows = [row(1, 1, entity=("a", 1)), row(1, 2, entity=("a", 2)), row(1, 4, entity=("a", None))]
    assert value(sum("x").over("lifetime"), rows, 9, entity=("a", 2)) == 2
    assert value(sum("x").over("lifetime"), rows, 9, entity=("a", None)) == 0


# ---------------------------------------------------------------------------------------------------- visible
def test_a_late_row_is_visible_from_its_known_at_on():
    rows = [row(10, "on time"), row(5, "late", known=20)]
    assert [shown(rows, t) for t in (9, 10, 19, 20)] == [[], ["on time"], ["on time"], ["late", "on time"]]


def test_a_row_that_nobody_knows_when_it_was_known_is_never_visible():
    assert visible([Row(A, 1, None)], 2**62) == []


def test_ties_go_by_known_at_and_then_by_sequence():
    rows = [
        row(5, "c", known=9, seq=1),
        row(5, "b", known=9, seq=0),
        row(5, "a", known=8, seq=7),
        row(4, "z", known=9),
    ]
    assert shown(rows, 9) == ["z", "a", "b", "c"]
    assert value(last("x"), rows, 10) == "c"
    assert value(first("x").over("5us"), rows, 10) == "a"


def test_a_correction_counts_from_the_moment_it_is_known():
    rows = [row(5, 10, key="k"), row(5, 7, key="k", known=8), row(6, 1, key="other")]
    assert [value(sum("x").over("lifetime"), rows, t) for t in (6, 7, 8)] == [10, 11, 8]


def test_a_correction_may_move_an_event_to_another_time_and_entity():
    rows = [row(5, 1, key="k"), row(2, 1, key="k", known=8), row(2, 1, key="k", known=9, entity=B)]
    counts = count().over("4us")
    assert [value(counts, rows, 8, as_known_us=known) for known in (7, 8, 9)] == [1, 0, 0]
    assert [value(counts, rows, 6, as_known_us=known) for known in (7, 8, 9)] == [1, 1, 0]
    assert value(counts, rows, 6, as_known_us=9, entity=B) == 1


def test_a_delete_withdraws_its_event_and_a_later_version_brings_it_back():
    rows = [row(5, 1, key="k"), row(5, 1, key="k", known=7, deleted=True), row(5, 3, key="k", known=9)]
    assert [shown(rows, t) for t in (6, 7, 8, 9)] == [[1], [], [], [3]]


def test_a_version_without_event_time_or_entity_leaves_nothing_to_see():
    lost_time = [row(5, 1, key="k"), row(None, 1, key="k", known=7)]
    lost_entity = [row(5, 1, key="k"), row(5, 1, key="k", known=7, entity=(None,))]
    assert [shown(lost_time, 6), shown(lost_time, 7)] == [[1], []]
    assert [shown(lost_entity, 6), shown(lost_entity, 7)] == [[1], []]


def test_versions_known_at_the_same_time_go_by_sequence():
    assert shown([row(5, "second", key="k", seq=2), row(5, "first", key="k", seq=1)], 5) == ["second"]


def test_a_repeated_delivery_does_not_even_change_a_tie():
    rows = [row(5, "k", key="k", known=6), row(5, "j", key="j", known=7), row(5, "k", key="k", known=8)]
    assert shown(rows, 8) == ["k", "j"]
    changed = [*rows[:2], row(5, "K", key="k", known=8)]
    assert shown(changed, 8) == ["j", "K"]


def test_going_back_to_an_older_value_is_no_repetition():
    rows = [row(5, 1, key="k", known=6), row(5, 2, key="k", known=7), row(5, 1, key="k", known=8)]
    assert [shown(rows, t) for t in (6, 7, 8)] == [[1], [2], [1]]


def test_rows_without_a_key_are_events_of_their_own():
    assert shown([row(5, 1), row(5, 1), row(5, 1, key="k"), row(5, 1, key="k")], 5) == [1, 1, 1]


# ----------------------------------------------------------------------------------------------------- latest
def test_latest_takes_the_newest_row_up_to_t_even_when_it_is_null():
    rows = [row(3, "old"), row(5, None)]
    assert [value(latest("x"), rows, t) for t in (2, 3, 4, 5)] == [None, "old", "old", None]
    assert value(last("x").over("lifetime"), rows, 9) == "old"


def test_a_row_exactly_as_old_as_its_ttl_is_kept():
    rows = [row(0, "tier")]
    assert [value(latest("x", ttl="90d"), rows, t) for t in (90 * DAY, 90 * DAY + 1)] == ["tier", None]


def test_an_older_row_does_not_stand_in_for_one_that_was_withdrawn_by_nothing():
    rows = [row(1, "old"), row(3, "new", key="k"), row(3, "new", key="k", known=4, deleted=True)]
    assert [value(latest("x"), rows, t) for t in (2, 3, 4)] == ["old", "new", "old"]


# ---------------------------------------------------------------------------------------------------- own row
def test_the_own_row_is_the_newest_event_of_every_window_that_ends_at_t():
    rows, own = [row(8, 1), row(10, 2, known=10, seq=9)], row(10, 100)
    assert value(sum("x").over("5us"), rows, 10) == 1
    assert value(sum("x").over("5us"), rows, 10, own=own) == 101
    assert value(sum("x").over("5us", hop="2us"), rows, 10, own=own) == 101
    assert value(sum("x").over("lifetime"), rows, 10, own=own) == 101
    assert value(sum("x").over("5us", closed="right"), rows, 10, own=own) == 103
    assert value(last("x", n=2).over("5us", closed="right"), rows, 10, own=own) == [100, 2]


def test_the_own_row_is_in_no_window_that_ends_elsewhere_and_is_no_latest_value():
    own = row(10, 100)
    assert value(count().over("5us", offset="1us"), [], 10, own=own) == 0
    assert value(latest("x"), [row(9, 1)], 10, own=own) == 1


def test_an_own_row_that_the_window_already_holds_counts_once_as_the_history_has_it():
    own = row(10, 100, key="k")
    inside = [row(10, 99, key="k")]
    assert value(sum("x").over("5us", closed="right"), inside, 10, own=own) == 99
    assert value(sum("x").over("5us"), inside, 10, own=own) == 100  # [5, 10) does not hold the event at 10
    assert value(sum("x").over("5us", closed="right"), [row(3, 7, key="k")], 10, own=own) == 100
    assert value(sum("x").over("5us", closed="right"), [row(10, 7, key="k", entity=B)], 10, own=own) == 100
    assert value(sum("x").over("5us", closed="right"), [row(10, 7)], 10, own=row(10, 100)) == 107
