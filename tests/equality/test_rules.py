"""Rules that random examples seldom meet: each with the smallest example, and values written out by hand."""

from __future__ import annotations

import math
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest

import asof
from asof.errors import AsofError
from asof.flows import feature_columns
from tests.equality.definitions import SIMPLE
from tests.equality.strategies import US


def at(*times: int | None) -> pa.Array:
    return pa.array(times, US)


def events(name: str, table: pa.Table, **more) -> asof.Events:
    return asof.Events(name, asof.InMemory(table, name=name), event_time="happened", **more)


def ask(source, *features, spine: pa.Table | None = None, **more) -> dict[str, list]:
    """What a training set says of entity a, asked at 100."""
    view = asof.FeatureView("view", entity=SIMPLE, source=source, features=features)
    service = asof.FeatureService("service", [view], **more)
    asked = pa.table({"k": ["a"], "event_time": at(100)}) if spine is None else spine
    found = asof.Project(objects=[service]).training_set(service, spine=asked).table
    return {name: found[name].to_pylist() for name in service.names}


def test_a_value_does_not_depend_on_which_other_features_are_asked():
    table = pa.table({
        "k": ["a", "a", "a"], "happened": at(5, 5, 5), "known": at(6, 7, 8), "id": ["x", "y", "x"], "v": [1, 2, 1],
        "status": ["pending", "posted", "posted"],
    })  # fmt: skip
    source = events("moves", table, known_at="known", key="id")
    view = asof.FeatureView(
        "view", entity=SIMPLE, source=source, features=[asof.last("v"), asof.last("status")]
    )
    spine = pa.table({"k": ["a"], "event_time": at(10)})
    alone, together = (
        asof.Project([]).training_set([view[name] for name in names], spine=spine).table.to_pydict()
        for names in (["v_last"], ["v_last", "status_last"])
    )
    assert alone["v_last"] == together["v_last"]


UNIONS = [
    ((1, pa.int32()), (2**40, pa.int64()), [2**40, 1]),
    ((2**40, pa.int64()), (1, pa.int32()), [1, 2**40]),
    ((Decimal("1.5"), pa.decimal128(9, 1)), (Decimal("2.25"), pa.decimal128(9, 2)), [Decimal("2.25"), Decimal("1.50")]),
    ((Decimal("2.25"), pa.decimal128(9, 2)), (Decimal("1.5"), pa.decimal128(9, 1)), [Decimal("1.50"), Decimal("2.25")]),
    ((1, pa.int64()), (2.5, pa.float64()), [2.5, 1.0]),
    ((2.5, pa.float64()), (1, pa.int64()), [1.0, 2.5]),
    ((1, pa.int64()), (Decimal("2.25"), pa.decimal128(9, 2)), [Decimal("2.25"), Decimal("1.00")]),
]  # fmt: skip


def united(one, other) -> asof.Union:
    parts = [
        events(name, pa.table({"k": ["a"], "happened": at(when), "v": pa.array([value], kind)}))
        for name, when, (value, kind) in (("one", 1, one), ("other", 2, other))
    ]
    return asof.Union("both", parts)


@pytest.mark.parametrize(("one", "other", "expected"), UNIONS)
def test_a_union_has_a_type_that_holds_the_values_of_both_sources(one, other, expected):
    assert ask(united(one, other), asof.last("v", n=2))["v_last_2"] == [expected]
    assert ask(united(one, other), asof.latest("v"))["v"] == expected[:1]


def test_a_union_of_text_in_two_forms_is_text():
    source = united(("x", pa.string()), ("y", pa.large_string()))
    assert ask(source, asof.last("v", n=2))["v_last_2"] == [["y", "x"]]
    assert ask(source, asof.latest("v"))["v"] == ["y"]


@pytest.mark.parametrize("feature", [asof.latest("v"), asof.last("v")])
def test_a_union_of_text_and_numbers_is_an_error_of_ours(feature):
    with pytest.raises(AsofError):
        ask(united(("x", pa.string()), (1, pa.int64())), feature)


def own_spine(value: pa.Array, key: pa.Array) -> pa.Table:
    return pa.table({"k": ["a"], "event_time": at(6), "v": value, "id": key})


HISTORY = pa.table({"k": ["a"], "happened": at(6), "v": [1], "id": pa.array([7], pa.int64())})
EVER = asof.sum("v").over("lifetime", closed="right").named("v_sum")


@pytest.mark.parametrize("key", [pa.array([7], pa.int32()), pa.array([7.0], pa.float64())])
def test_the_own_row_is_recognised_whatever_number_type_its_key_has(key):
    found = ask(events("moves", HISTORY, key="id"), EVER, spine=own_spine(pa.array([100]), key), own_row=True)
    assert found["v_sum"] == [1]


@pytest.mark.parametrize("value", [pa.array([1.5]), pa.array([Decimal("1.50")])])
def test_an_own_row_whose_value_does_not_fit_is_an_error_of_ours(value):
    with pytest.raises(AsofError):
        ask(events("moves", HISTORY), EVER, spine=own_spine(value, pa.array([7])), own_row=True)


def test_the_event_time_of_the_own_row_can_be_used_in_sql():
    source = events("moves", HISTORY, columns={"early": "epoch_us(happened) < 10"})
    counted = asof.count().where("early").over("lifetime", closed="right").named("early_count")
    found = ask(source, counted, spine=own_spine(pa.array([100]), pa.array([8])), own_row=True)
    assert found["early_count"] == [2]


def test_an_own_row_of_a_union_is_found_by_the_key_of_each_source():
    keyed = events("keyed", HISTORY, key="id")
    unkeyed = events("unkeyed", HISTORY.slice(0, 0))
    found = ask(
        asof.Union("both", [keyed, unkeyed]),
        EVER,
        spine=own_spine(pa.array([100]), pa.array([7])),
        own_row=True,
    )
    assert found["v_sum"] == [1]


def test_times_before_1970_are_cut_to_microseconds_alike_in_history_and_spine():
    table = pa.table({"k": ["a"], "happened": pa.array([-1_500], pa.timestamp("ns"))})
    spine = pa.table({"k": ["a"] * 2, "event_time": pa.array([-1_500, -500], pa.timestamp("ns"))})
    assert ask(events("moves", table), asof.count().over("lifetime"), spine=spine) == {
        "count_lifetime": [0, 1]
    }


def test_a_decimal_reaches_a_request_feature_as_the_nearest_float():
    table = pa.table({"k": ["a"], "happened": at(1)})
    view = asof.FeatureView(
        "view", entity=SIMPLE, source=events("moves", table), features=[asof.count().over("1d")]
    )

    @asof.request_feature(inputs=[view["count_1d"]], request={"amount": "decimal(18,2)"})
    def same(amount, count_1d):
        return np.where(count_1d > 0, amount, np.nan)

    spine = pa.table(
        {"k": ["a"], "event_time": at(5), "amount": pa.array([Decimal("0.41")], pa.decimal128(18, 2))}
    )
    service = asof.FeatureService("service", [same])
    assert asof.Project(objects=[service]).training_set(service, spine=spine).table["same"].to_pylist() == [
        0.41
    ]


def test_a_map_of_one_entity_holds_no_rows_of_another():
    table = pa.table({"k": ["b", "a"], "happened": at(0, 1), "s": ["v", "v"]})
    view = asof.FeatureView(
        "view",
        entity=SIMPLE,
        source=events("moves", table),
        features=[asof.count().by("s").over("lifetime").named("n")],
    )
    spine = pa.table({"k": ["a", "b", "a", "b"], "event_time": at(1, 1, 2, 2), "s": ["u", "u", "v", "u"]})
    service = asof.FeatureService("service", [view], own_row=True)
    found = asof.Project(objects=[service]).training_set(service, spine=spine).table["n"].to_pylist()
    assert [dict(line) for line in found] == [{"u": 1}, {"u": 1, "v": 1}, {"v": 2}, {"u": 1, "v": 1}]


def test_an_empty_spine_gives_typed_columns_from_a_history_on_disk_too(monkeypatch):
    monkeypatch.setattr(feature_columns, "plan_partitions", lambda *_: 3)
    table = pa.table({"k": ["a"], "happened": at(1), "v": [5]})
    spine = pa.table({"k": pa.array([], pa.string()), "event_time": at()})
    assert ask(events("moves", table, key="v"), asof.sum("v").over("1d"), spine=spine) == {"v_sum_1d": []}


@pytest.mark.parametrize("value", [1.7e308, -1.7e308, 1.7976931348623157e308])
def test_a_quantile_of_the_largest_floats_is_finite(value):
    table = pa.table({"k": ["a"], "happened": at(1), "v": [value]})
    (found,) = ask(events("moves", table), asof.quantile("v", 0.5).over("lifetime").named("q"))["q"]
    assert found == pytest.approx(value, rel=0.01)


def test_a_ratio_that_leaves_the_floats_is_infinite():
    table = pa.table({"k": ["a"], "happened": at(1), "v": [1e300], "w": [1e-300]})
    ratio = asof.ratio(asof.sum("v"), asof.sum("w")).over("lifetime").named("r")
    assert ask(events("moves", table), ratio)["r"] == [math.inf]


def test_own_rows_need_the_columns_of_the_features_that_are_asked_and_no_others():
    table = HISTORY.append_column("w", pa.array([1]))
    view = asof.FeatureView(
        "view",
        entity=SIMPLE,
        source=events("moves", table, key="id"),
        features=[EVER, asof.sum("w").over("1d")],
    )
    service = asof.FeatureService("service", [view["v_sum"]], own_row=True)
    spine = own_spine(pa.array([100]), pa.array([8]))
    assert asof.Project(objects=[service]).training_set(service, spine=spine).table["v_sum"].to_pylist() == [
        101
    ]
