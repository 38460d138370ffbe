"""When two values of a feature are one: what the engine made, and what the oracle says."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, cast

from asof.define.aggregation import Feature

HLL_ERROR = 1.04 / math.sqrt(4096)


def same(feature: Feature, fast: Any, slow: Any, key: Callable[[str], object] = str) -> bool:
    """True when two values are one; floats to the last bit (zero has no sign), sketches within their error.

    Args:
        feature: whose value it is.
        fast: from the engine: a map as pairs.
        slow: from the oracle: a map as a dict.
        key: what the text of a map's key stands for.
    """
    if fast is None or slow is None:
        return fast is slow
    if feature.by is not None:
        return _same_maps(feature, fast, slow, key)
    if isinstance(slow, list):
        return len(fast) == len(cast("list[Any]", slow)) and all(
            map(_identical, fast, cast("list[Any]", slow))
        )
    if feature.function == "approx_distinct":
        return abs(fast - slow) <= max(1.0, 5 * HLL_ERROR * slow)
    if feature.function == "quantile":
        return fast == slow or abs(fast - slow) <= 0.01 * abs(slow) * (1 + 1e-9) + 1e-12
    return _identical(fast, slow)


def _same_maps(feature: Feature, fast: Any, slow: Mapping[str, Any], key: Callable[[str], object]) -> bool:
    plain = replace(feature, by=None)
    found = {key(name): value for name, value in fast}
    wanted = {key(name): value for name, value in slow.items()}
    return (
        len(found) == len(fast)
        and found.keys() == wanted.keys()
        and all(same(plain, found[name], wanted[name]) for name in wanted)
    )


def _identical(fast: Any, slow: Any) -> bool:
    if isinstance(fast, float) and isinstance(slow, float) and math.isnan(slow):
        return math.isnan(fast)
    return fast == slow and (type(fast) is type(slow) or fast == 0)


def number_of(text: str) -> object:
    """The float that a map's key stands for: `1` and `1.0` are one."""
    return float(text)


def instant_of(text: str) -> object:
    """The instant that a map's key stands for, however it is written."""
    return datetime.fromisoformat(text)
