"""A simulated bank: accounts, transactions, and ACH debits that come back; any size, the same bytes for the same seed.

Start with `simulate`. What makes its data worth testing on:

- `transactions` is a source that revises itself: pending rows post with another amount (tips, fuel and travel holds,
  split shipments), vanish (a delete row), are reversed, or stay; some rows are delivered twice; some come days late.
- `ach_debits` are decision points: will this debit come back? `ach_returns` answers, within two banking days of
  settlement (R01 insufficient funds ...) or up to 60 calendar days later (R10 not authorised ...). About 4 % do.
- A debit comes back for reasons that can be seen coming, not for certain: the balance, which is in no table, falls
  short at settlement; a thief took over the account; the account is closed; or a customer simply objects.
- Hindsight pays, so that a leak shows. Four mechanisms make features that read the newest version of history better
  than features as known: (1) a returned or charged-back transaction keeps its event time when it turns `reversed`,
  days to months later; (2) a thief's purchases come before his debits and are reversed after them; (3) late rows and
  posted amounts make sums exact that were not when the decision was made; (4) returns become known hours to days after
  `returned_at`, and a profile is cut with effect from the return, before anybody could know. A boosted model whose
  features were computed with hindsight promises about a fifth more average precision than one with features as known,
  and when it then has to live on features as known it delivers a third less.

The files, in reading order: schema, columns, population, flows, purchases, payments, devices, takeover, ledger,
returns, revisions, profiles, arrow, tables, extract, simulator.
"""

from __future__ import annotations

from asof.testing.bank.extract import Bank
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
from asof.testing.bank.simulator import simulate, size_for_events

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
