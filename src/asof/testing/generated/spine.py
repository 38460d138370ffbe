"""Who is asked for, and when: on the edges of windows and one microsecond before and after, in the far future, and
for entities that are unknown or null.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any, cast

import pyarrow as pa

from asof.compute.arrow import arrow_type
from asof.define.aggregation import Feature
from asof.define.label import Horizon
from asof.define.window import Window
from asof.testing.generated.values import BASE_US, DAY_US
from asof.testing.oracle import Row
from asof.types import DType

ROWS = 20
TIME = "event_time"
_UNKNOWN: Mapping[str, object] = {
    "string": "nobody", "int32": 999_999, "int64": 999_999, "date": date(1999, 1, 1), "bool": False,
}  # fmt: skip
_YEARS_US = (1_672_531_200_000_000 + 30 * DAY_US, 1_798_761_600_000_000 - 60 * DAY_US)  # inside 2023 to 2026


def edges_us(rng: random.Random, feature: Feature, row: Row) -> list[int]:
    """The instants at which a window takes an event in, or lets it go."""
    event_us = row.event_us or BASE_US
    known_us = event_us if row.known_us is None else row.known_us
    if feature.function == "latest":
        return [event_us, known_us, *([] if feature.ttl_us is None else [event_us + feature.ttl_us])]
    return [known_us, *_edges(rng, feature.window, event_us)]


def _edges(rng: random.Random, window: Window, event_us: int) -> list[int]:
    right_us = event_us + window.offset_us
    if window.size_us is None:
        return [right_us]
    left_us = right_us + window.size_us
    if not window.hop_us:
        return [right_us, left_us]
    floor_us = (
        left_us - event_us % window.hop_us
    )  # the left edge jumps where it reaches a multiple of the hop
    return [right_us, left_us, floor_us, floor_us + window.hop_us, floor_us + rng.randint(0, window.hop_us)]


def forward_edges_us(rng: random.Random, horizon: Horizon, row: Row) -> list[int]:
    """The instants from which an event is in time for a label, or no longer."""
    event_us = row.event_us or BASE_US
    size_us = horizon.size_us or horizon.banking_days * DAY_US
    return [event_us, event_us - size_us, event_us - rng.randint(0, 2 * size_us)]


def within_calendar(at_us: int) -> int:
    """The instant, or one within the years of which the oracle knows the banking holidays."""
    return min(max(at_us, _YEARS_US[0]), _YEARS_US[1])


def entity_of(rng: random.Random, keys: Sequence[DType], rows: Sequence[Row]) -> tuple[object, ...]:
    """An entity of the history; sometimes one that is not there, and sometimes one with a null."""
    if not rows or rng.randrange(8) == 0:
        made: list[object] = [_UNKNOWN[dtype.kind] for dtype in keys]
    else:
        made = list(rng.choice(rows).entity)
    if rng.randrange(12) == 0:
        made[rng.randrange(len(made))] = None
    return tuple(made)


def spine_table(
    keys: Sequence[tuple[str, DType]], asked: Sequence[tuple[Mapping[str, object], int | None]]
) -> pa.Table:
    """Entities and instants as a spine."""
    columns = {
        name: pa.array(cast("Any", [who[name] for who, _ in asked]), arrow_type(dtype))
        for name, dtype in keys
    }
    times = pa.array([at_us for _, at_us in asked], pa.int64())
    return pa.table({**columns, TIME: times.cast(pa.timestamp("us", "UTC"))})
