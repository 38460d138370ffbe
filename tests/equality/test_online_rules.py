"""Rules of reads and runs, case by case, with what is expected written out."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest

import asof
from asof.errors import DataError
from asof.flows.answer import EXPIRED, MISSING, NULL, PRESENT
from asof.online.open_store import open_store
from tests.equality.definitions import SIMPLE, Options, events
from tests.equality.online import Work, check_online, forget, materialize, namespace, read, run_all
from tests.equality.strategies import EPOCH, US, to_table
from tests.stores import STORES, open_one

PLAIN = Options(key=None, deleted=None)


@pytest.fixture
def store(tmp_path):
    opened = open_store("lmdb:///online", root=tmp_path)
    yield opened
    opened.close()


def row(entity, happened, n=1, *, known=None, **more):
    return {"k": entity, "happened": happened, "known": happened if known is None else known, "n": n, **more}


def service_of(rows, features, options=PLAIN, **more):
    view = asof.FeatureView(
        "view", entity=SIMPLE, source=events("moves", to_table(rows), options), features=features
    )
    return asof.FeatureService("service", [view], **more)


def asked(*entities, **more):
    return pa.table({"k": pa.array(entities, pa.string()), **more})


def test_statuses_are_missing_expired_null_and_present(store):
    features = [
        asof.latest("n", ttl="5us"), asof.latest("s", ttl="5us"), asof.count().over("9us").named("c"),
        asof.max("n").over("2us").named("m"),
    ]  # fmt: skip
    rows = [row("old", 1, 7, s="x"), row("new", 8, 7, s="y"), row("hollow", 8, None)]
    service = service_of(rows, features)
    materialize(service, store, Work(10))
    answer = read(service, store, asked("old", "new", "hollow", "nobody", None), 9)
    assert answer.statuses.tolist() == [
        [EXPIRED, EXPIRED, PRESENT, NULL],
        [PRESENT, PRESENT, PRESENT, PRESENT],
        [NULL, NULL, PRESENT, NULL],
        [MISSING] * 4,
        [MISSING] * 4,
    ]
    assert answer.to_dict() == {
        "n": [None, 7, None, None, None], "s": [None, "y", None, None, None], "c": [1, 1, 1, 0, 0],
        "m": [None, 7, None, None, None],
    }  # fmt: skip


def test_a_row_known_at_the_watermark_is_not_in_and_one_known_just_before_is(store):
    service = service_of(
        [row("a", 3, known=9), row("a", 4, known=10)], [asof.count().over("lifetime").named("c")]
    )
    materialize(service, store, Work(10))
    assert read(service, store, asked("a"), 50).rows() == [{"c": 1}]
    materialize(service, store, Work(11))
    assert read(service, store, asked("a"), 50).rows() == [{"c": 2}]


def test_the_newest_event_is_that_of_a_visible_row(store):
    service = service_of([row("a", 3), row("a", 5, known=30)], [asof.count().over("lifetime").named("c")])
    materialize(service, store, Work(40, history=30))
    assert [read(service, store, asked("a"), at).freshness[0].newest_us[0] for at in (29, 30)] == [3, 5]


def test_the_newest_event_is_told_although_only_the_oldest_row_is_needed(store):
    rows = [row("a", at, at) for at in range(1, 9)]
    service = service_of(rows, [asof.first("n").over("lifetime").named("first")])
    materialize(service, store, Work(20))
    answer = read(service, store, asked("a"), 25)
    assert (answer.rows(), answer.freshness[0].newest_us[0]) == ([{"first": 1}], 8)


def test_an_instant_before_the_floor_is_refused(store):
    service = service_of([row("a", 3)], [asof.count().over("2us").named("c")])
    materialize(service, store, Work(10, history=6))
    assert read(service, store, asked("a"), 4).rows() == [{"c": 1}]
    with pytest.raises(DataError, match="do not reach back"):
        read(service, store, asked("a"), 3)


def test_more_history_asked_of_a_later_run_does_not_lower_the_floor(store):
    service = service_of([row("a", 3), row("a", 19)], [asof.count().over("2us").named("c")])
    materialize(service, store, Work(18, history=2))
    materialize(service, store, Work(20, history=100))
    with pytest.raises(DataError, match="do not reach back"):
        read(service, store, asked("a"), 4)


def test_a_backfill_up_to_an_earlier_instant_leaves_no_later_row(store):
    service = service_of([row("a", 3), row("b", 15)], [asof.count().over("lifetime").named("c")])
    materialize(service, store, Work(20))
    materialize(service, store, Work(10, whole=True))
    assert read(service, store, asked("a", "b"), 30).rows() == [{"c": 1}, {"c": 0}]


def test_a_backfill_removes_what_the_source_no_longer_has(store):
    features = [asof.count().over("lifetime").named("c")]
    materialize(service_of([row("a", 3), row("b", 4)], features), store, Work(10))
    service = service_of([row("a", 3)], features)
    materialize(service, store, Work(10, whole=True))
    assert store.get([(namespace(service.refs[0].view), [b"a", b"b"])])[1] is None
    assert read(service, store, asked("b"), 30).rows() == [{"c": 0}]


def test_a_correction_moves_an_event_to_another_entity(store):
    features = [asof.sum("n").over("lifetime").named("n")]
    first = [row("a", 3, 5, id="1"), row("a", 4, 7, id="2")]
    materialize(service_of(first, features, Options()), store, Work(10))
    service = service_of([*first, row("b", 3, 5, id="1", known=12)], features, Options())
    materialize(service, store, Work(13))
    assert read(service, store, asked("a", "b"), 11).rows() == [{"n": 12}, {"n": 0}]
    assert read(service, store, asked("a", "b"), 12).rows() == [{"n": 7}, {"n": 5}]


def test_a_request_without_an_entity_key_counts_nowhere(store):
    features = [asof.sum("n").over("9us").named("n"), asof.last("n", n=2).over("9us").named("l")]
    service = service_of([row("a", 3, 5)], features, own_row=True)
    materialize(service, store, Work(5))
    lines = asked(None, "a", n=pa.array([70, 70], pa.int32()))
    assert read(service, store, lines, 6).rows() == [{"n": 0, "l": []}, {"n": 75, "l": [70, 5]}]


def test_keys_that_are_all_null_are_keys_beside_an_own_row(store):
    service = service_of([row("a", 3, 5)], [asof.sum("n").over("9us").named("n")], own_row=True)
    materialize(service, store, Work(5))
    assert read(service, store, asked(None, n=pa.array([70], pa.int32())), 6).rows() == [{"n": 0}]


def test_a_source_with_zoned_times_may_have_an_own_row_with_sql(store):
    features = [asof.max("at").where("n > 1").over("9us").named("at")]
    when = EPOCH + timedelta(microseconds=2)
    service = service_of([row("a", 3, 5)], features, own_row=True)
    materialize(service, store, Work(5))
    lines = asked("a", n=pa.array([2], pa.int32()), at=pa.array([when], US))
    assert read(service, store, lines, 6).rows() == [{"at": when}]


def test_a_decimal_of_a_request_is_the_same_float_in_training(store):
    source = events("moves", to_table([row("a", 3, 5)]), PLAIN)
    view = asof.FeatureView(
        "view", entity=SIMPLE, source=source, features=[asof.count().over("9us").named("c")]
    )

    @asof.request_feature(inputs=[view["c"]], request={"amount": "float64"})
    def share(amount, c):
        return amount * c

    service = asof.FeatureService("service", [share])
    amounts = [Decimal(cents).scaleb(-2) for cents in range(12_000, 13_000)]
    column = pa.array(amounts, pa.decimal128(18, 2))
    spine = pa.table({"k": ["a"] * 1000, "event_time": pa.array(np.full(1000, 6)).cast(US), "amount": column})
    found = asof.Project(objects=[service]).training_set(service, spine=spine).table["share"].to_pylist()
    assert found == [float(amount) for amount in amounts]
    materialize(service, store, Work(5))
    answer = read(service, store, asked(*(["a"] * 1000), amount=column), 6)
    assert answer.to_dict()["share"] == found


def test_a_good_record_before_a_corrupt_one_does_no_harm(store):
    many = [row("a", at % 7, at) for at in range(500)]
    service = service_of([*many, row("b", 3)], [asof.sum("n").over("lifetime").named("n")])
    materialize(service, store, Work(10))
    name = namespace(service.refs[0].view)
    (record,) = store.get([(name, [b"b"])])
    store.write(name, [(b"b", record[:-2])])
    with pytest.raises(DataError, match="corrupt"):
        read(service, store, asked("a", "b"), 12)


ROWS = [
    row("a", 1, 3, s="u", f=0.1), row("a", 2, None, s="v", f=0.2), row("b", 2, -1, s="u", known=6, f=0.3),
    row("a", 5, 9, s="é", known=9, f=1e16), row("c", 7, 2, s=None, f=-0.0),
]  # fmt: skip
FEATURES = [
    asof.count().over("4us").named("c"), asof.sum("f").over("lifetime").named("f"),
    asof.mean("n").over("8us").named("m"), asof.std("f").over("8us").named("std"),
    asof.last("s", n=2).over("lifetime").named("s"),
    asof.sum("n").by("s").over("8us").named("by"), asof.latest("s", ttl="3us").named("now"),
    asof.quantile("n", 0.5).over("8us").named("q"), asof.ratio(asof.sum("n"), asof.count()).over("8us").named("r"),
]  # fmt: skip


@pytest.mark.parametrize("name", STORES)
def test_three_ways_are_one_in_every_store(name, request, tmp_path):
    opened = open_one(name, request, tmp_path)
    spine = pa.table({
        "k": pa.array(["a", "b", "c", "nobody", None] * 4, pa.string()),
        "event_time": pa.array(np.repeat([5, 8, 10, 14], 5)).cast(US),
    })  # fmt: skip
    runs = [Work(4, history=9), Work(7, history=9), Work(7, history=9), Work(11, lateness=3, history=9)]
    for options in (PLAIN, Options(deleted=None)):
        table = to_table([{**each, "id": str(place % 4)} for place, each in enumerate(ROWS)])

        def make(rows, options=options):
            view = asof.FeatureView(
                "view", entity=SIMPLE, source=events("moves", rows, options), features=FEATURES
            )
            return asof.FeatureService("service", [view])

        knowns = [each["known"] for each in ROWS]
        revised = options.key is not None
        service, watermark, floor = run_all(
            make, table, knowns, [0, 0, 0, 2, 3], runs, opened, revised=revised
        )
        check_online(service, opened, spine, watermark, floor)
        forget(service, opened)
    opened.close()
