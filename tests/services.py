"""Servers that tests run against: the real ones, each started once for a session of tests and stopped after it.

A test takes the fixture and says so, for `make soak` leaves these out:

    @pytest.mark.service("postgres")
    def test_rows_come_back(postgres: Postgres) -> None:
        engine = create_engine(postgres.create())

Where a server is not installed its tests are skipped with one line, and fail when ASOF_REQUIRE_SERVICES=1.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any, NoReturn

import psycopg
import pytest
from confluent_kafka import KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient, NewTopic
from moto.server import ThreadedMotoServer
from psycopg import sql

USER = "asof"
KAFKA = Path(__file__).parent / "streams" / "kafka"
PATIENCE_S = 60  # a shared machine may stall
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "max_connections": "150",
    "shared_buffers": "32MB",
    "timezone": "UTC",
    # Nothing has to outlive the tests.
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
}


class Postgres:
    """A PostgreSQL server on loopback, with any number of databases."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._numbers = count(1)

    def url(self, database: str) -> str:
        """SQLAlchemy's address of a database."""
        return f"postgresql+psycopg://{USER}@127.0.0.1:{self.port}/{database}"

    def create(self) -> str:
        """The address of a new and empty database."""
        name = f"test_{next(self._numbers)}"
        self._run(sql.SQL("create database {}").format(sql.Identifier(name)))
        return self.url(name)

    def drop(self, url: str) -> None:
        """Remove a database, and whoever is still connected to it."""
        name = url.rpartition("/")[2]
        self._run(sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name)))

    def connect(self) -> psycopg.Connection[tuple[Any, ...]]:
        """A connection to the server's own database, where each statement stands by itself."""
        own = {"host": "127.0.0.1", "port": self.port, "user": USER, "dbname": "postgres"}
        return psycopg.connect(**own, autocommit=True, connect_timeout=PATIENCE_S)

    def _run(self, statement: sql.Composed) -> None:
        with self.connect() as connection:
            connection.execute(statement)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A real PostgreSQL server with nothing in it."""
    binaries = find_binaries()
    if binaries is None:
        absent("PostgreSQL", "on Debian 'apt install postgresql' brings it")
    folder = Path(tempfile.mkdtemp(prefix="asof-pg-"))
    try:
        as_owner = owner_of(folder)
        options = [
            "-A",
            "trust",
            "-U",
            USER,
            "-E",
            "UTF8",
            "--locale=C",
            "--no-sync",
            "-D",
            str(folder / "data"),
        ]
        made = subprocess.run(
            [binaries / "initdb", *options], capture_output=True, text=True, check=False, **as_owner
        )
        if made.returncode:
            pytest.fail(f"initdb failed: {made.stderr}", pytrace=False)
        yield from run_server(binaries, folder, as_owner)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def absent(name: str, hint: str) -> NoReturn:
    """Skip, or fail where all services have to be there."""
    if os.environ.get("ASOF_REQUIRE_SERVICES") == "1":
        pytest.fail(f"{name} is not installed, and ASOF_REQUIRE_SERVICES=1; {hint}", pytrace=False)
    pytest.skip(f"{name} is not installed; {hint}")


def find_binaries() -> Path | None:
    """The folder of the newest server that is installed; Debian keeps them off the path."""
    installed = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/postgres")]
    installed.sort(key=lambda path: float(path.parent.name))
    on_path = shutil.which("postgres")
    found = [*([Path(on_path).resolve().parent] if on_path else []), *installed]
    return next((path for path in reversed(found) if (path / "initdb").exists()), None)


def owner_of(folder: Path) -> dict[str, Any]:
    """How a process is started that may own the folder: PostgreSQL refuses to be root."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    options: dict[str, Any] = {"cwd": folder, "env": {**clean, "HOME": str(folder), "LC_ALL": "C"}}
    if os.getuid() != 0:
        return options
    names = {each.pw_name for each in pwd.getpwall()}
    owner = pwd.getpwnam("postgres" if "postgres" in names else "nobody")
    os.chown(folder, owner.pw_uid, owner.pw_gid)
    return {**options, "user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []}


def run_server(binaries: Path, folder: Path, as_owner: dict[str, Any]) -> Iterator[Postgres]:
    """The server while it runs; it is stopped fast, which means without waiting for who is connected."""
    server, process = start(binaries, folder, as_owner)
    try:
        yield server
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def start(binaries: Path, folder: Path, as_owner: dict[str, Any]) -> tuple[Postgres, subprocess.Popen[bytes]]:
    """A server that answers. Between our finding a port and its taking it, the port may go to somebody else."""
    log = folder / "log"
    for _ in range(3):
        server = Postgres(free_port())
        settings = {**SETTINGS, "port": str(server.port), "unix_socket_directories": str(folder)}
        command = [str(binaries / "postgres"), "-D", str(folder / "data")]
        command += [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        if setpriv := shutil.which("setpriv"):  # a session that is killed takes its server with it
            command = [setpriv, "--pdeathsig", "INT", "--", *command]
        with log.open("wb") as out:
            process = subprocess.Popen(command, stdout=out, stderr=out, **as_owner)
        if answers(server, process):
            return server, process
    pytest.fail(f"PostgreSQL did not start: {log.read_text()}", pytrace=False)


def answers(server: Postgres, process: subprocess.Popen[bytes]) -> bool:
    """Whether the server comes to accept connections; False once it has ended."""
    for _ in range(PATIENCE_S * 20):
        try:
            server.connect().close()
        except psycopg.OperationalError:
            try:
                process.wait(0.05)
            except subprocess.TimeoutExpired:
                continue
            return False
        return process.poll() is None
    process.kill()
    process.wait()
    return False


def free_port() -> int:
    """A port of loopback that nobody has."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


class Redis:
    """A Redis server on loopback, which can be stopped, paused and started again on its port."""

    def __init__(self, binary: str, folder: Path, *options: str) -> None:
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}"
        self.folder = folder
        self._command = [binary, "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(folder)]
        self._command += ["--save", "", "--daemonize", "no", "--loglevel", "warning", *options]
        if setpriv := shutil.which("setpriv"):
            self._command = [setpriv, "--pdeathsig", "KILL", "--", *self._command]
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        with (self.folder / f"log-{self.port}").open("ab") as out:
            self.process = subprocess.Popen(self._command, stdout=out, stderr=out)
        for _ in range(PATIENCE_S * 50):
            try:
                if self.ask("PING").startswith(b"+PONG"):
                    return
            except OSError:
                pass
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(0.02)
                break
        pytest.fail(f"Redis did not start: {(self.folder / f'log-{self.port}').read_text()}", pytrace=False)

    def ask(self, line: str) -> bytes:
        """What the server answers to a command, up to 64 KB."""
        with socket.create_connection(("127.0.0.1", self.port), 5) as connection:
            connection.sendall(line.encode() + b"\r\n")
            return connection.recv(65_536)

    def signal(self, number: signal.Signals) -> None:
        """SIGSTOP lets it hang, SIGCONT go on."""
        assert self.process is not None
        self.process.send_signal(number)

    def stop(self) -> None:
        """End it at once; what it held is gone."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()


def redis_binary(name: str = "server") -> str:
    """The program of Redis or Valkey, or a test that is skipped."""
    found = shutil.which(f"redis-{name}") or shutil.which(f"valkey-{name}")
    return found or absent("Redis", "on Debian 'apt install redis-server' brings it")


@pytest.fixture(scope="session")
def redis_server() -> Iterator[Redis]:
    """A real Redis server with nothing in it."""
    folder = Path(tempfile.mkdtemp(prefix="asof-redis-"))
    server = Redis(redis_binary(), folder)
    try:
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def redis_cluster() -> Iterator[list[Redis]]:
    """Three servers that are one cluster."""
    folder = Path(tempfile.mkdtemp(prefix="asof-redis-cluster-"))
    binary, made = redis_binary(), list[Redis]()
    try:
        for number in range(3):
            (folder / str(number)).mkdir()
            patience = ("--cluster-node-timeout", "60000")  # a busy machine may stall for seconds
            options = ("--cluster-enabled", "yes", *patience)
            made.append(Redis(binary, folder / str(number), *options, "--cluster-port", str(free_port())))
            made[-1].start()
        names = [f"127.0.0.1:{server.port}" for server in made]
        create = [redis_binary("cli"), "--cluster", "create", *names, "--cluster-yes"]
        done = subprocess.run(create, capture_output=True, text=True, check=False, timeout=PATIENCE_S)
        if done.returncode:
            pytest.fail(f"the cluster was not made: {done.stdout}{done.stderr}", pytrace=False)
        yield made
    finally:
        for server in made:
            server.stop()
        shutil.rmtree(folder, ignore_errors=True)


class Kafka:
    """A Kafka broker on loopback, which can be stopped, paused and started again with what it holds.

    Its jars are those of tests/streams/kafka/pom.xml, as Maven finds them.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.process: subprocess.Popen[bytes] | None = None
        self.servers = self.sasl_servers = ""
        self._numbers = count(1)

    def start(self) -> None:
        """Start it and wait until it takes messages; what an earlier run held is there again."""
        known = self.servers != ""
        for _ in range(1 if known else 3):
            if not known:
                self._configure()
            with (self.folder / "log").open("ab") as out:
                self.process = subprocess.Popen(self._java("kafka.Kafka"), stdout=out, stderr=out)
            if self._answers():
                return
        log = (self.folder / "log").read_text(errors="replace")
        pytest.fail(f"Kafka did not start: {log[-4_000:]}", pytrace=False)

    def new_topic(self, partitions: int = 1, **settings: str) -> str:
        """The name of a topic that is empty."""
        name = f"test-{next(self._numbers)}"
        config = {"message.timestamp.type": "LogAppendTime"}
        config |= {key.replace("_", "."): value for key, value in settings.items()}
        admin = AdminClient({"bootstrap.servers": self.servers, "log_level": 0})
        admin.create_topics([NewTopic(name, partitions, 1, config=config)])[name].result(PATIENCE_S)
        for _ in range(PATIENCE_S * 50):  # made is not yet known
            try:
                admin.describe_topics(TopicCollection([name]))[name].result(PATIENCE_S)
            except KafkaException:
                time.sleep(0.02)
            else:
                return name
        pytest.fail(f"nobody knows topic {name}", pytrace=False)

    def signal(self, number: signal.Signals) -> None:
        """SIGSTOP lets it hang, SIGCONT go on."""
        assert self.process is not None
        self.process.send_signal(number)

    def stop(self) -> None:
        """End it at once."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def _configure(self) -> None:
        """Settings with ports that nobody has, and an empty folder."""
        plain, sasl, controller = free_port(), free_port(), free_port()
        data = self.folder / f"data-{plain}"
        at = f"PLAINTEXT://127.0.0.1:{plain},SASL://127.0.0.1:{sasl}"
        added = [f"log.dirs={data}", f"controller.quorum.voters=1@127.0.0.1:{controller}"]
        added += [f"listeners={at},CONTROLLER://127.0.0.1:{controller}", f"advertised.listeners={at}"]
        settings = (KAFKA / "server.properties").read_text() + "\n".join(added) + "\n"
        (self.folder / "server.properties").write_text(settings)
        self.servers, self.sasl_servers = f"127.0.0.1:{plain}", f"127.0.0.1:{sasl}"
        format_it = [*self._java("kafka.tools.StorageTool", "format", "-t", "YXNvZi10ZXN0cy1hLTAwMA", "-c")]
        run_or_fail("Kafka was not formatted", format_it)

    def _java(self, *what: str) -> list[str]:
        """A program of Kafka's with the settings."""
        small = ["-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]  # it starts in half of the time
        command = ["java", *small, "-cp", (self.folder / "classpath").read_text()]
        if setpriv := shutil.which("setpriv"):
            command = [setpriv, "--pdeathsig", "KILL", "--", *command]
        return [*command, *what, str(self.folder / "server.properties")]

    def _answers(self) -> bool:
        """Whether the broker comes to know itself; False once it has ended."""
        assert self.process is not None
        admin = AdminClient(
            {"bootstrap.servers": self.servers, "log_level": 0, "reconnect.backoff.max.ms": 100}
        )
        for _ in range(PATIENCE_S * 5):
            if self.process.poll() is not None:
                return False
            try:
                if admin.list_topics(timeout=0.2).brokers:
                    return True
            except KafkaException:
                continue
        self.stop()
        return False


def run_or_fail(what: str, command: list[str]) -> None:
    """Run a program to its end."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10 * PATIENCE_S)
    if done.returncode:
        pytest.fail(f"{what}: {(done.stdout + done.stderr)[-4_000:]}", pytrace=False)


def kafka_in(folder: Path) -> Kafka:
    """A broker that is not started yet, or a test that is skipped."""
    if shutil.which("java") is None or shutil.which("mvn") is None:
        absent("Kafka", "its tests need Java and Maven: 'apt install openjdk-17-jre-headless maven'")
    find = ["mvn", "-q", "-B", "-f", str(KAFKA / "pom.xml"), "dependency:build-classpath"]
    run_or_fail("Maven did not find Kafka's jars", [*find, f"-Dmdep.outputFile={folder / 'classpath'}"])
    return Kafka(folder)


@pytest.fixture(scope="session")
def kafka() -> Iterator[Kafka]:
    """A real Kafka broker without topics."""
    folder = Path(tempfile.mkdtemp(prefix="asof-kafka-"))
    server = None
    try:
        server = kafka_in(folder)
        server.start()
        yield server
    finally:
        if server is not None:
            server.stop()
        shutil.rmtree(folder, ignore_errors=True)


class DynamoDB:
    """An emulation of DynamoDB's API on loopback; its answers are those of the real one, over HTTP."""

    def __init__(self, port: int) -> None:
        self.endpoint = f"http://127.0.0.1:{port}"
        self._numbers = count(1)

    def url(self, **options: str) -> str:
        """asof's address of a table that nobody has used."""
        more = "".join(f"&{name}={value}" for name, value in options.items())
        return f"dynamodb://us-east-1/test_{next(self._numbers)}?endpoint={self.endpoint}&create=true{more}"


@pytest.fixture(scope="session")
def dynamodb() -> Iterator[DynamoDB]:
    """A DynamoDB API with nothing in it."""
    port = free_port()
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=port, verbose=False)
    server.start()
    keys = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_EC2_METADATA_DISABLED": "true"}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in keys.items():
            patch.setenv(name, value)
        yield DynamoDB(port)
    server.stop()
