"""The contract of appending and reading against the brokers that librdkafka itself simulates: no server is needed."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest
from confluent_kafka import Producer

from asof.define.stream import Kafka
from asof.streams.kafka import KafkaStream
from asof.testing.streams import AppendContract, ReadContract


@pytest.fixture(scope="module")
def servers() -> Iterator[str]:
    """The address of brokers that live as long as their client."""
    client = Producer({"bootstrap.servers": "none", "test.mock.num.brokers": 3, "log_level": 0})
    yield ",".join(f"{each.host}:{each.port}" for each in client.list_topics(timeout=10).brokers.values())
    del client


@pytest.fixture
def stream(servers: str) -> Iterator[KafkaStream]:
    topic = f"t{secrets.token_hex(8)}"
    maker = Producer({"bootstrap.servers": servers, "log_level": 0})
    for partition in range(4):
        maker.produce(topic, b'{"n":-1}', partition=partition)  # a topic is there once something is in it
    assert maker.flush(10) == 0
    stream = KafkaStream(Kafka(topic, servers=servers))
    yield stream
    stream.close()


class TestAppendAndRead(AppendContract, ReadContract):
    repeats = False
    test_an_instant_finds_the_first_event_since_then = None  # these brokers do not look at times
