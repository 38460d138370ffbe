"""Tables that DuckDB does not open itself: in memory, Arrow IPC files, and object stores through Arrow's
filesystems.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import pyarrow as pa
import pyarrow.fs as pafs
from pyarrow import ipc

from asof.define.source import CSV, ArrowFile, Parquet
from asof.engines.scan import Snapshot
from asof.errors import BackendError, SourceNotFound


def as_table(held: object) -> pa.Table:
    """An Arrow table of anything with `__arrow_c_stream__`."""
    return held if isinstance(held, pa.Table) else pa.table(cast("Any", held))


def open_arrow(files: Sequence[Path]) -> pa.Table:
    """Arrow IPC files as one memory-mapped table."""
    return pa.concat_tables([ipc.open_file(pa.memory_map(str(file))).read_all() for file in files])


def open_remote(where: str, history: Parquet | CSV | ArrowFile) -> Any:
    """Files of an object store as a dataset; credentials and region come from the environment, as Arrow finds
    them.

    Raises:
        SourceNotFound: nothing matches. BackendError: the store did not answer.
    """
    from pyarrow import dataset  # it loads pandas where that is installed: 0.3 s that only remote files need

    filesystem, found = _find_remote(where, history.paths)
    kind = {Parquet: "parquet", CSV: "csv", ArrowFile: "ipc"}[type(history)]
    hive = "hive" if isinstance(history, Parquet) and history.hive else None
    try:
        open_all: Any = dataset.dataset
        return open_all([i.path for i in found], filesystem=filesystem, format=kind, partitioning=hive)
    except (OSError, pa.ArrowInvalid) as exc:
        raise BackendError(f"{where}: the object store failed", retryable=True) from exc


def remote_snapshots(paths: Sequence[str]) -> tuple[Snapshot, ...]:
    """Identities of remote files: path, size and time of change (stores do not change a file in place)."""
    _, found = _find_remote("source", paths)
    return tuple(
        Snapshot(i.path, int(i.size), hashlib.sha256(f"{i.size}:{i.mtime_ns}".encode()).hexdigest())
        for i in found
    )


def _find_remote(where: str, paths: Sequence[str]) -> tuple[pafs.FileSystem, list[pafs.FileInfo]]:
    found: list[pafs.FileInfo] = []
    filesystem: pafs.FileSystem | None = None
    for path in paths:
        try:
            fixed, star, rest = path.partition("*")
            filesystem, folder = pafs.FileSystem.from_uri(fixed.rpartition("/")[0] if star else path)
            infos = _list(filesystem, folder, recursive="/" in rest or rest.startswith("*"))
        except (OSError, pa.ArrowInvalid) as exc:
            raise BackendError(f"{where}: cannot reach {path!r}", retryable=True) from exc
        pattern = path.partition("://")[2].partition("?")[0]
        matches = [info for info in infos if "*" not in path or Path(info.path).match(pattern)]
        if not matches:
            raise SourceNotFound(f"{where}: no file matches {path!r}", path=path)
        found += sorted(matches, key=lambda info: info.path)
    return cast("pafs.FileSystem", filesystem), found


def _list(filesystem: pafs.FileSystem, place: str, *, recursive: bool) -> list[pafs.FileInfo]:
    info = filesystem.get_file_info(place)
    if info.type == pafs.FileType.File:
        return [info]
    listed = filesystem.get_file_info(pafs.FileSelector(place, recursive=recursive))
    return [each for each in listed if each.type == pafs.FileType.File]


def snapshot(name: str, table: pa.Table) -> Snapshot:
    """The identity of a table in memory: a SHA-256 of its schema and its values in IPC form."""
    digest = hashlib.sha256()
    whole = table.combine_chunks()
    sink: Any = _DigestSink(digest.update)
    with ipc.new_stream(pa.PythonFile(sink, mode="w"), whole.schema) as writer:
        writer.write_table(whole)
    return Snapshot(name, whole.nbytes, digest.hexdigest())


class _DigestSink:
    """A file that only digests what is written to it."""

    closed = False

    def __init__(self, update: Callable[[bytes], None]) -> None:
        self._update, self._size = update, 0

    def write(self, data: bytes) -> int:
        self._update(data)
        self._size += len(data)
        return len(data)

    def tell(self) -> int:
        return self._size

    def flush(self) -> None:
        """Nothing is kept."""

    def close(self) -> None:
        """Nothing is open."""
