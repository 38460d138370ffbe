"""Cases on the real engine: what they may say, what comes out, and how each mistake is told."""

from __future__ import annotations

import warnings
from datetime import UTC, date, datetime
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import asof
from asof.define.deprecated import Deprecated
from asof.errors import BackendError, DefinitionError, NumericOverflow, UnknownName
from asof.flows.case_values import agrees, infer, shown, typed
from asof.flows.cases import CaseRunner
from asof.testing import Case

DAY = "2025-03-0{}T{:02}:00:00Z"
account = asof.Entity("account", keys={"account_id": "string"})
card = asof.Entity("card", keys={"account_id": "string", "number": "int64"})
payments = asof.Events(
    "payments",
    asof.Parquet("payments.parquet"),
    event_time="paid_at",
    known_at="known_at",
    key="payment_id",
    deleted="status = 'void'",
    columns={"big": "amount > 100", "code": "upper(merchant)"},
)
fees = asof.Events("fees", asof.Parquet("fees.parquet"), event_time="day", delay="1d")
money = asof.Union("money", [payments, fees.mapped(amount="fee", payment_id="fee_id", status="'posted'")])
activity = asof.FeatureView(
    "activity",
    entity=account,
    source=payments,
    features=[
        asof.count().over("7d"),
        asof.sum("amount").over("7d"),
        asof.max("amount").over("7d"),
        asof.mean("amount").over("7d"),
        asof.sum("amount").by("code").over("7d"),
        asof.last("amount", 2).over("7d"),
        asof.last("paid_at").over("7d"),
        asof.count().where("big").over("7d").named("big_7d"),
        asof.approx_distinct("merchant").over("7d"),
    ],
)
flow = asof.FeatureView("flow", entity=account, source=money, features=[asof.sum("amount").over("30d")])
per_card = asof.FeatureView(
    "per_card",
    entity=card,
    source=payments,
    features=[asof.count().over("1d")],
    keys={"number": "card % 1000"},
)
own = asof.FeatureService("own", [activity["count_7d"], activity["amount_sum_7d"]], own_row=True)
returned = asof.Label("returned", entity=account, source=payments, horizon="5d", where="status = 'returned'")
lost = asof.Label("lost", entity=account, source=payments, horizon="5d", value=asof.sum("amount"))


@asof.request_feature(inputs=[activity["amount_sum_7d"]], request={"asked": "decimal(18,2)"})
def share(amount_sum_7d, asked):
    return asked / amount_sum_7d


risk = asof.FeatureService("risk", [activity["count_7d"], share])
PROJECT = asof.Project([activity, flow, per_card, own, risk, returned, lost])


def payment(name: str, amount: object, day: int, hour: int = 9, *, known: str | None = None, **more) -> dict:
    at = DAY.format(day, hour)
    row = {"payment_id": name, "account_id": "ann", "amount": amount, "status": "posted", "paid_at": at}
    return {**row, "known_at": known or at, **more}


def expect(at: str, **values) -> dict:
    return {"account_id": "ann", "at": at, **values}


def run(*rows, expected=(), project=PROJECT, **case):
    asked = case if {"service", "views", "label", "labels"} & case.keys() else {"view": "activity", **case}
    events = asked.pop("events", {"payments": list(rows)})
    return CaseRunner(project).run(Case("c", events=events, expect=list(expected), **asked))


def values(result):
    """The values that differ; none where the case passed."""
    if result.error is not None:
        raise result.error
    return [(each.row, each.column, each.expected, each.got) for each in result.differences]


def test_a_late_row_counts_only_after_it_is_known():
    late = payment("p2", "61.20", 3, known="2025-03-04T02:00:00Z")
    result = run(
        payment("p1", "40.00", 2),
        late,
        expected=[
            expect("2025-03-03T12:00:00Z", count_7d=1, amount_sum_7d=40),
            expect("2025-03-04T12:00:00Z", count_7d=2, amount_sum_7d="101.20"),
        ],
    )
    assert (values(result), result.values, result.passed) == ([], 4, True)


def test_a_correction_a_delete_and_an_unknown_account():
    rows = [
        payment("p", "200.00", 2, status="pending"),
        payment("p", "230.50", 2, known="2025-03-04T02:00:00Z"),
        payment("p", "230.50", 2, known="2025-03-05T02:00:00Z", status="void"),
    ]
    nobody = {"account_id": "bob", "at": "2025-03-05T12:00:00Z", "count_7d": 0, "amount_sum_7d": 0}
    expected = [
        expect("2025-03-03", amount_max_7d=200),
        expect("2025-03-04T12:00:00Z", amount_max_7d=Decimal("230.5")),
        expect("2025-03-05T12:00:00Z", amount_max_7d=None, count_7d=0),
        {**nobody, "amount_max_7d": None},
    ]
    assert values(run(*rows, expected=expected)) == []


def test_a_difference_names_row_column_both_values_and_what_was_known():
    rows = [payment("p1", "40.00", 2), payment("p2", "1.00", 3), payment("p3", "2.00", 3, account_id="bob")]
    result = run(
        *rows,
        expected=[expect("2025-03-03", count_7d=1, amount_sum_7d="40.01"), expect("2025-03-04", count_7d=1)],
    )
    assert values(result) == [(0, "amount_sum_7d", "40.01", Decimal("40.00")), (1, "count_7d", 1, 2)]
    assert not result.passed
    assert [[row["payment_id"] for _, row in each.known] for each in result.differences] == [
        ["p1"],
        ["p1", "p2"],
    ]


def test_lists_maps_times_and_booleans_are_compared_item_by_item():
    rows = [payment("p1", "40.00", 2, merchant="grocer"), payment("p2", "200.00", 3, merchant="hotel")]
    right = {
        "amount_sum_by_code_7d": {"GROCER": 40, "HOTEL": "200.00"},
        "amount_last_2_7d": [200, Decimal("40.00")],
        "paid_at_last_7d": "2025-03-03T10:00:00+01:00",
        "big_7d": 1,
        "amount_mean_7d": 120,
    }
    assert values(run(*rows, expected=[expect("2025-03-04", **right)])) == []
    wrong = {
        "amount_sum_by_code_7d": {"GROCER": 40},
        "amount_last_2_7d": [200],
        "paid_at_last_7d": "2025-03-03T09:00:01Z",
        "big_7d": True,
        "amount_mean_7d": 120.001,
    }
    assert [name for _, name, _, _ in values(run(*rows, expected=[expect("2025-03-04", **wrong)]))] == list(
        wrong
    )


def test_a_tolerance_is_for_floats_and_approximate_counts_only():
    rows = [payment("p1", "40.00", 2, merchant="a"), payment("p2", "41.00", 2, merchant="b")]
    near = {"amount_mean_7d": 40.6, "merchant_approx_distinct_7d": 2}
    assert len(values(run(*rows, expected=[expect("2025-03-04", **near)]))) == 1
    assert values(run(*rows, expected=[expect("2025-03-04", **near)], tolerance=0.01)) == []
    exact = {"count_7d": Decimal("2.001"), "amount_sum_7d": "81.01"}
    assert len(values(run(*rows, expected=[expect("2025-03-04", **exact)], tolerance=0.01))) == 2


def test_a_union_takes_the_events_of_its_parts():
    events = {
        "payments": [payment("p1", "40.00", 1)],
        "fees": [{"fee_id": "f1", "account_id": "ann", "fee": "1.25", "day": "2025-03-01"}],
    }
    types = {"fees": {"fee": "decimal(9,2)"}, "payments": {"amount": "decimal(18,2)"}}
    expected = [
        expect("2025-03-01T12:00:00Z", amount_sum_30d=40),
        expect("2025-03-02", amount_sum_30d="41.25"),
    ]
    assert values(run(views=["flow"], events=events, types=types, expected=expected)) == []


def test_a_composite_key_behind_an_expression():
    rows = [payment("p1", "1.00", 1, card=2007), payment("p2", "1.00", 1, card=8)]
    row = {**expect("2025-03-01T10:00:00Z", count_1d=1), "number": 7}
    assert values(run(*rows, views=["per_card"], expected=[row, {**row, "number": 9, "count_1d": 0}])) == []


def test_own_rows_and_request_columns_stand_in_expect():
    rows = [payment("p1", "40.00", 1)]
    asked = [
        expect("2025-03-02", payment_id="p2", amount="2.50", count_7d=2, amount_sum_7d="42.50"),
        expect("2025-03-02", payment_id="p1", amount="9.00", count_7d=1, amount_sum_7d=40),
    ]
    assert values(run(*rows, service="own", expected=asked)) == []
    assert (
        values(run(*rows, service="risk", expected=[expect("2025-03-02", asked="10.00", share=0.25)])) == []
    )


def test_a_label_is_asked_at_the_cutoff_and_an_open_one_is_null():
    rows = [payment("p1", "40.00", 3, status="returned", known="2025-03-04T00:00:00Z")]
    expected = [
        expect("2025-03-02", returned=1),
        {"account_id": "bob", "at": "2025-03-02", "returned": None},
        {"account_id": "bob", "at": "2025-02-02", "returned": 0},
    ]
    assert values(run(*rows, label="returned", cutoff="2025-03-05", expected=expected)) == []
    result = run(*rows, label="returned", cutoff="2025-03-03T12:00:00Z", expected=expected[:1])
    assert values(result) == [(0, "returned", 1, None)]
    both = [expect("2025-03-02", returned=1, lost=None, count_7d=0)]
    assert (
        values(run(*rows, view="activity", labels=["returned", "lost"], cutoff="2025-03-05", expected=both))
        == []
    )


# ----------------------------------------------------------------------------------------------- types of columns
def test_types_come_from_the_files_where_they_are_there(tmp_path):
    naive = pa.timestamp("ns")
    schema = pa.schema(
        [("k", pa.dictionary(pa.int32(), pa.string())), ("n", pa.int32()), ("at", naive), ("d", pa.date32())]
    )
    pq.write_table(schema.empty_table(), tmp_path / "rows.parquet")
    (tmp_path / "asof.toml").write_text("")
    (tmp_path / "definitions.py").write_text(
        "from asof import *\n"
        "rows = Events('rows', Parquet('rows.parquet'), event_time='at', zone='America/New_York')\n"
        "v = FeatureView('v', entity=Entity('e', keys={'k': 'string'}), source=rows,\n"
        "    features=[sum('n').over('1d'), last('d'), last('at')])\n"
    )
    runner = CaseRunner(asof.open(tmp_path))
    rows = [
        {"k": 7, "n": 5, "at": "2025-03-01T12:00:00", "d": date(2025, 3, 1)},
        {"k": "7", "n": 6, "at": "2025-03-01T18:00:00Z", "d": "2025-03-02"},
    ]
    at_first = {
        "k": "7",
        "at": datetime(2025, 3, 1, 17, 30, tzinfo=UTC),
        "n_sum_1d": 5,
        "d_last": "2025-03-01",
    }
    later = {"k": "7", "at": "2025-03-01T20:00:00Z", "n_sum_1d": 11, "at_last": "2025-03-01T13:00:00Z"}
    assert values(runner.run(Case("c", view="v", events={"rows": rows}, expect=[at_first, later]))) == []
    for bad, words in [
        ({"n": "five"}, "column 'n' is int32, 'five' is not"),
        ({"n": 2.5}, "'2.5' is not"),
        ({"n": 2**40}, "a value of column 'n' does not fit int32"),
        ({"at": "soon"}, "'soon' is not"),
        ({"d": "2025-13-01"}, "column 'd' is date32"),
        ({"k": True}, "'true' is not"),
    ]:
        result = runner.run(Case("c", view="v", events={"rows": [bad]}, expect=[later]))
        assert words in str(result.error)
    with pytest.raises(UnknownName, match=r"source 'rows' has no column 'm'\nhint: .*k, n"):
        raise runner.run(Case("c", view="v", events={"rows": [{"m": 1}]}, expect=[later])).error


@pytest.mark.parametrize(
    ("values", "arrow"),
    [
        ([None, None], None),
        ([True, None], pa.bool_()),
        ([1, 2], pa.int64()),
        ([1, 2.5], pa.float64()),
        ([1, Decimal("2.50")], pa.decimal128(18, 2)),
        (["2025-03-01"], pa.string()),
        ([1, "x"], None),
        ([date(2025, 3, 1)], pa.date32()),
        ([[1], [2, 3]], pa.list_(pa.int64())),
    ],
)
def test_types_are_inferred_where_no_file_can_tell(values, arrow):
    assert infer(values) == arrow


def test_values_without_one_type_need_types():
    with pytest.raises(DefinitionError, match="values of column 'note' have no one type") as caught:
        raise run(
            {**payment("p", 1, 1), "note": 5},
            {**payment("p", 1, 1), "note": "x"},
            expected=[expect("2025-03-02", count_7d=1)],
        ).error
    assert caught.value.hint == "say it: types: {payments: {note: string}}"


@pytest.mark.parametrize(
    ("value", "arrow", "made"),
    [
        ("2025-03-01T10:00:00+01:00", pa.timestamp("us", "UTC"), 1_740_819_600_000_000),
        (date(2025, 3, 1), pa.timestamp("s", "UTC"), 1_740_787_200_000_000),
        (7, pa.string(), "7"),
        (Decimal("40.10"), pa.string(), "40.10"),
        ("40.1", pa.decimal128(18, 2), Decimal("40.10")),
        (40.1, pa.float64(), 40.1),
        (0.1, pa.decimal128(18, 2), Decimal("0.10")),
        ("12", pa.int64(), 12),
        (None, pa.int64(), None),
        (["1", 2], pa.list_(pa.string()), ["1", "2"]),
    ],
)
def test_a_value_is_given_the_type_of_its_column(value, arrow, made):
    assert typed(value, arrow) == made


@pytest.mark.parametrize(
    ("value", "arrow"),
    [
        (Decimal("40.101"), pa.decimal128(18, 2)),
        (True, pa.int64()),
        (5.0, pa.int64()),
        (1, pa.bool_()),
        (True, pa.string()),
        ("noon", pa.timestamp("us")),
        (5, pa.timestamp("us")),
        ("2025-03-01T09:00:00.5Z", pa.timestamp("s", "UTC")),
        (True, pa.float64()),
        (["x"], pa.int64()),
    ],
)
def test_a_value_that_would_lose_something_is_refused(value, arrow):
    with pytest.raises((ValueError, TypeError, ArithmeticError)):
        typed(value, arrow)


@pytest.mark.parametrize(
    ("got", "expected", "same"),
    [
        (None, None, True),
        (None, 0, False),
        (0, None, False),
        (float("nan"), None, True),
        (float("nan"), float("nan"), True),
        (0.1 + 0.2, 0.3, True),
        (1.0, 1.0000001, False),
        (0.0, 0, True),
        (2, "2", True),
        (2, 2.0, True),
        (2, True, False),
        (True, True, True),
        (True, 1, False),
        (Decimal("2.50"), 2.5, True),
        (Decimal("2.50"), "2.51", False),
        ("7", 7, True),
        ("x", None, False),
        (date(2025, 3, 1), "2025-03-01", True),
        ([], {}, True),
        ([], [], True),
        ([("a", 1)], {"a": 1}, True),
        ([("a", 1)], {"a": 2}, False),
        ([("5411", 1)], {5411: 1}, True),
        ([1, 2], [2, 1], False),
        ([1], "1", False),
        (5, "x", False),
    ],
)
def test_whether_a_value_is_the_expected_one(got, expected, same):
    assert agrees(got, expected) is same


def test_values_are_shown_as_a_case_would_write_them():
    shown_ones = [
        shown(v)
        for v in (
            None,
            True,
            Decimal("2.50"),
            "x",
            datetime(2025, 3, 1, tzinfo=UTC),
            [("a", None)],
            [1, 2],
            [],
        )
    ]
    assert shown_ones == ["null", "true", "2.50", "x", "2025-03-01T00:00:00Z", "{a: null}", "[1, 2]", "[]"]


# ------------------------------------------------------------------------------------------------------- mistakes
@pytest.mark.parametrize(
    ("case", "words"),
    [
        ({"view": "activty"}, "case 'c': no feature view 'activty'\nhint: did you mean 'activity'?"),
        ({"service": "rsk"}, "case 'c': no feature service 'rsk'\nhint: did you mean 'risk'?"),
        ({"label": "returnd", "cutoff": "2025-01-01"}, "no label 'returnd'\nhint: did you mean 'returned'?"),
        (
            {"events": {"paymnts": []}},
            "events of 'paymnts', which is no source\nhint: did you mean 'payments'?",
        ),
        ({"events": {"money": []}}, "events of the union 'money'\nhint: its parts: payments, fees"),
        (
            {"types": {"payments": {"amount": "decimal"}}},
            "types of 'payments': 'amount': 'decimal' is no type",
        ),
        (
            {"expect": [expect("2025-03-01", count_8d=1)]},
            "nothing is named 'count_8d'\nhint: did you mean 'count_7d'?",
        ),
        ({"expect": [{"at": "2025-03-01", "count_7d": 1}]}, "expect: a row without 'account_id'"),
        ({"expect": [{"account_id": "ann", "count_7d": 1}]}, "expect: a row without 'at'"),
        ({"expect": [expect("2025-03-01")]}, "a row that expects nothing"),
        (
            {"expect": [expect("tomorrow", count_7d=1)]},
            "column 'at' is timestamp[us, tz=UTC], 'tomorrow' is not",
        ),
        (
            {"service": "risk", "expect": [expect("2025-03-01", share=1, amount=1)]},
            "nothing is named 'amount'",
        ),
        ({"cutoff": "soon"}, "'soon' is not an ISO 8601 date or time"),
    ],
)
def test_mistakes_are_told_with_the_case_and_the_nearest_name(case, words):
    result = run(**{"expected": case.pop("expect", [expect("2025-03-01", count_7d=1)]), **case})
    assert isinstance(result.error, DefinitionError)
    assert words in str(result.error)
    assert not result.passed


def test_what_the_engine_raises_fails_the_case_and_no_other():
    rows = [payment(f"p{n}", "90000000000000000.00", 2) for n in range(2)]
    result = run(
        *rows,
        expected=[expect("2025-03-03", amount_sum_7d=1)],
        types={"payments": {"amount": "decimal(19,2)"}},
    )
    assert isinstance(result.error, NumericOverflow)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        divided = run(service="risk", expected=[expect("2025-03-02", asked=1, share=float("inf"))])
    assert values(divided) == []


def test_a_case_never_reads_the_projects_rows():
    table = pa.table({"account_id": ["ann"], "at": pa.array([0], pa.timestamp("us", "UTC"))})
    source = asof.Events("s", asof.InMemory(table), event_time="at")
    view = asof.FeatureView("v", entity=account, source=source, features=[asof.count().over("lifetime")])
    result = CaseRunner(asof.Project([view])).run(
        Case("c", view="v", expect=[expect("2025-03-01", count_lifetime=0)])
    )
    assert values(result) == []


def test_a_case_writes_no_receipts(tmp_path):
    (tmp_path / "asof.toml").write_text("")
    (tmp_path / "definitions.py").write_text("")
    project = asof.open(tmp_path)
    for thing in (activity, risk):
        project.definitions.add(thing)
    assert values(run(expected=[expect("2025-03-01", count_7d=0)], project=project)) == []
    assert not (tmp_path / ".asof").exists()


def test_a_test_of_what_is_deprecated_does_not_warn():
    old = asof.FeatureView(
        "old",
        entity=account,
        source=payments,
        features=[asof.count().over("7d")],
        deprecated=Deprecated("2020-01-01"),
    )
    result = CaseRunner(asof.Project([old])).run(
        Case("c", view="old", expect=[expect("2025-03-01", count_7d=0)])
    )
    assert values(result) == []


def test_an_object_store_that_does_not_answer_is_asked_once(monkeypatch):
    asked = []

    def unreachable(where, history):
        del history
        asked.append(where)
        raise BackendError(f"{where}: cannot reach it", retryable=True)

    monkeypatch.setattr("asof.engines.tables.open_remote", unreachable)
    far = [
        asof.Events(f"far_{n}", asof.Parquet(f"s3://bucket/{n}.parquet"), event_time="at") for n in range(3)
    ]
    views = [
        asof.FeatureView(
            f"v{n}", entity=account, source=each, features=[asof.count().over("1d").named(f"n{n}")]
        )
        for n, each in enumerate(far)
    ]
    rows = {"far_1": [{"account_id": "ann", "at": "2025-03-01T09:00:00Z"}]}
    case = Case(
        "c", views=["v0", "v1", "v2"], events=rows, expect=[expect("2025-03-01T10:00:00Z", n0=0, n1=1, n2=0)]
    )
    assert values(CaseRunner(asof.Project(views)).run(case)) == []
    assert asked == ["source 'far_0'"]


def test_a_case_brings_all_rows_of_a_source_that_a_stream_lands():
    columns = {"account_id": "string", "amount": "decimal(18,2)", "at": "timestamp", "known_at": "timestamp"}
    history, log = asof.Landed(columns=columns), asof.Log(partition_by="account_id")
    source = asof.Events("payments", history, event_time="at", known_at="known_at", stream=log)
    view = asof.FeatureView("v", entity=account, source=source, features=[asof.sum("amount").over("7d")])
    row = {"account_id": "ann", "amount": "2.50", "at": DAY.format(1, 9), "known_at": DAY.format(1, 10)}
    asked = [
        expect("2025-03-01T09:30:00Z", amount_sum_7d=0),
        expect("2025-03-02", amount_sum_7d=Decimal("2.50")),
    ]
    assert values(run(row, expected=asked, view="v", project=asof.Project([view]))) == []
