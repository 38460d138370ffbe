"""From transactions to rows: versions, deletes, duplicated deliveries, in the order in which they become known.

The invariants: the versions of one transaction share everything but status, amount and known-at time, and each becomes
known after the one before. A duplicate is the identical row with a later known-at time, and always comes before the
next version, so that "the newest known row wins" gives the same answer with and without duplicates. Nothing known
at or after the extract is kept.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from asof.testing.bank.columns import I64, MINUTE_US, NEVER_US, SECOND_US, Columns, Mask, whole_ms
from asof.testing.bank.flows import Fate, Flow
from asof.testing.bank.schema import STATUSES

_PENDING, _POSTED, _REVERSED = range(len(STATUSES))
_DUPLICATED = 0.012
# Statuses of the first, second and third version, by fate; -1 where there is none.
_STATUS = np.full((len(Fate), 3), -1)
_STATUS[Fate.DIRECT, 0] = _POSTED
_STATUS[Fate.POSTS, :2] = _PENDING, _POSTED
_STATUS[Fate.VANISHES, :2] = _PENDING, _PENDING
_STATUS[Fate.VOIDED, :2] = _PENDING, _REVERSED
_STATUS[Fate.STAYS, 0] = _PENDING
_STATUS[Fate.DISPUTED] = _PENDING, _POSTED, _REVERSED


@dataclass(frozen=True)
class Versions(Columns):
    """One entry per row of the table of transactions."""

    transaction: I64  # position in the flow
    status: I64
    cents: I64
    deleted: Mask
    known_us: I64


def number_transactions(flow: Flow) -> I64:
    """The number of each transaction, from 1, in the order in which they become known."""
    order = np.argsort(flow.known_us, kind="stable")
    number = np.empty(len(flow), dtype=np.int64)
    number[order] = np.arange(1, len(flow) + 1)
    return number


def write_versions(flow: Flow, end_us: int, rng: np.random.Generator) -> Versions:
    """All rows in file order: the order of ingestion, in which event times are out of order."""
    known_us = _known_us(flow)
    versions = Versions.join([_version(flow, known_us, turn) for turn in range(3)])
    next_us = np.concatenate([known_us[:, 1], known_us[:, 2], np.full(len(flow), NEVER_US)])
    kept = versions.known_us < end_us
    versions = Versions.join(
        [versions.take(kept), _duplicates(versions.take(kept), next_us[kept], end_us, rng)]
    )
    return versions.take(np.argsort(versions.known_us, kind="stable"))


def _known_us(flow: Flow) -> I64:
    """When each version becomes known (transactions x 3): NEVER_US where there is none, else strictly increasing."""
    planned = np.stack([flow.known_us, flow.next_us, flow.last_us], axis=1)
    planned[_STATUS[flow.fate] < 0] = NEVER_US
    for turn in (1, 2):
        after = planned[:, turn - 1] + SECOND_US
        exists = planned[:, turn] != NEVER_US
        planned[exists, turn] = np.maximum(planned[exists, turn], after[exists])
    return planned


def _version(flow: Flow, known_us: I64, turn: int) -> Versions:
    exists = known_us[:, turn] != NEVER_US
    deleted = flow.fate == Fate.VANISHES if turn == 1 else np.zeros(len(flow), dtype=np.bool_)
    return Versions(
        transaction=np.arange(len(flow)),
        status=_STATUS[flow.fate, turn],
        cents=flow.cents if turn == 0 else flow.final_cents,
        deleted=deleted & exists,
        known_us=known_us[:, turn],
    )


def _duplicates(versions: Versions, next_us: I64, end_us: int, rng: np.random.Generator) -> Versions:
    """Second deliveries of some rows, minutes to days later but before the next version and the extract."""
    again = np.flatnonzero(rng.random(len(versions)) < _DUPLICATED)
    later_us = MINUTE_US * rng.lognormal(np.log(30.0), 1.6, len(again))
    copies = versions.take(again)
    known_us = copies.known_us + 1_000 + whole_ms(later_us)
    in_time = (known_us < next_us[again]) & (known_us < end_us)
    return Versions(copies.transaction, copies.status, copies.cents, copies.deleted, known_us).take(in_time)
