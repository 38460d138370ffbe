"""The ledger: balances day by day, and what they decide.

The invariant: one pass over the days, vectorised over accounts; a day's order is pay, debits that settle, purchases,
savings. A debit that is not covered at settlement comes back (R01, or R09 when only uncollected money would cover it),
a debit on a closed account comes back as R02, a purchase that is not covered is declined. Read returns.py next.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from asof.testing.bank.columns import I64, NONE, Columns, Mask
from asof.testing.bank.flows import Flow
from asof.testing.bank.payments import CODES, R03, R07, R10, R11, Debits
from asof.testing.bank.population import Accounts, Period

R01, R02, R09 = (CODES.index(code) for code in ("R01", "R02", "R09"))
LATE_CLAIMS = (R07, R10, R11)
_COURTESY = 0.10  # share of uncovered debits that the bank pays all the same
_FEE_SHARE = 0.55


@dataclass(frozen=True)
class Moves(Columns):
    """Money that moves because of a balance: transfers and fees, one entry each."""

    account: I64
    day: I64
    cents: I64  # negative when money leaves


@dataclass(frozen=True)
class Outcome:
    """What the ledger decided."""

    code: I64  # of each debit: index of the return code, or NONE
    declined: Mask  # of each purchase
    transfers: Moves
    fees: Moves


def run_ledger(
    accounts: Accounts,
    period: Period,
    income: Flow,
    purchases: Flow,
    debits: Debits,
    rng: np.random.Generator,
) -> Outcome:
    """Every balance through every day; debits and purchases that lie behind the period keep their plan."""
    ledger = _Ledger(accounts, period, income, purchases, debits, rng)
    for day in range(period.days):
        ledger.pay(day)
        if ledger.is_banking_day[day]:
            ledger.settle(day)
        ledger.spend(day)
        ledger.move_savings(day)
    return Outcome(
        ledger.code,
        ledger.declined,
        Moves.join([Moves(*(np.empty(0, dtype=np.int64),) * 3), *ledger.transfers]),
        Moves.join([Moves(*(np.empty(0, dtype=np.int64),) * 3), *ledger.fees]),
    )


class _Ledger:
    """The state of all accounts, moved forward day by day."""

    def __init__(
        self,
        accounts: Accounts,
        period: Period,
        income: Flow,
        purchases: Flow,
        debits: Debits,
        rng: np.random.Generator,
    ) -> None:
        self.accounts = accounts
        self.rng = rng
        self.balance = accounts.opening_balance.copy()
        self.uncollected = np.zeros(len(accounts), dtype=np.int64)
        self.is_banking_day = period.is_banking_day(np.arange(period.days))
        self.income, self.income_on = income, _DayIndex(income.day, period.days)
        self.income_cents = income.ledger_cents
        self.purchases, self.purchases_on = purchases, _DayIndex(purchases.day, period.days)
        self.purchase_cents = purchases.ledger_cents
        self.debits, self.debits_on = debits, _DayIndex(debits.settle, period.days, debits.account)
        self.earlier = _earlier_same_day(debits, self.debits_on.order)
        self.refunds_on = _DayIndex(
            np.maximum(debits.day + debits.claim_days, debits.settle + 1), period.days
        )
        self.code = debits.claim.copy()
        self.taken = np.zeros(len(debits), dtype=np.bool_)
        self.declined = np.zeros(len(purchases), dtype=np.bool_)
        self.transfers: list[Moves] = []
        self.fees: list[Moves] = []

    def pay(self, day: int) -> None:
        """Pay comes in, and what was claimed back as unauthorised."""
        paid = self.income_on[day]
        self._add(self.income.account[paid], self.income_cents[paid])
        claimed = self.refunds_on[day]
        claimed = claimed[self.taken[claimed] & np.isin(self.debits.claim[claimed], LATE_CLAIMS)]
        self._add(self.debits.account[claimed], self.debits.cents[claimed])

    def settle(self, day: int) -> None:
        """Debits that are due are paid or come back; some that come back cost a fee."""
        due = self.debits_on[day]
        account, cents, claim = self.debits.account[due], self.debits.cents[due], self.debits.claim[due]
        unseen = 0.05 * self.accounts.income[account] * self.rng.standard_normal(len(due))
        available = self.balance[account] + self.accounts.cushion[account] + unseen - self.earlier[due]
        covered = available - self.uncollected[account] >= cents
        covered |= self.rng.random(len(due)) < _COURTESY
        short = np.where(available >= cents, R09, R01)
        code = np.select(
            [self.accounts.closed[account] <= day, claim == R03, ~covered], [R02, R03, short], default=claim
        )
        self.code[due] = code
        taken = (code == NONE) | np.isin(code, LATE_CLAIMS)
        self.taken[due] = taken
        self._add(account[taken], -cents[taken])
        charged = account[np.isin(code, (R01, R09)) & (self.rng.random(len(due)) < _FEE_SHARE)]
        self._move(self.fees, charged, day, np.full(len(charged), -3_400))

    def spend(self, day: int) -> None:
        """Purchases are paid, or declined when the account does not cover them."""
        tried = self.purchases_on[day]
        account = self.purchases.account[tried]
        limit = self.balance[account] + self.accounts.cushion[account] * 0.5
        declined = (limit < self.purchases.cents[tried]) & (self.rng.random(len(tried)) < 0.93)
        self.declined[tried] = declined
        self._add(account[~declined], -self.purchase_cents[tried][~declined])

    def move_savings(self, day: int) -> None:
        """Much money goes to savings; those who have savings top up when little is left, the others seldom can."""
        income, balance = self.accounts.income, self.balance
        u, size = self.rng.random((2, len(balance)))
        active = (self.accounts.opened <= day) & (day < self.accounts.closed)
        out = active & (balance > self.accounts.target) & (u < 0.12)
        help_rate = np.where(self.accounts.has_savings, 0.30, 0.025)
        topped = active & (balance < 0.06 * income) & (u < help_rate)
        amount = np.where(out, -0.6 * (balance - 0.5 * self.accounts.target), income * (0.08 + 0.25 * size))
        cents = (amount / 1_000).astype(np.int64) * 1_000
        moved = np.flatnonzero((out | topped) & (cents != 0))
        self.uncollected = np.zeros(len(balance), dtype=np.int64)
        np.add.at(self.uncollected, moved, np.maximum(cents[moved], 0))
        self._move(self.transfers, moved, day, cents[moved])

    def _move(self, moves: list[Moves], account: I64, day: int, cents: I64) -> None:
        moves.append(Moves(account, np.full(len(account), day), cents))
        self._add(account, cents)

    def _add(self, account: I64, cents: I64) -> None:
        np.add.at(self.balance, account, cents)


class _DayIndex:
    """The entries of each day: `index[day]` is an array of positions, in a stable order."""

    def __init__(self, day: I64, days: int, then: I64 | None = None) -> None:
        keys = (day,) if then is None else (then, day)
        self.order: I64 = np.lexsort(keys)
        self._bounds = np.searchsorted(day[self.order], np.arange(days + 1)).tolist()

    def __getitem__(self, day: int) -> I64:
        return self.order[self._bounds[day] : self._bounds[day + 1]]


def _earlier_same_day(debits: Debits, order: I64) -> I64:
    """For each debit, the cents of the same account's debits that settle before it on the same day."""
    account, settle, cents = debits.account[order], debits.settle[order], debits.cents[order]
    total = np.cumsum(cents) - cents
    first = np.ones(len(order), dtype=np.bool_)
    first[1:] = (account[1:] != account[:-1]) | (settle[1:] != settle[:-1])
    start = np.maximum.accumulate(np.where(first, np.arange(len(order)), 0))
    earlier = np.empty_like(cents)
    earlier[order] = total - total[start]
    return earlier
