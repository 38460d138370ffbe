"""What the workers of streams count, as Prometheus reads it: `asof stream --metrics-port`.

Labels are bounded: sources, their partitions, and views that there are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from asof.errors import BackendError
from asof.flows.stream_apply import ViewReceipt
from asof.flows.stream_status import SourceStatus
from asof.flows.stream_tally import SERVABLE_S, SourceTally, Tally

HOST = "127.0.0.1"
_BY_SOURCE, _BY_PARTITION, _BY_VIEW = ("source",), ("source", "partition"), ("source", "view")


class StreamMetrics(Collector):
    """Metrics of workers; `show` brings how far they are behind, all else is read from their tally."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._statuses: Sequence[SourceStatus] = ()

    def show(self, statuses: Sequence[SourceStatus]) -> None:
        """From now on, workers are so far behind."""
        self._statuses = statuses

    def serve(self, port: int) -> StreamMetricsServer:
        """Answers on this port of the loopback, from a thread of its own; close it when done.

        Raises:
            BackendError: the port is taken.
        """
        registry = CollectorRegistry()
        registry.register(self)
        return StreamMetricsServer(port, registry)

    def collect(self) -> Iterator[Metric]:
        """All metrics as they are now."""
        tallies = self._tally.read()
        yield _servable(tallies)
        yield from _of_sources(tallies)
        yield from _of_views(tallies)
        yield from _of_partitions(self._statuses)
        yield from _of_freshness(self._statuses)


class StreamMetricsServer:
    """A server of metrics."""

    def __init__(self, port: int, registry: CollectorRegistry) -> None:
        try:
            self._server, self._thread = start_http_server(port, HOST, registry)
        except OSError as exc:
            raise BackendError(
                f"metrics cannot be served on port {port}: {exc.strerror}", hint="another --metrics-port"
            ) from exc
        self.port = int(self._server.server_port)

    def close(self) -> None:
        """Answers no more."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _servable(tallies: dict[str, SourceTally]) -> Metric:
    made = HistogramMetricFamily(
        "asof_stream_event_to_servable_seconds",
        "Seconds from when the stream took an event until it was in the records.",
        labels=_BY_SOURCE,
    )
    for source, tally in tallies.items():
        counts = tally.servable.cumsum().tolist()
        bounds = [*map(str, SERVABLE_S), "+Inf"]
        made.add_metric([source], list(zip(bounds, counts, strict=True)), tally.servable_us / 1e6)
    return made


def _of_sources(tallies: dict[str, SourceTally]) -> Iterator[Metric]:
    rows = list(tallies.items())
    yield _counter(
        "asof_stream_events",
        "Events that were read.",
        _BY_SOURCE,
        [([name], each.events) for name, each in rows],
    )
    yield _counter(
        "asof_stream_dead",
        "Events that could not be used.",
        _BY_SOURCE,
        [([name], each.dead) for name, each in rows],
    )


def _of_views(tallies: dict[str, SourceTally]) -> Iterator[Metric]:
    rows: list[tuple[list[str], ViewReceipt]] = [
        ([source, view], receipt) for source, each in tallies.items() for view, receipt in each.views.items()
    ]
    for name, text, field in (
        ("late", "Rows that came when no window could count them any more.", "late"),
        ("repeated", "Rows that the records held already.", "repeated"),
        (
            "conflicts",
            "Records that another writer changed meanwhile, and that were merged again.",
            "conflicts",
        ),
        ("records_written", "Records that were written.", "records"),
    ):
        counts = [(labels, int(getattr(receipt, field))) for labels, receipt in rows]
        yield _counter(f"asof_stream_{name}", text, _BY_VIEW, counts)


def _of_partitions(statuses: Sequence[SourceStatus]) -> Iterator[Metric]:
    rows = [([each.source, str(part.partition)], part) for each in statuses for part in each.partitions]
    events = [(labels, float(part.lag_events)) for labels, part in rows if part.lag_events is not None]
    yield _gauge(
        "asof_stream_lag_events",
        "Events that wait; where offsets of the stream count events.",
        _BY_PARTITION,
        events,
    )
    seconds = [(labels, part.lag_us / 1e6) for labels, part in rows if part.lag_us is not None]
    text = "Seconds that the first event that is not in the records has waited."
    yield _gauge("asof_stream_lag_seconds", text, _BY_PARTITION, seconds)


def _of_freshness(statuses: Sequence[SourceStatus]) -> Iterator[Metric]:
    rows = [([each.source, view.view], view) for each in statuses for view in each.views]
    text = "Seconds that the first event that a view's records do not hold has waited, at most."
    ages = [(labels, view.age_us / 1e6) for labels, view in rows if view.age_us is not None]
    yield _gauge("asof_stream_freshness_seconds", text, _BY_VIEW, ages)
    text = "Seconds that a view's `freshness` allows."
    aims = [(labels, view.freshness_us / 1e6) for labels, view in rows if view.freshness_us is not None]
    yield _gauge("asof_stream_freshness_objective_seconds", text, _BY_VIEW, aims)


def _counter(name: str, text: str, labels: Sequence[str], rows: Iterable[tuple[list[str], int]]) -> Metric:
    made = CounterMetricFamily(name, text, labels=labels)
    for values, count in rows:
        made.add_metric(values, count)
    return made


def _gauge(name: str, text: str, labels: Sequence[str], rows: Iterable[tuple[list[str], float]]) -> Metric:
    made = GaugeMetricFamily(name, text, labels=labels)
    for values, value in rows:
        made.add_metric(values, value)
    return made
