"""Features of a history: which kernel folds a feature's window, and how its state becomes a column.

`evaluate` is the only entry. A new aggregation is one state in `states.py` or `bags.py`, one fold here and
one row in `_FOLDS`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
import pyarrow as pa

from asof.compute import kernels
from asof.compute._jit import in_chunks
from asof.compute.arrays import Array, Bools, Floats, Ints
from asof.compute.arrow import FLOAT64, INT64, Column, physical_to_arrow
from asof.compute.arrow_ops import offsets_of
from asof.compute.feature_types import sum_dtype
from asof.compute.finish import finish_ratio
from asof.compute.sketch import bucket_numbers, bucket_values, hash_dictionary, hash_numbers
from asof.compute.sort import take
from asof.compute.states import Aggregate, Count, DecayedSum, Extreme, Mean, Moments, State, Sum
from asof.compute.windows import Locator
from asof.define.aggregation import Feature
from asof.errors import NumericOverflow
from asof.types import DType

_SAFE = 2**62


@dataclass(frozen=True)
class Result:
    """A feature's values in physical form: `(m,)`, or `(m, n)` codes or positions where the feature is a
    list.
    """

    dtype: DType
    values: Array
    valid: Bools
    dictionary: pa.Array | None = None

    def taken(self, rows: Ints, threads: int) -> Result:
        """The values in another order."""
        if self.values.ndim > 1:
            return replace(self, values=self.values[rows], valid=self.valid[rows])
        valid = self.valid if self.valid.all() else take(self.valid, rows, threads)
        return replace(self, values=take(self.values, rows, threads), valid=valid)

    def to_arrow(self) -> pa.Array:
        """The values as an Arrow array; lists without their missing entries."""
        if self.values.ndim == 1:
            return physical_to_arrow(self.dtype, self.values, self.valid, self.dictionary)
        item = cast("DType", self.dtype.item)
        flat = physical_to_arrow(item, self.values[self.valid], None, self.dictionary)
        return pa.ListArray.from_arrays(offsets_of(self.valid.sum(axis=1)), flat)


class Folder:
    """One feature's fold over a history: the arrays that its kernels need."""

    def __init__(self, feature: Feature, locator: Locator) -> None:
        self.feature, self.locator, self.history = feature, locator, locator.history
        self.ranges = locator.ranges(feature.window)
        self.mask = self.history.mask(feature.column, feature.predicate)
        self.use = self.history.final_mask(feature.column, feature.predicate)
        self.size = locator.queries.size

    @property
    def settled(self) -> tuple[Ints, Ints] | None:
        """Start and stop of each window, when all of its rows have settled and no own row counts; else None."""
        a, p, b, *_ = self.ranges
        return (a, b) if p is b and self.history.own == 0 else None

    @property
    def counts_all(self) -> bool:
        """True where every row counts: no filter, and no column or one without nulls."""
        if self.feature.predicate is not None:
            return False
        return self.feature.column is None or bool(self.mask.all())

    @property
    def column(self) -> Column:
        """The feature's column."""
        return self.history.columns[cast("str", self.feature.column)]

    def prefix(self, kind: str) -> Ints:
        """Prefix sums of the feature's column and filter."""
        return self.history.prefix(kind, self.feature.column, self.feature.predicate)

    def shared(self, kind: str, fold: Callable[[], Array]) -> Array:
        """What `fold` gives, remembered for other features over the same rows (a mean needs what a sum and a
        count need).
        """
        f = self.feature
        return self.locator.fold((kind, f.column, f.predicate, f.window), fold)

    def run(self, kernel: Callable[..., None], *args: object) -> None:
        """Run a kernel over all queries; args stand between (rows, ranges) and the query range, outputs after
        it.
        """
        inputs = tuple(a for a in args if not isinstance(a, _Out))
        outputs = tuple(a.array for a in args if isinstance(a, _Out))
        rows, ranges = self.history.rows, self.ranges
        in_chunks(
            self.size, self.history.threads, lambda q0, q1: kernel(rows, ranges, *inputs, q0, q1, *outputs)
        )


@dataclass(frozen=True)
class _Out:
    array: Array


def _out(folder: Folder, dtype: str, n: int | None = None) -> _Out:
    return _Out(np.empty(folder.size if n is None else (folder.size, n), dtype))


def _finish(aggregate: Aggregate, state: State, dtype: DType, dictionary: pa.Array | None = None) -> Result:
    values, valid = aggregate.finish(state)
    return Result(dtype, values, valid, dictionary)


def _count(folder: Folder) -> Result:
    return _finish(Count(), {"n": _counts(folder)}, INT64)


def _counts(folder: Folder) -> Ints:
    def fold() -> Array:
        settled = folder.settled
        if settled is not None:
            start, stop = settled
            return stop - start if folder.counts_all else _differences(folder, "count")
        n = _out(folder, "int64")
        folder.run(kernels.count_valid, folder.prefix("count"), folder.mask, n)
        return n.array

    return folder.shared("count", fold)


def _float_sums(folder: Folder) -> Floats:
    def fold() -> Array:
        total = _out(folder, "float64")
        folder.run(kernels.sum_float, _floats(folder), folder.use, folder.mask, total)
        return total.array

    return folder.shared("float sum", fold)


def _sums(folder: Folder) -> Array:
    if folder.column.values.dtype.kind == "f":
        return _float_sums(folder)
    return folder.shared("exact sum", lambda: _exact_sums(folder))


def _exact_sums(folder: Folder) -> Ints:
    column, total = folder.column, _out(folder, "int64")
    if _cannot_overflow(folder):
        if folder.settled is not None:
            return _differences(folder, "sum")
        folder.run(kernels.sum_exact, folder.prefix("sum"), column.values, folder.mask, total)
        return total.array
    bad = _out(folder, "bool")
    folder.run(kernels.sum_checked, column.values, folder.mask, total, bad)
    if bad.array.any():
        name = folder.feature.name
        raise NumericOverflow(
            f"feature {name!r}: {int(bad.array.sum())} sums do not fit 64 bits",
            hint="use a smaller decimal scale, or sum a float column",
            feature=name,
        )
    return total.array


def _differences(folder: Folder, kind: str) -> Ints:
    """Prefix sums at the ends of windows, less those at their starts."""
    start, stop = folder.ranges[0], folder.ranges[2]
    prefix, out = folder.prefix(kind), np.empty(folder.size, np.int64)

    def subtract(q0: int, q1: int) -> None:
        np.subtract(prefix[stop[q0:q1]], prefix[start[q0:q1]], out=out[q0:q1])

    in_chunks(folder.size, folder.history.threads, subtract)
    return out


def _cannot_overflow(folder: Folder) -> bool:
    values = folder.column.values
    if values.size == 0:
        return True
    largest = max(abs(int(values.min())), abs(int(values.max())))
    most = int(np.diff(folder.history.starts).max(initial=0)) + 1
    return largest * most < _SAFE


def _sum(folder: Folder) -> Result:
    total = _sums(folder)
    return _finish(Sum(total.dtype.name), {"sum": total}, sum_dtype(folder.column.dtype))


def _mean(folder: Folder) -> Result:
    state = {"n": _counts(folder), "sum": _sums(folder)}
    return _finish(Mean(state["sum"].dtype.name, folder.column.dtype.scale), state, FLOAT64)


def _extreme(folder: Folder) -> Result:
    column, largest = folder.column, folder.feature.function == "max"
    if column.values.size == 0:
        return Result(
            column.dtype, np.zeros(folder.size, np.int64), np.zeros(folder.size, np.bool_), column.dictionary
        )
    value, has = _out(folder, column.values.dtype.name), _out(folder, "bool")
    folder.run(kernels.extreme, column.values, folder.use, folder.mask, largest, value, has)
    state = {"value": value.array, "has": has.array}
    return _finish(
        Extreme(largest=largest, dtype=column.values.dtype.name), state, column.dtype, column.dictionary
    )


def _moments(folder: Folder) -> Result:
    return _finish(Moments(root=folder.feature.function == "std"), _moment_state(folder), FLOAT64)


def _moment_state(folder: Folder) -> State:
    n, total = _counts(folder), _float_sums(folder)
    mean, m2 = _out(folder, "float64"), _out(folder, "float64")
    folder.run(kernels.deviations, _floats(folder), folder.use, folder.mask, n, total, mean, m2)
    return {"n": n, "mean": mean.array, "m2": m2.array}


def _floats(folder: Folder) -> Floats:
    return folder.history.floats(cast("str", folder.feature.column))


def _decayed(folder: Folder) -> Result:
    out, half_life = _out(folder, "float64"), float(folder.feature.param("half_life_us"))
    at = folder.locator.queries.at
    folder.run(kernels.decayed, _floats(folder), folder.mask, folder.history.event, at, half_life, out)
    return _finish(DecayedSum(half_life), {"sum": out.array, "at": at}, FLOAT64)


def _edge(folder: Folder) -> Result:
    n = int(folder.feature.param("n"))
    rows = _out(folder, "int64", max(n, 1))
    folder.run(kernels.edge_rows, folder.mask, max(n, 1), folder.feature.function == "last", rows)
    return _picked(folder.column, rows.array if n else rows.array[:, 0], listed=bool(n))


def _picked(column: Column, rows: Ints, *, listed: bool) -> Result:
    valid = rows >= 0
    values = column.values[np.where(valid, rows, 0)] if len(column) else np.zeros(rows.shape, np.int64)
    dtype = DType("list", item=column.dtype) if listed else column.dtype
    return Result(dtype, values, valid, column.dictionary)


def _latest(folder: Folder) -> Result:
    folder.ranges = (
        *folder.ranges[:4],
        np.full(folder.size, -1, np.int64),
    )  # the request's own row is no history
    rows = _out(folder, "int64", 1)
    everything = folder.history.mask(None, folder.feature.predicate)
    folder.run(kernels.edge_rows, everything, 1, True, rows)  # noqa: FBT003 - kernels take positions
    return latest_result(
        folder.column,
        rows.array[:, 0],
        folder.history.event,
        folder.locator.queries.at,
        folder.feature.ttl_us,
    )


def latest_result(column: Column, rows: Ints, event: Ints, at: Ints, ttl_us: int | None) -> Result:
    """Values of the newest rows, null where there is none, where it is null, or where it is older than ttl."""
    has = rows >= 0
    safe = np.where(has, rows, 0)
    if len(column) == 0:
        return Result(column.dtype, np.zeros(rows.size, np.int64), has & False, column.dictionary)
    if ttl_us is not None:
        has = has & (at - event[safe] <= ttl_us)
    return Result(column.dtype, column.values[safe], has & column.valid[safe], column.dictionary)


def _distinct(folder: Folder) -> Result:
    coded = folder.column.coded()
    n = _out(folder, "int64")
    size = max(1, len(coded.dictionary or ()))
    folder.run(kernels.count_codes, coded.values, folder.use, folder.mask, size, n)
    return _finish(Count(), {"n": n.array}, INT64)


def _approx_distinct(folder: Folder) -> Result:
    column, n = folder.column, _out(folder, "int64")
    if column.dictionary is None:
        hashes = hash_numbers(column.values)
    else:
        hashes = np.append(hash_dictionary(column.dictionary), 0)[column.values]
    folder.run(kernels.count_hashes, hashes, folder.mask, n)
    return _finish(Count(), {"n": n.array}, INT64)


def _topk(folder: Folder) -> Result:
    coded, k = folder.column.coded(), int(folder.feature.param("k"))
    codes = _out(folder, "int64", k)
    size = max(1, len(coded.dictionary or ()))
    folder.run(kernels.frequent_codes, coded.values, folder.use, folder.mask, size, k, codes)
    return Result(DType("list", item=coded.dtype), codes.array, codes.array >= 0, coded.dictionary)


def _quantile(folder: Folder) -> Result:
    numbers, codes = np.unique(bucket_numbers(_floats(folder)), return_inverse=True)
    rank = _out(folder, "int64")
    quantile, size = float(folder.feature.param("q")), max(1, numbers.size)
    folder.run(kernels.rank_code, codes.astype(np.int64), folder.use, folder.mask, size, quantile, rank)
    valid = rank.array >= 0
    values = bucket_values(numbers)[np.where(valid, rank.array, 0)] if numbers.size else np.zeros(folder.size)
    return Result(FLOAT64, values, valid)


def _ratio(folder: Folder) -> Result:
    over, under = (_part(part, folder) for part in folder.feature.parts)
    empty = float(dict(folder.feature.params).get("empty", np.nan))
    values, valid = np.empty(folder.size), np.empty(folder.size, np.bool_)
    finish_ratio(_numbers(over), over.valid, _numbers(under), under.valid, empty, values, valid)
    return Result(FLOAT64, values, valid)


def _numbers(column: Column) -> Floats:
    return np.ascontiguousarray(column.numbers, np.float64)


def _part(part: Feature, folder: Folder) -> Column:
    made = _FOLDS[part.function](Folder(replace(part, window=folder.feature.window), folder.locator))
    return Column(made.dtype, made.values, made.valid)


_FOLDS: dict[str, Callable[[Folder], Result]] = {
    "count": _count,
    "sum": _sum,
    "mean": _mean,
    "min": _extreme,
    "max": _extreme,
    "var": _moments,
    "std": _moments,
    "first": _edge,
    "last": _edge,
    "distinct": _distinct,
    "approx_distinct": _approx_distinct,
    "quantile": _quantile,
    "topk": _topk,
    "decayed_sum": _decayed,
    "ratio": _ratio,
    "latest": _latest,
}


def evaluate(feature: Feature, locator: Locator) -> Result:
    """The values of one feature (without secondary key) for every query.

    Shape: `(m,)` queries -> `(m,)` values, `(m, n)` for lists.

    Raises:
        NumericOverflow: an exact sum does not fit 64 bits.
    """
    return _FOLDS[feature.function](Folder(feature, locator))


def state_of(feature: Feature, locator: Locator) -> State:
    """The state of a count, sum, extreme or variance for every query, before it is finished: what a tile keeps.

    Raises:
        NumericOverflow: an exact sum does not fit 64 bits.
    """
    folder = Folder(feature, locator)
    if feature.function == "count":
        return {"n": _counts(folder)}
    if feature.function == "sum":
        return {"sum": _sums(folder)}
    if feature.function in {"min", "max"}:
        found = _extreme(folder)
        return {"value": found.values, "has": found.valid}
    return _moment_state(folder)


def hidden_rows(feature: Feature, locator: Locator) -> tuple[int, int]:
    """What hindsight would have leaked: over all queries the rows that had happened in the window and were not
    known yet, and the number of queries with any.
    """
    if locator.knows_all:
        return 0, 0
    folder = Folder(feature, locator)
    column = None if feature.function == "latest" else feature.column  # the newest row counts, null or not

    def fold() -> Array:
        n = _out(folder, "int64")
        folder.run(kernels.count_hidden, folder.history.mask(column, feature.predicate), n)
        return n.array

    found = locator.fold(("hidden", column, feature.predicate, feature.window), fold)
    return int(found.sum()), int(np.count_nonzero(found))
