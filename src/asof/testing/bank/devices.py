"""Devices and sign-ins: which device an account uses when, and the table of logins.

The invariant: a device's number says nothing about whether it belongs to a customer or to a thief (numbers are
shuffled), and honest customers change devices far more often than thieves appear.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from asof.testing.bank.columns import I64, MINUTE_US, Columns, whole_ms
from asof.testing.bank.flows import draw_daytime_us, draw_lateness_us
from asof.testing.bank.population import Accounts, Period
from asof.testing.bank.schema import COUNTRIES

_HOME = 0  # index in COUNTRIES
_PASSING = 8  # passing devices per account
_PASSING_SHARE = 0.05


@dataclass(frozen=True)
class Devices:
    """Device numbers: three per account (first, second, replacement), those of thieves, and passing ones.

    A passing device is a borrowed phone, or a browser that has forgotten who it was.
    """

    accounts: Accounts
    number: I64

    def in_use(self, account: I64, day: I64, rng: np.random.Generator) -> I64:
        """A device that each account really uses on that day."""
        count = len(self.accounts)
        first = np.where(day >= self.accounts.replaced[account], account + 2 * count, account)
        second = self.accounts.has_second_device[account] & (rng.random(len(account)) < 0.25)
        own = np.where(second, account + count, first)
        passing = len(self.number) - 1 - (_PASSING * count * rng.random(len(account))).astype(np.int64)
        return self.number[np.where(rng.random(len(account)) < _PASSING_SHARE, passing, own)]

    def of_thief(self, thief: I64) -> I64:
        """The device of each thief."""
        return self.number[thief + 3 * len(self.accounts)]


@dataclass(frozen=True)
class Logins(Columns):
    """One entry per sign-in."""

    account: I64
    device: I64
    country: I64
    occurred_us: I64
    known_us: I64


def draw_devices(accounts: Accounts, thieves: int, rng: np.random.Generator) -> Devices:
    """Shuffled device numbers for all accounts and thieves."""
    return Devices(accounts, rng.permutation((3 + _PASSING) * len(accounts) + thieves))


def draw_logins(accounts: Accounts, period: Period, devices: Devices, rng: np.random.Generator) -> Logins:
    """The sign-ins of customers that have no visible cause."""
    account = np.repeat(np.arange(len(accounts)), rng.poisson(0.22 * period.days * accounts.activity**0.5))
    day = (period.days * rng.random(len(account))).astype(np.int64)
    is_open = accounts.is_open(account, day)
    account, day = account[is_open], day[is_open]
    occurred_us = period.midnight_us(day) + draw_daytime_us(len(account), rng, spread=5.0)
    occurred_us += 1_000 * rng.integers(0, 1_000, len(account))
    return Logins(
        account=account,
        device=devices.in_use(account, day, rng),
        country=_draw_countries(len(account), 0.03, rng),
        occurred_us=occurred_us,
        known_us=occurred_us + draw_lateness_us(len(account), rng, 0.005),
    )


def draw_sessions(
    account: I64, device: I64, before_us: I64, rng: np.random.Generator, *, abroad: float
) -> Logins:
    """Sign-ins 1 to 12 minutes before something is done online; a share of them from abroad."""
    count = len(account)
    occurred_us = before_us - MINUTE_US - whole_ms(11 * MINUTE_US * rng.random(count))
    return Logins(
        account=account,
        device=device,
        country=_draw_countries(count, abroad, rng),
        occurred_us=occurred_us,
        known_us=occurred_us + draw_lateness_us(count, rng, 0.005),
    )


def _draw_countries(count: int, abroad: float, rng: np.random.Generator) -> I64:
    foreign = 1 + (len(COUNTRIES) - 1) * rng.random(count)
    return np.where(rng.random(count) < abroad, foreign.astype(np.int64), _HOME)
