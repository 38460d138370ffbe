# ruff: noqa: E501, PLW0108 - a table of lambdas reads best a row a line
"""What differs between two versions of an object, field by field, in words that a person reads."""

from __future__ import annotations

from collections.abc import Callable

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
from asof.define.request_feature import RequestFeature
from asof.define.spec import Spec, specs_of
from asof.registry.fields import field_changes, summary, window_label

ACCOUNT = Entity("account", keys={"account_id": "string"})
ACH = Events("ach", Parquet("ach.parquet"), event_time="initiated_at")
Change = tuple[str, str | None, str | None]


def entity(**changes: object) -> Entity:
    return Entity("account", **{"keys": {"account_id": "string"}, **changes})


def source(**changes: object) -> Events:
    return Events("tx", **{"history": Parquet("tx.parquet"), "event_time": "at", **changes})


def streamed(stream: object, **changes: object) -> Events:
    return source(known_at="seen", stream=stream, **changes)


def union(**columns: str) -> Union:
    return Union("money", [source(), ACH.mapped(**columns)])


def view(*features: object, **changes: object) -> FeatureView:
    return FeatureView(
        "activity", **{"entity": ACCOUNT, "source": source(), "features": list(features), **changes}
    )


def label(horizon: object = "60d", **changes: object) -> Label:
    return Label("returned", entity=ACCOUNT, source=source(), horizon=horizon, **changes)  # type: ignore[arg-type]


SUM = asof.sum("amount").over("7d").named("spend")
COUNT = asof.count().over("7d")
VIEW = view(SUM, COUNT)


def service(*items: object, **changes: object) -> FeatureService:
    return FeatureService("risk", list(items) or [VIEW], **changes)


@request_feature(request={"amount": "float64"})
def large(amount):
    return amount > 1000


@request_feature(request={"amount": "float64"}, name="large")
def large_laid_out(amount):
    """Large."""
    return (
        amount
        > 1000
    )  # fmt: skip


@request_feature(request={"amount": "float64"}, name="large")
def larger(amount):
    return amount > 2000


def limited(limit: float) -> RequestFeature:
    @request_feature(request={"amount": "float64"}, name="large")
    def made(amount):
        return amount > limit

    return made


# What is changed: the old object, the new one, and the lines that a person reads.
CASES: dict[str, tuple[Callable[[], object], Callable[[], object], list[Change]]] = {
    "nothing": (lambda: VIEW, lambda: VIEW, []),
    "an owner": (lambda: entity(owner="risk"), lambda: entity(owner="growth"), [("owner", "risk", "growth")]),
    "a description that is new": (lambda: entity(), lambda: entity(description="who pays"), [("description", None, "who pays")]),
    "tags": (lambda: entity(tags=["a", "b"]), lambda: entity(tags=["b"]), [("tags", "a, b", "b")]),
    "tags that are gone": (lambda: entity(tags=["a"]), lambda: entity(), [("tags", "a", None)]),
    "a flag": (lambda: view(COUNT), lambda: view(COUNT, online=True), [("online", None, "yes")]),
    "a deprecation": (
        lambda: view(COUNT), lambda: view(COUNT, deprecated=Deprecated("2027-01-31", use="spend")),
        [("deprecated", None, '{"on": "2027-01-31", "use": "spend"}')],
    ),
    "another date of a deprecation": (
        lambda: view(COUNT, deprecated=Deprecated("2027-01-31")), lambda: view(COUNT, deprecated=Deprecated("2027-02-28")),
        [("deprecated.on", "2027-01-31", "2027-02-28")],
    ),
    "a key's type": (lambda: entity(), lambda: entity(keys={"account_id": "int64"}), [("keys.account_id.type", "string", "int64")]),
    "a key's name": (lambda: entity(), lambda: entity(keys={"id": "string"}), [("keys.id.name", "account_id", "id")]),
    "one more key": (
        lambda: entity(), lambda: entity(keys={"account_id": "string", "bank": "int32"}),
        [("keys.bank", None, '{"name": "bank", "type": "int32"}')],
    ),
    "the order of keys": (
        lambda: entity(keys={"a": "string", "b": "string"}), lambda: entity(keys={"b": "string", "a": "string"}),
        [("keys (order)", "a, b", "b, a")],
    ),
    "a path": (lambda: source(), lambda: source(history=Parquet(["a", "b"])), [("history.paths", "tx.parquet", "a, b")]),
    "a format of files": (
        lambda: source(), lambda: source(history=CSV("tx.csv", delimiter=";")),
        [("history.delimiter", None, ";"), ("history.paths", "tx.parquet", "tx.csv"), ("history.type", "Parquet", "CSV")],
    ),
    "a delay": (lambda: source(), lambda: source(delay="90m"), [("delay", None, "90m")]),
    "a longer delay": (lambda: source(delay="1h"), lambda: source(delay="1d"), [("delay", "1h", "1d")]),
    "a stream": (lambda: streamed(None), lambda: streamed(Log(partitions=4, partition_by="account_id", retention="30d")), [("stream", None, "Log(partition_by=account_id, partitions=4, retention=30d)")]),
    "a plain stream": (lambda: streamed(None), lambda: streamed(Log()), [("stream", None, "Log()")]),
    "a stream that ends": (
        lambda: streamed(Kafka("t", servers="b1:9092", settings={"sasl.password": "env:KAFKA"})), lambda: streamed(None),
        [("stream", 'Kafka(servers=b1:9092, settings={"sasl.password": "env:KAFKA"}, topic=t)', None)],
    ),
    "more parts of a stream": (
        lambda: streamed(Log(partitions=2)), lambda: streamed(Log(partitions=4, retention="1d")), [("stream.partitions", "2", "4"), ("stream.retention", None, "1d")],
    ),
    "another kind of stream": (
        lambda: streamed(Log()), lambda: streamed(Kafka("t", servers="b1:9092")),
        [("stream.servers", None, "b1:9092"), ("stream.topic", None, "t"), ("stream.type", "Log", "Kafka")],
    ),
    "nothing but what is landed": (
        lambda: streamed(Log()), lambda: streamed(Log(), history=Landed(columns={"at": "date", "seen": "date"})),
        [("history.columns", None, '{"name": "at", "type": "date"}, {"name": "seen", "type": "date"}'), ("history.paths", "tx.parquet", None), ("history.type", "Parquet", "Landed")],
    ),
    "a column that is landed": (
        lambda: streamed(Log(), history=Landed(columns={"at": "date", "seen": "date"})), lambda: streamed(Log(), history=Landed(columns={"at": "date", "seen": "date", "x": "int64"})),
        [("history.columns.x", None, '{"name": "x", "type": "int64"}')],
    ),
    "a freshness": (lambda: view(COUNT, source=streamed(Log())), lambda: view(COUNT, source=streamed(Log()), freshness="90s"), [("freshness", None, "90s")]),
    "another freshness": (
        lambda: view(COUNT, source=streamed(Log()), freshness="60s"), lambda: view(COUNT, source=streamed(Log()), freshness="90s"), [("freshness", "1m", "90s")],
    ),
    "a derived column": (
        lambda: source(columns={"a": "x", "gone": "g"}), lambda: source(columns={"a": "y", "new": "n"}),
        [("columns.a", "x", "y"), ("columns.gone", "g", None), ("columns.new", None, "n")],
    ),
    "the first derived column": (lambda: source(), lambda: source(columns={"a": "x + 1"}), [("columns", None, '{"a": "x + 1"}')]),
    "a union's mapping": (lambda: union(amount="usd"), lambda: union(amount="eur"), [("sources.source:ach.columns.amount", "usd", "eur")]),
    "one more source of a union": (
        lambda: Union("money", [source(), ACH]), lambda: Union("money", [source()]), [("sources.source:ach", '{"source": {"ref": "source:ach"}}', None)],
    ),
    "the order of a union": (lambda: Union("money", [source(), ACH]), lambda: Union("money", [ACH, source()]), [("sources (order)", "source:tx, source:ach", "source:ach, source:tx")]),
    "a window": (lambda: view(SUM), lambda: view(asof.sum("amount").over("14d").named("spend")), [("features.spend.window", "7d", "14d")]),
    "a hop": (
        lambda: view(SUM), lambda: view(asof.sum("amount").over("7d", hop="1h", closed="right").named("spend")),
        [("features.spend.window", "7d", "7d_hop_1h_closed_right")],
    ),
    "a lifetime": (lambda: view(SUM), lambda: view(asof.sum("amount").over("lifetime").named("spend")), [("features.spend.window", "7d", "lifetime")]),
    "a function and a column": (
        lambda: view(SUM), lambda: view(asof.mean("fee").over("7d").named("spend")),
        [("features.spend.column", "amount", "fee"), ("features.spend.function", "sum", "mean")],
    ),
    "a filter": (lambda: view(SUM), lambda: view(asof.sum("amount").where("x > 1").over("7d").named("spend")), [("features.spend.predicate", None, "x > 1")]),
    "a time to live": (lambda: view(latest("tier", ttl="90d")), lambda: view(latest("tier", ttl="30d")), [("features.tier.ttl", "90d", "30d")]),
    "a time to live that ends": (lambda: view(latest("tier", ttl="90d")), lambda: view(latest("tier")), [("features.tier.ttl", "90d", None)]),
    "a half-life": (
        lambda: view(asof.decayed_sum("a", "1d").over("9d").named("n")), lambda: view(asof.decayed_sum("a", "36h").over("9d").named("n")),
        [("features.n.params.half_life", "1d", "36h")],
    ),
    "a quantile": (
        lambda: view(asof.quantile("a", 0.5).over("9d").named("n")), lambda: view(asof.quantile("a", 0.95).over("9d").named("n")),
        [("features.n.params.q", "0.5", "0.95")],
    ),
    "a ratio": (
        lambda: view(asof.ratio(asof.sum("a"), asof.count()).over("7d").named("n")), lambda: view(asof.ratio(asof.sum("b"), asof.count()).over("7d").named("n")),
        [("features.n.parts", "sum(a) over 7d, count() over 7d", "sum(b) over 7d, count() over 7d")],
    ),
    "features that come and go": (
        lambda: view(COUNT, asof.last("mcc")), lambda: view(COUNT, asof.sum("a").by("mcc").over("1d"), latest("tier", ttl="90d")),
        [("features.a_sum_by_mcc_1d", None, "sum(a) by mcc over 1d"), ("features.tier", None, "latest(tier), ttl 90d"), ("features.mcc_last", "last(mcc) over lifetime", None)],
    ),
    "a feature with a filter that comes": (
        lambda: view(COUNT), lambda: view(COUNT, asof.count().where("x > 1").over("1d").named("n")), [("features.n", None, "count() where x > 1 over 1d")],
    ),
    "a feature's name": (lambda: view(COUNT, SUM), lambda: view(COUNT, SUM.named("total")), [("features.total.name", "spend", "total")]),
    "names of two features of one kind": (
        lambda: view(SUM, SUM.named("b")), lambda: view(SUM.named("x"), SUM.named("y")),
        [("features.x.name", "spend", "x"), ("features.y.name", "b", "y")],
    ),
    "a feature's description": (lambda: view(COUNT), lambda: view(COUNT.described("how many")), [("features.count_7d.description", None, "how many")]),
    "the order of a view": (lambda: view(SUM, COUNT), lambda: view(COUNT, SUM), []),
    "the key of a view": (lambda: view(COUNT), lambda: view(COUNT, keys={"account_id": "acct"}), [("keys", None, '{"account_id": "acct"}')]),
    "another key of a view": (
        lambda: view(COUNT, keys={"account_id": "acct"}), lambda: view(COUNT, keys={"account_id": "lower(acct)"}), [("keys.account_id", "acct", "lower(acct)")],
    ),
    "another source": (lambda: view(COUNT), lambda: view(COUNT, source=ACH), [("source", "source:tx", "source:ach")]),
    "the order of a service": (lambda: service(VIEW["spend"], VIEW["count_7d"]), lambda: service(VIEW), []),
    "another order of a service": (
        lambda: service(VIEW), lambda: service(VIEW["count_7d"], VIEW["spend"]), [("features (order)", "spend, count_7d", "count_7d, spend")],
    ),
    "a column's name in a service": (
        lambda: service(VIEW["spend"]), lambda: service(VIEW["spend"].named("total")), [("features.total.name", "spend", "total")],
    ),
    "a feature that a service takes": (lambda: service(VIEW["spend"]), lambda: service(VIEW), [("features.count_7d", None, "feature_view:activity.count_7d")]),
    "a request feature that a service takes": (lambda: service(VIEW), lambda: service(VIEW, large), [("features.request_feature:large", None, "request_feature:large")]),
    "a view's name as a service sees it": (
        lambda: service(VIEW["spend"]), lambda: service(FeatureView("spending", entity=ACCOUNT, source=source(), features=[SUM])["spend"]),
        [("features.spend", "feature_view:activity.spend", "feature_view:spending.spend")],
    ),
    "an own row": (lambda: service(VIEW), lambda: service(VIEW, own_row=True), [("own_row", None, "source:tx")]),
    "the layout of a function": (lambda: large, lambda: large_laid_out, [("description", None, "Large.")]),
    "what a function does": (
        lambda: large, lambda: larger, [("function", "def large(amount):\n    return amount > 1000", "def larger(amount):\n    return amount > 2000")],
    ),
    "what a function reads": (lambda: limited(1.0), lambda: limited(2.0), [("function", "what it reads", "other values")]),
    "a horizon": (lambda: label("60d"), lambda: label("90d"), [("outcomes.horizon.size", "60d", "90d")]),
    "a horizon by codes": (
        lambda: label("60d"), lambda: label({"R01": "2d"}, outcome="code"),
        [("outcome", None, "code"), ("outcomes.code", None, "R01"), ("outcomes.horizon.size", "60d", "2d")],
    ),
    "a horizon of one code": (
        lambda: label({"R01": "2d", "*": "60d"}, outcome="code"), lambda: label({"R01": banking_days(2), "*": "60d"}, outcome="code"),
        [("outcomes.R01.horizon.size", "2d", None), ("outcomes.R01.horizon.banking_days", None, "2"), ("outcomes.R01.horizon.zone", None, "America/New_York")],
    ),
    "one more code": (
        lambda: label({"R01": "2d"}, outcome="code"), lambda: label({"R01": "2d", "R10": "60d"}, outcome="code"),
        [("outcomes.R10", None, '{"code": "R10", "horizon": {"size": "60d"}}')],
    ),
    "a label's value": (lambda: label(), lambda: label(value=asof.sum("amount")), [("value", None, "sum(amount)")]),
    "a label's condition": (lambda: label(where="a"), lambda: label(where="b"), [("predicate", "a", "b")]),
    "a model's labels": (
        lambda: Model("m", service=service(), labels=[label()]), lambda: Model("m", service=service()), [("labels", "label:returned", None)],
    ),
    # Words of ours may be names of a user's columns.
    "a column called ref": (lambda: source(columns={"ref": "a", "x": "1"}), lambda: source(columns={"ref": "a", "x": "2"}), [("columns.x", "1", "2")]),
    "a column called sha256": (lambda: source(columns={"sha256": "a", "x": "1"}), lambda: source(columns={"sha256": "a", "x": "2"}), [("columns.x", "1", "2")]),
    "columns called sha256 and code": (
        lambda: source(columns={"sha256": "sha256(x)", "code": "1"}), lambda: source(columns={"sha256": "sha256(y)", "code": "1"}), [("columns.sha256", "sha256(x)", "sha256(y)")],
    ),
    "a column called window": (lambda: source(columns={"window": "a"}), lambda: source(columns={"window": "b"}), [("columns.window", "a", "b")]),
    "a column called function": (lambda: source(), lambda: source(columns={"function": "upper(f)"}), [("columns", None, '{"function": "upper(f)"}')]),
    "a column that ends in a unit": (lambda: source(columns={"latency_us": "a"}), lambda: source(columns={"latency_us": "b"}), [("columns.latency_us", "a", "b")]),
}  # fmt: skip


def spec_of(thing: object) -> Spec:
    (made,) = specs_of([thing]).values()  # type: ignore[list-item]
    return made


@pytest.mark.parametrize("what", CASES)
def test_a_change_is_told_field_by_field(what: str) -> None:
    old, new, wanted = CASES[what]
    changes = field_changes(spec_of(old()), spec_of(new()))
    told = [(change.path, change.old, change.new) for change in changes]
    assert sorted(told, key=repr) == sorted(wanted, key=repr)


@pytest.mark.parametrize("what", CASES)
def test_a_change_that_is_taken_back_is_told_the_other_way_round(what: str) -> None:
    old, new, wanted = CASES[what]
    there, back = (field_changes(spec_of(a), spec_of(b)) for a, b in ((old(), new()), (new(), old())))
    assert len(there) == len(back) == len(wanted)
    if not any(path.endswith(".name") or new == "other values" for path, _, new in wanted):
        assert {(each.path, each.new, each.old) for each in back} == {(e.path, e.old, e.new) for e in there}


def test_an_item_in_one_line() -> None:
    assert (
        summary({"ref": "feature_view:activity", "feature": "spend", "name": "total"})
        == "feature_view:activity.spend"
    )
    assert (
        summary(
            {
                "function": "ratio",
                "parts": [{"function": "sum", "column": "a"}, {"function": "count"}],
                "window": {"size_us": 3_600_000_000},
            }
        )
        == "ratio(sum(a), count()) over 1h"
    )
    assert summary("text") == "text"
    assert summary(None) == ""
    assert summary(0.5) == "0.5"


def test_a_window_in_words() -> None:
    assert (
        window_label({"size_us": 3_600_000_000, "offset_us": 60_000_000, "closed": "both"})
        == "1h_offset_1m_closed_both"
    )
    assert window_label({"size_us": 86_400_000_000, "forward": True}) == "next_1d"
    assert window_label({"size_us": None}) == "lifetime"
    assert window_label(None) is None
