"""Secondary keys: `sum("amount").by("category")` is the sum over the finer entity (entity, category), read
back as a map.

Nothing about values is written here a second time: the rows are grouped again, every query asks once for each
key that its entity has, and `aggregate.evaluate` does the rest.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import cast

import numpy as np
import pyarrow as pa

from asof.compute import sort
from asof.compute.aggregate import evaluate
from asof.compute.arrays import Bools, Ints
from asof.compute.arrow_ops import kept, offsets_of, taken
from asof.compute.history import History
from asof.compute.windows import Locator, Queries
from asof.define.aggregation import Feature


@dataclass(frozen=True)
class _Fine:
    """The finer history, and the finer queries: which query each belongs to and which key it asks."""

    history: History
    query: Ints
    code: Ints
    group: Ints


def evaluate_map(feature: Feature, locator: Locator) -> pa.Array:
    """A map from the secondary key (as text) to the feature's value, for every query.

    Shape: `(m,)` queries -> `(m,)` maps, keys in ascending order; only keys with a visible row in the window
    that counts. A null secondary key counts nowhere.
    """
    coded = locator.history.columns[cast("str", feature.by)].coded()
    fine = _split(locator, coded.values, coded.valid, max(1, len(coded.dictionary or ())))
    own = _own_rows(feature, locator, fine, coded.values, coded.valid)
    queries = locator.queries
    finer = Queries(
        fine.group,
        queries.at[fine.query],
        queries.as_known[fine.query],
        end=None if queries.end is None else queries.end[fine.query],
    )
    inner = Locator(_with_own(fine.history, locator, fine.query), finer, own)
    plain = replace(feature, by=None)
    counts = evaluate(replace(plain, function="count", params=()), inner).values > 0
    values = kept(evaluate(plain, inner).to_arrow(), counts)
    keys = taken(cast("pa.Array", coded.dictionary), fine.code[counts]).cast(pa.string())
    lengths = np.bincount(fine.query[counts], minlength=queries.size)
    return pa.MapArray.from_arrays(offsets_of(lengths), keys, values)


def _split(locator: Locator, codes: Ints, valid: Bools, size: int) -> _Fine:
    history, queries = locator.history, locator.queries
    n = history.size
    owner = np.repeat(np.arange(history.starts.size - 1), np.diff(history.starts))
    pairs = owner * size + codes[:n]
    known_pairs = np.unique(pairs[valid[:n]])
    group = np.where(valid[:n], np.searchsorted(known_pairs, pairs), -1)
    starts = np.zeros(known_pairs.size + 1, np.int64)
    sort.group_starts(group, starts)
    order = np.empty(int(starts[-1]), np.int64)
    sort.scatter_order(group, starts, np.empty(known_pairs.size, np.int64), order)
    query, code = _asked(queries, known_pairs, size, _own_codes(history, codes, valid))
    asked = queries.group[query] * size + code
    place = np.searchsorted(known_pairs, asked)
    safe = np.minimum(place, max(known_pairs.size - 1, 0))
    found = (queries.group[query] >= 0) & (known_pairs.size > 0)
    if known_pairs.size:
        found &= known_pairs[safe] == asked
    return _Fine(_regroup(history, order, starts), query, code, np.where(found, safe, -1))


def _own_codes(history: History, codes: Ints, valid: Bools) -> Ints | None:
    if history.own == 0:
        return None
    return np.where(valid[history.size :], codes[history.size :], -1)


def _asked(queries: Queries, pairs: Ints, size: int, own: Ints | None) -> tuple[Ints, Ints]:
    """Each query with each key of its entity, and with its own row's key; sorted by query, then key."""
    first = np.searchsorted(pairs, queries.group * size)
    last = np.searchsorted(pairs, (queries.group + 1) * size)
    lengths = np.where(queries.group >= 0, last - first, 0)
    query = np.repeat(np.arange(queries.size), lengths)
    within = np.arange(query.size) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    code = pairs[first[query] + within] % size if query.size else np.empty(0, np.int64)
    if own is None:
        return query, code
    extra = np.flatnonzero(own >= 0)
    both = np.unique(np.concatenate([query * size + code, extra * size + own[extra]]))
    return both // size, both % size


def _regroup(history: History, order: Ints, starts: Ints) -> History:
    tail = np.arange(history.size, history.size + history.own)
    rows = np.concatenate([order, tail])
    return history.changed(
        starts=starts,
        event=history.event[rows],
        known=history.known[order],
        until=history.until[order] if history.until.size else history.until,
        columns={
            n: replace(c, values=c.values[rows], valid=c.valid[rows]) for n, c in history.columns.items()
        },
        predicates={sql: mask[rows] for sql, mask in history.predicates.items()},
        own_code=np.empty(0, np.int64),
    )


def _own_rows(feature: Feature, locator: Locator, fine: _Fine, codes: Ints, valid: Bools) -> Ints:
    """The own row of each finer query: that of its query, where it counts and has this key."""
    history = locator.history
    if history.own == 0:
        return np.full(fine.query.size, -1, np.int64)
    counts = locator.ranges(feature.window)[4][fine.query] >= 0
    row = history.size + fine.query
    mine = counts & valid[row] & (codes[row] == fine.code)
    return np.where(mine, fine.history.size + np.arange(fine.query.size), -1)


def _with_own(history: History, locator: Locator, query: Ints) -> History:
    """The finer history with one own row for each finer query."""
    if locator.history.own == 0:
        return history
    rows = np.concatenate([np.arange(history.size), history.size + query])
    return history.changed(
        event=history.event[rows],
        columns={
            n: replace(c, values=c.values[rows], valid=c.valid[rows]) for n, c in history.columns.items()
        },
        predicates={sql: mask[rows] for sql, mask in history.predicates.items()},
        own=query.size,
    )
