"""A topic of Apache Kafka, or of what speaks its protocol, as a stream.

Offsets have gaps (compaction, transactions and their marks), so that a difference of two is no number of events. Only
what transactions have committed is read. Settings: `kafka_settings.py`; Avro: `avro.py`.
"""

from __future__ import annotations

from typing import Any

from asof.define.stream import Kafka
from asof.errors import ConfigError
from asof.streams.avro import AvroDecoder
from asof.streams.kafka_append import Appender, max_event_bytes
from asof.streams.kafka_client import KafkaClient
from asof.streams.kafka_follow import KafkaFollower
from asof.streams.kafka_read import Reader
from asof.streams.kafka_settings import resolve
from asof.streams.kafka_topic import create_topic, list_offsets
from asof.streams.stream import Appended, Capabilities, Chunk, Ends, Form, Outgoing


class KafkaStream:
    """The messages of one topic. Nothing is connected before the first call.

    Args:
        kafka: the topic.
        timeout_s: no call waits for much longer.

    Raises:
        ConfigError: settings are wrong, or a secret is not where its reference points.
    """

    def __init__(self, kafka: Kafka, *, timeout_s: float = 10.0) -> None:
        self._form: Form = kafka.format
        self._client = KafkaClient(kafka, timeout_s)
        self._appender = Appender(self._client, kafka.format)
        self._reader = Reader(self._client, kafka.format)
        self._capabilities = Capabilities(
            embedded=False, dense=False, whole_batches=False, max_event_bytes=max_event_bytes(self._client)
        )
        self._known: list[int] = []

    @property
    def capabilities(self) -> Capabilities:
        """Brokers; a message for each event, and gaps between offsets."""
        return self._capabilities

    def append(self, batch: Outgoing) -> Appended:
        """Appends a message for each event; each is on all replicas in sync when this returns.

        The driver repeats what the brokers did not acknowledge, and no event is there twice by that. But Kafka
        remembers no idempotency keys: where this raises, some of the events may be there, and a batch that is appended
        again is there again. Its key is written as the header `idempotency-key`; events with an id of their own are
        told apart by it.

        Raises:
            BackendError: brokers are away or refuse (`retryable` says which), the topic is not there, events are of
                another form than the topic's, or one is too large (carries `size_bytes`; nothing was sent then).
        """
        return self._appender.append(batch)

    def ends(self) -> dict[int, Ends]:
        """Each partition and what it holds; `next` lies after marks of transactions, too."""
        self._known = self._client.partitions()
        return self._ends(self._known)

    def read(self, partition: int, offset: int, most: int) -> list[Chunk]:
        """About `most` events from an offset on, or from the first that is still there; empty at the end."""
        self._check(partition)
        if chunks := self._reader.read(partition, max(0, offset), most):
            return chunks
        first = self._ends([partition])[partition].first
        return self._reader.read(partition, first, most) if offset < first else []

    def find(self, partition: int, at_us: int) -> int:
        """The offset of the first event whose stamp is an instant or later; the next offset where there is none."""
        self._check(partition)
        at_ms = -(-at_us // 1_000)
        if at_ms <= 0:
            return self._ends([partition])[partition].first
        (found,) = list_offsets(self._client, [partition], at_ms).values()
        return found.offset if found.offset >= 0 else self._ends([partition])[partition].next

    def follow(self, group: str) -> KafkaFollower:
        """Joins a consumer group, whose partitions Kafka deals out (cooperatively, so that others go on meanwhile).

        A worker that is gone without leaving is missed after `session.timeout.ms` (10 s, unless settings say another).
        """
        self._client.usable()
        self._client.partitions()
        return KafkaFollower(self._client, group, self._form, self._ends)

    def close(self) -> None:
        """Lets go of connections; followers are closed by who has them."""
        self._client.close()
        self._appender.close()
        self._reader.close()

    def _ends(self, partitions: list[int]) -> dict[int, Ends]:
        first, after, newest = (
            list_offsets(self._client, partitions, what) for what in ("earliest", "latest", "newest")
        )
        return {
            p: Ends(
                first[p].offset,
                after[p].offset,
                _stamp_us(newest[p], empty=first[p].offset >= after[p].offset),
            )
            for p in partitions
        }

    def _check(self, partition: int) -> None:
        """Whether there is such a partition; topics may be given more of them."""
        self._client.usable()
        if partition not in self._known:
            self._known = self._client.partitions()
        if partition not in self._known:
            raise self._client.refused(f"there is no partition {partition}", partition=partition)


def _stamp_us(newest: Any, *, empty: bool) -> int | None:
    return None if empty or newest.timestamp < 0 else newest.timestamp * 1_000


def dead_letter_stream(kafka: Kafka, *, timeout_s: float = 10.0) -> KafkaStream:
    """The topic for events of another that cannot be used: JSON, and named `dead_letters` or `<topic>.dead-letters`."""
    return KafkaStream(dead_letters_of(kafka), timeout_s=timeout_s)


def dead_letters_of(kafka: Kafka) -> Kafka:
    """The definition of the dead letters' topic.

    Example:
        >>> dead_letters_of(Kafka("tx", format="avro", registry="http://r")).topic
        'tx.dead-letters'
    """
    topic = kafka.dead_letters or f"{kafka.topic}.dead-letters"
    return Kafka(topic, servers=kafka.servers, settings=dict(kafka.settings))


def avro_decoder(kafka: Kafka, *, timeout_s: float = 5.0) -> AvroDecoder:
    """What reads the events of a topic of Avro, with the settings `schema.registry.*` of its definition.

    Raises:
        ConfigError: the definition names no registry, or settings are wrong.
    """
    if kafka.registry is None:
        raise ConfigError(f"stream {kafka.topic!r}: no registry", hint="registry= in Kafka")
    return AvroDecoder(kafka.registry, resolve(kafka, registry=True).values, timeout_s=timeout_s)


def ensure_topic(
    kafka: Kafka, partitions: int = 1, *, replicas: int | None = None, timeout_s: float = 10.0
) -> bool:
    """Makes the topic if it is not there, with stamps that the brokers set; whether it was made.

    Args:
        kafka: the topic; one that is there already is left as it is.
        partitions: how many parts it has.
        replicas: how many brokers hold each; None: what the brokers have as their default.
        timeout_s: how long this may take.

    Raises:
        BackendError: the brokers are away or refuse. ConfigError: settings are wrong.
    """
    client = KafkaClient(kafka, timeout_s)
    try:
        return create_topic(client, partitions, replicas)
    finally:
        client.close()
