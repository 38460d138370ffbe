"""A whole read in one kernel: records of several views become the values of all plain features of a service.

Every value comes from the kernels that training uses (`kernels.py`, `finish.py`); here and in `fold_features.py` is
only the way from cells to their arguments. What to do is data, the `plan` that `read_plan.py` writes. Features that are
no plain values (lists, maps, sketches) are not folded here: they go through `History` and `aggregate.evaluate`.
"""

# ruff: noqa: ANN001, ANN201, D417, PLR0915 - kernels are loops over arrays, written out
# pyright: reportMissingParameterType=false, reportUnknownParameterType=false, reportUnknownVariableType=false
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUntypedFunctionDecorator=false

from __future__ import annotations

import numpy as np

from asof.compute._jit import borrowed, inlined, kernel
from asof.compute.fold_features import (
    EXPIRED,
    MISSING,
    NULL,
    PRESENT,
    RATIO,
    STALE,
    fold_feature,
    fold_nothing,
    fold_ratio,
    fold_windows,
    own_windows,
    put_floats,
    put_masks,
    put_own,
    put_prefixes,
    settle,
)
from asof.compute.fold_tiles import tile_windows, tiled_feature
from asof.compute.unpack import (
    EVENT,
    KNOWN,
    TIMES,
    UNTIL,
    VALUES,
    count_rows,
    count_tiles,
    number,
    unpack_records,
    unpack_tiles,
)
from asof.define.window import END_US

VIEW_WORDS, FEATURE_WORDS = 19, 17
DONE, SMALL, OVERFLOW, EARLY = -1, -2, -3, -4


@inlined
def fold_all(
    view,
    features,
    numbers,
    at,
    edges,
    cells,
    floats,
    marks,
    masks,
    use,
    prefixes,
    found,
    vis,
    h,
    safe,
    out,
    ok,
    status,
    spare,
    data,
    texts,
    tile_starts,
    tile_cells,
    tile_marks,
):
    """The features of one view one after the other; gives False where a sum does not fit 64 bits."""
    tile_found = np.empty((5, vis.size if view[18] else 0), np.int64)
    tile_h = (tile_cells[EVENT], tile_cells[EVENT, :0], np.ones(tile_cells.shape[1], np.bool_))
    good = True
    for k in range(features.shape[0]):
        f = features[k]
        mine = numbers[f[12] : f[12] + 3]
        status[f[1], :] = 0
        if f[0] == RATIO:
            fold_ratio(f, mine, out, ok, spare)
        elif view[18]:
            w = found[f[5]]
            tile_windows(edges[view[13] + f[5], 0], tile_starts, tile_cells, at, tile_found)
            tile_q = (tile_found[0], tile_found[1], tile_found[2], tile_found[4], tile_found[3])
            good &= tiled_feature(
                f,
                mine[0],
                cells,
                floats,
                masks[f[4]],
                use[f[4]],
                prefixes,
                h,
                (w[0], w[1], w[2], vis, w[3]),
                tile_h,
                tile_q,
                tile_cells,
                tile_marks,
                out[f[1]],
                ok[f[1]],
                spare,
            )
        else:
            good &= fold_feature(
                f,
                mine,
                at,
                cells,
                floats,
                marks,
                masks,
                use,
                prefixes,
                found[f[5]],
                vis,
                h,
                safe,
                out,
                ok,
                status,
                spare,
                data,
                texts,
            )
    return good


@kernel
def fold_view(
    view,
    plan,
    numbers,
    starts,
    rows,
    at,
    edges,
    own,
    own_marks,
    cells,
    marks,
    out,
    ok,
    status,
    data,
    texts,
    tile_starts,
    tile_cells,
    tile_marks,
):
    """All features of one view, whose rows are in `cells`; gives False where a sum does not fit 64 bits."""
    columns = view[0]
    n = starts.size - 1
    total = rows
    features = plan[view[10] : view[11]].reshape(-1, FEATURE_WORDS)
    if rows == 0 and tile_cells.shape[1] <= 1 and not (view[12] and own.shape[1] == n):
        nothing = np.empty((2, n), np.int64)
        for k in range(features.shape[0]):
            f = features[k]
            fold_nothing(f, numbers[f[12] : f[12] + 3], out, ok, status, nothing)
        return True
    if view[12] and own.shape[1] == n:
        put_own(own, own_marks, cells, marks, columns, rows, at)
        total = rows + n
    room = max(total, 1)
    mask_table = plan[view[4] : view[5]].reshape(-1, 2)
    prefix_table = plan[view[6] : view[7]].reshape(-1, 3)
    windows = plan[view[8] : view[9]].reshape(-1, 1)
    bits_ = np.empty((1 + 2 * mask_table.shape[0], room), np.bool_)
    bits = borrowed(bits_)
    masks, use, final = bits[1 : 1 + mask_table.shape[0]], bits[1 + mask_table.shape[0] :], bits[0, :rows]
    words_ = np.empty((1 + prefix_table.shape[0], room + 1), np.int64)
    cells = borrowed(cells)
    marks = borrowed(marks)
    out = borrowed(out)
    ok = borrowed(ok)
    status = borrowed(status)
    features = borrowed(features)
    numbers = borrowed(numbers)
    words = borrowed(words_)
    settled, prefixes = words[0], words[1:]
    per_query_ = np.empty((8 + 4 * windows.shape[0], n), np.int64)
    per_query = borrowed(per_query_)
    queries, spare = per_query[:4], per_query[4:8]
    found = per_query[8:].reshape(windows.shape[0], 4, n)
    safe_ = np.ones(cells.shape[0], np.bool_)
    safe = borrowed(safe_)
    floats = cells.view(np.float64)
    known_all = True
    revised = False
    for i in range(rows):
        final[i] = cells[UNTIL, i] == END_US
        revised |= not final[i]
        known_all &= cells[KNOWN, i] == cells[EVENT, i]
    known_all &= not revised
    h = (cells[KNOWN, :rows], cells[UNTIL, :rows] if revised else cells[UNTIL, :0], final)
    longest = 0
    for e in range(n):
        longest = max(longest, starts[e + 1] - starts[e])
        queries[0, e] = e
        queries[1, e] = at
    put_floats(plan[view[2] : view[3]].reshape(-1, 2), columns, total, cells, floats)
    put_masks(mask_table, columns, rows, total, marks, final, masks, use)
    put_prefixes(prefix_table, rows, total, longest, cells, marks, use, prefixes, safe)
    settle(starts, cells, final, rows, known_all, settled)
    fold_windows(windows, edges[view[13] : view[14]], queries, starts, cells, settled, known_all, rows, found)
    if total > rows:
        own_windows(windows, starts, cells, marks, h, queries[1], own, own_marks, rows, found)
    good = fold_all(
        view,
        features,
        numbers,
        at,
        edges,
        cells,
        floats,
        marks,
        masks,
        use,
        prefixes,
        found,
        queries[1],
        h,
        safe,
        out,
        ok,
        status,
        spare,
        data,
        texts,
        tile_starts,
        tile_cells,
        tile_marks,
    )
    # What was borrowed lives until here.
    return good and bits_.size + words_.size + per_query_.size + safe_.size > 0


@kernel
def newest_of(cells, start, stop, at):
    """The newest event time among the visible rows, -2^62 without any."""
    newest = -(2**62)
    for i in range(start, stop):
        if cells[KNOWN, i] <= at and cells[UNTIL, i] > at:
            newest = max(newest, cells[EVENT, i])
    return newest


@kernel
def note_rows(data, offsets, starts, cells, at, info):
    """Notes each entity's newest visible event time and its rows; False where a record does not reach back to `at`."""
    for e in range(info.shape[0]):
        if offsets[e + 1] > offsets[e] and number(data, offsets[e] + 16, 8) > at:
            return False
        info[e, 0] = newest_of(cells, starts[e], starts[e + 1], at)
        info[e, 1] = starts[e + 1] - starts[e]
        info[e, 2] = number(data, offsets[e] + 8, 8) if offsets[e + 1] > offsets[e] else -(2**62)
    return True


@kernel
def tiles_of_view(data, offsets, columns):
    """(starts, cells, marks) of the tiles of records, with the number of the first corrupt one or -1; of no columns:
    empty.
    """
    starts = np.zeros(offsets.size, np.int64)
    size = count_tiles(data, offsets) + 1 if columns else 0
    cells = np.empty((TIMES + columns, size), np.int64)
    marks = np.empty((VALUES + columns, size), np.bool_)
    bad = unpack_tiles(data, offsets, columns, cells, marks, starts) if columns else -1
    return starts, cells, marks, bad


@kernel
def note_tiles(data, offsets, tile_starts, at, info):
    """Counts tiles as rows; where no row is left, the newest event time is the one that the record's header tells."""
    for e in range(info.shape[0]):
        info[e, 1] += tile_starts[e + 1] - tile_starts[e]
        if offsets[e + 1] > offsets[e]:
            newest = number(data, offsets[e] + 24, 8)
            if newest <= at and newest > info[e, 0]:
                info[e, 0] = newest


@kernel
def put_status(row, stale, info, ok, status):
    """What the values of a feature are worth; where one is EXPIRED stands there already."""
    for e in range(info.shape[0]):
        if info[e, 1] == 0:
            status[row, e] = MISSING
        elif status[row, e] != EXPIRED:
            status[row, e] = STALE if stale else (PRESENT if ok[row, e] else NULL)


@kernel
def fold_records(
    data, offsets, plan, numbers, instants, stale, own, own_marks, cells, marks, out, ok, status, info
):
    """All plain features of all views for n entities. Records come view by view: record v * n + e.

    Args:
        data, offsets: the records, `data[offsets[r]:offsets[r + 1]]`.
        plan, numbers: see read_plan.py.
        instants: the instant that asks, and then the half-open ranges of event times of all windows.
        stale: for each view whether it is stale.
        own, own_marks: for each view whose own rows count, (2 + columns, n) event keys and values, and (1 + columns +
            predicates, n) which of them there are; below each other. Of width 0 where no own row counts.
        cells, marks: room for rows, see unpack.py.
        out, ok: (rows, n) bits of the values, and where they are not null.
        status: (rows, n) what each value is worth, see `PRESENT` and the others here.
        info: (records, 3) newest visible event time of an entity, its rows, and its record's watermark.

    Gives DONE; SMALL where `cells` has too few columns (`info[0, 0]` says how many are needed); OVERFLOW; EARLY where a
    record does not reach back to the instant; or the number of the first bad record.
    """
    at = instants[0]
    edges = instants[1:].reshape(-1, 2)
    views = plan[1 : 1 + plan[0] * VIEW_WORDS].reshape(-1, VIEW_WORDS)
    n = (offsets.size - 1) // views.shape[0]
    starts = np.empty(n + 1, np.int64)
    for v in range(views.shape[0]):
        view = views[v]
        columns = view[0]
        mine = offsets[v * n : (v + 1) * n + 1]
        rows, _ = count_rows(
            data, mine
        )  # those before a bad record are unpacked, so they need their room too
        if rows + n + 1 > cells.shape[1]:
            info[0, 0] = rows + n + 1
            return SMALL
        texts = np.empty((n, 2, columns), np.int64)
        is_text = plan[view[15] : view[15] + columns]
        bad = unpack_records(data, mine, columns, view[1], is_text, cells, marks, starts, texts)
        if bad >= 0:
            return v * n + bad
        rows = starts[n]
        if not note_rows(data, mine, starts, cells, at, info[v * n : (v + 1) * n]):
            return EARLY
        tile_starts, tile_cells, tile_marks, bad = tiles_of_view(data, mine, view[18])
        if bad >= 0:
            return v * n + bad
        if view[18]:
            note_tiles(data, mine, tile_starts, at, info[v * n : (v + 1) * n])
        mine_own = own[view[16] : view[16] + 2 + columns]
        mine_marks = own_marks[view[17] : view[17] + 1 + columns + view[1]]
        if not fold_view(
            view,
            plan,
            numbers,
            starts,
            rows,
            at,
            edges,
            mine_own,
            mine_marks,
            cells,
            marks,
            out,
            ok,
            status,
            data,
            texts,
            tile_starts,
            tile_cells,
            tile_marks,
        ):
            return OVERFLOW
        table = plan[view[10] : view[11]].reshape(-1, FEATURE_WORDS)
        for k in range(table.shape[0]):
            put_status(table[k, 1], stale[v], info[v * n : (v + 1) * n], ok, status)
    return DONE
