"""What can be wrong with a registry's database, and how it is told: the address, the file, the server, the driver."""

from __future__ import annotations

import importlib.util
import inspect
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import exc, text

from asof.errors import AsofError, BackendError, ConfigError, MissingExtra, RegistryMoved, StateError
from asof.registry.database import RETRYABLE, Database, parse_url
from asof.registry.holders import holders_of
from asof.registry.migrate import migrate
from asof.registry.state import Change
from asof.registry.store import Registry, lock_for_migration, open_registry
from asof.registry.write import make
from asof.testing.clock import FakeClock
from tests.registry.conftest import Open
from tests.registry.rows import commit, connected, dump, entity
from tests.services import Postgres

A1, A2 = entity("a", "one"), entity("a", "two")


# ------------------------------------------------------------------------------------------------------------ addresses


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("registry.sqlite", "registry: this is no database URL\nhint: sqlite:///path/to/registry.sqlite, or postgres"),
        ("", "this is no database URL"),
        ("postgresql://anna@host:port/db", "this is no database URL"),
        ("sqlite://", "'sqlite' is not a database for a registry"),
        ("sqlite:///:memory:", "'sqlite' is not a database for a registry"),
        ("mysql://anna@host/db", "'mysql' is not a database for a registry"),
        ("duckdb:///registry.duckdb", "'duckdb' is not a database for a registry"),
    ],
)  # fmt: skip
def test_an_address_of_another_form_is_refused(url: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        open_registry(url)
    assert words in str(caught.value)
    assert "sqlite:///path/to/registry.sqlite" in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://anna:hunter2@host/db",
        "postgresql://host/db?user=anna&password=hunter2",
        "postgresql://anna@host/db?sslpassword=hunter2",
        "postgresql://anna@host/db?Password=hunter2",
        "mysql://anna:hunter2@host/db",
    ],
)
def test_a_password_in_the_address_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        open_registry(url)
    assert str(caught.value) == (
        "registry: the URL holds a password\nhint: set registry_password = 'env:NAME'"
    )
    assert "hunter2" not in repr(caught.value.as_dict())


def test_a_password_is_used_and_never_told() -> None:
    database = Database("postgresql://anna@127.0.0.1:1/db", password="hunter2")  # noqa: S106
    assert database.engine.url.password == "hunter2"  # noqa: S105
    assert "hunter2" not in database.name + repr(database.engine)
    database.close()


@pytest.mark.parametrize(
    ("url", "driver"),
    [
        ("sqlite:///a.sqlite", "sqlite+pysqlite"),
        ("postgresql://anna@host/db", "postgresql+psycopg"),
        ("postgres://anna@host/db", "postgresql+psycopg"),
        ("postgresql+psycopg2://anna@host/db", "postgresql+psycopg"),
    ],
)
def test_an_address_gets_the_driver_that_is_there(url: str, driver: str) -> None:
    assert parse_url(url).drivername == driver


def test_postgresql_without_its_driver_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(MissingExtra) as caught:
        open_registry("postgresql://anna@host/db")
    assert str(caught.value) == (
        "a registry in PostgreSQL needs the 'postgres' extra\nhint: pip install 'asof[postgres]'"
    )


# ---------------------------------------------------------------------------------------------------------------- files


@contextmanager
def holding(file: Path, mode: str) -> Iterator[int]:
    """Another process that is in the middle of a transaction on the file."""
    code = (
        "import sqlite3, sys\n"
        "connection = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "for statement in sys.argv[2].split(';'): connection.execute(statement).fetchall()\n"
        "print('held', flush=True)\n"
        "sys.stdin.read()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(file), mode],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "held\n"
        yield process.pid
    finally:
        process.stdin.close()
        process.wait()
        process.stdout.close()


def by(pid: int) -> str:
    """Who is told to hold the lock: the process, on systems that tell."""
    return f"process {pid}" if Path("/proc/locks").exists() else "another process"


READS = "begin; select count(*) from asof_head"


@pytest.mark.parametrize("mode", ["begin immediate", "begin exclusive", READS])
def test_a_locked_file_is_waited_for_and_then_told_with_who_holds_it(tmp_path: Path, mode: str) -> None:
    file = tmp_path / "registry.sqlite"
    registry = open_registry(f"sqlite:///{file}", wait_s=0.2)
    commit(registry, None, A1)
    before = dump(f"sqlite:///{file}")
    with holding(file, mode) as pid, pytest.raises(BackendError) as caught:
        commit(registry, 1, A2)
    assert caught.value.retryable
    assert str(caught.value).startswith(f"registry sqlite:///{file}: locked by ")
    assert by(pid) in caught.value.message
    assert "for over 0.2 s; nothing was changed" in caught.value.message
    assert caught.value.hint == "try again when it has finished, or end it"
    assert dump(f"sqlite:///{file}") == before
    assert commit(registry, 1, A2) == 2
    registry.close()


def test_a_file_that_is_being_written_can_be_read(tmp_path: Path) -> None:
    file = tmp_path / "registry.sqlite"
    registry = open_registry(f"sqlite:///{file}", wait_s=0.2)
    commit(registry, None, A1)
    with holding(file, "begin immediate; update asof_head set revision = 9"):
        assert registry.state("prod").revision == 1
        other = open_registry(f"sqlite:///{file}", wait_s=0.2)
        assert other.state("prod").specs == {"entity:a": A1}
        other.close()
    registry.close()


def test_who_releases_the_lock_in_time_is_waited_for(tmp_path: Path) -> None:
    file = tmp_path / "registry.sqlite"
    registry = open_registry(f"sqlite:///{file}")
    code = (
        "import sqlite3, sys, time\n"
        "connection = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "connection.execute('begin immediate')\n"
        "print('held', flush=True)\n"
        "sys.stdin.readline()\n"
        "connection.execute('rollback')\n"
    )
    command = [sys.executable, "-c", code, str(file)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        process.stdin.write("go\n")  # it may let go before or after the write begins to wait
        process.stdin.flush()
        assert commit(registry, None, A1) == 1
    registry.close()


def test_the_lock_of_a_new_file_is_told_as_well(tmp_path: Path) -> None:
    file = tmp_path / "registry.sqlite"
    with holding(file, "begin exclusive") as pid, pytest.raises(BackendError, match="locked") as caught:
        open_registry(f"sqlite:///{file}", wait_s=0.1)
    assert by(pid) in caught.value.message
    open_registry(f"sqlite:///{file}").close()


def test_who_holds_a_file_is_told_and_oneself_is_not(tmp_path: Path) -> None:
    file = tmp_path / "held.sqlite"
    connection = sqlite3.connect(file, isolation_level=None)
    connection.execute("begin immediate")
    assert holders_of(file) == []
    connection.close()
    assert holders_of(file) == []
    with holding(file, "begin immediate") as pid:
        found = holders_of(file)
    if Path("/proc/locks").exists():
        (name,) = found
        assert name.startswith("python")
        assert name.endswith(f" (process {pid})")


def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "registry.sqlite"
    file.write_text("name,amount\n" * 1000)
    with pytest.raises(StateError, match="the file is no registry, or is damaged: file is not a database"):
        open_registry(f"sqlite:///{file}")
    assert file.read_text() == "name,amount\n" * 1000


def test_a_damaged_file_is_told(tmp_path: Path) -> None:
    file = tmp_path / "registry.sqlite"
    registry = open_registry(f"sqlite:///{file}")
    commit(registry, None, *(entity(f"e{n}", description="x" * 500) for n in range(200)))
    registry.close()
    content = file.read_bytes()
    page = int.from_bytes(content[16:18], "big")
    file.write_bytes(content[:page] + b"\xa5" * (len(content) - page))  # the first page alone is whole
    with pytest.raises(StateError, match=r"the file is no registry, or is damaged: .*malformed") as caught:
        open_registry(f"sqlite:///{file}").state("prod")
    assert isinstance(caught.value.__cause__, exc.DatabaseError)


def test_bytes_that_are_no_text_are_a_damaged_object_and_the_rest_still_loads(tmp_path: Path) -> None:
    file = tmp_path / "registry.sqlite"
    registry = open_registry(f"sqlite:///{file}")
    b1 = entity("b")
    commit(registry, None, A1, b1)
    with sqlite3.connect(file) as connection:
        connection.execute("update asof_object set body = cast(x'7bff7d' as text) where name = 'a'")
    connection.close()
    state = registry.state("prod")
    assert state.specs == {"entity:b": b1}
    assert list(state.corrupted) == ["entity:a"]
    registry.close()


def test_a_folder_in_the_place_of_the_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(BackendError, match="unable to open database file"):
        open_registry(f"sqlite:///{tmp_path}")


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StateError, match="its folder cannot be made: Not a directory"):
        open_registry(f"sqlite:///{tmp_path}/file/deeper/registry.sqlite")


def test_the_folder_is_made_and_its_name_may_be_anything(tmp_path: Path) -> None:
    file = tmp_path / "my bank" / "50% & #1 + ü" / "registry.sqlite"
    registry = open_registry(f"sqlite:///{file}")
    assert commit(registry, None, A1) == 1
    registry.close()
    assert file.exists()


# -------------------------------------------------------------------------------------------------------------- servers


def test_a_server_that_does_not_answer_is_told_and_may_be_tried_again() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        with pytest.raises(BackendError, match=r"[Cc]onnection refused") as caught:
            open_registry(f"postgresql://anna@127.0.0.1:{port}/db")
    assert caught.value.retryable
    assert caught.value.hint == "is the server running, and may this user connect?"
    assert isinstance(caught.value.__cause__, exc.OperationalError)


@pytest.mark.service("postgres")
def test_a_database_that_is_not_there_is_told(postgres: Postgres) -> None:
    with pytest.raises(BackendError, match='database "nowhere" does not exist') as caught:
        open_registry(postgres.url("nowhere"))
    assert "\n" not in caught.value.message


@pytest.mark.service("postgres")
def test_a_connection_that_the_server_has_ended_is_replaced(postgres: Postgres) -> None:
    url = postgres.create()
    registry = open_registry(url)
    commit(registry, None, A1)
    with connected(url) as other:
        ended = other.execute(
            text(
                "select pg_terminate_backend(pid, 10000) from pg_stat_activity"
                " where datname = current_database() and application_name = 'asof'"
            )
        )
        assert ended.scalars().all() == [True]
    assert registry.state("prod").specs == {"entity:a": A1}
    assert commit(registry, 1, A2) == 2
    registry.close()


@pytest.mark.service("postgres")
def test_a_connection_that_ends_in_the_middle_of_a_write_changes_nothing(postgres: Postgres) -> None:
    url = postgres.create()
    registry = open_registry(url)
    commit(registry, None, A1)
    before = dump(url)
    with pytest.raises(BackendError) as caught, registry.database.write() as connection:
        connection.execute(text("update asof_head set revision = 9"))
        pid = connection.execute(text("select pg_backend_pid()")).scalar_one()
        with connected(url) as other:
            other.execute(text(f"select pg_terminate_backend({pid}, 10000)"))
        connection.execute(text("select 1"))
    assert caught.value.retryable
    assert dump(url) == before
    assert commit(registry, 1, A2) == 2
    registry.close()


def wait_until_somebody_waits(server: Postgres, url: str) -> None:
    """Until a session of the database waits for a lock of another."""
    query = "select count(*) from pg_stat_activity, pg_sleep(0.01) where datname = %s and wait_event_type = 'Lock'"
    with server.connect() as connection:
        for _ in range(1_000):
            found = connection.execute(query, [url.rpartition("/")[2]]).fetchone()
            if found and found[0]:
                return
    pytest.fail("nobody waits")


@pytest.mark.service("postgres")
def test_writers_wait_for_each_other_at_whatever_isolation_the_server_has(postgres: Postgres) -> None:
    url = postgres.create()
    name = url.rpartition("/")[2]
    with postgres.connect() as server:
        server.execute(f"alter database {name} set default_transaction_isolation = 'serializable'")
    one, other = open_registry(url), open_registry(url)
    commit(one, None, A1)
    with ThreadPoolExecutor(1) as thread, one.database.write() as connection:
        make(connection, Change("prod", "apply", 1, (A2,)), FakeClock())
        waiting = thread.submit(commit, other, 1, entity("b"))
        wait_until_somebody_waits(postgres, url)
        connection.commit()
        with pytest.raises(RegistryMoved, match="it was at revision 1, now it is at revision 2"):
            waiting.result(30)
    one.close()
    other.close()


@pytest.mark.service("postgres")
def test_who_opens_a_registry_that_is_being_made_waits_for_it(postgres: Postgres) -> None:
    url = postgres.create()
    database = Database(url)
    with ThreadPoolExecutor(1) as thread, database.write() as connection:
        lock_for_migration(connection)
        migrate(connection)
        waiting = thread.submit(open_registry, url)
        wait_until_somebody_waits(postgres, url)
        connection.commit()
        registry = waiting.result(30)
    assert commit(registry, None, A1) == 1
    registry.close()
    database.close()


@pytest.mark.service("postgres")
def test_a_user_who_may_only_read_reads_and_is_told_when_writing(postgres: Postgres) -> None:
    url = postgres.create()
    registry = open_registry(url)
    commit(registry, None, A1)
    registry.close()
    with connected(url) as connection:
        connection.execute(text(f"create role reader_{url.rpartition('_')[2]} login"))
        connection.execute(
            text(f"grant select on all tables in schema public to reader_{url.rpartition('_')[2]}")
        )
    reading = open_registry(url.replace("asof@", f"reader_{url.rpartition('_')[2]}@"))
    assert reading.state("prod").specs == {"entity:a": A1}
    with pytest.raises(BackendError, match="permission denied for table asof_head") as caught:
        commit(reading, 1, A2)
    assert not caught.value.retryable
    reading.close()


# -------------------------------------------------------------------------------------------------------------- drivers


def errors_of(module: object, root: type[BaseException]) -> list[type[BaseException]]:
    found = [each for _, each in inspect.getmembers(module, inspect.isclass) if issubclass(each, root)]
    return sorted(set(found), key=lambda each: each.__name__)


DRIVERS = [
    *errors_of(sqlite3, sqlite3.Error),
    *errors_of(psycopg, psycopg.Error),
    *errors_of(psycopg.errors, psycopg.Error),
]
# May the same call succeed later? By the driver's own class, as PEP 249 names them.
PEP_249 = {
    "OperationalError": True,
    "InterfaceError": True,
    "InternalError": False,
    "IntegrityError": False,
    "ProgrammingError": False,
    "DataError": False,
    "NotSupportedError": False,
    "DatabaseError": False,
    "Error": False,
}


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    made = Database(f"sqlite:///{tmp_path}/registry.sqlite")
    yield made
    made.close()


def translated(database: Database, error: Exception) -> AsofError:
    with pytest.raises(AsofError) as caught, database.read():
        raise error
    assert caught.value.__cause__ is error
    return caught.value


def example(cls: type[exc.SQLAlchemyError]) -> exc.SQLAlchemyError:
    if issubclass(cls, exc.DBAPIError):
        return cls("select 1", None, Exception("what was wrong"))
    if issubclass(cls, exc.StatementError):
        return cls("what was wrong", "select 1", None, None)
    made = cls.__new__(cls, "what was wrong")  # some want more than a message
    made.code = None
    return made


def test_every_error_of_sqlalchemy_is_mapped(database: Database) -> None:
    classes = errors_of(exc, exc.SQLAlchemyError)
    assert len(classes) > 30
    for cls in classes:
        made = translated(database, example(cls))
        assert isinstance(made, BackendError), cls
        nearest = next(each for each in cls.__mro__ if each in RETRYABLE)
        assert made.retryable == RETRYABLE[nearest], cls
        assert "what was wrong" in made.message, cls


@pytest.mark.parametrize("cls", dict.fromkeys(DRIVERS), ids=lambda cls: f"{cls.__module__}.{cls.__name__}")
def test_every_error_of_a_driver_is_mapped(database: Database, cls: type[Exception]) -> None:
    root = sqlite3.Error if issubclass(cls, sqlite3.Error) else psycopg.Error
    original = cls("something went wrong\nwith details of a row")
    wrapped = exc.DBAPIError.instance("select 1", None, original, root)
    assert isinstance(wrapped, exc.DBAPIError)
    made = translated(database, wrapped)
    assert isinstance(made, BackendError)
    kind = next(each.__name__ for each in cls.__mro__ if each.__name__ in PEP_249)
    assert made.retryable == PEP_249[kind]
    assert made.message == f"registry {database.name}: something went wrong"


def test_an_error_without_words_is_told_by_its_name(database: Database) -> None:
    silent = exc.DBAPIError.instance("select 1", None, psycopg.OperationalError(), psycopg.Error)
    assert isinstance(silent, exc.OperationalError)
    assert translated(database, silent).message == f"registry {database.name}: OperationalError"
    assert translated(database, exc.TimeoutError("")).message == f"registry {database.name}: TimeoutError"


@pytest.mark.parametrize("kind", ["read", "write"])
def test_what_the_database_refuses_is_told_as_ours(registry: Registry, kind: str) -> None:
    database = registry.database
    with pytest.raises(BackendError) as caught, getattr(database, kind)() as connection:
        connection.execute(text("select 1 from nowhere"))
    assert isinstance(caught.value.__cause__, exc.DBAPIError)
    assert "nowhere" in caught.value.message
    assert caught.value.message.startswith(f"registry {database.name}: ")


def test_our_own_errors_pass_through_as_they_are(database: Database) -> None:
    ours = StateError("ours")
    with pytest.raises(StateError) as caught, database.write():
        raise ours
    assert caught.value is ours


def test_a_closed_registry_opens_its_connections_again(opened: Open) -> None:
    registry = opened()
    commit(registry, None, A1)
    registry.close()
    assert registry.state("prod").specs == {"entity:a": A1}
