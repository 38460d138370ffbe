"""Histories that are long enough for the other half of the code: real sorts, several threads, partitions on disk."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import asof
from asof.flows import feature_columns
from tests.equality.checking import check
from tests.equality.definitions import COMPOSITE, ENTITIES, OPTIONS, SIMPLE, Options, events
from tests.equality.strategies import US, feature_lists, histories, instants, spines, to_table
from tests.equality.test_unions import union_of

FEATURES = [
    asof.count().over("50us"),
    asof.sum("i").over("20us", "lifetime"),
    asof.sum("f").over("50us"),
    asof.std("d").over("50us", closed="right"),
    asof.max("d").over("9us", hop="4us"),
    asof.distinct("s").over("30us"),
    asof.last("i", n=3),
    asof.sum("i").by("s").over("40us"),
    asof.latest("d", "s", ttl="60us"),
]


def drawn(seed: int, rows: int, span: int) -> pa.Table:
    """Rows of a few entities in a short time, so that each has many; every fifth one revises an earlier one."""
    rng = random.Random(seed)
    made = []
    for number in range(rows):
        happened = rng.randrange(span)
        key = str(rng.randrange(number) if number and rng.random() < 0.2 else number)
        made.append({
            "k": rng.choice(["a", "b", "c", None]), "k2": rng.randrange(3), "happened": happened, "id": key,
            "known": happened + rng.choice([0, 0, 0, 3, 40]), "gone": rng.random() < 0.05, "seq": rng.randrange(10**9),
            "i": rng.randrange(-(10**9), 10**9), "f": rng.choice([None, 0.1, rng.uniform(-1e6, 1e6)]),
            "s": rng.choice("uvwxyz"), "b": rng.random() < 0.5,
        })  # fmt: skip
    return to_table(made)


def asked(seed: int, rows: int, span: int) -> pa.Table:
    rng = random.Random(seed)
    times = [rng.randrange(-5, span + 60) for _ in range(rows)]
    return pa.table({
        "k": pa.array([rng.choice(["a", "b", "c", "nobody"]) for _ in times]),
        "k2": pa.array([rng.randrange(3) for _ in times]),
        "event_time": pa.array(times, pa.int64()).cast(US),
    })  # fmt: skip


@pytest.mark.parametrize("entity", [SIMPLE, COMPOSITE], ids=["simple", "composite"])
@pytest.mark.parametrize("options", [Options(), Options(sequence="seq"), Options(key=None, deleted=None)])
def test_hundreds_of_rows_for_each_entity(entity, options):
    view = asof.FeatureView(
        "view", entity=entity, source=events("moves", drawn(1, 900, 400), options), features=FEATURES
    )
    check(asof.FeatureService("service", [view]), asked(2, 60, 400))


def test_thousands_of_questions_on_several_threads():
    source = events("moves", drawn(3, 60, 40), Options())
    features = [
        asof.count().over("9us"),
        asof.sum("f").over("9us"),
        asof.distinct("s").over("20us"),
        asof.last("s", n=2),
    ]
    view = asof.FeatureView("view", entity=SIMPLE, source=source, features=features)
    check(asof.FeatureService("service", [view]), asked(4, 20_000, 40))


@contextmanager
def split_into(partitions: int) -> Iterator[None]:
    """Histories are split into so many partitions, as if they did not fit into memory."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(feature_columns, "plan_partitions", lambda *_: partitions)
        yield


@given(ENTITIES, histories(), OPTIONS, feature_lists(), spines(), st.booleans(), st.none() | instants(-3, 16))
def test_partitions_on_disk(entity, table, options, features, spine, as_known, cutoff):
    view = asof.FeatureView("view", entity=entity, source=events("moves", table, options), features=features)
    with split_into(3):
        check(asof.FeatureService("service", [view]), spine, as_known=as_known, cutoff_us=cutoff)


@given(ENTITIES, histories(), histories(), OPTIONS, OPTIONS, feature_lists(), spines())
def test_partitions_of_a_union(entity, one, other, options, others, features, spine):
    view = asof.FeatureView(
        "view", entity=entity, source=union_of(one, other, options, others), features=features
    )
    with split_into(3):
        check(asof.FeatureService("service", [view]), spine)


@given(ENTITIES, histories(), OPTIONS, feature_lists(latest=False), spines(own=True))
def test_partitions_with_own_rows(entity, table, options, features, spine):
    view = asof.FeatureView("view", entity=entity, source=events("moves", table, options), features=features)
    with split_into(3):
        check(asof.FeatureService("service", [view], own_row=True), spine)
