"""Numbers near the ends of their types: exact, or an error, and never wrapped around."""

from __future__ import annotations

from decimal import Decimal

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

import asof
from tests.equality.checking import check
from tests.equality.definitions import SIMPLE, Options, events
from tests.equality.strategies import feature_lists, spines, to_table

INT64_MAX = 2**63 - 1
HUGE = st.sampled_from([INT64_MAX, -INT64_MAX, -INT64_MAX - 1, 2**62, -(2**62), 2**53 + 1, 1, 0, None])
WIDE = st.sampled_from([10**18 - 1, -(10**18) + 1, 5 * 10**17, 1, 0, None])
TINY = st.sampled_from([5e-324, -5e-324, 1e-12, 1.7e308, -1.7e308, 0.0, -0.0, 1e-300, None])
ROW = st.fixed_dictionaries({
    "k": st.sampled_from(["a", "a", "b"]), "happened": st.integers(0, 6), "late": st.sampled_from([0, 0, 2]),
    "id": st.sampled_from(["1", "2", "3", "4", None]), "i": HUGE, "f": TINY, "s": st.just("u"), "b": st.booleans(),
    "d": st.builds(lambda cents: None if cents is None else Decimal(cents).scaleb(-2), WIDE),
})  # fmt: skip
TABLES = st.lists(ROW, max_size=8).map(
    lambda rows: to_table([row | {"known": row["happened"] + row["late"]} for row in rows])
)
COLUMNS = st.sampled_from(["i", "d", "f"])
MAKERS = st.sampled_from([
    asof.sum, asof.mean, asof.min, asof.max, asof.std, asof.var, asof.first, asof.last, asof.distinct, asof.count,
    lambda column: asof.topk(column, 3), lambda column: asof.decayed_sum(column, "2us"),
    lambda column: asof.quantile(column, 0.5), lambda column: asof.ratio(asof.sum(column), asof.count()),
    lambda column: asof.sum(column).by("b"),
])  # fmt: skip
FEATURES = feature_lists(st.builds(lambda make, column: make(column), MAKERS, COLUMNS), max_size=3)


@given(TABLES, FEATURES, spines(max_size=4), st.booleans())
def test_numbers_near_the_ends_of_their_types(table, features, spine, keyed):
    options = Options() if keyed else Options(key=None, deleted=None)
    view = asof.FeatureView("view", entity=SIMPLE, source=events("moves", table, options), features=features)
    check(asof.FeatureService("service", [view]), spine)


def test_a_sum_that_fits_is_exact_although_a_longer_sum_would_not_fit():
    rows = [{"k": "a", "happened": at, "known": at, "i": INT64_MAX if at < 3 else 5} for at in range(6)]
    view = asof.FeatureView(
        "view", entity=SIMPLE, source=events("moves", to_table(rows), Options(key=None, deleted=None)),
        features=[asof.sum("i").over("2us"), asof.mean("i").over("2us")],
    )  # fmt: skip
    spine = pa.table({"k": ["a", "a"], "event_time": pa.array([1, 6], pa.timestamp("us", "UTC"))})
    found = asof.Project(objects=[view]).training_set([view], spine=spine).table
    assert found["i_sum_2us"].to_pylist() == [INT64_MAX, 10]
    assert found["i_mean_2us"].to_pylist() == [2.0**63, 5.0]
