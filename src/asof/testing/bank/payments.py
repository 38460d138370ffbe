"""Income and ACH debits: who is paid when, and which debits are drawn on the accounts.

The invariant: `Debits` are the decision points; their planned outcome (`claim`) does not look at balances: whether a
debit is covered is the ledger's answer at settlement. Read takeover.py next.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from asof.compute.calendar import add_banking_days
from asof.testing.bank.columns import F64, HOUR_US, I64, NONE, Columns, Mask, pick, whole_cents, whole_ms
from asof.testing.bank.devices import Devices
from asof.testing.bank.flows import Flow, draw_daytime_us, draw_lateness_us, plain_flow
from asof.testing.bank.population import Accounts, Merchants, Period
from asof.testing.bank.schema import BUSINESS, INCOME, RETURN_CODES, SEC_CODES, SEGMENTS

CODES = tuple(code.code for code in RETURN_CODES)
R03, R07, R08, R10, R11, R29 = (CODES.index(code) for code in ("R03", "R07", "R08", "R10", "R11", "R29"))
WEB, PPD, TEL, CCD = range(len(SEC_CODES))
BILLS = 6  # at most, per account
_NOON_US = 12 * HOUR_US
_PAY = np.array([("biweekly", "monthly", "irregular").index(kind.pay) for kind in SEGMENTS])


@dataclass(frozen=True)
class Debits(Columns):
    """One entry per ACH debit."""

    account: I64
    day: I64
    initiated_us: I64
    settle: I64  # day of settlement
    cents: I64
    merchant: I64
    device: I64
    sec: I64
    claim: I64  # index of the return code that comes back whatever the balance, or NONE
    claim_days: I64  # how many days after initiation a late claim comes


@dataclass(frozen=True)
class Bills:
    """The standing debits of all accounts: accounts x BILLS; cents per month, 0 where there is none."""

    cents: F64
    due: I64  # day of the month, from 0
    merchant: I64
    sec: I64


def draw_income(accounts: Accounts, period: Period, rng: np.random.Generator) -> Flow:
    """Pay on banking days: every two weeks, monthly, or (gig work, business) at irregular days."""
    account, day = _draw_paydays(accounts, period, rng)
    kind = _PAY[accounts.segment[account]]
    per_month = np.array([30 / 14, 1.0, 30 / 4.5])[kind]
    spread = np.array([0.03, 0.01, 0.55])[kind]
    cents = (
        accounts.income[account]
        / per_month
        * np.exp(spread * rng.standard_normal(len(account)) - spread**2 / 2)
    )
    occurred_us = period.midnight_us(day) + whole_ms(5 * HOUR_US + 4 * HOUR_US * rng.random(len(account)))
    return plain_flow(
        account,
        day,
        occurred_us,
        INCOME,
        whole_cents(cents),
        credit=np.ones(len(account), dtype=np.bool_),
        known_us=occurred_us + draw_lateness_us(len(account), rng, 0.02),
    )


def draw_bills(accounts: Accounts, merchants: Merchants, rng: np.random.Generator) -> Bills:
    """Rent, loans, utilities and subscriptions that are debited every month, mostly in its first days."""
    shape = (len(accounts), BILLS)
    has = np.arange(BILLS) < 1 + rng.poisson(1.7, len(accounts))[:, None]
    share = np.exp(np.log([0.24, 0.07, 0.05, 0.04, 0.02, 0.015]) + 0.35 * rng.standard_normal(shape))
    rent = rng.random(len(accounts)) < 0.6
    share[:, 0] = np.where(rent, share[:, 0], 0.15 * share[:, 0])
    sec = np.where(rng.random(shape) < 0.35, WEB, PPD)
    return Bills(
        cents=np.where(has, share * accounts.income[:, None], 0.0),
        due=np.where(rng.random(shape) < 0.45, 0, 28 * rng.random(shape) ** 1.4).astype(np.int64),
        merchant=merchants.biller(rng.random(shape)),
        sec=np.where(accounts.segment[:, None] == BUSINESS, CCD, sec),
    )


def draw_bill_debits(accounts: Accounts, bills: Bills, period: Period, rng: np.random.Generator) -> Debits:
    """The monthly debits of standing bills; they go on for some weeks after an account is closed."""
    month = 30.4375
    first_phase = rng.random() * month
    turns = int(period.days / month) + 2
    account, bill, turn = (
        np.ascontiguousarray(a) for a in np.indices((*bills.cents.shape, turns)).reshape(3, -1)
    )
    day = (turn * month - first_phase).astype(np.int64) + bills.due[account, bill]
    alive = (accounts.opened[account] + 15 <= day) & (day < accounts.closed[account] + 35)
    keep = (bills.cents[account, bill] > 0) & (day >= 0) & (day < period.days) & alive
    account, bill, day = account[keep], bill[keep], day[keep]
    count = len(account)
    initiated_us = period.midnight_us(day) + whole_ms(6 * HOUR_US + 4 * HOUR_US * rng.random(count))
    claim = pick([0.0005, 0.001, 0.0006, 0.0003, 0.9976], rng.random(count))
    return make_debits(
        period,
        account=account,
        day=day,
        initiated_us=initiated_us,
        cents=whole_cents(bills.cents[account, bill] * np.exp(0.04 * rng.standard_normal(count))),
        merchant=bills.merchant[account, bill],
        device=np.full(count, NONE),
        sec=bills.sec[account, bill],
        claim=for_business(accounts, account, np.array([R07, R08, R10, R11, NONE])[claim]),
        rng=rng,
    )


def draw_single_debits(
    accounts: Accounts, period: Period, merchants: Merchants, devices: Devices, rng: np.random.Generator
) -> Debits:
    """One-off debits that customers start themselves: wallets, shops, instalments; heavy-tailed amounts."""
    account = np.repeat(np.arange(len(accounts)), rng.poisson(0.04 * period.days * accounts.activity**0.5))
    day = (period.days * rng.random(len(account))).astype(np.int64)
    keep = accounts.is_open(account, day)
    account, day = account[keep], day[keep]
    count = len(account)
    sec = pick([0.75, 0.10, 0.15], rng.random(count))
    sec = np.where(accounts.segment[account] == BUSINESS, CCD, sec)
    claim = pick([0.002, 0.001, 0.002, 0.0008, 0.9942], rng.random(count))
    usual = accounts.income[account] * 0.026
    return make_debits(
        period,
        account=account,
        day=day,
        initiated_us=period.midnight_us(day)
        + draw_daytime_us(count, rng, hour=15.0)
        + 1_000 * rng.integers(0, 1_000, count),
        cents=whole_cents(usual * np.exp(0.95 * rng.standard_normal(count))),
        merchant=merchants.counterparty(rng.random(count)),
        device=np.where(sec == WEB, devices.in_use(account, day, rng), NONE),
        sec=sec,
        claim=for_business(accounts, account, np.array([R03, R08, R10, R11, NONE])[claim]),
        rng=rng,
    )


def make_debits(
    period: Period,
    *,
    account: I64,
    day: I64,
    initiated_us: I64,
    cents: I64,
    merchant: I64,
    device: I64,
    sec: I64,
    claim: I64,
    rng: np.random.Generator,
) -> Debits:
    """Debits that settle on the next banking day, a seventh of those before noon on the same one."""
    count = len(account)
    early = initiated_us - period.midnight_us(day) < _NOON_US
    same_day = period.is_banking_day(day) & early & (rng.random(count) < 0.15)
    settle = add_banking_days(day + period.first_day, np.where(same_day, 0, 1)) - period.first_day
    claim_days = np.clip(rng.lognormal(np.log(12.0), 0.85, count), 1.0, 52.0).astype(np.int64)
    return Debits(account, day, initiated_us, settle, cents, merchant, device, sec, claim, claim_days)


def for_business(accounts: Accounts, account: I64, claim: I64) -> I64:
    """Claims as their account may make them: a company that did not authorise a debit says R29, in two banking days."""
    corporate = accounts.segment[account] == BUSINESS
    return np.where(corporate & np.isin(claim, (R07, R10, R11)), R29, claim)


def monthly_budget(accounts: Accounts, bills: Bills) -> F64:
    """What is left for card spending in a month, in cents."""
    single = 30 * 0.04 * accounts.activity**0.5 * 0.026 * np.exp(0.95**2 / 2) * accounts.income
    left = accounts.outflow * accounts.income - bills.cents.sum(axis=1) - single
    return np.maximum(left, 0.15 * accounts.income)


def _draw_paydays(accounts: Accounts, period: Period, rng: np.random.Generator) -> tuple[I64, I64]:
    """Accounts and days of pay, open accounts only; pay due on a closed day comes on the banking day before."""
    step = np.array([14.0, 30.4375, 4.5])[_PAY[accounts.segment]]
    turns = int(period.days / 4.5) + 3
    turn = np.arange(turns) + rng.random(len(accounts))[:, None]
    irregular: Mask = (_PAY[accounts.segment] == 2)[:, None]
    due = step[:, None] * (turn - 1 + np.where(irregular, 0.9 * rng.random((len(accounts), turns)), 0.0))
    day = np.floor(due).astype(np.int64)
    account = np.repeat(np.arange(len(accounts)), turns)[((day >= 0) & (day < period.days)).ravel()]
    day = day[(day >= 0) & (day < period.days)]
    day = add_banking_days(day + period.first_day + 1, -1) - period.first_day
    keep = (day >= 0) & accounts.is_open(account, day)
    return account[keep], day[keep]
