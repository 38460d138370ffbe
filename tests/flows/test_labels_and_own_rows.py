"""Labels with maturity, rows that score themselves, and what the report tells of knowledge."""

from __future__ import annotations

from datetime import UTC, datetime

import pyarrow as pa
import pytest

import asof
from asof.usage import MemoryMeter

PAYMENT = asof.Entity("payment", keys={"payment_id": "string"})


def _at(day: int, hour: int = 12) -> datetime:
    return datetime(2024, 7, day, hour, tzinfo=UTC)


RETURNS = pa.table(
    {
        "payment_id": ["p1", "p2", "p3"],
        "code": ["R01", "R10", "R99"],
        "returned_at": [_at(3), _at(25), _at(4)],
        "known": [_at(3), _at(26), _at(4)],
    }
)
SOURCE = asof.Events("returns", asof.InMemory(RETURNS), event_time="returned_at", known_at="known")
VIEW = asof.FeatureView("v", entity=PAYMENT, source=SOURCE, features=[asof.count().over("1d")])
LABEL = asof.Label(
    "returned",
    entity=PAYMENT,
    source=SOURCE,
    outcome="code",
    horizon={"R01": asof.banking_days(2), "R10": "20d"},
)
SPINE = pa.table(
    {"payment_id": ["p1", "p2", "p3", "p4"], "event_time": pa.array([_at(2)] * 4, pa.timestamp("us", "UTC"))}
)


@pytest.mark.parametrize(
    ("cutoff", "immature", "payments", "labels"),
    [
        (_at(10), "drop", ["p1"], [1]),  # the 20 days of R10 are not over: only what is positive is final
        (_at(10), "null", ["p1", "p2", "p3", "p4"], [1, None, None, None]),
        (_at(10), "negative", ["p1", "p2", "p3", "p4"], [1, 0, 0, 0]),
        (_at(23), "drop", ["p1", "p2", "p3", "p4"], [1, 0, 0, 0]),  # the R10 came after its 20 days
        (datetime(2024, 7, 2, 13, tzinfo=UTC), "drop", [], []),
    ],
)
def test_immature_labels_are_dropped_or_marked(
    cutoff: datetime, immature: str, payments: list[str], labels: list[int | None]
) -> None:
    made = asof.Project([]).training_set(
        [VIEW], spine=SPINE, labels=[LABEL], cutoff=cutoff, immature=immature
    )  # type: ignore[arg-type]
    assert made.table["payment_id"].to_pylist() == payments
    assert made.table["returned"].to_pylist() == labels


def test_a_label_of_a_number_is_mature_when_its_window_is_over() -> None:
    label = asof.Label("n", entity=PAYMENT, source=SOURCE, horizon="5d", value=asof.count())
    made = asof.Project([]).training_set([VIEW], spine=SPINE, labels=[label], cutoff=_at(7))
    assert made.table["n"].to_pylist() == [1, 0, 1, 0]
    assert (
        asof.Project([]).training_set([VIEW], spine=SPINE, labels=[label], cutoff=_at(6)).table.num_rows == 0
    )


def test_the_report_counts_mature_labels_and_their_positives() -> None:
    report = asof.Project([]).training_set([VIEW], spine=SPINE, labels=[LABEL], cutoff=_at(10)).report
    label = report.labels[0]
    assert (label.mature, label.early, label.immature, label.positive_share) == (1, 1, 3, 1.0)
    assert (report.spine_rows, report.rows) == (4, 1)


def test_the_report_says_how_much_hindsight_would_have_leaked() -> None:
    view = asof.FeatureView(
        "v", entity=PAYMENT, source=SOURCE, features=[asof.count().over("30d"), asof.latest("code")]
    )
    spine = pa.table({"payment_id": ["p2", "p2", "p1"], "event_time": [_at(25, 18), _at(27), _at(25, 18)]})
    made = asof.Project([]).training_set([view], spine=spine)
    assert made.table["count_30d"].to_pylist() == [0, 1, 1]
    leaked = {f.name: (f.hidden_rows, f.affected_rows) for f in made.report.features}
    assert leaked == {"count_30d": (1, 1), "code": (1, 1)}
    assert made.report.sources[0].late_rows == 1
    hindsight = asof.Project([]).training_set([view], spine=spine, as_known=False)
    assert hindsight.table["count_30d"].to_pylist() == [1, 1, 1]
    assert {f.hidden_rows for f in hindsight.report.features} == {0}


def test_the_scored_row_counts_once_and_never_twice() -> None:
    rows = pa.table({"id": ["t1", "t2"], "account_id": ["a", "a"], "amount": [5, 7],
                     "at": [_at(1), _at(2)]})  # fmt: skip
    source = asof.Events("tx", asof.InMemory(rows), event_time="at", key="id", columns={"big": "amount > 6"})
    account = asof.Entity("account", keys={"account_id": "string"})
    features = [
        asof.count().over("30d"), asof.sum("amount").over("30d"), asof.count().where("big").over("30d").named("bigs"),
        asof.sum("amount").over("30d", offset="1d").named("before"), asof.last("amount", 2),
    ]  # fmt: skip
    view = asof.FeatureView("v", entity=account, source=source, features=features)
    service = asof.FeatureService("s", [view], own_row=True)
    spine = pa.table({"id": ["t2", "t3"], "account_id": ["a", "a"], "amount": [7, 9],
                      "event_time": [_at(2), _at(3)]})  # fmt: skip
    made = (
        asof.Project([service])
        .training_set(service, spine=spine)
        .table.select(list(service.names))
        .to_pylist()
    )
    assert made == [
        {"count_30d": 2, "amount_sum_30d": 12, "bigs": 1, "before": 0, "amount_last_2": [7, 5]},
        {"count_30d": 3, "amount_sum_30d": 21, "bigs": 2, "before": 5, "amount_last_2": [9, 7]},
    ]


def test_every_stage_leaves_a_receipt_also_when_the_run_fails() -> None:
    meter = MemoryMeter()
    project = asof.Project([], meter=meter)
    project.training_set([VIEW], spine=SPINE)
    stages = [(e.stage, e.asset, e.rows) for e in meter.events]
    assert stages == [("spine", "", 4), ("read", "returns", 1), ("sort", "returns", 1), ("compute", "returns", 4),
                      ("assemble", "", 4)]  # fmt: skip
    with pytest.raises(asof.AsofError):
        project.training_set([VIEW], spine=3)
    assert meter.events[-1].labels["outcome"] == "failed"
    assert meter.flushes == 2
