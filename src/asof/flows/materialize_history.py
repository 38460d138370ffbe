"""The histories that become records: what was read now, and what the records hold from before the interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa

from asof.compute.arrays import Ints
from asof.compute.arrow import common_type, known_dtype, physical_to_arrow
from asof.compute.arrow_ops import ints, valid_mask
from asof.compute.history import History, Part
from asof.compute.record import KEY_HIGH, KEY_LOW, Layout, join, unpack_history
from asof.compute.retain import merged_features
from asof.compute.tiles import tile_layout
from asof.define.feature_view import FeatureView
from asof.define.source import is_streamed
from asof.engines.scan import Scan
from asof.flows.groups import Group
from asof.flows.materialize_rows import Rows
from asof.flows.materialize_steps import Step
from asof.types import MAX_DECIMAL_DIGITS, DType


def layout_of(view: FeatureView, group: Group, schemas: Sequence[tuple[Scan, pa.Schema]]) -> Layout:
    """The layout of a view's records: it follows from the view and the types of its columns, not from rows."""
    features = merged_features(view.features)
    names = sorted({name for f in features for name in (f.column, f.by) if name is not None})
    predicates = tuple(sorted({f.predicate for f in features if f.predicate is not None}))
    columns = tuple((name, _dtype(name, schemas)) for name in names)
    tiles = None if group.is_revised else tile_layout(view.features, dict(columns))
    return Layout(columns, predicates, group.is_revised, tiles)


def _dtype(name: str, schemas: Sequence[tuple[Scan, pa.Schema]]) -> DType:
    types = [schema.field(f"v{scan.values.index(name)}").type for scan, schema in schemas]
    dtype = known_dtype(name, common_type(name, types))
    if dtype.kind != "decimal":
        return dtype
    return DType("decimal", precision=min(dtype.precision, MAX_DECIMAL_DIGITS), scale=dtype.scale)


def history_of(
    step: Step,
    group: Group,
    layout: Layout,
    rows: Rows,
    held: Sequence[bytes | None],
    threads: int,
    firsts: Ints | None = None,
) -> History:
    """The history of the entities: what was read, and what their records hold from before the interval, or from before
    an instant of each entity's own (`firsts`).
    """
    wanted = [*layout.names, *([KEY_LOW, KEY_HIGH] if group.is_revised else [])]
    parts = [
        replace(
            part,
            values={name: part.values.get(name, _nobody(part)) for name in wanted},
            predicates={sql: part.predicates[sql] for sql in layout.predicates},
        )
        for part in (salted(part, group, number) for number, part in enumerate(rows.parts))
    ]
    if firsts is not None:
        parts = [_known_from(part, firsts) for part in parts]
    if any(held):
        data, offsets = join(held)
        before = np.full(len(rows.keys), step.from_us) if firsts is None else firsts
        parts.insert(0, part_of_records(unpack_history(data, offsets, layout), layout, before))
    return History.build(parts, len(rows.keys), threads=threads)


def salted(part: Part, group: Group, number: int) -> Part:
    """The part, with event keys that no other part of a streamed union has: what tells its events apart in records."""
    if number == 0 or KEY_HIGH not in part.values or not is_streamed(group.source):
        return part
    high = part.values[KEY_HIGH]
    salt = number * 0x9E3779B97F4A7C15 % 2**63
    made = pa.chunked_array([pa.array(ints(high) ^ salt, mask=~valid_mask(high))])
    return replace(part, values={**part.values, KEY_HIGH: made})


def _nobody(part: Part) -> pa.ChunkedArray:
    """The event keys of a source that has none, beside one that does."""
    return pa.chunked_array([pa.nulls(part.group.size, pa.int64())])


def _known_from(part: Part, firsts: Ints) -> Part:
    """The part without the rows that were known before their entity's instant."""
    known = part.event if part.known is None else part.known
    new = (part.group >= 0) & (known >= firsts[np.maximum(part.group, 0)]) if firsts.size else part.group >= 0
    return replace(part, group=np.where(new, part.group, -1))


def part_of_records(history: History, layout: Layout, before_us: Ints) -> Part:
    """The rows of records that were known before an instant of each entity, as a part of a history."""
    group = np.repeat(np.arange(history.starts.size - 1), np.diff(history.starts))
    group = np.where(history.known < before_us[group], group, -1)
    values: dict[str, pa.ChunkedArray] = {}
    for name, dtype in layout.columns:
        column = history.columns[name]
        made = physical_to_arrow(dtype, column.values, column.valid, column.dictionary)
        values[name] = pa.chunked_array([made])
    predicates = {sql: pa.chunked_array([pa.array(mask)]) for sql, mask in history.predicates.items()}
    known: Ints | None = None if history.known is history.event else history.known
    return Part(group, history.event, known, values, predicates, delayed=True)


def floor_of(held: Sequence[bytes | None], floor_us: int) -> int:
    """From when on records answer that hold what these hold: what they have left out is gone."""
    floors = (int.from_bytes(record[16:24], "little", signed=True) for record in held if record)
    return max(floor_us, *floors, floor_us)
