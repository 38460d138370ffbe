"""The log of online reads: what was asked, at which instant, and every value as it was answered.

`asof skew` replays it through the training path, so it has to hold entity keys and request columns as they came; guard
its folder as you guard the data itself. Rows are written in batches, as Parquet files by service and day; each file is
whole or not there, and memory is bounded by a batch.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from asof.clock import from_us
from asof.compute.arrow_ops import taken
from asof.errors import DataError
from asof.flows.answer import Answer

TIMES = pa.timestamp("us", "UTC")
AT = "at"
KEY, REQUEST, VALUE, STATUS, WATERMARK = "key:", "request:", "value:", "status:", "watermark:"
"""What the names of a log's columns begin with; what follows is the column's (or the view's) own name."""
BATCH_ROWS = 10_000


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
        columns[WATERMARK + view.view] = pa.array(np.full(n, view.watermark_us)).cast(TIMES)
    return pa.table(columns)


def _plain(values: Any) -> Any:
    return values if isinstance(values, pa.Array | pa.ChunkedArray) else pa.array(list(values))


class RequestLog:
    """Writes a log of reads to a folder; safe to call from several threads, and from several processes in one folder.

    Args:
        folder: where the log's files are.
        request: whether request columns are kept; without them, request features and own rows cannot be replayed.
        batch_rows: how many rows are held in memory before they are written.

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
        """Notes one read; on disk once a batch is full, or `flush` is called."""
        rows = log_rows(entities, request if self.request else None, answer)
        day = from_us(answer.at_us).strftime("%Y-%m-%d")
        with self._lock:
            self._held.setdefault((service, day), []).append(rows)
            self._rows += rows.num_rows
            if self._rows >= self.batch_rows:
                self._flush()

    def flush(self) -> None:
        """Writes what is held in memory."""
        with self._lock:
            self._flush()

    close = flush

    def _flush(self) -> None:
        for (service, day), tables in self._held.items():
            folder = self.folder / service / day
            folder.mkdir(parents=True, exist_ok=True)
            name = f"{os.getpid()}-{threading.get_ident()}-{self._files}-{os.urandom(4).hex()}"
            held = folder / f".{name}.tmp"
            pq.write_table(_joined(tables), held)
            held.replace(folder / f"{name}.parquet")
            self._files += 1
        self._held, self._rows = {}, 0

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
    root = Path(folder) / service
    tables: list[pa.Table] = []
    for path in _files(root, since_us, until_us):
        try:
            tables.append(pq.ParquetFile(path).read())
        except (pa.ArrowInvalid, OSError) as exc:
            raise DataError(f"request log: {path.name} cannot be read: {exc}", path=str(path)) from exc
    if not tables:
        raise DataError(
            f"request log: nothing of service {service!r} in {folder}",
            hint="a RequestLog writes it, while reads are answered",
            service=service,
        )
    whole = _joined(tables)
    at = whole[AT].cast(pa.int64()).to_numpy()
    mask = np.ones(at.size, np.bool_)
    mask &= at >= (since_us if since_us is not None else at)
    mask &= at < (until_us if until_us is not None else at + 1)
    rows = np.flatnonzero(mask)
    rows = rows[np.argsort(at[rows], kind="stable")]
    return taken(whole, rows[-limit:] if limit else rows)


def _files(root: Path, since_us: int | None, until_us: int | None) -> Iterator[Path]:
    """The files of the days that are asked."""
    first = "" if since_us is None else from_us(since_us).strftime("%Y-%m-%d")
    last = "9999-99-99" if until_us is None else from_us(until_us).strftime("%Y-%m-%d")
    for day in sorted(root.iterdir()) if root.is_dir() else ():
        if first <= day.name <= last:
            yield from sorted(day.glob("*.parquet"))


def _joined(tables: Sequence[pa.Table]) -> pa.Table:
    if all(table.schema == tables[0].schema for table in tables):
        return pa.concat_tables(tables)
    return pa.concat_tables(tables, promote_options="permissive")


def names_in(table: pa.Table, prefix: str) -> tuple[str, ...]:
    """What the log's columns with a prefix are called without it."""
    return tuple(name.removeprefix(prefix) for name in table.column_names if name.startswith(prefix))
