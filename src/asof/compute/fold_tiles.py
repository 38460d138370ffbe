"""Features of records with tiles: the state of the tiles in a window, merged with that of the rows after them.

The tiles of a window are a range of rows of their own table, so that the kernels that fold rows fold them too.
"""

# ruff: noqa: ANN001, ANN201 - kernels are loops over arrays, written out
# pyright: reportMissingParameterType=false, reportUnknownParameterType=false, reportUnknownVariableType=false
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUntypedFunctionDecorator=false

from __future__ import annotations

import numpy as np

from asof.compute._jit import inlined, kernel
from asof.compute.finish import finish_mean, finish_moments, merged_moments
from asof.compute.fold_features import COUNT, EXTREME, FLOAT, MEAN, SUM
from asof.compute.kernels import (
    count_valid,
    deviations,
    extreme,
    lower_bound,
    sum_checked,
    sum_float,
)
from asof.compute.unpack import EVENT, TIMES, VALUES


@kernel
def tile_windows(lo, starts, cells, at, found):
    """(a, p, b, own) of a window that begins at `lo` over the tiles: those from there on; all are settled."""
    for e in range(starts.size - 1):
        found[0, e] = lower_bound(cells[EVENT], starts[e], starts[e + 1], lo)
        found[1, e] = starts[e + 1]
        found[2, e] = starts[e + 1]
        found[3, e] = -1
        found[4, e] = at


@kernel
def add_checked(left, right, out):
    """`out` = left + right; False where that leaves int64."""
    good = True
    for e in range(out.size):
        total = left[e] + right[e]
        if ((left[e] ^ total) & (right[e] ^ total)) < 0:
            good = False
        out[e] = total
    return good


@kernel
def better_of(left, has_left, right, has_right, largest, out, ok):
    """The larger (or smaller) of two extremes, of which either may be missing."""
    for e in range(out.size):
        ok[e] = has_left[e] or has_right[e]
        value = left[e]
        if has_right[e] and (not has_left[e] or (right[e] > value if largest else right[e] < value)):
            value = right[e]
        out[e] = value if ok[e] else left[e] - left[e]


@kernel
def merge_tile_moments(q, counts, means, m2s, n, mean, m2):
    """Merges the moments of the tiles in each window, oldest first, and then those of its rows; in place."""
    for e in range(n.size):
        total = 0
        middle = 0.0
        spread = 0.0
        for i in range(q[0][e], q[2][e]):
            total, middle, spread = merged_moments(total, middle, spread, counts[i], means[i], m2s[i])
        n[e], mean[e], m2[e] = merged_moments(total, middle, spread, n[e], mean[e], m2[e])


@kernel
def tiled_counts(f, mask, h, q, prefixes, tile_h, tile_q, tile_cells, tile_marks, into, spare):
    """The counts of rows and tiles together."""
    n = into.size
    over = np.empty(n, np.bool_)
    count_valid(h, q, prefixes[f[6]], mask, 0, n, into)
    place = f[13]
    sum_checked(tile_h, tile_q, tile_cells[TIMES + place], tile_marks[VALUES + place], 0, n, spare, over)
    for e in range(n):
        into[e] += spare[e]


@inlined
def tiled_sum(
    f,
    power,
    cells,
    floats,
    mask,
    used,
    prefixes,
    h,
    q,
    tile_h,
    tile_q,
    tile_cells,
    tile_marks,
    to,
    fine,
    spare,
):
    """A sum or a mean; gives False where a sum does not fit 64 bits."""
    op, slot, kind, place = f[0], f[2], f[3], f[14]
    n = to.size
    reals, over = spare.view(np.float64), np.empty(n, np.bool_)
    valid = tile_marks[VALUES + place]
    good = True
    if kind == FLOAT:
        sum_float(tile_h, tile_q, tile_cells.view(np.float64)[TIMES + place], valid, valid, 0, n, reals[0])
        sum_float(h, q, floats[slot], used, mask, 0, n, reals[1])
        for e in range(n):
            reals[2, e] = reals[0, e] + reals[1, e]
    else:
        sum_checked(tile_h, tile_q, tile_cells[TIMES + place], valid, 0, n, spare[0], over)
        good = not over.any()
        sum_checked(h, q, cells[slot], mask, 0, n, spare[1], over)
        good = good and not over.any() and add_checked(spare[0], spare[1], spare[2])
    if op == SUM:
        to[:] = spare[2]
        fine[:] = True
        return good
    tiled_counts(f, mask, h, q, prefixes, tile_h, tile_q, tile_cells, tile_marks, spare[0], spare[1])
    if kind == FLOAT:
        finish_mean(spare[0], reals[2], power, to.view(np.float64), fine)
    else:
        finish_mean(spare[0], spare[2], power, to.view(np.float64), fine)
    return good


@inlined
def tiled_extreme(
    f, cells, floats, mask, used, h, q, tile_h, tile_q, tile_cells, tile_marks, to, fine, spare
):
    """The largest or smallest value of tiles and rows."""
    slot, place, largest = f[2], f[14], f[8] == 1
    n = to.size
    valid = tile_marks[VALUES + place]
    there, more = np.empty(n, np.bool_), np.empty(n, np.bool_)
    if f[3] == FLOAT:
        reals, tile_floats = spare.view(np.float64), tile_cells.view(np.float64)
        extreme(tile_h, tile_q, tile_floats[TIMES + place], valid, valid, largest, 0, n, reals[0], there)
        extreme(h, q, floats[slot], used, mask, largest, 0, n, reals[1], more)
        better_of(reals[0], there, reals[1], more, largest, to.view(np.float64), fine)
    else:
        extreme(tile_h, tile_q, tile_cells[TIMES + place], valid, valid, largest, 0, n, spare[0], there)
        extreme(h, q, cells[slot], used, mask, largest, 0, n, spare[1], more)
        better_of(spare[0], there, spare[1], more, largest, to, fine)


@kernel
def tiled_feature(
    f,
    power,
    cells,
    floats,
    mask,
    used,
    prefixes,
    h,
    q,
    tile_h,
    tile_q,
    tile_cells,
    tile_marks,
    to,
    fine,
    spare,
):
    """One feature of a view with tiles for every query; gives False where a sum does not fit 64 bits.

    `f` as in `fold_feature`; beyond that the places of the feature's states among the tiles' columns: count (13), sum,
    extreme or mean (14), and M2 (15).
    """
    op, slot = f[0], f[2]
    if op == COUNT:
        tiled_counts(f, mask, h, q, prefixes, tile_h, tile_q, tile_cells, tile_marks, to, spare[0])
        fine[:] = True
    elif op in (SUM, MEAN):
        return tiled_sum(
            f,
            power,
            cells,
            floats,
            mask,
            used,
            prefixes,
            h,
            q,
            tile_h,
            tile_q,
            tile_cells,
            tile_marks,
            to,
            fine,
            spare,
        )
    elif op == EXTREME:
        tiled_extreme(
            f, cells, floats, mask, used, h, q, tile_h, tile_q, tile_cells, tile_marks, to, fine, spare
        )
    else:
        n, reals, tile_floats = to.size, spare.view(np.float64), tile_cells.view(np.float64)
        count_valid(h, q, prefixes[f[6]], mask, 0, n, spare[0])
        sum_float(h, q, floats[slot], used, mask, 0, n, reals[1])
        deviations(h, q, floats[slot], used, mask, spare[0], reals[1], 0, n, reals[2], reals[3])
        merge_tile_moments(
            tile_q, tile_cells[TIMES + f[13]], tile_floats[TIMES + f[14]], tile_floats[TIMES + f[15]], spare[0],
            reals[2], reals[3],
        )  # fmt: skip
        finish_moments(spare[0], reals[3], f[8] == 1, to.view(np.float64), fine)
    return True
