"""Generated edge cases: what they hold, that they agree, and that an engine which is wrong is found and shown small."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pyarrow as pa
import pyarrow.compute as pc
import pytest

import asof
from asof.define.aggregation import Feature
from asof.define.window import Window
from asof.errors import DataError
from asof.testing.generated import check_subject, same, subjects_of
from asof.testing.generated.example import make_example
from asof.testing.generated.history import Maker
from asof.testing.generated.spine import edges_us
from asof.testing.generated.values import BASE_US, DAY_US, Words, column, pool
from asof.testing.oracle import Row

US = pa.timestamp("us", "UTC")
TYPES = {
    "payments": {
        "payment_id": pa.string(), "account_id": pa.string(), "merchant": pa.string(), "status": pa.string(),
        "amount": pa.decimal128(18, 2), "paid_at": pa.timestamp("ns"), "known_at": US, "place": pa.int32(),
    },
    "fees": {"fee": pa.decimal128(18, 2), "owner": pa.string(), "day": pa.date32()},
    "texts": {"account_id": pa.string(), "amount": pa.string(), "seconds": pa.int64()},
}  # fmt: skip
EMPTY = {name: pa.table({n: pa.array([], t) for n, t in types.items()}) for name, types in TYPES.items()}
account = asof.Entity("account", keys={"account_id": "string"})
payments = asof.Events(
    "payments", asof.InMemory(EMPTY["payments"]), event_time="paid_at", known_at="known_at", key="payment_id",
    deleted="status = 'void'", sequence="place", columns={"big": "amount > 99.5"},
)  # fmt: skip
fees = asof.Events("fees", asof.InMemory(EMPTY["fees"]), event_time="day", delay="36h")
texts = asof.Events(
    "texts", asof.InMemory(EMPTY["texts"]), event_time="happened",
    columns={"happened": "to_timestamp(seconds)", "cents": "cast(amount as bigint)"},
)  # fmt: skip
activity = asof.FeatureView("activity", entity=account, source=payments, features=[
    asof.count().over("1h", "7d", closed="both"), asof.sum("amount").over("7d", offset="1d"),
    asof.max("paid_at").over("30d"),
    asof.count().where("big and status <> 'returned'").over("7d", hop="1d").named("big_7d"),
    asof.sum("amount").by("merchant").over("30d"), asof.last("status", 2).over("lifetime"),
    asof.ratio(asof.sum("amount").where("big"), asof.count()).over("7d").named("share"),
    asof.latest("status", ttl="10d"),
])  # fmt: skip
money = asof.Union("money", [payments, fees.mapped(amount="fee", account_id="upper(owner)")])
flow = asof.FeatureView(
    "flow",
    entity=account,
    source=money,
    features=[asof.sum("amount").over("7d"), asof.std("amount").over("7d")],
)
casted = asof.FeatureView("casted", entity=account, source=texts, features=[asof.sum("cents").over("1h")])
returned = asof.Label(
    "returned", entity=account, source=payments, outcome="status", where="amount > 0",
    horizon={"returned": "5d", "*": asof.banking_days(2)},
)  # fmt: skip
lost = asof.Label("lost", entity=account, source=money, horizon="3d", value=asof.sum("amount"))
own = asof.FeatureService(
    "own",
    [*(ref.named(f"now_{ref.name}") for ref in activity.refs()), flow["amount_sum_7d"]],
    own_row=payments,
)
plain = asof.FeatureService("plain", [activity])
PROJECT = asof.Project([activity, flow, casted, returned, lost, own, plain])
SUBJECTS = {each.name: each for each in subjects_of([activity, flow, casted], [returned, lost], [own, plain])}


def fast(service, spine, labels, *, as_known, cutoff):
    return PROJECT.training_set(
        service, spine=spine, labels=labels, as_known=as_known, cutoff=cutoff, immature="null"
    ).table


def check(name, engine=fast, *, seed=0, examples=12, types=TYPES):
    return check_subject(SUBJECTS[name], types, PROJECT.engine, engine, seed=seed, examples=examples)


def test_views_labels_and_services_with_own_rows_are_subjects():
    assert [(each.kind, each.name) for each in SUBJECTS.values()] == [
        ("feature view", "activity"), ("feature view", "flow"), ("feature view", "casted"), ("label", "returned"),
        ("label", "lost"), ("feature service", "own"),
    ]  # fmt: skip


@pytest.mark.parametrize("name", SUBJECTS)
def test_oracle_and_engine_agree_on_every_kind_of_definition(name):
    result = check(name)
    assert (result.mismatch, result.error, result.skipped) == (None, None, None)
    assert (result.passed, result.examples) == (True, 12)
    assert result.values >= 12 * 20


def test_equal_seeds_give_equal_examples_and_others_others():
    made = [make_example(PROJECT.engine, SUBJECTS["activity"], TYPES, name) for name in ("1", "1", "2")]
    assert made[0].tables["payments"].equals(made[1].tables["payments"])
    assert made[0].spine.equals(made[1].spine)
    assert not made[0].spine.equals(made[2].spine)


def test_histories_hold_ties_nulls_late_revised_deleted_and_doubled_rows_or_nothing():
    examples = [make_example(PROJECT.engine, SUBJECTS["activity"], TYPES, str(n)) for n in range(40)]
    tables = [example.tables["payments"] for example in examples]
    assert {0, 1} <= {table.num_rows for table in tables}
    rows = [row for table in tables for row in table.to_pylist()]
    assert all(any(row[name] is None for row in rows) for name in rows[0] if name != "place")
    known = [row for row in rows if row["known_at"] is not None and row["paid_at"] is not None]
    late = [row["known_at"].replace(tzinfo=None) - row["paid_at"] for row in known]
    assert min(late) < timedelta(0) < max(late)
    assert {"void", "returned"} <= {row["status"] for row in rows}
    keys = [
        [row["payment_id"] for row in table.to_pylist() if row["payment_id"] is not None] for table in tables
    ]
    assert any(len(set(each)) < len(each) for each in keys)
    times = [[row["paid_at"] for row in table.to_pylist() if row["paid_at"] is not None] for table in tables]
    assert any(len(set(each)) < len(each) for each in times)
    spans = [max(each) - min(each) for each in times if each]
    assert max(spans) > timedelta(days=300)
    asked = pa.concat_tables([example.spine for example in examples])
    assert asked["event_time"].null_count
    assert asked["account_id"].null_count
    assert pc.any(pc.equal(asked["account_id"], "nobody")).as_py()


def test_an_edge_is_asked_on_both_sides():
    feature = Feature("f", "count", None, Window(7 * DAY_US, offset_us=DAY_US))
    row = Row(("a",), BASE_US, BASE_US + 5)
    assert edges_us(random.Random(1), feature, row) == [BASE_US + 5, BASE_US + DAY_US, BASE_US + 8 * DAY_US]
    latest = Feature("f", "latest", "x", Window(None), ttl_us=90)
    assert edges_us(random.Random(1), latest, row) == [BASE_US, BASE_US + 5, BASE_US + 90]


def test_the_literals_of_sql_are_among_the_values():
    words = Words.of(["status = 'void' and amount >= 99.5", "name = 'it''s' and x2 <> 7"])
    assert words.texts == ("void", "it's")
    assert words.numbers == (Decimal("99.5"), Decimal(7))
    rng = random.Random(1)
    assert {"void", "it's"} <= set(pool(rng, pa.string(), words))
    assert {Decimal("99.49"), Decimal("99.50"), Decimal("99.51")} <= set(
        pool(rng, pa.decimal128(18, 2), words, 99)
    )
    assert {6, 7, 8, 99} <= set(pool(rng, pa.int8(), words, 99))
    assert not {-1} & set(pool(rng, pa.uint8(), words, 99))
    assert pool(rng, pa.binary(), words) == []


@pytest.mark.parametrize(
    "arrow",
    [pa.bool_(), pa.int8(), pa.uint64(), pa.float32(), pa.decimal128(38, 10), pa.decimal128(3, 3), pa.large_string(),
     pa.dictionary(pa.int32(), pa.string()), pa.date32(), pa.timestamp("s"), pa.timestamp("ns", "UTC"),
     pa.list_(pa.string())],
    ids=str,
)  # fmt: skip
def test_values_fit_their_type(arrow):
    values = pool(random.Random(1), arrow, Words.of(["x > 1000000"]), 99)
    assert column([*values, None], arrow).null_count == 1


def test_rows_with_a_sequence_have_different_places():
    for seed in range(5):
        table = Maker(random.Random(seed), payments, TYPES["payments"], [DAY_US], Words()).table()
        places = table["place"].to_pylist()
        assert sorted(places) == list(range(len(places)))


# ---------------------------------------------------------------------------------------------- engines that are wrong
def into_the_future(service, spine, labels, *, as_known, cutoff):
    del as_known
    return fast(service, spine, labels, as_known=False, cutoff=cutoff)


def one_more(service, spine, labels, *, as_known, cutoff):
    made = fast(service, spine, labels, as_known=as_known, cutoff=cutoff)
    name = "count_7d_closed_both"
    return made.set_column(made.column_names.index(name), name, pc.add(made[name], 1))


def fails(service, spine, labels, *, as_known, cutoff):
    del service, spine, labels, as_known, cutoff
    raise DataError("the disk is on fire")


def test_an_engine_that_looks_into_the_future_is_found_and_shown_with_few_events():
    result = check("activity", into_the_future, examples=20)
    found = result.mismatch
    assert not result.passed
    assert found is not None
    assert found.options.startswith("as known")
    assert 1 <= len(found.events["payments"]) <= 2
    assert found.oracle != found.engine
    assert list(found.asked) == ["account_id", "event_time"]


def test_a_fault_that_needs_no_event_is_shown_without_one():
    found = check("activity", one_more).mismatch
    assert found is not None
    assert (found.column, found.events) == ("count_7d_closed_both", {"payments": []})
    assert found.engine == found.oracle + 1


def test_an_engine_that_fails_where_the_oracle_has_values_is_a_fault_too():
    found = check("activity", fails).mismatch
    assert found is not None
    assert (found.oracle, found.engine) == ("values", "DataError: the disk is on fire")


def test_definitions_that_do_not_fit_the_columns_are_an_error():
    types = {**TYPES, "payments": {n: t for n, t in TYPES["payments"].items() if n != "merchant"}}
    result = check("activity", types=types)
    assert not result.passed
    assert "no column 'merchant'" in str(result.error)


def test_sql_that_refuses_all_generated_values_is_skipped_with_the_reason():
    harsh = asof.FeatureView(
        "harsh", entity=account, source=texts,
        features=[asof.count().where("cast(account_id as date) > date '2025-01-01'").over("1h").named("n")],
    )  # fmt: skip
    (subject,) = subjects_of([harsh], [], [])
    result = check_subject(subject, TYPES, PROJECT.engine, fast, seed=0, examples=12)
    assert result.passed
    assert "its SQL refuses generated values" in result.skipped


def test_a_name_that_an_own_row_cannot_have_is_an_error():
    clash = asof.FeatureService(
        "clash", [activity["status"], activity["share"], activity["status_last_2"]], own_row=True
    )
    (subject,) = subjects_of([], [], [clash])
    result = check_subject(subject, TYPES, PROJECT.engine, fast, seed=0, examples=3)
    assert "its own row needs column 'status'" in str(result.error)


def test_maps_are_the_same_however_their_keys_are_written():
    feature = Feature("f", "count", None, Window(None), by="x")
    at = datetime(2025, 3, 3, tzinfo=UTC)
    assert same(feature, [("1", 2)], {"1.0": 2}, float)
    assert same(feature, [("2025-03-03 00:00:00.000000Z", 2)], {str(at): 2}, datetime.fromisoformat)
    assert not same(feature, [("1", 2)], {"1": 3})
