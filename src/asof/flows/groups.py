"""Groups: features of one source and one entity are read once and computed together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from asof.compute.arrays import Ints
from asof.compute.arrow import known_dtype
from asof.compute.feature_types import feature_dtype
from asof.compute.windows import bounds
from asof.define.aggregation import Feature
from asof.define.entity import Entity
from asof.define.feature_view import FeatureRef, FeatureView
from asof.define.source import Events, Pairs, Union, parts_of
from asof.define.window import BEGIN_US
from asof.engines.scan import Scan
from asof.types import DType

FeatureId = tuple[str, str]


@dataclass(frozen=True)
class Group:
    """Features that share a source, an entity and the mapping of its keys; each with the (view, feature) that
    it answers.

    Where a source is revised, a group is one view, and `read_too` are its features that nobody asked for: whether
    a version repeats the one before it is told by all columns of the view, so that a value does not depend on
    what else is asked.
    """

    source: Events | Union
    entity: Entity
    keys: Pairs
    features: tuple[tuple[FeatureId, Feature], ...]
    read_too: tuple[Feature, ...] = ()

    @property
    def key_sql(self) -> tuple[tuple[str, DType], ...]:
        """SQL and type of each entity key over the source's columns."""
        mapped = dict(self.keys)
        return tuple((mapped.get(name, name), dtype) for name, dtype in self.entity.keys)

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that the features read, secondary keys included."""
        names = (name for f in self._all() for name in (f.column, f.by) if name is not None)
        return tuple(dict.fromkeys(names))

    @property
    def predicates(self) -> tuple[str, ...]:
        """The predicates of the features."""
        return tuple(dict.fromkeys(f.predicate for f in self._all() if f.predicate is not None))

    @property
    def is_revised(self) -> bool:
        """True where a later row can change an earlier one."""
        return any(part.source.key is not None for part in parts_of(self.source))

    @property
    def streams(self) -> bool:
        """True where latest values can be found without sorting the history."""
        parts = parts_of(self.source)
        plain = not self.is_revised and all(part.source.sequence is None for part in parts)
        return plain and all(f.function == "latest" for _, f in self.features)

    def event_range(self, at: Ints, ends: Iterable[Ints] = ()) -> tuple[int, int] | None:
        """Event times that any window of any spine row can count, or None where every row may matter.

        A revised source is read whole: a row out of range may supersede one in range.
        """
        if self.is_revised or at.size == 0:
            return None
        latest = [int(at.max()) + 1, *(int(end.max()) + 1 for end in ends)]
        edges = (int(at.min()), int(at.max()))
        low = min(int(bounds(f.window, np.array(edges))[0].min()) for _, f in self.features)
        high = max(*latest, *(int(bounds(f.window, np.array(edges))[1].max()) for _, f in self.features))
        return (max(BEGIN_US, low)), high

    def check_types(self, scan: Scan, schema: pa.Schema) -> None:
        """Nothing, when every feature takes the type of its column.

        Raises:
            WrongType: one does not, or a column is of a type that no feature can use.
        """
        types = {name: schema.field(f"v{i}").type for i, name in enumerate(scan.values)}
        for feature in self._all():
            if feature.column is not None:
                feature_dtype(feature, known_dtype(feature.column, types[feature.column]))
            if feature.by is not None:
                known_dtype(feature.by, types[feature.by])

    def _all(self) -> Iterable[Feature]:
        for feature in (*(feature for _, feature in self.features), *self.read_too):
            yield feature
            yield from feature.parts


def group_features(refs: Sequence[FeatureRef]) -> list[Group]:
    """The groups of a service's features, in order of first appearance."""
    groups: dict[tuple[Events | Union, Entity, Pairs, FeatureView | None], dict[FeatureId, Feature]] = {}
    for ref in refs:
        view: FeatureView = ref.view
        revised = any(part.source.key is not None for part in parts_of(view.source))
        made = groups.setdefault((view.source, view.entity, view.keys, view if revised else None), {})
        made[view.name, ref.feature.name] = ref.feature
    return [
        Group(source, entity, keys, tuple(made.items()), _unasked(view, made))
        for (source, entity, keys, view), made in groups.items()
    ]


def _unasked(view: FeatureView | None, asked: dict[FeatureId, Feature]) -> tuple[Feature, ...]:
    if view is None:
        return ()
    names = {name for _, name in asked}
    return tuple(feature for feature in view.features if feature.name not in names)
