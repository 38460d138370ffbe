"""Files: globs become sorted lists, half-written files are told before an engine trips over them, and files
get identities.
"""

from __future__ import annotations

import glob
import hashlib
from collections.abc import Sequence
from pathlib import Path

from asof.engines.scan import Snapshot
from asof.errors import CorruptSource, SourceNotFound

_PARQUET, _ARROW = b"PAR1", b"ARROW1"
_WHOLE_BYTES = 8 * 2**20
_EDGE_BYTES = 2**20
REMOTE = ("s3://",)


def is_remote(path: str) -> bool:
    """True for a path that Arrow's object-store filesystem reads."""
    return path.startswith(REMOTE)


def find_files(where: str, paths: Sequence[str], root: Path) -> list[Path]:
    """The files that paths and globs name, in sorted order for each glob; relative paths start at `root`.

    Raises:
        SourceNotFound: a path or a glob without a file; carries `path`.
    """
    found: list[Path] = []
    for path in paths:
        full = str(root / path)
        matches = (
            sorted(Path(name) for name in glob.glob(full, recursive=True))  # noqa: PTH207 - absolute globs
            if glob.has_magic(full)
            else [Path(full)]
        )
        files = [file for file in matches if file.is_file()]
        if not files:
            hint = _parent_hint(Path(full))
            raise SourceNotFound(f"{where}: no file matches {path!r}", hint=hint, path=path)
        found += files
    return found


def _parent_hint(path: Path) -> str:
    for parent in path.parents:
        if parent.is_dir():
            return f"{parent} is there, what follows is not"
    return "check the path"


def check_format(where: str, files: Sequence[Path], kind: str) -> None:
    """Nothing, when every file starts and ends as its format says.

    Raises:
        CorruptSource: a file that is empty, half-written or of another format; carries `path`.
    """
    magic = _PARQUET if kind == "Parquet" else _ARROW
    for file in files:
        with file.open("rb") as handle:
            head = handle.read(len(magic))
            handle.seek(0, 2)
            size = handle.tell()
            handle.seek(max(0, size - len(magic)))
            tail = handle.read(len(magic))
        if head == magic and tail == magic and size >= 3 * len(magic):
            continue
        said = "is empty" if size == 0 else "is half-written" if head == magic else f"is not a {kind} file"
        raise CorruptSource(f"{where}: {file} {said}", hint="write it again, or leave it out", path=str(file))


def snapshot(file: Path, root: Path) -> Snapshot:
    """The identity of a file: its size, and a SHA-256 of all of it, or of its first and last MiB when it is
    large.

    The end of a Parquet or Arrow file holds its footer: offsets, sizes and statistics of every row group.
    """
    size = file.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with file.open("rb") as handle:
        if size <= _WHOLE_BYTES:
            digest.update(handle.read())
        else:
            digest.update(handle.read(_EDGE_BYTES))
            handle.seek(size - _EDGE_BYTES)
            digest.update(handle.read())
    name = file.relative_to(root) if file.is_relative_to(root) else file
    return Snapshot(str(name), size, digest.hexdigest())
