"""Queries against a history: for each (entity, instant) the rows of a window, found once and shared by every
aggregation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from asof.compute import kernels
from asof.compute._jit import in_chunks
from asof.compute.arrays import EMPTY_INTS, Array, Ints
from asof.compute.history import History
from asof.define.window import BEGIN_US, END_US, Window

Ranges = tuple[Ints, Ints, Ints, Ints, Ints]
FoldName = tuple[str, str | None, str | None, Window]


@dataclass(frozen=True)
class Queries:
    """Who asks, at which instant, and as known when; `own_code` is the event key number of the own row (-1:
    none).

    Shape: all arrays `(m,)`, best in order of (group, instant). A group of -1 is an entity without history.
    `end` gives each query its own end of a forward window.
    """

    group: Ints
    at: Ints
    as_known: Ints
    own_code: Ints = field(default_factory=lambda: EMPTY_INTS)
    end: Ints | None = None

    @property
    def size(self) -> int:
        """The number of queries."""
        return int(self.at.size)


def bounds(window: Window, at: Ints, end: Ints | None = None) -> tuple[Ints, Ints]:
    """The half-open range of event times that a window counts, as asked at each instant.

    Ties: an event on an edge counts as `closed` says. Source: docs/concepts/time-and-value.md, section
    Windows.

    Example:
        >>> from asof.define.window import parse_window
        >>> lo, hi = bounds(parse_window("1h", hop="5m"), np.array([120 * 60_000_000 + 2]))
        >>> (lo // 60_000_000).tolist(), (hi - 120 * 60_000_000).tolist()
        ([60], [2])
    """
    if window.forward:
        return at, (at + (window.size_us or 0) if end is None else end)
    right = at - window.offset_us
    hi = right + 1 if window.closed in {"right", "both"} else right
    if window.size_us is None:
        return np.full(at.size, BEGIN_US, np.int64), hi
    left = right - window.size_us
    if window.hop_us:
        left = left // window.hop_us * window.hop_us
    return (left + 1 if window.closed in {"right", "neither"} else left), hi


def fixed_edges(window: Window) -> tuple[int, int] | None:
    """`left` and `right` of a window that is [t - left, t - right) at every instant, None for one that is not."""
    if window.hop_us or window.forward:
        return None
    zero = np.zeros(1, np.int64)
    lo, hi = bounds(window, zero)
    return -int(lo[0]), -int(hi[0])


class Locator:
    """Finds and remembers the row ranges of windows for one set of queries."""

    def __init__(self, history: History, queries: Queries, own: Ints | None = None) -> None:
        self.history, self.queries, self._given_own = history, queries, own
        self._ranges: dict[Window, Ranges] = {}
        self._folds: dict[FoldName, Array] = {}
        self._no_own = np.full(queries.size, -1, np.int64)

    @property
    def knows_all(self) -> bool:
        """True where every query knows every row that had happened by its instant."""
        history = self.history
        return (
            history.until.size == 0
            and history.known is history.event
            and self.queries.as_known is self.queries.at
        )

    def fold(self, name: FoldName, make: Callable[[], Array]) -> Array:
        """What `make` gives, remembered under (kind, column, predicate, window)."""
        if name not in self._folds:
            self._folds[name] = make()
        return self._folds[name]

    def ranges(self, window: Window) -> Ranges:
        """(a, p, b, vis, own) of each query, see kernels.py."""
        if window not in self._ranges:
            self._ranges[window] = self._locate(window)
        return self._ranges[window]

    def _locate(self, window: Window) -> Ranges:
        history, queries = self.history, self.queries
        a, b = np.empty(queries.size, np.int64), np.empty(queries.size, np.int64)
        edges = fixed_edges(window) if self.knows_all else None
        if edges is not None:
            p = b
            plain = (queries.group, queries.at, *edges, history.starts, history.event)
            in_chunks(
                queries.size, history.threads, lambda q0, q1: kernels.locate_known(*plain, q0, q1, a, b)
            )
        else:
            p = np.empty(queries.size, np.int64)
            lo, hi = bounds(window, queries.at, queries.end)
            late = (queries.group, lo, hi, queries.as_known, history.starts, history.event, history.settled)
            in_chunks(queries.size, history.threads, lambda q0, q1: kernels.locate(*late, q0, q1, a, p, b))
        own = self._own(window)
        found: Ranges = (a, p, b, queries.as_known, own)
        if self._given_own is None and (own >= 0).any() and history.own_code.size and queries.own_code.size:
            starts, rows = self._rows_by_code()
            kernels.drop_known_own(history.rows, found, queries.own_code, starts, rows, 0, queries.size)
        return found

    def _own(self, window: Window) -> Ints:
        if self._given_own is not None:
            return self._given_own
        if self.history.own == 0 or window.offset_us or window.forward:
            return self._no_own
        own = self.history.size + np.arange(self.queries.size, dtype=np.int64)
        return np.where(self.queries.group >= 0, own, -1)

    def _rows_by_code(self) -> tuple[Ints, Ints]:
        codes = self.history.own_code
        rows = np.flatnonzero(codes >= 0).astype(np.int64)
        rows = rows[np.argsort(codes[rows], kind="stable")]
        size = int(max(codes.max(), self.queries.own_code.max())) + 1
        starts = np.zeros(size + 1, np.int64)
        np.cumsum(np.bincount(codes[rows], minlength=size), out=starts[1:])
        return starts, rows


def as_known_at(at: Ints, *, as_known: bool, cutoff_us: int | None) -> Ints:
    """The instant whose knowledge a query has: its own, the cut-off if that is earlier, or for hindsight the
    cut-off alone.
    """
    limit = END_US - 1 if cutoff_us is None else cutoff_us
    if as_known and cutoff_us is None:
        return at
    return np.minimum(at, limit) if as_known else np.full(at.size, limit, np.int64)
