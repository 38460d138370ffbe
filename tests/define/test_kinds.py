"""The kinds of definitions, and what stands on what."""

from __future__ import annotations

from typing import get_args

import pytest

import asof
from asof import Entity, Events, FeatureService, FeatureView, Label, Model, Parquet, Union, request_feature
from asof.define.kinds import KINDS, Definition, below, kind_of, spoken

ACCOUNT = Entity("account", keys={"account_id": "string"})
TX = Events("tx", Parquet("tx.parquet"), event_time="at")
ACH = Events("ach", Parquet("ach.parquet"), event_time="at")
MONEY = Union("money", [TX, ACH.mapped(amount="usd")])
VIEW = FeatureView("activity", entity=ACCOUNT, source=TX, features=[asof.count().over("1d", "7d")])
OTHER = FeatureView("spend", entity=ACCOUNT, source=MONEY, features=[asof.sum("amount").over("1d")])
LABEL = Label("returned", entity=ACCOUNT, source=ACH, horizon="60d")


@request_feature(inputs=[VIEW["count_1d"], VIEW["count_7d"]], request={"amount": "float64"})
def pace(count_1d, count_7d, amount):
    return amount * count_1d / count_7d


SERVICE = FeatureService("risk", [VIEW["count_1d"], pace, OTHER])
OWN = FeatureService("own", [VIEW], own_row=True)
MODEL = Model("returns", service=SERVICE, labels=[LABEL])

THINGS = {
    "entity": [ACCOUNT],
    "source": [TX, MONEY],
    "feature_view": [VIEW],
    "request_feature": [pace],
    "feature_service": [SERVICE],
    "label": [LABEL],
    "model": [MODEL],
}


def test_every_kind_has_its_records() -> None:
    assert {kind: [kind_of(thing) for thing in things] for kind, things in THINGS.items()} == {
        "entity": ["entity"],
        "source": ["source", "source"],
        "feature_view": ["feature_view"],
        "request_feature": ["request_feature"],
        "feature_service": ["feature_service"],
        "label": ["label"],
        "model": ["model"],
    }
    assert list(THINGS) == list(KINDS)


def test_the_type_of_definitions_is_the_table() -> None:
    assert set(get_args(Definition)) == {cls for classes in KINDS.values() for cls in classes}


@pytest.mark.parametrize(
    "thing", [None, "account", 1, Entity, VIEW["count_1d"], TX.history, asof.count(), [VIEW]]
)
def test_parts_of_definitions_and_anything_else_are_of_no_kind(thing: object) -> None:
    assert kind_of(thing) is None


def test_a_subclass_is_of_the_kind_of_its_parent() -> None:
    class Customer(Entity):
        """An entity of a house."""

    assert kind_of(Customer("customer", keys={"id": "string"})) == "entity"


@pytest.mark.parametrize(
    ("thing", "lower"),
    [
        (ACCOUNT, []),
        (TX, []),
        (MONEY, [TX, ACH]),
        (VIEW, [ACCOUNT, TX]),
        (OTHER, [ACCOUNT, MONEY]),
        (pace, [VIEW]),
        (SERVICE, [VIEW, pace, OTHER]),
        (OWN, [VIEW, TX]),
        (LABEL, [ACCOUNT, ACH]),
        (MODEL, [SERVICE, LABEL]),
        ("account", []),
        (None, []),
        (TX.history, []),
    ],
    ids=lambda each: getattr(each, "name", None),
)
def test_a_definition_stands_on_those_in_its_fields_each_once(thing: object, lower: list[object]) -> None:
    assert [id(each) for each in below(thing)] == [id(each) for each in lower]


def test_a_kind_in_words() -> None:
    assert [spoken(kind) for kind in KINDS] == [
        "entity",
        "source",
        "feature view",
        "request feature",
        "feature service",
        "label",
        "model",
    ]
