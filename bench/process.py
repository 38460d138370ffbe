"""Starts sides as processes, asks them to run, and watches their memory while they do."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

ROOT = Path(__file__).resolve().parent.parent
SAMPLE_S = 0.05
THREADS = ("ASOF_THREADS", "NUMBA_NUM_THREADS", "POLARS_MAX_THREADS")
STATUS = ("VmRSS", "RssAnon", "RssFile")


class SideFailed(Exception):
    """A side could not run; the text is its own error."""


@dataclass(frozen=True)
class Side:
    """One way to do a bench's job: a function `module:name` that takes `arguments` and returns an Arrow table."""

    name: str
    target: str
    arguments: dict[str, Any] = field(default_factory=dict)
    python: str = sys.executable
    env: dict[str, str] = field(default_factory=dict)


class Worker:
    """The process of one side, alive from `with` to its end."""

    def __init__(self, side: Side, threads: int) -> None:
        self.side = side
        self.threads = threads
        self.samples: dict[str, int] = {}

    def __enter__(self) -> Self:
        self.process = subprocess.Popen(
            [self.side.python, "-m", "bench.worker", self.side.target, json.dumps(self.side.arguments)],
            cwd=ROOT,
            env=self._environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._answer()
        return self

    def _environment(self) -> dict[str, str]:
        """This process's, with the number of threads in everybody's words; a peer gets no PYTHONPATH of ours."""
        env = dict(os.environ) | self.side.env
        if self.side.python != sys.executable:
            env.pop("PYTHONPATH", None)
        return env | dict.fromkeys(THREADS, str(self.threads))

    def __exit__(self, *exc: object) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        try:
            self.process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def ask(self, do: str, **order: Any) -> dict[str, Any]:
        """The answer to one order.

        Raises:
            SideFailed: the side raised, or its process ended.
        """
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps({"do": do, **order}) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError as exc:
            raise SideFailed(f"{self.side.name}: the process is gone") from exc
        return self._answer()

    def call(self, method: str, **order: Any) -> dict[str, Any]:
        """What a method of a side that is a class answers; raises as `ask` does."""
        return self.ask("call", method=method, **order)

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        while not select.select([self.process.stdout], [], [], SAMPLE_S)[0]:
            self._sample()
        line = self.process.stdout.readline()
        if not line:
            code = self.process.wait()
            raise SideFailed(f"{self.side.name}: the process ended with {code} (memory?)")
        answer = json.loads(line)
        if "error" in answer:
            raise SideFailed(f"{self.side.name}:\n{answer['error'].rstrip()}")
        return answer

    def _sample(self) -> None:
        """Keeps the highest of each kind of resident memory seen from outside, 20 times a second (Linux)."""
        try:
            text = Path(f"/proc/{self.process.pid}/status").read_text()
        except OSError:
            return
        for line in text.splitlines():
            name, _, rest = line.partition(":")
            if name in STATUS:
                self.samples[name] = max(self.samples.get(name, 0), int(rest.split()[0]) * 1024)
