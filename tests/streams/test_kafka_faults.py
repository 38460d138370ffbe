"""Brokers that hang or end, and workers that do: errors come in time, nothing is lost, and it goes on."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from asof.define.stream import Kafka
from asof.errors import BackendError
from asof.streams.kafka import KafkaStream
from asof.testing.streams import (
    PATIENCE_S,
    Reader,
    failure_of,
    new_group,
    numbers_since,
    outgoing,
    poll_until,
)
from tests.services import Kafka as Broker
from tests.services import kafka_in

pytestmark = pytest.mark.service("kafka")
TIMEOUT_S = 2.0
SETTINGS = {"session.timeout.ms": "2000", "heartbeat.interval.ms": "300"}
KEYS = [b"k%d" % number for number in range(16)]

WORKER = """
import json, sys
from asof.define.stream import Kafka
from asof.streams.kafka import KafkaStream

topic, servers, group, settings = sys.argv[1:]
follower = KafkaStream(Kafka(topic, servers=servers, settings=json.loads(settings))).follow(group)
own = set()
while True:
    polled = follower.poll(0.05, 100)
    for partition in polled.gained:
        follower.seek(partition, 0)
    own = (own - set(polled.lost)) | set(polled.gained)
    if polled.gained or polled.lost:
        print(json.dumps(sorted(own)), flush=True)
"""


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """A broker that tests may stop."""
    server = kafka_in(tmp_path_factory.mktemp("kafka"))
    try:
        server.start()
        yield server
    finally:
        server.stop()


def open_stream(broker: Broker, partitions: int) -> KafkaStream:
    return KafkaStream(
        Kafka(broker.new_topic(partitions), servers=broker.servers, settings=SETTINGS), timeout_s=TIMEOUT_S
    )


def until_it_works(stream: KafkaStream, number: int) -> None:
    """Appends one event as often as it takes; those that are refused must be worth another attempt."""
    for _ in range(int(PATIENCE_S / TIMEOUT_S)):
        if worked(lambda: stream.append(outgoing([number], b"ann"))):
            return
    raise AssertionError("the broker did not come back")


def settle(readers: list[Reader], done: Callable[[], bool]) -> None:
    """Polls while events keep coming, so that no number of polls says how long it takes."""
    deadline_s = time.monotonic() + PATIENCE_S
    while not done():
        assert time.monotonic() < deadline_s, [sorted(each.own) for each in readers]
        for reader in readers:
            reader.poll()


def worked(call: Callable[[], object]) -> bool:
    """Whether a call succeeds; one that does not must be worth another attempt."""
    try:
        call()
    except BackendError as error:
        if not error.retryable:
            raise
        return False
    return True


@pytest.mark.parametrize("fault", ["hangs", "ends"])
def test_a_broker_that_is_away_is_told_in_time_and_all_goes_on_when_it_is_back(own: Broker, fault: str):
    stream = open_stream(own, 1)
    stream.append(outgoing(range(10), b"ann"))
    reader = Reader(stream.follow(new_group()), {0: 0})
    poll_until([reader], lambda: len(reader.everything()) >= 10)
    if fault == "hangs":
        own.signal(signal.SIGSTOP)
    else:
        own.stop()
    try:
        for call in (
            lambda: stream.append(outgoing([100], b"ann")),
            stream.ends,
            lambda: stream.read(0, 0, 1),
        ):
            error = failure_of(call)
            assert error.retryable
            assert error.hint is not None
    finally:
        if fault == "hangs":
            own.signal(signal.SIGCONT)
        else:
            own.start()
    until_it_works(stream, 11)

    def go_on() -> bool:
        return 11 in reader.everything()

    for _ in range(20):
        if worked(lambda: poll_until([reader], go_on)):
            break
    assert go_on()
    found = numbers_since(stream, {0: 0})[0]
    # Whether what was refused came to be there is not known; all else is there, once and in order.
    assert [number for number in found if number not in {11, 100}] == list(range(10))
    assert reader.numbers[0] == found
    reader.follower.close()
    stream.close()


def test_a_follower_tells_that_all_brokers_are_down(own: Broker):
    stream = open_stream(own, 1)
    follower = stream.follow(new_group())
    own.stop()
    try:
        error = None
        for _ in range(int(PATIENCE_S)):
            try:
                follower.poll(1.0, 10)
            except BackendError as raised:
                error = raised
                break
        assert error is not None
        assert error.retryable
    finally:
        own.start()
        follower.close()
        stream.close()


def test_nothing_is_lost_or_doubled_while_followers_come_and_go(kafka: Broker):
    stream = open_stream(kafka, 6)
    group, start = new_group(), dict.fromkeys(range(6), 0)
    stop = threading.Event()
    sent: list[int] = []

    def feed() -> None:
        while not stop.is_set():
            for key in KEYS:
                stream.append(outgoing([len(sent)], key))
                sent.append(len(sent))

    feeder = threading.Thread(target=feed)
    feeder.start()
    places = dict(start)  # where the group is, as checkpoints would say
    readers = [Reader(stream.follow(group), start)]
    readers[0].next = places
    everybody = list(readers)
    try:
        for size in (1, 2, 3, 2, 1):
            while len(readers) < size:
                readers.append(Reader(stream.follow(group), start))
                readers[-1].next = places
                everybody.append(readers[-1])
            while len(readers) > size:
                readers.pop(0).follower.close()
            settle(
                readers,
                lambda: all(each.own for each in readers) and sum(len(each.own) for each in readers) == 6,
            )
    finally:
        stop.set()
        feeder.join()
    settle(readers, lambda: places == {p: ends.next for p, ends in stream.ends().items()})
    for reader in readers:
        reader.follower.close()
    assert sorted(number for each in everybody for number in each.everything()) == list(range(len(sent)))
    stream.close()


def test_followers_that_share_one_checkpoint_get_each_event_once(kafka: Broker):
    stream = open_stream(kafka, 6)
    group, places = new_group(), dict.fromkeys(range(6), 0)
    readers = [Reader(stream.follow(group), places) for _ in range(3)]
    for reader in readers:
        reader.next = places  # every reader begins where the last one stopped, whoever that was
    for first in range(0, 320, 16):
        for number, key in enumerate(KEYS):
            stream.append(outgoing([first + number], key))
        for reader in readers:
            reader.poll(0.0)
    poll_until(readers, lambda: sum(len(reader.everything()) for reader in readers) >= 320)
    assert sorted(number for reader in readers for number in reader.everything()) == list(range(320))
    for reader in readers:
        reader.follower.close()
    stream.close()


def test_the_partitions_of_a_worker_that_is_killed_go_to_the_other(kafka: Broker, tmp_path: Path):
    stream = open_stream(kafka, 4)
    group = new_group()
    command = [sys.executable, "-c", WORKER, stream._client.topic, kafka.servers, group, json.dumps(SETTINGS)]
    with (tmp_path / "errors").open("wb") as errors:
        worker = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors)
    try:
        assert worker.stdout is not None
        assert json.loads(worker.stdout.readline()) == [0, 1, 2, 3]
        reader = Reader(stream.follow(group), dict.fromkeys(range(4), 0))
        poll_until([reader], lambda: len(reader.own) == 2)
    finally:
        worker.kill()
        worker.communicate()
    for number, key in enumerate(KEYS):
        stream.append(outgoing([number], key))
    poll_until([reader], lambda: len(reader.everything()) >= 16)
    assert reader.own == {0, 1, 2, 3}
    assert reader.everything() == list(range(16))
    reader.follower.close()
    stream.close()
