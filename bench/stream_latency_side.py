"""The worker and the producer of `stream_latency`, each in a process of its own, by the machine's clock."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from bench import stream_data, stream_servers
from bench.stream_feast import rows_of

WARM_S = 3.0
_IDLE_STEPS = 5


class Follower:
    """A worker that follows the log for so long, and notes when each event could be served."""

    def __init__(self, folder: str) -> None:
        self.project = stream_servers.project(folder)
        self.store = stream_servers.store(folder)
        self.taken: list[Any] = []
        self.waited: list[Any] = []

    def prepare(self) -> None:
        """The view's beginning, so that a server can open it."""
        self.project.materialize(store=self.store)

    def applied(self, source: str, batch: Any, views: Any, servable_us: Any) -> None:
        """Notes for each event how long ago it happened (was due to be sent), and how long ago the log had taken it."""
        del source, views
        happened_us = batch.table["at"].cast("int64").to_numpy()
        now_us = self.project.clock.now_us()
        self.waited.append(now_us - happened_us)
        self.taken.append(np.asarray(servable_us))

    def dead(self, source: str, count: int) -> None:
        """Events that could not be used: none is expected."""
        raise ValueError(f"{count} dead events of {source}")

    def run(self, until_s: float) -> dict[str, Any]:
        """Follows until an instant and until there is nothing more; the first seconds do not count."""
        from asof.flows.stream_open import open_worker, streamed_source

        source = streamed_source(self.project, stream_data.SOURCE)
        worker = open_worker(self.project, source, self.store, watch=self)
        self.waited, self.taken = [], []
        cpu, started, steps, idle = time.process_time(), time.time(), 0, 0
        while time.time() < until_s or idle < _IDLE_STEPS:
            count = worker.step(0.05)
            steps, idle = steps + bool(count), 0 if count else idle + 1
        cores = (time.process_time() - cpu) / (time.time() - started)
        worker.close()
        return {"batches": steps, "cores": cores, "events": sum(map(len, self.waited)), **self._spread()}

    def _spread(self) -> dict[str, float]:
        warm = int(WARM_S * stream_data.RATE)
        found: dict[str, float] = {}
        for name, parts in (("sent", self.waited), ("taken", self.taken)):
            ms = np.sort(np.concatenate(parts)[warm:] / 1e3)
            found |= {f"{name}_{q}": float(np.quantile(ms, q / 100)) for q in (50, 99)}
            found[f"{name}_max"] = float(ms[-1])
        return found


class Producer:
    """Appends batches at a steady rate: batch k is due at k / rate, whatever those before it took."""

    def __init__(self, folder: str) -> None:
        from asof.flows.push import Pusher

        self.pusher = Pusher(lambda: stream_servers.project(folder))

    def run(self, until_s: float, size: int) -> dict[str, Any]:
        """Batches of `size` events until an instant."""
        step_s = size / stream_data.RATE
        tables = [rows_of(size, call, 0) for call in range(int(2 / step_s))]
        lists = [table.to_pylist() for table in tables]
        self.pusher.opened(stream_data.SOURCE)
        cpu, started, count, late_s = time.process_time(), time.time(), 0, 0.0
        while (due := started + count * step_s) < until_s:
            time.sleep(max(0.0, due - time.time()))
            late_s = max(late_s, time.time() - due)
            at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(due)) + f".{int(due % 1 * 1e6):06d}Z"
            rows = [{**row, "at": at} for row in lists[count % len(lists)]]
            count += self.pusher.push(stream_data.SOURCE, rows).count // size
        cores = (time.process_time() - cpu) / (time.time() - started)
        return {"events": count * size, "most_late_ms": 1e3 * late_s, "cores": cores}
