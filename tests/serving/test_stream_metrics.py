"""Metrics of workers: what a scrape gives, and the table of docs/reference/http-api.md."""

from __future__ import annotations

import re
from typing import Any, cast
from urllib.request import urlopen

import numpy as np
import pytest

from asof.errors import BackendError
from asof.flows.stream_apply import ViewReceipt
from asof.flows.stream_status import PartitionStatus, SourceStatus, ViewStatus
from asof.flows.stream_tally import Tally
from asof.serving.stream_metrics import StreamMetrics
from tests.docs.pages import REFERENCE, code, table


class Batch:
    size = 4


def metrics() -> StreamMetrics:
    """A worker's metrics after a batch of four events, and two that could not be used."""
    tally = Tally()
    views = {"v": ViewReceipt(applied=3, repeated=1, late=2, records=3, conflicts=1)}
    tally.applied("tx", cast("Any", Batch()), views, np.array([900, 1_000, 4_000, 70_000_000]))
    tally.dead("tx", 2)
    made = StreamMetrics(tally)
    status = PartitionStatus(0, 7, 9, lag_events=2, lag_us=1_500_000, is_live=True)
    unknown = PartitionStatus(1)
    view = ViewStatus("v", 1_500_000, 60_000_000)
    made.show([SourceStatus("tx", (status, unknown), (view, ViewStatus("w", None)))])
    return made


def test_a_scrape_gives_what_was_counted():
    server = metrics().serve(0)
    try:
        with urlopen(f"http://127.0.0.1:{server.port}/metrics", timeout=20) as answer:
            lines = answer.read().decode().splitlines()
    finally:
        server.close()
    found = {line.split(" ")[0]: float(line.split(" ")[1]) for line in lines if not line.startswith("#")}
    buckets = {made[1]: count for name, count in found.items() if (made := re.search('le="(.+?)"', name))}
    assert (buckets["0.001"], buckets["0.0025"], buckets["0.005"], buckets["60.0"], buckets["+Inf"]) == (
        2, 2, 3, 3, 4
    )  # fmt: skip
    assert found['asof_stream_event_to_servable_seconds_sum{source="tx"}'] == 70.0059
    assert {name: value for name, value in found.items() if "servable" not in name} == {
        'asof_stream_events_total{source="tx"}': 6.0,
        'asof_stream_dead_total{source="tx"}': 2.0,
        'asof_stream_late_total{source="tx",view="v"}': 2.0,
        'asof_stream_repeated_total{source="tx",view="v"}': 1.0,
        'asof_stream_conflicts_total{source="tx",view="v"}': 1.0,
        'asof_stream_records_written_total{source="tx",view="v"}': 3.0,
        'asof_stream_lag_events{partition="0",source="tx"}': 2.0,
        'asof_stream_lag_seconds{partition="0",source="tx"}': 1.5,
        'asof_stream_freshness_seconds{source="tx",view="v"}': 1.5,
        'asof_stream_freshness_objective_seconds{source="tx",view="v"}': 60.0,
    }


def test_a_port_that_is_taken_is_told_with_the_cure():
    server = metrics().serve(0)
    try:
        with pytest.raises(BackendError, match=f"cannot be served on port {server.port}") as caught:
            metrics().serve(server.port)
        assert caught.value.hint == "another --metrics-port"
    finally:
        server.close()


def test_every_metric_has_a_row_with_its_labels():
    rows = table(REFERENCE / "http-api.md", "metric of a worker")
    told = {code(row["metric of a worker"])[0]: (code(row["labels"]), row["meaning"]) for row in rows}
    known = {
        family.name + ("_total" if family.type == "counter" else ""): (
            list(family.samples[0].labels), family.documentation
        )
        for family in metrics().collect()
    }  # fmt: skip
    known = {
        name: ([each for each in labels if each != "le"], text) for name, (labels, text) in known.items()
    }
    assert told == known
