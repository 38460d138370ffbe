"""Labels of a training set: forward windows as known at the cut-off, and which of them are mature."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from asof.compute.arrays import Bools, Ints
from asof.compute.calendar import banking_deadline_us
from asof.define.label import Horizon, Label
from asof.engines.scan import Engine
from asof.flows.feature_columns import Settings, asked_of, group_columns
from asof.flows.groups import FeatureId, Group
from asof.flows.spine import Spine

_ANY_TIME_US = 946_684_800_000_000  # 2000-01-01, for rows whose time is null and whose label is not used


@dataclass(frozen=True)
class LabelColumn:
    """A label's values in the spine's order, which of them are final at the cut-off, and how many of these are
    so early: before their horizon is over, because something positive is known already.
    """

    values: pa.Array
    mature: Bools
    early: int = 0


def label_column(
    engine: Engine, label: Label, spine: Spine, cutoff_us: int, settings: Settings
) -> LabelColumn:
    """The values of a label; 0 (or the number so far) where it is immature.

    A spine row without a time or an entity key has no label: it is immature.
    """
    features = label.features()
    named: tuple[tuple[FeatureId, object], ...] = tuple(((label.name, f.name), f) for f, _ in features)
    group = Group(label.source, label.entity, label.keys, named)  # pyright: ignore[reportArgumentType]
    asked = asked_of(group, spine, np.full(spine.size, cutoff_us, np.int64), f"label {label.name!r}")
    at = np.where(spine.valid, spine.at, _ANY_TIME_US)
    ends = {(label.name, f.name): horizon_end(horizon, at) for f, horizon in features}
    asked.ends.update(ends)
    found = group_columns(engine, group, asked, settings)
    over = np.ones(spine.size, np.bool_)
    for end in ends.values():
        over &= end <= cutoff_us
    over &= asked.usable
    if not label.is_binary:
        return LabelColumn(found.columns[label.name, features[0][0].name], over)
    positive = np.zeros(spine.size, np.bool_)
    for feature_id in ends:
        positive |= found.columns[feature_id].to_numpy() > 0
    return LabelColumn(pa.array(positive.astype(np.int64)), over | positive, int((positive & ~over).sum()))


def horizon_end(horizon: Horizon, at: Ints) -> Ints:
    """The exclusive end of a label's window for each instant."""
    if horizon.banking_days:
        return banking_deadline_us(at, horizon.banking_days, horizon.zone)
    return at + horizon.size_us
