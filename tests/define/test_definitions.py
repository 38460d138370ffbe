# ruff: noqa: E501, PLW0108 - a table of lambdas reads best a row a line
"""A wrong definition fails when it is made: the object, the field, what was seen, what is allowed, the nearest name."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import asof
from asof import (
    Entity,
    Events,
    FeatureService,
    FeatureView,
    Kafka,
    Label,
    Landed,
    Log,
    Parquet,
    RedisStream,
    Union,
    request_feature,
)
from asof.define.fingerprint import fingerprint
from asof.errors import DefinitionError, UnknownName

ACCOUNT = Entity("account", keys={"account_id": "string"})
DEVICE = Entity("device", keys={"device_id": "string"})
TX = Events("tx", Parquet("tx.parquet"), event_time="at", key="id")
VIEW = FeatureView(
    "activity",
    entity=ACCOUNT,
    source=TX,
    features=[asof.count().over("1d", "7d"), asof.mean("amount").over("30d")],
)


def _view(*features: object, **changes: object) -> FeatureView:
    return FeatureView("v", **{"entity": ACCOUNT, "source": TX, "features": list(features), **changes})


LANDED = Landed(columns={"at": "timestamp", "seen": "timestamp"})


def _streamed(**changes: object) -> Events:
    return Events(
        "s", **{"history": Parquet("s"), "event_time": "at", "known_at": "seen", "stream": Log(), **changes}
    )


WRONG: dict[str, tuple[Callable[[], object], str]] = {
    "a name with a space": (lambda: Entity("my account", keys={"a": "string"}), "'my account' is not a name"),
    "an entity without keys": (lambda: Entity("e", keys={}), "entity 'e': no keys"),
    "a key that cannot identify": (lambda: Entity("e", keys={"x": "float64"}), "'x' has type float64"),
    "an unknown type": (lambda: Entity("e", keys={"x": "strng"}), "did you mean 'string'?"),
    "a history that is none": (lambda: Events("s", "tx.parquet", event_time="at"), "history is str"),
    "two ways of being known": (lambda: Events("s", Parquet("x"), event_time="a", known_at="k", delay="1h"), "both known_at and delay"),
    "deletes without a key": (lambda: Events("s", Parquet("x"), event_time="a", deleted="gone"), "deleted without key"),
    "an unknown zone": (lambda: Events("s", Parquet("x"), event_time="a", zone="Mars/Base"), "'Mars/Base' is unknown"),
    "no path": (lambda: Parquet([]), "no path was given"),
    "a union of nothing": (lambda: Union("u", []), "at least one Events"),
    "a union with one source twice": (lambda: Union("u", [TX, TX]), "two sources are named 'tx'"),
    "a view without features": (lambda: _view(), "no features"),
    "a view of something else": (lambda: _view("count"), "str is not a feature"),
    "an aggregation without a window": (lambda: _view(asof.sum("amount")), "sum(amount) has no window"),
    "an aggregation of no column": (lambda: asof.sum(""), "is not a name"),
    "a filter without a name": (lambda: _view(asof.count().where("x > 1").over("1d")), "has a filter and no name"),
    "one name for two windows": (lambda: _view(asof.count().over("1d", "2d").named("n")), '.named("n_{window}")'),
    "two features of one name": (lambda: _view(asof.count().over("1d"), asof.count().over("24h")), "two features are named 'count_1d'"),
    "a feature with the name of a key": (lambda: _view(asof.count().over("1d").named("account_id")), "name of an entity key"),
    "a key that the entity does not have": (lambda: _view(asof.count().over("1d"), keys={"acount_id": "x"}), "did you mean 'account_id'?"),
    "a window that is no duration": (lambda: asof.count().over("1 day"), "'1 day'"),
    "a month": (lambda: asof.count().over("1mo"), "'1mo'"),
    "a closed that is no word": (lambda: asof.count().over("1d", closed="rigth"), "did you mean 'right'?"),
    "a hop longer than its window": (lambda: asof.count().over("1h", hop="2h"), "hop 2h is longer"),
    "a hop for a lifetime": (lambda: asof.count().over("lifetime", hop="2h"), "not a lifetime"),
    "a quantile out of range": (lambda: asof.quantile("x", 1.5), "q=1.5"),
    "a decay without a half-life": (lambda: asof.decayed_sum("x", "0s"), "not positive"),
    "a delete without SQL": (lambda: Events("s", Parquet("x"), event_time="a", key="k", deleted=" "), "deleted has no SQL"),
    "no top at all": (lambda: asof.topk("x", 0), "k=0 is not in 1 to 1000"),
    "a ratio of windows": (lambda: asof.ratio(asof.count().over("1d"), asof.count()), "cannot be a part"),
    "a filtered ratio": (lambda: asof.ratio(asof.sum("x"), asof.count()).where("y"), "filter the two parts"),
    "a map of lists": (lambda: asof.last("x", 3).by("y"), "a map holds single values"),
    "latest of nothing": (lambda: asof.latest(), "no column"),
    "latest with too few names": (lambda: asof.latest("a", "b").named("c"), "1 names for 2 columns"),
    "an unknown feature": (lambda: VIEW["count_2d"], "did you mean 'count_7d'?"),
    "an empty service": (lambda: FeatureService("s", []), "no features"),
    "a service of something else": (lambda: FeatureService("s", ["count_1d"]), "str is not a feature"),
    "a service with a name twice": (lambda: FeatureService("s", [VIEW, VIEW["count_1d"]]), "two columns are named 'count_1d'"),
    "an own row of no clear source": (
        lambda: FeatureService("s", [VIEW, _view(asof.count().over("3d"), source=Events("o", Parquet("o"), event_time="t"))], own_row=True),
        "the sources: tx, o",
    ),
    "a request function's unknown parameter": (lambda: request_feature(request={"amount": "float64"}, name="f")(lambda amuont: amuont), "did you mean 'amount'?"),
    "a request column that nothing takes": (lambda: request_feature(request={"amount": "float64"}, name="f")(lambda: 1), "nothing takes 'amount'"),
    "a label without horizon for its codes": (lambda: Label("l", entity=ACCOUNT, source=TX, horizon={"R01": "2d"}), "need outcome="),
    "a label with codes and no horizons": (lambda: Label("l", entity=ACCOUNT, source=TX, horizon="2d", outcome="code"), "outcome without horizons"),
    "a label of a list": (lambda: Label("l", entity=ACCOUNT, source=TX, horizon="2d", value=asof.topk("x", 2)), "cannot be a label"),
    "too many banking days": (lambda: asof.banking_days(1000), "banking_days(1000)"),
    "a stream that is none": (lambda: _streamed(stream="log"), "source 's': stream is str\nhint: one of Log, Kafka, RedisStream"),
    "a stream without known-at time": (lambda: _streamed(known_at=None), 'a stream without known_at\nhint: known_at="known_at": the platform writes there'),
    "a stream with a delay": (lambda: _streamed(known_at=None, delay="1h"), "a stream with delay\nhint: known_at="),
    "a stream with a sequence": (lambda: _streamed(sequence="n"), "a stream with sequence='n'\nhint: its events are ordered by known-at time"),
    "a stream parted by nothing": (lambda: Log(partition_by=""), "Log: partition_by name '' is not a name"),
    "a topic parted by nothing": (lambda: Kafka("t", partition_by=""), "Kafka: partition_by name '' is not a name"),
    "a log without parts": (lambda: Log(partitions=0), "partitions=0 is not from 1 to 1024"),
    "nothing landed": (lambda: Landed(columns={}), "Landed: no columns"),
    "a landed column twice": (lambda: Landed(columns={"at": "date", "AT": "date"}), "Landed: two columns are named 'at'"),
    "a landed column of no type": (lambda: Landed(columns={"at": "tmestamp"}), "did you mean 'timestamp'?"),
    "a landed column with a space": (lambda: Landed(columns={"my at": "date"}), "Landed: column name 'my at' is not a name"),
    "landed by nobody": (lambda: _streamed(history=LANDED, stream=None), "history is Landed, and no stream lands anything\nhint: stream=Log()"),
    "landed without its time": (lambda: _streamed(history=LANDED, event_time="att"), "event_time 'att' is no column of Landed\nhint: did you mean 'at'?"),
    "landed without its known-at time": (lambda: _streamed(history=LANDED, known_at="sen"), "known_at 'sen' is no column of Landed\nhint: did you mean 'seen'?"),
    "landed without what parts it": (lambda: _streamed(history=LANDED, stream=Log(partition_by="id")), "partition_by 'id' is no column of Landed"),
    "freshness without a stream": (lambda: _view(asof.count().over("1d"), freshness="60s"), "freshness, and source 'tx' has no stream\nhint: give the source a stream"),
    "no freshness at all": (lambda: _view(asof.count().over("1d"), source=_streamed(), freshness="0s"), "freshness is not positive"),
    "a password of Redis": (lambda: RedisStream("k", password="hunter2"), "RedisStream: password: a secret is written as a reference, not as itself"),  # noqa: S106
    "a password of Kafka": (lambda: Kafka("t", settings={"sasl.password": "hunter2"}), "Kafka: settings['sasl.password']: a secret is written as a reference"),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_definition_fails_when_it_is_made(what: str) -> None:
    make, words = WRONG[what]
    with pytest.raises(DefinitionError) as caught:
        make()
    assert words in str(caught.value)


def test_an_unknown_feature_is_also_a_key_error() -> None:
    with pytest.raises(KeyError) as caught:
        VIEW["count_2d"]
    assert isinstance(caught.value, UnknownName)


def test_names_of_features_are_predictable() -> None:
    features = [
        asof.count().over("1h", "24h"), asof.count("x").over("7d", offset="7d"), asof.sum("a").over("30d", closed="right"),
        asof.max("a").over("1h", hop="5m"), asof.distinct("m").over("lifetime"), asof.sum("a").by("c").over("30d"),
        asof.last("m"), asof.last("m", 5), asof.first("m", 2).over("7d"), asof.quantile("a", 0.95).over("7d"),
        asof.topk("m", 3).over("7d"), asof.decayed_sum("a", "7d").over("30d"), asof.ratio(asof.sum("f"), asof.count()).over("7d"),
        asof.latest("tier", "opened_on", ttl="90d"), asof.std("a").over("2w"),
    ]  # fmt: skip
    assert _view(*features).names == (
        "count_1h", "count_1d", "x_count_7d_offset_7d", "a_sum_30d_closed_right", "a_max_1h_hop_5m", "m_distinct_lifetime",
        "a_sum_by_c_30d", "m_last", "m_last_5", "m_first_2_7d", "a_quantile_p95_7d", "m_topk_3_7d", "a_decayed_sum_7d_30d",
        "ratio_f_sum_count_7d", "tier", "opened_on", "a_std_14d",
    )  # fmt: skip


def test_a_fingerprint_follows_values_and_nothing_else() -> None:
    def view(**changes: object) -> FeatureView:
        return _view(asof.sum("amount").over("7d").named("s"), **changes)

    first = fingerprint(view())
    assert fingerprint(view(owner="risk", description="spend", tags=["a"])) == first
    assert fingerprint(_view(asof.sum("amount").over("8d").named("s"))) != first
    assert (
        fingerprint(
            view(source=Events("tx", Parquet("tx.parquet"), event_time="at", key="id", deleted="gone"))
        )
        != first
    )
    assert fingerprint(view(keys={"account_id": "acct"})) != first


def test_a_request_function_counts_by_its_code_and_not_by_its_looks() -> None:
    @request_feature(request={"amount": "float64"}, name="f")
    def one(amount):
        return amount * 2

    @request_feature(request={"amount": "float64"}, name="f")
    def two(amount: object) -> object:
        """Twice the amount."""
        # with a comment
        return (
            amount
            * 2
        )  # fmt: skip

    @request_feature(request={"amount": "float64"}, name="f")
    def three(amount):
        return amount * 3

    assert fingerprint(one) != fingerprint(three)
    assert fingerprint(one) == fingerprint(two)


def test_fingerprints_are_stable_across_processes_and_versions() -> None:
    entity = Entity("account", keys={"account_id": "string"})
    source = Events("transactions", Parquet("tx/*.parquet"), event_time="occurred_at", known_at="ingested_at")
    view = FeatureView(
        "v", entity=entity, source=source, features=[asof.count().over("1d"), asof.latest("tier", ttl="90d")]
    )
    assert fingerprint(view) == "f6e7b9be253e3e69cecf46b8bdd7f9b6521424d80ff71f181b9938905049baf8"


@pytest.mark.parametrize(
    "name", ["sasl.password", "ssl.key.password", "sasl.oauthbearer.client.secret", "ssl.key.pem"]
)
def test_a_secret_in_a_definition_is_not_repeated(name: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        Kafka("t", settings={name: "hunter2"})
    assert "hunter2" not in str(caught.value)
    assert Kafka("t", settings={name: "env:KAFKA_SECRET"}).settings == ((name, "env:KAFKA_SECRET"),)


def test_a_stream_changes_no_value_of_its_source() -> None:
    for stream in (Log(partitions=4), Kafka("payments"), RedisStream("payments")):
        assert _streamed(stream=stream) == _streamed(stream=None)
        assert fingerprint(_streamed(stream=stream)) == fingerprint(_streamed(stream=None))


def test_freshness_is_of_any_part_of_a_union() -> None:
    union = Union("u", [TX, _streamed()])
    view = _view(asof.count().over("1d"), source=union, freshness="1m30s")
    assert view.freshness_us == 90_000_000
    assert view == _view(asof.count().over("1d"), source=union)
    assert fingerprint(view) == fingerprint(_view(asof.count().over("1d"), source=union))
