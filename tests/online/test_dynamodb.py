"""DynamoDB over the wire: the contract, what is left unprocessed, throttling, time limits, and errors."""

from __future__ import annotations

import inspect
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import botocore.exceptions
import botocore.session
import pytest
from botocore.awsrequest import AWSResponse
from moto.dynamodb.models import DynamoDBBackend

from asof.errors import BackendError, ConfigError
from asof.online import dynamodb as module
from asof.online.dynamodb import DynamoStore
from asof.online.open_store import open_store
from asof.online.retry import Retries
from asof.online.store import OnlineStore
from asof.online.store_url import parse_store_url
from asof.testing.clock import FakeClock
from asof.testing.online import OnlineStoreContract
from tests.services import DynamoDB

WAIT_S = 10.0


class Pauses(list[float]):
    """Remembers how long was paused, and does not pause."""

    def retries(self) -> Retries:
        return Retries(attempts=6, first_s=0.02, draw=lambda: 1.0, sleep=self.append)


def open_dynamo(server: DynamoDB, pauses: Pauses, timeout_s: float = WAIT_S) -> DynamoStore:
    return DynamoStore(parse_store_url(server.url()), timeout_s=timeout_s, retries=pauses.retries())


@pytest.fixture(scope="module")
def url(dynamodb: DynamoDB) -> str:
    return dynamodb.url()


@pytest.fixture
def one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """The service compares and puts in one; the emulation only if one call comes after another."""
    lock = threading.Lock()

    def locked(change: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **more: Any) -> Any:
            with lock:
                return change(*args, **more)

        return call

    for name in ("put_item", "delete_item"):
        monkeypatch.setattr(DynamoDBBackend, name, locked(getattr(DynamoDBBackend, name)))


@pytest.mark.usefixtures("one_by_one")
class TestContract(OnlineStoreContract):
    large_record_bytes = 300_000  # the emulation counts records in base64, the service does not

    @pytest.fixture
    def store(self, url: str) -> Iterator[OnlineStore]:
        store = open_store(url, timeout_s=WAIT_S)
        yield store
        store.close()


def test_keys_and_items_that_are_left_unprocessed_are_asked_for_again_after_growing_pauses(dynamodb):
    pauses = Pauses()
    store = open_dynamo(dynamodb, pauses)
    rows = [(b"%d" % n, b"r%d" % n) for n in range(120)]
    store.write("v1", rows)
    calls = {"BatchGetItem": 0, "BatchWriteItem": 0}

    def leave_out(parsed: dict[str, Any], model: Any, **_: object) -> None:
        """Of each table every second key is left unprocessed, in the first two calls all of them."""
        calls[model.name] += 1
        answers: dict[str, list[Any]] = parsed.get("Responses", {})
        for table, items in answers.items():
            kept = [] if calls[model.name] <= 2 else items[::2]
            keys = [
                {name: item[name] for name in ("entity", "namespace")} for item in items if item not in kept
            ]
            answers[table] = kept
            if keys:
                parsed["UnprocessedKeys"] = {table: {"Keys": keys, "ConsistentRead": True}}

    store._reads.meta.events.register("after-call.dynamodb.BatchGetItem", leave_out)
    assert store.get([("v1", [key for key, _ in rows])]) == [record for _, record in rows]
    assert calls["BatchGetItem"] > 8
    assert pauses[:3] == [0.04, 0.08, 0.02]  # the third call brought something: the pauses start anew

    def leave_items(params: dict[str, Any], context: dict[str, Any], **_: object) -> None:
        """The service sees two items of a call at most; the others come back."""
        for table, requests in params["RequestItems"].items():
            context["left"] = {table: requests[2:]} if requests[2:] else {}
            params["RequestItems"] = {table: requests[:2]}

    def give_back(parsed: dict[str, Any], context: dict[str, Any], **_: object) -> None:
        parsed["UnprocessedItems"] = context["left"]

    store._steps.meta.events.register("provide-client-params.dynamodb.BatchWriteItem", leave_items)
    store._steps.meta.events.register("after-call.dynamodb.BatchWriteItem", give_back)
    store.write("v2", rows[:25])
    assert dict(store.scan("v2")) == dict(rows[:25])
    store.close()


def test_what_stays_unprocessed_is_an_error_that_may_pass(dynamodb):
    store = open_dynamo(dynamodb, Pauses(), timeout_s=0.3)
    store.write("v1", [(b"ann", b"1")])

    def leave_out(parsed: dict[str, Any], **_: object) -> None:
        keys = [
            {name: item[name] for name in ("entity", "namespace")}
            for item in parsed["Responses"][store._table]
        ]
        parsed["Responses"] = {}
        parsed["UnprocessedKeys"] = {store._table: {"Keys": keys, "ConsistentRead": True}}

    store._reads.meta.events.register("after-call.dynamodb.BatchGetItem", leave_out)
    with pytest.raises(BackendError, match="left 1 keys unprocessed") as caught:
        store.get([("v1", [b"ann"])])
    assert caught.value.retryable
    store.close()


@pytest.mark.parametrize(
    ("code", "status", "retryable"),
    [
        ("ProvisionedThroughputExceededException", 400, True),
        ("ThrottlingException", 400, True),
        ("InternalServerError", 500, True),
        ("AccessDeniedException", 400, False),
        ("SomethingNew", 503, True),
        ("SomethingNew", 400, False),
    ],
)
def test_errors_of_the_service_are_tried_again_where_they_may_pass(dynamodb, code, status, retryable):
    pauses = Pauses()
    store = open_dynamo(dynamodb, pauses)
    store.write("v1", [(b"ann", b"1")])
    fail = [3]

    def refuse(request: Any, **_: object) -> AWSResponse | None:
        if fail[0] == 0:
            return None
        fail[0] -= 1
        body = b'{"__type": "com.amazonaws.dynamodb.v20120810#%s", "message": "secret-key"}' % code.encode()

        class Raw:
            def stream(self, *_: object, **__: object) -> Iterator[bytes]:
                yield body

        return AWSResponse(request.url, status, {"content-type": "application/x-amz-json-1.0"}, Raw())

    store._reads.meta.events.register("before-send.dynamodb.*", refuse)
    if retryable:
        assert store.get([("v1", [b"ann"])]) == [b"1"]
        assert pauses == [0.02, 0.04, 0.08]
    fail[0] = 1_000
    with pytest.raises(BackendError, match=code) as caught:
        store.get([("v1", [b"ann"])])
    assert caught.value.retryable == retryable
    assert "secret" not in str(caught.value)
    store.close()


def test_a_record_beyond_the_items_limit_is_refused_before_it_is_sent(dynamodb):
    store = open_dynamo(dynamodb, Pauses())
    with pytest.raises(BackendError, match=r"a record of 500,000 bytes; at most 408,576 are allowed"):
        store.write("v1", [(b"ann", bytes(500_000))])
    store.close()


def test_a_table_that_is_not_there_is_told_with_its_cure(dynamodb):
    store = open_store(dynamodb.url().replace("&create=true", ""), timeout_s=WAIT_S)
    with pytest.raises(BackendError, match="ResourceNotFoundException") as caught:
        store.get([("v1", [b"ann"])])
    assert not caught.value.retryable
    assert "create=true" in str(caught.value.hint)
    store.close()


def test_a_record_is_gone_when_its_time_is_over_although_the_service_keeps_it_longer(dynamodb):
    clock = FakeClock("2025-01-01")
    store = DynamoStore(parse_store_url(dynamodb.url()), timeout_s=WAIT_S, clock=clock)
    store.write("v1", [(b"ann", b"1")], ttl_s=60)
    assert store.get([("v1", [b"ann"])]) == [b"1"]
    clock.advance("60s")
    assert store.get([("v1", [b"ann"])]) == [None]
    assert list(store.scan("v1")) == []
    store.close()


def test_a_swap_takes_a_record_whose_time_is_over_for_none(dynamodb):
    clock = FakeClock("2025-01-01")
    store = DynamoStore(parse_store_url(dynamodb.url()), timeout_s=WAIT_S, clock=clock)
    store.write("v1", [(b"ann", b"1"), (b"bob", b"1")], ttl_s=60)
    assert store.swap("v1", [(b"ann", None, b"2")]) == [False]
    clock.advance("60s")
    assert store.swap("v1", [(b"ann", None, b"2"), (b"bob", b"1", b"2")]) == [True, False]
    clock.advance("60s")
    assert list(store.scan("v1")) == [(b"ann", b"2")]
    store.close()


def test_a_swap_whose_answer_was_lost_is_known_to_be_made(dynamodb):
    store = open_dynamo(dynamodb, Pauses())
    store.write("v1", [(b"ann", b"1"), (b"bob", b"9"), (b"dan", b"1")])
    lost: set[str] = set()

    def lose(model: Any, **_: object) -> None:
        if model.name not in lost:
            lost.add(model.name)
            raise botocore.exceptions.ConnectionClosedError(endpoint_url="http://x")

    store._steps.meta.events.register("after-call.dynamodb.PutItem", lose)
    store._steps.meta.events.register("after-call.dynamodb.DeleteItem", lose)
    assert store.swap("v1", [(b"ann", b"1", b"2")]) == [True]
    swaps = [(b"dan", b"1", None), (b"cat", None, b"3"), (b"bob", b"1", b"2")]
    assert store.swap("v1", swaps) == [True, True, False]
    assert lost == {"PutItem", "DeleteItem"}
    assert sorted(store.scan("v1")) == [(b"ann", b"2"), (b"bob", b"9"), (b"cat", b"3")]
    store.close()


@pytest.mark.usefixtures("dynamodb")
def test_a_service_that_does_not_answer_fails_a_read_in_time():
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"dynamodb://us-east-1/t?endpoint=http://127.0.0.1:{silent.getsockname()[1]}"
        store = open_store(url, timeout_s=0.3)
        begin = time.perf_counter()
        with pytest.raises(BackendError) as caught:
            store.get([("v1", [b"ann"])])
        assert time.perf_counter() - begin < 1.5
        assert caught.value.retryable
        store.close()


@pytest.mark.usefixtures("dynamodb")
def test_where_no_service_is_the_error_comes_in_time():
    store = open_store("dynamodb://us-east-1/t?endpoint=http://127.0.0.1:1", timeout_s=0.5)
    begin = time.perf_counter()
    with pytest.raises(BackendError) as caught:
        store.get([("v1", [b"ann"])])
    assert time.perf_counter() - begin < 1.5
    assert caught.value.retryable
    store.close()


def test_options_are_checked():
    with pytest.raises(ConfigError, match="not true or false"):
        open_store("dynamodb://us-east-1/t?create=yes")


def test_every_error_of_the_driver_is_mapped():
    model = botocore.session.get_session().get_service_model("dynamodb")
    calls = (
        "BatchGetItem",
        "BatchWriteItem",
        "PutItem",
        "DeleteItem",
        "Scan",
        "CreateTable",
        "DescribeTable",
        "UpdateTimeToLive",
    )
    answers = {shape.name for call in calls for shape in model.operation_model(call).error_shapes}
    assert not answers - set(module.CODES)
    found = [each for _, each in inspect.getmembers(botocore.exceptions, inspect.isclass)]
    parents = (botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError)
    bare = {each.__name__ for each in found if issubclass(each, Exception) and not issubclass(each, parents)}
    # Warnings, and two that only a broken model of the library raises.
    assert {name for name in bare if not name.endswith("Warning")} == {
        "UndefinedModelAttributeError",
        "MissingServiceIdError",
    }
    assert all(hasattr(botocore.exceptions, name) for name in module.RETRYABLE)
