"""The oracle's functions against values that were worked out by hand."""

from __future__ import annotations

import math
from decimal import Decimal

import pytest

from asof import (
    approx_distinct,
    count,
    decayed_sum,
    distinct,
    first,
    last,
    max,
    mean,
    min,
    quantile,
    ratio,
    std,
    sum,
    topk,
    var,
)
from asof.errors import NumericOverflow
from asof.testing.oracle import Row, feature_value

NAN, INF = math.nan, math.inf


def of(what, values, groups=None, **predicates):
    """The aggregation over everything, of events at 0, 1, 2 ... asked at 100."""
    (feature,) = what.over("lifetime").named("f").features("a test")
    rows = [
        Row(
            ("a",),
            at,
            at,
            (at,),
            values={"x": x, "g": groups and groups[at]} | {p: v[at] for p, v in predicates.items()},
        )
        for at, x in enumerate(values)
    ]
    return feature_value(feature, rows, ("a",), 100)


EVERY = [
    count(), count("x"), sum("x"), mean("x"), min("x"), max("x"), var("x"), std("x"), first("x"), last("x"),
    first("x", n=2), last("x", n=2), distinct("x"), approx_distinct("x"), quantile("x", 0.5), topk("x", 2),
    decayed_sum("x", "1us"), ratio(sum("x"), count()), sum("x").by("g"),
]  # fmt: skip
NOTHING = [0, 0, 0, None, None, None, None, None, None, None, [], [], 0, 0, None, [], 0.0, None, {}]


def test_an_empty_window():
    assert [of(what, []) for what in EVERY] == NOTHING


@pytest.mark.parametrize("null", [None, NAN])
def test_a_window_of_nulls_is_as_an_empty_one_but_for_counted_rows(null):
    found = [of(what, [null, null], groups=["g", "g"]) for what in EVERY]
    assert found == [2, *NOTHING[1:-2], 0.0, {}]  # sum / count is 0 / 2


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        (count(), 5), (count("x"), 4), (sum("x"), 11), (mean("x"), 2.75), (min("x"), 1), (max("x"), 6),
        (var("x"), 16.75 / 3), (std("x"), math.sqrt(16.75 / 3)), (first("x"), 3), (last("x"), 1),
        (first("x", n=2), [3, 1]), (last("x", n=3), [1, 6, 1]), (last("x", n=9), [1, 6, 1, 3]), (distinct("x"), 3),
        (approx_distinct("x"), 3), (quantile("x", 0), 1.0), (quantile("x", 0.5), 1.0), (quantile("x", 0.67), 3.0),
        (quantile("x", 1), 6.0), (topk("x", 1), [1]), (topk("x", 3), [1, 3, 6]), (ratio(sum("x"), count()), 2.2),
    ],
)  # fmt: skip
def test_each_function_of_3_1_null_6_1(what, expected):
    assert of(what, [3, 1, None, 6, 1]) == expected


def test_top_k_breaks_ties_by_the_smaller_value():
    assert of(topk("x", 2), ["c", "b", "a", "c", "b", "a"]) == ["a", "b"]


def test_one_value_has_no_variance():
    assert of(var("x"), [3]) is None
    assert of(std("x"), [3.5]) is None


def test_decimals_add_up_exactly_and_their_mean_is_rounded_once():
    tenths = [Decimal("0.10")] * 3
    assert of(sum("x"), tenths) == Decimal("0.30")
    assert of(mean("x"), tenths) == 0.1
    assert of(max("x"), tenths) == Decimal("0.10")
    assert of(mean("x"), [0.1] * 3) == 0.10000000000000002  # floats do not
    assert of(quantile("x", 0.5), tenths) == 0.1


def test_booleans_add_up_as_numbers():
    assert (of(sum("x"), [True, False, True]), of(mean("x"), [True, False])) == (2, 0.5)
    assert of(max("x"), [True, False]) is True


def test_floats_add_up_in_order():
    assert of(sum("x"), [1e16, 1.0, -1e16]) == 0.0
    assert of(sum("x"), [1e16, -1e16, 1.0]) == 1.0


def test_infinities_are_values():
    assert of(max("x"), [1.0, INF]) == INF
    assert math.isnan(of(sum("x"), [INF, -INF]))
    assert math.isnan(of(std("x"), [INF, 1.0]))


def test_an_exact_sum_that_does_not_fit_is_an_error():
    assert of(sum("x"), [2**63 - 1, 1, -1]) == 2**63 - 1
    with pytest.raises(NumericOverflow):
        of(sum("x"), [2**63 - 1, 1])
    with pytest.raises(NumericOverflow):
        of(mean("x"), [2**63 - 1, 2**63 - 1])
    assert of(mean("x"), [2**63 - 2, 1]) == 2.0**62


def test_a_decayed_sum_halves_with_every_half_life():
    # events at 0 and 1, asked at 100: 8 * 2^-(100/10) + 8 * 2^-(99/10)
    assert of(decayed_sum("x", "10us"), [8, 8]) == 8 * 2.0**-10 + 8 * 2.0**-9.9


def test_a_ratio_with_an_empty_divisor_is_what_the_definition_says():
    assert of(ratio(count(), sum("x")), [1, -1]) is None
    assert of(ratio(count(), sum("x"), empty=0.5), [1, -1]) == 0.5
    assert of(ratio(mean("x"), count(), empty=0), [None]) == 0.0
    assert of(ratio(sum("x"), count()), [Decimal("0.25"), Decimal("0.50")]) == 0.375


def test_a_filter_counts_where_it_is_true_and_not_where_it_is_null():
    big = {"x > 1": [True, None, False]}
    assert of(count().where("x > 1"), [2, None, 1], **big) == 1
    assert of(ratio(sum("x").where("x > 1"), sum("x")), [2, None, 1], **big) == 2 / 3


def test_a_map_has_an_entry_for_every_key_with_something_to_count():
    assert of(count().by("g"), [1, 1, 1], [True, False, True]) == {"true": 2, "false": 1}
    groups = ["u", "v", None, "u", 7]
    assert of(sum("x").by("g"), [1, None, 4, 8, 16], groups) == {"u": 9, "7": 16}
    assert of(count().by("g"), [1, None, 4, 8, 16], groups) == {"u": 2, "v": 1, "7": 1}
    assert of(last("x").by("g"), [1, None, 4, 8, 16], groups) == {"u": 8, "7": 16}
    assert of(var("x").by("g"), [1, None, 4, 3, 16], groups) == {"u": 2.0, "7": None}
