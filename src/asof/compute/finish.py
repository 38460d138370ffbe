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
def finish_ratio(over, over_ok, under, under_ok, empty, out, ok):
    """over / under; where either is null or `under` is 0, `empty`, or null if `empty` is NaN."""
    for k in range(over.size):
        there = over_ok[k] and under_ok[k] and under[k] != 0
        ok[k] = there or empty == empty  # noqa: PLR0124 - only NaN differs from itself
        out[k] = over[k] / under[k] if there else (empty if ok[k] else 0.0)
