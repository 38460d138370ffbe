"""Tiles: pre-summed pieces of a history, one for each entity and hop, in the place of the rows that they stand for.

A record of the layout TILES keeps the rows since a boundary, and one tile of mergeable states for each hop before
it that has rows. A window with a hop begins where a tile begins, and ends where rows are kept; so it is the tiles
within it and then its rows, merged. One hop serves all windows of a view: the largest that all of
their hops are multiples of.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from math import gcd

import numpy as np

from asof.compute.aggregate import state_of
from asof.compute.arrays import EMPTY_INTS, Array, Bools, Ints
from asof.compute.history import History
from asof.compute.retain import filtered
from asof.compute.states import Aggregate, Count, Extreme, Moments, State, Sum
from asof.compute.windows import Locator, Queries, bounds
from asof.define.aggregation import Feature
from asof.define.window import END_US, Window
from asof.types import DType

StateName = tuple[str, str | None, str | None]
"""(function, column, predicate) of a state: `count`, `sum`, `min`, `max` or `var`."""

_STATES: Mapping[str, tuple[str, ...]] = {
    "count": ("count",), "sum": ("sum",), "mean": ("count", "sum"), "min": ("min",), "max": ("max",),
    "var": ("var",), "std": ("var",),
}  # fmt: skip
COMPONENTS: Mapping[str, tuple[str, ...]] = {
    "count": ("n",), "sum": ("sum",), "min": ("value",), "max": ("value",), "var": ("n", "mean", "m2"),
}  # fmt: skip
_EVER = Window(None, closed="both")


@dataclass(frozen=True)
class TileLayout:
    """The hop of the tiles of a view, the largest offset of its windows, and the states that a tile keeps."""

    hop_us: int
    offset_us: int
    states: tuple[StateName, ...]

    def boundary_us(self, floor_us: int) -> int:
        """Before it rows may be in tiles, when nobody asks before the floor."""
        return (floor_us - self.offset_us) // self.hop_us * self.hop_us


@dataclass(frozen=True)
class Tiles:
    """Tiles of many entities one after the other: `starts[g]` to `starts[g + 1]` are those of group g, by start.

    Shape: `(m,)` starts in microseconds; a state's components `(m,)` each.
    """

    starts: Ints
    at: Ints
    states: Mapping[StateName, State]

    @property
    def owner(self) -> Ints:
        """The group of each tile."""
        return np.repeat(np.arange(self.starts.size - 1), np.diff(self.starts))


def tile_layout(features: Sequence[Feature], types: Mapping[str, DType]) -> TileLayout | None:
    """The tiles that a view's features can be read from, or None where they need rows.

    All windows need a hop and a closed left edge, and every function a state of fixed size.
    """
    leaves = [leaf for feature in features for leaf in (feature.parts or (feature,))]
    windows = [feature.window for feature in features]
    if not all(window.hop_us and window.closed in {"left", "both"} for window in windows):
        return None
    if any(
        leaf.by is not None or leaf.function not in _STATES for leaf in (*leaves, *features) if not leaf.parts
    ):
        return None
    if any(f.by is not None for f in features):
        return None
    if any(
        leaf.column is not None and types[leaf.column].kind == "string" and leaf.function != "count"
        for leaf in leaves
    ):
        return None
    states = dict.fromkeys(
        (state, leaf.column, leaf.predicate) for leaf in leaves for state in _STATES[leaf.function]
    )
    offset_us = max(window.offset_us for window in windows)
    return TileLayout(
        reduce(gcd, (window.hop_us for window in windows)), offset_us, tuple(sorted(states, key=str))
    )


def no_tiles(groups: int, layout: TileLayout, types: Mapping[str, DType]) -> Tiles:
    """The tiles of groups that have none."""
    states = {name: _aggregate(name, types).identity(0) for name in layout.states}
    return Tiles(np.zeros(groups + 1, np.int64), EMPTY_INTS, states)


def fold_rows(
    history: History, layout: TileLayout, types: Mapping[str, DType], floor_us: int
) -> tuple[History, Tiles]:
    """The rows that have to stay, and tiles of those that are settled and before the boundary.

    Raises:
        NumericOverflow: a sum does not fit 64 bits.
    """
    goes = (history.event < layout.boundary_us(floor_us)) & (history.known <= floor_us)
    if not goes.any():
        return history, no_tiles(history.starts.size - 1, layout, types)
    rows = filtered(history, goes)
    group = np.repeat(np.arange(rows.starts.size - 1), np.diff(rows.starts))
    tile = rows.event // layout.hop_us
    fresh = np.ones(rows.size, np.bool_)
    fresh[1:] = (group[1:] != group[:-1]) | (tile[1:] != tile[:-1])
    first = np.flatnonzero(fresh)
    at = np.full(first.size, END_US - 2, np.int64)
    locator = Locator(
        rows.changed(starts=np.append(first, rows.size)), Queries(np.arange(first.size), at, at)
    )
    states: dict[StateName, State] = {}
    for function, column, predicate in layout.states:
        feature = Feature("tile", function, column, _EVER, predicate)
        states[function, column, predicate] = state_of(feature, locator)
    starts = np.zeros(rows.starts.size, np.int64)
    np.cumsum(np.bincount(group[first], minlength=rows.starts.size - 1), out=starts[1:])
    return filtered(history, ~goes), Tiles(starts, tile[first] * layout.hop_us, states)


def merge_tiles(left: Tiles, right: Tiles, types: Mapping[str, DType]) -> Tiles:
    """The tiles of both, those of one entity and start merged; the rows of `right` came later."""
    groups = left.starts.size - 1
    owner, at = np.concatenate([left.owner, right.owner]), np.concatenate([left.at, right.at])
    order = np.lexsort((at, owner))
    fresh = np.ones(order.size, np.bool_)
    fresh[1:] = (owner[order][1:] != owner[order][:-1]) | (at[order][1:] != at[order][:-1])
    place = np.empty(order.size, np.int64)
    place[order] = np.cumsum(fresh) - 1
    kept = order[fresh]
    starts = np.zeros(groups + 1, np.int64)
    np.cumsum(np.bincount(owner[kept], minlength=groups), out=starts[1:])
    mine, theirs = place[: left.at.size], place[left.at.size :]
    states = {
        name: _merge(_aggregate(name, types), state, mine, right.states[name], theirs, kept.size)
        for name, state in left.states.items()
    }
    return Tiles(starts, at[kept], states)


def _merge(aggregate: Aggregate, left: State, mine: Ints, right: State, theirs: Ints, n: int) -> State:
    return aggregate.merge(_spread(aggregate, left, mine, n), _spread(aggregate, right, theirs, n))


def _spread(aggregate: Aggregate, state: State, places: Ints, n: int) -> State:
    made = aggregate.identity(n)
    for part, values in state.items():
        made[part][places] = values
    return made


def without_old(tiles: Tiles, features: Sequence[Feature], floor_us: int) -> Tiles:
    """The tiles that a window asked at the floor or later can still reach."""
    floor = np.array([floor_us], np.int64)
    least = min(int(bounds(feature.window, floor)[0][0]) for feature in features)
    keep = tiles.at >= least
    counts = np.zeros(keep.size + 1, np.int64)
    np.cumsum(keep, out=counts[1:])
    states = {name: {part: v[keep] for part, v in state.items()} for name, state in tiles.states.items()}
    return Tiles(counts[tiles.starts], tiles.at[keep], states)


def _aggregate(name: StateName, types: Mapping[str, DType]) -> Aggregate:
    function, column, _ = name
    kind = "float64" if column is not None and types[column].kind == "float64" else "int64"
    made: dict[str, Aggregate] = {
        "count": Count(),
        "sum": Sum(kind),
        "min": Extreme(largest=False, dtype=kind),
        "max": Extreme(largest=True, dtype=kind),
        "var": Moments(),
    }
    return made[function]


def component_columns(tiles: Tiles, layout: TileLayout) -> tuple[Ints, Bools, Bools]:
    """The components of all states as columns for `pack`: values as int64 bits, which are floats, which are valid."""
    values: list[Array] = []
    valid: list[Bools] = []
    floats: list[bool] = []
    for name in layout.states:
        state = tiles.states[name]
        has = state.get("has", np.ones(tiles.at.size, np.bool_))
        for part in COMPONENTS[name[0]]:
            floats.append(state[part].dtype.kind == "f")
            values.append(np.ascontiguousarray(state[part]).view(np.int64))
            valid.append(has)
    return np.stack(values), np.array(floats, np.bool_), np.stack(valid)


def states_of_columns(
    values: Ints, valid: Bools, layout: TileLayout, types: Mapping[str, DType]
) -> dict[StateName, State]:
    """The states whose components `component_columns` gave."""
    states: dict[StateName, State] = {}
    place = 0
    for name in layout.states:
        state = _aggregate(name, types).identity(values.shape[1])
        for part in COMPONENTS[name[0]]:
            state[part][:] = values[place].view(state[part].dtype)
            if "has" in state:
                state["has"][:] = valid[place]
            place += 1
        states[name] = state
    return states


def component_places(layout: TileLayout) -> dict[tuple[StateName, str], int]:
    """The place of each component among the columns."""
    pairs = [(name, part) for name in layout.states for part in COMPONENTS[name[0]]]
    return {pair: place for place, pair in enumerate(pairs)}
