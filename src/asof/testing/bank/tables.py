"""From what happened to the five tables: everything that was known before the extract, in order of ingestion.

The invariant: every table has exactly the columns and types of schema.py, and its rows are sorted by `ingested_at`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from asof.testing.bank import schema
from asof.testing.bank.arrow import dates, ids, instants, money, words
from asof.testing.bank.columns import I64, NONE, Columns
from asof.testing.bank.devices import Logins
from asof.testing.bank.flows import Flow
from asof.testing.bank.payments import CODES, Debits
from asof.testing.bank.population import Accounts, Period
from asof.testing.bank.profiles import Profiles
from asof.testing.bank.revisions import Versions


@dataclass(frozen=True)
class Returns(Columns):
    """One entry per returned debit."""

    debit: I64  # position among the debits
    code: I64
    returned_us: I64
    known_us: I64


def transactions_table(flow: Flow, number: I64, versions: Versions) -> pa.Table:
    """One row per version and delivery of a transaction."""
    row = versions.transaction
    merchant, device = flow.merchant[row], flow.device[row]
    columns = [
        ids("t", number[row], 10),
        ids("a", flow.account[row] + 1, 8),
        ids("m", merchant, 6, valid=merchant != NONE),
        words(schema.CATEGORIES, flow.category[row]),
        words(schema.DIRECTIONS, flow.credit[row].astype(np.int64)),
        money(versions.cents),
        words([schema.CURRENCY], np.zeros(len(row), dtype=np.int64)),
        ids("d", device, 8, valid=device != NONE),
        words(schema.STATUSES, versions.status),
        instants(flow.occurred_us[row]),
        instants(versions.known_us),
        pa.array(versions.deleted),
    ]
    return pa.Table.from_arrays(columns, schema=schema.TRANSACTIONS)


def profiles_table(accounts: Accounts, period: Period, profiles: Profiles) -> pa.Table:
    """One row per change of an account's profile."""
    columns = [
        ids("a", profiles.account + 1, 8),
        words(schema.TIERS, profiles.tier),
        words([segment.name for segment in schema.SEGMENTS], accounts.segment[profiles.account]),
        dates(accounts.opened[profiles.account] + period.first_day),
        money(profiles.limit_cents),
        instants(profiles.updated_us),
        instants(profiles.known_us),
    ]
    return pa.Table.from_arrays(columns, schema=schema.PROFILES)


def logins_table(logins: Logins, end_us: int) -> pa.Table:
    """One row per sign-in."""
    logins = logins.take(logins.known_us < end_us)
    logins = logins.take(np.argsort(logins.known_us, kind="stable"))
    columns = [
        ids("a", logins.account + 1, 8),
        ids("d", logins.device, 8),
        words(schema.COUNTRIES, logins.country),
        instants(logins.occurred_us),
        instants(logins.known_us),
    ]
    return pa.Table.from_arrays(columns, schema=schema.LOGINS)


def number_payments(debits: Debits) -> I64:
    """The number of each debit, from 1, in order of initiation."""
    number = np.empty(len(debits), dtype=np.int64)
    number[np.argsort(debits.initiated_us, kind="stable")] = np.arange(1, len(debits) + 1)
    return number


def debits_table(debits: Debits, number: I64, flow: Flow, transaction: I64, period: Period) -> pa.Table:
    """One row per ACH debit; `flow` and `transaction` are the debits as transactions, and their numbers."""
    row = np.flatnonzero(flow.known_us < period.end_us)
    row = row[np.argsort(flow.known_us[row], kind="stable")]
    device = debits.device[row]
    columns = [
        ids("p", number[row], 9),
        ids("t", transaction[row], 10),
        ids("a", debits.account[row] + 1, 8),
        ids("m", debits.merchant[row], 6),
        words(schema.CATEGORIES, flow.category[row]),
        words(schema.DIRECTIONS, np.zeros(len(row), dtype=np.int64)),
        money(debits.cents[row]),
        words([schema.CURRENCY], np.zeros(len(row), dtype=np.int64)),
        ids("d", device, 8, valid=device != NONE),
        words(schema.SEC_CODES, debits.sec[row]),
        dates(debits.settle[row] + period.first_day),
        instants(debits.initiated_us[row]),
        instants(flow.known_us[row]),
    ]
    return pa.Table.from_arrays(columns, schema=schema.ACH_DEBITS)


def returns_table(debits: Debits, number: I64, returns: Returns, end_us: int) -> pa.Table:
    """One row per returned debit."""
    returns = returns.take(returns.known_us < end_us)
    returns = returns.take(np.argsort(returns.known_us, kind="stable"))
    columns = [
        ids("p", number[returns.debit], 9),
        ids("a", debits.account[returns.debit] + 1, 8),
        words(CODES, returns.code),
        money(debits.cents[returns.debit]),
        instants(returns.returned_us),
        instants(returns.known_us),
    ]
    return pa.Table.from_arrays(columns, schema=schema.ACH_RETURNS)
