"""The driver's clients for one topic, each made when it is first needed, and their errors as `BackendError`."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from typing import Any, TypeVar

from asof.define.stream import Kafka
from asof.errors import BackendError, ConfigError, MissingExtra
from asof.streams.kafka_errors import FINAL_ON_THE_WAY, SETTLING, hint_of, is_retryable
from asof.streams.kafka_settings import resolve

try:
    from confluent_kafka import Consumer, KafkaError, KafkaException, Producer
    from confluent_kafka.admin import AdminClient
except ImportError as missing:
    raise MissingExtra("stream 'Kafka'", "kafka") from missing

_T = TypeVar("_T")
_TIMED_OUT: int = KafkaError._TIMED_OUT  # noqa: SLF001 - its public name
_PAUSE_S = 0.05
_DEFAULTS = {
    "client.id": "asof",
    "log_level": "0",  # what is wrong is told by errors
    "reconnect.backoff.max.ms": "1000",
    "broker.address.ttl": "1000",
    "topic.metadata.refresh.interval.ms": "60000",
    "allow.auto.create.topics": "false",
}
_CONSUMER = {
    "fetch.wait.max.ms": "100",
    "session.timeout.ms": "10000",
    "heartbeat.interval.ms": "1000",  # a member hears by it that others came or went
    "queued.max.messages.kbytes": "32768",
    "isolation.level": "read_committed",
    "enable.auto.commit": "false",
    "enable.auto.offset.store": "false",
    "auto.offset.reset": "error",
    "partition.assignment.strategy": "cooperative-sticky",
}


class Trouble:
    """What a client's driver says of the way to the brokers, behind the back of all calls."""

    def __init__(self) -> None:
        self._reason: KafkaError | None = None
        self._away: KafkaError | None = None

    def note(self, error: KafkaError) -> None:
        """The driver's callback."""
        name = error.name()
        if name == "_ALL_BROKERS_DOWN" or name in FINAL_ON_THE_WAY:
            self._away = error
        if name != "_ALL_BROKERS_DOWN":  # that says less than what was said before
            self._reason = error

    @property
    def is_away(self) -> bool:
        """No broker is there, or they do not let this user in."""
        return self._away is not None

    def take_away(self) -> KafkaError | None:
        """The error that says so, if there was one since the last time."""
        error, self._away = self._away, None
        return error

    def take_reason(self) -> KafkaError | None:
        """What was said of a connection that failed, if there was something since the last time."""
        error, self._reason = self._reason, None
        return error


class KafkaClient:
    """The clients of one topic; no call waits for much longer than `timeout_s`.

    Raises:
        ConfigError: see `resolve`.
    """

    def __init__(self, kafka: Kafka, timeout_s: float) -> None:
        self.topic = kafka.topic
        self.timeout_s = timeout_s
        self.name = f"stream {kafka.topic!r} at {kafka.servers}"
        self.trouble = Trouble()
        self._settings = resolve(kafka)
        wait_ms = str(max(1_000, int(timeout_s * 1_000)))
        own = {"bootstrap.servers": kafka.servers, "socket.connection.setup.timeout.ms": wait_ms}
        self._base = {**_DEFAULTS, **own, "socket.timeout.ms": wait_ms, **self._settings.values}
        self._admin: AdminClient | None = None
        self._lock = threading.Lock()
        self._closed = False

    def setting(self, name: str, default: int) -> int:
        """A setting of the definition that is a number."""
        try:
            return int(self._base.get(name, default))
        except ValueError:
            raise ConfigError(f"{self.name}: setting {name!r} is no number", setting=name) from None

    def producer(self, trouble: Trouble, **defaults: str) -> Producer:
        """A producer whose acknowledged messages are on all replicas, and once."""
        fixed = {"enable.idempotence": "true", "acks": "all", "error_cb": trouble.note}
        return self._make(Producer, {**_with_dots(defaults), **self._base, **fixed})

    def consumer(self, trouble: Trouble, group: str, **settings: str) -> Consumer:
        """A consumer that begins where it is told, and commits what it is told."""
        fixed = {**_with_dots(settings), "group.id": group, "error_cb": trouble.note}
        return self._make(Consumer, {**_CONSUMER, **self._base, **fixed})

    def ask(self, call: Callable[[AdminClient], Iterable[Future[Any]]]) -> list[Any]:
        """The answers to what is asked of the brokers.

        Raises:
            BackendError: they do not answer, or with an error.
        """

        def answers(admin: AdminClient, deadline_s: float) -> list[Any]:
            return [each.result(max(0.01, deadline_s - time.monotonic())) for each in call(admin)]

        return self._settled(answers)

    def partitions(self) -> list[int]:
        """The numbers of the topic's partitions.

        Raises:
            BackendError: there is no such topic, or the brokers do not answer.
        """

        def numbers(admin: AdminClient, deadline_s: float) -> list[int]:
            found = admin.list_topics(self.topic, max(0.01, deadline_s - time.monotonic())).topics[self.topic]
            if found.error is not None:
                raise KafkaException(found.error)
            return sorted(found.partitions)

        return self._settled(numbers)

    def _settled(self, call: Callable[[AdminClient, float], _T]) -> _T:
        """What a call gives once brokers that elect a leader have done so."""
        admin = self._open()
        deadline_s = time.monotonic() + self.timeout_s
        while True:
            try:
                return call(admin, deadline_s)
            except (KafkaException, TimeoutError) as problem:
                error = problem.args[0] if isinstance(problem, KafkaException) else KafkaError(_TIMED_OUT)
                if error.name() not in SETTLING or time.monotonic() > deadline_s:
                    admin.poll(0)  # serves the callback that notes trouble
                    raise self.translated(error, self.trouble) from problem
            time.sleep(_PAUSE_S)

    def run(self, call: Callable[[], _T], trouble: Trouble) -> _T:
        """What a call of a producer or consumer gives.

        Raises:
            BackendError: it fails.
        """
        try:
            return call()
        except KafkaException as error:
            raise self.translated(error.args[0], trouble) from error
        except RuntimeError as error:  # the driver's word for a client that was closed
            raise self.refused(str(error)) from error

    def translated(self, error: KafkaError, trouble: Trouble) -> BackendError:
        """A driver's error; where it only says that nothing came, what is known of the reason."""
        said, behind = error.str(), trouble.take_reason()
        if behind is not None and is_retryable(error) and behind.str() not in said:
            said = f"{said}: {behind.str()}"
            error = behind if behind.name() in FINAL_ON_THE_WAY else error
        said = self._settings.without_secrets(said).splitlines()[0][:300]
        name = error.name()
        return BackendError(
            f"{self.name}: {said} ({name})", hint=hint_of(error), retryable=is_retryable(error), reason=name
        )

    def refused(self, what: str, *, hint: str | None = None, **facts: Any) -> BackendError:
        """An error that does not pass, with the stream's name before what is wrong."""
        return BackendError(f"{self.name}: {what}", hint=hint, **facts)

    def usable(self) -> None:
        """Raises `BackendError` once the stream is closed."""
        if self._closed:
            raise self.refused("it is closed")

    def close(self) -> None:
        """From now on nothing can be asked."""
        with self._lock:
            self._closed = True
            self._admin = None

    def _open(self) -> AdminClient:
        with self._lock:
            self.usable()
            if self._admin is None:
                self._admin = self._make(AdminClient, {**self._base, "error_cb": self.trouble.note})
            return self._admin

    def _make(self, kind: Callable[[dict[str, Any]], _T], settings: dict[str, Any]) -> _T:
        try:
            return kind(settings)
        except (KafkaException, TypeError, ValueError) as error:
            said = error.args[0].str() if isinstance(error, KafkaException) else str(error)
            said = self._settings.without_secrets(said).splitlines()[0][:300]
            raise ConfigError(f"{self.name}: {said}", hint="look at its settings") from None


def _with_dots(settings: dict[str, str]) -> dict[str, str]:
    return {name.replace("_", "."): value for name, value in settings.items()}
