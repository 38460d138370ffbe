"""The sides of `backfill`, each warm in a process of its own: ours, and DuckDB, which reads and sorts."""

from __future__ import annotations

import shutil
import time
from typing import Any

COLUMNS = ("ingested_at", "amount", "amount_exact")


def view(log: str) -> Any:
    """180 days over three columns: what each row of the log is kept for."""
    import asof

    return asof.FeatureView(
        "half_year",
        entity=asof.Entity("account", keys={"account_id": "int64"}),
        source=asof.Events("transactions", asof.Parquet(log), event_time="occurred_at"),
        features=[
            asof.count().over("180d"),
            asof.mean("amount").over("180d"),
            asof.max("amount").over("180d"),
            asof.sum("amount_exact").over("180d"),
            asof.max("ingested_at").over("180d"),
        ],
        online=True,
    )


class Ours:
    """asof: `Project.materialize(whole=True)` into an empty store."""

    def __init__(self, log: str, url: str) -> None:
        from datetime import UTC, datetime

        import asof
        from asof.flows.project import Project
        from asof.testing.clock import FakeClock
        from bench.online_views import END_US

        made, self.url = view(log), url
        self.service = asof.FeatureService("half_year", [made])
        self.project = Project(
            [made, self.service], clock=FakeClock(datetime.fromtimestamp(END_US / 1e6, UTC))
        )
        self.store: Any = None

    def run(self) -> dict[str, Any]:
        """One backfill; opening the store counts, emptying it does not."""
        from asof.online.open_store import open_store
        from bench.worker import memory

        self._empty()
        cpu, started = time.process_time(), time.perf_counter()
        self.store = open_store(self.url, timeout_s=5.0)
        report = self.project.materialize(store=self.store, whole=True).views[0]
        seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu
        return {
            "seconds": seconds, "cpu_seconds": cpu_seconds, "records": report.records, "bytes": report.size_bytes,
            "rows": report.rows, **memory(),
        }  # fmt: skip

    def _empty(self) -> None:
        if self.store is not None:
            self.store.close()
        if self.url.startswith("lmdb"):
            shutil.rmtree(self.url.removeprefix("lmdb:///"), ignore_errors=True)
            return
        import redis

        client: Any = redis.Redis.from_url(self.url)
        client.flushall()
        client.close()

    def save(self, path: str, accounts: list[int]) -> None:
        """Our answer about accounts, as an Arrow file."""
        from bench.online_reads import write_ids

        answer = self.project.online(store=self.store).read("half_year", {"account_id": accounts})
        write_ids(answer.to_arrow(), accounts, path)

    def training_set(self, path: str, accounts: list[int]) -> None:
        """The training set at the same instant."""
        from bench.online_reads import training_set, write_ids

        write_ids(training_set(self.project, self.service, accounts), accounts, path)


class Floor:
    """DuckDB reads the columns and sorts them by account and time."""

    def __init__(self, log: str, threads: int) -> None:
        self.log, self.threads = log, threads

    def run(self) -> dict[str, Any]:
        """One run, to an Arrow table in memory."""
        from bench.windows_others import ask

        words = ", ".join(COLUMNS)
        query = f"SELECT account_id, occurred_at, {words} FROM '{self.log}' ORDER BY account_id, occurred_at"
        cpu, started = time.process_time(), time.perf_counter()
        ask(query, self.threads)
        return {"seconds": time.perf_counter() - started, "cpu_seconds": time.process_time() - cpu}
