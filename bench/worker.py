"""Runs one side in a process of its own: orders come on standard input, answers go out as lines of JSON.

`python -m bench.worker bench.windows:duckdb_join '{"log": ...}'`, then lines such as `{"do": "run"}`. The
process stays alive between runs, so that what is measured is a warm side; a fresh process with one run shows
the peak of memory. This file and those that hold the other sides import neither asof nor anything that peers do
not have.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import resource
import sys
import time
import traceback
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

PACKAGES = (
    "asof", "duckdb", "feast", "granian", "hiredis", "lmdb", "numba", "numpy", "polars", "pyarrow", "redis",
)  # fmt: skip
KIB = 1024


def memory() -> dict[str, int]:
    """Resident bytes of this process: now, and at the highest so far; pages of mapped files count in both.

    Linux: VmHWM, since ru_maxrss also counts what the parent had resident when it started us. Elsewhere: ru_maxrss.
    """
    status = Path("/proc/self/status")
    if not status.exists():
        high = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return {"peak_bytes": high if sys.platform == "darwin" else high * KIB}
    facts = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * KIB
    return {
        "now_bytes": int(facts["VmRSS"].split()[0]) * KIB,
        "peak_bytes": int(facts["VmHWM"].split()[0]) * KIB,
        "children_peak_bytes": children,
    }


def versions() -> dict[str, str]:
    """Python and those of our packages that this environment has."""
    found = {"python": ".".join(map(str, sys.version_info[:3]))}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


class Session:
    """One side and its newest result."""

    def __init__(self, target: str, arguments: dict[str, Any]) -> None:
        module, name = target.split(":")
        self.side: Callable[..., Any] = getattr(importlib.import_module(module), name)
        self.arguments = arguments
        self.result: Any = None
        self.held: Any = None

    def run(self) -> dict[str, Any]:
        """Runs the side once; the clock covers the call alone: from files to an Arrow table in memory."""
        self.result = None
        gc.collect()
        before = memory()
        cpu, wall = time.process_time(), time.perf_counter()
        self.result = self.side(**self.arguments)
        seconds, cpu_seconds = time.perf_counter() - wall, time.process_time() - cpu
        return {
            "seconds": seconds,
            "cpu_seconds": cpu_seconds,
            "rows": self.result.num_rows,
            "before_bytes": before.get("now_bytes", before["peak_bytes"]),
            **memory(),
        }

    def save(self, path: str) -> dict[str, Any]:
        """Writes the newest result as an Arrow file, for the comparison."""
        from pyarrow import feather

        feather.write_feather(self.result, path, compression="uncompressed")
        return {"path": path}

    def call(self, method: str, **order: Any) -> dict[str, Any]:
        """What a method answers, where the side is a class: it is made once, and keeps what it holds."""
        if self.held is None:
            self.held = self.side(**self.arguments)
        return dict(getattr(self.held, method)(**order) or {})

    def versions(self) -> dict[str, Any]:
        return dict(versions())


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints must not reach the answers
    try:
        session = Session(sys.argv[1], json.loads(sys.argv[2]))
        answers.write(json.dumps({"ready": True}) + "\n")
    except Exception:  # noqa: BLE001 - the other end tells it
        answers.write(json.dumps({"error": traceback.format_exc(limit=-4)}) + "\n")
        return
    finally:
        answers.flush()
    for line in sys.stdin:
        order = json.loads(line)
        try:
            answer = getattr(session, order.pop("do"))(**order)
        except Exception:  # noqa: BLE001 - the other end tells it
            answer = {"error": traceback.format_exc(limit=-4)}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
