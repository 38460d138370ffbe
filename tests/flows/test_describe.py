"""Everything about one object: its facts, its parts and their types, versions, freshness and readers."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from asof import (
    CSV,
    Entity,
    Events,
    FeatureView,
    InMemory,
    Label,
    Landed,
    Log,
    Parquet,
    Union,
    count,
    latest,
    sum,
)
from asof.define.spec import specs_of
from asof.engines.duckdb import DuckDBEngine, open_database
from asof.flows.column_types import Types, read_types, written_types
from asof.flows.describe import Fresh, Known, Part, Version, describe, registry_notes
from asof.flows.facts import facts_of
from asof.flows.lineage import lineage_of, state_of
from asof.flows.load import Definitions
from asof.registry.lineage import known_columns
from asof.registry.state import Change, Materialized
from asof.registry.store import open_registry
from asof.testing.clock import FakeClock
from tests.flows.discovery import ALL, bank_lineage

BANK = bank_lineage()
TYPES = Types(BANK.state, written_types(BANK.state))
account = Entity("account", keys={"account_id": "string"})


@pytest.mark.parametrize(
    ("node", "facts"),
    [("entity:account", {"keys": "account_id string"}),
     ("source:card", {"history": "Parquet card/*.parquet", "event time": "at", "known at": "ingested_at",
                      "event key": "tx_id", "deleted where": "status = 'void'", "personal": "email"}),
     ("source:ach", {"history": "CSV ach.csv", "event time": "at (America/New_York)",
                     "known at": "1d after the event time"}),
     ("source:money", {"sources": "card, ach"}),
     ("feature_view:spend", {"entity": "account (account_id string)", "source": "card",
                             "times": "event time at, known at ingested_at", "windows": "1h, 1d, 30d, 7d",
                             "online": "yes"}),
     ("feature_view:flow", {"entity": "account (account_id string)", "keys": "account_id = lower(acct)",
                            "source": "money", "times": "card: event time at, known at ingested_at; ach: event time"
                            " at (America/New_York), known at 1d after the event time", "windows": "7d, 30d",
                            "online": "no"}),
     ("request_feature:vs_usual", {"inputs": "spend.amount_sum_1d", "request": "ticket float64",
                                   "type": "float64"}),
     ("feature_service:fraud", {"entities": "account (account_id string)", "request": "ticket float64"}),
     ("label:returned", {"entity": "account (account_id string)", "source": "ach",
                         "times": "event time at (America/New_York), known at 1d after the event time",
                         "horizon": "R01 2 banking days, * 60d", "outcome": "code",
                         "value": "1 when any event comes in time, else 0", "where": "usd > 10"}),
     ("model:fraud", {"service": "fraud", "labels": "returned"})],
)  # fmt: skip
def test_the_facts_of_each_kind_are_told_in_words(node: str, facts: dict[str, str]) -> None:
    assert describe(BANK, node, TYPES).facts == facts


def test_a_stream_and_a_freshness_are_facts() -> None:
    history = Landed(columns={"at": "timestamp", "seen": "timestamp", "account_id": "string"})
    log = Log(partitions=4, partition_by="account_id")
    tx = Events("tx", history, event_time="at", known_at="seen", stream=log)
    view = FeatureView("v", entity=account, source=tx, features=[count().over("1d")], freshness="60s")
    specs = specs_of([tx, account, view])
    assert facts_of(specs["source:tx"], specs) == {
        "history": "Landed",
        "event time": "at",
        "known at": "seen",
        "stream": "Log(partition_by=account_id, partitions=4)",
    }
    assert facts_of(specs["feature_view:v"], specs)["freshness"] == "1m"
    assert known_columns(specs["source:tx"]) == ["at", "seen", "account_id"]
    parquet = specs_of([Events("tx", Parquet("tx"), event_time="at", known_at="seen", stream=log)])[
        "source:tx"
    ]
    assert known_columns(parquet) == ["at", "seen", "account_id"]
    types = Types(state_of([tx, account, view]), written_types(state_of([tx, account, view])))
    assert types.of("source:tx.account_id") == "string"


def test_features_have_what_they_compute_types_and_marks() -> None:
    assert describe(BANK, "feature_view:spend", TYPES).parts == (
        Part("count_1h", "count() over 1h", "int64", "1h"),
        Part("count_1d", "count() over 1d", "int64", "1d"),
        Part("amount_sum_1d", "sum(amount) over 1d", None, "1d", "Spend of a day, in dollars."),
        Part(
            "gambling", "sum(amount) where mcc = '7995' over 30d", None, "30d", "",
            "deprecated from 2027-01-31: use spend",
        ),
        Part("web_share", "ratio(sum(amount) where channel = 'web', count()) over 7d", "float64", "7d"),
        Part("email", "latest(email), ttl 90d", None, None, personal=("card.email",)),
    )  # fmt: skip
    assert describe(BANK, "feature_view:flow", TYPES).parts == (
        Part("amount_sum_by_kind_7d", "sum(amount) by kind over 7d", None, "7d"),
        Part("amount_decayed_sum_36h_30d", "decayed_sum(amount) over 30d, half-life 36h", "float64", "30d"),
    )


def test_columns_of_a_service_have_their_origin() -> None:
    assert describe(BANK, "feature_service:fraud", TYPES).parts == (
        Part("count_1h", "spend.count_1h", "int64"),
        Part("spend_1d", "spend.amount_sum_1d"),
        Part("email", "spend.email", personal=("card.email",)),
        Part("vs_usual", "request feature vs_usual", "float64"),
        Part("amount_sum_by_kind_7d", "flow.amount_sum_by_kind_7d"),
        Part("amount_decayed_sum_36h_30d", "flow.amount_decayed_sum_36h_30d", "float64"),
    )


def test_columns_of_a_source_are_those_that_are_named_or_read() -> None:
    parts = describe(BANK, "source:ach", TYPES).parts
    assert [(part.name, part.computes, part.type) for part in parts] == [
        ("account_id", "", "string"),
        ("usd", "", "decimal(12,2)"),
        ("at", "", None),
        ("code", "", None),
        ("acct", "", None),
        ("kind", "", None),
    ]
    assert Part("cents", "amount * 100") in describe(BANK, "source:card", TYPES).parts


def test_who_reads_an_object_is_told_however_far_away() -> None:
    made = describe(BANK, "feature_view:spend", TYPES)
    assert made.reads == (
        ("entity:account", ()),
        ("source:card", ("account_id", "amount", "mcc", "channel", "email")),
    )
    assert made.read_by == (
        ("request_feature:vs_usual", ("amount_sum_1d",)),
        ("feature_service:fraud", ("count_1h", "amount_sum_1d", "email")),
        ("model:fraud", ()),
        ("model:other", ()),
    )


def test_one_feature_can_be_described() -> None:
    made = describe(BANK, "feature_view:spend.amount_sum_1d", TYPES)
    assert (made.owner, made.description, made.parts) == ("risk", "Spend of a day, in dollars.", ())
    assert made.facts == {"computes": "sum(amount) over 1d"}
    assert [node for node, _ in made.reads] == ["source:card.amount", "feature_view:spend"]
    assert [node for node, _ in made.read_by] == [
        "request_feature:vs_usual",
        "feature_service:fraud.spend_1d",
        "feature_service:fraud.vs_usual",
        "model:fraud",
        "model:other",
    ]
    assert describe(BANK, "source:card.email", TYPES).facts == {"personal": "card.email"}


def test_the_code_of_a_request_feature_is_shown() -> None:
    made = describe(BANK, "request_feature:vs_usual", TYPES)
    assert made.code == "def vs_usual(amount_sum_1d, ticket):\n    return ticket / amount_sum_1d"
    assert made.description == "How the ticket compares to the spend of a day."


def test_the_description_is_plain_data() -> None:
    known = Known((Version(1, "f" * 64, 0),), (Fresh("spend", 60_000_000, 5_500_000),), "features.py:3")
    data = describe(BANK, "source:ach", TYPES, known).as_dict()
    assert data["deprecated"] == {"on": "2027-06-30", "use": "ach_v2", "note": ""}
    assert data["versions"] == [{"number": 1, "fingerprint": "f" * 64, "at": "1970-01-01T00:00:00Z"}]
    assert data["freshness"] == [{"view": "spend", "until": "1970-01-01T00:01:00Z", "age_seconds": 5}]
    assert data["written_in"] == "features.py:3"
    assert data["read_by"][0] == {"node": "source:money", "through": ["usd", "acct", "kind"]}


def test_the_registry_adds_versions_and_freshness(tmp_path: Path) -> None:
    clock = FakeClock("2025-06-30T12:00:00Z")
    registry = open_registry(f"sqlite:///{tmp_path}/r.sqlite", clock=clock)
    specs = state_of(ALL).specs
    first = registry.commit(Change("prod", "apply", None, tuple(specs.values())))
    clock.advance("1h")
    again = FeatureView(
        "spend", entity=account, source=Events("card", Parquet("x"), event_time="at"),
        features=[count().over("1d")],
    )  # fmt: skip
    second = state_of(Definitions([again]).all()).specs
    registry.commit(Change("prod", "apply", first, (second["feature_view:spend"],)))
    lineage = lineage_of(registry.state("prod"), BANK.columns_of)
    old, new = specs["feature_view:spend"].fingerprint, second["feature_view:spend"].fingerprint
    now_us = clock.now_us()
    hour_us = 3_600_000_000
    registry.record_materialized(
        [
            Materialized(new, 0, now_us - 5 * hour_us, "a"),
            Materialized(new, now_us - 5 * hour_us, now_us - 2 * hour_us, "a"),
            Materialized(old, 0, now_us, "b"),  # a version that this environment does not point at
        ]
    )
    known = registry_notes(registry, lineage, "feature_view:spend", now_us)
    assert known.versions == (
        Version(1, old, now_us - hour_us),
        Version(2, new, now_us),
    )
    assert known.fresh == (Fresh("spend", now_us - 2 * hour_us, 2 * hour_us),)
    below = registry_notes(registry, lineage, "feature_service:fraud", now_us)
    assert below.fresh == known.fresh  # as fresh as its views; `flow` is not materialized
    assert registry_notes(registry, lineage, "source:card", now_us).fresh == ()
    registry.close()


def types_of(root: Path, *definitions: object, remote: bool = False) -> Types:
    found = Definitions(definitions)
    state = state_of(found.all())
    return Types(state, read_types(state, found, DuckDBEngine(root, open_database()), remote=remote))


def test_types_come_from_the_source_where_the_code_names_it(tmp_path: Path) -> None:
    pq.write_table(
        pa.table({"acct": ["a"], "Amount": pa.array([1], pa.int32()), "tags": [["x"]]}),
        tmp_path / "t.parquet",
    )
    tx = Events("tx", Parquet("t.parquet"), event_time="at", columns={"half": "amount / 2"})
    view = FeatureView(
        "v", entity=account, source=tx,
        features=[sum("amount").over("1d"), sum("half").by("acct").over("1d"), latest("acct")],
    )  # fmt: skip
    label = Label("big", entity=account, source=tx, horizon="1d", value=sum("amount"))
    flag = Label("any", entity=account, source=tx, horizon="1d")
    types = types_of(tmp_path, view, label, flag)
    nodes = {
        "source:tx.amount": "int32",
        "source:tx.half": "float64",
        "source:tx.tags": None,  # a type that no feature can use
        "feature_view:v.amount_sum_1d": "int64",
        "feature_view:v.half_sum_by_acct_1d": "map<float64>",
        "feature_view:v.acct": "string",
        "label:big": "int64",
        "label:any": "int64",
        "feature_view:v.nothing": None,
        "feature_view:v": None,
        "entity:account": None,
        "source:gone.x": None,
    }
    assert {node: types.of(node) for node in nodes} == nodes


def test_a_source_that_is_not_there_has_the_types_that_are_written(tmp_path: Path) -> None:
    tx = Events(
        "tx", CSV("no.csv", columns={"a": "int64", "b": "int64"}), event_time="at", columns={"b": "1"}
    )
    types = types_of(tmp_path, tx)
    assert (types.of("source:tx.a"), types.of("source:tx.b")) == ("int64", None)


def test_a_column_of_a_union_has_the_type_that_holds_all_parts(tmp_path: Path) -> None:
    one = Events("one", InMemory(pa.table({"x": pa.array([1], pa.int32()), "y": [1]})), event_time="at")
    two = Events("two", InMemory(pa.table({"x": pa.array([1.5]), "z": [1]})), event_time="at")
    types = types_of(tmp_path, Union("both", [one, two]))
    assert (types.of("source:both.x"), types.of("source:both.y")) == ("float64", None)


def test_an_object_store_is_only_asked_when_that_is_wanted(tmp_path: Path) -> None:
    asked: list[str] = []

    class Engine(DuckDBEngine):
        def schema(self, source: object) -> dict[str, pa.DataType]:
            asked.append(source.source.name)  # pyright: ignore[reportAttributeAccessIssue]
            return {"x": pa.int64()}

    definitions = Definitions([Events("far", Parquet("s3://bucket/x.parquet"), event_time="at")])
    state = state_of(definitions.all())
    engine = Engine(tmp_path, open_database())
    assert Types(state, read_types(state, definitions, engine)).of("source:far.x") is None
    assert asked == []
    assert Types(state, read_types(state, definitions, engine, remote=True)).of("source:far.x") == "int64"


def test_a_source_that_the_code_defines_otherwise_is_not_asked(tmp_path: Path) -> None:
    table = pa.table({"x": [1]})
    state = state_of([Events("tx", Parquet("old.parquet"), event_time="at")])
    definitions = Definitions([Events("tx", InMemory(table), event_time="at")])
    types = Types(state, read_types(state, definitions, DuckDBEngine(tmp_path, open_database())))
    assert types.of("source:tx.x") is None


def test_a_feature_that_its_column_does_not_allow_has_no_type(tmp_path: Path) -> None:
    tx = Events("tx", InMemory(pa.table({"x": ["text"]})), event_time="at")
    view = FeatureView("v", entity=account, source=tx, features=[sum("x").over("1d")])
    assert types_of(tmp_path, view).of("feature_view:v.x_sum_1d") is None
