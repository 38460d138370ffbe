"""Files of events, batch by batch: JSON, JSON lines, CSV, Parquet and Arrow, for `asof push`.

A file is read as it is pushed; only a JSON array is held whole.
"""

from __future__ import annotations

import csv
import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from asof.errors import CorruptSource, DataError, SourceNotFound, did_you_mean
from asof.flows.push import Pushed, Pusher, check_key
from asof.streams.decode import is_array, raws_of

FORMATS = {
    ".json": "json", ".ndjson": "lines", ".jsonl": "lines", ".csv": "csv", ".parquet": "parquet", ".arrow": "arrow",
    ".feather": "arrow",
}  # fmt: skip


@dataclass(frozen=True)
class Batch:
    """Some events as their file has them: JSON, rows of texts, or a table."""

    json: bytes | None = None
    texts: list[dict[str, str | None]] | None = None
    table: pa.Table | None = None

    def push(self, pusher: Pusher, source: str, key: str | None) -> Pushed:
        """Appends them."""
        if self.json is not None:
            return pusher.push_json(source, self.json, idempotency_key=key)
        if self.texts is not None:
            return pusher.push_texts(source, self.texts, idempotency_key=key)
        return pusher.push(source, self.table, idempotency_key=key)


def push_file(
    pusher: Pusher,
    source: str,
    file: str,
    standard_input: IO[bytes] | None,
    *,
    size: int,
    idempotency_key: str | None,
) -> Iterator[Pushed]:
    """Pushes a file in batches, and gives what became of each.

    Args:
        pusher: appends.
        source: the source's name.
        file: its path, or `-` for JSON lines from the standard input.
        standard_input: read for `-`.
        size: how many events a batch has.
        idempotency_key: batch n goes under this, `-` and n, so that a run that failed can be made again.

    Raises:
        SourceNotFound: no such file. CorruptSource: it is not of its format. DataError: an event is not of the source's
            form; says how many went before its batch.
    """
    check_key(None if idempotency_key is None else f"{idempotency_key}-{10**9}")
    pushed = 0
    for number, batch in enumerate(batches_of(file, standard_input, size)):
        key = None if idempotency_key is None else f"{idempotency_key}-{number}"
        try:
            made = batch.push(pusher, source, key)
        except DataError as exc:
            if not pushed:
                raise
            text = f"{exc.message}; the {pushed:,} events before its batch are in the stream"
            facts = {**exc.facts, "pushed": pushed}
            raise type(exc)(text, hint=exc.hint, **facts) from exc
        pushed += made.count
        yield made


def batches_of(file: str, standard_input: IO[bytes] | None, size: int) -> Iterator[Batch]:
    """The events of a file in batches of so many.

    Raises:
        SourceNotFound: no such file. CorruptSource: it is not of its format. DataError: its name tells no format.
    """
    if file == "-" and standard_input is not None:
        yield from _lines(standard_input, size)
        return
    path = Path(file)
    kind = FORMATS.get(path.suffix.lower())
    if kind is None:
        raise DataError(f"{path.name}: no format has this ending", hint=did_you_mean(path.suffix, FORMATS))
    if not path.is_file():
        raise SourceNotFound(f"no file {file!r}", path=file)
    try:
        yield from _READERS[kind](path, size)
    except (pa.ArrowException, csv.Error, UnicodeDecodeError) as exc:
        raise CorruptSource(f"{path.name}: not a file of its format", path=file) from exc


def _lines(lines: Iterable[bytes], size: int) -> Iterator[Batch]:
    filled = (line for line in lines if line.strip())
    while some := list(itertools.islice(filled, size)):
        yield Batch(json=b"".join(line if line.endswith(b"\n") else line + b"\n" for line in some))


def _read_lines(path: Path, size: int) -> Iterator[Batch]:
    with path.open("rb") as file:
        yield from _lines(file, size)


def _read_json(path: Path, size: int) -> Iterator[Batch]:
    """An array, or one object."""
    body = path.read_bytes()
    if not is_array(body):
        yield Batch(json=body)
        return
    events = raws_of(body)
    if not events and body.translate(None, b"[] \t\r\n"):
        raise CorruptSource(f"{path.name}: no JSON in UTF-8", path=str(path))
    for start in range(0, len(events), size):
        yield Batch(json=b"[" + b",".join(events[start : start + size]) + b"]")


def _read_csv(path: Path, size: int) -> Iterator[Batch]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = csv.DictReader(file, strict=True)
        while some := list(itertools.islice(rows, size)):
            if any(None in row or None in row.values() for row in some):
                raise CorruptSource(
                    f"{path.name}: a line has more or fewer values than the header", path=str(path)
                )
            yield Batch(texts=[{name: value or None for name, value in row.items()} for row in some])


def _read_parquet(path: Path, size: int) -> Iterator[Batch]:
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(size):
            yield Batch(table=pa.Table.from_batches([batch]))


def _read_arrow(path: Path, size: int) -> Iterator[Batch]:
    """An Arrow file or stream."""
    with pa.memory_map(str(path)) as mapped:
        is_file = mapped.read(6) == b"ARROW1"
        mapped.seek(0)
        opened: Any = pa.ipc.open_file(mapped) if is_file else pa.ipc.open_stream(mapped)
        batches = (opened.get_batch(n) for n in range(opened.num_record_batches)) if is_file else iter(opened)
        for batch in batches:
            for start in range(0, batch.num_rows, size):
                yield Batch(table=pa.Table.from_batches([batch.slice(start, size)]))


_READERS = {
    "json": _read_json, "lines": _read_lines, "csv": _read_csv, "parquet": _read_parquet, "arrow": _read_arrow,
}  # fmt: skip
