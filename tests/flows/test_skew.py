"""Skew: none for exact operations, on the bank and the handbook's data and in every store; and what is found where the
two paths do differ.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import asof
from asof.errors import DataError, MissingColumn
from asof.flows.request_log import RequestLog, log_rows, read_log
from asof.flows.skew import replay
from asof.flows.skew_records import record_rows
from asof.flows.skew_sample import sample_entities
from asof.online.open_store import open_store
from asof.testing.bank import simulate
from asof.testing.clock import FakeClock
from examples.fraud_handbook.definitions import FILE, service_of
from tests.stores import STORES, open_one

ROOT = Path(__file__).parents[2]
SHARED = Path(os.environ.get("ASOF_SHARED_DATA", ROOT.parent / "shared" / "data"))
REAL = SHARED / "fraud-handbook" / "transactions.parquet"
TIMES = pa.timestamp("us", "UTC")
MARCH = datetime(2025, 3, 1, tzinfo=UTC)


def day(number: float) -> datetime:
    return datetime(2024, 1, 1, tzinfo=UTC) + timedelta(days=number)


@pytest.fixture
def store(tmp_path):
    opened = open_store("lmdb:///online", root=tmp_path)
    yield opened
    opened.close()


# ------------------------------------------------------------------------------------------------ the bank
@pytest.fixture(scope="module")
def bank():
    return simulate(accounts=40, days=45, seed=3).tables


def bank_service(bank):
    """Revised transactions (their own row counts), late logins, and profiles."""
    account = asof.Entity("account", keys={"account_id": "string"})
    tables = {name: asof.InMemory(table, name=name) for name, table in bank.items()}
    moves = asof.Events(
        "transactions", tables["transactions"], event_time="occurred_at", known_at="ingested_at",
        key="transaction_id", deleted="deleted",
    )  # fmt: skip
    logins = asof.Events("logins", tables["logins"], event_time="occurred_at", known_at="ingested_at")
    profiles = asof.Events("profiles", tables["profiles"], event_time="updated_at", known_at="ingested_at")
    spend = [
        asof.count().over("1d", "7d", "30d"), asof.sum("amount").over("1d", "30d"), asof.mean("amount").over("7d"),
        asof.std("amount").over("30d"), asof.max("amount").where("status = 'posted'").over("30d").named("largest"),
        asof.distinct("merchant_id").over("7d"), asof.last("category", n=3).over("30d"),
        asof.sum("amount").by("category").over("7d"), asof.last("status").over("7d"),
        asof.ratio(asof.count().where("direction = 'debit'"), asof.count()).over("7d").named("debits"),
    ]  # fmt: skip
    views = [
        asof.FeatureView("spend", entity=account, source=moves, features=spend),
        asof.FeatureView(
            "logins", entity=account, source=logins,
            features=[asof.count().over("2d").named("logins"), asof.last("ip_country").over("lifetime"),
                      asof.distinct("device_id").over("30d").named("devices")],
        ),
        asof.FeatureView(
            "profile", entity=account, source=profiles,
            features=[asof.latest("tier"), asof.latest("credit_limit", ttl="20d")],
        ),
    ]  # fmt: skip

    @asof.request_feature(inputs=[views[0]["amount_sum_1d"]], request={"amount": "float64"})
    def share(amount, amount_sum_1d):
        return amount / (amount_sum_1d + amount)

    return asof.FeatureService("risk", [*views, share], own_row=moves)


def read_and_log(service, reader, log, bank, at, *, accounts=25):
    names = [*sorted(set(bank["transactions"]["account_id"].to_pylist()))[:accounts], "nobody"]
    rng = np.random.default_rng(int(at.timestamp()))
    rows = bank["transactions"].take(pa.array(rng.integers(0, bank["transactions"].num_rows, len(names))))
    wanted = [name for name, _ in reader.describe(service.name).request]
    request = {name: rows[name].to_pylist() for name in wanted}
    answer = reader.read(service.name, {"account_id": names}, request, at=at)
    log.write(service.name, {"account_id": names}, request, answer)


@pytest.mark.parametrize("name", STORES)
def test_the_bank_has_no_skew_with_late_and_revised_rows_in_any_store(name, bank, request, tmp_path):
    service = bank_service(bank)
    clock = FakeClock(day(0))
    opened = open_one(name, request, tmp_path)
    project = asof.Project(objects=[service], clock=clock)
    with RequestLog(tmp_path / "log") as log:
        for watermark, reads in (
            (15, (15, 15.3)),
            (20, (20.01, 21, 23.5)),
            (31.5, (31.5, 40)),
            (31.5, (44,)),
        ):
            clock.set(day(watermark))
            project.materialize(store=opened)
            reader = project.online(store=opened)
            for at in reads:
                clock.set(day(at))
                read_and_log(service, reader, log, bank, day(at))
    report = replay(project, service, read_log(tmp_path / "log", "risk"))
    opened.close()
    assert report.different == 0, report.differences[:3]
    assert report.rows == 26 * 8
    assert report.compared == 26 * 8 * len(service.names)
    assert any(column.fresher for column in report.columns)  # day 23.5 and 40 know more than the store


def test_a_read_just_after_a_run_is_replayed_by_what_its_records_knew(bank, store, tmp_path):
    service = bank_service(bank)
    clock = FakeClock(day(0))
    project = asof.Project(objects=[service], clock=clock)
    clock.set(day(15))
    project.materialize(store=store)
    reader = project.online(store=store)
    with RequestLog(tmp_path / "log") as log:
        read_and_log(service, reader, log, bank, day(15))
        clock.set(day(24))
        project.materialize(store=store)  # the reader believes the watermark of day 15 for a second more
        read_and_log(service, reader, log, bank, day(24))
    report = replay(project, service, read_log(tmp_path / "log", "risk"))
    assert report.rows == 2 * 26
    assert report.different == 0, report.differences[:3]


def test_the_log_replays_a_part_of_the_time_and_the_newest_rows(bank, store, tmp_path):
    service = bank_service(bank)
    clock = FakeClock(day(20))
    project = asof.Project(objects=[service], clock=clock)
    project.materialize(store=store)
    with RequestLog(tmp_path, batch_rows=30) as log:
        for at in (20, 21, 22):
            clock.set(day(at))
            read_and_log(service, project.online(store=store), log, bank, day(at), accounts=9)
    files = sorted(path.relative_to(tmp_path).parts[:2] for path in tmp_path.rglob("*.parquet"))
    assert files == [("risk", "2024-01-21"), ("risk", "2024-01-22"), ("risk", "2024-01-23")]
    us = {at: int(day(at).timestamp()) * 1_000_000 for at in (21, 22)}
    assert read_log(tmp_path, "risk", since_us=us[21], until_us=us[22]).num_rows == 10
    assert read_log(tmp_path, "risk", since_us=us[21]).num_rows == 20
    newest = read_log(tmp_path, "risk", limit=4)
    assert newest["at"].to_pylist() == [day(22)] * 4
    assert replay(project, service, newest).different == 0


@pytest.mark.skipif(not REAL.exists(), reason=f"{REAL} is not there")
@pytest.mark.parametrize("name", STORES)
def test_the_handbook_has_no_skew_in_any_store(name, request, tmp_path):
    last = np.datetime64("2018-05-20").astype(datetime)
    rows = pq.read_table(REAL, filters=[("TX_DATETIME", "<", last)])
    pq.write_table(rows, tmp_path / FILE)
    service = service_of(tmp_path / FILE)
    clock = FakeClock("2018-05-01T00:00:00Z")
    project = asof.Project(objects=[service], clock=clock)
    opened = open_one(name, request, tmp_path)
    with RequestLog(tmp_path / "log") as log:
        for until, at in (("2018-05-01", "2018-05-01T06:00:00"), ("2018-05-09", "2018-05-09T12:00:00")):
            clock.set(f"{until}T00:00:00Z")
            project.materialize(store=opened)
            instant = datetime.fromisoformat(at).replace(tzinfo=UTC)
            asked = rows.slice(0, 400).select(["CUSTOMER_ID", "TERMINAL_ID"]).to_pydict()
            answer = project.online(store=opened).read(service.name, asked, at=instant)
            log.write(service.name, asked, None, answer)
    report = replay(project, service, read_log(tmp_path / "log", service.name))
    opened.close()
    assert (report.different, report.compared) == (0, 800 * len(service.names)), report.differences[:3]


# ------------------------------------------------------------------------------------------------ what is found
def payments(rows):
    """Rows of (account, minute, cents, minutes until known)."""
    times = [MARCH + timedelta(minutes=minute) for _, minute, _, _ in rows]
    known = [at + timedelta(minutes=late) for at, (_, _, _, late) in zip(times, rows, strict=True)]
    return pa.table({
        "account": pa.array([row[0] for row in rows], pa.string()), "paid_at": pa.array(times, TIMES),
        "known_at": pa.array(known, TIMES), "amount": pa.array([row[2] / 100 for row in rows]),
    })  # fmt: skip


def small(rows, **policy):
    account = asof.Entity("account", keys={"account": "string"})
    table = asof.InMemory(payments(rows), name="payments")
    source = asof.Events("payments", table, event_time="paid_at", known_at="known_at")
    view = asof.FeatureView(
        "activity", entity=account, source=source,
        features=[asof.count().over("1h").named("n"), asof.sum("amount").over("1h").named("spent")],
    )  # fmt: skip
    return asof.FeatureService("risk", [view], **policy)


def served(service, store, accounts, *, until=60, at=60):
    project = asof.Project(objects=[service], clock=FakeClock(MARCH + timedelta(minutes=max(until, at))))
    project.materialize(store=store, until=MARCH + timedelta(minutes=until))
    entities = {"account": accounts}
    answer = project.online(store=store).read("risk", entities, at=MARCH + timedelta(minutes=at))
    return log_rows(entities, None, answer)


ROWS = [("ann", 10, 1000, 0), ("ann", 20, 250, 0), ("bob", 30, 500, 0)]


def test_a_row_that_came_into_the_source_behind_its_known_at_is_skew(store):
    log = served(small(ROWS), store, ["ann", "bob"])
    changed = small([*ROWS, ("ann", 15, 50, 0)])
    report = replay(asof.Project(objects=[changed]), changed, log)
    found = [(each.column, each.row, each.keys, each.online, each.offline) for each in report.differences]
    assert found == [("n", 0, {"account": "ann"}, 2, 3), ("spent", 0, {"account": "ann"}, 12.5, 13.0)]
    n, spent = report.columns
    assert (n.compared, n.different, n.largest_absolute, n.largest_relative) == (2, 1, 1.0, 1 / 3)
    assert (spent.different, spent.largest_absolute, report.compared, report.different) == (1, 0.5, 4, 2)


def test_what_the_store_had_not_got_yet_is_freshness_and_no_skew(store):
    service = small([*ROWS, ("ann", 62, 50, 0)])
    report = replay(asof.Project(objects=[service]), service, served(service, store, ["ann", "bob"], at=65))
    assert (report.different, [column.fresher for column in report.columns]) == (0, [1, 1])


def test_a_tolerance_lets_small_differences_pass(store):
    log = served(small(ROWS), store, ["ann"])
    changed = small([("ann", 10, 1000, 0), ("ann", 20, 250.0001, 0)])
    project = asof.Project(objects=[changed])
    assert replay(project, changed, log).different == 1
    assert replay(project, changed, log, tolerance=1e-3).different == 0


def test_zero_and_null_are_different_whatever_the_tolerance(store):
    log = served(small(ROWS), store, ["ann"])
    log = log.set_column(log.column_names.index("value:spent"), "value:spent", pa.array([None], pa.float64()))
    report = replay(asof.Project(objects=[small(ROWS)]), small(ROWS), log, tolerance=10.0)
    assert [(each.column, each.online, each.offline) for each in report.differences] == [
        ("spent", None, 12.5)
    ]


def test_values_that_a_policy_put_there_are_not_compared(store):
    service = small(ROWS, on_missing="default", defaults={"n": 77})
    log = served(service, store, ["ann", "nobody"])
    assert log["value:n"].to_pylist() == [2, 77]
    report = replay(asof.Project(objects=[service]), service, log)
    assert (report.different, [column.skipped for column in report.columns]) == (0, [1, 1])


def test_values_of_a_missing_entity_are_compared_where_they_are_served(store):
    service = small(ROWS)
    report = replay(asof.Project(objects=[service]), service, served(service, store, ["nobody", None]))
    assert (report.different, report.compared) == (0, 4)


def test_a_log_of_another_service_is_refused(store):
    log = served(small(ROWS), store, ["ann"]).drop_columns(["value:spent"])
    with pytest.raises(MissingColumn, match="value:spent"):
        replay(asof.Project(objects=[small(ROWS)]), small(ROWS), log)


def test_a_sample_names_entities_of_the_history_always_the_same():
    service = small([(f"a{number}", number % 50, 1, 0) for number in range(300)])
    project = asof.Project(objects=[service])
    sampled = sample_entities(project, service, 7)
    assert sampled == sample_entities(project, service, 7)
    assert len(set(sampled["account"])) == 7
    assert len(sample_entities(project, service, 1000)["account"]) == 300


def test_a_service_that_is_asked_with_request_columns_is_replayed_from_a_log_only(bank):
    service = bank_service(bank)
    with pytest.raises(DataError, match="request columns"):
        sample_entities(asof.Project(objects=[service]), service, 5)


def test_a_record_is_told_as_rows(store):
    service = small(ROWS)
    served(service, store, ["ann"])
    rows = record_rows(store, service.refs[0].view, {"account": "ann"})
    assert rows is not None
    assert [(row["event_time"], row["known_at"], row["superseded_at"], row["amount"]) for row in rows] == [
        (MARCH + timedelta(minutes=10), MARCH + timedelta(minutes=10), None, 10.0),
        (MARCH + timedelta(minutes=20), MARCH + timedelta(minutes=20), None, 2.5),
    ]
    assert record_rows(store, service.refs[0].view, {"account": "nobody"}) is None


def test_a_log_that_is_not_there_is_told(tmp_path):
    with pytest.raises(DataError, match="nothing of service 'risk'"):
        read_log(tmp_path, "risk")


def test_a_log_without_request_columns_holds_none(store, tmp_path):
    log = RequestLog(tmp_path, request=False)
    project = asof.Project(objects=[small(ROWS)], clock=FakeClock(MARCH + timedelta(hours=1)))
    project.materialize(store=store)
    answer = project.online(store=store).read("risk", {"account": ["ann"]})
    log.write("risk", {"account": ["ann"]}, {"amount": [5.0]}, answer)
    log.close()
    assert not [name for name in read_log(tmp_path, "risk").column_names if name.startswith("request:")]
