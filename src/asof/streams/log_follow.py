"""Workers that share the partitions of the embedded log: who holds the lock of a lease file has the partition.

A worker that is killed loses its locks with its process, so that others take over at once. `leases/<group>/` holds a
file for each partition, a file for each live worker in `workers/`, and how far each partition has been dealt with.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

from asof.errors import BackendError
from asof.streams.log_durable import DurableEnd
from asof.streams.log_lock import try_lock
from asof.streams.log_read import Cursor
from asof.streams.log_segment import told
from asof.streams.stream import Chunk, Polled

_BALANCE_EVERY_S = 0.05
_COMMIT_EVERY_S = 1.0
_SHORTEST_PAUSE_S, _LONGEST_PAUSE_S = 0.001, 0.02


class Workers:
    """The live workers of a group: each holds the lock of a file of its own."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._name = f"{os.getpid()}-{secrets.token_hex(8)}"
        self._fd = _lock_new(folder / f".{self._name}")
        (folder / f".{self._name}").rename(folder / self._name)

    def rank(self) -> tuple[int, int]:
        """The own place among the live workers, from 0 on, and how many there are; files of dead ones are removed."""
        names = sorted(path.name for path in self._folder.iterdir() if not path.name.startswith("."))
        live = [name for name in names if name == self._name or self._lives(self._folder / name)]
        return live.index(self._name), len(live)

    def leave(self) -> None:
        """Is no worker any more."""
        (self._folder / self._name).unlink(missing_ok=True)
        os.close(self._fd)

    def _lives(self, path: Path) -> bool:
        try:
            fd = os.open(path, os.O_RDONLY)
        except FileNotFoundError:
            return False
        try:
            if not try_lock(fd, fcntl.LOCK_SH):
                return True
            path.unlink(missing_ok=True)
            return False
        finally:
            os.close(fd)


class LogFollower:
    """A worker's share of the log: a `Follower`."""

    def __init__(
        self, folder: Path, partitions: Mapping[int, Path], group: str, *, fsync: bool = True
    ) -> None:
        self._leases = folder / "leases" / quote(f"g{group}", safe="")
        self._partitions = partitions
        self._fsync = fsync
        self._held: dict[int, int] = {}
        self._cursors: dict[int, Cursor] = {}
        self._commits: dict[int, int] = {}
        self._next_commit_s = 0.0
        self._next_balance_s = 0.0
        self._turn = 0
        self._is_closed = False
        with told(self._leases):
            self._workers = Workers(self._leases / "workers")

    def poll(self, timeout_s: float, most: int) -> Polled:
        """Waits until there are events, or a partition comes or goes; about `most` events, whole chunks."""
        self._refuse_closed()
        deadline_s, pause_s = time.monotonic() + timeout_s, _SHORTEST_PAUSE_S
        while True:
            with told(self._leases):
                gained, lost = self._balance()
                chunks = self._read(most)
            left_s = deadline_s - time.monotonic()
            if chunks or gained or lost or left_s <= 0:
                return Polled(chunks, gained, lost)
            time.sleep(min(pause_s, left_s))
            pause_s = min(pause_s * 1.5, _LONGEST_PAUSE_S)

    def seek(self, partition: int, offset: int) -> None:
        """The next chunk of a partition begins at this offset, or at the first that is still there."""
        self._refuse_closed()
        if partition not in self._held:
            raise BackendError(f"log: partition {partition} is another follower's", partition=partition)
        folder = self._partitions[partition]
        self._cursors[partition] = Cursor(folder, partition, offset, DurableEnd(folder, fsync=self._fsync))

    def commit(self, offsets: Mapping[int, int]) -> None:
        """Writes for others to see how far events have been dealt with, once a second at most."""
        self._refuse_closed()
        self._commits.update(offsets)
        now_s = time.monotonic()
        if now_s >= self._next_commit_s:
            self._next_commit_s = now_s + _COMMIT_EVERY_S
            with told(self._leases):
                self._write_commits(self._commits.keys())

    def close(self) -> None:
        """Gives the partitions back."""
        if self._is_closed:
            return
        self._is_closed = True
        with told(self._leases):
            self._give_back(lambda _: True)
            self._workers.leave()

    def _refuse_closed(self) -> None:
        if self._is_closed:
            raise BackendError("log: the follower is closed")

    def _balance(self) -> tuple[list[int], list[int]]:
        """Takes partitions up to a fair share, and gives back what is more; those that came and that went."""
        now_s = time.monotonic()
        if now_s < self._next_balance_s:
            return [], []
        self._next_balance_s = now_s + _BALANCE_EVERY_S
        rank, workers = self._workers.rank()
        most, more = divmod(len(self._partitions), workers)
        share = most + (rank < more)
        surplus = set(list(self._held)[share:])
        lost = self._give_back(surplus.__contains__)
        gained: list[int] = []
        for partition in self._partitions:
            if len(self._held) >= share:
                break
            if partition not in self._held and partition not in surplus and self._take(partition):
                gained.append(partition)
        return gained, lost

    def _take(self, partition: int) -> bool:
        fd = os.open(self._leases / f"p{partition:04d}", os.O_RDWR | os.O_CREAT, 0o644)
        if not try_lock(fd):
            os.close(fd)
            return False
        self._held[partition] = fd
        return True

    def _give_back(self, which: Callable[[int], bool]) -> list[int]:
        given = [partition for partition in self._held if which(partition)]
        self._write_commits(given)
        for partition in given:
            self._cursors.pop(partition, None)
            os.close(self._held.pop(partition))
        return given

    def _read(self, most: int) -> list[Chunk]:
        """Events of the own partitions, beginning with another one each time."""
        own = list(self._cursors.items())
        chunks: list[Chunk] = []
        left = most
        self._turn += 1
        for number in range(len(own)):
            if left <= 0:
                break
            _, cursor = own[(number + self._turn) % len(own)]
            found = cursor.read(left)
            left -= sum(len(chunk.offsets) for chunk in found)
            chunks += found
        return chunks

    def _write_commits(self, partitions: Collection[int]) -> None:
        for partition in [p for p in self._commits if p in partitions]:
            path = self._leases / f"p{partition:04d}.offset"
            partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
            partial.write_text(f"{self._commits.pop(partition)}\n")
            partial.replace(path)


def _lock_new(path: Path) -> int:
    """A descriptor that holds the lock of a new file."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
    with suppress(BlockingIOError):
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return fd
