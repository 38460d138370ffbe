"""Lineage of a state: finding what a name means, walking up and down, and what a walk shows."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from asof import Entity, Events, FeatureView, Parquet, count
from asof.engines.duckdb import DuckDBEngine, open_database
from asof.errors import DefinitionError, StateError, UnknownName
from asof.flows.find_node import find_kind, find_node, words_of
from asof.flows.lineage import Branch, columns_of, deprecation_of, graph_data, lineage_of, state_of, tree_of
from asof.registry.state import Change, State
from asof.registry.store import open_registry
from tests.flows.discovery import ALL, bank_lineage

BANK = bank_lineage()


@pytest.mark.parametrize(
    ("text", "node"),
    [("spend", "feature_view:spend"),
     ("view:spend", "feature_view:spend"),
     ("service:fraud", "feature_service:fraud"),
     ("model:fraud", "model:fraud"),
     ("spend.count_1h", "feature_view:spend.count_1h"),
     ("feature_view:spend.count_1h", "feature_view:spend.count_1h"),
     ("fraud.spend_1d", "feature_service:fraud.spend_1d"),  # the model of that name has no columns
     ("card.amount", "source:card.amount"),
     ("card.AMOUNT", "source:card.amount"),
     ("money.acct", "source:money.acct"),
     ("vs_usual", "request_feature:vs_usual")],
)  # fmt: skip
def test_a_name_means_a_node(text: str, node: str) -> None:
    assert find_node(BANK, text) == node


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [("spned", "no object 'spned' in the code", "did you mean 'spend'?"),
     ("view:fraud", "no feature view 'fraud' in the code", "allowed: flow, spend"),
     ("spend.cuont_1h", "feature view 'spend' has no 'cuont_1h'", "did you mean 'count_1h'?"),
     ("card.emial", "no definition reads or names a column 'emial' of source 'card'", "did you mean 'email'?"),
     ("gambling", "no object 'gambling' in the code", "say spend.gambling"),
     ("account.x", "entity 'account' has no 'x'", "it has no parts"),
     ("thing:fraud", "no kind 'thing'", None)],
)  # fmt: skip
def test_an_unknown_name_is_told_with_the_nearest(text: str, message: str, hint: str | None) -> None:
    with pytest.raises(UnknownName) as caught:
        find_node(BANK, text)
    assert caught.value.message == message
    assert hint is None or caught.value.hint == hint


def test_a_name_of_two_things_lists_them() -> None:
    with pytest.raises(DefinitionError) as caught:
        find_node(BANK, "fraud")
    assert caught.value.message == "'fraud' is the name of a feature service and of a model"
    assert caught.value.hint == "say feature_service:fraud or model:fraud"


def test_an_empty_environment_says_so() -> None:
    with pytest.raises(UnknownName) as caught:
        find_node(lineage_of(State("dev", 3, {}), lambda sql: (sql,)), "x")
    assert str(caught.value) == "no object 'x' in environment 'dev'\nhint: environment 'dev' has no object"


def test_a_damaged_object_is_told_and_the_rest_can_be_walked() -> None:
    specs = {key: spec for key, spec in BANK.state.specs.items() if key != "feature_view:spend"}
    state = State("prod", 4, specs, {}, {"feature_view:spend": "its body is missing"})
    lineage = lineage_of(state, BANK.columns_of)
    with pytest.raises(StateError, match="feature view 'spend' is damaged: its body is missing"):
        find_node(lineage, "spend")
    assert "feature_view:spend.email" in lineage.columns.reach("model:fraud", "up")


@pytest.mark.parametrize(
    ("text", "kind"),
    [("views", "feature_view"), ("feature-views", "feature_view"), ("services", "feature_service"),
     ("request_features", "request_feature"), ("entities", "entity"), ("Label", "label"), ("source", "source")],
)  # fmt: skip
def test_kinds_are_understood_as_people_write_them(text: str, kind: str) -> None:
    assert find_kind(text) == kind


@pytest.mark.parametrize("text", ["", "s", "feature", "thing"])
def test_a_word_that_is_no_kind_is_refused(text: str) -> None:
    with pytest.raises(UnknownName):
        find_kind(text)


def test_nodes_are_told_in_words() -> None:
    assert [words_of(node) for node in ("source:card.amount", "feature_service:fraud.x", "model:fraud")] == [
        "column card.amount",
        "service column fraud.x",
        "model fraud",
    ]


def test_objects_are_walked_object_by_object_with_what_they_go_through() -> None:
    assert tree_of(BANK, "source:ach", "down") == Branch(
        "source:ach",
        (),
        (
            Branch(
                "source:money",
                ("usd", "acct", "kind"),
                (
                    Branch(
                        "feature_view:flow",
                        ("acct", "amount", "kind"),
                        (
                            Branch(
                                "feature_service:fraud",
                                ("amount_sum_by_kind_7d", "amount_decayed_sum_36h_30d"),
                                (
                                    Branch("model:fraud", tuple(BANK.parts["feature_service:fraud"])),
                                    Branch("model:other", tuple(BANK.parts["feature_service:fraud"])),
                                ),
                            ),
                        ),
                    ),
                ),
            ),
            Branch("label:returned", ("code", "usd", "account_id"), (Branch("model:fraud"),)),
        ),
    )


def test_what_has_been_told_is_not_told_again() -> None:
    below = tree_of(BANK, "model:fraud", "up").branches
    service = next(branch for branch in below if branch.node == "feature_service:fraud")
    spend, usual = service.branches[:2]
    assert [each.node for each in spend.branches] == ["entity:account", "source:card"]
    assert usual.node == "request_feature:vs_usual"
    assert usual.branches == (Branch("feature_view:spend", ("amount_sum_1d",), again=True),)


def test_columns_are_walked_column_by_column() -> None:
    assert tree_of(BANK, "feature_view:spend.email", "up") == Branch(
        "feature_view:spend.email",
        (),
        (
            Branch("source:card.email"),
            Branch(
                "feature_view:spend",
                (),
                (
                    Branch("entity:account"),
                    Branch(
                        "source:card",
                        (),
                        tuple(Branch(f"source:card.{c}") for c in ("at", "ingested_at", "tx_id", "status")),
                    ),
                    Branch("source:card.account_id"),
                ),
            ),
        ),
    )


def test_a_long_chain_and_a_wide_service_are_walked_once() -> None:
    account = Entity("account", keys={"account_id": "string"})
    tx = Events("tx", Parquet("t"), event_time="at")
    views = [
        FeatureView(f"v{i}", entity=account, source=tx, features=[count().over("1d")]) for i in range(300)
    ]
    lineage = lineage_of(state_of([account, tx, *views]), lambda sql: (sql,))
    tree = tree_of(lineage, "source:tx.at", "down")
    assert [len(branch.branches) for branch in tree.branches] == [300]


def test_personal_data_is_followed_through_values_and_not_through_keys_and_times() -> None:
    assert BANK.personal("source:card.email") == ("source:card.email",)
    assert BANK.personal("feature_service:fraud.email") == ("source:card.email",)
    assert BANK.personal("feature_service:fraud.vs_usual") == ()
    account = Entity("account", keys={"email": "string"})
    tx = Events("tx", Parquet("t"), event_time="at", personal=["EMAIL"])
    view = FeatureView(
        "v", entity=account, source=tx, features=[count().over("1d"), count("email").over("1d")]
    )
    lineage = lineage_of(state_of([account, tx, view]), lambda sql: (sql,))
    assert lineage.personal("feature_view:v.count_1d") == ()  # the key only says whose row it is
    assert lineage.personal("feature_view:v.email_count_1d") == ("source:tx.EMAIL",)


def test_deprecation_is_that_of_the_feature_else_that_of_the_object() -> None:
    state = BANK.state
    assert (
        str(deprecation_of(state, "feature_view:spend.gambling")) == "deprecated from 2027-01-31: use spend"
    )
    assert deprecation_of(state, "feature_view:spend.count_1h") is None
    assert str(deprecation_of(state, "source:ach.usd")) == "deprecated from 2027-06-30: use ach_v2"
    assert deprecation_of(state, "source:gone") is None


def test_the_graph_around_a_node_is_plain_data() -> None:
    data = graph_data(BANK, "source:card.cents", ["up", "down"])
    assert data["node"] == "source:card.cents"
    assert [node["id"] for node in data["nodes"]][:3] == [
        "source:card.cents",
        "source:card.amount",
        "source:money.amount",
    ]
    assert data["nodes"][0] == {
        "id": "source:card.cents",
        "kind": "source",
        "name": "card",
        "part": "cents",
        "owner": "payments",
        "deprecated": None,
        "personal": [],
    }
    assert data["edges"][:2] == [
        {"from": "source:card.amount", "to": "source:card.cents", "through": []},
        {"from": "source:card.cents", "to": "source:money.amount", "through": []},
    ]


def test_one_direction_leaves_the_other_out() -> None:
    data = graph_data(BANK, "source:card.cents", ["up"])
    assert [node["id"] for node in data["nodes"]] == ["source:card.cents", "source:card.amount"]


def test_the_registry_and_the_code_have_the_same_lineage(tmp_path: Path) -> None:
    registry = open_registry(f"sqlite:///{tmp_path}/r.sqlite")
    registry.commit(Change("prod", "apply", None, tuple(state_of(ALL).specs.values())))
    lineage = lineage_of(registry.state("prod"), BANK.columns_of)
    registry.close()
    assert (lineage.objects, lineage.columns) == (BANK.objects, BANK.columns)
    assert tree_of(lineage, "model:fraud", "up") == tree_of(BANK, "model:fraud", "up")


def test_sql_that_is_no_expression_reads_nothing_and_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    read = columns_of(DuckDBEngine(Path(), open_database()))
    with caplog.at_level(logging.WARNING):
        assert read("amount >") == ()
    assert "'amount >' is not an SQL expression" in caplog.text
    assert read("a + \"b c\" > 0 and lower(d) = 'e'") == ("a", "b c", "d")
