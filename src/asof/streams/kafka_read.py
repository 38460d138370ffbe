"""Reading a topic without a group: one consumer, which reads from wherever it is told."""

from __future__ import annotations

import threading
import time

from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from asof.streams.kafka_chunks import chunks_of
from asof.streams.kafka_client import KafkaClient, Trouble
from asof.streams.stream import Chunk, Form

_STEP_S = 0.1
_MOST = 1_000_000  # the driver takes no more


class Reader:
    """The consumer of a topic, made when it is first needed; threads take turns."""

    def __init__(self, client: KafkaClient, form: Form) -> None:
        self._client = client
        self._form: Form = form
        self._trouble = Trouble()
        self._lock = threading.Lock()
        self._consumer: Consumer | None = None

    def read(self, partition: int, offset: int, most: int) -> list[Chunk]:
        """About so many events from an offset that is there; empty at the end."""
        with self._lock:
            self._client.usable()
            if self._consumer is None:
                self._consumer = self._client.consumer(
                    self._trouble, "asof-read", enable_partition_eof="true", fetch_wait_max_ms="10"
                )
            consumer = self._consumer
            place = TopicPartition(self._client.topic, partition, offset)
            self._client.run(lambda: consumer.assign([place]), self._trouble)
            try:
                return self._take(consumer, most)
            finally:
                self._client.run(consumer.unassign, self._trouble)

    def close(self) -> None:
        """Lets the consumer go, after whoever reads just now."""
        with self._lock:
            consumer, self._consumer = self._consumer, None
        if consumer is not None:
            consumer.close()

    def _take(self, consumer: Consumer, most: int) -> list[Chunk]:
        deadline_s = time.monotonic() + self._client.timeout_s
        while (left_s := deadline_s - time.monotonic()) > 0:
            first = self._client.run(lambda left_s=left_s: consumer.poll(min(_STEP_S, left_s)), self._trouble)
            if first is None:
                continue
            messages: list[Message] = [first]
            if first.error() is None and most > 1:
                messages += self._client.run(
                    lambda: consumer.consume(min(most, _MOST) - 1, 0.0), self._trouble
                )
            chunks, errors = chunks_of(messages, self._form)
            if chunks:
                return chunks
            for _, error in errors:
                if error.code() in {KafkaError._PARTITION_EOF, KafkaError._AUTO_OFFSET_RESET}:  # noqa: SLF001 - names
                    return []
                raise self._client.translated(error, self._trouble)
        raise self._client.translated(KafkaError(KafkaError._TIMED_OUT), self._trouble)  # noqa: SLF001 - its name
