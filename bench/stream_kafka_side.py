"""The other side of `stream_kafka`, warm in a process of its own."""

from __future__ import annotations

import time
import uuid
from pathlib import Path
from typing import Any

import numpy as np

from bench import stream_data, stream_sides
from bench.worker import memory

_WAIT_S, _LONGEST_S = 0.05, 300.0


class DecodeTopic:
    """The floor: confluent-kafka consumes the same messages, and they are decoded to Arrow columns.

    Args:
        folder: for the project that says what events are.
        rows: how many messages there are.
        stream: the arguments of the topic's definition.
    """

    def __init__(self, folder: str, rows: int, stream: dict[str, Any]) -> None:
        from asof.clock import from_us
        from asof.testing.clock import FakeClock

        self.rows, self.stream = rows, stream
        clock = FakeClock(from_us(stream_data.END_US))
        self.schema = stream_sides.schema(
            stream_data.project(Path(folder), stream_sides.definition(**stream), clock)
        )

    def run(self) -> dict[str, Any]:
        """All messages, from joining a new group to the last."""
        from confluent_kafka import Consumer

        settings = {
            "bootstrap.servers": self.stream["servers"], "group.id": f"bench-{uuid.uuid4()}",
            "auto.offset.reset": "earliest", "enable.auto.commit": False,
        }  # fmt: skip
        cpu, started = time.process_time(), time.perf_counter()
        consumer, events = Consumer(settings), 0
        consumer.subscribe([self.stream["topic"]])
        while events < self.rows and time.perf_counter() - started < _LONGEST_S:
            events += self._decoded(consumer.consume(stream_data.BATCH, _WAIT_S))
        seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu
        consumer.close()
        return {"seconds": seconds, "cpu_seconds": cpu_seconds, "events": events, **memory()}

    def _decoded(self, messages: list[Any]) -> int:
        from asof.streams.decode import decode
        from asof.streams.stream import Chunk

        if not messages:
            return 0
        offsets = np.array([each.offset() for each in messages])
        stamps_us = np.array([each.timestamp()[1] for each in messages]) * 1_000
        events = [each.value() for each in messages]
        return decode(Chunk(0, offsets, stamps_us, "json", events=events), self.schema).table.num_rows
