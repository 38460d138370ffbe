"""The errors of Kafka and its driver in asof's words; the one table that says which of them may pass."""

from __future__ import annotations

from typing import Any

# The driver's errors by name of which the same call may succeed later.
RETRYABLE = {
    "BROKER_NOT_AVAILABLE",
    "COORDINATOR_LOAD_IN_PROGRESS",
    "COORDINATOR_NOT_AVAILABLE",
    "FENCED_LEADER_EPOCH",
    "FETCH_SESSION_ID_NOT_FOUND",
    "ILLEGAL_GENERATION",
    "INVALID_FETCH_SESSION_EPOCH",
    "KAFKA_STORAGE_ERROR",
    "LEADER_NOT_AVAILABLE",
    "NETWORK_EXCEPTION",
    "NOT_CONTROLLER",
    "NOT_COORDINATOR",
    "NOT_ENOUGH_REPLICAS",
    "NOT_ENOUGH_REPLICAS_AFTER_APPEND",
    "NOT_LEADER_FOR_PARTITION",
    "OFFSET_NOT_AVAILABLE",
    "OUT_OF_ORDER_SEQUENCE_NUMBER",
    "PREFERRED_LEADER_NOT_AVAILABLE",
    "REBALANCE_IN_PROGRESS",
    "REPLICA_NOT_AVAILABLE",
    "REQUEST_TIMED_OUT",
    "STALE_BROKER_EPOCH",
    "STALE_CTRL_EPOCH",
    "STALE_MEMBER_EPOCH",
    "THROTTLING_QUOTA_EXCEEDED",
    "UNKNOWN_LEADER_EPOCH",
    "UNKNOWN_MEMBER_ID",
    "UNKNOWN_PRODUCER_ID",
    "UNSTABLE_OFFSET_COMMIT",
    "_ALL_BROKERS_DOWN",
    "_ASSIGNMENT_LOST",
    "_DESTROY_BROKER",
    "_IN_PROGRESS",
    "_INTR",
    "_ISR_INSUFF",
    "_MAX_POLL_EXCEEDED",
    "_MSG_TIMED_OUT",
    "_OUTDATED",
    "_PREV_IN_PROGRESS",
    "_PURGE_INFLIGHT",
    "_PURGE_QUEUE",
    "_QUEUE_FULL",
    "_RESOLVE",
    "_RETRY",
    "_STATE",
    "_TIMED_OUT",
    "_TIMED_OUT_QUEUE",
    "_TRANSPORT",
    "_WAIT_CACHE",
    "_WAIT_COORD",
}
# Errors of the way to the brokers that do not pass, however often the driver connects again.
FINAL_ON_THE_WAY = {"_AUTHENTICATION", "_SSL", "SASL_AUTHENTICATION_FAILED", "UNSUPPORTED_SASL_MECHANISM"}
# Brokers that are electing a leader, or that a new topic has not reached: over in less than a second.
SETTLING = {
    "LEADER_NOT_AVAILABLE",
    "NOT_LEADER_FOR_PARTITION",
    "NOT_CONTROLLER",
    "UNKNOWN_LEADER_EPOCH",
    "FENCED_LEADER_EPOCH",
}
_AWAY = {"_ALL_BROKERS_DOWN", "_MSG_TIMED_OUT", "_RESOLVE", "_TIMED_OUT", "_TIMED_OUT_QUEUE", "_TRANSPORT"}
_ACCESS = "the user needs READ, WRITE and DESCRIBE on the topic, and READ on the group"
_TOPIC = "make the topic, or write its name as the brokers have it"
_LOGIN = "look at sasl.mechanism, sasl.username and sasl.password in settings"
_HINTS = {
    "CLUSTER_AUTHORIZATION_FAILED": "brokers older than 2.8 need IDEMPOTENT_WRITE on the cluster",
    "GROUP_AUTHORIZATION_FAILED": _ACCESS,
    "MSG_SIZE_TOO_LARGE": "the topic's max.message.bytes is smaller than message.max.bytes in settings",
    "SASL_AUTHENTICATION_FAILED": _LOGIN,
    "TOPIC_AUTHORIZATION_FAILED": _ACCESS,
    "TOPIC_EXCEPTION": _TOPIC,
    "UNKNOWN_TOPIC_OR_PART": _TOPIC,
    "UNSUPPORTED_SASL_MECHANISM": _LOGIN,
    "_AUTHENTICATION": _LOGIN,
    "_SSL": "look at ssl.ca.location in settings, and whether the port speaks TLS",
    "_UNKNOWN_PARTITION": _TOPIC,
    "_UNKNOWN_TOPIC": _TOPIC,
}
_DOWN = "are the brokers running, may this machine connect, and is security.protocol in settings right?"


def is_retryable(error: Any) -> bool:
    """Whether the call that met a `KafkaError` may succeed later."""
    return error.name() in RETRYABLE and not error.fatal()


def hint_of(error: Any) -> str | None:
    """What may cure a `KafkaError`."""
    return _HINTS.get(error.name(), _DOWN if error.name() in _AWAY else None)
