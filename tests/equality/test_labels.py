"""Labels as known at a cut-off, and what becomes of immature ones: the training set has the oracle's values."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

import asof
from asof.define.aggregation import Feature
from asof.define.window import Window
from asof.testing.oracle import label_value
from tests.equality.checking import instant, micros, same
from tests.equality.definitions import ENTITIES, OPTIONS, SIMPLE, Options, events, oracle_rows
from tests.equality.strategies import (
    ANY,
    EPOCH,
    NUMBERS,
    PREDICATES,
    US,
    histories,
    instants,
    spines,
    to_table,
)

WHERE = st.none() | st.sampled_from(PREDICATES)
HORIZONS = st.sampled_from(["1us", "3us", "8us"])
CODES = st.dictionaries(st.sampled_from(["u", "v", "zz", "*"]), HORIZONS, min_size=1)
NUMBERED = st.one_of(
    st.sampled_from(NUMBERS).flatmap(lambda c: st.sampled_from([asof.sum(c), asof.mean(c), asof.max(c)])),
    st.sampled_from(ANY).flatmap(lambda c: st.sampled_from([asof.count(c), asof.min(c), asof.distinct(c)])),
    st.just(asof.count()),
)
IMMATURE = st.sampled_from(["drop", "null", "negative"])


def check(label, spine, cutoff_us, immature):
    """The rows that come back and the label in each of them are the oracle's."""
    view = asof.FeatureView(
        "view", entity=label.entity, source=label.source, features=[asof.count().over("2us")]
    )
    cutoff = instant(cutoff_us)
    project = asof.Project(objects=[view, label])
    fast = project.training_set([view], spine=spine, labels=[label], cutoff=cutoff, immature=immature).table
    expected = by_oracle(label, spine, cutoff_us, immature)
    assert fast["note"].to_pylist() == [note for note, _ in expected]
    made = label.value or asof.count()
    feature = Feature(label.name, made.function, made.column, Window(1, forward=True))
    found = fast[label.name].to_pylist()
    for one, (_, other) in zip(found, expected, strict=True):
        assert same(feature, one, other), (one, other)


def by_oracle(label, spine, cutoff_us, immature):
    columns = [name for name in (label.outcome, label.value and label.value.column) if name]
    predicates = [sql for sql in (label.predicate, label.value and label.value.predicate) if sql]
    keys = label.entity.keys.names
    rows = oracle_rows(label.source, keys, list(dict.fromkeys(columns)), list(dict.fromkeys(predicates)))
    result = []
    for line in spine.to_pylist():
        entity, t_us = tuple(line[key] for key in keys), micros(line["event_time"])
        value, mature = (0 if label.is_binary else EMPTY.get(label.value.function)), False
        if t_us is not None and None not in entity:
            value, mature = label_value(label, rows, entity, t_us, cutoff_us)
        if mature or immature == "negative":
            result.append((line["note"], value))
        elif immature == "null":
            result.append((line["note"], None))
    return result


EMPTY = {"count": 0, "sum": 0, "distinct": 0}


@given(ENTITIES, histories(), OPTIONS, HORIZONS, WHERE, spines(), instants(-3, 20), IMMATURE)
def test_whether_anything_comes(entity, table, options, horizon, where, spine, cutoff, immature):
    source = events("moves", table, options)
    label = asof.Label("label", entity=entity, source=source, horizon=horizon, where=where)
    check(label, spine, cutoff, immature)


@given(ENTITIES, histories(), OPTIONS, CODES, WHERE, spines(), instants(-3, 20), IMMATURE)
def test_outcomes_with_horizons_of_their_own(entity, table, options, codes, where, spine, cutoff, immature):
    source = events("moves", table, options)
    label = asof.Label("label", entity=entity, source=source, horizon=codes, outcome="s", where=where)
    check(label, spine, cutoff, immature)


@given(ENTITIES, histories(), OPTIONS, HORIZONS, NUMBERED, WHERE, WHERE, spines(), instants(-3, 20), IMMATURE)
def test_numbers_as_labels(entity, table, options, horizon, value, where, inner, spine, cutoff, immature):
    source = events("moves", table, options)
    value = value if inner is None else value.where(inner)
    label = asof.Label("label", entity=entity, source=source, horizon=horizon, value=value, where=where)
    check(label, spine, cutoff, immature)


# Independence Day of 2024 is a Thursday; summer time ends on Sunday, 2024-11-03.
DAYS = st.sampled_from(["2024-07-02", "2024-11-01", "2023-12-29"])
HOURS = st.lists(st.integers(0, 24 * 9), min_size=1, max_size=8)
ZONES = st.sampled_from(["America/New_York", "UTC", "Asia/Tokyo"])


@given(DAYS, HOURS, HOURS, st.integers(1, 4), ZONES, st.integers(0, 24 * 14), IMMATURE)
def test_banking_days(day, happened, asked, days, zone, cutoff, immature):
    first = micros(datetime.fromisoformat(day).replace(tzinfo=UTC))
    at = lambda hour: first + hour * 3_600_000_000
    table = to_table(
        [
            {"k": "a", "id": str(i), "happened": at(hour), "known": at(hour + i)}
            for i, hour in enumerate(happened)
        ]
    )
    spine = pa.table({
        "k": pa.array(["a"] * len(asked)), "note": pa.array(list(map(str, asked))),
        "event_time": pa.array([EPOCH + timedelta(microseconds=at(hour)) for hour in asked], US),
    })  # fmt: skip
    horizon = asof.banking_days(days, zone=zone)
    label = asof.Label("label", entity=SIMPLE, source=events("moves", table, Options()), horizon=horizon)
    check(label, spine, at(cutoff), immature)
