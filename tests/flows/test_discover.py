"""Finding objects: lists, and searches with the nearest first."""

from __future__ import annotations

import pytest

from asof import Entity
from asof.flows.discover import Listed, Match, list_objects, search
from asof.flows.lineage import lineage_of, state_of
from asof.registry.state import State
from tests.flows.discovery import bank_lineage

BANK = bank_lineage()


def names_of(text: str, **filters: str) -> list[str]:
    return [f"{hit.listed.kind}:{hit.listed.name}" for hit in search(BANK, text, **filters)]


def test_objects_are_listed_kind_by_kind_and_by_name() -> None:
    assert [(each.kind, each.name) for each in list_objects(BANK.state)] == [
        ("entity", "account"),
        ("source", "ach"),
        ("source", "card"),
        ("source", "money"),
        ("feature_view", "flow"),
        ("feature_view", "spend"),
        ("request_feature", "vs_usual"),
        ("feature_service", "fraud"),
        ("label", "returned"),
        ("model", "fraud"),
        ("model", "other"),
    ]


def test_a_listed_object_has_owner_tags_features_and_deprecation() -> None:
    assert list_objects(BANK.state, "feature_view")[1] == Listed(
        "feature_view", "spend", None, "risk", ("card", "core"), 6, None, "What an account spends by card."
    )
    assert list_objects(BANK.state, "source")[0].deprecated == "deprecated from 2027-06-30: use ach_v2"


def test_versions_are_those_of_the_state_and_damaged_objects_are_listed() -> None:
    spec = BANK.state.specs["entity:account"]
    state = State("prod", 3, {spec.key: spec}, {spec.key: 2}, {"source:gone": "its body is missing"})
    assert [(each.name, each.version, each.damaged) for each in list_objects(state)] == [
        ("account", 2, None),
        ("gone", None, "its body is missing"),
    ]
    assert list_objects(state, "model") == []


def test_the_name_itself_comes_before_its_beginning_before_a_part_before_a_word_about_it() -> None:
    assert names_of("card") == [
        "source:card",  # its name
        "feature_view:spend",  # its tag
    ]
    definitions = [
        Entity(name, keys={"id": "string"}, description=text, owner=owner, tags=tags)
        for name, text, owner, tags in [
            ("z_card", "", "", []),
            ("card_z", "", "", []),
            ("a", "by Card or not", "", []),
            ("card", "", "", []),
            ("b", "", "cardinal", []),
            ("c", "", "", ["Cards"]),
        ]
    ]
    lineage = lineage_of(state_of(definitions), lambda sql: (sql,))
    assert [hit.listed.name for hit in search(lineage, "CARD")] == ["card", "card_z", "z_card", "b", "c", "a"]


def test_features_and_columns_are_found_and_told() -> None:
    hits = search(BANK, "amount_sum")
    assert [(hit.listed.name, hit.matches) for hit in hits] == [
        ("flow", (Match("feature", "amount_sum_by_kind_7d"),)),
        ("spend", (Match("feature", "amount_sum_1d"),)),
        ("fraud", (Match("column", "amount_sum_by_kind_7d"),)),
    ]
    assert names_of("ingested_at") == ["source:card"]
    assert names_of("mcc") == ["source:card"]  # only a filter reads it
    assert names_of("ticket") == ["request_feature:vs_usual"]
    assert names_of("account_id") == ["entity:account", "source:ach", "source:card"]


def test_of_several_words_all_have_to_be_found_in_one_place() -> None:
    assert names_of("amount sum kind") == ["feature_view:flow", "feature_service:fraud"]
    assert names_of("vs usual") == ["request_feature:vs_usual", "feature_service:fraud"]
    assert names_of("account spends") == ["feature_view:spend"]
    assert names_of("account nothing") == []


def test_descriptions_of_features_are_read_and_cut_around_the_word() -> None:
    (hit,) = search(BANK, "dollars")
    assert hit.matches == (Match("description of amount_sum_1d", "Spend of a day, in dollars."),)
    long = Entity("e", keys={"id": "string"}, description=f"{'before ' * 20}\nneedle {'after ' * 20}")
    (hit,) = search(lineage_of(state_of([long]), lambda sql: (sql,)), "needle")
    text = hit.matches[0].text
    assert text == "...efore before before needle after after after after after aft..."


@pytest.mark.parametrize(
    ("text", "filters", "found"),
    [("", {"owner": "risk"},
      ["feature_view:spend", "request_feature:vs_usual", "feature_service:fraud", "label:returned"]),
     ("", {"tag": "CORE"}, ["feature_view:spend", "feature_service:fraud"]),
     ("fraud", {"kind": "model"}, ["model:fraud"]),
     ("fraud", {"owner": "Science"}, ["model:fraud"]),
     ("spend", {"kind": "feature_view", "owner": "risk", "tag": "card"}, ["feature_view:spend"]),
     ("spend", {"tag": "none"}, [])],
)  # fmt: skip
def test_kind_owner_and_tag_narrow_a_search(text: str, filters: dict[str, str], found: list[str]) -> None:
    assert names_of(text, **filters) == found
