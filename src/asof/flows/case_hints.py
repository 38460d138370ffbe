"""What definitions tell of the columns that they read, for a test where the project's files are out of reach."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pyarrow as pa

from asof.compute.arrow import arrow_type
from asof.compute.feature_types import feature_dtype
from asof.define.aggregation import Feature
from asof.define.entity import Entity
from asof.define.feature_view import FeatureView
from asof.define.label import Label
from asof.define.source import Events, Mapped, Pairs, Union, parts_of
from asof.engines.duckdb import DuckDBEngine
from asof.errors import WrongType
from asof.types import DType

Hint = tuple[
    pa.DataType | None, pa.DataType | None
]  # the type that a column must have, and one that it may have


@dataclass(frozen=True)
class Use:
    """What is computed over a source: features of one view or label, for the keys of its entity."""

    source: Events | Union
    entity: Entity
    keys: Pairs
    features: tuple[Feature, ...]


def use_of(owner: FeatureView | Label) -> Use:
    """What a whole view, or a label, computes."""
    features = owner.features if isinstance(owner, FeatureView) else tuple(f for f, _ in owner.features())
    return Use(owner.source, owner.entity, owner.keys, features)


def columns_read(source: Events, uses: Sequence[Use], engine: DuckDBEngine) -> dict[str, Hint]:
    """The columns of a source's history that definitions read, each with the type that it must have and the one
    that it may have, as far as definitions tell.
    """
    found: dict[str, Hint] = {}
    for use in uses:
        for part in parts_of(use.source):
            if part.source.name == source.name:
                found = {**_through(part, _outer(part.source, use, engine), engine), **found}
    return found


def _outer(source: Events, use: Use, engine: DuckDBEngine) -> dict[str, Hint]:
    """What is read of a source's columns, derived and mapped ones included."""
    time: pa.DataType = pa.timestamp("us") if source.zone else pa.timestamp("us", "UTC")
    found: dict[str, Hint] = {name: (time, None) for name in (source.event_time, source.known_at) if name}
    mapped = dict(use.keys)
    expressions = [source.deleted] if source.deleted else []
    for name, dtype in use.entity.keys:
        sql = mapped.get(name, name)
        if sql.isidentifier():
            found.setdefault(sql, (arrow_type(dtype), None))
        else:
            expressions.append(sql)
    for feature in sorted(_all(use.features), key=_takes_text):
        expressions += [feature.predicate] if feature.predicate else []
        if feature.column:
            found.setdefault(feature.column, (None, pa.string() if _takes_text(feature) else pa.float64()))
        if feature.by:
            found.setdefault(feature.by, (None, pa.string()))
    found |= {
        name: (None, pa.string()) for name in (source.key, source.sequence) if name and name not in found
    }
    for sql in expressions:
        for name in engine.check_expression(f"source {source.name!r}", sql):
            found.setdefault(name, (None, None))
    return found


def _through(part: Mapped, found: dict[str, Hint], engine: DuckDBEngine) -> dict[str, Hint]:
    """The same in columns of the history itself: a derived column reads what its SQL reads."""
    for layer in (part.columns, part.source.columns):
        inner = {name: hint for name, hint in found.items() if name not in dict(layer)}
        for _, sql in layer:
            for name in engine.check_expression(f"source {part.source.name!r}", sql):
                inner.setdefault(name, (None, None))
        found = inner
    return found


def _all(features: Iterable[Feature]) -> Iterable[Feature]:
    for feature in features:
        yield feature
        yield from feature.parts


def _takes_text(feature: Feature) -> bool:
    try:
        feature_dtype(feature, DType("string"))
    except WrongType:
        return False
    return True
