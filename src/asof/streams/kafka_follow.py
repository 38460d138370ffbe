"""A worker's share of a topic: Kafka deals out the partitions, and asof's checkpoints say where each begins.

A partition that the group gives is not assigned to the driver before `seek` has said an offset: so it can give nothing
before. The driver's callbacks run inside of `poll`.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from typing import TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from asof.errors import BackendError
from asof.streams.kafka_chunks import chunks_of
from asof.streams.kafka_client import KafkaClient, Trouble
from asof.streams.stream import Ends, Form, Polled

_T = TypeVar("_T")
_STEP_S = 0.1
_MOST = 1_000_000  # the driver takes no more
_PASSED_OVER = {"_PARTITION_EOF", "_MAX_POLL_EXCEEDED"}  # the second is told by what is lost


class KafkaFollower:
    """One member of a consumer group; see `KafkaStream.follow`."""

    def __init__(
        self, client: KafkaClient, group: str, form: Form, ends: Callable[[list[int]], dict[int, Ends]]
    ) -> None:
        self._client = client
        self._form: Form = form
        self._ends = ends
        self._trouble = Trouble()
        self._own: set[int] = set()  # given by the group
        self._begun: dict[int, int] = {}  # of these, those that `seek` was called for: where each goes on
        self._gained: list[int] = []
        self._lost: list[int] = []
        self._later: list[BackendError] = []
        self._committed: dict[int, int] = {}
        self._closed = False
        self._consumer = consumer = client.consumer(self._trouble, group)
        self._run(
            lambda: consumer.subscribe(
                [client.topic], on_assign=self._on_gain, on_revoke=self._on_loss, on_lost=self._on_loss
            )
        )

    def poll(self, timeout_s: float, most: int) -> Polled:
        """Waits for messages or a change of the share, and gives all that is there, up to `most`.

        Raises:
            BackendError: the brokers are away (told once for each time the driver finds all of them down; what comes
                after it is complete), or refuse this user or topic.
        """
        self._usable()
        if self._later and not self._gained and not self._lost:
            raise self._later.pop(0)
        messages = self._wait(timeout_s, most)
        chunks, errors = chunks_of(messages, self._form)
        for partition, error in errors:
            self._meet(partition, error)
        if not chunks and not self._gained and not self._lost:
            self._raise_trouble()
        gained, self._gained = self._gained, []
        lost, self._lost = self._lost, []
        chunks = [each for each in chunks if each.partition in self._begun]
        self._begun.update((each.partition, each.next_offset) for each in chunks)
        return Polled(chunks, gained, lost)

    def seek(self, partition: int, offset: int) -> None:
        """The next chunk of a partition begins at this offset, or at the first that is still there.

        Raises:
            BackendError: the partition is another's, or has ended before this offset (not retryable: a topic that was
                deleted and made anew).
        """
        self._usable()
        if partition not in self._own:
            return  # lost meanwhile: the next poll says so
        place = TopicPartition(self._client.topic, partition, offset)
        if partition in self._begun:  # it may have stopped at an error, where the driver's own `seek` fails
            self._run(lambda: self._consumer.incremental_unassign([place]))
        self._run(lambda: self._consumer.incremental_assign([place]))
        self._begun[partition] = offset

    def commit(self, offsets: Mapping[int, int]) -> None:
        """Tells the group's offsets to the brokers, without waiting for them; for the tools that show lags."""
        self._usable()
        places = [TopicPartition(self._client.topic, p, o) for p, o in offsets.items() if p in self._own]
        if places:
            self._committed.update((each.partition, each.offset) for each in places)
            self._run(lambda: self._consumer.commit(offsets=places, asynchronous=True))

    def close(self) -> None:
        """Commits once more and leaves the group; never raises for brokers that are away."""
        if self._closed:
            return
        places = [
            TopicPartition(self._client.topic, p, o) for p, o in self._committed.items() if p in self._own
        ]
        self._closed = True
        if places:
            with contextlib.suppress(KafkaException):  # nothing is read from it
                self._consumer.commit(offsets=places, asynchronous=False)
        self._consumer.close()
        self._own.clear()

    def _wait(self, timeout_s: float, most: int) -> list[Message]:
        """Messages, as soon as there are some, or none as soon as the share has changed."""
        deadline_s = time.monotonic() + timeout_s
        while True:
            left_s = max(0.0, deadline_s - time.monotonic())
            first = self._run(lambda left_s=left_s: self._consumer.poll(min(_STEP_S, left_s)))
            if first is not None:
                return [first, *self._more(most - 1)]
            if self._gained or self._lost or self._trouble.is_away or left_s == 0.0:
                return []

    def _more(self, most: int) -> list[Message]:
        """What has come already; the driver would wait for what it is asked for."""
        return self._run(lambda: self._consumer.consume(min(most, _MOST), 0.0)) if most > 0 else []

    def _meet(self, partition: int, error: KafkaError) -> None:
        """Errors that came among messages: none of these may be lost, so it is raised by the next poll."""
        if error.name() in _PASSED_OVER:
            return
        if error.code() != KafkaError._AUTO_OFFSET_RESET:  # noqa: SLF001 - its name
            self._later.append(self._client.translated(error, self._trouble))
        elif partition in self._begun:
            try:
                self._begin_where_it_begins(partition)
            except BackendError as failure:
                self._later.append(failure)

    def _begin_where_it_begins(self, partition: int) -> None:
        """The offset that was sought is not there."""
        ends = self._ends([partition])[partition]
        offset = self._begun[partition]
        if offset > ends.next:
            raise self._client.refused(
                f"partition {partition} ends at {ends.next}, before the offset {offset} where it is to go on",
                hint="was the topic made anew? then reset the checkpoint",
                partition=partition,
            )
        self.seek(partition, ends.first)

    def _raise_trouble(self) -> None:
        if self._later:
            raise self._later.pop(0)
        error = self._trouble.take_away()
        if error is not None:
            raise self._client.translated(error, self._trouble)

    def _on_gain(self, consumer: Consumer, places: list[TopicPartition]) -> None:
        consumer.incremental_assign([])  # each is assigned when it is sought
        self._own.update(each.partition for each in places)
        self._gained += [each.partition for each in places]

    def _on_loss(self, consumer: Consumer, places: list[TopicPartition]) -> None:
        consumer.incremental_unassign([each for each in places if each.partition in self._begun])
        for each in places:
            self._own.discard(each.partition)
            self._begun.pop(each.partition, None)
            self._committed.pop(each.partition, None)
            if each.partition in self._gained:  # nobody has heard of it
                self._gained.remove(each.partition)
            else:
                self._lost.append(each.partition)

    def _run(self, call: Callable[[], _T]) -> _T:
        return self._client.run(call, self._trouble)

    def _usable(self) -> None:
        self._client.usable()
        if self._closed:
            raise self._client.refused("the follower is closed")
