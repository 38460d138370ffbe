"""Producers and workers of a stream, killed at random moments: every event counts once."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path
from typing import Any

import pytest

from asof.clock import SystemClock, format_time
from asof.flows.project import Project
from asof.flows.push import push
from asof.flows.stream_checkpoint import Checkpoints
from asof.flows.stream_open import open_source_stream
from asof.online.store import OnlineStore
from tests.flows.stream_kills import (
    ACCOUNTS,
    DEVICES,
    PER_BATCH,
    Processes,
    batch_of,
    check_checkpoints,
    expected,
    landed_rows,
    processes,
    project_of,
    store_of,
)

SOAK = os.environ.get("ASOF_HYPOTHESIS_PROFILE") == "soak"
PATIENCE_S = 120.0


def kill_at_random(running: Processes, project: Project, store: OnlineStore, times: int) -> None:
    """Kills a worker or the producer, looks at what is there, and starts another; materializes now and then."""
    draw = random.Random(11)
    for number in range(times):
        time.sleep(draw.uniform(0.0, 0.6))  # the random moment
        what = running.kill(draw.choice(list(running.running)))
        check_checkpoints(project, store)
        if number % 4 == 1:
            project.materialize(store=store, whole=number % 8 == 1)
        running.start(what)


def wait_for_all(project: Project, store: OnlineStore, source: Any) -> None:
    """Until the checkpoints tell that all of the stream is done."""
    stream, until = open_source_stream(project, source), time.monotonic() + PATIENCE_S
    try:
        while True:
            ends = {partition: each.next for partition, each in stream.ends().items()}
            done = {partition: each.next for partition, each in Checkpoints(store, "tx").all().items()}
            if all(done.get(partition, 0) >= end for partition, end in ends.items()):
                return
            assert time.monotonic() < until, (done, ends)
            time.sleep(0.05)
    finally:
        stream.close()


def kills(folder: Path, stream: str, times: int) -> None:
    """A story of so many kills, and what has to be true after it."""
    project, store = project_of(folder, stream), store_of(folder)
    source = project.definitions.get("feature_view", "by_account").source
    project.materialize(store=store)
    with processes(folder, stream) as running:
        for what in ("push", "work", "work"):
            running.start(what)
        until = time.monotonic() + PATIENCE_S
        while check_checkpoints(project, store) < 10:  # they all have come to work
            assert time.monotonic() < until
            time.sleep(0.05)
        kill_at_random(running, project, store, times)
        for pid, what in list(running.running.items()):
            if what == "push":
                running.kill(pid)
        finish_batch(project, running.pushed)
        batches = running.pushed + 1
        wait_for_all(project, store, source)
    rows = landed_rows(project)
    check_checkpoints(project, store)
    if stream == "log":
        assert len(rows) == PER_BATCH * batches
    for name, count in (("account", ACCOUNTS), ("device", DEVICES)):
        entities = [f"{name[0]}{n}" for n in range(count)]
        found = project.online(store=store).read(f"by_{name}", {name: entities}).rows()
        wanted = expected(batches)
        assert [tuple(row.values()) for row in found] == [wanted.get(each, (0, 0)) for each in entities]
    store.close()


def finish_batch(project: Project, number: int) -> None:
    """The batch that the last producer was killed with may be there or not; after this it is."""
    at = format_time(SystemClock().now_us())
    push(project, "tx", [{**row, "at": at} for row in batch_of(number)], idempotency_key=f"batch-{number}")


def test_every_event_counts_once_whoever_is_killed(tmp_path):
    kills(tmp_path, "log", 10)


@pytest.mark.service("kafka")
def test_every_event_of_a_topic_counts_once_whoever_is_killed(tmp_path, kafka):
    kills(tmp_path, f"{kafka.new_topic(3)}@{kafka.servers}", 4)


@pytest.mark.skipif(not SOAK, reason="200 kills are for `make soak`")
def test_every_event_counts_once_after_two_hundred_kills(tmp_path):
    kills(tmp_path, "log", 200)
