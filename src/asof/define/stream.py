"""Streams: where the new events of a source come in, beside its history."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from asof.clock import parse_duration
from asof.config import SecretRef
from asof.define.names import check_name
from asof.define.window import Duration
from asof.errors import ConfigError, DefinitionError

Settings = tuple[tuple[str, str], ...]
_DAY_US = 86_400_000_000
MAX_PARTITIONS = 1_024
_SECRET = re.compile(r"password|secret|key\.pem|user\.info")


@dataclass(frozen=True, init=False)
class Log:
    """The embedded log: durable files in the project's folder, fed by `asof push`, `Project.push` and
    `POST /v1/events`.

    Args:
        partitions: in so many parts, which several workers can share; fixed once the log is there.
        partition_by: column whose value chooses the part: events of one value stay in order.
        retention: how long events are kept in the log. What a worker has landed in the history stays there.
    """

    partitions: int = 1
    partition_by: str | None = None
    retention_us: int = 7 * _DAY_US

    def __init__(
        self, *, partitions: int = 1, partition_by: str | None = None, retention: Duration = "7d"
    ) -> None:
        if not 1 <= partitions <= MAX_PARTITIONS:
            raise DefinitionError(f"Log: partitions={partitions} is not from 1 to {MAX_PARTITIONS}")
        object.__setattr__(self, "partitions", partitions)
        object.__setattr__(self, "partition_by", _column("Log", partition_by))
        object.__setattr__(self, "retention_us", parse_duration(retention))


@dataclass(frozen=True, init=False)
class Kafka:
    """A topic of Apache Kafka, or of what speaks its protocol.

    Args:
        topic: the topic's name.
        servers: `host:port` of brokers, comma-separated.
        partition_by: column that becomes the message's key where asof itself writes to the topic.
        format: "json" (one object a message) or "avro" (the wire format of schema registries).
        registry: the schema registry's address; needed for Avro.
        settings: settings of librdkafka by name, TLS and SASL among them; a secret is a reference, `env:NAME` or
            `file:PATH`.
        dead_letters: topic for events that cannot be used; default: the topic's name and `.dead-letters`.
    """

    topic: str
    servers: str
    partition_by: str | None = None
    format: Literal["json", "avro"] = "json"
    registry: str | None = None
    settings: Settings = ()
    dead_letters: str | None = None

    def __init__(
        self,
        topic: str,
        *,
        servers: str = "localhost:9092",
        partition_by: str | None = None,
        format: Literal["json", "avro"] = "json",
        registry: str | None = None,
        settings: Mapping[str, str] | None = None,
        dead_letters: str | None = None,
    ) -> None:
        if not topic.strip() or not servers.strip():
            raise DefinitionError(
                "Kafka: topic and servers are needed", hint='Kafka("payments", servers="b1:9092")'
            )
        if format not in {"json", "avro"}:
            raise DefinitionError(f"Kafka: format {format!r} is neither 'json' nor 'avro'")
        if format == "avro" and registry is None:
            raise DefinitionError("Kafka: Avro needs registry=, the address of the schema registry")
        for name, value in (("topic", topic), ("servers", servers), ("registry", registry)):
            if value is not None and "@" in value:
                raise DefinitionError(f"Kafka: {name} holds credentials", hint="settings={...: 'env:NAME'}")
        facts: dict[str, object] = {
            "topic": topic, "servers": servers, "partition_by": _column("Kafka", partition_by), "format": format,
            "registry": registry, "settings": tuple(sorted((settings or {}).items())), "dead_letters": dead_letters,
        }  # fmt: skip
        for name, value in (settings or {}).items():
            if _SECRET.search(name):
                _check_secret(f"Kafka: settings[{name!r}]", value)
        for fact, value in facts.items():
            object.__setattr__(self, fact, value)


@dataclass(frozen=True, init=False)
class RedisStream:
    """A stream of Redis: one key, one order.

    Args:
        key: the key under which the stream is.
        url: the server, `redis://host:port/0`.
        password: a reference to the password, `env:NAME` or `file:PATH`.
        max_events: about how many events are kept.
    """

    key: str
    url: str = "redis://localhost:6379/0"
    password: str | None = None
    max_events: int = 10_000_000

    def __init__(
        self,
        key: str,
        *,
        url: str = "redis://localhost:6379/0",
        password: str | None = None,
        max_events: int = 10_000_000,
    ) -> None:
        if not key.strip():
            raise DefinitionError("RedisStream: no key", hint='RedisStream("payments")')
        if "@" in url:
            raise DefinitionError("RedisStream: url holds credentials", hint='password="env:NAME"')
        if password is not None:
            _check_secret("RedisStream: password", password)
        if max_events < 1:
            raise DefinitionError(f"RedisStream: max_events={max_events} is not at least 1")
        for fact, value in (("key", key), ("url", url), ("password", password), ("max_events", max_events)):
            object.__setattr__(self, fact, value)

    @property
    def partition_by(self) -> None:
        """One stream has one order, so that nothing chooses a part."""
        return


Stream = Log | Kafka | RedisStream


def _check_secret(where: str, text: str) -> None:
    try:
        SecretRef.parse(text)
    except ConfigError as exc:
        raise DefinitionError(f"{where}: {exc.message}", hint=exc.hint) from None


def _column(where: str, name: str | None) -> str | None:
    return None if name is None else check_name(f"{where}: partition_by", name)
