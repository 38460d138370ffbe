"""What the columns of a source are: how many bytes their values take, how many different ones there are, how files
store them, and what derived columns are made of.

Bytes are measured on a bounded part of the data (the first 100,000 rows, the footers of 8 files), so that a long
source costs no more than a short one. flows/estimate.py makes a plan of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import ceil

import pyarrow as pa
from pyarrow import parquet

from asof.compute.arrow import find_dtype
from asof.define.source import CSV, Events, Mapped, Parquet
from asof.engines import files
from asof.engines.duckdb import DuckDBEngine
from asof.engines.scan import Scan

SAMPLE_ROWS = 100_000
MAX_FOOTERS = 8
_UNKNOWN_BYTES = 16
_LENGTH_BYTES = 4  # of a text, beside its letters
_KIND_BYTES = {"bool": 1, "int32": 4, "date": 4, "int64": 8, "float64": 8, "timestamp": 8}


@dataclass(frozen=True)
class Column:
    """One column: the bytes of a value, and how many different values it has (None: more than can be told)."""

    size_bytes: int
    values: int | None = None


@dataclass(frozen=True)
class Stored:
    """How files store a source: bytes per row of each column (names in lower case), or of files that are always
    read whole their size.
    """

    columns: Mapping[str, float] = field(default_factory=dict[str, float])
    whole_bytes: int = 0


def sample_columns(engine: DuckDBEngine, scans: Sequence[Scan], counted: Iterable[str]) -> dict[str, Column]:
    """The columns that these scans read, without those that a source does not have; of several sources the larger.

    Texts are as long as on average in the first 100,000 rows. The different values of `counted` columns are counted
    there, and told where they repeat: where there are at most half as many as rows.
    """
    found = [_sample(engine, scan, set(counted)) for scan in scans]
    names = [name for name in found[0] if all(name in each for each in found)]
    return {name: _larger([each[name] for each in found]) for name in names}


def _larger(columns: Sequence[Column]) -> Column:
    values = [column.values for column in columns if column.values is not None]
    known = len(values) == len(columns)
    return Column(max(column.size_bytes for column in columns), max(values) if known else None)


def _sample(engine: DuckDBEngine, scan: Scan, counted: set[str]) -> dict[str, Column]:
    types = engine.schema(scan.source)
    names = [name for name in scan.values if name in types]
    picked = ["count(*) AS n"]
    for i, name in enumerate(names):
        if _is_text(types[name]):
            picked.append(f"avg(strlen(v{i}::VARCHAR)) AS l{i}")
        if name in counted:
            picked.append(f"count(DISTINCT v{i}) AS d{i}")
    seen: dict[str, float | None] = {}
    if len(picked) > 1:
        bare = replace(scan, keys=(), values=tuple(names), predicates=())
        sql = f"SELECT {', '.join(picked)} FROM (SELECT * FROM asof_rows LIMIT {SAMPLE_ROWS})"
        seen = engine.summarize([bare], sql).to_pylist()[0]
    columns: dict[str, Column] = {}
    for i, name in enumerate(names):
        values = seen.get(f"d{i}")
        told = values is not None and 2 * values <= (seen["n"] or 0)
        columns[name] = Column(
            _value_bytes(types[name], seen.get(f"l{i}")), int(values or 0) if told else None
        )
    return columns


def _value_bytes(arrow: pa.DataType, letters: float | None) -> int:
    if _is_text(arrow):
        return _LENGTH_BYTES + ceil(letters or 0)
    dtype = find_dtype(arrow)
    if dtype is not None and dtype.kind == "decimal":
        return 8 if dtype.precision <= 18 else 16
    return _UNKNOWN_BYTES if dtype is None else _KIND_BYTES.get(dtype.kind, _UNKNOWN_BYTES)


def _is_text(arrow: pa.DataType) -> bool:
    dtype = find_dtype(arrow)
    return dtype is not None and dtype.kind == "string"


def stored_columns(engine: DuckDBEngine, source: Events) -> Stored | None:
    """How the files of a source store its columns; None where that cannot be told without reading them."""
    history = source.history
    if not isinstance(history, Parquet | CSV) or any(files.is_remote(path) for path in history.paths):
        return None
    found = files.find_files(f"source {source.name!r}", history.paths, engine.root)
    if isinstance(history, CSV):
        return Stored(whole_bytes=sum(file.stat().st_size for file in found))
    sizes: dict[str, int] = {}
    rows = 0
    for file in found[:MAX_FOOTERS]:
        footer = parquet.read_metadata(file)
        rows += footer.num_rows
        for group in map(footer.row_group, range(footer.num_row_groups)):
            for chunk in map(group.column, range(group.num_columns)):
                name = chunk.path_in_schema.partition(".")[0].lower()
                sizes[name] = sizes.get(name, 0) + chunk.total_compressed_size
    return Stored({name: size / max(rows, 1) for name, size in sizes.items()})


class Lineage:
    """What expressions over one source read, down to the columns of its history."""

    def __init__(self, engine: DuckDBEngine, source: Mapped) -> None:
        self._engine, self._source = engine, source
        self._columns = {name.lower() for name in engine.schema(source)}
        self._known: dict[str, frozenset[str]] = {}

    def columns(self, text: str) -> frozenset[str]:
        """The columns that an expression (or a column's name) reads, derived ones and what these are made of; in
        lower case.

        Raises:
            InvalidExpression: it is no plain expression.
        """
        if text not in self._known:
            self._known[text] = self._find(text)
        return self._known[text]

    def _find(self, text: str) -> frozenset[str]:
        below = {text.lower()} if text.lower() in self._columns else self._reads(text)
        found: set[str] = set()
        for layer in (self._source.columns, self._source.source.columns):
            made = {name.lower(): sql for name, sql in layer}
            found |= below
            read = [self._reads(made[name]) if name in made else {name} for name in below]
            below = set[str]().union(*read)
        return frozenset(found | below)

    def _reads(self, sql: str) -> set[str]:
        where = f"source {self._source.source.name!r}"
        return {name.lower() for name in self._engine.check_expression(where, sql)}
