"""The environment in which the other sides run: their own, so that what asof needs never decides what they get.

`peers.txt` pins it with hashes (made with `uv pip compile --universal --python-version 3.11 --generate-hashes`
from `peers.in`). Set ASOF_BENCH_PEERS to the Python of an environment that has these packages already, to make
none.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from bench.data import cache

PINNED = Path(__file__).parent / "peers.txt"


def python() -> str:
    """The interpreter of the peers' environment, made on first use and made anew when the pins change."""
    given = os.environ.get("ASOF_BENCH_PEERS")
    if given:
        return given
    pins = hashlib.sha256(PINNED.read_bytes() + sys.version.encode()).hexdigest()[:12]
    folder = cache() / "peers" / pins
    interpreter = folder / "bin" / "python"
    if not interpreter.exists():
        _make(folder)
    return str(interpreter)


def _make(folder: Path) -> None:
    print(
        "bench: making the environment of the other sides (DuckDB, Polars; about 130 MB to download, once) ...",
        flush=True,
    )
    part = folder.with_suffix(".part")
    shutil.rmtree(part, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", str(part)], check=True)
    pip = [str(part / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "-q", "install"]
    subprocess.run([*pip, "--require-hashes", "--only-binary", ":all:", "-r", str(PINNED)], check=True)
    part.rename(folder)
