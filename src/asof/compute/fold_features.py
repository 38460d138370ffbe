"""One feature over the rows of records: the way from cells to the arguments of the kernels that training uses.

`fold_records.py` goes through views and features and calls what stands here, as a part of itself (`inlined`): with so
many arrays to hand on, calls would cost more than the folds. The words of a feature are told in `read_plan.py`.
"""

# ruff: noqa: ANN001, ANN201 - kernels are loops over arrays, written out
# pyright: reportMissingParameterType=false, reportUnknownParameterType=false, reportUnknownVariableType=false
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUntypedFunctionDecorator=false

from __future__ import annotations

import numpy as np

from asof.compute._jit import inlined, kernel
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
from asof.compute.unpack import EVENT, KEY_HIGH, KEY_LOW, KEYED, KNOWN, TIMES, UNTIL, VALUES, number

count_here = inlined(count_valid.function)
sum_here = inlined(sum_exact.function)
extreme_here = inlined(extreme.function)
locate_here = inlined(locate.function)
COUNT, SUM, MEAN, EXTREME, MOMENTS, DECAYED, EDGE, LATEST, RATIO = range(9)
INTEGER, FLOAT, SCALED, TEXT = range(4)
"""How a value is kept in `out`: int64, bits of float64, int64 over a power of ten; of a text where it stands in the
records: position << 24 | bytes."""
PRESENT, NULL, MISSING, EXPIRED, STALE = range(5)
NOBODY = -1  # in place of the event key of an own row that counts for no entity
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
def put_own(own, own_marks, cells, marks, columns, n, at):
    """Puts the own row of each query behind the rows."""
    size = own.shape[1]
    for e in range(size):
        cells[EVENT, n + e] = at
        for c in range(columns):
            cells[TIMES + c, n + e] = own[2 + c, e]
    for m in range(own_marks.shape[0] - 1):
        marks[VALUES + m, n : n + size] = own_marks[1 + m]


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


@inlined
def settle(starts, cells, final, rows, known_all, settled):
    """For each row the instant from which it and all rows before it in its entity change no more."""
    if known_all:
        settled[:rows] = cells[EVENT, :rows]
        return
    for i in range(rows):
        settled[i] = cells[KNOWN, i] if final[i] else cells[UNTIL, i]
    for e in range(starts.size - 1):
        for i in range(starts[e] + 1, starts[e + 1]):
            settled[i] = max(settled[i], settled[i - 1])


@inlined
def fold_windows(windows, edges, queries, starts, cells, settled, known_all, rows, found):
    """(a, p, b, own) of every window for every query, as `kernels.py` wants them; `own` without the own rows."""
    n = starts.size - 1
    group, vis, lo, hi = queries[0], queries[1], queries[2], queries[3]
    for w in range(windows.shape[0]):
        lo[:] = edges[w, 0]
        hi[:] = edges[w, 1]
        locate_here(
            group,
            lo,
            hi,
            vis,
            starts,
            cells[EVENT, :rows],
            settled,
            0,
            n,
            found[w, 0],
            found[w, 1],
            found[w, 2],
        )
        if known_all:
            found[w, 1] = found[w, 2]
        found[w, 3] = -1


@inlined
def own_windows(windows, starts, cells, marks, h, vis, own, own_marks, rows, found):
    """Puts the own rows into the windows that count them, but where the window holds the very event already."""
    n = starts.size - 1
    code = np.empty(n, np.int64)
    code_starts = np.empty(n + 1, np.int64)
    code_rows = np.empty(rows, np.int64)
    same_events(own, own_marks, starts, cells, marks, code, code_starts, code_rows)
    for w in range(windows.shape[0]):
        if windows[w, 0]:
            for e in range(n):
                nobody = own[0, e] == NOBODY and not own_marks[0, e]
                found[w, 3, e] = -1 if nobody else rows + e
            q = (found[w, 0], found[w, 1], found[w, 2], vis, found[w, 3])
            drop_known_own(h, q, code, code_starts, code_rows, 0, n)


@inlined
def as_numbers(bits, kind, power, into):
    """An output row as numbers: what a ratio divides."""
    if kind == FLOAT:
        into[:] = bits.view(np.float64)
    elif kind == SCALED:
        for e in range(into.size):
            into[e] = np.float64(bits[e]) / power
    else:
        for e in range(into.size):
            into[e] = np.float64(bits[e])


@inlined
def fold_ratio(f, numbers, out, ok, spare):
    """A ratio of two features that are folded already."""
    reals = spare.view(np.float64)
    as_numbers(out[f[8]], f[10], numbers[0], reals[0])
    as_numbers(out[f[9]], f[11], numbers[1], reals[1])
    finish_ratio(reals[0], ok[f[8]], reals[1], ok[f[9]], numbers[2], out[f[1]].view(np.float64), ok[f[1]])


@inlined
def fold_sum(f, power, cells, floats, mask, used, prefixes, h, q, safe, to, fine, spare):
    """A sum or a mean; gives False where a sum does not fit 64 bits."""
    op, slot, kind = f[0], f[2], f[3]
    n = to.size
    reals = spare.view(np.float64)
    good = True
    if kind == FLOAT:
        sum_float(h, q, floats[slot], used, mask, 0, n, reals[0])
    elif safe[slot]:
        sum_here(h, q, prefixes[f[7]], cells[slot], mask, 0, n, spare[0])
    else:
        over = np.empty(n, np.bool_)
        sum_checked(h, q, cells[slot], mask, 0, n, spare[0], over)
        good = not over.any()
    if op == SUM:
        to[:] = spare[0]
        fine[:] = True
        return good
    count_here(h, q, prefixes[f[6]], mask, 0, n, spare[1])
    if kind == FLOAT:
        finish_mean(spare[1], reals[0], power, to.view(np.float64), fine)
    else:
        finish_mean(spare[1], spare[0], power, to.view(np.float64), fine)
    return good


@kernel
def text_at(data, first, second, code):
    """Where the text of a code stands: in the dictionary of the batch part, or in that of the stream part behind it."""
    position = first
    count = number(data, first, 4)
    if code >= count:
        code -= count
        position = second
        count = number(data, second, 4) if second >= 0 else 0
    if code < 0 or code >= count:  # only in a corrupt record
        return 0
    base = position + 4 + 4 * count
    start = number(data, position + 4 * code, 4) if code else 0
    stop = number(data, position + 4 + 4 * code, 4)
    if base + stop > data.size or start > stop:
        return 0
    return base + start << 24 | stop - start


@inlined
def fold_edge(f, at, cells, marks, mask, h, q, to, fine, status, spare, data, texts):
    """The newest or oldest value, or the newest row's value within its ttl."""
    op, slot = f[0], f[2]
    n = to.size
    rows = spare[0, :n].reshape(n, 1)
    if op == LATEST:
        spare[1, :] = -1
        q = (q[0], q[1], q[2], q[3], spare[1])
    edge_rows(h, q, mask, 1, op == LATEST or f[8] == 1, 0, n, rows)
    for e in range(n):
        i = rows[e, 0]
        late = i >= 0 and f[10] == 1 and at - cells[EVENT, i] > f[11]  # older than its ttl
        fine[e] = i >= 0 and not late and (op == EDGE or marks[f[9], i])
        to[e] = cells[slot, i] if fine[e] else 0
        if f[3] == TEXT and fine[e]:
            to[e] = text_at(data, texts[e, 0, slot - TIMES], texts[e, 1, slot - TIMES], to[e])
        if late:
            status[e] = EXPIRED


@inlined
def fold_nothing(f, numbers, out, ok, status, spare):
    """A feature of entities that have no rows at all: 0 for counts and sums, else null; a ratio of such."""
    op, row = f[0], f[1]
    status[row, :] = 0
    if op == RATIO:
        fold_ratio(f, numbers, out, ok, spare)
    else:
        out[row, :] = 0
        ok[row, :] = op in (COUNT, SUM, DECAYED)


@inlined
def fold_feature(
    f,
    numbers,
    at,
    cells,
    floats,
    marks,
    masks,
    use,
    prefixes,
    w,
    vis,
    h,
    safe,
    out,
    ok,
    status,
    spare,
    data,
    texts,
):
    """One feature for every query; gives False where a sum does not fit 64 bits.

    `f` is (op, row of out, value slot, kind, mask, window, count prefix, sum prefix, a, b, c, ...), see read_plan.py;
    `spare` has room for numbers of each query.
    """
    op, row, slot, kind = f[0], f[1], f[2], f[3]
    to = out[row]
    fine = ok[row]
    n = to.size
    q = (w[0], w[1], w[2], vis, w[3])
    mask = masks[f[4]]
    used = use[f[4]]
    if op == COUNT:
        count_here(h, q, prefixes[f[6]], mask, 0, n, to)
        fine[:] = True
    elif op in (SUM, MEAN):
        return fold_sum(f, numbers[0], cells, floats, mask, used, prefixes, h, q, safe, to, fine, spare)
    elif op == EXTREME:
        if kind == FLOAT:
            extreme_here(h, q, floats[slot], used, mask, f[8] == 1, 0, n, to.view(np.float64), fine)
        else:
            extreme_here(h, q, cells[slot], used, mask, f[8] == 1, 0, n, to, fine)
    elif op == MOMENTS:
        reals = spare.view(np.float64)
        count_here(h, q, prefixes[f[6]], mask, 0, n, spare[0])
        sum_float(h, q, floats[slot], used, mask, 0, n, reals[1])
        deviations(h, q, floats[slot], used, mask, spare[0], reals[1], 0, n, reals[2], reals[3])
        finish_moments(spare[0], reals[3], f[8] == 1, to.view(np.float64), fine)
    elif op == DECAYED:
        decayed(h, q, floats[slot], mask, cells[EVENT], vis, numbers[0], 0, n, to.view(np.float64))
        fine[:] = True
    else:
        fold_edge(f, at, cells, marks, mask, h, q, to, fine, status[row], spare, data, texts)
    return True


@inlined
def put_floats(table, columns, total, cells, floats):
    """Columns as floats, as `Column.floats` gives them: decimals over their scale."""
    for k in range(table.shape[0]):
        power = 10.0 ** table[k, 1]
        for i in range(total):
            value = np.float64(cells[TIMES + table[k, 0], i])
            floats[TIMES + columns + k, i] = value / power if table[k, 1] else value


@inlined
def put_masks(table, columns, rows, total, marks, final, masks, use):
    """For each column and predicate the rows that count, and those of them that are final."""
    for k in range(table.shape[0]):
        column, predicate = table[k, 0], table[k, 1]
        if column >= 0:
            masks[k, :total] = marks[VALUES + column, :total]
        else:
            masks[k, :total] = True
        if predicate >= 0:
            for i in range(total):
                masks[k, i] &= marks[VALUES + columns + predicate, i]
        for i in range(rows):
            use[k, i] = masks[k, i] and final[i]


@inlined
def put_prefixes(table, rows, total, longest, cells, marks, use, prefixes, safe):
    """Prefix sums of 1 or of a column over final rows that count, and whether no sum can leave int64."""
    for k in range(table.shape[0]):
        used = use[table[k, 1]]
        prefix = prefixes[k]
        prefix[0] = 0
        if table[k, 0] == 0:
            for i in range(rows):
                prefix[i + 1] = prefix[i] + used[i]
        else:
            slot = TIMES + table[k, 2]
            values = cells[slot]
            safe[slot] = largest_of(values, marks[VALUES + table[k, 2]], total) < _SAFE // (longest + 1)
            for i in range(rows):
                prefix[i + 1] = prefix[i] + (values[i] if used[i] else 0)
