"""One LMDB environment for each folder and process: opened, shared, grown, and kept out of forked processes.

LMDB wants three things that its binding cannot see to. A folder must not be opened twice in a process, so stores share.
The map may only change while nobody in the process reads or writes: a reader enters itself in `active` and then takes
`env`; who changes the map hides `env` first and then waits until `active` is empty. An open environment must not pass
through a fork: it is closed before, and opened again in both processes at the next call.
"""

from __future__ import annotations

import fcntl
import os
import random
import shutil
import threading
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import lmdb

from asof.errors import BackendError
from asof.online.lmdb_errors import full_disk, translated
from asof.online.retry import Deadline
from asof.online.store import Item, Swap

MAX_READERS = 1022  # read transactions at one time, over all processes
_FIRST_MAP_BYTES = 2**30  # address space, not disk
_SMALLEST_GROWTH_BYTES = 2**16
_GROWTHS = 40
_LOCK_FILE_BYTES = 2**16  # what MAX_READERS take
_FORK_WAIT_S = 30.0
_T = TypeVar("_T")


class SharedEnvironment:
    """The environment of one folder in this process, for all stores that use it."""

    def __init__(self, folder: Path, name: str, first_map_bytes: int) -> None:
        self.folder = folder
        self.users = 0
        self.active: list[None] = []  # one entry for each read under way
        self.env: lmdb.Environment | None = None  # None: closed, or hidden while the map changes
        self._opened: lmdb.Environment | None = None
        self._file: tuple[int, int] | None = None
        self._lock = threading.RLock()  # who writes, changes the map, opens or closes
        self._name = name
        self._map_bytes = first_map_bytes
        self._forked = False

    @contextmanager
    def exclusive(self, deadline: Deadline) -> Generator[lmdb.Environment]:
        """The opened environment, while no other thread changes it or is in a transaction that writes."""
        if not self._lock.acquire(timeout=deadline.left_s()):
            raise self._late("another thread writes")
        try:
            yield self._open()
        except (lmdb.Error, OSError) as error:
            if isinstance(error, lmdb.PanicError):
                self._shut()
            raise self.error(error) from error
        finally:
            self._lock.release()

    @contextmanager
    def writing(self, deadline: Deadline) -> Generator[lmdb.Environment]:
        """The environment, while nobody else writes to it, in this process or another. LMDB has a lock of its own for
        that, but one that cannot be waited for with a time limit.
        """
        descriptor = self._lock_file()
        try:
            self._wait_for(descriptor, deadline)
            with self.exclusive(deadline) as env:
                env.reader_check()  # who was killed in a read no longer holds old pages
                yield env
        finally:
            fcntl.flock(
                descriptor, fcntl.LOCK_UN
            )  # said, since a forked process may hold the descriptor, too
            os.close(descriptor)

    def _lock_file(self) -> int:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            return os.open(self.folder / "write.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o664)
        except OSError as error:
            raise self.error(error) from error

    def _wait_for(self, descriptor: int, deadline: Deadline) -> None:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if not deadline.left_s():
                    raise self._late("others write all the time") from None
                time.sleep(0.0005 + random.random() * 0.004)  # noqa: S311 - not a secret
            else:
                return

    def recover(self, error: lmdb.Error | None, deadline: Deadline) -> None:
        """Does what a read needs before it is tried again; None: it found the environment hidden or closed.

        Raises:
            BackendError: nothing helps.
        """
        if isinstance(error, lmdb.ReadersFullError | lmdb.BadRslotError):
            with self.exclusive(deadline) as env:
                env.reader_check()
            time.sleep(min(0.001, deadline.left_s()))
        elif isinstance(error, lmdb.MapResizedError):
            with self.exclusive(deadline) as env, self._quiet(env, deadline):
                env.set_mapsize(0)
        elif isinstance(error, lmdb.PanicError):
            self._close(deadline)
        elif error is not None:
            raise self.error(error) from error
        self._show(deadline)

    def _show(self, deadline: Deadline) -> None:
        """Waits until readers may come; opens the environment where nobody else does."""
        while self.env is None or not deadline.left_s():
            if not deadline.left_s():
                raise self._late("the environment is busy")
            if self._lock.acquire(timeout=min(0.001, deadline.left_s())):
                try:
                    self._open()
                except (lmdb.Error, OSError) as error:
                    raise self.error(error) from error
                finally:
                    self._lock.release()

    def change(self, puts: Iterable[Item], deletes: Iterable[bytes], deadline: Deadline) -> None:
        """Puts and deletes in one transaction; the map grows until it fits.

        Raises:
            BackendError: nothing was changed; the disk is full, or others write all the time.
        """

        def work(txn: lmdb.Transaction) -> None:
            for key, record in puts:
                txn.put(key, record)
            for key in deletes:
                txn.delete(key)

        self._commit(work, deadline)

    def swap(self, swaps: Sequence[Swap], deadline: Deadline) -> list[bool]:
        """Which of them found the record that they expect, and put theirs in its place; one transaction.

        Raises:
            BackendError: nothing was changed, as in `change`.
        """

        def work(txn: lmdb.Transaction) -> list[bool]:
            made: list[bool] = []
            with txn.cursor() as cursor:  # in the order of keys it need not go down the tree for each
                for key, expected, record in swaps:
                    right = cursor.get(key) == expected
                    made.append(right)
                    if right and record is not None:
                        cursor.put(key, record)
                    elif right and expected is not None:
                        cursor.delete()
            return made

        return self._commit(work, deadline)

    def _commit(self, work: Callable[[lmdb.Transaction], _T], deadline: Deadline) -> _T:
        """What the work gives, done in one transaction; it is done anew where the map was too small."""
        for _ in range(_GROWTHS):
            with self.writing(deadline) as env:
                for given in self._try_commit(env, work, deadline):
                    return given
        raise full_disk(self._name)

    def _try_commit(
        self, env: lmdb.Environment, work: Callable[[lmdb.Transaction], _T], deadline: Deadline
    ) -> list[_T]:
        """What the work gave, alone; nothing: the map was too small, and is larger now."""
        try:
            txn = env.begin(write=True)
        except lmdb.MapResizedError:
            with self._quiet(env, deadline):
                env.set_mapsize(0)
            return []
        try:
            given = [work(txn)]
            txn.commit()
        except BaseException as error:
            # An abort waits until nobody is in a call of LMDB, which may be never while threads read.
            with self._quiet(env, deadline):
                txn.abort()
                if not isinstance(error, lmdb.MapFullError):
                    raise
                env.set_mapsize(self._larger_bytes(env))
            return []
        return given

    def _larger_bytes(self, env: lmdb.Environment) -> int:
        """Twice the map's size, as far as the disk allows."""
        size_bytes = env.info()["map_size"]
        most_bytes = (self.folder / "data.mdb").stat().st_size + shutil.disk_usage(self.folder).free
        larger_bytes = min(size_bytes * 2, most_bytes) // 2**12 * 2**12
        if larger_bytes < size_bytes + _SMALLEST_GROWTH_BYTES:
            raise full_disk(self._name)
        return larger_bytes

    @contextmanager
    def _quiet(self, env: lmdb.Environment, deadline: Deadline) -> Generator[None]:
        """Nobody in this process reads, and who comes waits for the lock, which the caller holds."""
        self.env = None
        try:
            while self.active:
                if not deadline.left_s():
                    raise self._late("readers do not end")
                time.sleep(0.0001)
            yield
        finally:
            self.env = env

    def _open(self) -> lmdb.Environment:
        if self._forked:
            raise BackendError(
                f"online store {self._name}: it was in use when this process was forked",
                hint="start processes before the store is used, or with the method 'spawn'",
            )
        if self._opened is not None and self._file == self._file_now():
            return self._opened
        if self._opened is not None:  # somebody has removed the folder, or put another in its place
            self._shut()
        self.folder.mkdir(parents=True, exist_ok=True)
        _reserve(self.folder / "lock.mdb")
        env = lmdb.open(
            str(self.folder), map_size=self._map_bytes, max_readers=MAX_READERS, max_spare_txns=1, mode=0o664
        )
        env.reader_check()
        self._file = self._file_now()
        self._opened = self.env = env
        return env

    def _file_now(self) -> tuple[int, int] | None:
        try:
            found = (self.folder / "data.mdb").stat()
        except FileNotFoundError:
            return None
        return found.st_dev, found.st_ino

    def _shut(self) -> None:
        if self._opened is not None:
            env, self._opened = self._opened, None
            with self._quiet(env, Deadline(_FORK_WAIT_S)):
                env.close()
            self.env = None

    def _close(self, deadline: Deadline) -> None:
        if not self._lock.acquire(timeout=deadline.left_s()):
            raise self._late("another thread writes")
        try:
            self._shut()
        finally:
            self._lock.release()

    def leave(self) -> None:
        """One store less uses it; the last one closes it."""
        with _ALL_LOCK:
            self.users -= 1
            if self.users == 0:
                _ALL.pop(self.folder, None)
                self._close(Deadline(_FORK_WAIT_S))

    def before_fork(self) -> bool:
        """Closes it and keeps everybody out; False if that cannot be done in time."""
        if not self._lock.acquire(timeout=_FORK_WAIT_S):
            return False
        try:
            self._shut()
        except BackendError:
            self._lock.release()
            return False
        return True

    def after_fork(self, *, closed: bool, child: bool) -> None:
        """Lets everybody in again; the next call opens it."""
        if closed:
            self._lock.release()
        elif child:  # the parent's environment can be neither used nor closed here
            self._lock, self.env, self._forked = threading.RLock(), None, True

    def error(self, error: lmdb.Error | OSError) -> BackendError:
        """The error in asof's words."""
        return translated(error, self._name)

    def _late(self, why: str) -> BackendError:
        return BackendError(
            f"online store {self._name}: no answer in time: {why}",
            hint="try again, or set a longer online.timeout",
            retryable=True,
        )


_ALL: dict[Path, SharedEnvironment] = {}
_ALL_LOCK = threading.RLock()
_held: list[tuple[SharedEnvironment, bool]] = []


def share_environment(folder: Path, name: str, first_map_bytes: int = _FIRST_MAP_BYTES) -> SharedEnvironment:
    """The environment of a folder, opened and with one user more; the folder is made if there is none."""
    real = Path(os.path.realpath(folder))
    with _ALL_LOCK:
        shared = _ALL.get(real) or SharedEnvironment(real, name, first_map_bytes)
        with shared.exclusive(Deadline(_FORK_WAIT_S)):
            shared.users += 1
        _ALL[real] = shared
    return shared


def _reserve(file: Path) -> None:
    """Takes the lock file's room on the disk: LMDB maps it, and a full disk would then end the process."""
    if not file.exists() and hasattr(os, "posix_fallocate"):
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o664)
        try:
            os.posix_fallocate(descriptor, 0, _LOCK_FILE_BYTES)
        except OSError:
            file.unlink(missing_ok=True)
            raise
        finally:
            os.close(descriptor)


def _before_fork() -> None:
    _ALL_LOCK.acquire()
    _held.extend((shared, shared.before_fork()) for shared in _ALL.values())


def _after_fork(*, child: bool) -> None:
    while _held:
        shared, closed = _held.pop()
        shared.after_fork(closed=closed, child=child)
    _ALL_LOCK.release()


os.register_at_fork(
    before=_before_fork,
    after_in_parent=lambda: _after_fork(child=False),
    after_in_child=lambda: _after_fork(child=True),
)
