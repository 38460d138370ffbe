"""From states to values, as kernels: what `states.py` and `fold_records.py` both finish with.

Formulas stand here once, so that a value is the same whoever asks. Every kernel writes values and where they are not
null.
"""

# ruff: noqa: ANN001, ANN201 - kernels are loops over arrays, written out
# pyright: reportMissingParameterType=false, reportUnknownParameterType=false, reportUnknownVariableType=false
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUntypedFunctionDecorator=false

from __future__ import annotations

import math

from asof.compute._jit import kernel


@kernel
def finish_mean(n, total, power, out, ok):
    """float64(total) / (n * power), null where n is 0; `power` is ten to the scale of the total."""
    for k in range(n.size):
        ok[k] = n[k] >= 1
        out[k] = total[k] / (float(max(n[k], 1)) * power)


@kernel
def finish_moments(n, m2, root, out, ok):
    """Sample variance m2 / (n - 1) or its root, null for fewer than two values."""
    for k in range(n.size):
        ok[k] = n[k] >= 2
        variance = m2[k] / max(n[k] - 1, 1)
        out[k] = math.sqrt(variance) if root else variance


@kernel
def merged_moments(n, mean, m2, more, other_mean, other_m2):
    """Count, mean and M2 of two sets together.

    Source: Chan, Golub, LeVeque: Updating formulae and a pairwise algorithm for computing sample variances, 1979.
    """
    total = n + more
    share = more / max(total, 1)
    apart = other_mean - mean
    return total, other_mean if n == 0 else mean + apart * share, m2 + other_m2 + apart * apart * n * share


@kernel
def merge_moments(n, mean, m2, more, other_mean, other_m2, out_n, out_mean, out_m2):
    """`merged_moments`, pair by pair."""
    for k in range(n.size):
        out_n[k], out_mean[k], out_m2[k] = merged_moments(
            n[k], mean[k], m2[k], more[k], other_mean[k], other_m2[k]
        )


@kernel
def finish_ratio(over, over_ok, under, under_ok, empty, out, ok):
    """A ratio over / under; where either is null or `under` is 0, `empty`, or null if `empty` is NaN."""
    for k in range(over.size):
        there = over_ok[k] and under_ok[k] and under[k] != 0
        ok[k] = there or empty == empty  # noqa: PLR0124 - only NaN differs from itself
        out[k] = over[k] / under[k] if there else (empty if ok[k] else 0.0)
