"""The graphs of objects and of columns, edge by edge."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asof import Entity, Events, FeatureView, Parquet, Union, sum
from asof.define.kinds import Definition
from asof.define.spec import Spec, specs_of
from asof.errors import DefinitionError
from asof.registry.lineage import Graph, column_graph, object_graph
from tests.flows.discovery import bank_lineage

COLUMNS = bank_lineage().columns
account = Entity("account", keys={"account_id": "string"})


def columns_by_name(sql: str) -> tuple[str, ...]:
    """Enough SQL for these tests: every word is a column."""
    return tuple(sql.split())


def graph_of(*definitions: Definition) -> Graph:
    return column_graph(specs_of([account, *definitions]), columns_by_name)


def test_a_column_reaches_features_columns_of_services_and_models() -> None:
    assert COLUMNS.reach("source:card.mcc", "down") == [
        "feature_view:spend.gambling",
    ]
    assert COLUMNS.reach("source:ach.usd", "down") == [
        "source:money.amount",
        "label:returned",
        "feature_view:flow.amount_sum_by_kind_7d",
        "feature_view:flow.amount_decayed_sum_36h_30d",
        "model:fraud",
        "feature_service:fraud.amount_sum_by_kind_7d",
        "feature_service:fraud.amount_decayed_sum_36h_30d",
        "model:other",
    ]


def test_a_feature_stands_on_its_column_its_filter_and_the_rows_of_its_view() -> None:
    assert COLUMNS.next("feature_view:spend.gambling", "up") == [
        "source:card.amount",
        "source:card.mcc",
        "feature_view:spend",
    ]


def test_both_parts_of_a_ratio_are_read() -> None:
    assert COLUMNS.next("feature_view:spend.web_share", "up") == [
        "source:card.amount",
        "source:card.channel",
        "feature_view:spend",
    ]


def test_a_secondary_key_is_read() -> None:
    assert "source:money.kind" in COLUMNS.next("feature_view:flow.amount_sum_by_kind_7d", "up")


def test_a_feature_that_counts_rows_stands_on_rows_alone() -> None:
    assert COLUMNS.next("feature_view:spend.count_1h", "up") == ["feature_view:spend"]


def test_the_rows_of_a_view_stand_on_entity_source_and_key_columns() -> None:
    assert COLUMNS.next("feature_view:spend", "up") == [
        "entity:account",
        "source:card",
        "source:card.account_id",
    ]
    assert COLUMNS.next("feature_view:flow", "up") == ["entity:account", "source:money", "source:money.acct"]


def test_the_rows_of_a_source_stand_on_its_times_its_key_and_its_deletes() -> None:
    assert COLUMNS.next("source:card", "up") == [
        "source:card.at",
        "source:card.ingested_at",
        "source:card.tx_id",
        "source:card.status",
    ]


def test_a_time_reaches_every_feature_of_the_source() -> None:
    reached = COLUMNS.reach("source:card.ingested_at", "down")
    assert {node for node in reached if node.startswith("feature_view:spend.")} == {
        f"feature_view:spend.{name}"
        for name in ("count_1h", "count_1d", "amount_sum_1d", "gambling", "web_share", "email")
    }
    assert "feature_view:flow.amount_sum_by_kind_7d" in reached  # through the union


def test_derived_columns_and_mapped_columns_are_followed() -> None:
    assert COLUMNS.next("source:card.cents", "up") == ["source:card.amount"]
    assert COLUMNS.next("source:money.amount", "up") == ["source:card.cents", "source:ach.usd"]


def test_a_union_takes_what_is_read_of_it_under_the_same_name_from_every_part() -> None:
    assert COLUMNS.next("source:money.acct", "up") == ["source:card.acct", "source:ach.acct"]


def test_columns_that_are_only_named_are_there() -> None:
    assert COLUMNS.next("source:card.fee", "up") == []  # a constant that nothing reads
    assert COLUMNS.next("source:card.email", "down") == ["feature_view:spend.email"]
    assert "source:ach.account_id" in COLUMNS.up  # from the types of a CSV file


def test_a_label_stands_on_its_outcome_its_filter_and_its_key() -> None:
    assert COLUMNS.next("label:returned", "up") == [
        "entity:account",
        "source:ach.code",
        "source:ach.usd",
        "source:ach.account_id",
        "source:ach",
    ]


def test_a_model_stands_on_every_column_of_its_service_and_on_its_labels() -> None:
    assert COLUMNS.next("model:fraud", "up") == [
        "label:returned",
        "feature_service:fraud.count_1h",
        "feature_service:fraud.spend_1d",
        "feature_service:fraud.email",
        "feature_service:fraud.vs_usual",
        "feature_service:fraud.amount_sum_by_kind_7d",
        "feature_service:fraud.amount_decayed_sum_36h_30d",
    ]


def test_a_request_feature_is_a_value_between_features_and_services() -> None:
    assert COLUMNS.next("request_feature:vs_usual", "up") == ["feature_view:spend.amount_sum_1d"]
    assert COLUMNS.next("request_feature:vs_usual", "down") == ["feature_service:fraud.vs_usual"]


def test_names_of_columns_have_no_case() -> None:
    tx = Events("tx", Parquet("t"), event_time="at", columns={"Cents": "AMOUNT"})
    view = FeatureView(
        "v", entity=account, source=tx, features=[sum("amount").over("1d"), sum("cents").over("1d")]
    )
    graph = graph_of(tx, view)
    assert graph.next("feature_view:v.cents_sum_1d", "up")[0] == "source:tx.Cents"
    assert graph.next("source:tx.Cents", "up") == ["source:tx.AMOUNT"]
    assert graph.next("feature_view:v.amount_sum_1d", "up")[0] == "source:tx.AMOUNT"


def test_a_mapped_name_of_another_case_is_not_taken_twice() -> None:
    tx = Events("tx", Parquet("t"), event_time="at")
    both = Union("both", [tx.mapped(Amount="cents")])
    view = FeatureView("v", entity=account, source=both, features=[sum("amount").over("1d")])
    assert graph_of(tx, both, view).next("source:both.Amount", "up") == ["source:tx.cents"]


def test_columns_that_swap_their_names_do_not_go_round_for_ever() -> None:
    tx = Events("tx", Parquet("t"), event_time="at", columns={"a": "b", "b": "a"})
    graph = graph_of(tx)
    assert graph.reach("source:tx.a", "up") == ["source:tx.b"]


def test_an_object_whose_body_is_missing_is_still_a_node() -> None:
    specs = {key: spec for key, spec in bank_lineage().state.specs.items() if key != "feature_service:fraud"}
    graph = column_graph(specs, columns_by_name)
    assert graph.next("model:other", "up") == ["feature_service:fraud"]
    specs = {key: spec for key, spec in specs.items() if key != "entity:account"}
    assert "source:money.lower(acct)" in column_graph(specs, columns_by_name).next("feature_view:flow", "up")


def test_a_kind_that_has_no_columns_stands_on_what_it_refers_to() -> None:
    body = {
        "views": [{"ref": "feature_view:flow"}],
        "watched": {"ref": "feature_view:spend", "feature": "count_1h"},
        "owner": {"ref": "entity:account"},
    }
    alert = Spec("alert", "spikes", "f", json.dumps(body))
    graph = column_graph({**bank_lineage().state.specs, alert.key: alert}, columns_by_name)
    assert graph.next("alert:spikes", "up") == [
        "feature_view:flow.amount_sum_by_kind_7d",
        "feature_view:flow.amount_decayed_sum_36h_30d",
        "feature_view:spend.count_1h",
        "entity:account",
    ]


def test_objects_without_references_are_in_the_graph_of_objects() -> None:
    graph = object_graph(specs_of([account]))
    assert graph.up == {"entity:account": {}}


def test_objects_that_stand_on_each_other_in_a_circle_are_told() -> None:
    one = Spec("model", "a", "f", json.dumps({"service": {"ref": "model:b"}}))
    two = replace(one, name="b", text=json.dumps({"service": {"ref": "model:a"}}))
    with pytest.raises(DefinitionError, match=r"in a circle: model:. -> model:. -> model:."):
        object_graph({one.key: one, two.key: two})


@given(st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8)), max_size=30), st.integers(0, 8))
def test_reach_is_the_transitive_closure_nearest_first(edges: list[tuple[int, int]], start: int) -> None:
    graph = Graph()
    for low, high in edges:
        graph.add(str(low), str(high))
    steps, here = {start: 0}, {start}
    while here:  # one step further at a time
        here = {high for low, high in edges if low in here} - set(steps)
        steps |= dict.fromkeys(here, max(steps.values()) + 1)
    reached = [int(node) for node in graph.reach(str(start), "down")]
    assert sorted(reached) == sorted(set(steps) - {start})
    assert [steps[node] for node in reached] == sorted(steps[node] for node in reached)
