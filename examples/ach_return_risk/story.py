"""One account's spending over time, as it was known and as it turned out: the numbers behind the picture.

Both lines are features asked for every three hours; nothing is computed here that a training set would not give.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from asof import Project
from asof.clock import from_us, to_us
from asof.define.feature_view import FeatureView

FEATURE, WINDOW = "spent_sum_30d", timedelta(days=30)
BEFORE, AFTER, EVERY = timedelta(days=24), timedelta(days=32), timedelta(hours=3)
SHOWN = 7
LONG = timedelta(days=1)


@dataclass(frozen=True)
class Change:
    """A transaction that counted as spent from `known_at` on, until it was withdrawn (or that came late: then it should
    have counted from `occurred_at` on).
    """

    amount: float
    what: str
    begin: datetime
    end: datetime
    late: bool


@dataclass(frozen=True)
class Story:
    """An account's 30-day spending at some instants, known and with hindsight, and the changes that tell them apart."""

    account_id: str
    at: NDArray[np.datetime64]
    known: NDArray[np.float64]
    hindsight: NDArray[np.float64]
    changes: list[Change]


def tell(project: Project, known: pa.Table, hindsight: pa.Table, transactions: str) -> Story:
    """The story of the account on which what was known differed most from what turned out."""
    row = choose(known, hindsight)
    account, at = (known[name][row].as_py() for name in ("account_id", "occurred_at"))
    times = np.arange(to_us(at - BEFORE), to_us(at + AFTER), _us(EVERY))
    spine = pa.table({
        "account_id": pa.array([account] * times.size),
        "event_time": pa.array(times, pa.timestamp("us", "UTC")),
    })  # fmt: skip
    view = cast("FeatureView", project.definitions.get("feature_view", "account_activity"))
    lines = [
        _floats(project.training_set([view[FEATURE]], spine=spine, as_known=as_known).table[FEATURE])
        for as_known in (True, False)
    ]
    changes = changes_of(transactions, account, from_us(int(times[0])), from_us(int(times[-1])))
    return Story(account, times.astype("datetime64[us]"), *lines, changes)


def _us(length: timedelta) -> int:
    return length // timedelta(microseconds=1)


def choose(known: pa.Table, hindsight: pa.Table) -> int:
    """The debit at which known and later spending differ most, relative to the latter.

    Considered are debits with a whole story around them, of accounts that spend at least as much as half of them do,
    where four transactions of the last 30 days were reversed later (where there are none, those with most of them).
    """
    at = known["occurred_at"].cast(pa.int64()).to_numpy()
    whole = (at - at.min() >= _us(WINDOW + BEFORE)) & (at.max() - at >= _us(AFTER))
    then, later = (_floats(table[FEATURE]) for table in (known, hindsight))
    reversed_later = _floats(hindsight["reversed_30d"]) - _floats(known["reversed_30d"])
    gap = np.abs(then - later) / np.maximum(later, 1.0)
    most = float(reversed_later[whole].max()) if whole.any() else 0.0
    enough = (later >= np.median(later)) & (reversed_later >= min(4.0, most))
    return int(np.lexsort((gap, enough, whole))[-1])


def changes_of(transactions: str, account: str, begin: datetime, end: datetime) -> list[Change]:
    """The largest transactions of the account that were reversed, or known, days after they happened."""
    rows = pq.read_table(transactions, filters=[("account_id", "=", account), ("direction", "=", "debit")])
    versions: dict[str, list[dict[str, Any]]] = {}
    for row in rows.sort_by("ingested_at").to_pylist():
        versions.setdefault(row["transaction_id"], []).append(row)
    found = [change for history in versions.values() for change in _change(history)]
    found = [change for change in found if change.end >= begin and change.begin <= end]
    largest = sorted(found, key=lambda change: -change.amount)[:SHOWN]
    return sorted(largest, key=lambda change: change.begin)


def _change(history: list[dict[str, Any]]) -> list[Change]:
    first, last = history[0], history[-1]
    amount, what = float(first["amount"]), str(first["category"])
    happened, known, ended = first["occurred_at"], first["ingested_at"], last["ingested_at"]
    if last["status"] == "reversed" and ended - known > LONG:
        return [Change(amount, what, known, ended, late=False)]
    if known - happened > LONG and last["status"] != "reversed" and not last["deleted"]:
        return [Change(amount, what, happened, known, late=True)]
    return []


def _floats(column: pa.ChunkedArray) -> NDArray[np.float64]:
    return pc.cast(column, pa.float64()).to_numpy()
