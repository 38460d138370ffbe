# ruff: noqa: E501 - tables of bodies and of edits read best a row a line
"""Definitions as data: bodies written out by hand, digests, references, order."""

from __future__ import annotations

import hashlib
import json
from typing import Any

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
from asof.define.fingerprint import fingerprint
from asof.define.function_source import function_source
from asof.define.spec import Spec, digest_of, in_order, is_reference, specs_of
from asof.errors import DefinitionError

DAY, HOUR = 86_400_000_000, 3_600_000_000

ACCOUNT = Entity("account", keys={"account_id": "string"})
TX = Events("tx", Parquet("tx.parquet"), event_time="at")
ACH = Events("ach", Parquet("ach.parquet"), event_time="at")
VIEW = FeatureView(
    "activity",
    entity=ACCOUNT,
    source=TX,
    features=[asof.count().over("1d"), asof.sum("amount").over("7d").named("spend")],
)


def spec_of(thing: object) -> Spec:
    (made,) = specs_of([thing]).values()  # type: ignore[list-item]
    return made


@request_feature(
    inputs=[VIEW["spend"].named("total")], request={"amount": "decimal(18,2)"}, dtype="bool", owner="risk"
)
def large(total, amount):
    """Whether it is a large one."""
    return amount > total / 2


COUNT_1D = {"name": "count_1d", "function": "count", "column": None, "window": {"size_us": DAY}}
BODIES: dict[str, tuple[object, dict[str, object]]] = {
    "an entity": (ACCOUNT, {"keys": [{"name": "account_id", "type": "string"}]}),
    "an entity for people": (
        Entity("e", keys={"b": "int64", "a": "date"}, owner="risk", description="ä", tags=["x", "y"], deprecated=Deprecated("2027-01-31", note="soon")),
        {"keys": [{"name": "b", "type": "int64"}, {"name": "a", "type": "date"}], "owner": "risk", "description": "ä", "tags": ["x", "y"],
         "deprecated": {"on": "2027-01-31", "note": "soon"}},
    ),
    "a plain source": (TX, {"type": "Events", "history": {"type": "Parquet", "paths": ["tx.parquet"]}, "event_time": "at"}),
    "a source with everything": (
        Events(
            "s", CSV(["a.csv", "b.csv"], columns={"at": "timestamp", "usd": "decimal(18,2)"}, delimiter=";"), event_time="at", known_at="seen",
            key="id", deleted="gone", sequence="n", columns={"z": "1", "ref": "upper(r)"}, zone="Europe/Berlin", personal=["name"], owner="risk",
        ),
        {"type": "Events",
         "history": {"type": "CSV", "paths": ["a.csv", "b.csv"], "columns": [{"name": "at", "type": "timestamp"}, {"name": "usd", "type": "decimal(18,2)"}], "delimiter": ";"},
         "event_time": "at", "known_at": "seen", "key": "id", "deleted": "gone", "sequence": "n", "columns": {"z": "1", "ref": "upper(r)"},
         "zone": "Europe/Berlin", "personal": ["name"], "owner": "risk"},
    ),
    "a delay": (Events("s", ArrowFile("a.arrow"), event_time="at", delay="90m"),
                {"type": "Events", "history": {"type": "ArrowFile", "paths": ["a.arrow"]}, "event_time": "at", "delay_us": 5_400_000_000}),
    "a table of a database": (Events("s", DuckDBTable("bank.duckdb", "main.tx"), event_time="at"),
                              {"type": "Events", "history": {"type": "DuckDBTable", "database": "bank.duckdb", "table": "main.tx"}, "event_time": "at"}),
    "folders as columns": (Events("s", Parquet("tx/*/*.parquet", hive=True), event_time="at"),
                           {"type": "Events", "history": {"type": "Parquet", "paths": ["tx/*/*.parquet"], "hive": True}, "event_time": "at"}),
    "a source with a stream": (
        Events("s", Parquet("s"), event_time="at", known_at="seen", stream=Log()),
        {"type": "Events", "history": {"type": "Parquet", "paths": ["s"]}, "event_time": "at", "known_at": "seen", "stream": {"type": "Log"}},
    ),
    "what a log has landed": (
        Events("s", Landed(columns={"at": "timestamp", "seen": "timestamp"}), event_time="at", known_at="seen", stream=Log(partitions=4, partition_by="at", retention="1d")),
        {"type": "Events", "history": {"type": "Landed", "columns": [{"name": "at", "type": "timestamp"}, {"name": "seen", "type": "timestamp"}]},
         "event_time": "at", "known_at": "seen", "stream": {"type": "Log", "partitions": 4, "partition_by": "at", "retention_us": DAY}},
    ),
    "a topic": (
        Events("s", Parquet("s"), event_time="at", known_at="seen", stream=Kafka(
            "t", servers="b1:9092", format="avro", registry="https://r", settings={"sasl.username": "asof", "sasl.password": "env:KAFKA"}, dead_letters="d")),
        {"type": "Events", "history": {"type": "Parquet", "paths": ["s"]}, "event_time": "at", "known_at": "seen",
         "stream": {"type": "Kafka", "topic": "t", "servers": "b1:9092", "format": "avro", "registry": "https://r", "dead_letters": "d",
                    "settings": {"sasl.password": "env:KAFKA", "sasl.username": "asof"}}},
    ),
    "a stream of Redis": (
        Events("s", Parquet("s"), event_time="at", known_at="seen", stream=RedisStream("k", password="file:/run/redis")),  # noqa: S106 - where it is
        {"type": "Events", "history": {"type": "Parquet", "paths": ["s"]}, "event_time": "at", "known_at": "seen",
         "stream": {"type": "RedisStream", "key": "k", "password": "file:/run/redis"}},
    ),
    "a view that has to be fresh": (
        FeatureView("v", entity=ACCOUNT, source=Events("s", Parquet("s"), event_time="at", known_at="seen", stream=Log()), features=[asof.count().over("1d")], freshness="60s"),
        {"entity": {"ref": "entity:account"}, "source": {"ref": "source:s"}, "features": [COUNT_1D], "freshness_us": 60_000_000},
    ),
    "a union": (
        Union("money", [TX, ACH.mapped(amount="usd", kind="'ach'")], owner="risk"),
        {"type": "Union", "sources": [{"source": {"ref": "source:tx"}}, {"source": {"ref": "source:ach"}, "columns": {"amount": "usd", "kind": "'ach'"}}], "owner": "risk"},
    ),
    "a view": (
        VIEW,
        {"entity": {"ref": "entity:account"}, "source": {"ref": "source:tx"},
         "features": [COUNT_1D, {"name": "spend", "function": "sum", "column": "amount", "window": {"size_us": 7 * DAY}}]},
    ),
    "a view with everything": (
        FeatureView(
            "v", entity=ACCOUNT, source=TX, keys={"account_id": "lower(acct)"}, online=True,
            features=[
                asof.count().over("1d", offset="1h", closed="both").named("a"), asof.sum("x").where("y > 0").by("mcc").over("lifetime").named("b"),
                asof.ratio(asof.sum("x").where("y"), asof.count(), empty=0).over("7d", hop="1h").named("c"), asof.quantile("x", 0.95).over("1d").named("d"),
                latest("tier", ttl="90d"), asof.max("x").over("1d").named("e").described("largest").deprecated("2027-01-31", use="d"),
            ],
        ),
        {"entity": {"ref": "entity:account"}, "source": {"ref": "source:tx"}, "keys": {"account_id": "lower(acct)"}, "online": True,
         "features": [
             {"name": "a", "function": "count", "column": None, "window": {"size_us": DAY, "offset_us": HOUR, "closed": "both"}},
             {"name": "b", "function": "sum", "column": "x", "window": {"size_us": None}, "predicate": "y > 0", "by": "mcc"},
             {"name": "c", "function": "ratio", "column": None, "window": {"size_us": 7 * DAY, "hop_us": HOUR}, "params": {"empty": 0.0}, "parts": [
                 {"name": "part", "function": "sum", "column": "x", "window": {"size_us": 7 * DAY, "hop_us": HOUR}, "predicate": "y"},
                 {"name": "part", "function": "count", "column": None, "window": {"size_us": 7 * DAY, "hop_us": HOUR}},
             ]},
             {"name": "d", "function": "quantile", "column": "x", "window": {"size_us": DAY}, "params": {"q": 0.95}},
             {"name": "tier", "function": "latest", "column": "tier", "window": {"size_us": None, "closed": "right"}, "ttl_us": 90 * DAY},
             {"name": "e", "function": "max", "column": "x", "window": {"size_us": DAY}, "description": "largest", "deprecated": {"on": "2027-01-31", "use": "d"}},
         ]},
    ),
    "a request feature": (
        large,
        {"function": {"sha256": hashlib.sha256(function_source(large.function).tree.encode()).hexdigest(), "code": "def large(total, amount):\n    return amount > total / 2"},
         "inputs": [{"ref": "feature_view:activity", "feature": "spend", "name": "total"}], "request": [{"name": "amount", "type": "decimal(18,2)"}],
         "dtype": "bool", "parameters": ["total", "amount"], "description": "Whether it is a large one.", "owner": "risk"},
    ),
    "a service": (
        FeatureService("risk", [VIEW["spend"].named("total"), large, VIEW["count_1d"]], own_row=True),
        {"features": [{"ref": "feature_view:activity", "feature": "spend", "name": "total"}, {"ref": "request_feature:large"}, {"ref": "feature_view:activity", "feature": "count_1d"}],
         "own_row": {"ref": "source:tx"}},
    ),
    "a label": (
        Label("l", entity=ACCOUNT, source=TX, horizon="60d"),
        {"entity": {"ref": "entity:account"}, "source": {"ref": "source:tx"}, "outcomes": [{"code": None, "horizon": {"size_us": 60 * DAY}}],
         "outcome": None, "value": None, "predicate": None},
    ),
    "a label by codes": (
        Label("l", entity=ACCOUNT, source=TX, outcome="code", where="x", horizon={"R01": banking_days(2), "*": "60d"}, keys={"account_id": "acct"}),
        {"entity": {"ref": "entity:account"}, "source": {"ref": "source:tx"}, "keys": {"account_id": "acct"}, "outcome": "code", "value": None, "predicate": "x",
         "outcomes": [{"code": "R01", "horizon": {"banking_days": 2, "zone": "America/New_York"}}, {"code": "*", "horizon": {"size_us": 60 * DAY}}]},
    ),
    "a label that is a number": (
        Label("l", entity=ACCOUNT, source=TX, horizon="60d", value=asof.sum("amount").where("x")),
        {"entity": {"ref": "entity:account"}, "source": {"ref": "source:tx"}, "outcomes": [{"code": None, "horizon": {"size_us": 60 * DAY}}],
         "outcome": None, "value": {"function": "sum", "column": "amount", "predicate": "x"}, "predicate": None},
    ),
    "a model": (
        Model("m", service=FeatureService("risk", [VIEW]), labels=[Label("l", entity=ACCOUNT, source=TX, horizon="1d")]),
        {"service": {"ref": "feature_service:risk"}, "labels": [{"ref": "label:l"}]},
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", BODIES)
def test_a_body_holds_what_differs_from_the_default(what: str) -> None:
    thing, wanted = BODIES[what]
    spec = spec_of(thing)
    assert spec.name == thing.name  # type: ignore[attr-defined]
    assert spec.body == {"format": 1, **wanted}


@pytest.mark.parametrize("what", BODIES)
def test_a_body_is_canonical_json_that_reads_back(what: str) -> None:
    spec = spec_of(BODIES[what][0])
    assert json.dumps(spec.body, sort_keys=True, separators=(",", ":")) == spec.text
    assert spec.text.isascii()
    again = Spec(spec.kind, spec.name, spec.fingerprint, spec.text)
    assert (again, again.digest) == (spec, spec.digest)


def test_a_digest_is_of_all_that_was_written() -> None:
    text = '{"format":1,"keys":[{"name":"account_id","type":"string"}]}'
    spec = spec_of(ACCOUNT)
    assert spec.text == text
    written = f"entity\0account\0{fingerprint(ACCOUNT)}\0{text}"
    assert (
        spec.digest
        == digest_of("entity", "account", fingerprint(ACCOUNT), text)
        == hashlib.sha256(written.encode()).hexdigest()
    )
    assert spec.key == "entity:account"
    assert spec.words == "entity 'account'"
    others = [
        Spec("source", spec.name, spec.fingerprint, text),
        Spec("entity", "b", spec.fingerprint, text),
        Spec("entity", spec.name, "f", text),
        Spec("entity", spec.name, spec.fingerprint, "{}"),
    ]
    assert len({spec.digest, *(other.digest for other in others)}) == 5


def test_one_field_is_asked_for() -> None:
    assert spec_of(TX).about("event_time") == "at"
    assert spec_of(TX).about("owner") is None


def test_references_are_each_told_once_in_order_and_nothing_else_is_one() -> None:
    assert spec_of(BODIES["a service"][0]).refs == (
        "feature_view:activity",
        "request_feature:large",
        "source:tx",
    )
    assert spec_of(BODIES["a union"][0]).refs == ("source:tx", "source:ach")
    assert spec_of(BODIES["a label"][0]).refs == ("entity:account", "source:tx")
    assert spec_of(BODIES["a source with everything"][0]).refs == ()  # of a column that is called `ref`
    assert [
        is_reference({"ref": text}) for text in ("source:tx", "tx", "source:", "r::varchar", 'a."b"')
    ] == [True, False, False, False, False]
    assert not any(is_reference(value) for value in (None, [], "source:tx", {}, {"ref": 1}))


def test_specs_are_in_the_order_of_their_kinds_and_names() -> None:
    things = [
        Model("m", service=FeatureService("risk", [VIEW])),
        VIEW,
        FeatureService("risk", [VIEW]),
        TX,
        ACH,
        ACCOUNT,
    ]
    assert list(specs_of(things)) == [
        "entity:account",
        "source:ach",
        "source:tx",
        "feature_view:activity",
        "feature_service:risk",
        "model:m",
    ]
    unknown = [Spec("zoo", "a", "f", "{}"), Spec("alert", "b", "f", "{}"), spec_of(ACCOUNT)]
    assert list(in_order(unknown)) == ["entity:account", "alert:b", "zoo:a"]


def test_a_table_in_memory_is_no_part_of_a_body_and_is_never_compared() -> None:
    class Table:
        def __arrow_c_stream__(self) -> None: ...

        def __eq__(self, other: object) -> bool:
            raise ValueError("the truth value of a table is ambiguous")

        __hash__ = None  # type: ignore[assignment]

    spec = spec_of(Events("s", InMemory(Table(), name="rows"), event_time="at"))
    assert spec.body["history"] == {"type": "InMemory", "name": "rows"}


def test_a_function_without_source_is_refused_by_name() -> None:
    names: dict[str, Any] = {}
    exec("def f(amount): return amount", names)  # noqa: S102 - that is the case
    made = request_feature(request={"amount": "float64"}, name="f")(names["f"])
    with pytest.raises(
        DefinitionError, match="request feature 'f': the function 'f' has no source that can be read"
    ):
        specs_of([made])
