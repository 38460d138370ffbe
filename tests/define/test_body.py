# ruff: noqa: E501 - a table of bodies reads best a row a line
"""Bodies are checked against the fields of their kind: what specs are made of passes, anything else is named."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

import asof
from asof import (
    CSV,
    ArrowFile,
    Deprecated,
    DuckDBTable,
    Entity,
    Events,
    FeatureService,
    FeatureView,
    InMemory,
    Kafka,
    Label,
    Landed,
    Log,
    Model,
    Parquet,
    RedisStream,
    Union,
    banking_days,
    latest,
    request_feature,
)
from asof.define.body import check_body
from asof.define.spec import specs_of
from asof.errors import DefinitionError, UnknownName

ACCOUNT = Entity(
    "account",
    keys={"account_id": "string", "opened": "date"},
    tags=["a"],
    deprecated=Deprecated("2027-01-31"),
)
TX = Events(
    "tx", CSV("tx.csv", columns={"at": "timestamp", "amount": "decimal(18,2)"}, delimiter=";"), event_time="at", known_at="seen_at",
    key="id", deleted="gone", sequence="n", columns={"ref": "upper(r)", "window": "1"}, zone="Europe/Berlin", personal=["name"],
)  # fmt: skip
MONEY = Union("money", [TX, TX_TOO := Events("ach", Parquet("a", hive=True), event_time="at", delay="1h")])
VIEW = FeatureView(
    "activity", entity=ACCOUNT, source=TX, keys={"account_id": "acct"}, online=True,
    features=[
        asof.count().over("1d", offset="1h", closed="both"), asof.sum("amount").where("x").by("mcc").over("lifetime").named("s"),
        asof.ratio(asof.sum("a"), asof.count(), empty=0.5).over("7d", hop="1h"), asof.quantile("a", 0.95).over("1d"),
        asof.topk("m", 3).over("1d"), asof.decayed_sum("a", "7d").over("30d"), asof.last("m", 5), latest("tier", ttl="90d"),
        asof.max("a").over("1d").described("how much").deprecated("2027-01-31"),
    ],
)  # fmt: skip


@request_feature(
    inputs=[VIEW["count_1d_offset_1h_closed_both"].named("n")], request={"amount": "float64"}, dtype="bool"
)
def large(n, amount, event_time):
    return (amount > n) & (event_time is not None)


SERVICE = FeatureService("risk", [VIEW, large, VIEW["tier"].named("level")], own_row=True)
LABEL = Label(
    "returned",
    entity=ACCOUNT,
    source=MONEY,
    outcome="code",
    where="x",
    horizon={"R01": banking_days(2), "*": "60d"},
    keys={"opened": "day"},
)
VALUE = Label("lost", entity=ACCOUNT, source=TX, horizon="60d", value=asof.sum("amount").where("x"))
STREAMED = Events(
    "streamed",
    Parquet("a"),
    event_time="at",
    known_at="seen",
    stream=Log(partitions=4, partition_by="id", retention="1d"),
)
THINGS = [
    ACCOUNT, TX, TX_TOO, MONEY, VIEW, large, SERVICE, LABEL, VALUE, Model("m", service=SERVICE, labels=[LABEL, VALUE]),
    STREAMED, Events("landed", Landed(columns={"at": "timestamp", "seen": "timestamp"}), event_time="at", known_at="seen", stream=Log()),
    Events("topic", Parquet("a"), event_time="at", known_at="seen", stream=Kafka("t", format="avro", registry="r", settings={"sasl.password": "env:K"})),
    Events("redis", Parquet("a"), event_time="at", known_at="seen", stream=RedisStream("k", password="env:K")),  # noqa: S106 - where it is
    FeatureView("fresh", entity=ACCOUNT, source=STREAMED, features=[asof.count().over("1d")], freshness="60s"),
    Events("arrow", ArrowFile("a.arrow"), event_time="at"), Events("db", DuckDBTable("a.duckdb", "main.t"), event_time="at"),
]  # fmt: skip


class Table:
    """Something that is a table, and cannot be compared."""

    def __arrow_c_stream__(self) -> None: ...

    def __eq__(self, other: object) -> bool:
        raise ValueError("the truth value is ambiguous")

    __hash__ = None  # type: ignore[assignment]


@pytest.mark.parametrize(
    "thing", [*THINGS, Events("memory", InMemory(Table()), event_time="at")], ids=lambda each: each.name
)
def test_what_specs_are_made_of_has_the_form_of_its_kind(thing: object) -> None:
    (spec,) = specs_of([thing]).values()  # type: ignore[list-item]
    check_body(spec.kind, spec.body)


FEATURE: Mapping[str, object] = {"name": "n", "function": "count", "column": None, "window": {"size_us": 1}}
REF: Mapping[str, object] = {"ref": "feature_view:v", "feature": "n"}
RIGHT: dict[str, dict[str, object]] = {
    "entity": {"keys": [{"name": "id", "type": "string"}]},
    "source": {"type": "Events", "history": {"type": "Parquet", "paths": ["a"]}, "event_time": "at"},
    "feature_view": {"entity": {"ref": "entity:e"}, "source": {"ref": "source:s"}, "features": [FEATURE]},
    "request_feature": {
        "function": {"sha256": "0", "code": "lambda: 1"}, "inputs": [REF], "request": [], "dtype": "float64", "parameters": ["n"],
    },
    "feature_service": {"features": [REF, {"ref": "request_feature:f"}]},
    "label": {
        "entity": {"ref": "entity:e"}, "source": {"ref": "source:s"}, "outcomes": [{"code": None, "horizon": {"size_us": 1}}],
        "outcome": None, "value": None, "predicate": None,
    },
    "model": {"service": {"ref": "feature_service:s"}, "labels": [{"ref": "label:l"}]},
}  # fmt: skip

# kind, what is changed in a right body, what is said
WRONG: dict[str, tuple[str, Mapping[str, object], str]] = {
    "another format": ("entity", {"format": 2}, "the body of an entity: format 2 is not 1"),
    "no format": ("entity", {"format": None}, "format None is not 1"),
    "a field that is none": ("entity", {"owners": "x"}, "no field 'owners'\nhint: did you mean 'owner'?"),
    "keys that are a mapping": ("entity", {"keys": {"id": "string"}}, "keys: dict where Schema belongs"),
    "a key without its type": ("entity", {"keys": [{"name": "id"}]}, "keys: list where Schema belongs"),
    "a key of no type": ("entity", {"keys": [{"name": "id", "type": "strng"}]}, "keys: list where Schema belongs"),
    "a number for an owner": ("entity", {"owner": 1}, "owner: int where str belongs"),
    "null for an owner": ("entity", {"owner": None}, "owner: NoneType where str belongs"),
    "tags that are a text": ("entity", {"tags": "a"}, "tags: str where tuple belongs"),
    "a tag that is a number": ("entity", {"tags": ["a", 1]}, "tags[1]: int where str belongs"),
    "a deprecation without its date": ("entity", {"deprecated": {"use": "x"}}, "deprecated: 'on' is missing"),
    "a source of no type": ("source", {"type": None}, "type None is none of Events, Union"),
    "a source of another type": ("source", {"type": "Stream"}, "type 'Stream' is none of Events, Union"),
    "a union with the fields of events": ("source", {"type": "Union"}, "no field 'history'"),
    "a history of no type": ("source", {"history": {"paths": ["a"]}}, "history: type None is none of Parquet, CSV, ArrowFile, DuckDBTable, InMemory, Landed"),
    "a history without paths": ("source", {"history": {"type": "Parquet"}}, "history: 'paths' is missing"),
    "a path that is a number": ("source", {"history": {"type": "Parquet", "paths": [1]}}, "history: paths[0]: int where str belongs"),
    "a flag that is a number": ("source", {"history": {"type": "Parquet", "paths": ["a"], "hive": 1}}, "history: hive: int where bool belongs"),
    "landed without columns": ("source", {"history": {"type": "Landed"}}, "history: 'columns' is missing"),
    "a stream of no type": ("source", {"stream": {"partitions": 1}}, "stream: type None is none of Log, Kafka, RedisStream"),
    "a stream that is a text": ("source", {"stream": "Log"}, "stream: str where"),
    "a topic without its name": ("source", {"stream": {"type": "Kafka", "servers": "s"}}, "stream: 'topic' is missing"),
    "a log of a topic": ("source", {"stream": {"type": "Log", "topic": "t"}}, "stream: no field 'topic'"),
    "a format that is no word": ("source", {"stream": {"type": "Kafka", "topic": "t", "servers": "s", "format": "xml"}}, "stream: format: str where"),
    "a setting that is a number": ("source", {"stream": {"type": "Kafka", "topic": "t", "servers": "s", "settings": {"a": 1}}}, "stream: settings: dict where"),
    "a freshness in words": ("feature_view", {"freshness_us": "60s"}, "freshness_us: str where"),
    "a delay in words": ("source", {"delay_us": "1h"}, "delay_us: str where int belongs"),
    "a delay that is a flag": ("source", {"delay_us": True}, "delay_us: bool where int belongs"),
    "a column without SQL": ("source", {"columns": {"a": None}}, "columns: dict where"),
    "columns that are a list": ("source", {"columns": [["a", "b"]]}, "columns: list where"),
    "an entity that is written out": ("feature_view", {"entity": {"keys": []}}, "entity: dict where Entity belongs"),
    "an entity that is a source": ("feature_view", {"entity": {"ref": "source:s"}}, "entity: dict where Entity belongs"),
    "a reference to nothing": ("feature_view", {"entity": {"ref": "entity:"}}, "entity: dict where Entity belongs"),
    "a reference that is a text": ("feature_view", {"entity": "entity:e"}, "entity: str where Entity belongs"),
    "a view of an entity": ("feature_view", {"source": {"ref": "entity:e"}}, "source: dict where"),
    "a view without features": ("feature_view", {"features": None}, "features: NoneType where tuple belongs"),
    "a feature of a feature view that is text": ("feature_view", {"features": ["count"]}, "features[0]: str where Feature belongs"),
    "a feature without its window": ("feature_view", {"features": [{**FEATURE, "window": None}]}, "features[0]: window: NoneType where Window belongs"),
    "an edge that is no word": ("feature_view", {"features": [{**FEATURE, "window": {"size_us": 1, "closed": "rigth"}}]}, "window: closed: str where"),
    "a window without its size": ("feature_view", {"features": [{**FEATURE, "window": {}}]}, "features[0]: window: 'size_us' is missing"),
    "a parameter that is a text": ("feature_view", {"features": [{**FEATURE, "params": {"q": "0.5"}}]}, "features[0]: params: dict where"),
    "a part that is none": ("feature_view", {"features": [{**FEATURE, "parts": [{}]}]}, "features[0]: parts[0]: 'name' is missing"),
    "a feature without its name": ("feature_view", {"features": [{**FEATURE, "name": None}]}, "features[0]: name: NoneType where str belongs"),
    "a second feature": ("feature_view", {"features": [FEATURE, {"name": "s", "function": "sum"}]}, "features[1]: 'column' is missing"),
    "a function as text": ("request_feature", {"function": "lambda: 1"}, "function: str where"),
    "a function without its hash": ("request_feature", {"function": {"code": "lambda: 1"}}, "function: dict where"),
    "an input without its feature": ("request_feature", {"inputs": [{"ref": "feature_view:v"}]}, "inputs[0]: dict where FeatureRef belongs"),
    "an input that is a source": ("request_feature", {"inputs": [{"ref": "source:s", "feature": "n"}]}, "inputs[0]: dict where FeatureRef"),
    "no such type": ("request_feature", {"dtype": "float"}, "dtype: str where DType belongs"),
    "a service of a label": ("feature_service", {"features": [{"ref": "label:l"}]}, "features[0]: dict where"),
    "a service of a whole view": ("feature_service", {"features": [{"ref": "feature_view:v"}]}, "features[0]: dict where"),
    "an own row that is a view": ("feature_service", {"own_row": {"ref": "feature_view:v"}}, "own_row: dict where"),
    "a horizon in words": ("label", {"outcomes": [{"code": None, "horizon": "60d"}]}, "outcomes[0]: horizon: str where Horizon belongs"),
    "a code that is a number": ("label", {"outcomes": [{"code": 1, "horizon": {}}]}, "outcomes[0]: code: int where"),
    "a value that is no aggregation": ("label", {"value": {"column": "a"}}, "value: 'function' is missing"),
    "a model of a view": ("model", {"service": {"ref": "feature_view:v"}}, "service: dict where FeatureService belongs"),
    "a model without a service": ("model", {"service": None}, "service: NoneType where FeatureService belongs"),
    "a label that is a service": ("model", {"labels": [{"ref": "feature_service:s"}]}, "labels[0]: dict where Label belongs"),
}  # fmt: skip


@pytest.mark.parametrize("kind", RIGHT)
def test_a_small_body_is_right_and_each_of_its_fields_is_needed(kind: str) -> None:
    check_body(kind, {"format": 1, **RIGHT[kind]})
    for name in RIGHT[kind].keys() - {"type"}:
        with pytest.raises(DefinitionError, match=f"'{name}' is missing"):
            check_body(kind, {"format": 1, **{k: v for k, v in RIGHT[kind].items() if k != name}})


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_body_is_refused_and_the_field_is_named(what: str) -> None:
    kind, changes, words = WRONG[what]
    with pytest.raises(DefinitionError) as caught:
        check_body(kind, {"format": 1, **RIGHT[kind], **changes})
    assert words in str(caught.value)


@pytest.mark.parametrize("body", [None, [], "{}", 1])
def test_a_body_that_is_no_object_is_refused(body: object) -> None:
    with pytest.raises(DefinitionError, match="the body of an entity: not an object"):
        check_body("entity", body)


def test_an_unknown_kind_is_told_with_the_nearest() -> None:
    with pytest.raises(UnknownName, match=r"no kind 'feature_veiw'\nhint: did you mean 'feature_view'\?"):
        check_body("feature_veiw", {"format": 1})
