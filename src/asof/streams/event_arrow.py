"""Events that come as Arrow streams, as columns of the schema's types; where a cast would lose something, the event is
a bad one.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from asof.compute.arrays import Ints
from asof.streams.arrow_bounds import check_bounds
from asof.streams.event_columns import NOT_FITTING, Faults, check_column, column_of, fitting, nulls, unfit
from asof.streams.event_type import Reason, is_text
from asof.streams.schema import EventSchema
from asof.streams.stream import Chunk


def arrow_columns(
    chunk: Chunk, schema: EventSchema, *, strict: bool
) -> tuple[dict[str, pa.Array], Ints, Faults]:
    """Columns of a chunk that is an Arrow stream, or several."""
    count = len(chunk.offsets)
    try:
        bodies = chunk.events if chunk.body is None else [chunk.body]
        table = pa.concat_tables([read_arrow(body) for body in bodies], promote_options="default")
        table = table.slice(chunk.skip, count)
    except NOT_FITTING:
        table = pa.table({})
    if table.num_rows != count:
        return (
            {},
            np.array([], np.int64),
            [(at, Reason("no Arrow stream of these events")) for at in range(count)],
        )
    unknown = [name for name in table.column_names if name not in schema.arrow.names] if strict else []
    if unknown:
        reason = Reason("there is no such column", unknown[0], unknown[0])
        return {}, np.array([], np.int64), [(at, reason) for at in range(count)]
    return cast_table(table, schema, np.arange(count), [])


def read_arrow(body: bytes) -> pa.Table:
    """The table of an Arrow stream, whose buffers have been looked at: whatever wrote them may have lied.

    Raises:
        One of NOT_FITTING: it is none.
    """
    check_bounds(body)
    with pa.ipc.open_stream(body) as reader:
        table = reader.read_all()
    table.validate(full=True)
    if len(set(table.column_names)) < table.num_columns:
        raise ValueError("a column comes twice")
    return table


def cast_table(
    table: pa.Table, schema: EventSchema, places: Ints, bad: Faults
) -> tuple[dict[str, pa.Array], Ints, Faults]:
    """The table's columns in the schema's types, without the rows that do not fit."""
    types = dict(schema.columns)
    made: dict[str, pa.Array] = {}
    unfitting: dict[int, Reason] = {}
    for name in schema.names:
        if name not in table.column_names or table.num_rows == 0:
            made[name] = nulls(table.num_rows, types[name])
            continue
        column = table[name].combine_chunks()
        try:
            made[name] = _cast_one(column, types[name], schema.zone)
        except NOT_FITTING:
            unfitting |= dict(_unfitting(name, column, types[name], schema.zone))
    if not unfitting:
        return made, places, bad
    bad = bad + [(int(places[at]), reason) for at, reason in unfitting.items()]
    kept = [at for at in range(table.num_rows) if at not in unfitting]
    return cast_table(table.take(pa.array(kept, pa.int64())), schema, places[kept], bad)


def _unfitting(name: str, column: pa.Array, arrow: pa.DataType, zone: str | None) -> Faults:
    def attempt(start: int, stop: int) -> None:
        _cast_one(column.slice(start, stop - start), arrow, zone)

    return fitting(len(column), attempt, unfit(name, arrow))


def _cast_one(column: pa.Array, arrow: pa.DataType, zone: str | None) -> pa.Array:
    """The column in another type, exactly."""
    if pa.types.is_null(column.type):
        return nulls(len(column), arrow)
    if pa.types.is_timestamp(arrow):
        return _times(column, arrow, zone)
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    plain = arrow.value_type if pa.types.is_dictionary(arrow) else arrow
    if is_text(column.type) != is_text(plain):
        raise TypeError("texts and no texts")
    made = column if column.type == arrow else column.cast(arrow)
    if pa.types.is_decimal(arrow) and pa.types.is_floating(column.type):
        exact = pc.all(pc.equal(made.cast(pa.float64()), column)).as_py()
        if exact is False:
            raise ValueError("a float that no decimal of these digits is")
    check_column(made)
    return made


def _times(column: pa.Array, arrow: pa.TimestampType, zone: str | None) -> pa.Array:
    """Times of times, or of integer microseconds."""
    if pa.types.is_integer(column.type):
        return column_of(column.cast(pa.int64()).to_pylist(), arrow, zone)
    if not pa.types.is_timestamp(column.type):
        raise TypeError("no times")
    if (column.type.tz is None) == (arrow.tz is None) and (column.type.tz is not None or zone is None):
        made = column.cast(arrow)
        check_column(made)
        return made
    return column_of(column.cast(pa.timestamp("us", column.type.tz)).to_pylist(), arrow, zone)
