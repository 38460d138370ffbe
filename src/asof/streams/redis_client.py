"""The connections to a server of Redis, and its errors in asof's words; nobody else in this room knows the driver."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar

from asof.config import SecretRef
from asof.define.stream import RedisStream
from asof.errors import BackendError, ConfigError, MissingExtra

try:
    import redis
    from redis.backoff import NoBackoff
    from redis.maint_notifications import MaintNotificationsConfig
    from redis.retry import Retry
except ImportError as missing:
    raise MissingExtra("stream 'RedisStream'", "redis") from missing

# The driver's errors by name: may the same call succeed later? The nearest parent counts.
RETRYABLE = {
    "AskError": True,
    "AuthenticationError": False,
    "AuthorizationError": False,
    "BusyLoadingError": True,
    "ChildDeadlockedError": False,
    "ClusterDownError": True,
    "ClusterError": True,
    "ConnectionError": True,
    "CrossSlotTransactionError": False,
    "ExternalAuthProviderError": False,
    "InvalidPipelineStack": False,
    "InvalidResponse": True,
    "MasterDownError": True,
    "MovedError": True,
    "ReadOnlyError": True,
    "RedisClusterException": True,
    "RedisError": False,
    "TimeoutError": True,
    "TryAgainError": True,
}
_HINTS = {
    "AuthenticationError": "set password='env:NAME' in RedisStream",
    "NoPermissionError": "the user needs xadd, xrange, xread, xinfo, get, set, pexpire, del and eval, also on asof:*",
    "OutOfMemoryError": "the server's maxmemory is reached: give it more, or set a smaller max_events in RedisStream",
    "ReadOnlyError": "this server is a replica: name the primary",
}
_DOWN = "is the server running, and may this machine connect?"
_CONNECTIONS = 32
_T = TypeVar("_T")


class RedisClient:
    """Connections to one server, made when they are first needed; no call waits for longer than `timeout_s`."""

    def __init__(self, definition: RedisStream, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        self._definition = definition
        self._name = f"stream {definition.key!r} at {definition.url.partition('?')[0]}"
        self._lock = threading.Lock()
        self._client: Any = None
        self._closed = False

    def run(self, call: Callable[[Any], _T]) -> _T:
        """What a call gives that is made with the driver's client.

        Raises:
            BackendError: the server or the way to it fails, or the stream is closed.
            ConfigError: the address is none, or the password is not where it should be.
        """
        client = self._open()
        try:
            return call(client)
        except (redis.RedisError, redis.RedisClusterException, OSError) as error:
            self._usable()
            raise self._translated(error) from error

    def find(self, call: Callable[[Any], _T]) -> _T | None:
        """The same; None where the key is not there."""

        def or_none(client: Any) -> _T | None:
            try:
                return call(client)
            except redis.ResponseError as error:
                if "no such key" in str(error):
                    return None
                raise

        return self.run(or_none)

    def together(self, client: Any, *commands: tuple[object, ...]) -> list[Any]:
        """The answers to commands that are sent in one; none is repeated in an error."""
        pipeline = client.pipeline(transaction=False)
        for command in commands:
            pipeline.execute_command(*command)
        answers: list[Any] = pipeline.execute(raise_on_error=False)
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
        return answers

    def refused(self, what: str, *, hint: str | None = None, **facts: int) -> BackendError:
        """An error that does not pass, with the stream's name before what is wrong."""
        return BackendError(f"{self._name}: {what}", hint=hint, retryable=False, **facts)

    def close(self) -> None:
        """Lets go of the connections."""
        with self._lock:
            self._closed = True
            client, self._client = self._client, None
        if client is not None:
            client.close()
            client.connection_pool.disconnect()

    def _usable(self) -> None:
        if self._closed:
            raise self.refused("it is closed")

    def _open(self) -> Any:
        client = self._client
        if client is None:
            with self._lock:
                self._usable()
                client = self._client = self._client or self._connect()
        return client

    def _connect(self) -> Any:
        definition = self._definition
        secret = None if definition.password is None else SecretRef.parse(definition.password).resolve()
        try:
            pool = redis.BlockingConnectionPool.from_url(
                definition.url,
                password=secret,
                protocol=2,
                max_connections=_CONNECTIONS,
                timeout=self.timeout_s,  # how long one waits for a connection that others use
                socket_timeout=self.timeout_s,
                socket_connect_timeout=self.timeout_s,
                retry=Retry(NoBackoff(), 0),  # an append must not be made twice
                maint_notifications_config=MaintNotificationsConfig(enabled=False),
            )
        except ValueError as error:
            raise ConfigError(
                f"stream {definition.key!r}: its url is no address of Redis", hint="redis://host:6379/0"
            ) from error
        return redis.Redis(connection_pool=pool)

    def _translated(self, error: Exception) -> BackendError:
        names = [each.__name__ for each in type(error).__mro__]
        retryable = next((RETRYABLE[each] for each in names if each in RETRYABLE), True)
        said = (str(error).strip() or names[0]).splitlines()[0][:200]
        return BackendError(
            f"{self._name}: {said}",
            hint=next((_HINTS[each] for each in names if each in _HINTS), _DOWN if retryable else None),
            retryable=retryable,
        )
