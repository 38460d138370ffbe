"""PostgreSQL: `postgresql://user@host/database`, a table `asof_online` that is made when it is first needed.

Every statement is a transaction of its own; a batch of a write is there as a whole or not at all. What a server does
not answer in time is given up by the client, and the connection with it: a server that hangs keeps no time limits.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, LiteralString

from asof.errors import BackendError, MissingExtra
from asof.online.batches import batches_of, groups_of
from asof.online.retry import STEP_FACTOR, Deadline, Retries
from asof.online.store import Capabilities, Item, Swap, Wanted
from asof.online.store_url import StoreUrl
from asof.online.swaps import swap_batches

try:
    import psycopg
except ImportError as missing:
    raise MissingExtra("online store 'postgresql'", "postgres") from missing

# The driver's errors: may the same call succeed later? Those of SQLSTATE count as their nearest parent here.
RETRYABLE: dict[type[Exception], bool] = {
    psycopg.Error: False,
    psycopg.InterfaceError: True,
    psycopg.DatabaseError: False,
    psycopg.DataError: False,
    psycopg.OperationalError: True,
    psycopg.IntegrityError: False,
    psycopg.InternalError: False,
    psycopg.ProgrammingError: False,
    psycopg.NotSupportedError: False,
    psycopg.errors.ConnectionTimeout: True,
    psycopg.errors.CancellationTimeout: True,
    psycopg.errors.PipelineAborted: True,
    psycopg.errors.DiskFull: False,
    psycopg.errors.InvalidPassword: False,
    psycopg.errors.InvalidAuthorizationSpecification: False,
    psycopg.errors.ReadOnlySqlTransaction: True,  # a standby that is about to take over
    psycopg.errors.UndefinedTable: True,  # somebody has dropped it; it is made again
}
_REFUSED = ("authentication failed", "no password supplied", "no pg_hba.conf entry", "does not exist")
_CAPABILITIES = Capabilities(embedded=False, expires=False, max_record_bytes=2**26)
_WRITE_ITEMS = 2_000
_WRITE_BYTES = 2**23
_SCAN_ITEMS = 1_000

_EXISTS = "select to_regclass('asof_online') is not null"
_CREATE = """
create table if not exists asof_online (
    namespace text not null, key bytea not null, record bytea not null, primary key (namespace, key)
)"""
_GET = """
select w.place, o.record from unnest(%b::text[], %b::bytea[]) with ordinality w (namespace, key, place)
join asof_online o on o.namespace = w.namespace and o.key = w.key"""
_PUT = """
insert into asof_online (namespace, key, record)
select %b, key, record from unnest(%b::bytea[], %b::bytea[]) w (key, record)
on conflict (namespace, key) do update set record = excluded.record
where asof_online.record is distinct from excluded.record"""
# One statement has one snapshot, but a row that another transaction has just changed is looked at again, as it is now.
_SWAP = """
with w (place, key, expected, record) as materialized (
    select place, key, expected, record
    from unnest(%b::bigint[], %b::bytea[], %b::bytea[], %b::bytea[]) u (place, key, expected, record)
), put as (
    update asof_online o set record = w.record from w
    where o.namespace = %b and o.key = w.key and o.record = w.expected and w.record is not null returning w.place
), gone as (
    delete from asof_online o using w
    where o.namespace = %b and o.key = w.key and o.record = w.expected and w.record is null returning w.place
), new as (
    insert into asof_online (namespace, key, record)
    select %b, key, record from w where expected is null and record is not null order by key
    on conflict do nothing returning key
)
select place from put union all select place from gone
union all select w.place from w join new on new.key = w.key
union all select w.place from w left join asof_online o on o.namespace = %b and o.key = w.key
where w.expected is null and w.record is null and o.key is null"""
_DELETE = "delete from asof_online where namespace = %b and key = any(%b::bytea[])"
_SCAN = "select key, record from asof_online where namespace = %b and key > %b order by key limit %b"
_SCAN_FIRST = "select key, record from asof_online where namespace = %b order by key limit %b"
_DROP = """
delete from asof_online where namespace = %b and key in (
    select key from asof_online where namespace = %b order by key limit 10000)"""


class _Limited(psycopg.Connection[tuple[Any, ...]]):
    """A connection that waits no longer than its deadline."""

    deadline: Deadline | None = None

    def wait(self, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:
        if self.deadline is not None and timeout is None:
            timeout = self.deadline.left_s()
            interval = min(interval, timeout)
        return super().wait(gen, max(interval, 0.001), timeout)


class PostgresStore:
    """Records in PostgreSQL; options: `size`, the most connections, `sslmode` and `sslrootcert`."""

    def __init__(
        self,
        url: StoreUrl,
        *,
        password: str | None = None,
        timeout_s: float = 0.5,
        retries: Retries = Retries(),  # noqa: B008 - frozen
    ) -> None:
        options = url.take("size", "sslmode", "sslrootcert")
        self._name = url.name
        self._timeout_s = timeout_s
        self._retries = retries
        self._pool = _Pool(_parameters(url, options, password, timeout_s), url.number("size", 8), url.name)
        self._ready = False

    @property
    def capabilities(self) -> Capabilities:
        """A server; records do not expire, and are at most 64 MiB."""
        return _CAPABILITIES

    def get(self, wanted: Wanted) -> list[bytes | None]:
        """The records in the order of what is wanted, from one instant: one query."""
        names = [name for name, keys in wanted for _ in keys]
        keys = [key for _, keys in wanted for key in keys]
        found: list[bytes | None] = [None] * len(keys)
        for place, record in self._run(_GET, (names, keys), self._timeout_s):
            found[place - 1] = record
        return found

    def write(self, namespace: str, items: Iterable[Item], *, ttl_s: int | None = None) -> int:
        """Puts records, up to 2,000 or 8 MiB in one statement."""
        self._pool.usable()
        self._refuse(ttl_s)
        count = 0
        for batch in batches_of(
            items,
            max_items=_WRITE_ITEMS,
            max_bytes=_WRITE_BYTES,
            max_record_bytes=_CAPABILITIES.max_record_bytes,
            store=self._name,
        ):
            rows = sorted(dict(batch).items())  # in one order, so that two writers do not wait for each other
            self._step(_PUT, (namespace, [key for key, _ in rows], [record for _, record in rows]))
            count += len(batch)
        return count

    def swap(self, namespace: str, items: Sequence[Swap], *, ttl_s: int | None = None) -> list[bool]:
        """Puts each record in the place of the one that is expected, up to 2,000 or 8 MiB in one statement."""
        self._pool.usable()
        self._refuse(ttl_s)
        made: list[bool] = []
        for batch in swap_batches(
            items,
            max_items=_WRITE_ITEMS,
            max_bytes=_WRITE_BYTES,
            max_record_bytes=_CAPABILITIES.max_record_bytes,
            store=self._name,
        ):
            made += self._swap_batch(namespace, batch)
        return made

    def _swap_batch(self, namespace: str, batch: Sequence[Swap]) -> list[bool]:
        order = sorted(range(len(batch)), key=lambda place: batch[place][0])
        columns = [[batch[place][column] for place in order] for column in range(3)]
        tries: list[None] = []
        values = (order, *columns, namespace, namespace, namespace, namespace)
        found = self._run(_SWAP, values, self._timeout_s * STEP_FACTOR, tries)
        places: set[int] = {place for (place,) in found}
        made = [place in places for place in range(len(batch))]
        if len(tries) > 1:  # the answer to one that was made may have been lost: what is there tells
            there = self.get([(namespace, [key for key, _, _ in batch])])
            made = [one or now == record for one, now, (_, _, record) in zip(made, there, batch, strict=True)]
        return made

    def _refuse(self, ttl_s: int | None) -> None:
        if ttl_s is not None:
            raise BackendError(f"online store {self._name}: records cannot be given a time to live")

    def delete(self, namespace: str, keys: Iterable[bytes]) -> int:
        """Removes records."""
        self._pool.usable()
        count = 0
        for group in groups_of(keys, _WRITE_ITEMS):
            self._step(_DELETE, (namespace, sorted(group)))
            count += len(group)
        return count

    def scan(self, namespace: str) -> Iterator[Item]:
        """All records of a namespace in the order of their keys, a thousand in one query."""
        page = self._step(_SCAN_FIRST, (namespace, _SCAN_ITEMS))
        yield from page
        while len(page) == _SCAN_ITEMS:
            page = self._step(_SCAN, (namespace, page[-1][0], _SCAN_ITEMS))
            yield from page

    def drop(self, namespace: str) -> None:
        """Removes a namespace, 10,000 records in one transaction."""
        while self._step(_SCAN_FIRST, (namespace, 1)):
            self._step(_DROP, (namespace, namespace))

    def close(self) -> None:
        """Lets go of the connections."""
        self._pool.close()

    def _step(self, statement: LiteralString, values: Sequence[object]) -> list[Any]:
        return self._run(statement, values, self._timeout_s * STEP_FACTOR)

    def _run(
        self,
        statement: LiteralString,
        values: Sequence[object],
        wait_s: float,
        tries: list[None] | None = None,
    ) -> list[Any]:
        """The statement's rows; `tries` becomes longer by one with each time that it was tried."""
        deadline = Deadline(wait_s)

        def once() -> list[Any]:
            if tries is not None:
                tries.append(None)
            with self._translated(), self._pool.connection(deadline) as connection:
                if not self._ready:
                    _make_table(connection)
                    self._ready = True
                cursor = connection.execute(statement, values, binary=True)
                return cursor.fetchall() if cursor.description else []

        return self._retries.run(once, deadline)

    @contextmanager
    def _translated(self) -> Generator[None]:
        try:
            yield
        except psycopg.errors.UndefinedTable as error:
            self._ready = False
            raise translated(error, self._name) from error
        except (psycopg.Error, OSError) as error:
            raise translated(error, self._name) from error


class _Pool:
    """At most so many connections; the one that was used last is given first, a broken one is thrown away."""

    def __init__(self, parameters: dict[str, Any], size: int, name: str) -> None:
        self._parameters = parameters
        self._size = size
        self._name = name
        self._closed = False
        self._left_behind: list[_Limited] = []  # those of the process that this one was forked from
        self._begin()

    def _begin(self) -> None:
        self._process = os.getpid()
        self._places = threading.BoundedSemaphore(self._size)
        self._idle: list[_Limited] = []

    def usable(self) -> None:
        """Raises where the store is closed."""
        if self._closed:
            raise BackendError(f"online store {self._name}: it is closed")

    @contextmanager
    def connection(self, deadline: Deadline) -> Generator[_Limited]:
        """A connection for one statement."""
        self.usable()
        if self._process != os.getpid():
            self._left_behind += self._idle
            self._begin()
        if not self._places.acquire(timeout=deadline.left_s()):
            raise psycopg.OperationalError("all connections are in use")
        try:
            connection = self._take(deadline)
            try:
                yield connection
            except BaseException:
                connection.close()
                raise
            connection.deadline = None
            self._idle.append(connection)
            if self._closed:
                self._close_idle()
        finally:
            self._places.release()

    def _take(self, deadline: Deadline) -> _Limited:
        try:
            connection = self._idle.pop()
        except IndexError:
            connection = _in_time(lambda: _Limited.connect(**self._parameters), deadline)
        connection.deadline = deadline
        return connection

    def close(self) -> None:
        """Closes those that nobody uses; the others close when they come back."""
        self._closed = True
        self._close_idle()

    def _close_idle(self) -> None:
        while self._idle:
            try:
                self._idle.pop().close()
            except IndexError:
                return


def _in_time(connect: Callable[[], _Limited], deadline: Deadline) -> _Limited:
    """The connection, made by a thread, for the driver waits for at least 2 seconds; one that comes late is closed."""
    made: list[_Limited | Exception] = []
    ready, lock = threading.Event(), threading.Lock()
    given_up = False

    def work() -> None:
        try:
            found = connect()
        except Exception as error:  # noqa: BLE001 - handed to the caller
            made.append(error)
        else:
            with lock:
                if not given_up:
                    made.append(found)
                else:
                    found.close()
        ready.set()

    threading.Thread(target=work, name="asof-online-connect", daemon=True).start()
    ready.wait(deadline.left_s())
    with lock:
        given_up = not made
    if given_up:
        raise psycopg.errors.ConnectionTimeout("the server did not take the connection in time")
    if isinstance(made[0], Exception):
        raise made[0]
    return made[0]


def _parameters(
    url: StoreUrl, options: dict[str, str], password: str | None, timeout_s: float
) -> dict[str, Any]:
    given = {
        "host": url.host,
        "port": url.port,
        "user": url.user,
        "dbname": url.path or None,
        "password": password,
    }
    given |= {name: value for name, value in options.items() if name != "size"}
    return {name: value for name, value in given.items() if value is not None} | {
        "autocommit": True,
        "connect_timeout": 2,
        "application_name": "asof",
        "options": f"-c statement_timeout={max(1, int(timeout_s * STEP_FACTOR * 1_000))}",
    }


def _make_table(connection: _Limited) -> None:
    """Makes the table if there is none; of several who do that at one time, one does and the others wait."""
    (exists,) = connection.execute(_EXISTS).fetchone() or (False,)
    if not exists:
        with connection.transaction():
            connection.execute("select pg_advisory_xact_lock(hashtext('asof_online'))")
            connection.execute(_CREATE)


def translated(error: Exception, store: str) -> BackendError:
    """The driver's error in asof's words; the detail is left out, since it may tell a key."""
    said = (str(error).strip() or type(error).__name__).splitlines()[0][:300]
    retryable = next((RETRYABLE[each] for each in type(error).__mro__ if each in RETRYABLE), True)
    connecting = getattr(error, "sqlstate", None) is None  # libpq has only words for what fails then
    refused = connecting and any(words in str(error) for words in _REFUSED)
    retryable = retryable and not refused
    hint = "is the server running, and may this machine connect?" if retryable else None
    if isinstance(error, psycopg.errors.DiskFull):
        hint = "make room on the server's disk, or drop versions that nobody reads"
    elif isinstance(error, psycopg.errors.InsufficientPrivilege):
        hint = (
            "the user needs select, insert, update and delete on asof_online, and create on its schema once"
        )
    elif refused:
        hint = "look at user and database in the address, and at online.password"
    return BackendError(f"online store {store}: {said}", hint=hint, retryable=retryable)
