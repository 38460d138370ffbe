"""The database under the registry: one SQLite file, or a PostgreSQL server; transactions, time limits, and errors
translated once.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, exc
from sqlalchemy.engine import URL, make_url

from asof.errors import AsofError, BackendError, ConfigError, MissingExtra, StateError
from asof.registry.holders import holders_of

WAIT_S = 15.0  # how long a write waits for another one
_STATEMENT_S = 60
_CONNECT_S = 10
# SQLAlchemy's errors: may the same call succeed later? A class that is not here counts as its nearest parent.
RETRYABLE: dict[type[exc.SQLAlchemyError], bool] = {
    exc.SQLAlchemyError: False,
    exc.OperationalError: True,
    exc.InterfaceError: True,
    exc.InternalError: False,
    exc.TimeoutError: True,
    exc.DisconnectionError: True,
    exc.IntegrityError: False,
    exc.ProgrammingError: False,
    exc.DatabaseError: False,
}
_LOCKED = re.compile(r"database is locked|lock timeout|LockNotAvailable|could not obtain lock", re.IGNORECASE)
_SECRETS = {"password", "sslpassword"}  # libpq takes them as parameters, too
_FOREIGN = re.compile(r"file is not a database|malformed|file is encrypted", re.IGNORECASE)


class Database:
    """A pool of connections and two kinds of transaction: `read`, and `write`, which is the only one at a time in
    SQLite; in PostgreSQL the registry's own head row orders the writers.
    """

    def __init__(self, url: str, *, password: str | None = None, wait_s: float = WAIT_S) -> None:
        parsed = parse_url(url)
        self.name = url.partition("?")[0]  # as it was set; a password is refused above
        self.file = Path(parsed.database or "") if parsed.get_backend_name() == "sqlite" else None
        self._wait_s = wait_s
        self.engine = self._sqlite(parsed) if self.file is not None else self._postgres(parsed, password)

    def _sqlite(self, url: URL) -> Engine:
        engine = create_engine(url, connect_args={"timeout": self._wait_s})
        event.listen(engine, "connect", _plain_transactions)
        event.listen(engine, "begin", _begin)
        return engine

    def _postgres(self, url: URL, password: str | None) -> Engine:
        limits = f"-c lock_timeout={int(self._wait_s * 1000)} -c statement_timeout={_STATEMENT_S * 1000}"
        own = url.query.get("options", "")
        limits = f"{own if isinstance(own, str) else ' '.join(own)} {limits}".strip()
        options = {"connect_timeout": _CONNECT_S, "options": limits, "application_name": "asof"}
        return create_engine(
            url.set(password=password) if password else url,
            connect_args=options,
            isolation_level="READ COMMITTED",  # whatever the server's default: who has waited sees who was first
            pool_size=2,
            max_overflow=2,
            pool_timeout=self._wait_s,
            pool_pre_ping=True,
        )

    @contextmanager
    def read(self) -> Generator[Connection]:
        """A transaction that only reads."""
        with self._translated(), self.engine.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def write(self) -> Generator[Connection]:
        """A transaction that is made whole at the end, or not at all when the block raises."""
        with self._translated(), self.engine.connect() as connection:
            connection.execution_options(asof_write=True)
            with connection.begin():
                yield connection

    @contextmanager
    def _translated(self) -> Generator[None]:
        try:
            yield
        except exc.SQLAlchemyError as error:
            raise self._error(error) from error

    def _error(self, error: exc.SQLAlchemyError) -> AsofError:
        said = (str(getattr(error, "orig", None) or error).strip() or type(error).__name__).splitlines()[0][
            :300
        ]
        if _LOCKED.search(said):
            holders = holders_of(self.file) if self.file is not None else []
            by = f" by {', '.join(holders)}" if holders else " by another process"
            return BackendError(
                f"registry {self.name}: locked{by} for over {self._wait_s:g} s; nothing was changed",
                hint="try again when it has finished, or end it",
                retryable=True,
                holders=holders,
            )
        if _FOREIGN.search(said):
            return StateError(f"registry {self.name}: the file is no registry, or is damaged: {said}")
        retryable = next(RETRYABLE[cls] for cls in type(error).__mro__ if cls in RETRYABLE)
        hint = (
            "is the server running, and may this user connect?" if self.file is None and retryable else None
        )
        return BackendError(f"registry {self.name}: {said}", hint=hint, retryable=retryable)

    def close(self) -> None:
        """Closes all connections."""
        self.engine.dispose()


def parse_url(text: str) -> URL:
    """The database's URL: `sqlite:///path`, or `postgresql://user@host:port/database`.

    Raises:
        ConfigError: another form or another database, or a password in it. MissingExtra: PostgreSQL without its
            driver.
    """
    hint = "sqlite:///path/to/registry.sqlite, or postgresql://user@host:5432/database"
    try:
        url = make_url(text)
    except (exc.ArgumentError, ValueError) as error:
        raise ConfigError("registry: this is no database URL", hint=hint) from error
    if url.password or _SECRETS & {name.lower() for name in url.query}:
        raise ConfigError("registry: the URL holds a password", hint="set registry_password = 'env:NAME'")
    if url.get_backend_name() == "sqlite" and url.database and url.database != ":memory:":
        return url.set(drivername="sqlite+pysqlite")
    if url.get_backend_name() in {"postgresql", "postgres"}:
        if importlib.util.find_spec("psycopg") is None:
            raise MissingExtra("a registry in PostgreSQL", "postgres")
        return url.set(drivername="postgresql+psycopg")
    raise ConfigError(f"registry: {url.get_backend_name()!r} is not a database for a registry", hint=hint)


def _plain_transactions(connection: Any, _record: object) -> None:
    # Python's own driver would begin transactions late and commit before DDL; asof begins them itself.
    connection.isolation_level = None
    connection.text_factory = _text


def _text(data: bytes) -> str:
    """A text as it is stored; where it is damaged, something else, but never an error that takes the rest with it."""
    return data.decode(errors="replace")


def _begin(connection: Connection) -> None:
    write = connection.get_execution_options().get("asof_write", False)
    connection.exec_driver_sql("begin immediate" if write else "begin")
