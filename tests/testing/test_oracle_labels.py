"""The oracle's labels and training sets against values that were worked out by hand."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from asof import (
    Entity,
    Events,
    FeatureService,
    FeatureView,
    Label,
    Parquet,
    banking_days,
    count,
    latest,
    max,
    request_feature,
    sum,
)
from asof.errors import DataError
from asof.testing.oracle import Row, banking_deadline_us, label_value, training_set

payment = Entity("payment", keys={"payment_id": "string"})
returns = Events("returns", Parquet("returns.parquet"), event_time="returned_at", key="return_id")
P = ("p",)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def at(text: str) -> int:
    """An instant in UTC, in microseconds."""
    return int((datetime.fromisoformat(text).replace(tzinfo=UTC) - EPOCH).total_seconds()) * 1_000_000


def back(code: str | None, event: str, known: str | None = None, amount: int = 1, **more) -> Row:
    values = {"return_code": code, "amount": amount, "amount > 5": amount > 5}
    return Row(P, at(event), at(known or event), values=values, **more)


ACH = Label(
    "returned",
    entity=payment,
    source=returns,
    outcome="return_code",
    horizon={"R01": banking_days(2), "R10": "60d"},
)
T = "2024-07-03T14:00"  # a Wednesday; Thursday is a holiday, so the second banking day is Monday 8


def label(rows, cutoff: str, which: Label = ACH):
    return label_value(which, rows, P, at(T), at(cutoff))


@pytest.mark.parametrize(
    ("start", "n", "zone", "deadline"),
    [
        ("2024-07-03T14:00", 2, "America/New_York", "2024-07-09T04:00"),
        ("2024-07-04T03:59", 1, "America/New_York", "2024-07-06T04:00"),  # still the third in New York
        ("2024-07-06T12:00", 1, "UTC", "2024-07-09T00:00"),  # a Saturday
        ("2023-11-10T12:00", 1, "UTC", "2023-11-14T00:00"),  # a holiday on a Saturday moves nothing
        ("2022-12-31T12:00", 1, "UTC", "2023-01-04T00:00"),  # New Year's Sunday is kept on Monday 2
        ("2024-03-08T18:00", 1, "America/New_York", "2024-03-12T04:00"),  # summer time began on the 10th
        ("2024-03-07T18:00", 1, "America/New_York", "2024-03-09T05:00"),
    ],
)
def test_banking_days_end_at_local_midnight(start, n, zone, deadline):
    assert banking_deadline_us(at(start), n, zone) == at(deadline)


def test_the_oracle_knows_the_holidays_of_four_years():
    with pytest.raises(DataError, match="2027"):
        banking_deadline_us(at("2026-12-31T12:00"), 1, "UTC")


def test_a_return_counts_within_the_horizon_of_its_code():
    far = "2025-01-01"
    assert label([back("R01", "2024-07-09T03:59")], far) == (1, True)
    assert label([back("R01", "2024-07-09T04:00")], far) == (0, True)
    assert label([back("R10", "2024-07-09T04:00")], far) == (1, True)
    assert label([back("R10", "2024-09-01T13:59")], far) == (1, True)
    assert label([back("R10", "2024-09-01T14:00")], far) == (0, True)
    assert label([back("R10", "2024-07-03T13:59")], far) == (0, True)
    assert label([back("R10", "2024-07-03T14:00")], far) == (1, True)


def test_codes_without_a_horizon_do_not_count_unless_a_star_takes_them():
    star = Label("r", entity=payment, source=returns, outcome="return_code", horizon={"R01": "1d", "*": "3d"})
    rows = [back("R29", "2024-07-06T13:59")]
    assert label(rows, "2025-01-01") == (0, True)
    assert label(rows, "2025-01-01", star) == (1, True)
    assert label([back("R01", "2024-07-06T13:59")], "2025-01-01", star) == (0, True)
    assert label([back(None, "2024-07-06T13:59")], "2025-01-01", star) == (0, True)


def test_a_label_is_immature_until_every_horizon_is_over_unless_something_came():
    assert label([], "2024-09-01T13:59") == (0, False)
    assert label([], "2024-09-01T14:00") == (0, True)
    rows = [back("R01", "2024-07-05T00:00", known="2024-07-05T09:00")]
    assert label(rows, "2024-07-05T08:59") == (0, False)
    assert label(rows, "2024-07-05T09:00") == (1, True)


def test_a_withdrawn_return_makes_the_label_negative_again():
    rows = [
        back("R10", "2024-07-20", key="r"),
        back("R10", "2024-07-20", known="2024-08-01", key="r", deleted=True),
    ]
    assert label(rows, "2024-07-31") == (1, True)
    assert label(rows, "2024-08-01") == (0, False)


def test_a_number_as_label_waits_for_its_horizon():
    lost = Label("lost", entity=payment, source=returns, horizon="10d", value=sum("amount"))
    worst = Label(
        "worst", entity=payment, source=returns, horizon="10d", value=max("amount"), where="amount > 5"
    )
    rows = [
        back("R01", "2024-07-04", amount=7),
        back("R01", "2024-07-05", amount=2),
        back("R01", "2024-08-01", amount=50),
    ]
    assert label(rows, "2024-07-13T13:59", lost) == (9, False)
    assert label(rows, "2024-07-13T14:00", lost) == (9, True)
    assert label(rows, "2025-01-01", worst) == (7, True)
    assert label(rows[1:], "2025-01-01", worst) == (None, True)


# ---------------------------------------------------------------------------------------------- training sets
accounts = Events("accounts", Parquet("a.parquet"), event_time="at", key="id")
activity = FeatureView(
    "activity", entity=Entity("account", keys={"account": "string"}), source=accounts,
    features=[count().over("5us"), sum("x").over("lifetime")],
)  # fmt: skip
owner = FeatureView(
    "owner",
    entity=Entity("person", keys={"person": "int64"}),
    source=accounts,
    features=[latest("x", ttl="4us")],
)


@request_feature(inputs=[owner["x"]])
def doubled(x):
    return 2 * x


ROWS = {
    "activity": [
        Row(("a",), 3, 3, values={"x": 1}),
        Row(("a",), 4, 9, values={"x": 10}),
        Row(("b",), 4, 4, values={"x": 100}),
    ],
    "owner": [
        Row((1,), 3, 3, values={"x": 1}),
        Row((1,), 4, 9, values={"x": 10}),
        Row((2,), 4, 4, values={"x": 100}),
    ],
}
SPINE = [
    {"account": "a", "person": 1, "event_time": 8},
    {"account": "a", "person": 1, "event_time": 9},
    {"account": "b", "person": 9, "event_time": 4},
    {"account": None, "person": 2, "event_time": 8},
    {"account": "b", "person": 2, "event_time": None},
]


def features(found: list[dict]) -> list[tuple]:
    return [(line["count_5us"], line["x_sum_lifetime"], line["x"]) for line in found]


def test_a_training_set_has_every_spine_row_once_and_in_order():
    found = training_set(FeatureService("s", [activity, owner, doubled]), ROWS, SPINE)
    assert [(line["account"], line["event_time"]) for line in found] == [
        ("a", 8), ("a", 9), ("b", 4), (None, 8), ("b", None)
    ]  # fmt: skip
    assert features(found) == [(1, 1, None), (1, 11, None), (0, 0, None), (0, 0, 100), (0, 0, None)]


def test_hindsight_shows_late_rows_and_a_cutoff_hides_them_again():
    service = FeatureService("s", [activity, owner])
    assert features(training_set(service, ROWS, SPINE, as_known=False))[0] == (2, 11, 10)
    assert features(training_set(service, ROWS, SPINE, as_known=False, cutoff_us=8))[0] == (1, 1, None)
    assert features(training_set(service, ROWS, SPINE, cutoff_us=8))[1] == (0, 1, None)


def test_the_own_row_joins_the_windows_of_its_source():
    service = FeatureService("s", [activity, owner], own_row=True)
    own = {
        "activity": [Row((line["account"],), line["event_time"], None, values={"x": 1000}) for line in SPINE],
        "owner": [Row((line["person"],), line["event_time"], None, values={"x": 1000}) for line in SPINE],
    }
    found = features(training_set(service, ROWS, SPINE, own_rows=own))
    assert found == [(2, 1001, None), (2, 1011, None), (1, 1000, None), (0, 0, 100), (0, 0, None)]
