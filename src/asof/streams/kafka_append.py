"""Appending to a topic: one idempotent producer, which threads share."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any

import msgspec
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from asof.errors import BackendError
from asof.streams.kafka_client import KafkaClient, Trouble
from asof.streams.kafka_errors import is_retryable
from asof.streams.stream import Appended, Form, Outgoing

OVERHEAD_BYTES = 1_024
"""A message is larger than its event by its key, its headers and what frames it."""
_DEFAULT_MAX_BYTES = 1_000_000
_STEP_S = 0.1
_TURN_S = 0.005
_RAWS = msgspec.json.Decoder(list[msgspec.Raw])
_RAW = msgspec.json.Decoder(msgspec.Raw)


def max_event_bytes(client: KafkaClient) -> int:
    """The largest event that the driver is allowed to send."""
    return client.setting("message.max.bytes", _DEFAULT_MAX_BYTES) - OVERHEAD_BYTES


class _Batch:
    """What has become of the messages of one append."""

    def __init__(self, count: int) -> None:
        self.left = count
        self.done = threading.Event()
        self.errors: list[KafkaError] = []
        self.places: dict[int, tuple[int, int]] = {}

    def delivered(self, error: KafkaError | None, message: Message) -> None:
        """The driver's callback, called once for each message."""
        if error is not None:
            self.errors.append(error)
        else:
            partition, offset = message.partition(), message.offset()
            if partition is not None and offset is not None:
                first, count = self.places.get(partition, (offset, 0))
                self.places[partition] = (min(first, offset), count + 1)
        self.left -= 1
        if not self.left:
            self.done.set()


class Appender:
    """The producer of a topic, made when it is first needed; safe to share between threads."""

    def __init__(self, client: KafkaClient, form: Form) -> None:
        self._client = client
        self._form = form
        self._most = max_event_bytes(client)
        self._trouble = Trouble()
        self._making = threading.Lock()
        self._serving = threading.Lock()
        self._producer: Producer | None = None

    def append(self, batch: Outgoing) -> Appended:
        """Sends all messages and waits until each is on all replicas; see `KafkaStream.append`."""
        self._client.usable()
        events = self._events(batch)
        if not events:
            return Appended(0)
        producer = self._open()
        sent = _Batch(len(events))
        deadline_s = time.monotonic() + self._client.timeout_s
        try:
            self._send(producer, batch, events, sent, deadline_s)
            self._wait(producer, sent, deadline_s)
        except KafkaException as error:
            self._drop_if_dead(error.args[0])
            raise self._client.translated(error.args[0], self._trouble) from error
        if sent.errors or sent.left:
            raise self._failure(sent, len(events))
        return Appended(len(events), sent.places)

    def close(self) -> None:
        """Lets the producer go; no append is waiting for it."""
        with self._making:
            self._producer = None

    def _open(self) -> Producer:
        producer = self._producer
        if producer is None:
            with self._making:
                self._client.usable()
                if self._producer is None:
                    self._client.partitions()  # else the driver would wait for a topic that is not there
                    wait_ms = str(max(500, int(self._client.timeout_s * 800)))
                    self._producer = self._client.producer(
                        self._trouble,
                        linger_ms="0",
                        partitioner="murmur2_random",
                        message_timeout_ms=wait_ms,
                        request_timeout_ms=wait_ms,
                    )
                producer = self._producer
        return producer

    def _events(self, batch: Outgoing) -> Sequence[bytes | memoryview]:
        """The messages of a batch, none of which is too large."""
        if batch.form != self._form:
            raise self._client.refused(
                f"its messages are {self._form}, and the events are {batch.form}",
                hint="events of Kafka are JSON objects, or Avro with the schema's number before it",
            )
        events = batch.events if batch.body is None else self._split(batch.body)
        if events is None or len(events) != batch.count:
            raise self._client.refused("a batch holds another number of events than it says")
        if batch.keys is not None and len(batch.keys) != batch.count:
            raise self._client.refused("a batch has another number of keys than events")
        for event in events:
            if len(event) > self._most:
                raise self._client.refused(
                    f"an event of {len(event):,} bytes is larger than {self._most:,}",
                    hint="message.max.bytes in settings, and max.message.bytes of the topic",
                    size_bytes=len(event),
                )
        return events

    def _split(self, body: bytes) -> Sequence[bytes]:
        if self._form != "json":
            raise self._client.refused("Avro events are appended one by one")
        try:
            if body.lstrip()[:1] == b"[":
                return [bytes(each) for each in _RAWS.decode(body)]
            return [bytes(each) for each in _RAW.decode_lines(body)]
        except msgspec.DecodeError:
            raise self._client.refused("a body is neither a JSON array nor JSON lines") from None

    def _send(
        self,
        producer: Producer,
        batch: Outgoing,
        events: Sequence[Any],
        sent: _Batch,
        deadline_s: float,
    ) -> None:
        keys = batch.keys
        more: dict[str, Any] = {"on_delivery": sent.delivered}
        if batch.idempotency_key is not None:
            more["headers"] = [("idempotency-key", batch.idempotency_key.encode())]
        topic = self._client.topic
        for number, event in enumerate(events):
            while True:
                try:
                    producer.produce(topic, event, None if keys is None else keys[number], **more)
                    break
                except BufferError:  # the driver's queue is full: of our messages, or of others'
                    if time.monotonic() > deadline_s:
                        raise KafkaException(KafkaError(KafkaError._QUEUE_FULL)) from None  # noqa: SLF001 - its name
                    producer.poll(_TURN_S)

    def _wait(self, producer: Producer, sent: _Batch, deadline_s: float) -> None:
        """Until the last callback. One thread at a time serves the callbacks of all."""
        while not sent.done.is_set():
            left_s = deadline_s - time.monotonic()
            if left_s <= 0:
                return
            if self._serving.acquire(blocking=False):
                try:
                    producer.poll(min(_STEP_S, left_s))
                finally:
                    self._serving.release()
            else:
                sent.done.wait(min(_TURN_S, left_s))

    def _failure(self, sent: _Batch, count: int) -> BackendError:
        worst = next((each for each in sent.errors if not is_retryable(each)), None)
        error = worst or next(iter(sent.errors), KafkaError(KafkaError._TIMED_OUT))  # noqa: SLF001 - its name
        self._drop_if_dead(error)
        failure = self._client.translated(error, self._trouble)
        missing = len(sent.errors) + sent.left
        failure.message += f"; {missing:,} of {count:,} events are not known to be there"
        return failure

    def _drop_if_dead(self, error: KafkaError) -> None:
        """A producer that met a fatal error takes no more messages: the next append makes another."""
        if error.fatal():
            with self._making:
                self._producer = None
