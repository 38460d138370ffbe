"""What brokers are asked of a topic: where its partitions begin and end; and the making of one."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from typing import Any, Literal

from confluent_kafka import IsolationLevel, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic, OffsetSpec  # pyright: ignore[reportPrivateImportUsage] - documented there

from asof.errors import BackendError
from asof.streams.kafka_client import KafkaClient

What = Literal["earliest", "latest", "newest"] | int
_PAUSE_S = 0.05
_TAKEN_BY_BROKER = {"message.timestamp.type": "LogAppendTime"}


def list_offsets(client: KafkaClient, partitions: Sequence[int], what: What) -> dict[int, Any]:
    """For each partition an offset and its time: the first, the one after the last that may be read, that with the
    newest time, or the first since a time in milliseconds (-1: there is none).

    Raises:
        BackendError: the brokers are away, or refuse.
    """
    spec = _spec(what)
    asked = {TopicPartition(client.topic, partition): spec for partition in partitions}

    def ask(admin: AdminClient) -> Iterable[Future[Any]]:
        return admin.list_offsets(asked, isolation_level=IsolationLevel.READ_COMMITTED).values()

    found = client.ask(ask)
    return dict(zip(partitions, found, strict=True))


def _spec(what: What) -> Any:
    if isinstance(what, int):
        return OffsetSpec.for_timestamp(what)
    makers = {
        "earliest": OffsetSpec.earliest,
        "latest": OffsetSpec.latest,
        "newest": OffsetSpec.max_timestamp,
    }
    return makers[what]()


def create_topic(client: KafkaClient, partitions: int, replicas: int | None) -> bool:
    """Makes the topic, unless it is there; whether it was made.

    Raises:
        BackendError: the brokers are away, or refuse.
    """
    topic = NewTopic(client.topic, partitions, -1 if replicas is None else replicas, config=_TAKEN_BY_BROKER)

    def ask(admin: AdminClient) -> Iterable[Future[Any]]:
        return admin.create_topics([topic]).values()

    try:
        client.ask(ask)
    except BackendError as error:
        if error.facts.get("reason") == "TOPIC_ALREADY_EXISTS":
            return False
        raise
    _await_topic(client)
    return True


def _await_topic(client: KafkaClient) -> None:
    """Until all brokers that are asked know the topic and the leaders of its partitions."""
    deadline_s = time.monotonic() + client.timeout_s
    while True:
        try:
            list_offsets(client, client.partitions(), "latest")
        except BackendError as error:
            if error.facts.get("reason") != "UNKNOWN_TOPIC_OR_PART" or time.monotonic() > deadline_s:
                raise
        else:
            return
        time.sleep(_PAUSE_S)
