"""Opens a topic of Kafka: the entry point `Kafka` of `asof.streams`."""

from __future__ import annotations

from pathlib import Path

from asof.clock import Clock
from asof.define.stream import Kafka
from asof.streams.kafka import KafkaStream


def open_kafka(definition: Kafka, *, folder: Path, clock: Clock) -> KafkaStream:
    """The topic; nothing of it lies in the project's folder."""
    del folder, clock
    return KafkaStream(definition)
