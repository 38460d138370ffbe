"""The simulated bank: what its documentation promises, checked with plain SQL over its tables."""

import hashlib
from datetime import UTC, date, datetime

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from asof.compute.calendar import (
    add_banking_days,
    banking_deadline_us,
    day_start_us,
    is_banking_day,
    local_days,
)
from asof.errors import DataError, DefinitionError
from asof.testing.bank import CATEGORIES, RETURN_CODES, SCHEMAS, SEGMENTS, Bank, simulate, size_for_events

DAY_US = 86_400_000_000
WITH_END = """
    select *, coalesce(lead(ingested_at) over (partition by transaction_id order by ingested_at),
                       timestamptz '2100-01-01') as superseded_at
    from transactions
"""


@pytest.fixture(scope="module")
def bank() -> Bank:
    return simulate(accounts=400, days=200, seed=11)


@pytest.fixture(scope="module")
def sql(bank):
    connection = duckdb.connect()
    connection.execute("set timezone = 'UTC'")
    for name, table in bank.tables.items():
        connection.register(name, table)
    yield lambda query: connection.execute(query).fetchall()
    connection.close()


def column(table, name):
    """Instants as microseconds, dates as days."""
    values = table[name]
    return (
        values.cast(pa.int32() if pa.types.is_date32(values.type) else pa.int64()).to_numpy().astype(np.int64)
    )


def digests(folder):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


# --------------------------------------------------------------------------------------------- the same every time


def test_the_same_arguments_give_the_same_bytes(tmp_path):
    for name in ("one", "two"):
        simulate(accounts=60, days=45, seed=3).write(tmp_path / name)
    assert digests(tmp_path / "one") == digests(tmp_path / "two")


def test_another_seed_gives_other_rows_in_every_table():
    one, other = simulate(accounts=60, days=45, seed=3), simulate(accounts=60, days=45, seed=4)
    assert [name for name in SCHEMAS if one.tables[name].equals(other.tables[name])] == []


def test_written_tables_read_back_equal_and_leave_no_other_files(tmp_path):
    small = simulate(accounts=20, days=30)
    small.write(tmp_path / "deep" / "folder")
    paths = small.write(tmp_path / "deep" / "folder")  # replaces
    assert sorted(path.name for path in (tmp_path / "deep" / "folder").iterdir()) == [
        "ach_debits.parquet",
        "ach_returns.parquet",
        "logins.parquet",
        "profiles.parquet",
        "transactions.parquet",
    ]
    for name, table in small.tables.items():
        assert pq.read_table(paths[name]).equals(table)


# ---------------------------------------------------------------------------------------------------- schema, words


def test_tables_have_exactly_the_documented_schemas(bank):
    assert {name: table.schema for name, table in bank.tables.items()} == SCHEMAS
    for table in bank.tables.values():
        table.validate(full=True)


def test_only_merchants_and_devices_may_be_null(bank):
    nullable = {(name, field) for name, table in bank.tables.items() for field in table.column_names}
    nulls = {(name, field) for name, field in nullable if bank.tables[name][field].null_count}
    assert nulls == {
        ("transactions", "merchant_id"),
        ("transactions", "device_id"),
        ("ach_debits", "device_id"),
    }


def test_ids_look_as_documented(sql):
    patterns = {
        "transaction_id": "t[0-9]{10}",
        "account_id": "a[0-9]{8}",
        "merchant_id": "m[0-9]{6}",
        "device_id": "d[0-9]{8}",
    }
    for name, pattern in patterns.items():
        where = f"{name} is not null and not regexp_full_match({name}, '{pattern}')"
        assert sql(f"select count(*) from transactions where {where}") == [(0,)]
    assert sql("select count(*) from ach_debits where not regexp_full_match(payment_id, 'p[0-9]{9}')") == [
        (0,)
    ]


def test_words_come_from_the_documented_lists(sql):
    assert {word for (word,) in sql("select distinct category from transactions")} == set(CATEGORIES)
    assert {word for (word,) in sql("select distinct status from transactions")} == {
        "pending",
        "posted",
        "reversed",
    }
    assert {word for (word,) in sql("select distinct tier from profiles")} == {"basic", "plus", "premium"}
    assert {word for (word,) in sql("select distinct segment from profiles")} == {
        kind.name for kind in SEGMENTS
    }
    assert {word for (word,) in sql("select distinct sec_code from ach_debits")} == {
        "WEB",
        "PPD",
        "TEL",
        "CCD",
    }
    codes = {word for (word,) in sql("select distinct return_code from ach_returns")}
    assert {"R01", "R10"} < codes <= {code.code for code in RETURN_CODES}


def test_directions_follow_from_categories(sql):
    directions = dict(
        sql(
            "select category, string_agg(distinct direction, '+' order by direction) "
            "from transactions group by category"
        )
    )
    assert directions.pop("income") == "credit"
    assert directions.pop("transfer") == "credit+debit"
    assert set(directions.values()) == {"debit"}


def test_amounts_are_positive_dollars_and_heavy_tailed(sql):
    assert sql("select count(*) from transactions where amount <= 0 or currency <> 'USD'") == [(0,)]
    [(median, high)] = sql(
        "select quantile_cont(amount, 0.5), quantile_cont(amount, 0.999) from transactions "
        "where category = 'online'"
    )
    assert high > 15 * median


# ------------------------------------------------------------------------------------------------- time, known-at


@pytest.mark.parametrize(
    ("table", "event_time"),
    [
        ("transactions", "occurred_at"),
        ("profiles", "updated_at"),
        ("logins", "occurred_at"),
        ("ach_debits", "initiated_at"),
        ("ach_returns", "returned_at"),
    ],
)
def test_rows_are_known_after_they_happen_in_file_order_and_before_the_extract(bank, table, event_time):
    known_us = column(bank.tables[table], "ingested_at")
    happened_us = column(bank.tables[table], event_time)
    assert (known_us > happened_us).all()
    assert (np.diff(known_us) >= 0).all()
    assert known_us.max() < bank.extracted_at.timestamp() * 1_000_000
    assert (np.diff(happened_us) < 0).any()  # so the file is out of order by event time


def test_the_extract_is_taken_at_the_end_of_the_last_local_day():
    assert simulate(accounts=1, days=60, start="2024-01-01").extracted_at == datetime(
        2024, 3, 1, 5, tzinfo=UTC
    )
    assert simulate(accounts=1, days=90, start="2024-01-01").extracted_at == datetime(
        2024, 3, 31, 4, tzinfo=UTC
    )


def test_most_purchases_are_known_in_minutes_some_in_hours_a_few_in_days(sql):
    [(minutes, hours, days)] = sql("""
        with first as (select transaction_id, min(ingested_at - occurred_at) as late from transactions
                       where category = 'groceries' group by 1)
        select avg((late < interval 10 minute)::int),
               avg((late between interval 1 hour and interval 12 hour)::int),
               avg((late > interval 1 day)::int) from first
    """)
    assert 0.75 < minutes < 0.95
    assert 0.03 < hours < 0.12
    assert 0.01 < days < 0.12


def test_event_times_tie_now_and_then():
    times = simulate(accounts=3_000, days=10).transactions["occurred_at"]
    assert len(times.unique()) < len(times) * 0.75  # versions alone would leave about 0.85


def test_pay_arrives_on_banking_days_only(bank):
    table = bank.transactions.filter(pa.compute.equal(bank.transactions["category"], "income"))
    assert is_banking_day(local_days(column(table, "occurred_at"))).all()


# ---------------------------------------------------------------------------------------------------- revisions


def test_versions_of_a_transaction_differ_in_status_amount_and_known_at_only(sql):
    assert sql("""
        select count(*) from (
            select transaction_id from transactions group by transaction_id
            having count(distinct (account_id, merchant_id, category, direction, currency, device_id, occurred_at)) > 1)
    """) == [(0,)]


def test_a_pending_transaction_posts_vanishes_is_reversed_or_stays(sql):
    histories = sql("""
        with versions as (select transaction_id, status, deleted, min(ingested_at) as known_at from transactions
                          group by all),
        histories as (select string_agg(status || case when deleted then ' deleted' else '' end, ', ' order by known_at)
                      as history from versions group by transaction_id)
        select history, count(*) / sum(count(*)) over () from histories group by history
    """)
    shares = dict(histories)
    assert set(shares) == {
        "posted",
        "pending",
        "pending, posted",
        "pending, pending deleted",
        "pending, reversed",
        "pending, posted, reversed",
    }
    assert shares["pending, posted"] > 0.6
    assert 0.02 < shares["pending, pending deleted"] < 0.08
    assert 0.005 < shares["pending, reversed"] < 0.03
    assert 0.002 < shares["pending, posted, reversed"] < 0.03


def test_a_deleted_row_is_the_last_word(sql):
    assert sql("""
        select count(*) from transactions later join transactions gone using (transaction_id)
        where gone.deleted and later.ingested_at > gone.ingested_at and not later.deleted
    """) == [(0,)]


def test_a_duplicate_is_the_identical_row_delivered_later_but_before_the_next_version(sql):
    [(duplicates, rows)] = sql("""
        select count(*) - count(distinct (transaction_id, status, deleted)), count(*) from transactions
    """)
    assert 0.005 < duplicates / rows < 0.02
    assert sql("""
        select count(*) from (select transaction_id, status, deleted from transactions group by all
                              having count(distinct amount) > 1 or count(distinct ingested_at) < count(*))
    """) == [(0,)]
    # No version comes back after another one: its deliveries are neighbours in the order of ingestion.
    assert sql("""
        with steps as (select transaction_id, (status, deleted) is distinct from
                       lag((status, deleted)) over (partition by transaction_id order by ingested_at) as changed,
                       status, deleted from transactions)
        select count(*) from (select 1 from steps where changed group by transaction_id, status, deleted
                              having count(*) > 1)
    """) == [(0,)]


def test_posted_amounts_differ_from_pending_ones_by_tips_holds_and_splits(sql):
    changes = {
        category: (more, less)
        for category, more, less in sql("""
            select category, avg((late.amount > early.amount)::int), avg((late.amount < early.amount)::int)
            from transactions early join transactions late using (transaction_id, category)
            where early.status = 'pending' and late.status = 'posted' group by category
        """)
    }
    assert changes["dining"][0] > 0.6  # tips
    assert changes["fuel"][1] > 0.3  # holds
    assert changes["travel"][1] > 0.3  # holds
    assert changes["groceries"][0] == 0
    assert 0.02 < changes["groceries"][1] < 0.06  # split shipments
    assert changes["ach"] == (0, 0)


def test_transactions_are_numbered_in_the_order_in_which_they_become_known(sql):
    assert sql("""
        with first as (select transaction_id, min(ingested_at) as known_at from transactions group by 1)
        select count(*) from (select transaction_id,
                                     lag(transaction_id) over (order by known_at, transaction_id) as before
                              from first) where before > transaction_id
    """) == [(0,)]


# ------------------------------------------------------------------------------------------ ACH debits and returns


def test_every_ach_debit_is_first_seen_as_a_pending_transaction_of_the_same_values(sql):
    assert sql(
        "select count(distinct payment_id) = count(*) and count(distinct transaction_id) = count(*) "
        "from ach_debits"
    ) == [(True,)]
    assert sql("""
        select count(*) from ach_debits d
        where not exists (
            select 1 from transactions t
            where t.transaction_id = d.transaction_id and t.status = 'pending' and t.category = 'ach'
              and t.direction = 'debit' and t.account_id = d.account_id and t.merchant_id = d.merchant_id
              and t.amount = d.amount and t.occurred_at = d.initiated_at and t.ingested_at = d.ingested_at
              and t.device_id is not distinct from d.device_id)
    """) == [(0,)]
    assert sql("select count(distinct transaction_id) from transactions where category = 'ach'") == sql(
        "select count(*) from ach_debits"
    )


def test_debits_settle_on_the_same_or_the_next_banking_day(bank):
    settles, initiated = (
        column(bank.ach_debits, "settles_on"),
        local_days(column(bank.ach_debits, "initiated_at")),
    )
    same_day = settles == initiated
    assert is_banking_day(settles).all()
    assert (same_day | (settles == add_banking_days(initiated, 1))).all()
    assert 0.03 < same_day.mean() < 0.2


@pytest.fixture(scope="module")
def returned(sql):
    """(code, settlement day, initiated, returned) of every return, times in microseconds."""
    rows = sql("""
        select return_code, settles_on - date '1970-01-01', epoch_us(initiated_at), epoch_us(returned_at)
        from ach_returns join ach_debits using (payment_id, account_id, amount) order by payment_id
    """)
    codes, settles, initiated, came_back = zip(*rows, strict=True)
    return np.array(codes), np.array(settles), np.array(initiated), np.array(came_back)


def test_every_return_belongs_to_one_debit_of_the_same_account_and_amount(bank, returned):
    assert len(returned[0]) == bank.ach_returns.num_rows
    assert len(bank.ach_returns["payment_id"].unique()) == bank.ach_returns.num_rows


def test_bank_codes_come_back_within_two_banking_days_of_settlement(returned):
    codes, settles, initiated, came_back = returned
    by_bank = np.isin(codes, [code.code for code in RETURN_CODES if code.banking_days == 2])
    assert {"R01", "R02", "R09"} <= set(codes[by_bank].tolist())
    settled_us = day_start_us(settles)
    assert (came_back > day_start_us(settles + 1))[by_bank].all()
    assert (came_back < banking_deadline_us(settled_us, 2))[by_bank].all()
    assert (came_back < banking_deadline_us(initiated, 3))[by_bank].all()


def test_consumer_claims_come_back_after_settlement_and_within_60_calendar_days(returned):
    codes, settles, initiated, came_back = returned
    claims = np.isin(codes, [code.code for code in RETURN_CODES if code.calendar_days == 60])
    assert "R10" in codes[claims]
    assert (came_back > day_start_us(settles + 1))[claims].all()
    assert (came_back < initiated + 60 * DAY_US)[claims].all()
    waited_days = (came_back - initiated)[claims] / DAY_US
    assert np.median(waited_days) > 5
    assert waited_days.max() > 35


def test_returns_come_back_on_banking_days_in_business_hours(bank):
    returned_us = column(bank.ach_returns, "returned_at")
    day = local_days(returned_us)
    assert is_banking_day(day).all()
    assert (returned_us - day_start_us(day) < 18 * 3_600_000_000).all()


def test_companies_say_r29_and_consumers_r10(sql):
    assert sql(
        "select count(*) from ach_returns join ach_debits using (payment_id) "
        "where (return_code = 'R29') <> (sec_code = 'CCD') and return_code in ('R07', 'R10', 'R11', 'R29')"
    ) == [(0,)]
    assert sql("select count(*) > 0 from ach_returns where return_code = 'R29'") == [(True,)]


def test_a_returned_debit_turns_reversed_once_its_return_is_known_not_before(sql):
    assert sql("""
        select count(*) from ach_returns r join ach_debits d using (payment_id)
        join transactions t using (transaction_id)
        where t.status = 'reversed' and t.ingested_at <= r.ingested_at
    """) == [(0,)]
    [(known, turned)] = sql("""
        select count(distinct payment_id), count(distinct t.transaction_id)
        from ach_returns r join ach_debits d using (payment_id)
        left join transactions t on t.transaction_id = d.transaction_id and t.status = 'reversed'
    """)
    assert known - 3 <= turned <= known  # the last ones turn after the extract


def test_a_debit_that_never_comes_back_never_turns_reversed(sql):
    assert sql("""
        select count(*) from transactions t join ach_debits d using (transaction_id)
        where t.status = 'reversed' and not exists (select 1 from ach_returns r where r.payment_id = d.payment_id)
    """) == [(0,)]


# --------------------------------------------------------------------------------------------- what a model can learn


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_between_two_and_five_percent_of_mature_debits_come_back(seed):
    bank = simulate(accounts=700, days=180, seed=seed)
    mature = (
        column(bank.ach_debits, "initiated_at") < column(bank.ach_debits, "initiated_at").max() - 60 * DAY_US
    )
    payments = bank.ach_debits.filter(pa.array(mature))["payment_id"]
    rate = pa.compute.mean(pa.compute.is_in(payments, bank.ach_returns["payment_id"])).as_py()
    assert 0.02 < rate < 0.055


def test_debits_come_back_for_lack_of_funds_where_money_is_tight(sql):
    [(large, small)] = sql("""
        select avg(short) filter (amount >= 500), avg(short) filter (amount < 100) from (
            select amount, coalesce(return_code in ('R01', 'R09'), false)::int as short
            from ach_debits left join ach_returns using (payment_id, account_id, amount))
    """)
    assert large > 1.5 * small
    [(again, never)] = sql("""
        select avg(short) filter (before > 0), avg(short) filter (before = 0) from (
            select coalesce(max((r.return_code in ('R01', 'R09'))::int), 0) as short,
                   count(b.payment_id) filter (b.return_code = 'R01') as before
            from ach_debits d left join ach_returns r using (payment_id)
            left join ach_returns b on b.account_id = d.account_id and b.ingested_at < d.initiated_at
            group by d.payment_id)
    """)
    assert again > 2 * never


def test_unauthorised_debits_come_from_new_devices_more_often_but_not_always(sql):
    [(stolen, honest)] = sql("""
        select avg(new) filter (code in ('R10', 'R29')), avg(new) filter (code is null) from (
            select any_value(r.return_code) as code, (count(l.device_id) = 0)::int as new
            from ach_debits d left join ach_returns r using (payment_id)
            left join logins l on l.account_id = d.account_id and l.device_id = d.device_id
                 and l.occurred_at < d.initiated_at - interval 1 day
            where d.device_id is not null and d.initiated_at > timestamptz '2024-02-15'
            group by d.payment_id)
    """)
    assert stolen > 1.5 * honest
    assert 0.3 < stolen < 0.95
    assert honest > 0.02


@pytest.mark.parametrize("expression", ["sec_code", "device_id is null", "merchant_id", "hour(initiated_at)"])
def test_no_single_column_gives_the_answer_away(sql, expression):
    [(highest,)] = sql(f"""
        select max(rate) from (
            select avg((return_code is not null)::int) as rate from ach_debits
            left join ach_returns using (payment_id) group by {expression} having count(*) >= 40)
    """)
    assert highest < 0.5


def test_hindsight_sees_reversals_that_nobody_knew_of(sql):
    """Reversed transactions in the week before a debit: as known and in hindsight, for debits that come back or not."""
    seen = {
        came_back: (known, hindsight)
        for came_back, known, hindsight in sql(f"""
            select r.payment_id is not null as came_back,
                   count(*) filter (t.ingested_at <= d.initiated_at and d.initiated_at < t.superseded_at)
                       / any_value(n),
                   count(*) filter (t.superseded_at = timestamptz '2100-01-01') / any_value(n)
            from ach_debits d left join ach_returns r using (payment_id)
            join ({WITH_END}) t on t.account_id = d.account_id and t.status = 'reversed'
                 and t.occurred_at < d.initiated_at and t.occurred_at >= d.initiated_at - interval 7 day
            join (select r.payment_id is not null as came_back, count(*) as n
                  from ach_debits d left join ach_returns r using (payment_id) group by 1) as size
                 on size.came_back = (r.payment_id is not null)
            group by 1
        """)
    }
    assert seen[True][1] > 2 * seen[True][0]  # before a debit that comes back, hindsight sees far more
    assert seen[True][1] - seen[True][0] > 5 * (seen[False][1] - seen[False][0])


def test_profiles_change_slowly_and_are_known_from_the_next_morning(sql):
    [(per_account, least)] = sql(
        "select avg(n), min(n) from (select count(*) n from profiles group by account_id)"
    )
    assert 2 < per_account < 8
    assert least >= 1
    assert sql("select count(*) from profiles where ingested_at - updated_at < interval 2 hour") == [(0,)]
    assert sql(
        "select count(*) from (select 1 from profiles group by account_id "
        "having count(distinct (segment, opened_on)) > 1)"
    ) == [(0,)]


def test_an_account_is_active_between_opening_and_closing_only(sql):
    assert sql("""
        select count(*) from transactions t join (select account_id, any_value(opened_on) opened_on from profiles
                                                  group by 1) using (account_id)
        where t.occurred_at < opened_on::timestamptz
    """) == [(0,)]


def test_activity_is_skewed_over_accounts(sql):
    [(median, high)] = sql(
        "select quantile_cont(n, 0.5), quantile_cont(n, 0.99) from "
        "(select count(*) as n from transactions group by account_id)"
    )
    assert high > 3 * median


# ---------------------------------------------------------------------------------------------------- sizes, errors


@pytest.mark.parametrize(("events", "days"), [(20_000, 60), (100_000, 180), (100_000, 45)])
def test_events_choose_accounts_for_about_that_many_rows(events, days):
    accounts, chosen_days = size_for_events(events, None if days == 180 else days)
    assert chosen_days == days
    rows = simulate(accounts=accounts, days=days).transactions.num_rows
    assert 0.88 * events < rows < 1.12 * events


def test_events_are_a_short_way_to_say_accounts_and_days():
    accounts, days = size_for_events(20_000)
    assert simulate(events=20_000, seed=5) == simulate(accounts=accounts, days=days, seed=5)


def test_the_smallest_bank_has_all_tables_with_their_types():
    smallest = simulate(accounts=1, days=1, seed=2)
    assert {name: table.schema for name, table in smallest.tables.items()} == SCHEMAS
    assert smallest.ach_returns.num_rows == 0


def test_the_start_may_be_a_date_in_another_year():
    bank = simulate(accounts=5, days=20, start=date(2021, 12, 20))
    assert bank == simulate(accounts=5, days=20, start="2021-12-20")
    assert bank.extracted_at == datetime(2022, 1, 9, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"accounts": 0}, "accounts is 0, must be at least 1"),
        ({"days": -3}, "days is -3, must be at least 1"),
        ({"events": 0}, "events is 0, must be at least 1"),
        ({"seed": -1}, "seed is -1, must be at least 0"),
        ({"accounts": 5, "events": 100}, "accounts and events both given"),
        ({"start": "tomorrow"}, "start 'tomorrow' is no date"),
        ({"accounts": 10_000_000, "days": 365}, "at most 150,000,000 at a time"),
    ],
)
def test_wrong_arguments_are_definition_errors_that_name_the_argument(arguments, message):
    with pytest.raises(DefinitionError, match=message):
        simulate(**arguments)


def test_a_period_outside_the_banking_calendar_is_a_data_error():
    with pytest.raises(DataError, match="outside the years 1990 to 2100"):
        simulate(accounts=2, days=30, start="2100-12-20")
