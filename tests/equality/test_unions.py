"""Several sources as one: the training set has the oracle's values."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

import asof
from tests.equality.checking import check
from tests.equality.definitions import ENTITIES, OPTIONS, events
from tests.equality.strategies import feature_lists, histories, instants, spines


def union_of(one, other, options, others, **more):
    """Two sources under the first one's columns; the second has other names, a derived column and another `b`."""
    renamed = other.rename_columns({"s": "label", "i": "raw"})
    second = events("second", renamed, others, columns={"twice": "2 * raw"})
    mapped = second.mapped(s="upper(label)", i="twice", b="not b", **more)
    return asof.Union("both", [events("first", one, options), mapped])


@given(
    ENTITIES, histories(), histories(), OPTIONS, OPTIONS, feature_lists(), spines(), st.booleans(),
    st.none() | instants(-3, 16),
)  # fmt: skip
def test_a_union_of_two_sources(entity, one, other, options, others, features, spine, as_known, cutoff):
    source = union_of(one, other, options, others)
    view = asof.FeatureView("view", entity=entity, source=source, features=features)
    check(asof.FeatureService("service", [view]), spine, as_known=as_known, cutoff_us=cutoff)


@given(ENTITIES, histories(), histories(), OPTIONS, feature_lists(latest=False), spines(own=True))
def test_the_own_row_of_a_union(entity, one, other, options, features, spine):
    source = union_of(one, other, options, options)
    view = asof.FeatureView("view", entity=entity, source=source, features=features)
    check(asof.FeatureService("service", [view], own_row=True), spine)
