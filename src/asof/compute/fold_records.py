"""A whole read in one kernel: records of several views become the values of all plain features of a service.

Every value comes from the kernels that training uses (`kernels.py`, `finish.py`); what stands here is only the way from
cells to their arguments. What to do is data, the `plan` that `read_plan.py` writes. Features that are no plain numbers
(text, lists, maps, sketches) are not folded here: they go through `History` and `aggregate.evaluate`.
"""

# ruff: noqa: ANN001, ANN201, C901, PLR0912, PLR0914, PLR0915 - kernels are loops over arrays, written out
# pyright: reportMissingParameterType=false, reportUnknownParameterType=false, reportUnknownVariableType=false
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUntypedFunctionDecorator=false

from __future__ import annotations

import numpy as np

from asof.compute._jit import kernel
from asof.compute.finish import finish_mean, finish_moments, finish_ratio
from asof.compute.kernels import (
    count_valid,
    decayed,
    deviations,
    drop_known_own,
    edge_rows,
    extreme,
    locate,
    sum_checked,
    sum_exact,
    sum_float,
)
from asof.compute.sort import running_max
from asof.compute.unpack import (
    EVENT,
    GOOD,
    KEY_HIGH,
    KEY_LOW,
    KEYED,
    KNOWN,
    TIMES,
    UNTIL,
    VALUES,
    count_rows,
    number,
    unpack_records,
)
from asof.define.window import END_US

COUNT, SUM, MEAN, EXTREME, MOMENTS, DECAYED, EDGE, LATEST, RATIO = range(9)
INTEGER, FLOAT, SCALED = (
    0,
    1,
    2,
)  # how a number of the plan is kept: int64, float64, or int64 over a power of ten
VIEW_WORDS, FEATURE_WORDS = 18, 14
DONE, SMALL, OVERFLOW, EARLY = -1, -2, -3, -4
PRESENT, NULL, MISSING, EXPIRED, STALE = range(5)
_SAFE = 2**62


@kernel
def largest_of(values, ok, n):
    """The largest absolute value among the valid ones."""
    top = 0
    for i in range(n):
        if ok[i]:
            top = max(top, abs(values[i]))
    return top


@kernel
def put_own(own, own_marks, cells, marks, columns, n, at, own_keyed):
    """Puts the own row of each query behind the rows."""
    size = own.shape[1]
    for e in range(size):
        cells[EVENT, n + e] = at
        for c in range(columns):
            cells[TIMES + c, n + e] = own[2 + c, e]
    for m in range(own_marks.shape[0] - 1):
        marks[VALUES + m, n : n + size] = own_marks[1 + m]
    return own_keyed


@kernel
def same_events(own, own_marks, starts, cells, marks, code, code_starts, code_rows):
    """For each query the rows that are the very event of its own row, as `drop_known_own` asks them."""
    k = 0
    for e in range(code.size):
        code[e] = e if own_marks[0, e] else -1
        code_starts[e] = k
        if own_marks[0, e]:
            for i in range(starts[e], starts[e + 1]):
                if marks[KEYED, i] and cells[KEY_LOW, i] == own[0, e] and cells[KEY_HIGH, i] == own[1, e]:
                    code_rows[k] = i
                    k += 1
    code_starts[code.size] = k


@kernel
def fold_windows(windows, edges, at, starts, cells, marks, final, rows, h, own, own_marks, has_own):
    """(a, p, b, own) of every window for every query, as `kernels.py` wants them."""
    n = starts.size - 1
    known, until, _ = h
    found = np.empty((windows.shape[0], 4, n), np.int64)
    all_known = until.size == 0
    for i in range(rows):
        if known[i] != cells[EVENT, i]:
            all_known = False
            break
    settled = cells[EVENT, :rows]
    if not all_known:
        last = np.empty(rows, np.int64)
        for i in range(rows):
            last[i] = known[i] if final[i] else until[i]
        settled = np.empty(rows, np.int64)
        running_max(starts, last, 0, n, settled)
    group = np.arange(n)
    vis = np.full(n, at)
    lo = np.empty(n, np.int64)
    hi = np.empty(n, np.int64)
    code = np.empty(0, np.int64)
    code_starts = np.empty(0, np.int64)
    code_rows = np.empty(0, np.int64)
    if has_own:
        code = np.empty(n, np.int64)
        code_starts = np.empty(n + 1, np.int64)
        code_rows = np.empty(rows, np.int64)
        same_events(own, own_marks, starts, cells, marks, code, code_starts, code_rows)
    for w in range(windows.shape[0]):
        lo[:] = edges[w, 0]
        hi[:] = edges[w, 1]
        a = found[w, 0]
        p = found[w, 1]
        b = found[w, 2]
        locate(group, lo, hi, vis, starts, cells[EVENT, :rows], settled, 0, n, a, p, b)
        if all_known:
            p[:] = b
        mine = found[w, 3]
        if has_own and windows[w, 0]:
            for e in range(n):
                mine[e] = rows + e
            drop_known_own(h, (a, p, b, vis, mine), code, code_starts, code_rows, 0, n)
        else:
            mine[:] = -1
    return found, vis


@kernel
def as_numbers(row, out, kind, power, into):
    """An output row as numbers: what a ratio divides."""
    if kind == FLOAT:
        into[:] = out[row].view(np.float64)
    elif kind == SCALED:
        for e in range(into.size):
            into[e] = np.float64(out[row, e]) / power
    else:
        for e in range(into.size):
            into[e] = np.float64(out[row, e])


@kernel
def fold_feature(f, numbers, cells, floats, marks, use, prefixes, found, vis, h, safe, at, out, ok, status):
    """One feature for every query; gives False where a sum does not fit 64 bits.

    `f` is (op, row of out, value slot, kind, mask, window, count prefix, sum prefix, a, b, c, ...), see read_plan.py.
    """
    op, row, slot, kind = f[0], f[1], f[2], f[3]
    n = out.shape[1]
    status[row, :] = 0
    to = out[row]
    to_float = to.view(np.float64)
    fine = ok[row]
    if op == RATIO:
        over = np.empty(n)
        under = np.empty(n)
        as_numbers(f[8], out, f[10], numbers[0], over)
        as_numbers(f[9], out, f[11], numbers[1], under)
        finish_ratio(over, ok[f[8]], under, ok[f[9]], numbers[2], to_float, fine)
        return True
    w = found[f[5]]
    q = (w[0], w[1], w[2], vis, w[3])
    mask = marks[f[4]]
    used = use[f[4]]
    good = True
    if op == COUNT:
        count_valid(h, q, prefixes[f[6]], mask, 0, n, to)
        fine[:] = True
    elif op == SUM and kind == FLOAT:
        sum_float(h, q, floats[slot], used, mask, 0, n, to_float)
        fine[:] = True
    elif op in (SUM, MEAN):
        count = np.empty(n, np.int64)
        total = np.empty(n, np.int64)
        real = np.empty(n)
        if kind == FLOAT:
            sum_float(h, q, floats[slot], used, mask, 0, n, real)
        elif safe[slot]:
            sum_exact(h, q, prefixes[f[7]], cells[slot], mask, 0, n, total)
        else:
            over = np.empty(n, np.bool_)
            sum_checked(h, q, cells[slot], mask, 0, n, total, over)
            good = not over.any()
        if op == SUM:
            to[:] = total
            fine[:] = True
        else:
            count_valid(h, q, prefixes[f[6]], mask, 0, n, count)
            if kind == FLOAT:
                finish_mean(count, real, numbers[0], to_float, fine)
            else:
                finish_mean(count, total, numbers[0], to_float, fine)
    elif op == EXTREME:
        if kind == FLOAT:
            extreme(h, q, floats[slot], used, mask, f[8] == 1, 0, n, to_float, fine)
        else:
            extreme(h, q, cells[slot], used, mask, f[8] == 1, 0, n, to, fine)
    elif op == MOMENTS:
        count = np.empty(n, np.int64)
        total = np.empty(n)
        mean = np.empty(n)
        m2 = np.empty(n)
        count_valid(h, q, prefixes[f[6]], mask, 0, n, count)
        sum_float(h, q, floats[slot], used, mask, 0, n, total)
        deviations(h, q, floats[slot], used, mask, count, total, 0, n, mean, m2)
        finish_moments(count, m2, f[8] == 1, to_float, fine)
    elif op == DECAYED:
        ages = np.full(n, at)
        decayed(h, q, floats[slot], mask, cells[EVENT], ages, numbers[0], 0, n, to_float)
        fine[:] = True
    else:
        rows = np.empty((n, 1), np.int64)
        if op == LATEST:
            q = (w[0], w[1], w[2], vis, np.full(n, -1))
        edge_rows(h, q, mask, 1, op == LATEST or f[8] == 1, 0, n, rows)
        for e in range(n):
            i = rows[e, 0]
            late = i >= 0 and f[10] == 1 and at - cells[EVENT, i] > f[11]  # older than its ttl
            fine[e] = i >= 0 and not late and (op == EDGE or marks[f[9], i])
            to[e] = cells[slot, i] if fine[e] else 0
            if late:
                status[row, e] = EXPIRED
    return good


@kernel
def fold_view(view, plan, numbers, starts, rows, at, edges, own, own_marks, cells, marks, out, ok, status):
    """All features of one view, whose rows are in `cells`; gives False where a sum does not fit 64 bits."""
    columns, predicates = view[0], view[1]
    n = starts.size - 1
    has_own = view[12] and own.shape[1] == n
    total = rows + n if has_own else rows
    if has_own:
        put_own(own, own_marks, cells, marks, columns, rows, at, True)
    at_least = max(total, 1)
    final = np.empty(rows, np.bool_)
    revised = False
    for i in range(rows):
        final[i] = cells[UNTIL, i] == END_US
        if not final[i]:
            revised = True
    h = (cells[KNOWN, :rows], cells[UNTIL, :rows] if revised else cells[UNTIL, :0], final)
    slots = TIMES + columns
    floats = cells.view(np.float64)
    table = plan[view[2] : view[3]].reshape(-1, 2)
    for k in range(table.shape[0]):  # columns as floats: decimals over their scale, as `Column.floats`
        power = 10.0 ** table[k, 1]
        for i in range(total):
            value = np.float64(cells[TIMES + table[k, 0], i])
            floats[slots + k, i] = value / power if table[k, 1] else value
    slots += table.shape[0]
    table = plan[view[4] : view[5]].reshape(-1, 2)
    masks = np.empty((table.shape[0], at_least), np.bool_)
    use = np.empty((table.shape[0], at_least), np.bool_)
    for k in range(table.shape[0]):
        for i in range(total):
            counts = table[k, 0] < 0 or marks[VALUES + table[k, 0], i]
            masks[k, i] = counts and (table[k, 1] < 0 or marks[VALUES + columns + table[k, 1], i])
            if i < rows:
                use[k, i] = masks[k, i] and final[i]
    everything = np.empty((masks.shape[0] + columns, at_least), np.bool_)
    for k in range(masks.shape[0]):
        everything[k] = masks[k]
    for c in range(columns):
        everything[masks.shape[0] + c, :total] = marks[VALUES + c, :total]
    longest = 0
    for e in range(n):
        longest = max(longest, starts[e + 1] - starts[e])
    safe = np.ones(slots, np.bool_)
    table = plan[view[6] : view[7]].reshape(-1, 3)
    prefixes = np.empty((table.shape[0], rows + 1), np.int64)
    for k in range(table.shape[0]):
        prefixes[k, 0] = 0
        m = table[k, 1]
        if table[k, 0] == 0:
            for i in range(rows):
                prefixes[k, i + 1] = prefixes[k, i] + use[m, i]
        else:
            slot = TIMES + table[k, 2]
            safe[slot] = largest_of(cells[slot], marks[VALUES + table[k, 2]], total) < _SAFE // (longest + 1)
            for i in range(rows):
                prefixes[k, i + 1] = prefixes[k, i] + (cells[slot, i] if use[m, i] else 0)
    windows = plan[view[8] : view[9]].reshape(-1, 1)
    found, vis = fold_windows(
        windows, edges[view[13] : view[14]], at, starts, cells, marks, final, rows, h, own, own_marks, has_own
    )
    good = True
    table = plan[view[10] : view[11]].reshape(-1, FEATURE_WORDS)
    for k in range(table.shape[0]):
        good &= fold_feature(
            table[k],
            numbers[table[k, 12] : table[k, 12] + 3],
            cells,
            floats,
            everything,
            use,
            prefixes,
            found,
            vis,
            h,
            safe,
            at,
            out,
            ok,
            status,
        )
    return good


@kernel
def newest_of(cells, start, stop, at):
    """The newest event time among the visible rows, -2^62 without any."""
    newest = -(2**62)
    for i in range(start, stop):
        if cells[KNOWN, i] <= at and cells[UNTIL, i] > at:
            newest = max(newest, cells[EVENT, i])
    return newest


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
    data, offsets, plan, numbers, now, edges, own, own_marks, cells, marks, out, ok, status, info
):
    """All plain features of all views for n entities. Records come view by view: record v * n + e.

    Args:
        data, offsets: the records, `data[offsets[r]:offsets[r + 1]]`.
        plan, numbers: see read_plan.py.
        now: the instant that asks, and for each view 1 where it is stale.
        edges: (windows, 2) the half-open ranges of event times.
        own, own_marks: for each view whose own rows count, (2 + columns, n) event keys and values, and (1 + columns +
            predicates, n) which of them there are; below each other. Of width 0 where no own row counts.
        cells, marks: room for rows, see unpack.py.
        out, ok: (rows, n) bits of the values, and where they are not null.
        status: (rows, n) what each value is worth, see `PRESENT` and the others here.
        info: (records, 2) newest visible event time of an entity, and its rows.

    Gives DONE; SMALL where `cells` has too few columns (`info[0, 0]` says how many are needed); OVERFLOW; EARLY where a
    record does not reach back to the instant; or the number of the first bad record.
    """
    at = now[0]
    views = plan[1 : 1 + plan[0] * VIEW_WORDS].reshape(-1, VIEW_WORDS)
    n = (offsets.size - 1) // views.shape[0]
    starts = np.empty(n + 1, np.int64)
    for v in range(views.shape[0]):
        view = views[v]
        columns = view[0]
        mine = offsets[v * n : (v + 1) * n + 1]
        rows, worst = count_rows(data, mine)
        if worst != GOOD:
            rows = 0
        if rows + n + 1 > cells.shape[1]:
            info[0, 0] = rows + n + 1
            return SMALL
        texts = np.empty((n, 2, columns), np.int64)
        is_text = plan[view[15] : view[15] + columns]
        bad = unpack_records(data, mine, columns, view[1], is_text, cells, marks, starts, texts)
        if bad >= 0:
            return v * n + bad
        rows = starts[n]
        for e in range(n):
            r = v * n + e
            if mine[e + 1] > mine[e] and number(data, mine[e] + 16, 8) > at:
                return EARLY
            info[r, 0] = newest_of(cells, starts[e], starts[e + 1], at)
            info[r, 1] = starts[e + 1] - starts[e]
        mine_own = own[view[16] : view[16] + 2 + columns]
        mine_marks = own_marks[view[17] : view[17] + 1 + columns + view[1]]
        if not fold_view(
            view, plan, numbers, starts, rows, at, edges, mine_own, mine_marks, cells, marks, out, ok, status
        ):
            return OVERFLOW
        table = plan[view[10] : view[11]].reshape(-1, FEATURE_WORDS)
        for k in range(table.shape[0]):
            put_status(table[k, 1], now[1 + v], info[v * n : (v + 1) * n], ok, status)
    return DONE
