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
def _first(at, start, stop, instant):
    """First query in [start, stop) at or after an instant.

    The twin of `kernels.lower_bound`: Numba renews its cache by the file, so a kernel's callees stand beside it.
    """
    while start < stop:
        middle = (start + stop) >> 1
        if at[middle] < instant:
            start = middle + 1
        else:
            stop = middle
    return start


@kernel
def _place(at, start, stop, near, instant):
    """`_first`, when the answer is likely `near`: rows mostly arrive in the order of time."""
    if start <= near < stop and at[near] >= instant and (near == start or at[near - 1] < instant):
        return near
    return _first(at, start, stop, instant)


@kernel
def _scatter(group, event, known, limit, hindsight, at, near, best, number, hidden):
    """Offer each row to the first query of its entity that sees it; larger (event, known, arrival) wins.

    `near` holds (first query, last query + 1, the query found last) of each entity, `best` (event, known, row,
    batch) of each query; `hidden` counts, as differences along the queries, the
    rows that had happened and were not known yet.
    """
    for i in range(group.size):
        g = group[i]
        if g < 0:
            continue
        stop = near[g, 1]
        place = _place(at, near[g, 0], stop, near[g, 2], event[i])
        if not hindsight and (known[i] > event[i] or known[i] > limit) and place < stop:
            hidden[place] += 1
            place = _first(at, place, stop, known[i])
            if place < stop and known[i] <= limit:
                hidden[place] -= 1
        near[g, 2] = place
        if place == stop or known[i] > limit:
            continue
        e = best[place, 0]
        if event[i] > e or (event[i] == e and known[i] >= best[place, 1]):
            best[place, 0] = event[i]
            best[place, 1] = known[i]
            best[place, 2] = i
            best[place, 3] = number


@kernel
def _running(starts, differences, out):
    """Running sums of differences along each entity's queries."""
    for g in range(starts.size - 1):
        total = 0
        for j in range(starts[g], starts[g + 1]):
            total += differences[j]
            out[j] = total


@kernel
def _carry(starts, best, winner):
    """For each query the query whose best row it sees: its own, or an earlier one's that is newer.

    Two queries never hold rows of equal (event, known): such rows are first seen by the same query.
    """
    for g in range(starts.size - 1):
        top = -1
        for j in range(starts[g], starts[g + 1]):
            newer = (
                top < 0
                or best[j, 0] > best[top, 0]
                or (best[j, 0] == best[top, 0] and best[j, 1] > best[top, 1])
            )
            if best[j, 3] >= 0 and newer:
                top = j
            winner[j] = top


class AsOf:
    """The newest visible row of each query, found while rows stream by.

    Shape: `(m,)` queries in order of (entity, instant), `starts` of each entity. Call `offer` for each batch and
    take the rows that it names; `winners` says at the end which of them each query sees (-1: none).
    """

    def __init__(self, starts: Ints, at: Ints, *, limit_us: int, hindsight: bool) -> None:
        self.starts, self.at = starts, at
        self.limit_us, self.hindsight = limit_us, hindsight
        self._best = np.full(
            (at.size, 4), BEGIN_US, np.int64
        )  # event, known, row in its batch, number of the batch
        self._best[:, 3] = -1
        self._near = np.stack([starts[:-1], starts[1:], starts[:-1]], axis=1)
        self._hidden = np.zeros(at.size, np.int64)
        self._number = 0

    def offer(self, group: Ints, event: Ints, known: Ints) -> tuple[Ints, Ints]:
        """Offer one batch; gives the queries that now have a better row, and that row's place in the batch."""
        _scatter(
            group, event, known, self.limit_us, self.hindsight, self.at, self._near, self._best,
            self._number, self._hidden,
        )  # fmt: skip
        better = np.flatnonzero(self._best[:, 3] == self._number)
        self._number += 1
        return better, self._best[better, 2]

    def hidden(self) -> Ints:
        """For each query the rows that had happened and were not known yet: what hindsight would have leaked."""
        out = np.zeros(self.at.size, np.int64)
        _running(self.starts, self._hidden, out)
        return out

    def winners(self) -> Ints:
        """For each query the query whose kept row is its newest visible one; -1 where there is none."""
        winner = np.full(self.at.size, -1, np.int64)
        _carry(self.starts, self._best, winner)
        return winner
