"""Features of one view: the training set has the oracle's values."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

import asof
from tests.equality.checking import check
from tests.equality.definitions import ENTITIES, OPTIONS, events
from tests.equality.strategies import (
    AGGREGATIONS,
    DECAYED,
    EXACT,
    LISTS,
    MAPS,
    RATIOS,
    SKETCHED,
    any_of,
    feature_lists,
    filtered,
    histories,
    instants,
    spines,
)

CUTOFFS = st.one_of(st.none(), instants(-3, 16))


def service_of(entity, table, options, features, **more):
    source = events("moves", table, options, **more)
    view = asof.FeatureView("view", entity=entity, source=source, features=features)
    return asof.FeatureService("service", [view])


@given(ENTITIES, histories(), OPTIONS, feature_lists(), spines())
def test_every_feature_as_known(entity, table, options, features, spine):
    check(service_of(entity, table, options, features), spine)


@given(ENTITIES, histories(), OPTIONS, feature_lists(), spines(), st.booleans(), CUTOFFS)
def test_every_feature_in_hindsight_and_up_to_a_cutoff(
    entity, table, options, features, spine, as_known, cutoff
):
    check(service_of(entity, table, options, features), spine, as_known=as_known, cutoff_us=cutoff)


@given(ENTITIES, histories(), OPTIONS, feature_lists(filtered(EXACT), latest=False), spines())
def test_plain_aggregations(entity, table, options, features, spine):
    check(service_of(entity, table, options, features), spine)


@given(ENTITIES, histories(), OPTIONS, feature_lists(filtered(LISTS), latest=False), spines())
def test_lists(entity, table, options, features, spine):
    check(service_of(entity, table, options, features), spine)


@given(
    ENTITIES, histories(), OPTIONS, feature_lists(filtered(any_of(SKETCHED, DECAYED)), latest=False), spines()
)
def test_sketches_and_decayed_sums(entity, table, options, features, spine):
    check(service_of(entity, table, options, features), spine)


@given(ENTITIES, histories(), OPTIONS, feature_lists(any_of(RATIOS, MAPS), latest=False), spines())
def test_ratios_and_maps(entity, table, options, features, spine):
    check(service_of(entity, table, options, features), spine)


@given(ENTITIES, histories(), OPTIONS, feature_lists(AGGREGATIONS), spines())
def test_derived_columns_and_keys_in_sql(entity, table, options, features, spine):
    renamed = table.rename_columns({"k": "name", "i": "raw"})
    derived = {"i": "raw + coalesce(n, 0)"}
    source = events("moves", renamed, options, columns=derived)
    view = asof.FeatureView(
        "view", entity=entity, source=source, features=features, keys={"k": "lower(name)"}
    )
    check(asof.FeatureService("service", [view]), spine)
