"""Slowly changing facts about accounts: tier and credit limit, reviewed now and then, cut after returned debits.

The invariant: a change takes effect at `updated_at` and is known from a nightly batch after it, so that a reader who
joins on `updated_at` alone sees cuts that nobody knew of yet. Read tables.py next.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from asof.testing.bank.columns import DAY_US, F64, HOUR_US, I64, Columns, pick, whole_ms
from asof.testing.bank.flows import draw_batch_us
from asof.testing.bank.population import Accounts, Period
from asof.testing.bank.schema import TIERS

_LIMIT_OF_TIER = np.array([0.4, 0.8, 1.6])  # monthly incomes


@dataclass(frozen=True)
class Profiles(Columns):
    """One entry per version of an account's profile."""

    account: I64
    tier: I64
    limit_cents: I64
    updated_us: I64
    known_us: I64


@dataclass(frozen=True)
class _Change(Columns):
    account: I64
    updated_us: I64
    step: I64  # of the tier
    factor: F64  # of the limit, as a power of two


def draw_profiles(
    accounts: Accounts, period: Period, cut: I64, cut_us: I64, rng: np.random.Generator
) -> Profiles:
    """All versions in file order; `cut` and `cut_us` are accounts and instants of returned debits."""
    first = _first_versions(accounts, period, rng)
    change = _Change.join([first, _reviews(accounts, period, rng), _cuts(cut, cut_us, rng)])
    change = change.take(np.lexsort((change.updated_us, change.account)))
    start = np.flatnonzero(np.concatenate([[True], change.account[1:] != change.account[:-1]]))
    tier = np.clip(_running(change.step, start), 0, len(TIERS) - 1).astype(np.int64)
    factor = _LIMIT_OF_TIER[tier] * 2.0 ** np.clip(_running(change.factor, start), -4.0, 2.0)
    limit = np.rint(accounts.income[change.account] * factor / 5_000).astype(np.int64) * 5_000
    day = (
        np.searchsorted(period.midnight_us(np.arange(-70, period.days + 90)), change.updated_us, side="right")
        - 71
    )
    late = np.where(rng.random(len(change)) < 0.06, rng.integers(1, 5, len(change)), 0)
    known_us = draw_batch_us(period, day + 1 + late, rng)
    profiles = Profiles(change.account, tier, limit, change.updated_us, known_us)
    profiles = profiles.take(profiles.known_us < period.end_us)
    return profiles.take(np.argsort(profiles.known_us, kind="stable"))


def _first_versions(accounts: Accounts, period: Period, rng: np.random.Generator) -> _Change:
    count = len(accounts)
    opening_us = period.midnight_us(np.maximum(accounts.opened, 0)) + 10 * HOUR_US
    before_us = whole_ms(DAY_US * rng.uniform(1.0, 60.0, count))
    return _Change(
        account=np.arange(count),
        updated_us=np.where(accounts.opened < 0, opening_us - before_us, opening_us),
        step=pick([0.45, 0.4, 0.15], rng.random(count)),
        factor=0.3 * rng.standard_normal(count),
    )


def _reviews(accounts: Accounts, period: Period, rng: np.random.Generator) -> _Change:
    account = np.repeat(np.arange(len(accounts)), rng.poisson(period.days / 60, len(accounts)))
    day = 1 + (period.days * rng.random(len(account))).astype(np.int64)
    keep = accounts.is_open(account, day - 1)
    account, day = account[keep], day[keep]
    return _Change(
        account=account,
        updated_us=period.midnight_us(day) + whole_ms(12 * HOUR_US + 6 * HOUR_US * rng.random(len(account))),
        step=pick([0.08, 0.80, 0.12], rng.random(len(account))) - 1,
        factor=0.12 * rng.standard_normal(len(account)),
    )


def _cuts(account: I64, returned_us: I64, rng: np.random.Generator) -> _Change:
    chosen = rng.random(len(account)) < 0.3
    account, returned_us = account[chosen], returned_us[chosen]
    return _Change(
        account=account,
        updated_us=returned_us,
        step=np.full(len(account), -1),
        factor=np.full(len(account), -0.6),
    )


def _running(values: F64 | I64, start: I64) -> F64:
    """Running sums that begin anew at each start."""
    total = np.cumsum(values, dtype=np.float64)
    before = total[start] - values[start]
    return total - np.repeat(before, np.diff(np.append(start, len(values))))
