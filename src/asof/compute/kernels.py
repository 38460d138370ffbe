"""The window kernels: for each query, a fold over the visible rows of its window in canonical order.

Rows of one entity stand together, sorted by (event time, known-at, sequence). A query has a range `[a, b)` of
rows by event time and a point `p` in it: before `p` every row has settled (at the query's instant its
visibility will not change any more, so `final[i]` alone decides), from `p` on each row is asked `known <= vis
< until`. Late and revised rows are recent, so the tail is short. `own` is the row of the scored event itself,
or -1; it comes last. `History.rows` and `Locator.ranges` give the arrays.

    h = (known, until, final)      until may have length 0: nothing was ever revised
    q = (a, p, b, vis, own)        one entry for each query

Where a window has few unsettled rows, nearly all of the work is a plain loop over `[a, p)` with `use`, the
rows that are final and count for the feature (`mask` alone says which rows count, for the tail).

Every kernel works on queries [q0, q1) and writes only there, so ranges run on several threads.
"""

# ruff: noqa: ANN001, ANN201, C901 - kernels are loops over arrays, written out
# pyright: reportMissingParameterType=false, reportUnknownParameterType=false, reportUnknownVariableType=false
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUntypedFunctionDecorator=false

from __future__ import annotations

import math

import numpy as np

from asof.compute._jit import kernel

HLL_BITS = 12
HLL_REGISTERS = 1 << HLL_BITS


@kernel
def lower_bound(times, start, stop, value):
    """First position in times[start:stop] whose time is >= value."""
    while start < stop:
        middle = (start + stop) >> 1
        if times[middle] < value:
            start = middle + 1
        else:
            stop = middle
    return start


@kernel
def following(i, h, p, b, own, vis):
    """The next visible position after i (start with a - 1), the own row after the last, -1 at the end."""
    known, until, final = h
    i += 1
    while i < p:
        if final[i]:
            return i
        i += 1
    while i < b:
        if known[i] <= vis and (until.size == 0 or vis < until[i]):
            return i
        i += 1
    if i == b and own >= 0:
        return own
    return -1


@kernel
def preceding(i, h, a, p, b, own, vis):
    """The previous visible position before i (start with -1: the own row first, else from b), -1 at the end."""
    known, until, final = h
    if i == -1 and own >= 0:
        return own
    i = b - 1 if i in (-1, own) else i - 1
    while i >= a and i >= p:
        if known[i] <= vis and (until.size == 0 or vis < until[i]):
            return i
        i -= 1
    while i >= a:
        if final[i]:
            return i
        i -= 1
    return -1


@kernel
def gallop(times, start, stop, value):
    """`lower_bound` for an answer that is likely near `start`: doubling steps, then bisection."""
    step = 1
    low = start
    while low + step < stop and times[low + step] < value:
        low += step
        step <<= 1
    return lower_bound(times, low, min(low + step + 1, stop), value)


@kernel
def locate_known(group, at, left, right, starts, event, q0, q1, a, b):
    """`locate` of windows [at - left, at - right) where every row is known when it happens: what has happened has
    settled.
    """
    before = -1
    for q in range(q0, q1):
        g = group[q]
        if g < 0:
            a[q] = b[q] = 0
            before = -1
            continue
        near_a = near_b = starts[g]
        stop = starts[g + 1]
        if g == before and at[q] >= at[q - 1]:
            near_a = a[q - 1]
            near_b = b[q - 1]
        a[q] = gallop(event, near_a, stop, at[q] - left)
        b[q] = gallop(event, max(near_b, a[q]), stop, at[q] - right)
        before = g


@kernel
def locate(group, lo, hi, vis, starts, event, settled, q0, q1, a, p, b):
    """Row ranges of windows [lo, hi): a and b by event time, p by when rows have settled.

    Queries of one entity in order of time find their rows just after those of the query before.
    """
    before = -1
    for q in range(q0, q1):
        g = group[q]
        if g < 0:
            a[q] = p[q] = b[q] = 0
            before = -1
            continue
        near_a = near_b = starts[g]
        stop = starts[g + 1]
        if g == before and lo[q] >= lo[q - 1] and hi[q] >= hi[q - 1]:
            near_a = a[q - 1]
            near_b = b[q - 1]
        a[q] = gallop(event, near_a, stop, lo[q])
        b[q] = gallop(event, max(near_b, a[q]), stop, hi[q])
        near_p = a[q]
        if near_b > starts[g] and vis[q] >= vis[q - 1]:
            near_p = min(max(p[q - 1], a[q]), b[q])
        p[q] = gallop(settled, near_p, b[q], vis[q] + 1)
        before = g


@kernel
def count_hidden(h, q, valid, q0, q1, out):
    """How many valid rows of each window had happened and were not yet known: what hindsight would have leaked."""
    known, _, _ = h
    _, p, b, vis, _ = q
    for k in range(q0, q1):
        n = 0
        for i in range(p[k], b[k]):
            if known[i] > vis[k] and valid[i]:
                n += 1
        out[k] = n


@kernel
def drop_known_own(h, q, own_code, code_starts, code_rows, q0, q1):
    """Own row -1 where the window holds a visible row of the same event."""
    known, until, _ = h
    a, _, b, vis, own = q
    for k in range(q0, q1):
        c = own_code[k]
        if own[k] < 0 or c < 0:
            continue
        for j in range(code_starts[c], code_starts[c + 1]):
            i = code_rows[j]
            if a[k] <= i < b[k] and known[i] <= vis[k] and (until.size == 0 or vis[k] < until[i]):
                own[k] = -1


@kernel
def count_valid(h, q, prefix, valid, q0, q1, out):
    """Count of valid visible rows; `prefix[i]` is the count of final valid rows before i."""
    a, p, b, vis, own = q
    for k in range(q0, q1):
        n = prefix[p[k]] - prefix[a[k]]
        i = following(p[k] - 1, h, p[k], b[k], own[k], vis[k])
        while i >= 0:
            n += valid[i]
            i = following(i, h, p[k], b[k], own[k], vis[k])
        out[k] = n


@kernel
def sum_exact(h, q, prefix, values, valid, q0, q1, out):
    """Exact sum of valid visible rows, from prefix sums; the caller has proved that no sum leaves int64."""
    a, p, b, vis, own = q
    for k in range(q0, q1):
        s = prefix[p[k]] - prefix[a[k]]
        i = following(p[k] - 1, h, p[k], b[k], own[k], vis[k])
        while i >= 0:
            if valid[i]:
                s += values[i]
            i = following(i, h, p[k], b[k], own[k], vis[k])
        out[k] = s


@kernel
def sum_checked(h, q, values, valid, q0, q1, out, overflow):
    """Exact sum in 128 bits, row by row; `overflow[k]` where the sum does not fit int64."""
    a, p, b, vis, own = q
    for k in range(q0, q1):
        low = np.uint64(0)
        high = np.int64(0)
        i = following(a[k] - 1, h, p[k], b[k], own[k], vis[k])
        while i >= 0:
            if valid[i]:
                x = values[i]
                before = low
                low = low + np.uint64(x)
                high += np.int64(-1 if x < 0 else 0) + np.int64(1 if low < before else 0)
            i = following(i, h, p[k], b[k], own[k], vis[k])
        out[k] = np.int64(low)
        overflow[k] = high != (-1 if out[k] < 0 else 0)


@kernel
def sum_float(h, q, values, use, valid, q0, q1, out):
    """Sum of valid visible rows, added one after the other in canonical order."""
    a, p, b, vis, own = q
    for k in range(q0, q1):
        s = 0.0
        for i in range(a[k], p[k]):
            if use[i]:
                s += values[i]
        i = following(p[k] - 1, h, p[k], b[k], own[k], vis[k])
        while i >= 0:
            if valid[i]:
                s += values[i]
            i = following(i, h, p[k], b[k], own[k], vis[k])
        out[k] = s


@kernel
def extreme(h, q, values, use, valid, largest, q0, q1, out, found):
    """Largest (or smallest) valid visible value."""
    a, p, b, vis, own = q
    for k in range(q0, q1):
        has = False
        best = values[0]
        for i in range(a[k], p[k]):
            if use[i]:
                x = values[i]
                if not has or (x > best if largest else x < best):
                    best = x
                    has = True
        i = following(p[k] - 1, h, p[k], b[k], own[k], vis[k])
        while i >= 0:
            if valid[i]:
                x = values[i]
                if not has or (x > best if largest else x < best):
                    best = x
                    has = True
            i = following(i, h, p[k], b[k], own[k], vis[k])
        found[k] = has
        out[k] = best if has else values[0] - values[0]


@kernel
def deviations(h, q, values, use, valid, n, total, q0, q1, mean_out, m2_out):
    """Mean, and sum of squared deviations from it in canonical order, given counts and sums."""
    a, p, b, vis, own = q
    for k in range(q0, q1):
        mean = total[k] / n[k] if n[k] else 0.0
        m2 = 0.0
        for i in range(a[k], p[k]):
            if use[i]:
                d = values[i] - mean
                m2 += d * d
        i = following(p[k] - 1, h, p[k], b[k], own[k], vis[k])
        while i >= 0:
            if valid[i]:
                d = values[i] - mean
                m2 += d * d
            i = following(i, h, p[k], b[k], own[k], vis[k])
        mean_out[k] = mean
        m2_out[k] = m2


@kernel
def decayed(h, q, values, valid, event, at, half_life, q0, q1, out):
    """Sum of value * 2^(-(at - event) / half_life) in canonical order."""
    a, p, b, vis, own = q
    for k in range(q0, q1):
        s = 0.0
        i = following(a[k] - 1, h, p[k], b[k], own[k], vis[k])
        while i >= 0:
            if valid[i]:
                s += values[i] * 2.0 ** (-(at[k] - event[i]) / half_life)
            i = following(i, h, p[k], b[k], own[k], vis[k])
        out[k] = s


@kernel
def edge_rows(h, q, valid, n, newest, q0, q1, out):
    """Positions of the n newest (newest first) or n oldest valid visible rows; -1 where there are fewer."""
    a, p, b, vis, own = q
    for k in range(q0, q1):
        filled = 0
        if newest:
            i = preceding(-1, h, a[k], p[k], b[k], own[k], vis[k])
        else:
            i = following(a[k] - 1, h, p[k], b[k], own[k], vis[k])
        while i >= 0 and filled < n:
            if valid[i]:
                out[k, filled] = i
                filled += 1
            if newest:
                i = preceding(i, h, a[k], p[k], b[k], own[k], vis[k])
            else:
                i = following(i, h, p[k], b[k], own[k], vis[k])
        for j in range(filled, n):
            out[k, j] = -1


@kernel
def count_codes(h, q, codes, use, valid, size, q0, q1, out):
    """How many different codes (0 <= code < size) among the valid visible rows."""
    a, p, b, vis, own = q
    stamp = np.full(size, -1, np.int64)
    for k in range(q0, q1):
        n = 0
        for i in range(a[k], p[k]):
            if use[i] and stamp[codes[i]] != k:
                stamp[codes[i]] = k
                n += 1
        i = following(p[k] - 1, h, p[k], b[k], own[k], vis[k])
        while i >= 0:
            if valid[i] and stamp[codes[i]] != k:
                stamp[codes[i]] = k
                n += 1
            i = following(i, h, p[k], b[k], own[k], vis[k])
        out[k] = n


@kernel
def frequent_codes(h, q, codes, use, valid, size, top, q0, q1, out):
    """The `top` most frequent codes, ties by smaller code; -1 where there are fewer."""
    a, p, b, vis, own = q
    counts = np.zeros(size, np.int64)
    seen = np.empty(size, np.int64)
    for k in range(q0, q1):
        n = 0
        for i in range(a[k], p[k]):
            if use[i]:
                c = codes[i]
                if counts[c] == 0:
                    seen[n] = c
                    n += 1
                counts[c] += 1
        i = following(p[k] - 1, h, p[k], b[k], own[k], vis[k])
        while i >= 0:
            if valid[i]:
                c = codes[i]
                if counts[c] == 0:
                    seen[n] = c
                    n += 1
                counts[c] += 1
            i = following(i, h, p[k], b[k], own[k], vis[k])
        for j in range(top):
            best = -1
            for s in range(n):
                c = seen[s]
                if counts[c] > 0 and (
                    best < 0 or counts[c] > counts[best] or (counts[c] == counts[best] and c < best)
                ):
                    best = c
            out[k, j] = best
            if best >= 0:
                counts[best] = 0
        for s in range(n):
            counts[seen[s]] = 0


@kernel
def rank_code(h, q, codes, use, valid, size, quantile, q0, q1, out):
    """The code at 0-based rank floor(quantile * (n - 1)) among the valid visible rows in order of code; -1
    when empty.
    """
    a, p, b, vis, own = q
    counts = np.zeros(size, np.int64)
    for k in range(q0, q1):
        n = 0
        smallest = size
        largest = -1
        for i in range(a[k], p[k]):
            if use[i]:
                c = codes[i]
                counts[c] += 1
                n += 1
                smallest = min(smallest, c)
                largest = max(largest, c)
        i = following(p[k] - 1, h, p[k], b[k], own[k], vis[k])
        while i >= 0:
            if valid[i]:
                c = codes[i]
                counts[c] += 1
                n += 1
                smallest = min(smallest, c)
                largest = max(largest, c)
            i = following(i, h, p[k], b[k], own[k], vis[k])
        out[k] = -1
        left = math.floor(quantile * (n - 1))
        for c in range(smallest, largest + 1):
            if counts[c] > 0:
                if left >= 0 and left < counts[c]:
                    out[k] = c
                left -= counts[c]
                counts[c] = 0


@kernel
def hll_estimate(registers):
    """HyperLogLog estimate with linear counting for small sets (Flajolet et al. 2007)."""
    m = registers.size
    total = 0.0
    zeros = 0
    for j in range(m):
        total += 2.0 ** -float(registers[j])
        if registers[j] == 0:
            zeros += 1
    estimate = 0.7213 / (1.0 + 1.079 / m) * m * m / total
    if estimate <= 2.5 * m and zeros > 0:
        estimate = m * math.log(m / zeros)
    return round(estimate)


@kernel
def hll_rank(hashed):
    """1 + the number of leading zeros of the hash's 52 low bits."""
    rank = 1
    bit = np.uint64(1) << np.uint64(63 - HLL_BITS)
    while rank <= 64 - HLL_BITS and (hashed & bit) == 0:
        rank += 1
        bit = bit >> np.uint64(1)
    return rank


@kernel
def count_hashes(h, q, hashes, valid, q0, q1, out):
    """HyperLogLog estimate of the number of different hashes among the valid visible rows."""
    a, p, b, vis, own = q
    registers = np.zeros(HLL_REGISTERS, np.uint8)
    for k in range(q0, q1):
        registers[:] = 0
        i = following(a[k] - 1, h, p[k], b[k], own[k], vis[k])
        while i >= 0:
            if valid[i]:
                hashed = np.uint64(hashes[i])
                slot = hashed >> np.uint64(64 - HLL_BITS)
                rank = hll_rank(hashed)
                registers[slot] = max(registers[slot], rank)
            i = following(i, h, p[k], b[k], own[k], vis[k])
        out[k] = hll_estimate(registers)
