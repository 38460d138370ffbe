"""The lock of a partition of the embedded log, and how its files get to the disk."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Generator
from contextlib import contextmanager

from asof.errors import BackendError

LOCK_WAIT_S = 10.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.000_05, 0.002


@contextmanager
def locked(path: str) -> Generator[None]:
    """Holds the lock of a file; it goes with the process if that is killed.

    Raises:
        BackendError: another process has held it for too long.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        waited_s, pause_s = 0.0, _FIRST_PAUSE_S
        while not try_lock(fd):
            if waited_s > LOCK_WAIT_S:
                raise BackendError(
                    f"log {path}: another process has held the lock for {LOCK_WAIT_S:g} s",
                    retryable=True,
                )
            time.sleep(pause_s)
            waited_s, pause_s = waited_s + pause_s, min(pause_s * 2, _LONGEST_PAUSE_S)
        yield
    finally:
        unlock(fd)


def try_lock(fd: int, how: int = fcntl.LOCK_EX) -> bool:
    """Whether the lock of an open file could be had at once."""
    try:
        fcntl.flock(fd, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def locked_at_once(path: str) -> Generator[bool]:
    """Whether the lock of a file could be had at once; holds it if so."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        yield try_lock(fd)
    finally:
        unlock(fd)


def unlock(fd: int) -> None:
    """Lets go of a file and its lock."""
    fcntl.flock(fd, fcntl.LOCK_UN)  # a forked child may have the descriptor too
    os.close(fd)


def to_disk(fd: int) -> None:
    """Waits until a file's content is on the disk, past the disk's own memory where the system can say so."""
    full = getattr(fcntl, "F_FULLFSYNC", None)
    if full is not None:
        fcntl.fcntl(fd, full)
    else:
        getattr(os, "fdatasync", os.fsync)(fd)


def path_to_disk(path: str) -> None:
    """The same for what lies at a path: a file, or the names in a folder."""
    fd = os.open(path, os.O_RDONLY)
    try:
        to_disk(fd)
    finally:
        os.close(fd)
