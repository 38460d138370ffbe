"""Who holds a file's lock, as far as the system tells (Linux: /proc)."""

from __future__ import annotations

import os
import re
from pathlib import Path

_LOCK = re.compile(r"^\d+:\s+(?:->\s+)?\S+\s+\S+\s+\S+\s+(\d+)\s+[0-9a-f]+:[0-9a-f]+:(\d+)\s", re.MULTILINE)


def holders_of(file: Path) -> list[str]:
    """The processes that hold a lock on the file, as `python (process 4711)`; empty where that cannot be told.

    Example:
        >>> holders_of(Path("no/such/file"))
        []
    """
    try:
        inode = file.stat().st_ino
        locks = Path("/proc/locks").read_text(encoding="ascii", errors="replace")
    except OSError:
        return []
    found = {int(pid) for pid, number in _LOCK.findall(locks) if int(number) == inode}
    return [_named(pid) for pid in sorted(found - {os.getpid()})]


def _named(pid: int) -> str:
    try:
        name = Path(f"/proc/{pid}/comm").read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        name = "a process"
    return f"{name} (process {pid})"
