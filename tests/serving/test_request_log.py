"""The server's log of requests: what `asof skew` replays, written beside the requests."""

from __future__ import annotations

from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pytest
from prometheus_client import CollectorRegistry, Counter

from asof.flows.answer import Answer
from asof.flows.request_log import RequestLog, read_log
from asof.serving import request_sink
from asof.serving.request_sink import RequestSink
from asof.types import DType


def answer(value: int) -> Answer:
    return Answer(
        "risk", 1_000_000, ("n",), (DType("int64"),), np.array([[value]]), np.array([[True]]),
        np.zeros((1, 1), np.uint8),
    )  # fmt: skip


def counter() -> Counter:
    return Counter("lost", "lost", registry=CollectorRegistry())


def test_every_read_is_in_the_log_when_it_is_closed(tmp_path: Path) -> None:
    sink = RequestSink(tmp_path, 1.0, counter())
    for value in range(5):
        sink("risk", {"account": [f"a{value}"]}, {"amount": [1.5]}, answer(value))
    sink.close()
    rows = read_log(tmp_path, "risk")
    assert rows["key:account"].to_pylist() == ["a0", "a1", "a2", "a3", "a4"]
    assert rows["value:n"].to_pylist() == [0, 1, 2, 3, 4]
    assert rows["request:amount"].to_pylist() == [1.5] * 5


def test_a_share_of_nothing_keeps_nothing(tmp_path: Path) -> None:
    sink = RequestSink(tmp_path, 0.0, counter())
    sink("risk", {"account": ["a"]}, None, answer(1))
    sink.close()
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_fails_costs_reads_of_the_log_and_nothing_else(tmp_path: Path) -> None:
    blocked = tmp_path / "blocked"
    blocked.write_text("a file where the folder should be")
    lost = counter()
    sink = RequestSink(blocked, 1.0, lost)
    for value in range(3):
        sink("risk", {"account": ["a"]}, None, answer(value))
    sink.close()
    assert lost._value.get() == 3


def test_a_batch_that_cannot_be_written_is_counted_read_by_read_and_the_next_one_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(request_sink, "_BATCH_ROWS", 2)
    folder, lost = tmp_path / "log", counter()
    folder.write_text("a file where the folder should be")
    sink = RequestSink(folder, 1.0, lost)
    for value in range(2):
        sink("risk", {"account": ["a"]}, None, answer(value))
    for _ in range(500):
        if lost._value.get() == 2:
            break
        Event().wait(0.01)
    folder.unlink()
    sink("risk", {"account": ["a"]}, None, answer(7))
    sink.close()
    assert lost._value.get() == 2
    assert read_log(folder, "risk")["value:n"].to_pylist() == [7]


def test_the_servers_own_log_quotes_no_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def write(_log: RequestLog, _service: str, entities: Any, *_rest: Any) -> None:
        raise ValueError(f"no column for {entities}")

    monkeypatch.setattr(RequestLog, "write", write)
    lost = counter()
    sink = RequestSink(tmp_path, 1.0, lost)
    sink("risk", {"account": ["secret-4711"]}, None, answer(1))
    sink.close()
    assert lost._value.get() == 1
    assert "ValueError" in caplog.text
    assert "4711" not in caplog.text
