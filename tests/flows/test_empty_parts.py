"""A source that has no row for anybody who asks still has its types."""

from __future__ import annotations

import pyarrow as pa

import asof

account = asof.Entity("account", keys={"account_id": "string"})


def part(name: str, kind: pa.DataType, rows: list[tuple[str, int]], key: str | None = None) -> asof.Events:
    table = pa.table(
        {
            "account_id": pa.array([who for who, _ in rows], pa.string()),
            "amount": pa.array([value for _, value in rows], pa.int32()).cast(kind),
            "at": pa.array([1] * len(rows), pa.timestamp("us")),
            "id": pa.array([f"{name}{i}" for i in range(len(rows))], pa.string()),
        }
    )
    return asof.Events(name, asof.InMemory(table), event_time="at", key=key)


def asked(*features: object, source: object) -> pa.Table:
    view = asof.FeatureView("v", entity=account, source=source, features=features)  # type: ignore[arg-type]
    spine = pa.table({"account_id": ["ann"], "event_time": pa.array([9], pa.timestamp("us"))})
    return asof.Project([view]).training_set([view], spine=spine).table


def test_a_union_has_one_type_whether_or_not_each_part_has_rows() -> None:
    for feature in (asof.max("amount").over("1d").named("x"), asof.latest("amount").named("x")):
        types = [
            asked(
                feature,
                source=asof.Union("u", [part("a", pa.decimal128(18, 2), one), part("b", pa.float64(), two)]),
            )
            .schema.field("x")
            .type
            for one, two in (([("ann", 5)], [("ann", 7)]), ([("ann", 5)], []), ([], [("ann", 7)]), ([], []))
        ]
        assert types == [pa.float64()] * 4


def test_the_first_row_of_a_customer_is_its_own_history() -> None:
    payments = part("p", pa.int64(), [], key="id")
    view = asof.FeatureView(
        "v",
        entity=account,
        source=payments,
        features=[asof.count().over("1d"), asof.max("amount").over("1d")],
    )
    service = asof.FeatureService("s", [view["count_1d"]], own_row=True)
    when = pa.array([9], pa.timestamp("us"))
    spine = pa.table({"account_id": ["ann"], "event_time": when, "at": when, "id": ["n"], "amount": [3]})
    made = asof.Project([service]).training_set(service, spine=spine, time="event_time")
    assert made.table["count_1d"].to_pylist() == [1]
