"""The settings of a Kafka stream: those of its definition with the secrets read, and those that asof decides.

Names that begin with `schema.registry.` are not librdkafka's; `avro.py` reads them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from asof.config import SecretRef
from asof.define.stream import Kafka
from asof.errors import ConfigError

REGISTRY = "schema.registry."
# What the guarantees of a stream stand on.
_OURS = {
    "acks": "an append is acknowledged by all replicas",
    "auto.offset.reset": "an offset that is gone is asof's affair",
    "bootstrap.servers": "servers= says it",
    "enable.auto.commit": "checkpoints say what has been dealt with",
    "enable.auto.offset.store": "checkpoints say what has been dealt with",
    "enable.idempotence": "an append that the driver repeats must not be there twice",
    "enable.partition.eof": "asof asks for it where it needs it",
    "group.id": "a worker's group is asof's affair",
    "group.protocol": "a worker's group is asof's affair",
    "metadata.broker.list": "servers= says it",
    "partition.assignment.strategy": "a worker's group is asof's affair",
    "transactional.id": "events are not appended in transactions",
}


class Resolved:
    """A definition's settings with the secrets in them; printing them shows the names only.

    Args:
        values: each setting as it is.
        secrets: the values that came from a reference.
    """

    def __init__(self, values: Mapping[str, str], secrets: Collection[str]) -> None:
        self.values = dict(values)
        self._secrets = sorted((each for each in secrets if each), key=len, reverse=True)

    def __repr__(self) -> str:
        return f"Resolved({sorted(self.values)})"

    def without_secrets(self, text: str) -> str:
        """A text of the driver's or the server's, with `***` for each secret.

        Example:
            >>> Resolved({"sasl.password": "hunter2"}, ["hunter2"]).without_secrets("no: hunter2")
            'no: ***'
        """
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text


def resolve(kafka: Kafka, *, registry: bool = False) -> Resolved:
    """The settings of a definition, read now: librdkafka's, or those of the schema registry.

    Raises:
        ConfigError: a setting is not for the definition to say (carries `setting`), or nothing is where a reference
            points.

    Example:
        >>> kafka = Kafka("tx", settings={"linger.ms": "5", "schema.registry.ssl.ca.location": "/ca.pem"})
        >>> resolve(kafka).values, resolve(kafka, registry=True).values
        ({'linger.ms': '5'}, {'ssl.ca.location': '/ca.pem'})
    """
    values: dict[str, str] = {}
    secrets: list[str] = []
    for name, value in kafka.settings:
        _check(kafka.topic, name)
        if name.startswith(REGISTRY) != registry:
            continue
        if _is_reference(value):
            value = SecretRef.parse(value).resolve()  # noqa: PLW2901 - what the reference stands for
            secrets.append(value)
        values[name.removeprefix(REGISTRY)] = value
    return Resolved(values, secrets)


def _is_reference(value: str) -> bool:
    return value.startswith(("env:", "file:"))


def _check(topic: str, name: str) -> None:
    if name in _OURS:
        raise ConfigError(
            f"stream {topic!r}: setting {name!r} is not for a definition to say: {_OURS[name]}", setting=name
        )
