"""The scored event itself counts: the training set has the oracle's values."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

import asof
from tests.equality.checking import check
from tests.equality.definitions import COMPOSITE, ENTITIES, OPTIONS, SIMPLE, events
from tests.equality.strategies import MAPS, feature_lists, histories, instants, spines


@given(
    ENTITIES,
    histories(),
    OPTIONS,
    feature_lists(),
    spines(own=True),
    st.booleans(),
    st.none() | instants(-3, 16),
)
def test_the_own_row_counts_in_every_window_that_ends_at_t(
    entity, table, options, features, spine, as_known, cutoff
):
    view = asof.FeatureView("view", entity=entity, source=events("moves", table, options), features=features)
    windows = any(feature.function != "latest" for feature in view.features)
    service = asof.FeatureService("service", [view], own_row=windows)
    check(service, spine, as_known=as_known, cutoff_us=cutoff)


@given(ENTITIES, histories(), OPTIONS, feature_lists(MAPS, latest=False), spines(own=True))
def test_the_own_row_counts_in_maps_under_its_own_key(entity, table, options, features, spine):
    view = asof.FeatureView("view", entity=entity, source=events("moves", table, options), features=features)
    check(asof.FeatureService("service", [view], own_row=True), spine)


@given(histories(), histories(), OPTIONS, feature_lists(latest=False), feature_lists(), spines(own=True))
def test_the_own_row_counts_for_both_of_its_entities_and_for_no_other_source(
    table, elsewhere, options, features, more, spine
):
    source = events("moves", table, options)
    things = asof.FeatureView("things", entity=SIMPLE, source=source, features=features)
    pairs = asof.FeatureView("pairs", entity=COMPOSITE, source=source, features=features)
    other = asof.FeatureView(
        "other", entity=SIMPLE, source=events("other", elsewhere, options), features=more
    )
    items = [
        view[name].named(f"{view.name}_{name}") for view in (things, pairs, other) for name in view.names
    ]
    check(asof.FeatureService("service", items, own_row=source), spine)
