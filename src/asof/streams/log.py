"""The embedded log: a stream in files of the project's folder, for any number of processes of one machine.

```
meta.json                                what the log is
p0000/00000000000000000000.log           segments of a partition, named for their first offset (log_frame.py)
p0000/lock                               held by whoever appends (log_write.py)
p0000/durable                            how far the partition is on the disk, and may be read (log_durable.py)
leases/<group>/                          who reads what (log_follow.py)
```
"""

from __future__ import annotations

import json
import os
import threading
import zlib
from collections.abc import Sequence
from pathlib import Path

from asof.clock import Clock
from asof.define.stream import Log
from asof.errors import BackendError, ConfigError, CorruptSource, DataError
from asof.streams.log_durable import DurableEnd
from asof.streams.log_follow import LogFollower
from asof.streams.log_frame import ARROW, JSON_MANY, JSON_ONE, NO_KEY, key_hash
from asof.streams.log_read import Cursor
from asof.streams.log_segment import Tail, find_offset, segment_firsts, told
from asof.streams.log_write import SEGMENT_BYTES, Appender, Fsync, Pending
from asof.streams.stream import Appended, Capabilities, Chunk, Ends, Outgoing

FORMAT = 1
MAX_BATCH_BYTES = 1 << 26
_CURSORS = 16


class LogStream:
    """The embedded log in a folder.

    Args:
        fsync: "always": what `append` has returned for is on the disk; "interval": within a second; "never": when the
            operating system sees fit. A process that is killed loses nothing in any case. With "always" events are not
            seen before they are on the disk.
        segment_bytes: a file of about this size is followed by a new one.

    Raises:
        ConfigError: the log that is there has another number of partitions, or a newer format.
        BackendError: the folder cannot be made or read.
    """

    def __init__(
        self,
        folder: Path,
        log: Log,
        *,
        clock: Clock,
        fsync: Fsync = "always",
        segment_bytes: int = SEGMENT_BYTES,
    ) -> None:
        self._folder = folder
        self._retention_us = log.retention_us
        self._clock = clock
        self._fsync: Fsync = fsync
        self._segment_bytes = segment_bytes
        self._folders = {p: folder / f"p{p:04d}" for p in range(log.partitions)}
        with told(folder):
            for each in self._folders.values():
                each.mkdir(parents=True, exist_ok=True)
            _check_meta(folder, log.partitions)
        self._lock = threading.Lock()
        self._cursors: dict[tuple[int, int], Cursor] = {}
        self._tails = {p: (threading.Lock(), Tail(each)) for p, each in self._folders.items()}
        self._ends = {p: DurableEnd(each, fsync=fsync == "always") for p, each in self._folders.items()}
        self._appenders: dict[int, Appender] = {}
        self._process = 0
        self._round = 0
        self._is_closed = False

    @property
    def capabilities(self) -> Capabilities:
        """What the log can do."""
        return Capabilities(embedded=True, dense=True, whole_batches=True, max_event_bytes=MAX_BATCH_BYTES)

    def append(self, batch: Outgoing) -> Appended:
        """Appends a batch, of each partition all or nothing; durable as `fsync` says when it returns.

        A batch whose idempotency key is known is completed where it was broken off, and not appended again.

        Raises:
            BackendError: the log is closed, the batch too large, or the disk full or broken.
            DataError: the batch is of a form that the log does not take.
            CorruptSource: the log's own file is damaged.
        """
        self._refuse_closed()
        if batch.count == 0:
            return Appended(0)
        parts = self._parts(batch)
        appenders = self._own_appenders()
        for partition, pending in parts.items():
            appenders[partition].put(pending)
        for partition, pending in parts.items():
            appenders[partition].finish(pending)
        places = {
            partition: pending.place for partition, pending in parts.items() if pending.place is not None
        }
        return Appended(batch.count, places, all(pending.repeated for pending in parts.values()))

    def ends(self) -> dict[int, Ends]:
        """Each partition's first offset, the offset after its newest event, and when that was taken."""
        self._refuse_closed()
        return {partition: self._ends_of(partition) for partition in self._folders}

    def read(self, partition: int, offset: int, most: int) -> list[Chunk]:
        """About `most` events from an offset on, or from the first that is still there; empty at the end.

        Raises:
            CorruptSource: a frame in the middle of a file is damaged; tells the file and the place.
        """
        folder = self._folder_of(partition)
        with self._lock:
            cursor = self._cursors.pop((partition, offset), None)
        cursor = cursor or Cursor(folder, partition, offset, self._ends[partition])
        with told(folder):
            chunks = cursor.read(most)
        with self._lock:
            self._cursors[partition, cursor.offset] = cursor
            if len(self._cursors) > _CURSORS:
                self._cursors.pop(next(iter(self._cursors)))
        return chunks

    def find(self, partition: int, at_us: int) -> int:
        """The offset of the first event that was taken at an instant or later; the next offset where there is none."""
        folder = self._folder_of(partition)
        with told(folder):
            limit = self._ends_of(partition).next
            found = find_offset(folder, at_us, limit)
        return limit if found is None else found

    def follow(self, group: str) -> LogFollower:
        """Takes part in a group of workers that share the partitions."""
        self._refuse_closed()
        return LogFollower(self._folder, self._folders, group, fsync=self._fsync == "always")

    def close(self) -> None:
        """Brings what is written to the disk and lets go of the files; closing twice is no error."""
        self._is_closed = True
        with self._lock:
            self._cursors.clear()
            for _, tail in self._tails.values():
                tail.segment = None
            for end in self._ends.values():
                end.close()
            appenders, self._appenders = self._appenders, {}
        if self._process == os.getpid():
            for appender in appenders.values():
                appender.close()

    def _refuse_closed(self) -> None:
        if self._is_closed:
            raise BackendError(f"log {self._folder}: it is closed")

    def _folder_of(self, partition: int) -> Path:
        self._refuse_closed()
        folder = self._folders.get(partition)
        if folder is None:
            raise BackendError(f"log {self._folder}: there is no partition {partition}", partition=partition)
        return folder

    def _ends_of(self, partition: int) -> Ends:
        lock, tail = self._tails[partition]
        with lock, told(self._folders[partition]):
            firsts = segment_firsts(self._folders[partition])
            tail.limit = self._ends[partition].limit()
            tail.advance()
            newest_us = tail.stamp_us if tail.stamp_us >= 0 else None
            return Ends(firsts[0] if firsts else 0, tail.next, newest_us)

    def _own_appenders(self) -> dict[int, Appender]:
        """The appenders of this process: a forked one does not use those of its parent."""
        if self._process == os.getpid():
            return self._appenders
        with self._lock:
            if self._process != os.getpid():
                self._appenders = {
                    partition: Appender(
                        each, self._clock, self._retention_us, self._fsync, self._segment_bytes
                    )
                    for partition, each in self._folders.items()
                }
                self._process = os.getpid()
        return self._appenders

    def _parts(self, batch: Outgoing) -> dict[int, Pending]:
        """One frame for each partition that gets something."""
        if batch.form == "avro":
            raise DataError(
                f"log {self._folder}: it takes JSON and Arrow, not Avro",
                hint="decode Avro before it is appended",
            )
        key = NO_KEY if batch.idempotency_key is None else key_hash(batch.idempotency_key)
        partitions = len(self._folders)
        if batch.keys is None or partitions == 1:
            return {self._any_partition(key): self._frame(batch, key)}
        if batch.events is None:
            raise DataError(
                f"log {self._folder}: a batch with keys for several partitions must come as single events"
            )
        split: dict[int, list[bytes]] = {}
        for event, event_key in zip(batch.events, batch.keys, strict=True):
            split.setdefault(zlib.crc32(event_key) % partitions, []).append(event)
        return {partition: self._joined(events, key) for partition, events in sorted(split.items())}

    def _any_partition(self, key: bytes) -> int:
        """In turn; by the idempotency key where there is one, so that the same batch is looked for where it went."""
        if key != NO_KEY:
            return zlib.crc32(key) % len(self._folders)
        self._round += 1
        return self._round % len(self._folders)

    def _frame(self, batch: Outgoing, key: bytes) -> Pending:
        if batch.body is None:
            return self._joined(batch.events or (), key)
        if batch.form == "arrow":
            return self._fitting(Pending(ARROW, batch.count, batch.body, key))
        alone = _alone(batch.body) if batch.count == 1 else None
        if alone is not None:
            return self._fitting(Pending(JSON_ONE, 1, alone, key))
        return self._fitting(Pending(JSON_MANY, batch.count, batch.body, key))

    def _joined(self, events: Sequence[bytes], key: bytes) -> Pending:
        if len(events) == 1:
            return self._fitting(Pending(JSON_ONE, 1, events[0], key))
        return self._fitting(Pending(JSON_MANY, len(events), b"[" + b",".join(events) + b"]", key))

    def _fitting(self, pending: Pending) -> Pending:
        size = len(pending.body)
        if size > MAX_BATCH_BYTES:
            raise BackendError(
                f"log {self._folder}: a batch of {size:,} bytes is above the limit of {MAX_BATCH_BYTES:,}",
                hint="append it in smaller batches",
                size_bytes=size,
            )
        return pending


def _alone(body: bytes) -> bytes | None:
    """The one object of a body that holds one event; None where it is not clear."""
    text = body.strip()
    if text[:1] == b"[" and text[-1:] == b"]":
        text = text[1:-1].strip()
    return text if text[:1] == b"{" and text[-1:] == b"}" else None


def _check_meta(folder: Path, partitions: int) -> None:
    """Writes what the log is when it is new, and else compares."""
    path = folder / "meta.json"
    partial = folder / f".meta.{os.getpid()}.{threading.get_ident()}"
    if not path.exists():
        partial.write_text(json.dumps({"format": FORMAT, "partitions": partitions}) + "\n")
        try:
            os.link(partial, path)
        except FileExistsError:
            pass
        finally:
            partial.unlink()
    try:
        meta = json.loads(path.read_text())
        form, there = int(meta["format"]), int(meta["partitions"])
    except (ValueError, KeyError, TypeError) as exc:
        raise CorruptSource(f"log {path}: it does not say what the log is", file=str(path)) from exc
    if form != FORMAT:
        raise ConfigError(
            f"log {folder}: its format is {form}, and this asof knows {FORMAT}", hint="update asof"
        )
    if there != partitions:
        raise ConfigError(
            f"log {folder}: it has {there} partitions, and the definition says {partitions}",
            hint=f"write Log(partitions={there}), or remove the folder and the events in it",
            partitions=there,
        )
