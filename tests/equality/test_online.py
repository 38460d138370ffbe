"""Three ways to one value: the oracle, the training set, and a read from the online store at the same instant."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

import asof
from asof.online.open_store import open_store
from tests.equality.definitions import COMPOSITE, ENTITIES, OPTIONS, SIMPLE, Options, events
from tests.equality.online import arrivals, check_online, knowns_of, run_all, works
from tests.equality.strategies import (
    AGGREGATIONS,
    DECAYED,
    EXACT,
    LATEST,
    LISTS,
    MAPS,
    RATIOS,
    SKETCHED,
    any_of,
    feature_lists,
    filtered,
    histories,
    spines,
)
from tests.equality.test_extremes import FEATURES as EXTREMES
from tests.equality.test_extremes import TABLES
from tests.equality.test_unions import union_of


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    opened = open_store("lmdb:///online", root=tmp_path_factory.mktemp("online"))
    yield opened
    opened.close()


def check(store, make, table, options, came, runs, spine):
    """Runs, then reads, of a service that `make(source)` gives."""

    def over(rows):
        return make(events("moves", rows, options))

    revised = options.key is not None
    service, watermark, floor = run_all(
        over, table, knowns_of(table, options), came, runs, store, revised=revised
    )
    check_online(service, store, spine, watermark, floor)


def in_rows(features):
    """The features, and one without a hop, for records with tiles are a little less exact: test_online_tiles.py."""
    return [*features, asof.count().over("1us").named("rows")]


def one_view(entity, features, **more):
    def make(source):
        view = asof.FeatureView("view", entity=entity, source=source, features=in_rows(features))
        return asof.FeatureService("service", [view], **more)

    return make


@given(ENTITIES, histories(), OPTIONS, feature_lists(), arrivals(), works(), spines())
def test_every_feature(store, entity, table, options, features, came, runs, spine):
    check(store, one_view(entity, features), table, options, came, runs, spine)


@given(
    ENTITIES,
    histories(),
    OPTIONS,
    feature_lists(filtered(EXACT), latest=False),
    arrivals(),
    works(),
    spines(),
)
def test_plain_aggregations(store, entity, table, options, features, came, runs, spine):
    check(store, one_view(entity, features), table, options, came, runs, spine)


LEFT_OVER = any_of(filtered(LISTS), filtered(any_of(SKETCHED, DECAYED)), RATIOS, MAPS)


@given(ENTITIES, histories(), OPTIONS, feature_lists(LEFT_OVER, latest=False), arrivals(), works(), spines())
def test_lists_sketches_ratios_and_maps(store, entity, table, options, features, came, runs, spine):
    check(store, one_view(entity, features), table, options, came, runs, spine)


SEVERAL = st.lists(LATEST, min_size=1, max_size=4).map(
    lambda made: [one.named(f"f{number}") for number, one in enumerate(made)]
)


@given(ENTITIES, histories(), OPTIONS, SEVERAL, arrivals(), works(), spines())
def test_latest_values_alone(store, entity, table, options, features, came, runs, spine):
    check(store, one_view(entity, features), table, options, came, runs, spine)


ENDS = st.builds(
    lambda make, column, n, sql: (make(column) if n is None else make(column, n=n)).where(sql).over("lifetime")
    if sql
    else (make(column) if n is None else make(column, n=n)).over("lifetime"),
    st.sampled_from([asof.first, asof.last]), st.sampled_from(["i", "s", "f", "d"]),
    st.sampled_from([None, 1, 2]), st.sampled_from([None, None, "i > 0", "b"]),
)  # fmt: skip
FEW_ENDS = st.lists(ENDS, min_size=1, max_size=3).map(
    lambda made: [one.named(f"f{number}") for number, one in enumerate(made)]
)


@given(ENTITIES, histories(), OPTIONS, FEW_ENDS, arrivals(), works(), spines())
def test_first_and_last_of_a_lifetime_need_few_rows(
    store, entity, table, options, features, came, runs, spine
):
    check(store, one_view(entity, features), table, options, came, runs, spine)


@given(ENTITIES, histories(), OPTIONS, feature_lists(), arrivals(), works(), spines(own=True))
def test_the_own_row_counts(store, entity, table, options, features, came, runs, spine):
    check(store, one_view(entity, features, own_row=True), table, options, came, runs, spine)


@given(
    histories(),
    histories(),
    OPTIONS,
    feature_lists(latest=False, max_size=4),
    feature_lists(max_size=4),
    arrivals(),
    works(),
    spines(own=True),
)
def test_two_entities_and_another_source_of_one_service(
    store, table, elsewhere, options, features, more, came, runs, spine
):
    other = events("other", elsewhere, Options(key=None, deleted=None))

    def make(source):
        views = [
            asof.FeatureView("things", entity=SIMPLE, source=source, features=in_rows(features)),
            asof.FeatureView("pairs", entity=COMPOSITE, source=source, features=in_rows(features)),
            asof.FeatureView("other", entity=SIMPLE, source=other, features=in_rows(more)),
        ]
        items = [view[name].named(f"{view.name}_{name}") for view in views for name in view.names]
        return asof.FeatureService("service", items, own_row=source)

    # all of the other source comes before the first run, which reads it whole
    check(store, make, table, options, came, [runs[0]], spine)


@given(ENTITIES, histories(), OPTIONS, feature_lists(AGGREGATIONS), arrivals(), works(), spines())
def test_derived_columns_and_keys_in_sql(store, entity, table, options, features, came, runs, spine):
    renamed = table.rename_columns({"k": "name", "i": "raw"})

    def over(rows):
        source = events("moves", rows, options, columns={"i": "raw + coalesce(n, 0)"})
        view = asof.FeatureView(
            "view", entity=entity, source=source, features=in_rows(features), keys={"k": "lower(name)"}
        )
        return asof.FeatureService("service", [view])

    knowns = knowns_of(table, options)
    service, watermark, floor = run_all(
        over, renamed, knowns, came, runs, store, revised=options.key is not None
    )
    check_online(service, store, spine, watermark, floor)


@given(ENTITIES, histories(), histories(), OPTIONS, feature_lists(), works(), spines(own=True), st.booleans())
def test_a_union_of_two_sources(store, entity, table, second, options, features, runs, spine, own):
    def over(rows):
        view = asof.FeatureView(
            "view", entity=entity, source=union_of(rows, second, options, options), features=in_rows(features)
        )
        return asof.FeatureService("service", [view], own_row=own)

    knowns = knowns_of(table, options)
    revised = options.key is not None
    service, watermark, floor = run_all(over, table, knowns, [0], runs[:1], store, revised=revised)
    check_online(service, store, spine, watermark, floor)


@given(TABLES, EXTREMES, works(), spines(max_size=4), st.booleans())
def test_numbers_near_the_ends_of_their_types(store, table, features, runs, spine, keyed):
    options = Options() if keyed else Options(key=None, deleted=None)
    check(store, one_view(SIMPLE, features), table, options, [0], runs, spine)
