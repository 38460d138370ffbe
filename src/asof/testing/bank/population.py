"""Who banks here: the period, the accounts with their hidden traits, and the merchants.

The invariant: one entry per account in every array, and nothing here depends on what happens later. The traits (how
tight the money is, whether there are savings, how exposed the account is to take-over) are in no table: a model can
only infer them from behaviour. Read purchases.py next.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from asof.compute.calendar import day_start_us, is_banking_day
from asof.testing.bank.columns import F64, I64, Columns, Mask, pick
from asof.testing.bank.schema import SEGMENTS, SPENDING, ZONE

FAVOURITES = 3
_ONE_PAY = {"biweekly": 0.45, "monthly": 1.0, "irregular": 0.3}  # in monthly incomes
_MERCHANT_SKEW = 2.2  # how much more the popular merchants of a category are visited


@dataclass(frozen=True)
class Period:
    """The simulated days, numbered from 0 and local to the bank; the extract is taken at the end of the last one."""

    first_day: int  # since 1970-01-01
    days: int

    @property
    def end_us(self) -> int:
        """The instant of the extract: nothing known at or after it is in any table."""
        return int(self.midnight_us(np.array([self.days]))[0])

    def midnight_us(self, day: I64) -> I64:
        """The instant at which each numbered day begins."""
        return day_start_us(day + self.first_day, ZONE)

    def is_banking_day(self, day: I64) -> Mask:
        """Which of the numbered days are banking days."""
        return is_banking_day(day + self.first_day)


@dataclass(frozen=True)
class Accounts(Columns):
    """One entry per account; money is in cents."""

    segment: I64
    opened: I64
    closed: I64
    activity: F64
    income: F64  # per month
    outflow: F64  # planned share of the income that goes out again
    has_savings: Mask
    cushion: F64  # how far below zero the bank still pays
    target: F64  # balance above which money moves to savings
    opening_balance: I64
    takeover: F64  # relative exposure to thieves
    has_second_device: Mask
    replaced: I64  # day on which the first device is replaced

    def is_open(self, account: I64, day: I64) -> Mask:
        """Whether each account is open on each day."""
        return (self.opened[account] <= day) & (day < self.closed[account])


@dataclass(frozen=True)
class Merchants:
    """Merchant numbers by kind: spending categories first, then billers, then one-off counterparties."""

    first: I64  # first number of each spending category; the last entry is the first biller
    billers: int
    counterparties: int
    risky: I64  # the counterparties that thieves prefer; honest customers use them too
    favourites: I64  # accounts x categories x FAVOURITES

    def popular(self, category: I64, u: F64) -> I64:
        """A merchant of each spending category, the popular ones more often."""
        size = np.diff(self.first)[category]
        return self.first[:-1][category] + _skewed(size, u)

    def biller(self, u: F64) -> I64:
        """A biller, the popular ones more often."""
        return self.first[-1] + _skewed(self.billers, u)

    def counterparty(self, u: F64) -> I64:
        """A one-off counterparty, the popular ones more often."""
        return self.first[-1] + self.billers + _skewed(self.counterparties, u)


def draw_accounts(count: int, period: Period, rng: np.random.Generator) -> Accounts:
    """The accounts of a bank, in an order that says nothing about them."""
    segment = pick([kind.share for kind in SEGMENTS], rng.random(count))
    activity = rng.lognormal(0.0, 0.9, count)
    activity /= activity.mean()
    median = 100 * np.array([kind.median_income_usd for kind in SEGMENTS])[segment]
    income = median * rng.lognormal(0.0, 0.4, count) * np.clip(activity, 0.1, 10.0) ** 0.25
    planned = np.array([kind.outflow for kind in SEGMENTS])[segment]
    outflow = np.clip(planned + rng.normal(0.0, 0.12, count), 0.5, 1.3)
    saving = np.array([kind.has_savings for kind in SEGMENTS])[segment] * np.clip(1.9 - outflow, 0.4, 1.2)
    exposed = np.array([kind.takeover for kind in SEGMENTS])[segment]
    opened, closed = _draw_lifetimes(count, period.days, outflow, rng)
    one_pay = np.array([_ONE_PAY[kind.pay] for kind in SEGMENTS])[segment]
    target = income * (one_pay + rng.lognormal(np.log(0.35), 0.7, count))
    return Accounts(
        segment=segment,
        opened=opened,
        closed=closed,
        activity=activity,
        income=income,
        outflow=outflow,
        has_savings=rng.random(count) < saving,
        cushion=np.where(rng.random(count) < 0.3, 0.10, 0.01) * rng.random(count) * income,
        target=target,
        opening_balance=(target * rng.uniform(0.2, 1.0, count)).astype(np.int64),
        takeover=exposed * rng.lognormal(0.0, 0.7, count),
        has_second_device=rng.random(count) < 0.4,
        replaced=rng.exponential(400.0, count).astype(np.int64),
    )


def draw_merchants(accounts: int, rng: np.random.Generator) -> Merchants:
    """The merchants of a bank: more for more accounts, and three favourites per account and category."""
    total = int(np.clip(accounts // 3, 240, 60_000))
    sizes = np.maximum(6, total * np.array([kind.share for kind in SPENDING])).astype(np.int64)
    first = np.concatenate([[0], np.cumsum(sizes)])
    billers = int(np.clip(accounts // 20, 40, 3_000))
    counterparties = int(np.clip(accounts // 40, 50, 2_000))
    risky = np.sort(rng.permutation(counterparties)[: max(4, counterparties // 12)]) + first[-1] + billers
    favourites = first[:-1, None] + _skewed(sizes[:, None], rng.random((accounts, len(SPENDING), FAVOURITES)))
    return Merchants(first, billers, counterparties, risky, favourites)


def _draw_lifetimes(count: int, days: int, outflow: F64, rng: np.random.Generator) -> tuple[I64, I64]:
    """Days of opening and closing: an eighth open within the period; the strained close more often."""
    older = -1 - rng.exponential(900.0, count).astype(np.int64)
    newer = (rng.random(count) * 0.8 * days).astype(np.int64)
    opened = np.where(rng.random(count) < 0.125, newer, older)
    closed = np.maximum(opened, 0) + 20 + rng.exponential(3_500.0 / outflow**6, count).astype(np.int64)
    return opened, closed


def _skewed(size: int | I64, u: F64) -> I64:
    return (size * u**_MERCHANT_SKEW).astype(np.int64)
