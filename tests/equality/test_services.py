"""Services of several views, and request features over them: the training set has the oracle's values."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

import asof
from tests.equality.checking import by_oracle, by_project, check
from tests.equality.definitions import COMPOSITE, OPTIONS, SIMPLE, Options, events
from tests.equality.strategies import feature_lists, histories, mostly, spines

AMOUNTS = mostly(st.integers(-500, 500).map(lambda cents: Decimal(cents).scaleb(-2)), st.none())


def views_of(table, options, features, more):
    """Two views of one source, with entities of their own and features of the same names."""
    source = events("moves", table, options)
    return (
        asof.FeatureView("things", entity=SIMPLE, source=source, features=features),
        asof.FeatureView("pairs", entity=COMPOSITE, source=source, features=more),
    )


@given(histories(), OPTIONS, feature_lists(max_size=4), feature_lists(max_size=4), spines())
def test_views_of_one_source_and_features_of_one_name(table, options, features, more, spine):
    things, pairs = views_of(table, options, features, more)
    renamed = [ref.named(f"{ref.view.name}_{ref.name}") for ref in pairs.refs()]
    check(asof.FeatureService("service", [*renamed, things, things["f0"].named("again")]), spine)


@given(histories(), OPTIONS, feature_lists(max_size=8), spines(), st.integers(0, 3))
def test_a_part_of_a_view_has_the_values_of_the_whole(table, options, features, spine, first):
    things, pairs = views_of(table, options, features, features)
    check(asof.FeatureService("service", [things[f"f{first}"], pairs["f1"].named("pair")]), spine)


@given(histories(), spines(), st.data())
def test_a_request_feature_sees_the_values_of_its_row(table, spine, data):
    source = events("moves", table, Options())
    features = [
        asof.count().over("5us").named("n"),
        asof.mean("d").over("5us").named("usual"),
        asof.last("s").named("s"),
    ]
    things = asof.FeatureView("things", entity=SIMPLE, source=source, features=features)
    pairs = asof.FeatureView("pairs", entity=COMPOSITE, source=source, features=features)

    @asof.request_feature(
        inputs=[things["n"], things["usual"], things["s"]], request={"amount": "decimal(18,2)"}
    )
    def above(amount, n, usual, s):
        return np.where((n > 1) & (s == "u"), amount - usual, -amount)

    @asof.request_feature(inputs=[pairs["n"]], dtype="bool")
    def busy(n):
        return n > 1

    amounts = [data.draw(AMOUNTS) for _ in range(len(spine))]
    asked = spine.append_column("amount", pa.array(amounts, pa.decimal128(9, 2)))
    found = by_project(
        asof.FeatureService("service", [above, busy, pairs["usual"]]), asked, as_known=True, cutoff_us=None
    )
    inputs = asof.FeatureService(
        "inputs", [things, pairs["n"].named("pair_n"), pairs["usual"].named("pair_usual")]
    )
    slow = by_oracle(inputs, asked, as_known=True, cutoff_us=None)
    assert found["above"].to_pylist() == [above_of(line) for line in slow]
    assert found["busy"].to_pylist() == [line["pair_n"] > 1 for line in slow]
    assert found["usual"].to_pylist() == [line["pair_usual"] for line in slow]


def above_of(line):
    amount, usual = line["amount"], line["usual"]
    if amount is None or (line["n"] > 1 and line["s"] == "u" and usual is None):
        return None
    return float(amount) - usual if line["n"] > 1 and line["s"] == "u" else -float(amount)
