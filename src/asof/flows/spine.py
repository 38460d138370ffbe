"""Spines: rows of entity key + time that ask for features, from whatever a user has at hand."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from asof.compute.arrays import Bools, Ints
from asof.compute.arrow import arrow_type, cast_numbers, find_dtype, micros
from asof.compute.arrow_ops import valid_mask
from asof.define.source import CSV, ArrowFile, DuckDBTable, Events, InMemory, Mapped, Parquet
from asof.engines.scan import Engine
from asof.errors import DataError, DuplicateRows, MissingColumn, WrongType, did_you_mean
from asof.types import DType

SpineLike = Any  # a path, an SQL query, or anything with __arrow_c_stream__
TIME = "event_time"
_FILES = {".parquet": Parquet, ".csv": CSV, ".arrow": ArrowFile, ".feather": ArrowFile, ".ipc": ArrowFile}
_SQL = ("select ", "with ", "from ")
_FAR_US = 2**61


@dataclass(frozen=True)
class Spine:
    """A loaded spine: its table, the name of its time column, and its times in microseconds (0 where not
    valid).
    """

    table: pa.Table
    time: str
    at: Ints
    valid: Bools

    @property
    def size(self) -> int:
        """The number of rows."""
        return self.table.num_rows

    def key(self, name: str, dtype: DType, owner: str) -> pa.ChunkedArray:
        """A key or request column in the type that a definition declares.

        Raises:
            MissingColumn: the spine does not have it. WrongType: it is of another kind, or a value does not
            fit.
        """
        if name not in self.table.column_names:
            hint = did_you_mean(name, self.table.column_names)
            raise MissingColumn(f"spine: no column {name!r}, which {owner} needs", hint=hint, column=name)
        column = self.table[name]
        seen, wanted = find_dtype(column.type), arrow_type(dtype)
        if not (pa.types.is_null(column.type) or (seen is not None and _compatible(seen, dtype))):
            raise WrongType(
                f"spine: column {name!r} is {column.type}, {owner} declares {dtype}",
                hint="cast it in the spine, or change the declaration",
                column=name,
            )
        try:
            if dtype.kind == "decimal" and pa.types.is_integer(column.type):
                column = column.cast(
                    pa.decimal128(38, dtype.scale)
                )  # Arrow asks for room for any int64 first
            made = cast_numbers(column, wanted)
            return made if isinstance(made, pa.ChunkedArray) else pa.chunked_array([made])
        except pa.ArrowInvalid as exc:
            raise WrongType(f"spine: a value of column {name!r} does not fit {dtype}", column=name) from exc


def _compatible(seen: DType, wanted: DType) -> bool:
    whole = {"int32", "int64"}
    if wanted.kind in {"decimal", "float64"}:
        return seen.is_numeric
    return seen.kind == wanted.kind or (seen.kind in whole and wanted.kind in whole)


def load_spine(
    data: SpineLike,
    engine: Engine,
    *,
    time: str | None = None,
    row_id: str | None = None,
    zoned_sources: Sequence[str] = (),
) -> Spine:
    """The spine of a file (Parquet, CSV, Arrow), an SQL query, or a table or frame in memory.

    Args:
        data: what the user gave.
        engine: reads files and runs queries.
        time: the time column; default `event_time`, else the only column of times.
        row_id: a column that must be unique.
        zoned_sources: sources that declare a zone; then times without a zone are ambiguous.

    Raises:
        DataError: nothing that asof can read, or a time that is out of range.
        MissingColumn, WrongType: the time column. DuplicateRows: row ids that are not unique.
    """
    table = _read(data, engine)
    doubled = next((name for name in table.column_names if table.column_names.count(name) > 1), None)
    if doubled is not None:
        raise DuplicateRows(f"spine: two columns are named {doubled!r}", column=doubled)
    if row_id is not None:
        _check_unique(table, row_id)
    name = _time_column(table, time)
    at, valid = _times(table[name], name, zoned_sources)
    return Spine(table, name, at, valid)


def _read(data: SpineLike, engine: Engine) -> pa.Table:
    if isinstance(data, pa.Table):
        return data
    if isinstance(data, str | Path):
        text = str(data)
        if text.lstrip().lower().startswith(_SQL):
            return engine.load(text)
        location = _FILES.get(Path(text).suffix.lower())
        if location is None:
            raise DataError(
                f"spine: {text!r} is neither a file asof reads nor a query",
                hint=f"files: {', '.join(_FILES)}; queries start with SELECT, WITH or FROM",
            )
        return _read_all(engine, Events("spine", location(str(Path(text).absolute())), event_time=TIME))
    if isinstance(data, Parquet | CSV | ArrowFile | DuckDBTable | InMemory):
        return _read_all(engine, Events("spine", data, event_time=TIME))
    if hasattr(data, "__arrow_c_stream__"):
        return pa.table(data)
    raise DataError(
        f"spine: {type(data).__name__} is not a table",
        hint="a path, an SQL query, or a PyArrow, pandas or Polars table",
    )


def _read_all(engine: Engine, source: Events) -> pa.Table:
    return engine.load(Mapped(source))


def _check_unique(table: pa.Table, row_id: str) -> None:
    if row_id not in table.column_names:
        raise MissingColumn(
            f"spine: no column {row_id!r}", hint=did_you_mean(row_id, table.column_names), column=row_id
        )
    different = pc.count_distinct(table[row_id], mode="all").as_py()
    if different != table.num_rows:
        raise DuplicateRows(
            f"spine: {table.num_rows - different} of {table.num_rows} rows repeat a {row_id!r}",
            hint="each spine row needs an id of its own",
            column=row_id,
        )


def _time_column(table: pa.Table, time: str | None) -> str:
    if time is not None:
        if time not in table.column_names:
            hint = did_you_mean(time, table.column_names)
            raise MissingColumn(f"spine: no time column {time!r}", hint=hint, column=time)
        return time
    if TIME in table.column_names:
        return TIME
    found = [field.name for field in table.schema if pa.types.is_timestamp(field.type)]
    if len(found) == 1:
        return found[0]
    seen = (
        f"it has {len(found)} columns of times ({', '.join(found)})" if found else "it has no column of times"
    )
    raise MissingColumn(f"spine: no column {TIME!r}, and {seen}", hint='name it: time="..."', column=TIME)


def _times(column: pa.ChunkedArray, name: str, zoned_sources: Sequence[str]) -> tuple[Ints, Bools]:
    arrow = column.type
    if not (pa.types.is_timestamp(arrow) or pa.types.is_date(arrow)):
        raise WrongType(f"spine: time column {name!r} is {arrow}, not a timestamp", column=name)
    if zoned_sources and (pa.types.is_date(arrow) or arrow.tz is None):
        raise WrongType(
            f"spine: times in {name!r} have no zone, and source {zoned_sources[0]!r} declares one",
            hint="give the spine's times a zone, for example timestamp[us, UTC]",
            column=name,
        )
    times = column.cast(pa.timestamp("us")) if pa.types.is_date(arrow) else column
    valid, at = valid_mask(times), micros(times)
    if at.size and (int(at.min()) < -_FAR_US or int(at.max()) > _FAR_US):
        raise DataError(f"spine: a time in {name!r} is out of range", column=name)
    return np.ascontiguousarray(at), valid


def null_rows(columns: Iterable[pa.ChunkedArray], size: int) -> Bools:
    """True for rows with a null in any of the columns."""
    out = np.zeros(size, np.bool_)
    for column in columns:
        out |= ~valid_mask(column)
    return out
