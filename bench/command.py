"""Runs a command from cold start in a process of its own, and tells its seconds and its peak of resident memory.

The kernel counts into a child's `ru_maxrss` what its parent had resident when it started the child. So a launcher
that is small stands between: this very file, run with neither site packages nor environment. It starts the command,
waits for it, and writes down what the kernel says of it. The clock runs from start to end of the command alone.
Standard library only.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

PATIENCE_S = 600


@dataclass(frozen=True)
class Ran:
    """What one run of a command took; `out` and `err` are what it printed."""

    seconds: float
    cpu_seconds: float
    peak_bytes: int
    code: int
    out: str
    err: str


def run(command: list[str], *, cwd: Path, env: dict[str, str], patience_s: float = PATIENCE_S) -> Ran:
    """One run; a command that has not ended after `patience_s` is killed, and its code is -9."""
    with tempfile.TemporaryDirectory() as folder:
        facts, out, err = (Path(folder) / name for name in ("facts", "out", "err"))
        launcher = [sys.executable, "-I", "-S", __file__, str(facts), str(patience_s), *command]
        with out.open("wb") as to, err.open("wb") as error:
            subprocess.run(launcher, cwd=cwd, env=env, stdout=to, stderr=error, check=True)
        texts = (each.read_text(errors="replace") for each in (out, err))
        return Ran(*json.loads(facts.read_text()), *texts)


def _launch(facts: str, patience_s: str, *command: str) -> None:
    started = time.perf_counter()
    pid = os.posix_spawnp(command[0], command, os.environ)
    signal.signal(signal.SIGALRM, lambda *_: os.kill(pid, signal.SIGKILL))
    signal.setitimer(signal.ITIMER_REAL, float(patience_s))
    _, status, used = os.wait4(pid, 0)
    seconds = time.perf_counter() - started
    peak = used.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    code = os.waitstatus_to_exitcode(status)
    Path(facts).write_text(json.dumps([seconds, used.ru_utime + used.ru_stime, peak, code]))


if __name__ == "__main__":
    _launch(*sys.argv[1:])
