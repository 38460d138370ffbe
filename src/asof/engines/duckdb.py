"""The embedded engine: DuckDB reads and projects history.

Rows come in the source's own order (DuckDB keeps it without joins and sorts, also over UNION ALL), so equal
inputs give equal outputs. What a source's stream has landed (`landed.py`) follows its declared history. SQL from
definitions is checked by `expression.py` first; the session runs in UTC, loads no extension from anywhere and reads
no environment. Driver errors are translated in `_translated`, and messages that could quote a value are not passed on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import duckdb
import pyarrow as pa
from duckdb import DuckDBPyConnection

from asof.compute.arrays import Ints
from asof.define.source import CSV, ArrowFile, DuckDBTable, Events, InMemory, Landed, Mapped, Parquet
from asof.define.substitute import changed
from asof.engines import expression, files, tables
from asof.engines.landed import landed_files, quote, united_sql
from asof.engines.plain import plain_projection
from asof.engines.scan import (
    DELETED,
    EVENT,
    HASH,
    KEY,
    KEY_HIGH,
    KEY_LOW,
    KNOWN,
    PART,
    PLACE,
    KeyFilter,
    Scan,
    Snapshot,
)
from asof.errors import (
    AsofError,
    BackendError,
    CorruptSource,
    DataError,
    DefinitionError,
    InvalidExpression,
    LimitError,
    MissingColumn,
    NumericOverflow,
    SourceNotFound,
    WrongType,
    did_you_mean,
)

_SAFE_MARGIN = timedelta(days=1)
_CSV_ROW_BYTES = 40
_CAST = "cast it in the source's columns, for example try_cast(x as decimal(18,2))"
_PLACED = "(SELECT *, (file_index::BIGINT << 40) + file_row_number AS asof_place FROM {sql})"


def literal(value: object) -> str:
    """A value in SQL.

    Example:
        >>> literal("it's"), literal(3)
        ("'it''s'", '3')
    """
    if isinstance(value, bool | int):
        return str(value)
    if isinstance(value, date) and not isinstance(value, datetime):
        return f"DATE '{value.isoformat()}'"
    return "'" + str(value).replace("'", "''") + "'"


@dataclass(frozen=True)
class _Source:
    """A source as SQL: a FROM clause and the columns that it has; `placed` has the place of each row as well."""

    sql: str
    columns: dict[str, pa.DataType]
    placed: str | None = None


def open_database(
    *, threads: int = 2, memory_bytes: int = 2**31, spill_dir: Path | None = None
) -> DuckDBPyConnection:
    """A DuckDB within this process, for any number of engines; `memory_bytes` is what it may use before it
    spills.
    """
    config: dict[str, str | bool | int | float | list[str]] = {
        "threads": threads,
        "memory_limit": f"{max(memory_bytes, 2**27)}B",
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
        "preserve_insertion_order": True,
    }
    if spill_dir is not None:
        config["temp_directory"] = str(spill_dir)
    return duckdb.connect(":memory:", config=config)


class _Histories:
    """What one run has looked up of sources, each once; see `DuckDBEngine`."""

    def __init__(self, root: Path, database: DuckDBPyConnection, landing: Path | None = None) -> None:
        self.root = root
        self.landing = landing
        self._database = database
        self._sources: dict[tuple[Mapped, bool], _Source] = {}
        self._counts: dict[tuple[Events, bool], int] = {}
        self._landed: dict[str, tuple[Path, ...]] = {}
        self._attached: set[str] = set()
        self._objects: dict[str, object] = {}
        self._parsed: dict[str, str] = {}
        self._reads: dict[str, tuple[str, ...]] = {}

    def close(self) -> None:
        """Let go of attached database files, so that the next run sees them as they are then."""
        for alias in self._attached:
            with suppress(duckdb.Error), self._database.cursor() as cursor:  # another run may be reading it
                cursor.execute(f"DETACH DATABASE IF EXISTS {alias}").fetchall()

    def schema(self, source: Mapped) -> dict[str, pa.DataType]:
        """Columns of a source, derived and mapped ones included, with their Arrow types.

        Raises:
            SourceNotFound, CorruptSource: the history is not there, or is no file of its format.
            MissingColumn: a derived column reads a column that is not there.
        """
        return dict(self._source(source).columns)

    def raw_schema(self, source: Events) -> dict[str, pa.DataType]:
        """Columns of a source's history, before the derived ones, with their Arrow types: those that events bring.

        Raises:
            SourceNotFound, CorruptSource: the history is not there, or is no file of its format.
        """
        return dict(self._source(Mapped(changed(source, columns=(), stream=None))).columns)

    def landed(self, source: Events) -> tuple[Path, ...]:
        """The files that the source's stream has landed, in the order in which they are read after its history."""
        if source.stream is None or self.landing is None:
            return ()
        if source.name not in self._landed:
            self._landed[source.name] = tuple(landed_files(self.landing / source.name))
        return self._landed[source.name]

    def check_expression(self, where: str, sql: str) -> tuple[str, ...]:
        """The columns that an SQL expression reads; raises InvalidExpression where it is no plain expression."""
        if sql not in self._reads:
            self.parse([sql])
            self._reads[sql] = expression.check_expression(where, sql, self._parsed.__getitem__)
        return self._reads[sql]

    def parse(self, expressions: Iterable[str]) -> None:
        """Has many expressions parsed at once, which is much faster than one by one when they are checked."""
        new = [
            text
            for sql in dict.fromkeys(expressions)
            if (text := expression.statement_of(sql)) not in self._parsed
        ]
        if new:
            query = "select json_serialize_sql(text) from (select unnest(?) as text)"
            with self._cursor("expressions") as cursor:
                found = cursor.execute(query, [new]).fetchall()
            self._parsed.update(zip(new, (str(row[0]) for row in found), strict=True))

    def count_rows(self, source: Events) -> int:
        """How many rows a source has: from metadata, for CSV guessed from its size."""
        key = source, source.stream is not None
        if key not in self._counts:
            self._counts[key] = self._count_rows(source)
        return self._counts[key]

    def snapshots(self, source: Events) -> tuple[Snapshot, ...]:
        """The identities of a source's files; of its table's content where it is in memory."""
        with _still_there(f"source {source.name!r}"):
            landed = tuple(files.snapshot(file, self.root) for file in self.landed(source))
        return (*self._declared_snapshots(source), *landed)

    def _declared_snapshots(self, source: Events) -> tuple[Snapshot, ...]:
        history = source.history
        if isinstance(history, Landed):
            return ()
        if isinstance(history, InMemory):
            return (tables.snapshot(history.name, tables.as_table(history.table)),)
        if isinstance(history, DuckDBTable):
            return (files.snapshot(self.root / history.database, self.root),)
        if any(files.is_remote(path) for path in history.paths):
            return tables.remote_snapshots(history.paths)
        found = files.find_files(f"source {source.name!r}", history.paths, self.root)
        return tuple(files.snapshot(file, self.root) for file in found)

    def _count_rows(self, source: Events) -> int:
        where, history = f"source {source.name!r}", source.history
        if isinstance(history, CSV) and not any(files.is_remote(path) for path in history.paths):
            found = files.find_files(where, history.paths, self.root)
            landed = self._count(where, _landed_sql(self.landed(source))) if self.landed(source) else 0
            return sum(file.stat().st_size for file in found) // _CSV_ROW_BYTES + landed
        return self._count(where, self._source(Mapped(source)).sql)

    def _count(self, where: str, sql: str) -> int:
        with self._cursor(where) as cursor:
            return int(cursor.execute(f"select count(*) from {sql}").fetchall()[0][0])

    @contextmanager
    def _cursor(self, where: str) -> Generator[DuckDBPyConnection]:
        cursor = self._database.cursor()
        try:
            with _translated(where):
                cursor.execute("SET TimeZone='UTC'").fetchall()
                cursor.execute(f"SET file_search_path={literal(self.root)}").fetchall()
                for name, held in self._objects.items():
                    cursor.register(name, held)
                yield cursor
        finally:
            cursor.close()

    def _source(self, mapped: Mapped) -> _Source:
        key = _looked_up(mapped)
        found = self._sources.get(key)
        if found is None:
            found = self._open(mapped)
            self._sources[key] = found
        return found

    def _open(self, mapped: Mapped) -> _Source:
        source = mapped.source
        where = f"source {source.name!r}"
        sql = self._location_sql(where, source)
        if landed := self.landed(source):
            with _still_there(where):
                files.check_format(where, landed, "Parquet")
            after = _landed_sql(landed)
            sql = united_sql(sql, self._kinds(where, sql), after, self._kinds(where, after))
        placed = _PLACED.format(sql=sql) if sql.startswith("read_parquet(") else None
        for layer in (source.columns, mapped.columns):
            if layer:
                columns = self._columns(where, sql)
                for name, text in layer:
                    self._check_columns(f"{where}: column {name!r}", text, columns)
                taken = [quote(name) for name, _ in layer if name in columns]
                star = f"* EXCLUDE ({', '.join(taken)})" if taken else "*"
                made = ", ".join(f"({text}\n) AS {quote(name)}" for name, text in layer)
                sql = f"(SELECT {star}, {made} FROM {sql})"
                placed = None if placed is None else f"(SELECT {star}, {made} FROM {placed})"
        return _Source(sql, self._columns(where, sql), placed)

    def _columns(self, where: str, sql: str) -> dict[str, pa.DataType]:
        with self._cursor(where) as cursor:
            schema = cursor.sql(f"select * from {sql} limit 0").to_arrow_table().schema
        return dict(zip(schema.names, schema.types, strict=True))

    def _kinds(self, where: str, sql: str) -> dict[str, str]:
        with self._cursor(where) as cursor:
            return {row[0]: row[1] for row in cursor.execute(f"DESCRIBE SELECT * FROM {sql}").fetchall()}

    def _check_columns(self, where: str, sql: str, columns: Sequence[str] | dict[str, pa.DataType]) -> None:
        folded = {name.lower() for name in columns}
        for name in self.check_expression(where, sql):
            if name.lower() not in folded:
                raise MissingColumn(
                    f"{where}: {sql!r} reads {name!r}, which is no column of the source",
                    hint=did_you_mean(name, columns),
                    column=name,
                )

    def _location_sql(self, where: str, source: Events) -> str:
        history = source.history
        if isinstance(history, Landed):
            picked = ", ".join(f"NULL::{dtype.duckdb} AS {quote(name)}" for name, dtype in history.columns)
            return f"(SELECT {picked} WHERE false)"
        if isinstance(history, InMemory):
            return self._held(tables.as_table(history.table))
        if isinstance(history, DuckDBTable):
            return self._attach(where, history)
        return self._files_sql(where, source, history)

    def _files_sql(self, where: str, source: Events, history: Parquet | CSV | ArrowFile) -> str:
        if any(files.is_remote(path) for path in history.paths):
            return self._held(tables.open_remote(where, history))
        found = self._find_files(where, source, history.paths)
        if isinstance(history, ArrowFile):
            files.check_format(where, found, "Arrow")
            return self._held(tables.open_arrow(found))
        names = ", ".join(literal(str(file)) for file in found)
        if isinstance(history, Parquet):
            files.check_format(where, found, "Parquet")
            return f"read_parquet([{names}], hive_partitioning={str(history.hive).lower()})"
        return _csv_sql(history, names)

    def _find_files(self, where: str, source: Events, paths: Sequence[str]) -> list[Path]:
        try:
            return files.find_files(where, paths, self.root)
        except SourceNotFound as exc:
            if source.stream is None:
                raise
            hint = "history=Landed(columns={...}) has no history but what the stream has landed"
            raise SourceNotFound(exc.message, hint=hint, **exc.facts) from exc

    def _held(self, table: object) -> str:
        name = f"asof_held_{len(self._objects)}"
        self._objects[name] = table
        return name

    def _attach(self, where: str, history: DuckDBTable) -> str:
        file = files.find_files(where, [history.database], self.root)[0]
        alias = f"asof_db_{hashlib.sha256(str(file).encode()).hexdigest()[:12]}"
        with _translated(where), self._database.cursor() as cursor:
            cursor.execute(f"ATTACH IF NOT EXISTS {literal(str(file))} AS {alias} (READ_ONLY)").fetchall()
        self._attached.add(alias)
        return ".".join(quote(part) for part in (alias, *history.table.split(".")))

    def _need(self, where: str, name: str, columns: dict[str, pa.DataType]) -> None:
        if name not in columns:
            raise MissingColumn(
                f"{where} has no column {name!r}", hint=did_you_mean(name, columns), column=name
            )


class DuckDBEngine(_Histories):
    """One run's view of a DuckDB: what it has looked up of sources holds for the run. `root` is where
    relative paths start; below `landing` lies what streams have landed, a folder for each source (none: nothing has).
    """

    def read(self, scan: Scan, batch_rows: int) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
        """The rows of a scan, batch by batch, always in the same order, and their schema.

        Raises:
            MissingColumn, WrongType, InvalidExpression: a column or an expression does not fit the source.
            CorruptSource, NumericOverflow, BackendError: what DuckDB met while reading.
        """
        where = f"source {scan.source.source.name!r}"
        sql = self._scan_sql(scan)
        columns = self._columns(where, f"({sql})")
        _check_predicates(where, columns, scan)
        return pa.schema(list(columns.items())), self._batches(where, sql, batch_rows)

    def _batches(self, where: str, sql: str, batch_rows: int) -> Iterator[pa.RecordBatch]:
        with self._cursor(where) as cursor:
            reader = cursor.sql(sql).to_arrow_reader(batch_rows)
            while True:
                try:
                    batch = reader.read_next_batch()
                except StopIteration:
                    return
                except (OSError, pa.ArrowException) as exc:
                    raise _met_in_reader(where, str(exc)) from None
                yield batch

    def prepare(self, scan: Scan) -> Callable[[pa.Table], pa.Table]:
        """A scan of a table in memory as a function of other tables with the same columns: made once, and nothing of
        a table is kept. Not for several threads at once.

        Raises:
            MissingColumn, WrongType, InvalidExpression: a column or an expression does not fit.
        """
        where = f"source {scan.source.source.name!r}"
        name = f"asof_held_{len(self._objects)}"
        sql = self._scan_sql(scan)
        types = self._columns(where, f"({sql})")
        _check_predicates(where, types, scan)
        with self._cursor(where) as cursor:
            kinds = [(row[0], row[1]) for row in cursor.execute(f"DESCRIBE {name}").fetchall()]
        del self._sources[_looked_up(scan.source)], self._objects[name]
        values = ", ".join(f"unnest(${i}::{kind}[]) AS {quote(of)}" for i, (of, kind) in enumerate(kinds, 1))
        sql = sql.replace(name, f"(SELECT {values})")
        cursor = self._database.cursor()
        cursor.execute("SET TimeZone='UTC'").fetchall()
        zoned = any(pa.types.is_timestamp(kind) and kind.tz is not None for kind in types.values())

        def project(table: pa.Table) -> pa.Table:
            with _translated(where):
                given = [table[of].to_pylist() for of, _ in kinds]
                if zoned:  # which DuckDB makes Python objects of only with the help of another package
                    return cursor.sql(sql, params=given).to_arrow_table()
                rows = cursor.execute(sql, given).fetchall()
            columns = list(zip(*rows, strict=True)) if rows else [()] * len(types)
            made = [pa.array(list(each), of) for each, of in zip(columns, types.values(), strict=True)]
            return pa.table(made, names=list(types))

        return project

    def project(self, scan: Scan) -> Callable[[pa.Table], pa.Table]:
        """A scan of a table in memory as a function of other tables with the same columns, row for row in their order;
        for one thread at a time. What `prepare` is for a few rows, this is for many.

        Raises:
            MissingColumn, WrongType, InvalidExpression: a column or an expression does not fit.
        """
        where = f"source {scan.source.source.name!r}"
        name = f"asof_held_{len(self._objects)}"
        sql = self._scan_sql(scan)
        types = self._columns(where, f"({sql})")
        _check_predicates(where, types, scan)
        given = self._source(scan.source).columns
        del self._sources[_looked_up(scan.source)], self._objects[name]
        if plain := plain_projection(scan, pa.schema(list(types.items())), pa.schema(list(given.items()))):
            return plain
        cursor = self._database.cursor()
        cursor.execute("SET TimeZone='UTC'").fetchall()

        def project(table: pa.Table) -> pa.Table:
            with _translated(where):
                cursor.register(name, table)
                try:
                    return cursor.sql(sql).to_arrow_table()
                finally:
                    cursor.unregister(name)

        return project

    def load(self, source: Mapped | str) -> pa.Table:
        """All columns and rows of a source, or of a query of the user's own."""
        if isinstance(source, str):
            with self._cursor("spine query") as cursor:
                return cursor.sql(source).to_arrow_table()
        found = self._source(source)
        with self._cursor(f"source {source.source.name!r}") as cursor:
            return cursor.sql(f"select * from {found.sql}").to_arrow_table()

    def fetch(self, scan: Scan, places: Ints) -> pa.Table:
        """The values of the rows at the places that a scan with `places` gave: `place` and `v0..`, in any
        order.
        """
        found = self._source(scan.source)
        values = "".join(f", {quote(name)} AS v{i}" for i, name in enumerate(scan.values))
        with self._cursor(f"source {scan.source.source.name!r}") as cursor:
            cursor.register("asof_places", pa.table({"n": pa.array(places)}))
            sql = f"SELECT asof_place AS {PLACE}{values} FROM {found.placed}"
            return cursor.sql(f"{sql} WHERE asof_place IN (SELECT n FROM asof_places)").to_arrow_table()

    def split(self, scan: Scan, keys: Sequence[pa.ChunkedArray]) -> tuple[pa.Array, pa.Array]:
        """For a partitioned scan: the partition of each of the keys given, and the hashes of the event keys
        whose versions lie in more than one partition.
        """
        where = f"source {scan.source.source.name!r}"
        names = [f"k{i}" for i in range(len(keys))]
        typed = ", ".join(
            f"{name}::{dtype.duckdb}" for name, (_, dtype) in zip(names, scan.keys, strict=True)
        )
        with self._cursor(where) as cursor:
            cursor.register("asof_keys", pa.table(list(keys), names=names))
            sql = f"select {_part_sql(typed, scan.partitions)} AS part from asof_keys"
            numbers = cursor.sql(sql).to_arrow_table()["part"].combine_chunks()
        if scan.source.source.key is None:
            return numbers, pa.array([], pa.int64())
        inner = self._scan_sql(scan)
        sql = (
            f"select {HASH} from ({inner}) where {KEY} is not null"
            f" group by {HASH} having min({PART}) <> max({PART})"
        )
        with self._cursor(where) as cursor:
            return numbers, cursor.sql(sql).to_arrow_table()[HASH].combine_chunks()

    def summarize(self, scans: Sequence[Scan], sql: str) -> pa.Table:
        """What a query over `asof_rows` gives: the rows of these scans together, in no order (profile.py asks)."""
        rows = " UNION ALL BY NAME ".join(f"({self._scan_sql(scan, ordered=False)})" for scan in scans)
        with self._cursor(f"source {' + '.join(repr(scan.source.source.name) for scan in scans)}") as cursor:
            return cursor.sql(f"WITH asof_rows AS NOT MATERIALIZED ({rows}) {sql}").to_arrow_table()

    def _scan_sql(self, scan: Scan, *, ordered: bool = True) -> str:
        found = self._source(scan.source)
        source = scan.source.source
        where = f"source {source.name!r}"
        picked = self._time_columns(where, source, found.columns)
        keys = [self._key_sql(where, sql, str(dtype.duckdb), found.columns) for sql, dtype in scan.keys]
        picked += [f"{sql} AS k{i}" for i, sql in enumerate(keys)]
        for i, name in enumerate(scan.values):
            self._need(where, name, found.columns)
            picked.append(f"{quote(name)} AS v{i}")
        for i, text in enumerate(scan.predicates):
            self._check_columns(f"{where}: predicate", text, found.columns)
            picked.append(f"({text}\n) AS p{i}")
        if source.key is not None:
            picked += self._key_columns(where, source, found.columns, digests=scan.digests)
        if scan.partitions > 1:
            picked.append(f"{_part_sql(', '.join(keys), scan.partitions)} AS {PART}")
        relation = found.sql
        if scan.places and found.placed is not None:
            relation = found.placed
            picked.append(f"asof_place AS {PLACE}")
        sql = f"SELECT {', '.join(picked)} FROM {relation}{self._where(scan, keys, found.columns)}"
        if source.sequence is not None and ordered:
            self._need(where, source.sequence, found.columns)
            sql += f" ORDER BY {quote(source.sequence)}"
        return sql

    def _time_columns(self, where: str, source: Events, columns: dict[str, pa.DataType]) -> list[str]:
        picked = [f"{self._micros(where, source, source.event_time, columns)} AS {EVENT}"]
        if source.known_at is not None:
            picked.append(f"{self._micros(where, source, source.known_at, columns)} AS {KNOWN}")
        return picked

    def _micros(self, where: str, source: Events, name: str, columns: dict[str, pa.DataType]) -> str:
        self._need(where, name, columns)
        arrow = columns[name]
        if pa.types.is_timestamp(arrow) or pa.types.is_date(arrow):
            naive = pa.types.is_date(arrow) or arrow.tz is None
            if naive and source.zone is not None:
                return f"epoch_us(timezone({literal(source.zone)}, {quote(name)}::TIMESTAMP))"
            return f"epoch_us({quote(name)})"
        raise WrongType(
            f"{where}: time column {name!r} has type {arrow}",
            hint='make it a timestamp in columns={"at": "..."} of the source',
            column=name,
        )

    def _key_sql(self, where: str, sql: str, wanted: str, columns: dict[str, pa.DataType]) -> str:
        if sql in columns:
            kind = _key_kind(columns[sql])
            if kind is None or kind != _wanted_kind(wanted):
                raise WrongType(
                    f"{where}: entity key {sql!r} has type {columns[sql]}, the entity declares {wanted}",
                    hint=f'map it in the view: keys={{"...": "cast({sql} as {wanted.lower()})"}}',
                    column=sql,
                )
            return f"{quote(sql)}::{wanted}"
        if sql.isidentifier():
            self._need(where, sql, columns)
        self._check_columns(f"{where}: entity key", sql, columns)
        return f"({sql}\n)::{wanted}"

    def _key_columns(
        self, where: str, source: Events, columns: dict[str, pa.DataType], *, digests: bool
    ) -> list[str]:
        name = str(source.key)
        self._need(where, name, columns)
        exact = pa.types.is_integer(columns[name])
        number = f"{quote(name)}::BIGINT" if exact else f"hash({quote(name)}::VARCHAR)"
        picked = [f"{number} AS {HASH}", f"{quote(name)}::{'BIGINT' if exact else 'VARCHAR'} AS {KEY}"]
        if digests and exact:
            picked += [f"{quote(name)}::BIGINT AS {KEY_LOW}", f"0::BIGINT AS {KEY_HIGH}"]
        elif digests:
            for half, column in (("lower", KEY_LOW), ("upper", KEY_HIGH)):
                picked.append(f"md5_number_{half}({quote(name)}::VARCHAR) AS {column}")
        if source.deleted is not None:
            self._check_columns(f"{where}: deleted", source.deleted, columns)
            picked.append(f"coalesce(({source.deleted}\n), false) AS {DELETED}")
        return picked

    def _where(self, scan: Scan, keys: Sequence[str], columns: dict[str, pa.DataType]) -> str:
        source = scan.source.source
        tests: list[str] = []
        if scan.event_range is not None:
            tests.append(_range_sql(source.event_time, columns[source.event_time], scan.event_range))
        if scan.known_range is not None:
            name, (lo, hi) = source.known_at or source.event_time, scan.known_range
            delayed = 0 if source.known_at else source.delay_us
            tests.append(_range_sql(name, columns[name], (lo - delayed, hi - delayed)))
        for sql, filtered in zip(keys, scan.key_filters, strict=False):
            if filtered is not None:
                tests.append(_key_filter_sql(sql, filtered))
        return f" WHERE {' AND '.join(tests)}" if tests else ""


def _check_predicates(where: str, columns: dict[str, pa.DataType], scan: Scan) -> None:
    for i, text in enumerate(scan.predicates):
        arrow = columns[f"p{i}"]
        if not pa.types.is_boolean(arrow) and not pa.types.is_null(arrow):
            raise WrongType(f"{where}: predicate {text!r} gives {arrow}, not true or false")


@contextmanager
def _still_there(where: str) -> Generator[None]:
    try:
        yield
    except FileNotFoundError as exc:
        said = f"{where}: a landed file is gone since this run began: it has been merged with others"
        raise BackendError(said, hint="run it again", retryable=True) from exc


def _looked_up(mapped: Mapped) -> tuple[Mapped, bool]:
    """What has been looked up of a source is kept by this: a stream is no part of the source's value."""
    return mapped, mapped.source.stream is not None


def _landed_sql(landed: Sequence[Path]) -> str:
    names = ", ".join(literal(str(file)) for file in landed)
    return f"read_parquet([{names}], union_by_name=true, hive_partitioning=false)"


def _part_sql(keys: str, partitions: int) -> str:
    return f"(hash({keys}) % {partitions})::INTEGER"


def _csv_sql(history: CSV, names: str) -> str:
    types = ", ".join(f"{literal(name)}: {literal(dtype.duckdb)}" for name, dtype in history.columns)
    typed = f", types={{{types}}}" if types else ""
    return f"read_csv([{names}], header=true, delim={literal(history.delimiter)}{typed})"


def _range_sql(name: str, arrow: pa.DataType, event_range: tuple[int, int]) -> str:
    """A range of event times with a day of margin (zones), in the column's own type, so that files can be
    skipped.
    """
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    edges: list[str] = []
    for edge_us, margin, sign in zip(event_range, (-_SAFE_MARGIN, _SAFE_MARGIN), (">=", "<"), strict=True):
        try:
            edge = epoch + timedelta(microseconds=edge_us) + margin
        except OverflowError:
            continue
        kind = _time_type(arrow)
        text = edge.date().isoformat() if kind == "DATE" else edge.replace(tzinfo=None).isoformat(" ")
        edges.append(f"{quote(name)} {sign} {kind} '{text}'")
    return f"(({' AND '.join(edges)}) OR {quote(name)} IS NULL)" if edges else "true"


def _time_type(arrow: pa.DataType) -> str:
    if isinstance(arrow, pa.TimestampType):
        return "TIMESTAMP" if arrow.tz is None else "TIMESTAMPTZ"
    return "DATE"


def _key_filter_sql(sql: str, filtered: KeyFilter) -> str:
    if filtered.values:
        return f"({sql} IN ({', '.join(literal(value) for value in filtered.values)}) OR {sql} IS NULL)"
    return f"({sql} BETWEEN {literal(filtered.least)} AND {literal(filtered.largest)} OR {sql} IS NULL)"


def _key_kind(arrow: pa.DataType) -> str | None:
    if pa.types.is_integer(arrow):
        return "integer"
    if pa.types.is_boolean(arrow):
        return "bool"
    if pa.types.is_date(arrow):
        return "date"
    if pa.types.is_dictionary(arrow):
        return _key_kind(arrow.value_type)
    return "string" if pa.types.is_string(arrow) or pa.types.is_large_string(arrow) else None


def _wanted_kind(duckdb_type: str) -> str:
    return {
        "VARCHAR": "string",
        "BIGINT": "integer",
        "INTEGER": "integer",
        "BOOLEAN": "bool",
        "DATE": "date",
    }[duckdb_type]


def _met_in_reader(where: str, text: str) -> AsofError:
    """What DuckDB met while an Arrow reader read on: PyArrow knows only its text, which may quote a value."""
    kind = text.partition(":")[0]
    if kind in {"Conversion Error", "Out of Range Error"}:
        made = NumericOverflow if kind.startswith("Out") else DataError
        return made(f"{where}: a value does not fit the type that an expression gives it", hint=_CAST)
    if kind == "Out of Memory Error":
        return LimitError(f"{where}: out of memory", hint="raise memory_limit or set spill_dir")
    if kind in {"Invalid Input Error", "Serialization Error"}:
        return CorruptSource(f"{where}: DuckDB cannot read it on", hint="is a file broken off?")
    words = kind if kind.endswith("Error") and len(kind) < 40 else "an error"
    return BackendError(f"{where}: DuckDB failed with {words}", retryable=kind == "IO Error")


@contextmanager
def _translated(where: str) -> Generator[None]:
    """Driver errors as asof's; what may quote a value is not repeated."""
    try:
        yield
    except AsofError:
        raise
    except (duckdb.ConversionException, duckdb.OutOfRangeException) as exc:
        kind = NumericOverflow if isinstance(exc, duckdb.OutOfRangeException) else DataError
        raise kind(
            f"{where}: a value does not fit the type that an expression gives it", hint=_CAST
        ) from None
    except duckdb.OutOfMemoryException as exc:
        raise LimitError(f"{where}: out of memory", hint="raise memory_limit or set spill_dir") from exc
    except (duckdb.ParserException, duckdb.BinderException, duckdb.SyntaxException) as exc:
        text = str(exc).partition("\n")[0]
        raise InvalidExpression(f"{where}: {text}", hint="check the SQL") from exc
    except duckdb.CatalogException as exc:
        raise DefinitionError(f"{where}: {str(exc).partition(chr(10))[0]}") from exc
    except (duckdb.InvalidInputException, duckdb.SerializationException) as exc:
        raise CorruptSource(
            f"{where}: DuckDB cannot read it: {str(exc).partition(chr(10))[0][:200]}"
        ) from exc
    except duckdb.IOException as exc:
        raise BackendError(f"{where}: {str(exc).partition(chr(10))[0][:200]}", retryable=True) from exc
    except duckdb.Error as exc:
        name = type(exc).__name__
        raise BackendError(f"{where}: DuckDB failed with {name}", hint="see the cause above") from exc
