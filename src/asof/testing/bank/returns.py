"""ACH returns: when a returned debit comes back, when that is known, and what the account's transactions then show.

The invariant: codes of the bank (R01, R02, R03, R08, R09, R29) come back on the first or second banking day after
settlement, claims of consumers (R07, R10, R11) within 60 calendar days of initiation, so of settlement too.
"""

from __future__ import annotations

import numpy as np

from asof.compute.calendar import add_banking_days
from asof.testing.bank.columns import DAY_US, HOUR_US, I64, MINUTE_US, NEVER_US, NONE, pick, whole_ms
from asof.testing.bank.flows import Fate, Flow, draw_batch_us, draw_lateness_us
from asof.testing.bank.ledger import LATE_CLAIMS, R02
from asof.testing.bank.payments import R03, Debits
from asof.testing.bank.population import Period
from asof.testing.bank.schema import ACH
from asof.testing.bank.tables import Returns


def draw_returns(debits: Debits, code: I64, period: Period, rng: np.random.Generator) -> Returns:
    """The returns of all debits that have a code."""
    debit = np.flatnonzero(code != NONE)
    count = len(debit)
    settle = debits.settle[debit] + period.first_day
    by_bank = add_banking_days(settle, 1 + pick([0.7, 0.3], rng.random(count)))
    claimed = debits.day[debit] + debits.claim_days[debit] + period.first_day
    by_customer = add_banking_days(np.maximum(claimed, settle + 1), 0)
    late = np.isin(code[debit], LATE_CLAIMS)
    day = np.where(late, by_customer, by_bank) - period.first_day
    returned_us = period.midnight_us(day) + whole_ms(8 * HOUR_US + 9 * HOUR_US * rng.random(count))
    u, size = rng.random(count), rng.random(count)
    lag_us = np.where(u < 0.7, HOUR_US + 5 * HOUR_US * size, 6 * HOUR_US + 24 * HOUR_US * size)
    lag_us = np.where(u > 0.90, 2 * DAY_US + 4 * DAY_US * size, lag_us)
    return Returns(debit, code[debit], returned_us, returned_us + whole_ms(lag_us))


def debits_as_transactions(
    debits: Debits, code: I64, returns: Returns, period: Period, rng: np.random.Generator
) -> Flow:
    """Each debit as a transaction: pending, posted in the batch of its settlement, reversed once its return is known.

    A debit for an account that is closed or not found never posts.
    """
    count = len(debits)
    reversed_us = np.full(count, NEVER_US)
    minutes_us = whole_ms(MINUTE_US * rng.uniform(1.0, 30.0, len(returns)))
    reversed_us[returns.debit] = returns.known_us + minutes_us
    never_posts = (code == R02) | (code == R03)
    posted_us = draw_batch_us(period, debits.settle, rng)
    fate = np.select(
        [code == NONE, never_posts], [int(Fate.POSTS), int(Fate.VOIDED)], default=int(Fate.DISPUTED)
    )
    return Flow(
        account=debits.account,
        day=debits.day,
        occurred_us=debits.initiated_us,
        category=np.full(count, ACH),
        credit=np.zeros(count, dtype=np.bool_),
        merchant=debits.merchant,
        device=debits.device,
        cents=debits.cents,
        final_cents=debits.cents,
        fate=fate,
        known_us=debits.initiated_us + draw_lateness_us(count, rng, 0.004),
        next_us=np.where(never_posts, reversed_us, posted_us),
        last_us=np.where(never_posts, NEVER_US, reversed_us),
    )
