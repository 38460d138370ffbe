"""Money movements, the fates that revise them, and how late a row becomes known.

The invariant: a `Flow` has one entry per transaction (not per version), with all that revisions.py needs to write its
versions. Read purchases.py and payments.py next: they draw what happens.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from asof.testing.bank.columns import (
    DAY_US,
    HOUR_US,
    I64,
    NEVER_US,
    NONE,
    SECOND_US,
    Columns,
    Mask,
    whole_ms,
)
from asof.testing.bank.population import Period


class Fate(IntEnum):
    """What becomes of a transaction after its first row."""

    DIRECT = 0  # known as posted at once
    POSTS = 1  # pending, then posted, perhaps with another amount
    VANISHES = 2  # pending, then withdrawn by a delete row
    VOIDED = 3  # pending, then reversed: the authorisation was cancelled
    STAYS = 4  # pending for ever
    DISPUTED = 5  # pending, then posted, then reversed: charged back or returned


@dataclass(frozen=True)
class Flow(Columns):
    """One entry per transaction: who, when, what, and the instants at which its versions become known."""

    account: I64
    day: I64
    occurred_us: I64
    category: I64
    credit: Mask
    merchant: I64
    device: I64
    cents: I64  # of the first version
    final_cents: I64  # of the versions after it
    fate: I64
    known_us: I64  # first version
    next_us: I64  # second version, or NEVER_US
    last_us: I64  # third version, or NEVER_US

    @property
    def ledger_cents(self) -> I64:
        """What leaves or enters the account in the end; later disputes not counted."""
        gone = (self.fate == Fate.VANISHES) | (self.fate == Fate.VOIDED)
        return np.where(gone, 0, self.final_cents)


def plain_flow(
    account: I64, day: I64, occurred_us: I64, category: int, cents: I64, *, credit: Mask, known_us: I64
) -> Flow:
    """Transactions without merchant or device, known as posted at once: income, transfers, fees."""
    count = len(account)
    return Flow(
        account=account,
        day=day,
        occurred_us=occurred_us,
        category=np.full(count, category),
        credit=credit,
        merchant=np.full(count, NONE),
        device=np.full(count, NONE),
        cents=cents,
        final_cents=cents,
        fate=np.full(count, int(Fate.DIRECT)),
        known_us=known_us,
        next_us=np.full(count, NEVER_US),
        last_us=np.full(count, NEVER_US),
    )


def draw_lateness_us(count: int, rng: np.random.Generator, slow: float = 0.015) -> I64:
    """How late a row becomes known: seconds to minutes; 4 % some hours; a share `slow` one to four days."""
    late_us = rng.lognormal(np.log(20.0), 1.1, count) * SECOND_US
    u, size = rng.random(count), rng.random(count)
    late_us = np.where(u < slow + 0.04, HOUR_US + 11 * HOUR_US * size, late_us)
    late_us = np.where(u < slow, DAY_US + 3 * DAY_US * size, late_us)
    return whole_ms(late_us)


def draw_batch_us(period: Period, day: I64, rng: np.random.Generator) -> I64:
    """An instant in the nightly batch of each day: 02:00 to 07:00 local time."""
    return period.midnight_us(day) + whole_ms(2 * HOUR_US + 5 * HOUR_US * rng.random(len(day)))


def draw_daytime_us(count: int, rng: np.random.Generator, *, hour: float = 14.0, spread: float = 4.0) -> I64:
    """Times of day around an hour, in whole seconds: card terminals know no finer ones, so ties happen."""
    second = np.mod(rng.normal(hour * 3_600, spread * 3_600, count), 86_400)
    return second.astype(np.int64) * SECOND_US
