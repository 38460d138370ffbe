"""A simulated bank: accounts, their transactions, and ACH debits that are returned, any size, the same for the same seed.

Start with `simulate`. What makes its data worth testing on:

- `transactions` is a source that revises itself: pending rows post with another amount (tips, fuel and travel holds,
  split shipments), vanish (a delete row), are reversed, or stay; some rows are delivered twice; some come days late.
- `ach_debits` are decision points: will this debit be returned? `ach_returns` answers, within two banking days (R01 ...)
  or up to 60 calendar days later (R10 ...). Between 2 and 5 % of the debits come back.
- Hindsight pays. Four things make features that look at the newest version of history better than features as known:
  a returned or charged-back debit keeps its event time when it becomes `reversed`, weeks later; the purchases of a
  thief are reversed after the debits that they warn of; late rows and posted amounts make balances look exact that were
  not; and a profile is cut with effect from the return, before anybody knows of it.

The files, in reading order: schema, columns, population, flows, purchases, payments, devices, takeover, ledger, returns,
revisions, profiles, arrow, tables.
"""

from __future__ import annotations

from asof.testing.bank.schema import (
    ACH_DEBITS,
    ACH_RETURNS,
    CATEGORIES,
    LOGINS,
    PROFILES,
    RETURN_CODES,
    SCHEMAS,
    SEGMENTS,
    TRANSACTIONS,
    ReturnCode,
    Segment,
)
from asof.testing.bank.simulator import Bank, simulate, size_for_events

__all__ = [
    "ACH_DEBITS",
    "ACH_RETURNS",
    "CATEGORIES",
    "LOGINS",
    "PROFILES",
    "RETURN_CODES",
    "SCHEMAS",
    "SEGMENTS",
    "TRANSACTIONS",
    "Bank",
    "ReturnCode",
    "Segment",
    "simulate",
    "size_for_events",
]
