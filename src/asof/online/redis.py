"""Redis and Valkey, one server or a cluster: `redis://`, `valkey://`, `redis+cluster://`, and with TLS `rediss://`.

A record's key is `asof:{<entity key>}:<namespace>`. What stands in braces decides the slot of a cluster, so all views
of one entity lie together. A namespace is found again by its end. Every call has one deadline for all it waits for.
"""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any, TypeVar, cast

from asof.errors import BackendError, MissingExtra
from asof.online.batches import batches_of, groups_of
from asof.online.redis_swap import evaluation
from asof.online.retry import STEP_FACTOR, Deadline, Retries
from asof.online.store import Capabilities, Item, Swap, Wanted
from asof.online.store_url import StoreUrl
from asof.online.swaps import swap_batches

try:
    import redis
    from redis.backoff import NoBackoff
    from redis.cluster import RedisCluster
    from redis.connection import BlockingConnectionPool, Connection, SSLConnection
    from redis.exceptions import AskError, MovedError
    from redis.maint_notifications import MaintNotificationsConfig
    from redis.retry import Retry
except ImportError as missing:
    raise MissingExtra("online store 'redis'", "redis") from missing

# The driver's errors by name: may the same call succeed later?
RETRYABLE = {
    "AskError": True,
    "AuthenticationError": False,
    "AuthenticationWrongNumberOfArgsError": False,
    "AuthorizationError": False,
    "BusyLoadingError": True,
    "ChildDeadlockedError": False,
    "ClusterCrossSlotError": False,
    "ClusterDownError": True,
    "ClusterError": True,
    "ConnectionError": True,
    "CrossSlotTransactionError": False,
    "DataError": False,
    "ExecAbortError": False,
    "ExternalAuthProviderError": False,
    "IncorrectPolicyType": False,
    "InvalidPipelineStack": False,
    "InvalidResponse": True,
    "LockError": False,
    "LockNotOwnedError": False,
    "MasterDownError": True,
    "MaxConnectionsError": True,
    "ModuleError": False,
    "MovedError": True,
    "NoPermissionError": False,
    "NoScriptError": False,
    "NoSuchFieldsetError": False,
    "OutOfMemoryError": False,
    "PubSubError": False,
    "ReadOnlyError": True,
    "RedisClusterException": True,
    "RedisError": False,
    "ResponseError": False,
    "SlotNotCoveredError": True,
    "TimeoutError": True,
    "TryAgainError": True,
    "WatchError": False,
}
_HINTS = {
    "AuthenticationError": "set online.password, and the user in the address",
    "NoPermissionError": "the user needs get, mget, set, mset, unlink, scan and eval on the keys asof:*",
    "OutOfMemoryError": "the server's maxmemory is reached: give it more, or drop versions that nobody reads",
    "ReadOnlyError": "this server is a replica: name the primary, or redis+cluster://",
}
_DOWN = "is the server running, and may this machine connect?"
_CAPABILITIES = Capabilities(embedded=False, expires=True, max_record_bytes=2**29 - 1)
_READ_KEYS = 1_000
_WRITE_ITEMS = 500
_WRITE_BYTES = 2**22
_T = TypeVar("_T")
_limit = threading.local()


class _Limited:
    """What a connection waits for is bounded by what is left of the call's deadline."""

    def connect(self: Any) -> None:
        self.socket_connect_timeout = _left_s()
        super().connect()  # pyright: ignore[reportAttributeAccessIssue] - the class that it is mixed into

    def read_response(self, *args: Any, **options: Any) -> Any:
        options.setdefault("timeout", _left_s())
        return super().read_response(*args, **options)  # pyright: ignore[reportAttributeAccessIssue] - the class that it is mixed into


class _PlainConnection(_Limited, Connection):
    pass


class _TlsConnection(_Limited, SSLConnection):
    pass


def _left_s() -> float:
    deadline = cast("Deadline | None", getattr(_limit, "deadline", None))
    return max(0.001, deadline.left_s()) if deadline is not None else 1.0


class RedisStore:
    """Records in Redis or Valkey; options: `size` (connections to a server), `ca` (a file of certificates)."""

    def __init__(
        self,
        url: StoreUrl,
        *,
        password: str | None = None,
        timeout_s: float = 0.5,
        retries: Retries = Retries(),  # noqa: B008 - frozen
    ) -> None:
        url.take("size", "ca")
        self._name = url.name
        self._timeout_s = timeout_s
        self._retries = retries
        self._cluster = url.scheme.endswith("+cluster")
        self._connect = _connector(url, password, timeout_s, cluster=self._cluster)
        self._client: Any = None
        self._lock = threading.Lock()
        self._closed = False

    @property
    def capabilities(self) -> Capabilities:
        """A server; records can expire."""
        return _CAPABILITIES

    def get(self, wanted: Wanted) -> list[bytes | None]:
        """The records in the order of what is wanted: one MGET up to 1,000 keys."""
        keys = [_key(end, key) for name, keys in wanted for end in (_end(name),) for key in keys]
        return self._run(lambda: self._read(keys), self._timeout_s)

    def _read(self, keys: Sequence[bytes]) -> list[bytes | None]:
        client = self._open()
        if not keys:
            return []
        if not self._cluster and len(keys) <= _READ_KEYS:
            return client.mget(keys)
        found: list[bytes | None] = []
        for group in groups_of(keys, _READ_KEYS):
            found += client.mget_nonatomic(group) if self._cluster else client.mget(group)
        return found

    def write(self, namespace: str, items: Iterable[Item], *, ttl_s: int | None = None) -> int:
        """Puts records, up to 500 or 4 MiB in one round trip; each is replaced as a whole, together with its time."""
        self._usable()
        end, count = _end(namespace), 0
        for batch in batches_of(
            items,
            max_items=_WRITE_ITEMS,
            max_bytes=_WRITE_BYTES,
            max_record_bytes=_CAPABILITIES.max_record_bytes,
            store=self._name,
        ):
            rows = {_key(end, key): record for key, record in batch}
            self._run(lambda rows=rows: self._put(rows, ttl_s), self._timeout_s * STEP_FACTOR)
            count += len(batch)
        return count

    def _put(self, rows: dict[bytes, bytes], ttl_s: int | None) -> None:
        client = self._open()
        if ttl_s is None and not self._cluster:
            client.mset(rows)
            return
        pipeline = client.pipeline(transaction=False)
        for key, record in rows.items():
            pipeline.set(key, record, ex=ttl_s)
        pipeline.execute()

    def swap(self, namespace: str, items: Sequence[Swap], *, ttl_s: int | None = None) -> list[bool]:
        """Puts each record in the place of the one that is expected, up to 500 or 4 MiB in one round trip to a server;
        its time to live is the new one.
        """
        self._usable()
        end, made = _end(namespace), list[bool]()
        for batch in swap_batches(
            items,
            max_items=_WRITE_ITEMS,
            max_bytes=_WRITE_BYTES,
            max_record_bytes=_CAPABILITIES.max_record_bytes,
            store=self._name,
        ):
            swapping = _Swapping([_key(end, key) for key, _, _ in batch], batch, ttl_s, cluster=self._cluster)
            self._run(lambda swapping=swapping: swapping.go_on(self._open()), self._timeout_s * STEP_FACTOR)
            made += [each is True for each in swapping.made]
        return made

    def delete(self, namespace: str, keys: Iterable[bytes]) -> int:
        """Removes records."""
        self._usable()
        end, count = _end(namespace), 0
        for group in groups_of(keys, _WRITE_ITEMS):
            self._unlink([_key(end, key) for key in group])
            count += len(group)
        return count

    def _unlink(self, keys: Sequence[bytes]) -> None:
        def unlink() -> None:
            client = self._open()
            if not self._cluster:
                client.unlink(*keys)
                return
            pipeline = client.pipeline()
            for key in keys:
                pipeline.unlink(key)
            pipeline.execute()

        self._run(unlink, self._timeout_s * STEP_FACTOR)

    def scan(self, namespace: str) -> Iterator[Item]:
        """All records of a namespace; the server looks at all its keys for it, and the keys found are remembered."""
        begin, end = len(b"asof:{"), len(_end(namespace))
        seen: set[bytes] = set()
        for page in self._pages(namespace):
            keys = [key for key in dict.fromkeys(page) if key not in seen]
            seen.update(keys)
            for group in groups_of(keys, _READ_KEYS):
                records = self._run(lambda group=group: self._read(group), self._timeout_s * STEP_FACTOR)
                pairs = zip(group, records, strict=True)
                yield from ((key[begin:-end], record) for key, record in pairs if record is not None)

    def _pages(self, namespace: str) -> Iterator[list[bytes]]:
        """The server's keys of a namespace; one may come twice."""
        pattern, wait_s = b"asof:{*" + _end(namespace), self._timeout_s * STEP_FACTOR
        for server in self._run(self._servers, wait_s):
            cursor = 0
            while True:
                step = lambda server=server, cursor=cursor: server.scan(cursor, match=pattern, count=1_000)  # noqa: E731
                cursor, keys = cast("tuple[int, list[bytes]]", self._run(step, wait_s))
                yield keys
                if not cursor:
                    break

    def _servers(self) -> list[Any]:
        client = self._open()
        return (
            [client.get_redis_connection(node) for node in client.get_primaries()]
            if self._cluster
            else [client]
        )

    def drop(self, namespace: str) -> None:
        """Removes a namespace; the server looks at all its keys for it."""
        for page in self._pages(namespace):
            for group in groups_of(page, _WRITE_ITEMS):
                self._unlink(group)

    def close(self) -> None:
        """Lets go of the connections."""
        with self._lock:
            self._closed = True
            client, self._client = self._client, None
        if client is not None:
            client.close()
            if not self._cluster:
                client.connection_pool.disconnect()

    def _usable(self) -> None:
        if self._closed:
            raise BackendError(f"online store {self._name}: it is closed")

    def _open(self) -> Any:
        """The client; that of a cluster asks for the cluster's layout when it is made."""
        client = self._client
        if client is None:
            with self._lock:
                self._usable()
                client = self._client = self._client or self._connect()
        return client

    def _run(self, call: Callable[[], _T], wait_s: float) -> _T:
        deadline = Deadline(wait_s)
        return self._retries.run(lambda: self._once(call, deadline), deadline)

    def _once(self, call: Callable[[], _T], deadline: Deadline) -> _T:
        _limit.deadline = deadline
        try:
            return call()
        except (redis.RedisError, redis.RedisClusterException, OSError) as error:
            self._usable()
            raise _translated(error, self._name) from error
        finally:
            _limit.deadline = None


class _Swapping:
    """One batch of swaps: what is known of each, and from the second time on only what is not known is asked."""

    def __init__(
        self, keys: Sequence[bytes], swaps: Sequence[Swap], ttl_s: int | None, *, cluster: bool
    ) -> None:
        self.made: list[bool | None] = [None] * len(keys)
        self._keys, self._swaps, self._ttl_s, self._cluster = keys, swaps, ttl_s, cluster
        self._again = False

    def go_on(self, client: Any) -> None:
        """Asks the servers until all is known; whatever the driver raises."""
        again, self._again = self._again, True
        places = [place for place, made in enumerate(self.made) if made is None]
        if self._cluster:
            self._ask_cluster(client, places, again)
            return
        answers: list[int] = client.execute_command("EVAL", *self._evaluation(places, again))
        for place, answer in zip(places, answers, strict=True):
            self.made[place] = answer == 1

    def _evaluation(self, places: Sequence[int], again: bool) -> list[bytes | str | int]:
        keys, swaps = [self._keys[place] for place in places], [self._swaps[place] for place in places]
        return evaluation(keys, swaps, self._ttl_s, again=again)

    def _ask_cluster(self, client: Any, places: Sequence[int], again: bool) -> None:
        """One pipeline for each server. That of the driver for a whole cluster would repeat what it lost the answer of,
        and nobody would know.
        """
        servers: dict[str, tuple[Any, list[int]]] = {}
        for place in places:
            server = client.nodes_manager.get_node_from_slot(client.keyslot(self._keys[place]))
            servers.setdefault(server.name, (server, []))[1].append(place)
        failures: list[Exception] = []
        for server, group in servers.values():
            pipeline = client.get_redis_connection(server).pipeline(transaction=False)
            for place in group:
                pipeline.execute_command("EVAL", *self._evaluation([place], again))
            try:
                answers: list[Any] = pipeline.execute(raise_on_error=False)
            except (redis.ConnectionError, redis.TimeoutError):
                client.nodes_manager.initialize()  # another server may have its slots by now
                raise
            for place, answer in zip(group, answers, strict=True):
                found = answer
                if isinstance(answer, MovedError | AskError):
                    found = client.execute_command("EVAL", *self._evaluation([place], again))
                if isinstance(found, Exception):
                    failures.append(found)
                else:
                    self.made[place] = found[0] == 1
        if failures:
            raise failures[0]


@lru_cache(maxsize=4_096)
def _end(namespace: str) -> bytes:
    """What a namespace's keys end in; a name with characters of another meaning is there as its digest."""
    if re.fullmatch(r"[A-Za-z0-9_-]{1,64}", namespace):
        return b"}:" + namespace.encode()
    return b"}:=" + hashlib.blake2b(namespace.encode(), digest_size=16).hexdigest().encode()


def _key(end: bytes, key: bytes) -> bytes:
    return b"asof:{" + key + end


def _connector(url: StoreUrl, password: str | None, timeout_s: float, *, cluster: bool) -> Callable[[], Any]:
    tls = url.scheme.removesuffix("+cluster") in {"rediss", "valkeys"}
    options: dict[str, Any] = {
        "connection_class": _TlsConnection if tls else _PlainConnection,
        "max_connections": url.number("size", 16),
        "timeout": timeout_s,  # how long one waits for a connection that others use
        "username": url.user,
        "password": password,
        "socket_timeout": timeout_s * STEP_FACTOR,
        "health_check_interval": 30,
        "maint_notifications_config": MaintNotificationsConfig(enabled=False),
    }
    if tls and "ca" in url.options:
        options["ssl_ca_certs"] = url.options["ca"]
    host, port = url.host or "localhost", url.port or 6379
    never = Retry(NoBackoff(), 0)  # asof's own retries know the deadline
    if cluster:
        return lambda: RedisCluster(
            url=f"redis://{host}:{port}",
            retry=Retry(NoBackoff(), 1),
            connection_pool_class=BlockingConnectionPool,
            **options,
        )
    database = int(url.path) if url.path.isdigit() else 0
    pool = BlockingConnectionPool(host=host, port=port, db=database, retry=never, **options)
    return lambda: redis.Redis(connection_pool=pool)


def _translated(error: Exception, store: str) -> BackendError:
    names = [each.__name__ for each in type(error).__mro__]
    name = next((each for each in names if each in RETRYABLE), "OSError")
    # A pipeline tells the command that failed, with its record: only what follows may be told.
    said = (str(error).rpartition("caused error: ")[2].strip() or name).splitlines()[0][:200]
    retryable = RETRYABLE.get(name, True)
    return BackendError(
        f"online store {store}: {said}",
        hint=next((_HINTS[each] for each in names if each in _HINTS), _DOWN if retryable else None),
        retryable=retryable,
    )
