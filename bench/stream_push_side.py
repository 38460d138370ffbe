"""Our side of `stream_push`: rows appended to the embedded log, and a worker that brings them into the store."""

from __future__ import annotations

import shutil
import threading
import time
from pathlib import Path
from typing import Any

import pyarrow.compute as pc

from bench import stream_data, stream_sides
from bench.equal import WrongAnswer
from bench.latency import call_each
from bench.stream_feast import accounts_of, rows_of

_AT_ONCE = 5_000


class Ours:
    """asof: `Project.push` with the stream held open, and one worker in the same thread.

    Args:
        folder: for the project and its log.
        url: the store.
    """

    def __init__(self, folder: str, url: str) -> None:
        from asof.clock import SystemClock
        from asof.flows.push import Pusher
        from asof.flows.stream_open import open_worker, streamed_source
        from asof.online.open_store import open_store

        place = Path(folder)
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        self.project = stream_data.project(place, stream_sides.definition(), SystemClock())
        self.store = open_store(url, timeout_s=30.0)
        self.project.materialize(store=self.store)
        self.pusher = Pusher(lambda: self.project)
        source = streamed_source(self.project, stream_data.SOURCE)
        self.worker = open_worker(self.project, source, self.store)
        self.pushed = self.applied = 0
        self.accounts: set[int] = set()

    def time(self, size: int, calls: int, seed: int, kind: str = "flow") -> dict[str, float]:
        """Batches of `size` rows; `kind`: a `flow` of them with a worker behind, until all can be served; each until
        it is `servable`; or until a `push` returns (durable in the log).
        """
        made = [rows_of(size, call, seed) for call in range(calls)]
        self.accounts |= {account for call in range(calls) for account in accounts_of(size, call, seed)}
        self._apply()
        rows = made if size > 1 else [each.to_pylist() for each in made]
        if kind == "flow":
            return self._flow(rows)
        found = call_each(self._servable if kind == "servable" else self._push, rows, calls)
        self._apply()
        return found

    def _flow(self, batches: list[Any]) -> dict[str, float]:
        """What a batch takes of the time from the first push until all can be served."""
        total = sum(len(batch) for batch in batches)
        goal = self.pushed + total
        follower = threading.Thread(target=self._follow, args=(goal,))
        cpu, started = time.process_time(), time.perf_counter()
        follower.start()
        for batch in batches:
            self._push(batch)
        follower.join()
        taken_us = (time.perf_counter() - started) / len(batches) * 1e6
        cpu_us = (time.process_time() - cpu) / len(batches) * 1e6
        return {
            "calls": len(batches),
            "median_us": taken_us,
            "p99_us": taken_us,
            "max_us": taken_us,
            "cpu_us": cpu_us,
        }

    def _follow(self, goal: int) -> None:
        while self.applied < goal:
            self.applied += self.worker.step(0.05)

    def _push(self, rows: Any) -> None:
        self.pushed += self.pusher.push(stream_data.SOURCE, rows).count

    def _servable(self, rows: Any) -> None:
        self._push(rows)
        self._apply()

    def _apply(self) -> None:
        while self.applied < self.pushed:
            self.applied += self.worker.step(1.0)

    def check(self) -> dict[str, Any]:
        """Every row that was pushed is counted by a read.

        Raises:
            WrongAnswer: more or fewer are.
        """
        reader, counted = self.project.online(store=self.store), 0
        accounts = [stream_data.account_id(each) for each in sorted(self.accounts)]
        for at in range(0, len(accounts), _AT_ONCE):
            asked = {"account_id": accounts[at : at + _AT_ONCE]}
            counted += pc.sum(reader.read(stream_data.SERVICE, asked).to_arrow()["count_7d"]).as_py()
        if counted != self.pushed:
            raise WrongAnswer(f"{counted:,} of {self.pushed:,} rows that were pushed are counted")
        return {"rows": counted}
