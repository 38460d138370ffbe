"""A Redis server of the bench's own on loopback, found as the tests find it; what it holds is only in memory."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tests.services import Redis

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def server() -> Iterator[Redis | None]:
    """The server while it runs; None where none is installed."""
    binary = shutil.which("redis-server") or shutil.which("valkey-server")
    if binary is None:
        yield None
        return
    folder = Path(tempfile.mkdtemp(prefix="asof-bench-redis-"))
    made = Redis(binary, folder)
    try:
        made.start()
        yield made
    finally:
        made.stop()
        shutil.rmtree(folder, ignore_errors=True)


def version() -> dict[str, str]:
    """The server's version."""
    binary = shutil.which("redis-server") or shutil.which("valkey-server")
    said = subprocess.run([str(binary), "--version"], capture_output=True, text=True, check=False).stdout
    words = dict(word.split("=", 1) for word in said.split() if "=" in word)
    return {"redis-server": words.get("v", "?")}
