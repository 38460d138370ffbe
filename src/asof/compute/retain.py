"""Which rows of a history a record has to keep, so that every window can be answered from some instant on.

The instant is the record's floor: whoever asks at it or later gets what the whole history would have given.
"""

# ruff: noqa: ANN001, ANN201 - kernels are loops over arrays, written out
# pyright: reportMissingParameterType=false, reportUnknownParameterType=false, reportUnknownVariableType=false
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUntypedFunctionDecorator=false

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from asof.compute._jit import kernel
from asof.compute.arrays import Bools
from asof.compute.history import History
from asof.define.aggregation import Feature
from asof.define.window import BEGIN_US

Edge = tuple[str | None, str | None, int, bool]
_ENDS = {"first", "last", "latest"}


@dataclass(frozen=True)
class Retention:
    """How far back rows are kept (`reach_us`, None: all of them), and beyond that so many of the newest or oldest that
    count for a column and a predicate: `(column, predicate, n, newest)`.
    """

    reach_us: int | None
    edges: tuple[Edge, ...]


def retention_of(features: Iterable[Feature], *, revised: bool) -> Retention:
    """What the features of a view need.

    Of a source that is revised, a row may be withdrawn, so that no number of newest rows is enough: all within reach
    are kept.
    """
    reach: list[int | None] = [0]
    edges: dict[Edge, None] = {}
    for feature in features:
        window, n = feature.window, int(feature.param("n", 1))
        lifetime = window.size_us is None
        bounded = feature.function in _ENDS and not revised and not feature.by and not window.offset_us
        if feature.function == "first" and not lifetime:
            bounded = False
        if not bounded:
            reach.append(window.reach_us)
        elif feature.function == "latest":
            edges[None, feature.predicate, 1, True] = None
        else:
            edges[feature.column, feature.predicate, n, feature.function == "last"] = None
    if edges:
        edges[None, None, 1, True] = None  # how fresh an entity is, is told by its newest event
    least = None if None in reach else max(us for us in reach if us is not None)
    return Retention(least, tuple(edges))


@kernel
def keep_edges(starts, known, until, counts, floor, n, newest, keep):
    """Keeps the n newest (or oldest) rows of each group that count and are settled at the floor."""
    for g in range(starts.size - 1):
        left = n
        size = starts[g + 1] - starts[g]
        for j in range(size):
            i = starts[g + 1] - 1 - j if newest else starts[g] + j
            if left > 0 and counts[i] and known[i] <= floor and until[i] > floor:
                keep[i] = True
                left -= 1


def needed(history: History, retention: Retention, floor_us: int) -> Bools:
    """True for the rows that somebody who asks at the floor or later can still count.

    Rows that are superseded by then count for nobody; rows that become known later are kept, however old.
    """
    if retention.reach_us is None:
        keep = np.ones(history.size, np.bool_)
    else:
        keep = history.event >= max(BEGIN_US, floor_us - retention.reach_us)
        if retention.edges:
            keep |= history.known > floor_us
    until = history.until if history.until.size else np.full(history.size, 2**62, np.int64)
    for column, predicate, n, newest in retention.edges:
        counts = history.mask(column, predicate)
        keep_edges(history.starts, history.known, until, counts, floor_us, n, newest, keep)
    return keep & (until > floor_us)


def compacted(history: History, retention: Retention, floor_us: int) -> History:
    """The history without the rows that nobody needs; groups may become empty."""
    keep = needed(history, retention, floor_us)
    return history if keep.all() else filtered(history, keep)


def filtered(history: History, keep: Bools) -> History:
    """The history with these rows only."""
    counts = np.zeros(history.size + 1, np.int64)
    np.cumsum(keep, out=counts[1:])
    known = history.known
    return history.changed(
        starts=counts[history.starts],
        event=history.event[keep],
        known=history.event[keep] if known is history.event else known[keep],
        until=history.until[keep] if history.until.size else history.until,
        columns={
            name: replace(
                column, values=column.values[: keep.size][keep], valid=column.valid[: keep.size][keep]
            )
            for name, column in history.columns.items()
        },
        predicates={sql: mask[: keep.size][keep] for sql, mask in history.predicates.items()},
        own_code=history.own_code[keep] if history.own_code.size else history.own_code,
    )


def merged_features(features: Sequence[Feature]) -> tuple[Feature, ...]:
    """The features and the parts of ratios: everything that folds rows."""
    return tuple(each for feature in features for each in (feature, *feature.parts))
