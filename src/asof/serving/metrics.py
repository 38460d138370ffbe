"""What the server counts, as Prometheus reads it at `/metrics`. Labels are bounded: services and views that there are.

With several workers the environment variable PROMETHEUS_MULTIPROC_DIR is set before this module loads (`asof serve`
does it), and every worker then answers for all of them.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Literal

import numpy as np
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
    multiprocess,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from asof.define.window import BEGIN_US
from asof.flows.answer import MISSING, STALE, Answer
from asof.serving.cells import IdentityCache

MEDIA_TYPE = CONTENT_TYPE_PLAIN_0_0_4
UNKNOWN = "unknown"
_MULTI = "PROMETHEUS_MULTIPROC_DIR"
_LATENCY = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
_AGE = (1, 5, 15, 60, 300, 900, 3_600, 4 * 3_600, 86_400, 7 * 86_400, 30 * 86_400)


class Metrics:
    """The server's counters; each label's child is kept, for finding one by its labels costs more than counting."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        by_view = ["service", "view"]
        self._requests = Histogram(
            "asof_feature_request_seconds", "Seconds from a request for features to its answer.",
            ["service", "outcome"], buckets=_LATENCY, registry=registry,
        )  # fmt: skip
        self._store = Histogram(
            "asof_store_seconds", "Seconds that a read of the online store and its arithmetic took.",
            buckets=_LATENCY, registry=registry,
        )  # fmt: skip
        self._age = Histogram(
            "asof_feature_age_seconds",
            "Seconds since the newest event, of the entity of an answer that has the newest.",
            ["view"], buckets=_AGE, registry=registry,
        )  # fmt: skip
        self._watermark = _gauge(
            registry, "asof_view_watermark_timestamp_seconds",
            "Unix time before which all of the view's events are in.",
            ["view"], over_workers="max",
        )  # fmt: skip
        self._missing = Counter(
            "asof_feature_missing_total", "Values of entities without a record.", by_view, registry=registry
        )
        self._stale = Counter(
            "asof_feature_stale_total",
            "Values of views older than the service allows.",
            by_view,
            registry=registry,
        )
        self._http = Counter(
            "asof_http_requests_total", "Requests of routes that read no features.", ["route", "status"],
            registry=registry,
        )  # fmt: skip
        self.in_flight = _gauge(
            registry, "asof_requests_in_flight", "Requests that are being answered.", over_workers="livesum"
        )
        self.revision = _gauge(
            registry,
            "asof_registry_revision",
            "The registry's revision that is served.",
            over_workers="livemax",
        )
        self.problem = _gauge(
            registry, "asof_registry_problem", "1 while the server does not serve what the registry says.",
            over_workers="livemax",
        )  # fmt: skip
        self.reload_failures = Counter(
            "asof_reload_failures_total", "Reloads after which the old definitions stayed.", registry=registry
        )
        self.lost_lines = Counter(
            "asof_access_log_dropped_total",
            "Lines of the access log that could not be written.",
            registry=registry,
        )
        self.lost_reads = Counter(
            "asof_request_log_dropped_total",
            "Reads that the log of requests could not keep.",
            registry=registry,
        )
        self._pushed = Counter(
            "asof_events_pushed_total", "Events that were appended to a source's stream.", ["source"],
            registry=registry,
        )  # fmt: skip
        self._repeated = Counter(
            "asof_events_repeated_total",
            "Events of batches that were in the stream already, under their idempotency key.",
            ["source"], registry=registry,
        )  # fmt: skip
        self._push = Histogram(
            "asof_events_push_seconds", "Seconds that a batch took to be checked and to be durable.",
            ["source"], buckets=_LATENCY, registry=registry,
        )  # fmt: skip
        self._by_status: dict[tuple[int, str, str], Counter] = {}
        self._by_outcome: dict[tuple[str, str], Histogram] = {}
        self._by_route: dict[tuple[str, int], Counter] = {}
        self._by_view: dict[str, tuple[Histogram, Gauge]] = {}

    def observe_request(self, service: str, outcome: str, seconds: float) -> None:
        """One request for features; the service is one that there is, or `UNKNOWN`."""
        found = self._by_outcome.get((service, outcome))
        if found is None:
            found = self._by_outcome[service, outcome] = self._requests.labels(service, outcome)
        found.observe(seconds)

    def count_http(self, route: str, status: int) -> None:
        """One request of a route of the table, or of none (`UNKNOWN`)."""
        found = self._by_route.get((route, status))
        if found is None:
            found = self._by_route[route, status] = self._http.labels(route, str(status))
        found.inc()

    def observe_push(self, source: str, count: int, seconds: float, *, repeated: bool) -> None:
        """One batch of events for a source that there is."""
        (self._repeated if repeated else self._pushed).labels(source).inc(count)
        self._push.labels(source).observe(seconds)

    def observe_read(self, answer: Answer, seconds: float) -> None:
        """What a read answered: how long it took, how fresh it is, and what is missing or stale."""
        self._store.observe(seconds)
        for view in answer.freshness:
            found = self._by_view.get(view.view)
            if found is None:
                found = self._by_view[view.view] = (
                    self._age.labels(view.view),
                    self._watermark.labels(view.view),
                )
            newest = view.newest_us
            newest_us = int(newest[0]) if len(newest) == 1 else int(newest.max()) if len(newest) else BEGIN_US
            if newest_us > BEGIN_US:
                found[0].observe((answer.at_us - newest_us) / 1e6)
            if view.watermark_us > BEGIN_US:
                found[1].set(view.watermark_us / 1e6)
        statuses = answer.statuses.tobytes()
        if MISSING in statuses or STALE in statuses:
            self._count_statuses(answer)

    def _count_statuses(self, answer: Answer) -> None:
        """Counts values by view; those of a view are all missing or none is, and stale one by one (or expired)."""
        for view, columns in _columns_of(answer.view_of):
            missing = int(np.count_nonzero(answer.statuses[:, columns[0]] == MISSING)) * len(columns)
            stale = 0
            if missing < answer.size * len(columns):
                stale = int(np.count_nonzero(answer.statuses[:, columns] == STALE))
            for count, counter in ((missing, self._missing), (stale, self._stale)):
                if count:
                    self._counter(counter, answer, view).inc(count)

    def _counter(self, counter: Counter, answer: Answer, view: int) -> Counter:
        key = (id(counter), answer.service, answer.freshness[view].view)
        found = self._by_status.get(key)
        if found is None:
            found = self._by_status[key] = counter.labels(*key[1:])
        return found

    def text(self) -> bytes:
        """All of it as Prometheus reads it, over all workers."""
        if _MULTI not in os.environ:
            return generate_latest(self.registry)
        registry = CollectorRegistry()
        multiprocess.MultiProcessCollector(registry)
        return generate_latest(registry)


def _views_of(view_of: tuple[int, ...]) -> list[tuple[int, list[int]]]:
    """For each view of an answer its place and its columns."""
    views = dict.fromkeys(view for view in view_of if view >= 0)
    return [(view, [place for place, of in enumerate(view_of) if of == view]) for view in views]


_columns_of = IdentityCache(_views_of)


def _gauge(
    registry: CollectorRegistry,
    name: str,
    text: str,
    labels: Sequence[str] = (),
    *,
    over_workers: Literal["max", "livemax", "livesum"],
) -> Gauge:
    return Gauge(name, text, labels, registry=registry, multiprocess_mode=over_workers)


def forget_worker(pid: int) -> None:
    """A worker that is gone no longer counts among those that live; its totals stay."""
    if _MULTI in os.environ:
        multiprocess.mark_process_dead(pid)
