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
from asof.engines.scan import EVENT, HASH, KNOWN, Scan

SAMPLE_ROWS = 100_000
MAX_FOOTERS = 8
_UNKNOWN_BYTES = 16
_LENGTH_BYTES = 4  # of a text, beside its letters
_KIND_BYTES = {"bool": 1, "int32": 4, "date": 4, "int64": 8, "float64": 8, "timestamp": 8}


@dataclass(frozen=True)
class Column:
    """One column: the bytes of a value, and how many different values it has (None: more than can be told).

    `packed_bytes` are those of a value in an online record, where numbers are stored by how far they lie apart and
    texts as places in a dictionary; None where that is not known. Of a text, `fresh` is the share of an entity's rows
    that have one which none of its others has, where it has so many rows (`among`).
    """

    size_bytes: int
    values: int | None = None
    packed_bytes: int | None = field(default=None, compare=False)
    is_text: bool = field(default=False, compare=False)
    fresh: float = field(default=1.0, compare=False)
    among: float = field(default=1.0, compare=False)


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
    packed = [column.packed_bytes for column in columns if column.packed_bytes is not None]
    size_bytes = max(column.size_bytes for column in columns)
    widest = max(columns, key=lambda column: column.fresh * column.among)
    return replace(
        widest,
        size_bytes=size_bytes,
        values=max(values) if known else None,
        packed_bytes=max(packed, default=None),
    )


def _sample(engine: DuckDBEngine, scan: Scan, counted: set[str]) -> dict[str, Column]:
    types = engine.schema(scan.source)
    names = [name for name in scan.values if name in types]
    keys = ", ".join(f"k{i}" for i in range(len(scan.keys)))
    picked = ["count(*) AS n"]
    for i, name in enumerate(names):
        if _is_text(types[name]):
            picked.append(f"avg(strlen(v{i}::VARCHAR)) AS l{i}")
            if scan.keys:
                picked.append(f"count(DISTINCT ({keys}, v{i})) AS f{i}")
        else:
            picked += _packed_sql(f"v{i}", types[name], i)
        if name in counted:
            picked.append(f"count(DISTINCT v{i}) AS d{i}")
    seen: dict[str, float | None] = {}
    if len(picked) > 1:
        bare = replace(scan, values=tuple(names), predicates=())
        if scan.keys:
            picked.append(f"count(DISTINCT ({keys})) AS e")
        sql = f"SELECT {', '.join(picked)} FROM (SELECT * FROM asof_rows LIMIT {SAMPLE_ROWS})"
        seen = engine.summarize([bare], sql).to_pylist()[0]
    columns: dict[str, Column] = {}
    for i, name in enumerate(names):
        values = seen.get(f"d{i}")
        told = values is not None and 2 * values <= (seen["n"] or 0)
        columns[name] = Column(
            _value_bytes(types[name], seen.get(f"l{i}")), int(values or 0) if told else None,
            _packed_bytes(seen.get(f"w{i}"), seen.get(f"x{i}")), _is_text(types[name]),
            (seen.get(f"f{i}") or 1) / (seen.get("n") or 1), (seen.get("n") or 1) / (seen.get("e") or 1),
        )  # fmt: skip
    return columns


def _packed_sql(name: str, arrow: pa.DataType, i: int) -> list[str]:
    """How far apart most values of a column lie, in the units that a record stores them in (`w`), and whether they are
    whole numbers of these (`x`).
    """
    dtype = find_dtype(arrow)
    if dtype is None or dtype.kind == "bool":
        return []
    if dtype.kind == "float64":
        fits = " ".join(
            f"WHEN bool_and({name} IS NULL OR round({name}, {k}) = {name}) THEN {k}" for k in range(5)
        )
        return [
            f"{_spread(name)} * 10 ** (CASE {fits} END) AS w{i}",
            f"(CASE {fits} END) IS NOT NULL AS x{i}",
        ]
    scale = 10**dtype.scale if dtype.kind == "decimal" else 1
    number = {"timestamp": f"epoch_us({name})", "date": f"({name} - DATE '1970-01-01')"}.get(dtype.kind, name)
    return [f"{_spread(f'({number})')} * {scale} AS w{i}", f"true AS x{i}"]


def _spread(number: str) -> str:
    return f"(quantile_disc({number}, 0.99) - quantile_disc({number}, 0.01))::DOUBLE"


def _packed_bytes(spread: float | None, fits: object) -> int | None:
    if fits is None:
        return None
    return width_bytes(spread or 0) if fits else 8


def width_bytes(span: float) -> int:
    """The bytes that hold whole numbers from 0 to a span.

    Example:
        >>> width_bytes(0), width_bytes(255), width_bytes(256)
        (0, 1, 2)
    """
    return (int(span).bit_length() + 7) // 8


@dataclass(frozen=True)
class TimeShape:
    """How times lie: their unit in microseconds, how late most rows come that come late, and the share of those; and
    how many versions an event has on average.
    """

    unit_us: int = 1
    late_us: int = 0
    late_share: float = 0.0
    versions: float = 1.0


def sample_times(engine: DuckDBEngine, scans: Sequence[Scan]) -> TimeShape:
    """How the event times and known-at times of the first rows of each source lie."""
    units, late, shares, versions = [1_000_000], [0], [0.0], [1.0]
    for scan in scans:
        bare = replace(scan, keys=(), values=(), predicates=())
        picked = [f"bool_and({EVENT} % 1000000 = 0) AS whole"]
        if scan.source.source.known_at is not None:
            apart = f"{KNOWN} - {EVENT}"
            picked.append(f"quantile_disc({apart}, 0.9) FILTER (WHERE {apart} > 0) AS late")
            picked.append(f"avg(({apart} > 0)::INTEGER) AS share")
        if scan.source.source.key is not None:
            picked.append(f"count(*) / nullif(count(DISTINCT {HASH}), 0) AS versions")
        sql = f"SELECT {', '.join(picked)} FROM (SELECT * FROM asof_rows LIMIT {SAMPLE_ROWS})"
        (seen,) = engine.summarize([bare], sql).to_pylist()
        units.append(1 if seen["whole"] is False else 1_000_000)
        late.append(int(seen.get("late") or 0))
        shares.append(float(seen.get("share") or 0))
        versions.append(float(seen.get("versions") or 1))
    return TimeShape(min(units), max(late), max(shares), max(versions))


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
    found = [*found, *engine.landed(source)]
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
