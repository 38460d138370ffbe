"""A training set, row by row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from asof.define.feature_view import FeatureRef
from asof.define.service import FeatureService
from asof.testing.oracle.feature import feature_value
from asof.testing.oracle.rows import Row

FOREVER_US = 2**62


def training_set(
    service: FeatureService,
    rows: Mapping[str, Sequence[Row]],
    spine: Sequence[Mapping[str, Any]],
    *,
    time: str = "event_time",
    as_known: bool = True,
    cutoff_us: int | None = None,
    own_rows: Mapping[str, Sequence[Row]] | None = None,
) -> list[dict[str, Any]]:
    """The spine's rows, in order, each with the values of the service's view features at its time.

    Args:
        service: the features; request features are left to their functions.
        rows: view name -> history of the view's source, with the view's entity in each row.
        spine: entity keys and a time in microseconds, and whatever else.
        time: the spine's time.
        as_known: False shows what is known at the cut-off (or ever), not what was known at the row's time.
        cutoff_us: nothing known after it exists.
        own_rows: view name -> the spine's rows as events of that view's source, for a service with own rows.

    A spine row without time or without a whole entity key matches nothing: it has the values of an empty window.
    """
    result: list[dict[str, Any]] = []
    for number, asked in enumerate(spine):
        values = dict(asked)
        t_us = asked[time]
        for ref in (item for item in service.features if isinstance(item, FeatureRef)):
            entity = tuple(asked[key] for key in ref.view.entity.keys.names)
            known_us = FOREVER_US if cutoff_us is None else cutoff_us
            if as_known and t_us is not None:
                known_us = min(t_us, known_us)
            matches = t_us is not None and None not in entity
            own = None
            if matches and own_rows is not None and ref.view.source == service.own_row:
                own = own_rows[ref.view.name][number]
            history = rows[ref.view.name] if matches else ()
            values[ref.name] = feature_value(
                ref.feature, history, entity, t_us or 0, as_known_us=known_us, own=own
            )
        result.append(values)
    return result
