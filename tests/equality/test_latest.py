"""Latest values, alone and for several views: the training set has the oracle's values."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

import asof
from tests.equality.checking import check
from tests.equality.definitions import COMPOSITE, ENTITIES, OPTIONS, SIMPLE, events
from tests.equality.strategies import LATEST, histories, instants, spines

SEVERAL = st.lists(LATEST, min_size=1, max_size=4).map(
    lambda made: [one.named(f"f{number}") for number, one in enumerate(made)]
)


@given(ENTITIES, histories(), OPTIONS, SEVERAL, spines(), st.booleans(), st.none() | instants(-3, 16))
def test_latest_values_alone(entity, table, options, features, spine, as_known, cutoff):
    view = asof.FeatureView("view", entity=entity, source=events("moves", table, options), features=features)
    check(asof.FeatureService("service", [view]), spine, as_known=as_known, cutoff_us=cutoff)


@given(histories(), histories(), OPTIONS, OPTIONS, SEVERAL, SEVERAL, spines())
def test_latest_values_of_two_sources_and_two_entities(one, other, options, others, features, more, spine):
    first = asof.FeatureView("first", entity=SIMPLE, source=events("one", one, options), features=features)
    second = asof.FeatureView(
        "second", entity=COMPOSITE, source=events("other", other, others), features=more
    )
    renamed = [second[name].named(f"second_{name}") for name in second.names]
    check(asof.FeatureService("service", [first, *renamed]), spine)
