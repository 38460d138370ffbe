"""Which events a window counts, and the value of one feature for one entity at one instant."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from asof.define.aggregation import Feature
from asof.define.window import Window
from asof.testing.oracle.functions import PLAIN, decayed_sum, quantile, ratio, topk
from asof.testing.oracle.rows import Entity, Row, is_null, visible


def in_window(window: Window, event_us: int, t_us: int, end_us: int | None = None) -> bool:
    """True when a window asked at t counts an event.

    Default `[t-offset-size, t-offset)`; `closed` says which edges count; a hop moves the left edge back to a multiple
    of the hop, counted from 1970; a lifetime has no left edge; a forward window is `[t, t+size)`, or `[t, end_us)`.
    """
    if window.forward:
        return t_us <= event_us < (t_us + (window.size_us or 0) if end_us is None else end_us)
    right_us = t_us - window.offset_us
    if event_us > right_us or (event_us == right_us and window.closed not in {"right", "both"}):
        return False
    if window.size_us is None:
        return True
    left_us = right_us - window.size_us
    if window.hop_us:
        left_us -= left_us % window.hop_us  # Python's modulo rounds towards minus infinity, before 1970 too
    return event_us > left_us or (event_us == left_us and window.closed in {"left", "both"})


def feature_value(
    feature: Feature,
    rows: Iterable[Row],
    entity: Entity,
    t_us: int,
    *,
    as_known_us: int | None = None,
    own: Row | None = None,
    end_us: int | None = None,
) -> Any:
    """The value of a feature for an entity at an instant.

    Args:
        feature: what is asked, as a view expands it.
        rows: the history, in any order, of this and other entities.
        entity: the entity's key.
        t_us: the instant that asks.
        as_known_us: rows known later do not exist; by default t itself.
        own: the scored event itself, which joins every window that ends at t.
        end_us: the end of a forward window, where it is no fixed length.

    Empty: count, sum, distinct and decayed_sum are 0, lists and maps are empty, everything else is None. Approximate
    functions give the exact value that they come near.
    """
    known_us = t_us if as_known_us is None else as_known_us
    history = [row for row in visible(rows, known_us) if row.entity == entity]
    if feature.function == "latest":
        return _latest(feature, history, t_us)
    events = [row for row in history if in_window(feature.window, row.event_us or 0, t_us, end_us)]
    if own is not None and _joins(feature.window) and not _holds(events, own):
        events.append(own)
    return _over(feature, events, t_us)


def _joins(window: Window) -> bool:
    return window.offset_us == 0 and not window.forward


def _holds(events: Sequence[Row], own: Row) -> bool:
    """True when the window already holds the scored event: it counts once, and the history's version is the one."""
    return own.key is not None and any(row.key == own.key for row in events)


def _latest(feature: Feature, history: Sequence[Row], t_us: int) -> object:
    past = [row for row in history if (row.event_us or 0) <= t_us]
    if not past:
        return None
    newest = past[-1]
    if feature.ttl_us is not None and t_us - (newest.event_us or 0) > feature.ttl_us:
        return None
    value = _column(newest, feature)
    return None if is_null(value) else value


def _over(feature: Feature, events: Sequence[Row], t_us: int) -> object:
    """The feature's function over the events of a window, filtered, and grouped if it has a secondary key."""
    counted = [row for row in events if feature.predicate is None or row.values[feature.predicate] is True]
    if feature.function == "ratio":
        above, below = (_over(part, counted, t_us) for part in feature.parts)
        return ratio(above, below, dict(feature.params).get("empty"))
    if feature.column is not None:
        counted = [row for row in counted if not is_null(_column(row, feature))]
    if feature.by is None:
        return _apply(feature, counted, t_us)
    groups: dict[str, list[Row]] = {}
    for row in counted:
        if not is_null(row.values[feature.by]):
            groups.setdefault(_text(row.values[feature.by]), []).append(row)
    return {name: _apply(feature, group, t_us) for name, group in groups.items()}


def _apply(feature: Feature, counted: Sequence[Row], t_us: int) -> object:
    values = [_column(row, feature) for row in counted]
    params = dict(feature.params)
    match feature.function:
        case "first" | "last":
            return _edge(values if feature.function == "first" else values[::-1], params.get("n"))
        case "quantile":
            return quantile(values, params["q"])
        case "topk":
            return topk(values, int(params["k"]))
        case "decayed_sum":
            ages_us = [t_us - (row.event_us or 0) for row in counted]
            return decayed_sum(values, ages_us, int(params["half_life_us"]))
        case plain:
            return PLAIN[plain](values)


def _edge(values: Sequence[object], n: float | None) -> object:
    if n is None:
        return values[0] if values else None
    return list(values[: int(n)])


def _text(key: object) -> str:
    """A secondary key as the key of a map: as SQL prints it."""
    return str(key).lower() if isinstance(key, bool) else str(key)


def _column(row: Row, feature: Feature) -> Any:
    return True if feature.column is None else row.values[feature.column]
