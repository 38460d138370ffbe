"""Card purchases: how many, where, how much, and whether the pending row posts, changes or vanishes.

The invariant: purchases are planned here without looking at balances; the ledger declines those that are not covered.
Amounts follow the account's budget, so that what goes out matches what comes in. Read payments.py next.
"""

from __future__ import annotations

import numpy as np

from asof.compute.calendar import add_banking_days
from asof.testing.bank.columns import (
    DAY_US,
    F64,
    I64,
    MINUTE_US,
    NEVER_US,
    NONE,
    pick,
    whole_cents,
    whole_ms,
)
from asof.testing.bank.devices import Devices
from asof.testing.bank.flows import Fate, Flow, draw_batch_us, draw_daytime_us, draw_lateness_us
from asof.testing.bank.population import FAVOURITES, Accounts, Merchants, Period
from asof.testing.bank.schema import SPENDING

PURCHASES_PER_DAY = 1.75  # per account of average activity
_FATES = {Fate.DIRECT: 0.12, Fate.POSTS: 0.805, Fate.VANISHES: 0.05, Fate.VOIDED: 0.01, Fate.STAYS: 0.015}
_WEEKDAY = np.array([0.92, 0.92, 0.95, 1.0, 1.2, 1.25, 0.76])  # Monday first
_DINING, _FUEL, _TRAVEL, _CASH = (
    [spending.name for spending in SPENDING].index(name) for name in ("dining", "fuel", "travel", "cash")
)
_FUEL_HOLDS_CENTS = np.array([100, 10_000, 12_500, 17_500])


def draw_purchases(
    accounts: Accounts,
    period: Period,
    merchants: Merchants,
    devices: Devices,
    budget: F64,
    paydays: tuple[I64, I64],
    rng: np.random.Generator,
) -> Flow:
    """The purchases that customers try to make, ordered by account and day.

    `budget` is what each account can spend by card in a month, in cents; `paydays` are (account, day) pairs.
    """
    account, day = _draw_when(accounts, period, paydays, rng)
    count = len(account)
    occurred_us = period.midnight_us(day) + draw_daytime_us(count, rng)
    category = pick([spending.share for spending in SPENDING], rng.random(count))
    cents = _draw_amounts(accounts, account, category, budget, rng)
    online = np.array([spending.online for spending in SPENDING])[category]
    used = devices.in_use(account, day, rng)
    fate = np.array([int(fate) for fate in _FATES])[pick(list(_FATES.values()), rng.random(count))]
    fate = np.where(category == _CASH, int(Fate.DIRECT), fate)
    return card_flow(
        period,
        account=account,
        day=day,
        occurred_us=occurred_us,
        category=category,
        merchant=_draw_merchants(merchants, account, category, rng),
        device=np.where(online, used, NONE),
        cents=cents,
        fate=fate,
        slow=0.015,
        rng=rng,
    )


def card_flow(
    period: Period,
    *,
    account: I64,
    day: I64,
    occurred_us: I64,
    category: I64,
    merchant: I64,
    device: I64,
    cents: I64,
    fate: I64,
    slow: float,
    rng: np.random.Generator,
) -> Flow:
    """Card transactions with their versions: holds, tips, posting one to three banking days later."""
    count = len(account)
    pending_cents, final_cents = _draw_revisions(category, cents, fate, rng)
    posting_day = add_banking_days(day + period.first_day, 1 + pick([0.6, 0.3, 0.1], rng.random(count)))
    posted_us = draw_batch_us(period, posting_day - period.first_day, rng)
    vanished_us = occurred_us + whole_ms(DAY_US * rng.uniform(1.0, 7.0, count))
    voided_us = occurred_us + whole_ms(5 * MINUTE_US + 2 * DAY_US * rng.random(count) ** 3)
    disputed_us = posted_us + whole_ms(DAY_US * np.clip(rng.lognormal(np.log(15.0), 0.8, count), 1.0, 110.0))
    known_us = occurred_us + draw_lateness_us(count, rng, slow)
    in_batch = (fate == Fate.DIRECT) & (category != _CASH)
    posts = (fate == Fate.POSTS) | (fate == Fate.DISPUTED)
    return Flow(
        account=account,
        day=day,
        occurred_us=occurred_us,
        category=category,
        credit=np.zeros(count, dtype=np.bool_),
        merchant=merchant,
        device=device,
        cents=pending_cents,
        final_cents=final_cents,
        fate=fate,
        known_us=np.where(in_batch, posted_us, known_us),
        next_us=np.select(
            [fate == Fate.VANISHES, fate == Fate.VOIDED, posts],
            [vanished_us, voided_us, posted_us],
            default=NEVER_US,
        ),
        last_us=np.where(fate == Fate.DISPUTED, disputed_us, NEVER_US),
    )


def monthly_ticket(accounts: Accounts) -> F64:
    """What each account would spend by card in a month, in cents, at the categories' own prices."""
    mean_usd = sum(kind.share * kind.median_usd * np.exp(kind.sigma**2 / 2) for kind in SPENDING)
    return accounts.activity * (30 * PURCHASES_PER_DAY * 100 * mean_usd)


def _draw_when(
    accounts: Accounts, period: Period, paydays: tuple[I64, I64], rng: np.random.Generator
) -> tuple[I64, I64]:
    """Accounts and days of purchases: more at weekends, and more in the days after pay."""
    days = np.arange(period.days)
    paid = np.full((len(accounts), period.days), -99)
    paid[paydays] = paydays[1]
    since = days - np.maximum.accumulate(paid, axis=1)
    mean = 0.85 + 0.55 * np.exp(-since / 3.0)
    mean *= (PURCHASES_PER_DAY * accounts.activity)[:, None] * _WEEKDAY[(days + period.first_day + 3) % 7]
    mean *= (accounts.opened[:, None] <= days) & (days < accounts.closed[:, None])
    counts = rng.poisson(mean).ravel()
    cell = np.repeat(np.arange(counts.size), counts)
    return cell // period.days, cell % period.days


def _draw_amounts(
    accounts: Accounts, account: I64, category: I64, budget: F64, rng: np.random.Generator
) -> I64:
    """Heavy-tailed amounts by category, scaled to what the account can afford; cash in steps of 20."""
    scale = np.clip(budget / monthly_ticket(accounts), 0.15, 8.0)
    median = np.array([kind.median_usd for kind in SPENDING])[category]
    sigma = np.array([kind.sigma for kind in SPENDING])[category]
    usd = median * scale[account] * np.exp(sigma * rng.standard_normal(len(account)))
    usd = np.where(category == _CASH, 20 * np.maximum(1, np.rint(usd / 20)), usd)
    return whole_cents(100 * usd)


def _draw_merchants(merchants: Merchants, account: I64, category: I64, rng: np.random.Generator) -> I64:
    """Two purchases of three at one of the account's own favourites, the others at any, popular ones first."""
    slot = (FAVOURITES * rng.random(len(account)) ** 1.5).astype(np.int64)
    elsewhere = merchants.popular(category, rng.random(len(account)))
    return np.where(rng.random(len(account)) < 0.65, merchants.favourites[account, category, slot], elsewhere)


def _draw_revisions(category: I64, cents: I64, fate: I64, rng: np.random.Generator) -> tuple[I64, I64]:
    """Pending and final amounts: tips on top, fuel and travel holds, split shipments; else the same."""
    count = len(cents)
    u, size = rng.random(count), rng.random(count)
    hold = _FUEL_HOLDS_CENTS[(size * len(_FUEL_HOLDS_CENTS)).astype(np.int64)]
    pending = np.select(
        [(category == _FUEL) & (u < 0.75), (category == _TRAVEL) & (u < 0.5)],
        [hold, whole_cents(cents * (1.1 + 0.3 * size))],
        default=cents,
    )
    split = (category != _DINING) & (category != _FUEL) & (u > 0.96)
    final = np.select(
        [(category == _DINING) & (u < 0.7), split],
        [whole_cents(cents * (1.10 + 0.15 * size)), whole_cents(cents * (0.3 + 0.6 * size))],
        default=cents,
    )
    pending = np.where(fate == Fate.DIRECT, final, pending)
    posts = (fate == Fate.POSTS) | (fate == Fate.DISPUTED)
    return pending, np.where(posts, final, pending)
