"""Messages of Kafka as chunks."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from confluent_kafka import KafkaError, Message

from asof.streams.stream import Chunk, Form


def chunks_of(messages: Iterable[Message], form: Form) -> tuple[list[Chunk], list[tuple[int, KafkaError]]]:
    """One chunk for each partition, and the errors among the messages with their partitions.

    A message without a value (a tombstone) is an event without bytes. The stamp is the message's own time, whoever set
    it: the producer, or the broker where the topic's `message.timestamp.type` is LogAppendTime.
    """
    found: dict[int, tuple[list[int], list[int], list[bytes]]] = {}
    errors: list[tuple[int, KafkaError]] = []
    partition, columns = -1, ([], [], [])
    for message in messages:
        error = message.error()
        if error is not None:
            errors.append((message.partition() or 0, error))
            continue
        if message.partition() != partition:
            partition = message.partition() or 0
            columns = found.setdefault(partition, ([], [], []))
        columns[0].append(message.offset() or 0)
        columns[1].append(message.timestamp()[1])
        columns[2].append(message.value() or b"")
    return [
        Chunk(part, np.array(offsets, np.int64), np.array(stamps_ms, np.int64) * 1_000, form, events=events)
        for part, (offsets, stamps_ms, events) in found.items()
    ], errors
