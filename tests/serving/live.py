"""A server in a process of its own: started, asked until it answers, signalled, stopped."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Event

import httpx
import pytest

from tests.services import free_port

PATIENCE_S = 300  # the first start of all compiles the kernels


@dataclass
class Live:
    """A running server."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @classmethod
    def start(
        cls,
        command: Callable[[int], list[str]],
        log: Path,
        *,
        cwd: Path,
        port: int | None = None,
        env: Mapping[str, str] | None = None,
    ) -> Live:
        """A server that answers. A port that is found may be taken by somebody else before it is ours."""
        for _ in range(3 if port is None else 1):
            place = free_port() if port is None else port
            with log.open("ab") as out:
                process = subprocess.Popen(command(place), stdout=out, stderr=out, cwd=cwd, env=env)
            live = cls(process, place, log)
            if live.answers():
                return live
            live.stop()
        pytest.fail(f"the server did not start: {log.read_text()}", pytrace=False)

    def answers(self, path: str = "/healthz", status: int = 200) -> bool:
        """Whether it comes to answer so; False once it has ended."""
        for _ in range(PATIENCE_S * 20):
            if self.get(path) == status:
                return True
            if self.process.poll() is not None:
                return False
            Event().wait(0.05)
        return False

    def get(self, path: str) -> int | None:
        """The status that a path has now, None without an answer."""
        try:
            return httpx.get(self.url + path, timeout=5, trust_env=False).status_code
        except httpx.HTTPError:
            return None

    def text(self) -> str:
        """What it has written."""
        return self.log.read_text(encoding="utf-8")

    def term(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def wait(self) -> int:
        return self.process.wait(PATIENCE_S)

    def children(self) -> list[int]:
        """Its workers."""
        found = subprocess.run(
            ["pgrep", "-P", str(self.process.pid)], capture_output=True, text=True, check=False
        )
        return [int(pid) for pid in found.stdout.split()]

    def stop(self) -> None:
        if self.process.poll() is None:
            self.term()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                for pid in self.children():
                    subprocess.run(["kill", "-9", str(pid)], check=False)
                self.process.kill()
                self.process.wait()
