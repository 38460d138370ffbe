"""Account take-over: a thief signs in, tests the card, shops, debits the account; the claims come back weeks later.

The invariant: nothing in a single row gives a thief away. A new device, a sign-in from abroad, a large debit and a
risky counterparty all happen to honest customers too, taken together more often. Read ledger.py next.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from asof.testing.bank.columns import (
    DAY_US,
    F64,
    HOUR_US,
    I64,
    NONE,
    SECOND_US,
    Columns,
    whole_cents,
    whole_ms,
)
from asof.testing.bank.devices import Devices, Logins, draw_sessions
from asof.testing.bank.flows import Fate, Flow
from asof.testing.bank.payments import CCD, R10, TEL, WEB, Debits, for_business, make_debits
from asof.testing.bank.population import Accounts, Merchants, Period
from asof.testing.bank.purchases import card_flow
from asof.testing.bank.schema import BUSINESS, SPENDING

_PER_ACCOUNT_MONTH = 0.015
_TARGETS = np.array([[s.name for s in SPENDING].index(name) for name in ("online", "electronics", "travel")])


@dataclass(frozen=True)
class Episodes(Columns):
    """One entry per take-over."""

    account: I64
    start_us: I64
    length_us: F64
    thief: I64  # number of the device that is used, or NONE when the customer's own session is hijacked


def draw_episodes(accounts: Accounts, period: Period, rng: np.random.Generator) -> Episodes:
    """When and where thieves get in: exposed accounts more often, hours to days at a time."""
    expected = _PER_ACCOUNT_MONTH * period.days / 30 * accounts.takeover / accounts.takeover.mean()
    account = np.repeat(np.arange(len(accounts)), rng.poisson(expected))
    day = (period.days * rng.random(len(account))).astype(np.int64)
    keep = accounts.is_open(account, day)
    account, day = account[keep], day[keep]
    count = len(account)
    thief = (rng.random(count) * max(1, 0.7 * count)).astype(np.int64)  # some devices come back
    return Episodes(
        account=account,
        start_us=period.midnight_us(day) + whole_ms(DAY_US * rng.random(count)),
        length_us=HOUR_US * np.minimum(rng.lognormal(np.log(36.0), 0.8, count), 240.0),
        thief=np.where(rng.random(count) < 0.6, thief, NONE),
    )


def draw_stolen_debits(
    accounts: Accounts,
    episodes: Episodes,
    period: Period,
    merchants: Merchants,
    devices: Devices,
    rng: np.random.Generator,
) -> tuple[Debits, Logins]:
    """A burst of larger debits, most of them at risky counterparties; the owner claims seven of eight."""
    which = np.repeat(np.arange(len(episodes)), 1 + rng.poisson(2.0, len(episodes)))
    theft = episodes.take(which)
    count = len(theft)
    initiated_us = theft.start_us + whole_ms(theft.length_us * rng.uniform(0.35, 1.0, count))
    day = _day_of(period, initiated_us)
    device = _device(devices, theft, day, rng)
    risky = merchants.risky[(rng.random(count) * len(merchants.risky)).astype(np.int64)]
    usual = accounts.income[theft.account] * 0.05
    sec = np.where(rng.random(count) < 0.85, WEB, TEL)
    sec = np.where(accounts.segment[theft.account] == BUSINESS, CCD, sec)
    debits = make_debits(
        period,
        account=theft.account,
        day=day,
        initiated_us=initiated_us,
        cents=whole_cents(usual * np.exp(0.75 * rng.standard_normal(count))),
        merchant=np.where(rng.random(count) < 0.35, risky, merchants.counterparty(rng.random(count))),
        device=np.where(sec == WEB, device, NONE),
        sec=sec,
        claim=for_business(accounts, theft.account, np.where(rng.random(count) < 0.87, R10, NONE)),
        rng=rng,
    )
    sessions = draw_sessions(theft.account, device, initiated_us, rng, abroad=0.15)
    return debits, sessions


def draw_stolen_purchases(
    accounts: Accounts,
    episodes: Episodes,
    period: Period,
    merchants: Merchants,
    devices: Devices,
    rng: np.random.Generator,
) -> Flow:
    """Small tests that vanish, then purchases elsewhere than usual, three of four charged back weeks later."""
    which = np.repeat(np.arange(len(episodes)), rng.poisson(6.0, len(episodes)))
    theft = episodes.take(which)
    count = len(theft)
    test = rng.random(count) < 0.3
    elapsed = np.where(test, 0.2, 0.6) * rng.random(count)
    occurred_us = (theft.start_us + whole_ms(theft.length_us * elapsed)) // SECOND_US * SECOND_US
    day = _day_of(period, occurred_us)
    category = _TARGETS[(len(_TARGETS) * rng.random(count)).astype(np.int64)]
    usual = np.where(test, 250.0, accounts.income[theft.account] * 0.016)
    outcome = rng.random(count)
    fate = np.where(outcome < 0.75, int(Fate.DISPUTED), int(Fate.POSTS))
    return card_flow(
        period,
        account=theft.account,
        day=day,
        occurred_us=occurred_us,
        category=category,
        merchant=merchants.popular(category, rng.random(count)),
        device=_device(devices, theft, day, rng),
        cents=whole_cents(usual * np.exp(0.8 * rng.standard_normal(count))),
        fate=np.where(test & (outcome < 0.85), int(Fate.VANISHES), fate),
        slow=0.5,
        rng=rng,
    )


def _day_of(period: Period, t_us: I64) -> I64:
    midnights = period.midnight_us(np.arange(period.days + 60))
    return np.searchsorted(midnights, t_us, side="right") - 1


def _device(devices: Devices, theft: Episodes, day: I64, rng: np.random.Generator) -> I64:
    own = devices.in_use(theft.account, day, rng)
    return np.where(theft.thief == NONE, own, devices.of_thief(np.maximum(theft.thief, 0)))
