"""DynamoDB: `dynamodb://region/table`; credentials come from where the AWS libraries look for them.

An item's partition key is the entity key and its sort key the namespace: all views of one entity lie together, and load
spreads over entities. What the service leaves unprocessed is asked for again, after pauses, until the deadline.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

from asof.clock import Clock, SystemClock
from asof.errors import BackendError, MissingExtra
from asof.online.batches import batches_of, groups_of
from asof.online.retry import STEP_FACTOR, Deadline, Retries
from asof.online.store import Capabilities, Item, Swap, Wanted
from asof.online.store_url import StoreUrl
from asof.online.swaps import swap_batches

try:
    from boto3.session import Session
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError
except ImportError as missing:
    raise MissingExtra("online store 'dynamodb'", "dynamodb") from missing

# What the service answers: may the same call succeed later?
CODES = {
    "AccessDeniedException": False,
    "ConditionalCheckFailedException": False,
    "InternalServerError": True,
    "InvalidEndpointException": True,
    "ItemCollectionSizeLimitExceededException": False,
    "LimitExceededException": True,
    "ProvisionedThroughputExceededException": True,
    "ReplicatedWriteConflictException": True,
    "RequestLimitExceeded": True,
    "ResourceInUseException": True,
    "ResourceNotFoundException": False,
    "ServiceUnavailable": True,
    "ThrottlingException": True,
    "TransactionConflictException": True,
    "UnrecognizedClientException": False,
    "ValidationException": False,
}
# What fails before there is an answer, by class; all others of the library are wrong settings, which do not pass.
RETRYABLE = {
    "BotoCoreError": False,
    "ConnectionError": True,
    "HTTPClientError": True,
    "SSLError": False,
    "WaiterError": True,
}
_HINTS = {
    "ResourceNotFoundException": "make the table (docs/reference/online-stores.md), or add ?create=true",
    "AccessDeniedException": "the role needs BatchGetItem, BatchWriteItem, PutItem, DeleteItem and Scan on the table",
    "ProvisionedThroughputExceededException": "more was asked than the table's capacity: raise it, or bill on demand",
    "NoCredentialsError": "give the process AWS credentials: a role, a profile, or AWS_ACCESS_KEY_ID",
}
_CAPABILITIES = Capabilities(embedded=False, expires=True, max_record_bytes=400 * 1_024 - 1_024)
_READ_KEYS = 100  # the service's own limits
_WRITE_ITEMS = 25
_WRITE_BYTES = 2**23
_CREATE_S = 60.0
_T = TypeVar("_T")


class DynamoStore:
    """Records in a table; options: `create`, `consistent` (true; false reads at half the price), `endpoint`, `size`."""

    def __init__(
        self,
        url: StoreUrl,
        *,
        password: str | None = None,
        timeout_s: float = 0.5,
        retries: Retries = Retries(attempts=6, first_s=0.02),  # noqa: B008 - frozen
        clock: Clock | None = None,
    ) -> None:
        del password  # credentials are AWS's own matter
        url.take("create", "consistent", "endpoint", "size")
        self._name = url.name
        self._table = url.path
        self._url = url
        self._timeout_s = timeout_s
        self._retries = retries
        self._clock = clock or SystemClock()
        self._create = url.flag("create")
        self._consistent = url.flag("consistent", default=True)
        self._lock = threading.Lock()
        self._process = 0
        self._closed = False
        self._clients()

    @property
    def capabilities(self) -> Capabilities:
        """A service; records can expire, and are at most 399 KiB."""
        return _CAPABILITIES

    def _clients(self) -> tuple[Any, Any]:
        """The clients for reads and for steps of everything else, of this process."""
        if self._closed:
            raise BackendError(f"online store {self._name}: it is closed")
        if self._process != os.getpid():
            with self._lock:
                if self._process != os.getpid():
                    self._reads = self._client(self._timeout_s)
                    self._steps = self._client(self._timeout_s * STEP_FACTOR)
                    self._process = os.getpid()
        return self._reads, self._steps

    def _client(self, wait_s: float) -> Any:
        config = Config(
            connect_timeout=wait_s,
            read_timeout=wait_s,
            retries={"total_max_attempts": 1},  # asof's own retries know the deadline
            max_pool_connections=self._url.number("size", 16),
            user_agent_extra="asof",
        )
        region, endpoint = self._url.host, self._url.options.get("endpoint")
        try:
            return Session().client("dynamodb", region_name=region, endpoint_url=endpoint, config=config)
        except (BotoCoreError, ValueError) as error:
            raise _translated(error, self._name) from error

    def get(self, wanted: Wanted) -> list[bytes | None]:
        """The records in the order of what is wanted: 100 keys in one call."""
        asked = [(name, key) for name, keys in wanted for key in keys]
        client, deadline = self._clients()[0], Deadline(self._timeout_s)
        found: dict[tuple[str, bytes], bytes] = {}
        for group in groups_of(dict.fromkeys(asked), _READ_KEYS):
            request = {
                self._table: {"Keys": [_key(*each) for each in group], "ConsistentRead": self._consistent}
            }
            self._until_processed(
                "UnprocessedKeys", client.batch_get_item, request, deadline, self._keep(found)
            )
        return [found.get(each) for each in asked]

    def _keep(self, found: dict[tuple[str, bytes], bytes]) -> Callable[[dict[str, Any]], None]:
        now_s = self._clock.now_us() // 1_000_000

        def keep(answer: dict[str, Any]) -> None:
            for item in answer["Responses"].get(self._table, ()):
                if (record := _record(item, now_s)) is not None:
                    found[item["namespace"]["S"], item["entity"]["B"]] = record

        return keep

    def write(self, namespace: str, items: Iterable[Item], *, ttl_s: int | None = None) -> int:
        """Puts records, 25 in one call; each is whole or not there."""
        count = 0
        more = {} if ttl_s is None else {"expires_at": {"N": str(self._clock.now_us() // 1_000_000 + ttl_s)}}
        self._clients()
        for batch in batches_of(
            items,
            max_items=_WRITE_ITEMS,
            max_bytes=_WRITE_BYTES,
            max_record_bytes=_CAPABILITIES.max_record_bytes,
            store=self._name,
        ):
            rows = dict(batch).items()
            puts = [{**_key(namespace, key), "record": {"B": record}, **more} for key, record in rows]
            self._change([{"PutRequest": {"Item": item}} for item in puts])
            count += len(batch)
        return count

    def swap(self, namespace: str, items: Sequence[Swap], *, ttl_s: int | None = None) -> list[bool]:
        """Puts each record in the place of the one that is expected: a call for each, up to `size` at one time."""
        self._clients()
        made: list[bool] = []
        with ThreadPoolExecutor(self._url.number("size", 16), "asof-online-swap") as pool:
            for batch in swap_batches(
                items,
                max_items=_WRITE_ITEMS,
                max_bytes=_WRITE_BYTES,
                max_record_bytes=_CAPABILITIES.max_record_bytes,
                store=self._name,
            ):
                deadline = Deadline(self._timeout_s * STEP_FACTOR)
                made += pool.map(partial(self._swap_one, namespace, ttl_s=ttl_s, deadline=deadline), batch)
        return made

    def _swap_one(self, namespace: str, swap: Swap, *, ttl_s: int | None, deadline: Deadline) -> bool:
        client, now_s = self._clients()[1], self._clock.now_us() // 1_000_000
        record = swap[2]
        request, tries = _swap_request(self._table, namespace, swap, now_s, ttl_s), list[None]()
        call = client.delete_item if record is None else client.put_item

        def once() -> bool:
            tries.append(None)
            try:
                call(**request)
            except ClientError as error:
                if _code(error) != "ConditionalCheckFailedException":
                    raise
                # The answer to one that was made may have been lost: then what is there tells.
                return len(tries) > 1 and _record(error.response.get("Item"), now_s) == record
            return True

        return self._run(once, deadline)

    def delete(self, namespace: str, keys: Iterable[bytes]) -> int:
        """Removes records."""
        count = 0
        self._clients()
        for group in groups_of(keys, _WRITE_ITEMS):
            self._change([{"DeleteRequest": {"Key": _key(namespace, key)}} for key in dict.fromkeys(group)])
            count += len(group)
        return count

    def _change(self, requests: list[dict[str, Any]]) -> None:
        client, deadline = self._clients()[1], Deadline(self._timeout_s * STEP_FACTOR)
        self._until_processed("UnprocessedItems", client.batch_write_item, {self._table: requests}, deadline)

    def _until_processed(
        self,
        left: str,
        call: Callable[..., dict[str, Any]],
        request: dict[str, Any],
        deadline: Deadline,
        keep: Callable[[dict[str, Any]], None] | None = None,
    ) -> None:
        """Calls until nothing is left unprocessed; the attempts start anew when a part was done."""
        failures = 0
        while request:
            answer = self._run(partial(call, RequestItems=request), deadline)
            if keep is not None:
                keep(answer)
            rest = answer.get(left) or {}
            failures = failures + 1 if _size(rest) == _size(request) else 0
            request = rest
            if request:
                pause_s = self._retries.pause_s(failures + 1)
                if pause_s >= deadline.left_s():
                    raise BackendError(
                        f"online store {self._name}: the service left {_size(request)} keys unprocessed in time",
                        hint=_HINTS["ProvisionedThroughputExceededException"],
                        retryable=True,
                    )
                self._retries.sleep(pause_s)

    def scan(self, namespace: str) -> Iterator[Item]:
        """All records of a namespace; the service reads the whole table for it, and bills that."""
        for page in self._pages(namespace):
            found: dict[tuple[str, bytes], bytes] = {}
            self._keep(found)({"Responses": {self._table: page}})
            yield from ((key, record) for (_, key), record in found.items())

    def _pages(self, namespace: str) -> Iterator[list[dict[str, Any]]]:
        asked: dict[str, Any] = {
            "TableName": self._table,
            "ConsistentRead": self._consistent,
            "FilterExpression": "#n = :n",
            "ExpressionAttributeNames": {"#n": "namespace"},
            "ExpressionAttributeValues": {":n": {"S": namespace}},
        }
        after: dict[str, Any] = {}
        while True:
            client, deadline = self._clients()[1], Deadline(self._timeout_s * STEP_FACTOR)
            answer = self._run(partial(client.scan, **asked, **after), deadline)
            yield answer["Items"]
            if "LastEvaluatedKey" not in answer:
                return
            after = {"ExclusiveStartKey": answer["LastEvaluatedKey"]}

    def drop(self, namespace: str) -> None:
        """Removes a namespace; the service reads the whole table for it."""
        for page in self._pages(namespace):
            self.delete(namespace, [item["entity"]["B"] for item in page])

    def close(self) -> None:
        """Lets go of the connections."""
        if not self._closed:
            self._closed = True
            self._reads.close()
            self._steps.close()

    def _run(self, call: Callable[[], _T], deadline: Deadline) -> _T:
        def once() -> _T:
            try:
                return call()
            except ClientError as error:
                if self._create and _code(error) == "ResourceNotFoundException":
                    self._make_table()
                    return call()
                raise _translated(error, self._name) from error
            except BotoCoreError as error:
                raise _translated(error, self._name) from error

        try:
            return self._retries.run(once, deadline)
        except (ClientError, BotoCoreError) as error:
            raise _translated(error, self._name) from error

    def _make_table(self) -> None:
        """Makes the table, billed on demand, and waits for it; that somebody else does so is fine."""
        _, client = self._clients()
        try:
            client.create_table(
                TableName=self._table,
                KeySchema=[
                    {"AttributeName": "entity", "KeyType": "HASH"},
                    {"AttributeName": "namespace", "KeyType": "RANGE"},
                ],
                AttributeDefinitions=[
                    {"AttributeName": "entity", "AttributeType": "B"},
                    {"AttributeName": "namespace", "AttributeType": "S"},
                ],
                BillingMode="PAY_PER_REQUEST",
            )
        except ClientError as error:
            if _code(error) != "ResourceInUseException":
                raise
        waiting = {"Delay": 1, "MaxAttempts": int(_CREATE_S)}
        client.get_waiter("table_exists").wait(TableName=self._table, WaiterConfig=waiting)
        expiry = {"Enabled": True, "AttributeName": "expires_at"}
        try:
            client.update_time_to_live(TableName=self._table, TimeToLiveSpecification=expiry)
        except ClientError as error:
            if _code(error) != "ValidationException":  # it is on already
                raise


def _key(namespace: str, key: bytes) -> dict[str, Any]:
    return {"entity": {"B": key}, "namespace": {"S": namespace}}


def _record(item: Any, now_s: int) -> bytes | None:
    """An item's record; None where there is no item, or its time is over."""
    if not item or int(item.get("expires_at", {"N": now_s + 1})["N"]) <= now_s:
        return None
    return item["record"]["B"]


def _swap_request(table: str, namespace: str, swap: Swap, now_s: int, ttl_s: int | None) -> dict[str, Any]:
    """What PutItem or DeleteItem are asked; an item whose time is over counts as none."""
    key, expected, record = swap
    names, values = {"#t": "expires_at"}, dict[str, Any]({":now": {"N": str(now_s)}})
    if expected is None:
        names["#e"] = "entity"
        condition = "attribute_not_exists(#e) or #t <= :now"
    else:
        names["#r"], values[":expected"] = "record", {"B": expected}
        condition = "#r = :expected and (attribute_not_exists(#t) or #t > :now)"
    request: dict[str, Any] = {
        "TableName": table,
        "ConditionExpression": condition,
        "ExpressionAttributeNames": names,
        "ExpressionAttributeValues": values,
        "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
    }
    if record is None:
        return {**request, "Key": _key(namespace, key)}
    more = {} if ttl_s is None else {"expires_at": {"N": str(now_s + ttl_s)}}
    return {**request, "Item": {**_key(namespace, key), "record": {"B": record}, **more}}


def _size(request: dict[str, Any]) -> int:
    """How many keys or items a request has."""
    return sum(len(each["Keys"]) if isinstance(each, dict) else len(each) for each in request.values())


def _code(error: ClientError) -> str:
    return error.response.get("Error", {}).get("Code", "")


def _translated(error: Exception, store: str) -> BackendError:
    """The library's error in asof's words; the service's own text is left out, since it may tell a key."""
    if isinstance(error, ClientError):
        said = _code(error) or "an answer without a code"
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        retryable = CODES.get(said, bool(status >= 500))
    else:
        names = [each.__name__ for each in type(error).__mro__]
        said = str(error).splitlines()[0][:300]
        retryable = next((RETRYABLE[each] for each in names if each in RETRYABLE), False)
    hint = _HINTS.get(said) or _HINTS.get(type(error).__name__)
    return BackendError(f"online store {store}: {said}", hint=hint, retryable=retryable)
