# ruff: noqa: E501, PLW0108 - tables of edits read best a row a line
"""What a version follows and what it does not; and that it is the same in every process and every Python."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, make_dataclass
from pathlib import Path
from typing import Any

import pytest

import asof
from asof import (
    CSV,
    Deprecated,
    Entity,
    Events,
    FeatureService,
    FeatureView,
    Kafka,
    Label,
    Landed,
    Log,
    Model,
    Parquet,
    Union,
    banking_days,
    latest,
    request_feature,
)
from asof.define.fingerprint import Fingerprints, fingerprint
from asof.define.kinds import KINDS, _kind_of_class, below, kind_of
from asof.define.request_feature import RequestFeature
from asof.define.spec import Spec, specs_of
from tests.define.conftest import Load

ROOT = Path(__file__).parents[2]
ACH = Events("ach", Parquet("ach.parquet"), event_time="at")


def spec_of(thing: object) -> Spec:
    (made,) = specs_of([thing]).values()  # type: ignore[list-item]
    return made


def entity(keys: Mapping[str, str] | None = None, name: str = "account", **people: Any) -> Entity:
    return Entity(name, keys=keys or {"account_id": "string"}, **people)


COLUMNS = {
    "kind": "upper(raw_kind)", "risky": "score > limit_score", "score": "a + b", "mcc": "mcc_code", "acct": "trim(account)",
    "at": "to_timestamp(seconds)", "sent": "x", "id": "uuid", "n": "offset_of", "unused": "1", "amount": "usd * rate", "rate": "fx",
}  # fmt: skip


def source(name: str = "tx", columns: Mapping[str, str] | None = None, **changes: Any) -> Events:
    facts = {
        "history": Parquet("tx.parquet"),
        "event_time": "at",
        "known_at": "sent",
        "key": "id",
        "sequence": "n",
        "deleted": "risky",
        **changes,
    }
    return Events(name, columns={**COLUMNS, **(columns or {})}, **facts)


SUM = asof.sum("amount").over("7d").named("f")


def view(
    *features: Any, over: Any = None, of: Entity | None = None, name: str = "v", **changes: Any
) -> FeatureView:
    return FeatureView(
        name,
        entity=of or entity(),
        source=over or source(),
        features=features or [SUM],
        **{"keys": {"account_id": "lower(acct)"}, **changes},
    )


def union(
    mapped: Mapping[str, str] | None = None,
    columns: Mapping[str, str] | None = None,
    name: str = "u",
    first: Events | None = None,
) -> Union:
    ach = Events(
        "ach",
        Parquet("ach.parquet"),
        event_time="at",
        columns=columns or {"usd": "cents / 100", "other": "1"},
    )
    return Union(
        name, [first or source(), ach.mapped(**{"amount": "usd", "acct": "x", "free": "y", **(mapped or {})})]
    )


def over_union(made: Union) -> FeatureView:
    return view(over=made)


def service(*items: Any, name: str = "s", **changes: Any) -> FeatureService:
    return FeatureService(name, items or [view()], **changes)


def label(name: str = "l", over: Any = None, of: Entity | None = None, **changes: Any) -> Label:
    return Label(
        name,
        entity=of or entity(),
        source=over or source(),
        **{"horizon": "60d", "keys": {"account_id": "acct"}, **changes},
    )


def model(asked: FeatureService | None = None, *labels: Label, name: str = "m", **changes: Any) -> Model:
    return Model(name, service=asked or service(), labels=labels or [label()], **changes)


def rule(
    limit: float = 1.0, name: str = "rule", inputs: Any = (), dtype: str = "bool", **changes: Any
) -> RequestFeature:
    if inputs:

        @request_feature(inputs=inputs, request={"amount": "float64"}, name=name, dtype=dtype, **changes)
        def made(f, amount):
            return amount > limit * f
    else:

        @request_feature(request={"amount": "float64"}, name=name, dtype=dtype, **changes)
        def made(amount):
            return amount > limit

    return made


@request_feature(request={"amount": "float64"}, name="rule", dtype="bool")
def rule_of_other_code(amount):
    return amount >= 1.0


@request_feature(request={"amount": "float64"}, name="rule", dtype="float64")
def plain(amount):
    return amount + 1


@request_feature(request={"amount": "float64"}, name="rule", dtype="float64")
def plain_laid_out(amount: float) -> float:
    """One more."""
    return (amount
            + 1)  # fmt: skip


def two(first: str, second: str) -> FeatureView:
    """A view of two features, `f` and a sibling."""
    return view(asof.sum("amount").over(first).named("f"), asof.count().over(second).named("g"))


Make = Callable[[], object]
CHANGED: dict[str, tuple[Make, Make]] = {
    "what is landed": (
        lambda: source(sequence=None, stream=Log(), history=Landed(columns={"at": "date", "sent": "date"})),
        lambda: source(sequence=None, stream=Log(), history=Landed(columns={"at": "timestamp", "sent": "date"})),
    ),
    "a landed history": (lambda: source(), lambda: source(sequence=None, stream=Log(), history=Landed(columns={"at": "date", "sent": "date"}))),
    # views
    "a view's window": (lambda: view(), lambda: view(asof.sum("amount").over("8d").named("f"))),
    "the edge of a window": (lambda: view(), lambda: view(asof.sum("amount").over("7d", closed="right").named("f"))),
    "an offset": (lambda: view(), lambda: view(asof.sum("amount").over("7d", offset="1d").named("f"))),
    "a hop": (lambda: view(), lambda: view(asof.sum("amount").over("7d", hop="1h").named("f"))),
    "an aggregation": (lambda: view(), lambda: view(asof.mean("amount").over("7d").named("f"))),
    "a column": (lambda: view(), lambda: view(asof.sum("score").over("7d").named("f"))),
    "a predicate": (lambda: view(), lambda: view(asof.sum("amount").where("x").over("7d").named("f"))),
    "another predicate": (lambda: view(asof.sum("amount").where("x").over("7d").named("f")), lambda: view(asof.sum("amount").where("y").over("7d").named("f"))),
    "a secondary key": (lambda: view(), lambda: view(asof.sum("amount").by("mcc").over("7d").named("f"))),
    "a parameter": (lambda: view(asof.topk("mcc", 3).over("7d").named("f")), lambda: view(asof.topk("mcc", 4).over("7d").named("f"))),
    "a part of a ratio": (
        lambda: view(asof.ratio(asof.sum("amount"), asof.count()).over("7d").named("f")),
        lambda: view(asof.ratio(asof.sum("score"), asof.count()).over("7d").named("f")),
    ),
    "an empty ratio": (
        lambda: view(asof.ratio(asof.sum("amount"), asof.count()).over("7d").named("f")),
        lambda: view(asof.ratio(asof.sum("amount"), asof.count(), empty=0).over("7d").named("f")),
    ),
    "a time to live": (lambda: view(latest("mcc", ttl="90d")), lambda: view(latest("mcc", ttl="91d"))),
    "one more feature": (lambda: view(), lambda: view(SUM, asof.count().over("1d"))),
    "the name of a feature": (lambda: view(), lambda: view(SUM.named("g"))),
    "the key of an entity": (lambda: view(), lambda: view(of=entity({"account_id": "int64"}))),
    "a second key": (lambda: view(), lambda: view(of=entity({"account_id": "string", "bank": "string"}))),
    "the SQL of a key": (lambda: view(), lambda: view(keys={"account_id": "upper(acct)"})),
    "no SQL of a key": (lambda: view(), lambda: view(keys=None)),
    "a path": (lambda: view(), lambda: view(over=source(history=Parquet("tx2.parquet")))),
    "a format": (lambda: view(), lambda: view(over=source(history=CSV("tx.parquet")))),
    "an event time": (lambda: view(), lambda: view(over=source(event_time="at2"))),
    "a known-at time": (lambda: view(), lambda: view(over=source(known_at="sent2"))),
    "a delay": (lambda: view(over=source(known_at=None)), lambda: view(over=source(known_at=None, delay="1h"))),
    "the key of events": (lambda: view(), lambda: view(over=source(key="id2"))),
    "a delete": (lambda: view(), lambda: view(over=source(deleted="gone"))),
    "a sequence": (lambda: view(), lambda: view(over=source(sequence="n2"))),
    "a zone": (lambda: view(), lambda: view(over=source(zone="Europe/Berlin"))),
    "a derived column that is summed": (lambda: view(), lambda: view(over=source(columns={"amount": "usd"}))),
    "a column that one is made of": (lambda: view(), lambda: view(over=source(columns={"rate": "1"}))),
    "a column in the SQL of a key": (lambda: view(), lambda: view(over=source(columns={"acct": "account"}))),
    "a column in a predicate, in capitals": (
        lambda: view(asof.sum("x").where("KIND = 'A'").over("7d").named("f")),
        lambda: view(asof.sum("x").where("KIND = 'A'").over("7d").named("f"), over=source(columns={"kind": "lower(raw_kind)"})),
    ),
    "a column by which a map is made": (
        lambda: view(asof.count().by("mcc").over("7d").named("f")),
        lambda: view(asof.count().by("mcc").over("7d").named("f"), over=source(columns={"mcc": "0"})),
    ),
    "a column in a part of a ratio": (
        lambda: view(asof.ratio(asof.count().where("kind"), asof.count()).over("7d").named("f")),
        lambda: view(asof.ratio(asof.count().where("kind"), asof.count()).over("7d").named("f"), over=source(columns={"kind": "0"})),
    ),
    "a column that is the event time": (lambda: view(), lambda: view(over=source(columns={"at": "now_column"}))),
    "a column that is the known-at time": (lambda: view(), lambda: view(over=source(columns={"sent": "y"}))),
    "a column that is the key of events": (lambda: view(), lambda: view(over=source(columns={"id": "y"}))),
    "a column that is the sequence": (lambda: view(), lambda: view(over=source(columns={"n": "y"}))),
    "a column that decides deletes": (lambda: view(), lambda: view(over=source(columns={"risky": "y"}))),
    "a column of a column that decides deletes": (lambda: view(), lambda: view(over=source(columns={"score": "a"}))),
    "a column of the name of a key": (
        lambda: view(keys=None, over=source(columns={"account_id": "a"})), lambda: view(keys=None, over=source(columns={"account_id": "b"})),
    ),
    "a union's mapping": (lambda: over_union(union()), lambda: over_union(union({"amount": "usd * 2"}))),
    "a union's mapping of a key": (lambda: over_union(union()), lambda: over_union(union({"acct": "z"}))),
    "a column below a union's mapping": (lambda: over_union(union()), lambda: over_union(union(columns={"usd": "cents", "other": "1"}))),
    "one source of a union": (lambda: over_union(union()), lambda: over_union(union(first=source(zone="Europe/Berlin")))),
    "the order of a union": (
        lambda: view(over=Union("u", [source(), ACH])), lambda: view(over=Union("u", [ACH, source()])),
    ),
    # request features
    "a function's code": (lambda: rule(), lambda: rule_of_other_code),
    "what a function reads": (lambda: rule(1.0), lambda: rule(2.0)),
    "the type of a request feature": (lambda: rule(), lambda: rule(dtype="float64")),
    "the input of a request feature": (lambda: rule(inputs=[view()["f"]]), lambda: rule(inputs=[view(SUM.where("x"))["f"]])),
    # services
    "a feature that a service takes": (lambda: service(two("7d", "1d")["f"]), lambda: service(two("8d", "1d")["f"])),
    "one more feature of a service": (lambda: service(two("7d", "1d")["f"]), lambda: service(two("7d", "1d"))),
    "the order of a service": (lambda: service(*two("7d", "1d").refs()), lambda: service(*reversed(two("7d", "1d").refs()))),
    "the name of a service's column": (lambda: service(view()["f"]), lambda: service(view()["f"].named("g"))),
    "the name of a request feature in a service": (lambda: service(view(), rule()), lambda: service(view(), rule(name="other"))),
    "the function of a request feature in a service": (lambda: service(view(), rule(1.0)), lambda: service(view(), rule(2.0))),
    "an own row": (lambda: service(), lambda: service(own_row=True)),
    "what a derived column of an own row's source is": (lambda: service(own_row=True), lambda: service(view(over=source(columns={"amount": "usd"})), own_row=True)),
    # labels
    "a horizon": (lambda: label(), lambda: label(horizon="90d")),
    "a horizon in banking days": (lambda: label(horizon=banking_days(2)), lambda: label(horizon=banking_days(3))),
    "the zone of banking days": (lambda: label(horizon=banking_days(2)), lambda: label(horizon=banking_days(2, zone="UTC"))),
    "a horizon of one code": (lambda: label(outcome="kind", horizon={"a": "1d"}), lambda: label(outcome="kind", horizon={"a": "2d"})),
    "one more code": (lambda: label(outcome="kind", horizon={"a": "1d"}), lambda: label(outcome="kind", horizon={"a": "1d", "b": "1d"})),
    "the column of codes": (lambda: label(outcome="kind", horizon={"a": "1d"}), lambda: label(outcome="mcc", horizon={"a": "1d"})),
    "what the column of codes is": (
        lambda: label(outcome="kind", horizon={"a": "1d"}), lambda: label(outcome="kind", horizon={"a": "1d"}, over=source(columns={"kind": "0"})),
    ),
    "a label's condition": (lambda: label(), lambda: label(where="x")),
    "what a column in a label's condition is": (lambda: label(where="kind = 1"), lambda: label(where="kind = 1", over=source(columns={"kind": "0"}))),
    "a label's value": (lambda: label(value=asof.sum("amount")), lambda: label(value=asof.max("amount"))),
    "what a label's value sums": (lambda: label(value=asof.sum("amount")), lambda: label(value=asof.sum("amount"), over=source(columns={"amount": "usd"}))),
    "the key of a label": (lambda: label(), lambda: label(keys={"account_id": "mcc"})),
    "what the key of a label is": (lambda: label(), lambda: label(over=source(columns={"acct": "account"}))),
    "the entity of a label": (lambda: label(), lambda: label(of=entity({"account_id": "int64"}))),
    # models
    "the service of a model": (lambda: model(), lambda: model(service(view(SUM.where("x"))))),
    "the label of a model": (lambda: model(), lambda: model(None, label(horizon="1d"))),
    "one more label of a model": (lambda: model(), lambda: model(None, label(), label("m", horizon="1d"))),
    # sources and entities themselves
    "a derived column of a source": (lambda: source(), lambda: source(columns={"unused": "2"})),
    "the mapping of a union": (lambda: union(), lambda: union({"free": "z"})),
    "the order of an entity's keys": (lambda: entity({"a": "string", "b": "string"}), lambda: entity({"b": "string", "a": "string"})),
}  # fmt: skip

PEOPLE: dict[str, Any] = {
    "owner": "risk",
    "description": "what it is",
    "tags": ["a"],
    "deprecated": Deprecated("2027-01-31"),
}
UNCHANGED: dict[str, tuple[Make, Make]] = {
    **{
        f"what is for people, of {made.__name__}": (lambda made=made: made(), lambda made=made: made(**PEOPLE))
        for made in (entity, source, view, service, label, model)
    },
    "what is for people, of a request feature": (lambda: rule(), lambda: rule(**{k: v for k, v in PEOPLE.items() if k != "description"})),
    **{
        f"the name of {made.__name__}": (lambda made=made: made(), lambda made=made: made(name="other"))
        for made in (entity, source, view, union, service, label, model)
    },
    "the name of a request feature": (lambda: rule(), lambda: rule(name="other")),
    "whether a view is served": (lambda: view(), lambda: view(online=True)),
    "what is personal": (lambda: view(), lambda: view(over=source(personal=["amount"]))),
    "the names of what a view stands on": (lambda: view(), lambda: view(of=entity(name="customer"), over=source("transactions"))),
    "the people of what a view stands on": (lambda: view(), lambda: view(of=entity(**PEOPLE), over=source(**PEOPLE))),
    "the order of a view": (lambda: view(*two_parts()), lambda: view(*reversed(two_parts()))),
    "the order of derived columns": (
        lambda: source(columns={"p": "1", "q": "2"}), lambda: source(columns={"q": "2", "p": "1"}),
    ),
    "the order of a mapping": (lambda: union({"p": "1", "q": "2"}), lambda: union({"q": "2", "p": "1"})),
    "the description of a feature": (lambda: view(), lambda: view(SUM.described("what it is"))),
    "the deprecation of a feature": (lambda: view(), lambda: view(SUM.deprecated("2027-01-31"))),
    "a derived column that nothing reads": (lambda: view(), lambda: view(over=source(columns={"unused": "2", "more": "3"}))),
    "a derived column of other letters": (lambda: view(), lambda: view(over=source(columns={"amount2": "2", "moun": "3"}))),
    "a mapping that nothing reads": (lambda: over_union(union()), lambda: over_union(union({"free": "z", "more": "1"}))),
    "a column of a union's source that nothing reads": (lambda: over_union(union()), lambda: over_union(union(columns={"usd": "cents / 100", "other": "2"}))),
    "a default that is written out": (lambda: view(over=source(delay=None)), lambda: view(asof.sum("amount").over("7d", offset="0s", closed="left", hop="0s").named("f"))),
    "a window in other units": (lambda: view(), lambda: view(asof.sum("amount").over("168h").named("f"))),
    "the looks of a function": (lambda: plain, lambda: plain_laid_out),
    "the sibling of a feature that a service takes": (lambda: service(two("7d", "1d")["f"]), lambda: service(two("7d", "2d")["f"])),
    "one more sibling": (lambda: service(view()["f"]), lambda: service(two("7d", "1d")["f"])),
    "a feature's name that a service keeps": (lambda: service(view()["f"]), lambda: service(view(SUM.named("g"))["g"].named("f"))),
    "the name of the view that a service takes": (lambda: service(view()), lambda: service(view(name="w"))),
    "a column of an own row's source that nothing reads": (lambda: service(own_row=True), lambda: service(view(over=source(columns={"unused": "2"})), own_row=True)),
    "a column of a label's source that nothing reads": (lambda: label(), lambda: label(over=source(columns={"unused": "2", "kind": "0"}))),
    "the order of a label's keys": (
        lambda: label(of=entity({"a": "string", "b": "string"}), keys={"a": "x", "b": "y"}), lambda: label(of=entity({"a": "string", "b": "string"}), keys={"b": "y", "a": "x"}),
    ),
    "a stream": (lambda: view(over=source(sequence=None)), lambda: view(over=source(sequence=None, stream=Log(partitions=4)))),
    "another stream": (lambda: source(sequence=None, stream=Log()), lambda: source(sequence=None, stream=Kafka("payments"))),
    "a freshness": (lambda: view(over=source(sequence=None, stream=Log())), lambda: view(over=source(sequence=None, stream=Log()), freshness="60s")),
    "the names of what a model stands on": (lambda: model(), lambda: model(service(name="t"), label("k"))),
}  # fmt: skip


def two_parts() -> tuple[Any, Any]:
    return SUM, asof.count().over("1d")


@pytest.mark.parametrize("edit", CHANGED)
def test_a_version_changes_when_values_can(edit: str) -> None:
    old, new = CHANGED[edit]
    assert fingerprint(old()) == fingerprint(old())
    assert fingerprint(old()) != fingerprint(new())


@pytest.mark.parametrize("edit", UNCHANGED)
def test_a_version_stays_when_no_value_can_change(edit: str) -> None:
    old, new = UNCHANGED[edit]
    assert fingerprint(old()) == fingerprint(new())


@pytest.mark.parametrize("edit", [*CHANGED, *UNCHANGED])
def test_a_version_changes_by_the_body_or_by_what_the_object_stands_on(edit: str) -> None:
    old, new = (make() for make in {**CHANGED, **UNCHANGED}[edit])
    if fingerprint(old) != fingerprint(new) and spec_of(old).text == spec_of(new).text:
        assert [fingerprint(each) for each in below(old)] != [fingerprint(each) for each in below(new)]


def test_an_upstream_change_reaches_everything_above() -> None:
    def project(over: Events) -> list[str]:
        made = view(over=over)
        asked = service(made["f"], rule(inputs=[made["f"]], name="r"))
        things = [made, rule(inputs=[made["f"]]), asked, label(over=over), model(asked, label(over=over))]
        return [fingerprint(thing) for thing in things]

    same, changed = project(source()), project(source(zone="Europe/Berlin"))
    assert project(source()) == same
    assert all(one != other for one, other in zip(same, changed, strict=True))


def test_fingerprints_of_many_are_those_of_each_alone() -> None:
    together = Fingerprints()
    made = view()
    things = [
        made,
        service(made),
        service(made["f"]),
        model(service(made)),
        label(),
        made.entity,
        made.source,
        union(),
        over_union(union()),
    ]
    assert [together.of(thing) for thing in things] == [fingerprint(thing) for thing in things]
    assert together.of_feature(made["f"]) == Fingerprints().of_feature(view(name="w")["f"])


@pytest.mark.parametrize("thing", [None, "tx", 1, Entity, object()])
def test_what_is_no_definition_has_no_fingerprint(thing: object) -> None:
    with pytest.raises(TypeError, match="is no definition"):
        fingerprint(thing)


def test_a_new_field_with_a_default_changes_no_version_and_no_body(monkeypatch: pytest.MonkeyPatch) -> None:
    @dataclass(frozen=True)
    class Alert:
        name: str
        limit: int

    newer = make_dataclass(
        "Alert",
        [("urgent", bool, field(default=False)), ("part", object, field(default=None))],
        bases=(Alert,),
        frozen=True,
    )
    monkeypatch.setitem(KINDS, "alert", (Alert,))
    _kind_of_class.cache_clear()
    old, same, other = Alert("a", 1), newer("a", 1), newer("a", 1, urgent=True)
    assert fingerprint(old) == fingerprint(same) != fingerprint(other)
    assert spec_of(old).text == spec_of(same).text == '{"format":1,"limit":1}'
    monkeypatch.undo()
    _kind_of_class.cache_clear()


# ------------------------------------------------------------------------------------------------------------ stability

# A project of its own file: the same in every process, on every machine and in every Python.
PROJECT = '''
import asof
from asof import CSV, Entity, Events, FeatureService, FeatureView, Label, Model, Parquet, Union
from asof import banking_days, latest, request_feature

LIMIT = 1000.0
account = Entity("account", keys={"account_id": "string", "opened": "date"}, owner="risk")
tx = Events("tx", Parquet("tx/*.parquet"), event_time="at", known_at="seen", key="id", deleted="gone", columns={"kind": "upper(k)", "ref": "'ä'"}, zone="Europe/Berlin")
ach = Events("ach", CSV("ach.csv", columns={"usd": "decimal(18,2)"}), event_time="at", delay="90m")
money = Union("money", [tx, ach.mapped(amount="usd", kind="'ach'")])
activity = FeatureView(
    "activity", entity=account, source=money, keys={"account_id": "lower(acct)"},
    features=[
        asof.count().over("1h", "7d", offset="1d"), asof.sum("amount").where("kind = 'A'").by("mcc").over("lifetime").named("spend"),
        asof.ratio(asof.sum("amount"), asof.count(), empty=0.1).over("30d", hop="1h").named("share"), asof.quantile("amount", 0.95).over("7d"),
        asof.decayed_sum("amount", "7d").over("30d", closed="right"), asof.last("mcc", 3), latest("tier", ttl="90d"),
    ],
)

def scaled(amount, by=LIMIT):
    return amount / by

@request_feature(inputs=[activity["tier"].named("level")], request={"amount": "float64"}, dtype="bool")
def large(level, amount, event_time):
    """Whether it is a large one."""
    table = {"gold": 3, "basic": 1}
    return scaled(amount) > table.get(level, 2)

risk = FeatureService("risk", [activity, large, activity["tier"].named("level")], own_row=True)
returned = Label("returned", entity=account, source=ach, outcome="code", where="usd > 0", horizon={"R01": banking_days(2), "*": "60d"})
lost = Label("lost", entity=account, source=tx, horizon="60d", value=asof.sum("amount"))
returns = Model("returns", service=risk, labels=[returned, lost])
'''
PROGRAM = """
import json
import project
from asof.define.kinds import kind_of
from asof.define.spec import specs_of
specs = specs_of(thing for thing in vars(project).values() if kind_of(thing))
print(json.dumps({spec.key: spec.fingerprint for spec in specs.values()}))
"""
FINGERPRINTS = {
    "entity:account": "c15ac5b7a9051de4c4fe50de9fe0e82584b3a2d5c38c848ea852d4b933246cb4",
    "source:ach": "23e41bf746fce4dfeb434ced42722f8eafbfa842fea6b79226f0736e4d582afa",
    "source:money": "b13b902a7ee5d1c1a55ea0fde2f77bac211e759697a2443e28da85ae7e547bf2",
    "source:tx": "fb3f6eb648d5cb3638fdfa0411512b52dfe1ded77cbb15d303597b93ebf3f91e",
    "feature_view:activity": "01da9e460385b31eb2e6f8addf7a862c9bc5b926268d38a1912c61591412385a",
    "request_feature:large": "92fbf092901c2da9a324cc2f9dd8bd096b87180e51c81d6f88bd4c315b517fd2",
    "feature_service:risk": "ac3f95d4508a87ff06d9e63b02e2272dc916349aa119b7ab4edbb96ad9eefe01",
    "label:lost": "a6aaedd3c1fba5acb2e17a3fc6e14ab596167d0c8974ebd8a7f7cae59acc8c11",
    "label:returned": "ea97073b184da3a4b80e5a9317e21ca8a7542cf911ddbd5a85602b6f6238ef25",
    "model:returns": "0a9ee3397295a2923377b09b1f91151b5973f43753726523ddebed41311e4e13",
}


def fingerprints(python: str, folder: Path, seed: str) -> dict[str, str]:
    (folder / "project.py").write_text(PROJECT, encoding="utf-8")
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(folder)]),
        "PYTHONHASHSEED": seed,
        "PYTHONUTF8": "1",
    }
    done = subprocess.run(
        [python, "-W", "error", "-B", "-c", PROGRAM],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert not done.returncode, done.stderr
    return json.loads(done.stdout)


def interpreter(version: str) -> str | None:
    """A Python of this version that runs: on the path, or one that pyenv keeps."""
    kept = sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python{version}"))
    for python in (shutil.which(f"python{version}"), *map(str, kept)):
        if python and not subprocess.run([python, "-c", ""], capture_output=True, check=False).returncode:
            return python
    return None


@pytest.mark.parametrize("seed", ["1", "2"])
def test_fingerprints_are_those_of_every_other_process(tmp_path: Path, seed: str) -> None:
    assert fingerprints(sys.executable, tmp_path, seed) == FINGERPRINTS


@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13"])
def test_fingerprints_are_those_of_every_version_of_python(tmp_path: Path, version: str) -> None:
    python = interpreter(version)
    if python is None:
        pytest.skip(f"no Python {version} here")
    assert fingerprints(python, tmp_path, "random") == FINGERPRINTS


def test_a_project_that_is_loaded_again_has_the_same_fingerprints(load: Load) -> None:
    for _ in range(2):
        found = specs_of(thing for thing in vars(load(PROJECT)).values() if kind_of(thing))
        assert {spec.key: spec.fingerprint for spec in found.values()} == FINGERPRINTS
