"""Latest values without a sort: each row goes to the first spine row that can see it, then the newest is
carried forward.

For histories that are never revised. Rows stream through in batches in order of arrival; what is kept is one
best row for each spine row, so memory does not grow with the history. `aggregate._latest` gives the same
answers from a sorted history.
"""

# ruff: noqa: ANN001, ANN202
# pyright: reportUnknownParameterType=false, reportMissingParameterType=false, reportUntypedFunctionDecorator=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false

from __future__ import annotations

import numpy as np

from asof.compute._jit import kernel
from asof.compute.arrays import Ints
from asof.define.window import BEGIN_US


@kernel
def _scatter(
    group, event, known, limit, hindsight, starts, at, best_event, best_known, best_row, number, best_batch
):
    """Offer each row to the first query of its entity that sees it; larger (event, known, arrival) wins."""
    for i in range(group.size):
        g = group[i]
        if g < 0 or known[i] > limit:
            continue
        seen = event[i] if hindsight or event[i] > known[i] else known[i]
        low = starts[g]
        high = stop = starts[g + 1]
        while low < high:
            middle = (low + high) >> 1
            if at[middle] < seen:
                low = middle + 1
            else:
                high = middle
        if low == stop:
            continue
        e = best_event[low]
        if event[i] > e or (event[i] == e and known[i] >= best_known[low]):
            best_event[low] = event[i]
            best_known[low] = known[i]
            best_row[low] = i
            best_batch[low] = number


@kernel
def _carry(starts, event, known, batch, winner):
    """For each query the query whose best row it sees: its own, or an earlier one's that is newer.

    Two queries never hold rows of equal (event, known): such rows are first seen by the same query.
    """
    for g in range(starts.size - 1):
        best = -1
        for j in range(starts[g], starts[g + 1]):
            newer = best < 0 or event[j] > event[best] or (event[j] == event[best] and known[j] > known[best])
            if batch[j] >= 0 and newer:
                best = j
            winner[j] = best


class AsOf:
    """The newest visible row of each query, found while rows stream by.

    Shape: `(m,)` queries in order of (entity, instant), `starts` of each entity. Call `offer` for each batch
    and take the rows that it names; `winners` says at the end which of them each query sees (-1: none).
    """

    def __init__(self, starts: Ints, at: Ints, *, limit_us: int, hindsight: bool) -> None:
        self.starts, self.at = starts, at
        self.limit_us, self.hindsight = limit_us, hindsight
        self.event = np.full(at.size, BEGIN_US, np.int64)
        self.known = np.full(at.size, BEGIN_US, np.int64)
        self.row = np.zeros(at.size, np.int64)
        self.batch = np.full(at.size, -1, np.int64)
        self._number = 0

    def offer(self, group: Ints, event: Ints, known: Ints) -> tuple[Ints, Ints]:
        """Offer one batch; gives the queries that now have a better row, and that row's place in the batch."""
        _scatter(
            group, event, known, self.limit_us, self.hindsight, self.starts, self.at,
            self.event, self.known, self.row, self._number, self.batch,
        )  # fmt: skip
        better = np.flatnonzero(self.batch == self._number)
        self._number += 1
        return better, self.row[better]

    def winners(self) -> Ints:
        """For each query the query whose kept row is its newest visible one; -1 where there is none."""
        winner = np.full(self.at.size, -1, np.int64)
        _carry(self.starts, self.event, self.known, self.batch, winner)
        return winner
