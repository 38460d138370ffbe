"""The value of a label for one entity at one instant, as known at a cut-off, and whether it is mature."""

from __future__ import annotations

from collections.abc import Iterable

from asof.define.aggregation import Feature
from asof.define.label import OTHER, Horizon, Label
from asof.define.window import Window
from asof.testing.oracle.calendar import banking_deadline_us
from asof.testing.oracle.feature import feature_value
from asof.testing.oracle.rows import Entity, Row, visible


def horizon_end_us(horizon: Horizon, t_us: int) -> int:
    """The first instant at which the outcome can no longer come."""
    if horizon.banking_days:
        return banking_deadline_us(t_us, horizon.banking_days, horizon.zone)
    return t_us + horizon.size_us


def label_value(
    label: Label, rows: Iterable[Row], entity: Entity, t_us: int, cutoff_us: int
) -> tuple[object, bool]:
    """The label of an entity at t and whether it is mature, both as known at the cut-off.

    A 0/1 label is 1 as soon as an event of a code is known that comes before the end of that code's horizon, and mature
    when it is 1 or when every horizon is over. A number is mature when its horizon is over.
    """
    ends_us = {outcome.code: horizon_end_us(outcome.horizon, t_us) for outcome in label.outcomes}
    over = max(ends_us.values()) <= cutoff_us
    if label.value is not None:
        value = label.value
        window = Window(1, forward=True)  # its length is given as end_us
        feature = Feature(label.name, value.function, value.column, window, predicate=value.predicate)
        counted = [row for row in rows if _passes(label, row)] if label.predicate else rows
        return feature_value(
            feature, counted, entity, t_us, as_known_us=cutoff_us, end_us=ends_us[None]
        ), over
    positive = any(
        t_us <= (row.event_us or 0) < _end_us(label, row, ends_us, t_us)
        for row in visible(rows, cutoff_us)
        if row.entity == entity and _passes(label, row)
    )
    return int(positive), positive or over


def _passes(label: Label, row: Row) -> bool:
    return label.predicate is None or row.values[label.predicate] is True


def _end_us(label: Label, row: Row, ends_us: dict[str | None, int], t_us: int) -> int:
    """The end of the horizon of a row's code; t itself, which nothing precedes, for a code that does not count."""
    if label.outcome is None:
        return ends_us[None]
    code = row.values[label.outcome]
    if code is None:
        return t_us
    return ends_us.get(str(code), ends_us.get(OTHER, t_us))
