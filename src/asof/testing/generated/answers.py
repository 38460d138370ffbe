"""The oracle's answers to an example, and whether the engine's are the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import pyarrow as pa

from asof.clock import to_us
from asof.define.aggregation import Feature
from asof.define.feature_view import FeatureRef, FeatureView
from asof.define.label import Label
from asof.define.source import parts_of
from asof.define.window import Window
from asof.engines.scan import Engine
from asof.testing.generated.naive import Keys, Needed, own_rows, rows_of
from asof.testing.generated.same import instant_of, number_of, same
from asof.testing.generated.spine import TIME
from asof.testing.generated.subject import Subject
from asof.testing.oracle import Row, label_value, training_set

Values = dict[str, list[Any]]


def keys_of(owner: FeatureView | Label) -> Keys:
    """SQL and type of an owner's entity keys over its source's columns."""
    mapped = dict(owner.keys)
    return tuple((mapped.get(name, name), dtype) for name, dtype in owner.entity.keys)


def read_all(engine: Engine, held: Subject) -> dict[str, list[Row]]:
    """The oracle's rows of each view's source (or of the label's), by the owner's name."""
    if held.label is not None:
        needed = Needed.of_label(held.label)
        return {held.label.name: rows_of(engine, held.label.source, keys_of(held.label), needed)}
    return {
        view.name: rows_of(engine, view.source, keys_of(view), Needed.by(view.features))
        for view in held.views
    }


def oracle_values(
    engine: Engine, held: Subject, spine: pa.Table, *, as_known: bool, cutoff_us: int | None
) -> Values:
    """The values of every column that is compared, in the spine's order; an immature label is None.

    Raises:
        NumericOverflow: a sum does not fit, as the engine has to say as well.
    """
    rows = read_all(engine, held)
    asked: list[dict[str, Any]] = spine.to_pylist()
    for line in asked:
        line[TIME] = None if line[TIME] is None else to_us(line[TIME])
    if held.label is not None:
        label = held.label
        values = [_label(label, rows[label.name], line, cast("int", cutoff_us)) for line in asked]
        return {label.name: values}
    own = read_own(engine, held, spine)
    lines = training_set(
        held.service, rows, asked, time=TIME, as_known=as_known, cutoff_us=cutoff_us, own_rows=own or None
    )
    return {name: [line[name] for line in lines] for name in held.service.names}


def read_own(engine: Engine, held: Subject, spine: pa.Table) -> dict[str, list[Row]]:
    """The spine's rows as events, for each view that counts them, by its name."""
    return {
        view.name: own_rows(engine, view.source, spine, TIME, tuple(view.entity.keys), _read_of(held, view))
        for view in held.views
        if view.source == held.service.own_row
    }


def _read_of(held: Subject, view: FeatureView) -> Needed:
    return Needed.by(ref.feature for ref in held.service.refs if ref.view == view)


def differing(
    engine: Engine, held: Subject, table: pa.Table, values: Mapping[str, Sequence[Any]]
) -> list[tuple[int, str]]:
    """Row and column of every value that is not the oracle's."""
    made: list[tuple[int, str]] = []
    for name, expected in values.items():
        feature, key = _compared(engine, held, name)
        found = table[name].to_pylist()
        pairs = enumerate(zip(found, expected, strict=True))
        made += [(row, name) for row, (fast, slow) in pairs if not same(feature, fast, slow, key)]
    return made


def _label(label: Label, rows: Sequence[Row], line: Mapping[str, Any], cutoff_us: int) -> object:
    entity = tuple(line[name] for name in label.entity.keys.names)
    if line[TIME] is None or None in entity:
        return None
    value, mature = label_value(label, rows, entity, line[TIME], cutoff_us)
    return value if mature else None


def _compared(engine: Engine, held: Subject, name: str) -> tuple[Feature, Callable[[str], object]]:
    """The feature behind a column, and what the keys of its map stand for."""
    if held.label is not None:
        value = held.label.value
        function, column = ("count", None) if value is None else (value.function, value.column)
        return Feature(name, function, column, Window(1, forward=True)), str
    ref = next(item for item in held.service.features if item.name == name)
    ref = cast("FeatureRef", ref)
    if ref.feature.by is None:
        return ref.feature, str
    kinds = {engine.schema(part)[ref.feature.by] for part in parts_of(ref.view.source)}
    if any(pa.types.is_floating(kind) for kind in kinds):
        return ref.feature, number_of
    return ref.feature, instant_of if any(pa.types.is_timestamp(kind) for kind in kinds) else str
