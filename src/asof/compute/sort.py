"""Ordering rows: by entity, then event time, known-at time and arrival, without a general sort.

A counting sort by entity keeps the order of arrival, and histories mostly arrive in the order of time, so
what is left is to check each entity and to sort the few that need it.
"""

# ruff: noqa: ANN001, ANN202, ANN201
# pyright: reportMissingParameterType=false, reportUnknownParameterType=false, reportUnknownVariableType=false
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUntypedFunctionDecorator=false

from __future__ import annotations

import numpy as np

from asof.compute._jit import in_chunks, kernel
from asof.compute.arrays import Array, Ints

_SMALL = 48


@kernel
def group_starts(group, starts):
    """starts[g] = number of rows of groups before g; rows with a negative group are left out."""
    starts[:] = 0
    for i in range(group.size):
        if group[i] >= 0:
            starts[group[i] + 1] += 1
    for g in range(1, starts.size):
        starts[g] += starts[g - 1]


@kernel
def scatter_order(group, starts, cursor, order):
    """Positions of the rows of each group, in order of arrival."""
    for g in range(cursor.size):
        cursor[g] = starts[g]
    for i in range(group.size):
        g = group[i]
        if g >= 0:
            order[cursor[g]] = i
            cursor[g] += 1


@kernel
def _after(event, known, i, j):
    """True where row i stands after row j by (event time, known-at); equal rows keep their order."""
    return event[i] > event[j] or (event[i] == event[j] and known[i] > known[j])


@kernel
def in_order(event, known):
    """True where rows arrive in the order of (event time, known-at), so that no entity needs sorting."""
    for i in range(1, event.size):
        if event[i - 1] > event[i] or (event[i - 1] == event[i] and known[i - 1] > known[i]):
            return False
    return True


@kernel
def sort_groups(starts, event, known, order, g0, g1):
    """Sort each group's positions by (event time, known-at), keeping the order of arrival of equals."""
    for g in range(g0, g1):
        start = starts[g]
        stop = starts[g + 1]
        moves = 0
        for k in range(start + 1, stop):
            if _after(event, known, order[k - 1], order[k]):
                moves += 1
        if moves == 0:
            continue
        if stop - start > 48 and moves > 8:
            part = order[start:stop].copy()
            by_known = np.argsort(known[part], kind="mergesort")
            part = part[by_known]
            by_event = np.argsort(event[part], kind="mergesort")
            order[start:stop] = part[by_event]
            continue
        for k in range(start + 1, stop):
            row = order[k]
            j = k - 1
            while j >= start and _after(event, known, order[j], row):
                order[j + 1] = order[j]
                j -= 1
            order[j + 1] = row


@kernel
def take_ints(values, order, start, stop, out):
    """out[i] = values[order[i]]."""
    for i in range(start, stop):
        out[i] = values[order[i]]


@kernel
def running_max(starts, values, g0, g1, out):
    """Running maximum of values within each group."""
    for g in range(g0, g1):
        top = -(2**62)
        for i in range(starts[g], starts[g + 1]):
            top = max(top, values[i])
            out[i] = top


def order_rows(group: Ints, groups: int, event: Ints, known: Ints, threads: int) -> tuple[Ints, Ints]:
    """The rows' positions by (group, event time, known-at, arrival), and where each group starts.

    Shape: `(n,)` rows in `groups` groups -> `(m,)` positions, m <= n (rows with a negative group are left
    out), and `(groups + 1,)` starts.
    """
    starts = np.zeros(groups + 1, np.int64)
    group_starts(group, starts)
    order = np.empty(int(starts[-1]), np.int64)
    scatter_order(group, starts, np.empty(groups, np.int64), order)
    if not in_order(event, known):
        in_chunks(groups, threads, lambda g0, g1: sort_groups(starts, event, known, order, g0, g1))
    return order, starts


def take(values: Array, order: Ints, threads: int, extra: int = 0) -> Array:
    """`values[order]` on all threads, with room for `extra` rows at the end (uninitialised)."""
    out = np.empty(order.size + extra, values.dtype)
    in_chunks(order.size, threads, lambda start, stop: take_ints(values, order, start, stop, out))
    return out
