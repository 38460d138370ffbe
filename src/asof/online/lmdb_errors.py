"""LMDB's errors in asof's words: which may pass, and what mostly helps."""

from __future__ import annotations

import errno

import lmdb

from asof.errors import BackendError

# LMDB's errors by name: may the same call succeed later? Some are absent from older builds of the library.
RETRYABLE = {
    "Error": False,
    "BadChecksumError": False,
    "BadDbiError": False,
    "BadRslotError": True,
    "BadTxnError": False,
    "BadValsizeError": False,
    "CorruptedError": False,
    "CryptoFailError": False,
    "CursorFullError": False,
    "DbsFullError": False,
    "DiskError": False,
    "EnvEncryptionError": False,
    "IncompatibleError": False,
    "InvalidError": False,
    "InvalidParameterError": False,
    "KeyExistsError": False,
    "LockError": True,
    "MapFullError": True,
    "MapResizedError": True,
    "MemoryError": True,
    "NotFoundError": False,
    "PageFullError": False,
    "PageNotFoundError": False,
    "PanicError": True,
    "ProblemError": False,
    "ReadersFullError": True,
    "ReadonlyError": False,
    "TlsFullError": True,
    "TxnFullError": False,
    "VersionMismatchError": False,
}
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_DENIED = {errno.EACCES, errno.EPERM, errno.EROFS}
_FOREIGN = (lmdb.InvalidError, lmdb.VersionMismatchError, lmdb.CorruptedError)


def translated(error: lmdb.Error | OSError, store: str) -> BackendError:
    """An error of LMDB or of the file system, for the store of this name."""
    number = error.errno if isinstance(error, OSError) else getattr(error, "code", 0)
    if number in _FULL or isinstance(error, lmdb.MapFullError):
        return full_disk(store)
    hint = "may this user write to the folder?" if number in _DENIED else None
    if (
        number == errno.EIO
    ):  # what LMDB says of a page that was written in part only, mostly because no room was left
        hint = (
            "is the disk full, a quota reached, or the disk broken? What was written before can still be read"
        )
    if isinstance(error, _FOREIGN):
        hint = "the files are not LMDB's, or damaged: remove the folder and materialize again"
    return BackendError(f"online store {store}: {error}", hint=hint, retryable=is_retryable(error))


def is_retryable(error: Exception) -> bool:
    """Whether the same call may succeed later; a class that is not in the table counts as its nearest parent."""
    names = [each.__name__ for each in type(error).__mro__ if issubclass(each, lmdb.Error)]
    return next((RETRYABLE[name] for name in names if name in RETRYABLE), False)


def full_disk(store: str) -> BackendError:
    """No room for what would be written."""
    return BackendError(
        f"online store {store}: the disk is full; what was written before can still be read",
        hint="make room on the disk, or drop versions that nobody reads",
    )
