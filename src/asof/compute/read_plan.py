"""The plan of a read: which numbers `fold_records.py` makes of the records of several views, as arrays.

A feature is plain when it is one number that a window kernel gives; the others (text, lists, maps, sketches) are left
to `aggregate.evaluate` over the same records.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from asof.compute.arrays import Floats, Ints
from asof.compute.feature_types import feature_dtype
from asof.compute.fold_features import (
    COUNT,
    DECAYED,
    EDGE,
    EXTREME,
    FLOAT,
    INTEGER,
    LATEST,
    MEAN,
    MOMENTS,
    RATIO,
    SCALED,
    SUM,
    TEXT,
)
from asof.compute.fold_records import FEATURE_WORDS, VIEW_WORDS
from asof.compute.record import Layout
from asof.compute.tiles import TileLayout, component_places
from asof.compute.unpack import TIMES, VALUES
from asof.compute.windows import bounds, fixed_edges
from asof.define.aggregation import Feature
from asof.define.window import Window
from asof.types import DType

_FOLDED = {
    "count": COUNT, "sum": SUM, "mean": MEAN, "min": EXTREME, "max": EXTREME, "var": MOMENTS, "std": MOMENTS,
    "decayed_sum": DECAYED, "first": EDGE, "last": EDGE, "latest": LATEST, "ratio": RATIO,
}  # fmt: skip
_NUMBERS = {"bool", "int32", "int64", "float64", "decimal", "timestamp", "date"}


@dataclass(frozen=True)
class ViewRead:
    """What is read of one view: the layout of its records, its features with the rows of the answer that they get, and
    whether the own row counts.
    """

    layout: Layout
    features: tuple[Feature, ...]
    rows: tuple[int, ...]
    own: bool = False


@dataclass(frozen=True)
class ReadPlan:
    """Arrays for `fold_records`, the same for every read.

    `plain[v][i]` says whether feature i of view v is folded; the others' rows of `out` are left as they are.
    """

    plan: Ints
    numbers: Floats
    out_rows: int
    cell_rows: int
    mark_rows: int
    plain: tuple[tuple[bool, ...], ...]
    texts: tuple[int, ...]  # rows of `out` that say where a text stands
    before: Ints  # 0, then both edges of every window: how long before the instant they are, where a window is fixed
    hops: tuple[tuple[int, Window], ...]  # windows that are not, by their place
    any_own: bool

    def instants(self, at_us: int) -> Ints:
        """An instant, and then the half-open ranges of event times of all windows as asked at it."""
        made: Ints = at_us - self.before
        for place, window in self.hops:
            lo, hi = bounds(window, np.array([at_us], np.int64))
            made[1 + 2 * place], made[2 + 2 * place] = lo[0], hi[0]
        return made


def is_plain(feature: Feature, layout: Layout) -> bool:
    """True where the kernels give the feature as one number."""
    if feature.by is not None or feature.function not in _FOLDED or "n" in dict(feature.params):
        return False
    if feature.function == "ratio":
        return all(is_plain(part, layout) for part in feature.parts)
    dtype = None if feature.column is None else dict(layout.columns)[feature.column]
    return feature_dtype(feature, dtype).kind in _NUMBERS


def is_text(feature: Feature, layout: Layout, *, own: bool) -> bool:
    """True where the kernels find a text in the records: the value of one row, and not of the request's own."""
    if (
        feature.by is not None
        or feature.function not in {"first", "last", "latest"}
        or "n" in dict(feature.params)
    ):
        return False
    dtype = dict(layout.columns)[str(feature.column)]
    return dtype.kind == "string" and (feature.function == "latest" or not own)


@dataclass
class _View:
    """The tables of one view while they are written."""

    layout: Layout
    floats: dict[tuple[int, int], int] = field(default_factory=dict[tuple[int, int], int])
    masks: dict[tuple[int, int], int] = field(default_factory=dict[tuple[int, int], int])
    prefixes: dict[tuple[int, int, int], int] = field(default_factory=dict[tuple[int, int, int], int])
    windows: dict[Window, int] = field(default_factory=dict[Window, int])
    features: list[list[int]] = field(default_factory=list[list[int]])

    def column(self, feature: Feature) -> tuple[int, DType | None]:
        """The place and type of a feature's column, -1 without one."""
        if feature.column is None:
            return -1, None
        place = self.layout.names.index(feature.column)
        return place, self.layout.columns[place][1]

    def float_slot(self, place: int, dtype: DType) -> int:
        """The cells with a column as float64."""
        if dtype.kind == "float64":
            return TIMES + place
        scale = dtype.scale if dtype.kind == "decimal" else 0
        return TIMES + len(self.layout.columns) + self.floats.setdefault((place, scale), len(self.floats))

    def mask(self, place: int, predicate: str | None) -> int:
        """The rows that count for a column and a predicate."""
        test = -1 if predicate is None else self.layout.predicates.index(predicate)
        return self.masks.setdefault((place, test), len(self.masks))

    def prefix(self, kind: int, mask: int, place: int) -> int:
        """Prefix sums of 1 (kind 0) or of a column (kind 1) over the rows of a mask."""
        return self.prefixes.setdefault((kind, mask, place if kind else -1), len(self.prefixes))


class _Writer:
    """Writes a plan, view by view."""

    def __init__(self, out_rows: int) -> None:
        self.numbers: list[float] = []
        self.out_rows = out_rows

    def add(self, view: _View, feature: Feature, row: int = -1) -> int:
        """Writes a feature, after its parts; gives its row of `out`, a new one for parts."""
        parts = [self.add(view, replace(part, window=feature.window)) for part in feature.parts]
        if row < 0:
            row, self.out_rows = self.out_rows, self.out_rows + 1
        words = [0] * FEATURE_WORDS
        words[0], words[1], words[12] = _FOLDED[feature.function], row, len(self.numbers)
        place, dtype = view.column(feature)
        words[3] = _kind(feature_dtype(feature, dtype) if feature.function != "mean" else dtype)
        first = 1.0
        if feature.function == "ratio":
            kinds = [self._part_kind(view, part) for part in feature.parts]
            words[8], words[9], words[10], words[11] = *parts, kinds[0][0], kinds[1][0]
            self.numbers += [kinds[0][1], kinds[1][1], float(dict(feature.params).get("empty", np.nan))]
            view.features.append(words)
            return row
        self._place(view, feature, words, place, dtype)
        if feature.function == "mean" and dtype is not None:
            first = 10.0 ** (dtype.scale if dtype.kind == "decimal" else 0)
        elif feature.function == "decayed_sum":
            first = float(feature.param("half_life_us"))
        self.numbers += [first, 0.0, 0.0]
        if feature.ttl_us is not None and feature.function == "latest":
            words[10], words[11] = 1, feature.ttl_us
        view.features.append(words)
        return row

    def _place(
        self, view: _View, feature: Feature, words: list[int], place: int, dtype: DType | None
    ) -> None:
        """Where a feature's values, masks, windows and prefix sums are."""
        op = words[0]
        words[4] = view.mask(-1 if op == LATEST else place, feature.predicate)
        words[5] = view.windows.setdefault(feature.window, len(view.windows))
        if op in {MOMENTS, DECAYED} and dtype is not None:
            words[2] = view.float_slot(place, dtype)
        elif place >= 0:
            words[2] = TIMES + place
        if op in {COUNT, MEAN, MOMENTS}:
            words[6] = view.prefix(0, words[4], -1)
        if op in {SUM, MEAN} and words[3] != FLOAT:
            words[7] = view.prefix(1, words[4], place)
        words[8] = int(feature.function in {"max", "std", "last"})
        if view.layout.tiles is not None:
            words[13:16] = _tile_places(view.layout.tiles, feature)
        words[9] = VALUES + place  # for `latest`: where the column itself is null

    def _part_kind(self, view: _View, part: Feature) -> tuple[int, float]:
        dtype = feature_dtype(part, view.column(part)[1])
        kind = _kind(dtype)
        return kind, 10.0**dtype.scale if kind == SCALED else 1.0


def _tile_places(tiles: TileLayout, feature: Feature) -> list[int]:
    """Where a feature's count, its sum, extreme or mean, and its M2 stand among the tiles' columns."""
    places = component_places(tiles)
    rest = (feature.column, feature.predicate)
    function = {"mean": "sum", "std": "var"}.get(feature.function, feature.function)
    if function == "var":
        return [places[("var", *rest), part] for part in ("n", "mean", "m2")]
    counted = places.get((("count", *rest), "n"), 0)
    main = {"sum": "sum", "min": "value", "max": "value"}.get(function)
    return [counted, 0 if main is None else places[(function, *rest), main], 0]


def _kind(dtype: DType | None) -> int:
    if dtype is not None and dtype.kind == "string":
        return TEXT
    if dtype is None or dtype.kind not in {"float64", "decimal"}:
        return INTEGER
    return FLOAT if dtype.kind == "float64" else SCALED


def build_plan(views: Sequence[ViewRead], answer_rows: int) -> ReadPlan:
    """The plan that reads these views in this order; the features' rows are below `answer_rows`."""
    writer = _Writer(answer_rows)
    tables: list[_View] = []
    plain: list[tuple[bool, ...]] = []
    texts: list[int] = []
    for read in views:
        table = _View(read.layout)
        texts += [
            row
            for feature, row in zip(read.features, read.rows, strict=True)
            if is_text(feature, read.layout, own=read.own)
        ]
        plain.append(
            tuple(
                is_plain(feature, read.layout) or is_text(feature, read.layout, own=read.own)
                for feature in read.features
            )
        )
        for feature, row, folded in zip(read.features, read.rows, plain[-1], strict=True):
            if folded:
                writer.add(table, feature, row)
        tables.append(table)
    plan, edges, hops = _arrays(views, tables)
    return ReadPlan(
        plan=plan,
        numbers=np.array([*writer.numbers, 0.0], np.float64),
        out_rows=writer.out_rows,
        cell_rows=max(TIMES + len(t.layout.columns) + len(t.floats) for t in tables),
        mark_rows=max(VALUES + len(t.layout.columns) + len(t.layout.predicates) for t in tables),
        plain=tuple(plain),
        texts=tuple(texts),
        before=np.array([0, *(us for pair in edges for us in pair)], np.int64),
        hops=hops,
        any_own=any(read.own for read in views),
    )


def _arrays(
    views: Sequence[ViewRead], tables: Sequence[_View]
) -> tuple[Ints, list[tuple[int, int]], tuple[tuple[int, Window], ...]]:
    words = [len(views)] + [0] * (VIEW_WORDS * len(views))
    edges: list[tuple[int, int]] = []
    hops: list[tuple[int, Window]] = []
    own = own_marks = 0
    for v, (read, table) in enumerate(zip(views, tables, strict=True)):
        head = 1 + v * VIEW_WORDS
        words[head], words[head + 1] = len(table.layout.columns), len(table.layout.predicates)
        counted = [[int(not window.offset_us and not window.forward)] for window in table.windows]
        sections: list[list[list[int]]] = [
            [list(pair) for pair in table.floats], [list(pair) for pair in table.masks],
            [list(three) for three in table.prefixes], counted, table.features,
        ]  # fmt: skip
        for s, section in enumerate(sections):
            words[head + 2 + 2 * s] = len(words)
            words += [word for row in section for word in row]
            words[head + 3 + 2 * s] = len(words)
        words[head + 12], words[head + 13] = int(read.own), len(edges)
        words[head + 18] = 0 if read.layout.tiles is None else len(component_places(read.layout.tiles))
        words[head + 16], words[head + 17] = own, own_marks
        if read.own:
            own += 2 + words[head]
            own_marks += 1 + words[head] + words[head + 1]
        for window in table.windows:
            fixed = fixed_edges(window)
            if fixed is None:
                hops.append((len(edges), window))
            edges.append(fixed or (0, 0))
        words[head + 14], words[head + 15] = len(edges), len(words)
        words += table.layout.is_text.tolist()
    return np.array(words, np.int64), edges, tuple(hops)
