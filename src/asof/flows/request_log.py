"""The log of online reads: what was asked, at which instant, and every value as it was answered.

`asof skew` replays it through the training path, so it has to hold entity keys and request columns as they came; guard
its folder as you guard the data itself. Rows are written in batches, as Parquet files by service and day; each file is
whole or not there, and memory is bounded by a batch.

Columns that reads gave as different types are kept as one that holds all their values as they are, text at last; the
replay gives them the types that definitions declare.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from asof.clock import from_us
from asof.compute.arrays import Ints
from asof.compute.arrow_ops import kept, taken
from asof.errors import DataError
from asof.flows.answer import Answer

TIMES = pa.timestamp("us", "UTC")
AT = "at"
KEY, REQUEST, VALUE, STATUS, WATERMARK = "key:", "request:", "value:", "status:", "watermark:"
"""What the names of a log's columns begin with; what follows is the column's (or the view's) own name."""
BATCH_ROWS = 10_000
_TYPES: Sequence[tuple[tuple[type, ...], pa.DataType]] = (
    ((int,), pa.int64()),
    ((int, float), pa.float64()),
    ((str,), pa.string()),
    ((datetime,), TIMES),
)


def log_rows(
    entities: Mapping[str, Sequence[Any]], request: Mapping[str, Sequence[Any]] | None, answer: Answer
) -> pa.Table:
    """An answer as rows of a log.

    Shape: n entities -> n rows: the instant, keys, request columns, values, statuses, and each view's watermark.
    """
    n = answer.size
    columns: dict[str, Any] = {AT: pa.array(np.full(n, answer.at_us)).cast(TIMES)}
    columns |= {KEY + name: _plain(values) for name, values in entities.items()}
    columns |= {REQUEST + name: _plain(values) for name, values in (request or {}).items()}
    for place, name in enumerate(answer.names):
        columns[VALUE + name] = answer.arrow(name)
        columns[STATUS + name] = pa.array(np.ascontiguousarray(answer.statuses[:, place]), pa.uint8())
    for view in answer.freshness:
        columns[WATERMARK + view.view] = pa.array(view.known_before_us).cast(TIMES)
    return pa.table(columns)


def _plain(values: Any) -> Any:
    """Values as they came, as one column: of all reads that give values of one kind, it has the same type."""
    if isinstance(values, pa.Array | pa.ChunkedArray):
        return values
    if isinstance(values, np.ndarray) and values.dtype != object:
        return pa.array(values)
    plain = [value.item() if isinstance(value, np.number | np.bool_) else value for value in values]
    kinds = {type(value) for value in plain if value is not None}
    known, wanted = _type_of(kinds)
    try:
        return pa.array(plain, wanted) if known else _texts(plain)
    except (pa.ArrowException, OverflowError, ValueError, TypeError):  # a number that its type cannot hold
        return _texts(plain)


def _type_of(kinds: set[type]) -> tuple[bool, pa.DataType | None]:
    """Whether values of these Python types have one Arrow type, and which (None: Arrow knows). Decimals are text: their
    own type would change with their digits.
    """
    if not kinds:
        return True, pa.null()
    if bool not in kinds:  # which is an int to Python
        for members, wanted in _TYPES:
            if all(issubclass(kind, members) for kind in kinds):
                return True, wanted
    return len(kinds) == 1 and not issubclass(next(iter(kinds)), Decimal), None


def _texts(values: Sequence[Any]) -> pa.Array:
    return pa.array([_text(value) for value in values], pa.string())


def _text(value: Any) -> str | None:
    """A value as text that can be cast to its type again."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, datetime) and value.tzinfo is None:
        value = value.replace(tzinfo=UTC)
    if isinstance(value, date):  # a time, too
        return value.isoformat()
    return str(value).lower() if isinstance(value, bool) else str(value)


class RequestLog:
    """Writes a log of reads to a folder; safe to call from several threads, and from several processes in one folder.

    Args:
        folder: where the log's files are.
        request: whether request columns are kept; without them, request features and own rows cannot be replayed.
        batch_rows: when so many rows are held in memory, all of them are written.

    Example:
        >>> import tempfile
        >>> from asof.types import DType
        >>> answer = Answer(
        ...     "s",
        ...     5,
        ...     ("n",),
        ...     (DType("int64"),),
        ...     np.array([[3]]),
        ...     np.array([[True]]),
        ...     np.zeros((1, 1), np.uint8),
        ... )
        >>> folder = tempfile.mkdtemp()
        >>> with RequestLog(folder) as log:
        ...     log.write("s", {"account": ["a"]}, None, answer)
        >>> read_log(folder, "s").select(["key:account", "value:n"]).to_pylist()
        [{'key:account': 'a', 'value:n': 3}]
    """

    def __init__(self, folder: str | Path, *, request: bool = True, batch_rows: int = BATCH_ROWS) -> None:
        self.folder, self.request, self.batch_rows = Path(folder), request, batch_rows
        self._held: dict[tuple[str, str], list[pa.Table]] = {}
        self._rows = self._files = 0
        self._lock = threading.Lock()

    def write(
        self,
        service: str,
        entities: Mapping[str, Sequence[Any]],
        request: Mapping[str, Sequence[Any]] | None,
        answer: Answer,
    ) -> None:
        """Notes one read; on disk once a batch is full, or `flush` is called, which also says what is raised."""
        rows = log_rows(entities, request if self.request else None, answer)
        day = from_us(answer.at_us).strftime("%Y-%m-%d")
        with self._lock:
            self._held.setdefault((service, day), []).append(rows)
            self._rows += rows.num_rows
            if self._rows >= self.batch_rows:
                self._flush()

    def flush(self) -> None:
        """Writes what is held in memory. Of a service and day whose rows cannot be written they are lost; all others
        are written, and then the first error is raised.

        Raises:
            OSError: the disk or the folder. pyarrow.ArrowException: the rows.
        """
        with self._lock:
            self._flush()

    close = flush

    def _flush(self) -> None:
        errors: list[Exception] = []
        while self._held:
            (service, day), tables = self._held.popitem()
            self._rows -= sum(table.num_rows for table in tables)
            try:
                self._write_file(self.folder / service / day, tables)
            except (OSError, pa.ArrowException) as exc:
                errors.append(exc)
        if errors:
            raise errors[0]

    def _write_file(self, folder: Path, tables: Sequence[pa.Table]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        name = f"{os.getpid()}-{threading.get_ident()}-{self._files}-{os.urandom(4).hex()}"
        self._files += 1
        held = folder / f".{name}.tmp"
        try:
            pq.write_table(_joined(tables), held)
            held.replace(folder / f"{name}.parquet")
        finally:
            held.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def read_log(
    folder: str | Path,
    service: str,
    *,
    since_us: int | None = None,
    until_us: int | None = None,
    limit: int | None = None,
) -> pa.Table:
    """The rows of a service's log in order of their instants, those at `since` or later and before `until`; at most so
    many of the newest.

    Raises:
        DataError: there is no such log, or a file in it is none.
    """
    tables: list[pa.Table] = []
    for day in _days(Path(folder) / service, since_us, until_us):
        of_day: list[pa.Table] = []
        for path in sorted(day.glob("*.parquet")):
            of_day.append(_between(_read(path), since_us, until_us))
            if (
                limit and sum(table.num_rows for table in of_day) > 2 * limit
            ):  # rarely: it looks at all of them
                of_day = _newest(of_day, limit)
        tables[:0] = of_day
        if limit and sum(table.num_rows for table in tables) >= limit:
            break
    if not tables:
        raise DataError(
            f"request log: nothing of service {service!r} in {folder}",
            hint="a RequestLog writes it, while reads are answered",
            service=service,
        )
    whole = _joined(_newest(tables, limit) if limit else tables)
    return taken(whole, np.argsort(_instants(whole), kind="stable"))


def _days(root: Path, since_us: int | None, until_us: int | None) -> Iterator[Path]:
    """The folders of the days that are asked, the newest first."""
    first = "" if since_us is None else from_us(since_us).strftime("%Y-%m-%d")
    last = "9999-99-99" if until_us is None else from_us(until_us).strftime("%Y-%m-%d")
    days = sorted(root.iterdir(), reverse=True) if root.is_dir() else []
    yield from (day for day in days if first <= day.name <= last)


def _read(path: Path) -> pa.Table:
    try:
        return pq.ParquetFile(path).read()
    except (pa.ArrowInvalid, OSError) as exc:
        raise DataError(f"request log: {path.name} cannot be read: {exc}", path=str(path)) from exc


def _instants(table: pa.Table) -> Ints:
    return table[AT].cast(pa.int64()).to_numpy()


def _between(table: pa.Table, since_us: int | None, until_us: int | None) -> pa.Table:
    at = _instants(table)
    mask = np.ones(at.size, np.bool_)
    if since_us is not None:
        mask &= at >= since_us
    if until_us is not None:
        mask &= at < until_us
    return table if mask.all() else kept(table, mask)


def _newest(tables: Sequence[pa.Table], limit: int) -> list[pa.Table]:
    """At most so many of the newest rows, each in its table and place; of equal instants, the later places."""
    at = np.concatenate([_instants(table) for table in tables])
    mask = np.zeros(at.size, np.bool_)
    mask[np.argsort(at, kind="stable")[-limit:]] = True
    edges = np.cumsum([table.num_rows for table in tables])[:-1]
    pairs = zip(tables, np.split(mask, edges), strict=True)
    return [kept(table, part) for table, part in pairs]


def _joined(tables: Sequence[pa.Table]) -> pa.Table:
    if all(table.schema == tables[0].schema for table in tables):
        return pa.concat_tables(tables)
    names = dict.fromkeys(name for table in tables for name in table.column_names)
    absent = [pa.chunked_array([pa.nulls(table.num_rows)]) for table in tables]
    columns: dict[str, Any] = {}
    for name in names:
        pairs = zip(tables, absent, strict=True)
        columns[name] = _united([t[name] if name in t.column_names else none for t, none in pairs])
    return pa.table(columns)


def _united(parts: Sequence[pa.ChunkedArray]) -> pa.ChunkedArray:
    """Parts of one column as the type that holds the values of all, else as text."""
    types = {part.type for part in parts}
    if not (any(map(pa.types.is_decimal, types)) and any(map(pa.types.is_floating, types))):
        try:
            made = pa.concat_tables([pa.table([part], ["c"]) for part in parts], promote_options="permissive")
            return made["c"]
        except pa.ArrowException:  # types that do not go together, or a number that the wider one cannot hold
            pass
    return pa.chunked_array([_texts(cast("list[Any]", part.to_pylist())) for part in parts], pa.string())


def names_in(table: pa.Table, prefix: str) -> tuple[str, ...]:
    """What the log's columns with a prefix are called without it."""
    return tuple(name.removeprefix(prefix) for name in table.column_names if name.startswith(prefix))
