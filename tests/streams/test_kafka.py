"""A topic of a real Kafka broker: the contract, and what is Kafka's own."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, KafkaError, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from asof.define.stream import Kafka
from asof.errors import BackendError, ConfigError
from asof.streams.kafka import KafkaStream, dead_letter_stream, ensure_topic
from asof.streams.kafka_errors import FINAL_ON_THE_WAY, RETRYABLE, SETTLING
from asof.streams.stream import Outgoing
from asof.testing.streams import (
    Reader,
    StreamContract,
    failure_of,
    new_group,
    nexts,
    numbers_since,
    outgoing,
    poll_until,
)
from tests.services import Kafka as Broker

pytestmark = pytest.mark.service("kafka")
QUIET = {"log_level": 0}


@pytest.fixture
def topic(kafka: Broker) -> str:
    return kafka.new_topic(4)


@pytest.fixture
def stream(kafka: Broker, topic: str) -> Iterator[KafkaStream]:
    stream = KafkaStream(Kafka(topic, servers=kafka.servers))
    yield stream
    stream.close()


@pytest.fixture
def one(kafka: Broker) -> Iterator[KafkaStream]:
    """A topic of one partition."""
    stream = KafkaStream(Kafka(kafka.new_topic(), servers=kafka.servers))
    yield stream
    stream.close()


def values(stream: KafkaStream, partition: int = 0, offset: int = 0) -> list[bytes]:
    return [event for chunk in stream.read(partition, offset, 1_000) for event in chunk.events]


def topic_of(stream: KafkaStream) -> str:
    return stream._client.topic


class TestContract(StreamContract):
    repeats = False


@pytest.mark.parametrize("body", [b' [ {"n":1} , {"n":2},{"n":3} ]\n', b'{"n":1}\n{"n":2}\n\n{"n":3}'])
def test_a_body_of_json_becomes_a_message_for_each_event(one: KafkaStream, body: bytes):
    assert one.append(Outgoing(3, "json", body=body)).places == {0: (0, 3)}
    assert values(one) == [b'{"n":1}', b'{"n":2}', b'{"n":3}']


@pytest.mark.parametrize(
    ("batch", "said"),
    [
        (Outgoing(1, "arrow", body=b"..."), "its messages are json, and the events are arrow"),
        (Outgoing(1, "avro", events=[b"..."]), "its messages are json, and the events are avro"),
        (Outgoing(2, "json", events=[b"{}"]), "another number of events than it says"),
        (Outgoing(1, "json", events=[b"{}"], keys=[]), "another number of keys than events"),
        (Outgoing(1, "json", body=b'{"secret"'), "a body is neither a JSON array nor JSON lines"),
    ],
)
def test_a_batch_that_does_not_fit_is_refused_and_nothing_of_it_is_sent(
    one: KafkaStream, batch: Outgoing, said: str
):
    error = failure_of(lambda: one.append(batch))
    assert said in error.message
    assert "secret" not in str(error)
    assert not error.retryable
    assert nexts(one) == {0: 0}


def test_an_idempotency_key_is_a_header_and_a_key_is_the_message_key(kafka: Broker, one: KafkaStream):
    one.append(Outgoing(1, "json", events=[b"{}"], keys=[b"ann"], idempotency_key="b-1"))
    consumer = Consumer({"bootstrap.servers": kafka.servers, "group.id": "x", **QUIET})
    consumer.assign([TopicPartition(topic_of(one), 0, 0)])
    message = consumer.poll(10)
    consumer.close()
    assert message is not None
    assert (message.key(), message.value(), message.headers()) == (
        b"ann",
        b"{}",
        [("idempotency-key", b"b-1")],
    )


def test_keys_choose_the_partitions_that_java_clients_choose(stream: KafkaStream):
    # murmur2 of Kafka's own tests: "21" -> -973932308, "foobar" -> -790332482; the sign bit is cut off.
    for key, hashed in ((b"21", -973932308), (b"foobar", -790332482)):
        (partition,) = stream.append(Outgoing(1, "json", events=[b"{}"], keys=[key])).places
        assert partition == (hashed & 0x7FFFFFFF) % 4


def test_a_tombstone_is_an_event_without_bytes(kafka: Broker, one: KafkaStream):
    producer = Producer({"bootstrap.servers": kafka.servers, **QUIET})
    producer.produce(topic_of(one), None, b"ann")
    producer.produce(topic_of(one), b"{}", b"ann")
    assert producer.flush(10) == 0
    assert values(one) == [b"", b"{}"]


def test_what_a_transaction_did_not_commit_is_passed_over(kafka: Broker, one: KafkaStream):
    settings = {"bootstrap.servers": kafka.servers, "transactional.id": new_group(), **QUIET}
    producer = Producer(settings)
    producer.init_transactions(10)
    for number, commit in ((1, True), (2, False), (3, True)):
        producer.begin_transaction()
        producer.produce(topic_of(one), b'{"n":%d}' % number)
        producer.flush(10)
        (producer.commit_transaction if commit else producer.abort_transaction)(10)
    # Three events and three marks of transactions.
    assert one.ends()[0].next == 6
    (chunk,) = one.read(0, 0, 100)
    assert (chunk.events, chunk.offsets.tolist()) == ([b'{"n":1}', b'{"n":3}'], [0, 4])
    assert one.read(0, 5, 100) == []
    reader = Reader(one.follow(new_group()), {0: 0})
    poll_until([reader], lambda: len(reader.everything()) >= 2)
    assert reader.everything() == [1, 3]
    reader.follower.close()


def test_an_offset_that_is_gone_is_the_first_that_is_there(kafka: Broker, one: KafkaStream):
    one.append(outgoing(range(10), b"ann"))
    admin = AdminClient({"bootstrap.servers": kafka.servers, **QUIET})
    for each in admin.delete_records([TopicPartition(topic_of(one), 0, 4)]).values():
        each.result(10)
    assert one.ends()[0].first == 4
    assert one.find(0, 0) == 4
    assert numbers_since(one, {0: 1}) == {0: [4, 5, 6, 7, 8, 9]}
    reader = Reader(one.follow(new_group()), {0: 1})
    poll_until([reader], lambda: len(reader.everything()) >= 6)
    assert reader.numbers[0] == [4, 5, 6, 7, 8, 9]
    reader.follower.close()


def test_a_topic_that_ends_before_the_checkpoint_is_told(one: KafkaStream):
    one.append(outgoing(range(3), b"ann"))
    reader = Reader(one.follow(new_group()), {0: 7})
    error = failure_of(lambda: poll_until([reader], lambda: False))
    assert "partition 0 ends at 3, before the offset 7 where it is to go on" in error.message
    assert not error.retryable
    assert not reader.everything()
    reader.follower.close()


def test_a_commit_is_for_others_to_see(kafka: Broker, one: KafkaStream):
    group = new_group()
    one.append(outgoing(range(3), b"ann"))
    reader = Reader(one.follow(group), {0: 0})
    poll_until([reader], lambda: len(reader.everything()) >= 3)
    reader.follower.commit({0: 2})
    reader.follower.commit(reader.next)
    reader.follower.close()
    admin = AdminClient({"bootstrap.servers": kafka.servers, **QUIET})
    asked = [ConsumerGroupTopicPartitions(group, [TopicPartition(topic_of(one), 0)])]
    (found,) = admin.list_consumer_group_offsets(asked)[group].result(10).topic_partitions
    assert found.offset == 3
    # Another follower begins where it is told, nevertheless.
    again = Reader(one.follow(group), {0: 1})
    poll_until([again], lambda: len(again.everything()) >= 2)
    assert again.everything() == [1, 2]
    again.follower.close()


def test_a_follower_that_is_closed_says_so_and_one_that_lost_a_partition_may_still_seek_it(one: KafkaStream):
    follower = one.follow(new_group())
    follower.seek(0, 5)
    follower.commit({0: 5})
    follower.close()
    assert "closed" in failure_of(lambda: follower.poll(0.0, 1)).message


def test_a_topic_that_is_not_there_is_told_by_every_call(kafka: Broker):
    stream = KafkaStream(Kafka("nobody-made-it", servers=kafka.servers))
    calls: list[Callable[[], object]] = [
        lambda: stream.append(outgoing([1])),
        stream.ends,
        lambda: stream.read(0, 0, 1),
        lambda: stream.find(0, 0),
        lambda: stream.follow("g"),
    ]
    for call in calls:
        error = failure_of(call)
        assert (error.retryable, error.facts["reason"]) == (False, "UNKNOWN_TOPIC_OR_PART")
        assert error.hint == "make the topic, or write its name as the brokers have it"
    stream.close()


def test_a_topic_is_made_once_and_has_stamps_of_the_broker(kafka: Broker):
    made = Kafka(f"made-{new_group()}", servers=kafka.servers)
    assert [ensure_topic(made, 3), ensure_topic(made, 5)] == [True, False]
    stream = KafkaStream(made)
    assert nexts(stream) == {0: 0, 1: 0, 2: 0}
    producer = Producer({"bootstrap.servers": kafka.servers, **QUIET})
    producer.produce(made.topic, b"{}", partition=0, timestamp=1_000)
    assert producer.flush(10) == 0
    newest_us = stream.ends()[0].newest_us
    assert newest_us is not None
    assert newest_us > 1_700_000_000_000_000
    stream.close()


def test_dead_letters_are_json_in_a_topic_beside_it(kafka: Broker):
    topic = f"avro-{new_group()}"
    kind = Kafka(topic, servers=kafka.servers, format="avro", registry="http://127.0.0.1:1")
    ensure_topic(Kafka(f"{topic}.dead-letters", servers=kafka.servers))
    stream = dead_letter_stream(kind)
    assert stream.append(outgoing([1])).count == 1
    assert values(stream) == [b'{"n":1,"who":"ann"}']
    stream.close()
    other = dead_letter_stream(Kafka("x", servers=kafka.servers, dead_letters="elsewhere"))
    assert topic_of(other) == "elsewhere"
    other.close()


def test_avro_is_passed_on_as_it_is(kafka: Broker):
    name = kafka.new_topic()
    stream = KafkaStream(Kafka(name, servers=kafka.servers, format="avro", registry="http://127.0.0.1:1"))
    event = b"\x00" + struct.pack(">i", 7) + b"\x02\x04"
    stream.append(Outgoing(1, "avro", events=[event]))
    (chunk,) = stream.read(0, 0, 10)
    assert (chunk.form, chunk.events) == ("avro", [event])
    assert "one by one" in failure_of(lambda: stream.append(Outgoing(1, "avro", body=event))).message
    stream.close()


def sasl(kafka: Broker, password: str) -> Kafka:
    settings = {
        "security.protocol": "SASL_PLAINTEXT",
        "sasl.mechanism": "PLAIN",
        "sasl.username": "asof",
        "sasl.password": password,
    }
    return Kafka(kafka.new_topic(), servers=kafka.sasl_servers, settings=settings)


def test_a_password_is_read_where_its_reference_points(kafka: Broker, tmp_path: Any):
    (tmp_path / "password").write_text("right\n")
    stream = KafkaStream(sasl(kafka, f"file:{tmp_path / 'password'}"))
    stream.append(outgoing([1]))
    assert values(stream) == [b'{"n":1,"who":"ann"}']
    stream.close()


def test_a_wrong_password_is_told_without_the_password(kafka: Broker, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("KAFKA_PASSWORD", "hunter2")
    stream = KafkaStream(sasl(kafka, "env:KAFKA_PASSWORD"), timeout_s=2.0)
    for call in (stream.ends, lambda: stream.append(outgoing([1])), lambda: stream.read(0, 0, 1)):
        error = failure_of(call)
        assert (error.retryable, error.facts["reason"]) == (False, "_AUTHENTICATION")
        assert error.hint == "look at sasl.mechanism, sasl.username and sasl.password in settings"
        assert "hunter2" not in f"{error}{error.facts}{error.__cause__}"
    stream.close()


def test_a_port_that_does_not_speak_tls_is_told(kafka: Broker):
    kind = Kafka("t", servers=kafka.servers, settings={"security.protocol": "SSL"})
    stream = KafkaStream(kind, timeout_s=2.0)
    error = failure_of(stream.ends)
    assert "SSL handshake failed" in error.message
    stream.close()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"sasl.password": "env:NOBODY_HAS_SET_IT"}, "secret env:NOBODY_HAS_SET_IT: nothing is there"),
        ({"enable.auto.commit": "true"}, "'enable.auto.commit' is not for a definition to say"),
        ({"message.max.bytes": "many"}, "'message.max.bytes' is no number"),
    ],
)
def test_wrong_settings_are_told_when_the_stream_is_opened(settings: dict[str, str], said: str):
    with pytest.raises(ConfigError) as caught:
        KafkaStream(Kafka("t", settings=settings))
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"security.protocol": "SSL", "ssl.ca.location": "/nowhere/ca.pem"}, "ssl.ca.location"),
        ({"nothing.like.it": "1"}, "nothing.like.it"),
        ({"socket.timeout.ms": "env:KAFKA_SECRET"}, "socket.timeout.ms"),
    ],
)
def test_settings_that_the_driver_refuses_are_told_by_the_first_call(
    settings: dict[str, str], said: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("KAFKA_SECRET", "hunter2")
    stream = KafkaStream(Kafka("t", settings=settings), timeout_s=1.0)
    with pytest.raises(ConfigError) as caught:
        stream.ends()
    assert said in str(caught.value)
    assert "hunter2" not in f"{caught.value}{caught.value.__cause__}"


def test_the_tables_of_errors_name_errors_that_the_driver_has():
    for names in (RETRYABLE, FINAL_ON_THE_WAY, SETTLING):
        assert {name for name in names if not isinstance(getattr(KafkaError, name, None), int)} == set()
    assert not RETRYABLE & FINAL_ON_THE_WAY
    assert SETTLING <= RETRYABLE


def test_every_error_that_the_driver_calls_retriable_is_retryable_or_named_here():
    final = {"UNKNOWN_TOPIC_OR_PART", "UNKNOWN_TOPIC_ID", "CORRUPT_MESSAGE"}
    codes = [value for name, value in vars(KafkaError).items() if name.isupper() and isinstance(value, int)]
    retriable = {KafkaError(code).name() for code in codes if KafkaError(code).retriable()}
    assert len(codes) > 100
    assert retriable - RETRYABLE - final == set()


def test_a_driver_that_takes_long_is_within_the_deadline_and_may_be_tried_again():
    stream = KafkaStream(Kafka("t", servers="127.0.0.1:1"), timeout_s=1.0)
    for call in (stream.ends, lambda: stream.append(outgoing([1])), lambda: stream.follow("g")):
        error = failure_of(call)
        assert isinstance(error, BackendError)
        assert error.retryable
        assert error.hint is not None
        assert error.hint.startswith("are the brokers running")
    stream.close()
