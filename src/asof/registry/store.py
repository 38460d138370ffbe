"""The registry: environments that point at immutable objects, one straight history, one transaction a change."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import astuple, fields
from pathlib import Path
from typing import Any, cast

from sqlalchemy import Connection, Row, and_, delete, func, insert, or_, select

import asof
from asof.clock import Clock, SystemClock
from asof.define.body import check_body
from asof.define.names import check_unique
from asof.define.spec import Spec, digest_of
from asof.errors import DefinitionError, StateError, UnknownEnvironment, did_you_mean
from asof.registry.database import WAIT_S, Database
from asof.registry.migrate import check_shape, migrate
from asof.registry.state import Change, Environment, Materialized, Revision, State
from asof.registry.tables import environments, materialized, objects, pointers, revisions
from asof.registry.write import CHUNK, make, remove_environment

_OBJECT = (
    objects.c.digest,
    objects.c.kind,
    objects.c.name,
    objects.c.version,
    objects.c.fingerprint,
    objects.c.body,
)


class Registry:
    """What has been applied. Open one with `open_registry`."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self.database = database
        self.clock = clock

    def state(self, environment: str, *, at: int | None = None) -> State:
        """What an environment holds now, or held at a revision: one query.

        Raises:
            UnknownEnvironment: there is none; the hint names the nearest.
        """
        held = pointers.c.until_revision.is_(None)
        if at is not None:
            held = and_(
                pointers.c.from_revision <= at,
                or_(pointers.c.until_revision.is_(None), pointers.c.until_revision > at),
            )
        query = (
            select(environments.c.revision, pointers.c.kind, pointers.c.name, *_OBJECT)
            .select_from(environments)
            .outerjoin(pointers, and_(pointers.c.environment == environments.c.name, held))
            .outerjoin(objects, objects.c.digest == pointers.c.digest)
            .where(environments.c.name == environment)
            .order_by(pointers.c.kind, pointers.c.name)
        )
        with self.database.read() as connection:
            rows = connection.execute(query).all()
            if not rows:
                raise self._unknown(connection, environment)
        return _state(environment, at, rows)

    def revision(self, environment: str) -> int | None:
        """The revision that last changed an environment, or None when there is no such environment."""
        with self.database.read() as connection:
            query = select(environments.c.revision).where(environments.c.name == environment)
            return connection.execute(query).scalar()

    def environments(self) -> list[Environment]:
        """All environments by name."""
        columns = [environments.c[each.name] for each in fields(Environment)]
        with self.database.read() as connection:
            return [Environment(*row) for row in connection.execute(select(*columns).order_by(columns[0]))]

    def history(self, environment: str | None = None, *, limit: int = 50) -> list[Revision]:
        """The newest revisions, newest first, of one environment or of all."""
        columns = [revisions.c[each.name] for each in fields(Revision)]
        query = select(*columns).order_by(revisions.c.number.desc()).limit(limit)
        if environment is not None:
            query = query.where(revisions.c.environment == environment)
        with self.database.read() as connection:
            rows = [dict(row) for row in connection.execute(query).mappings()]
        return [Revision(**{**row, "summary": cast("Any", _summary(row["summary"]))}) for row in rows]

    def versions(self, kind: str, name: str) -> list[tuple[int, str, int]]:
        """The versions of an object, oldest first: number, fingerprint, and when it was first applied (us)."""
        first = func.min(objects.c.created_us)
        query = (
            select(objects.c.version, objects.c.fingerprint, first)
            .where(objects.c.kind == kind, objects.c.name == name)
            .group_by(objects.c.version, objects.c.fingerprint)
            .order_by(objects.c.version)
        )
        with self.database.read() as connection:
            return [(row[0], row[1], row[2]) for row in connection.execute(query)]

    def commit(self, change: Change) -> int:
        """Makes a change in one transaction, and gives its revision.

        Raises:
            RegistryMoved: the environment is no longer at the revision that the change expects; nothing is changed.
            DefinitionError: a body has not the form of its kind, or two objects have one name.
        """
        check_unique("a change", "objects", (spec.key for spec in change.puts))
        for spec in change.puts:
            check_body(spec.kind, _parsed(spec))
        with self.database.write() as connection:
            return make(connection, change, self.clock)

    def remove(
        self, environment: str, *, expected: int | None = None, who: str = "", commit: str | None = None
    ) -> int:
        """Removes an environment, its pointers, and every object that nothing else points at.

        Raises:
            UnknownEnvironment: there is none. StateError: it is protected. RegistryMoved: it is no longer at the
                revision that is expected.
        """
        with self.database.write() as connection:
            return remove_environment(connection, environment, expected, who, commit, self.clock)

    def materialized(self, fingerprints: Iterable[str] | None = None) -> list[Materialized]:
        """The intervals that online stores hold, of these versions or of all."""
        columns = [materialized.c[each.name] for each in fields(Materialized)]
        query = select(*columns).order_by(columns[0], columns[1])
        wanted = None if fingerprints is None else sorted(set(fingerprints))
        starts = range(0, 1 if wanted is None else len(wanted), CHUNK)
        with self.database.read() as connection:
            parts = [
                query if wanted is None else query.where(columns[0].in_(wanted[start : start + CHUNK]))
                for start in starts
            ]
            return [Materialized(*row) for part in parts for row in connection.execute(part)]

    def record_materialized(self, intervals: Sequence[Materialized]) -> None:
        """Notes what an online store holds now; an interval with the same beginning is replaced."""
        now_us = self.clock.now_us()
        with self.database.write() as connection:
            for each in intervals:
                same = (
                    materialized.c.fingerprint == each.fingerprint,
                    materialized.c.from_us == each.from_us,
                )
                connection.execute(delete(materialized).where(*same))
                names = [field.name for field in fields(Materialized)]
                connection.execute(
                    insert(materialized), {**dict(zip(names, astuple(each), strict=True)), "at_us": now_us}
                )

    def forget_materialized(self, fingerprints: Iterable[str]) -> None:
        """Notes that no store holds these versions any more."""
        with self.database.write() as connection:
            for each in fingerprints:
                connection.execute(delete(materialized).where(materialized.c.fingerprint == each))

    def is_known(self, fingerprint: str) -> bool:
        """True when an environment points at this version, or has pointed at it."""
        with self.database.read() as connection:
            query = select(objects.c.digest).where(objects.c.fingerprint == fingerprint).limit(1)
            return connection.execute(query).first() is not None

    def close(self) -> None:
        """Closes the connections."""
        self.database.close()

    def _unknown(self, connection: Connection, environment: str) -> UnknownEnvironment:
        names = connection.execute(select(environments.c.name)).scalars().all()
        hint = did_you_mean(environment, names) or "nothing has been applied yet: asof apply"
        return UnknownEnvironment(f"no environment {environment!r}", hint=hint, environment=environment)


def _parsed(spec: Spec) -> object:
    try:
        return json.loads(spec.text)
    except (ValueError, RecursionError) as error:
        raise DefinitionError(f"the body of {spec.words} is no JSON: {error}") from error


def _state(
    environment: str, at: int | None, rows: Sequence[Row[Any, Any, Any, Any, Any, Any, Any, Any, Any]]
) -> State:
    specs: dict[str, Spec] = {}
    versions: dict[str, int] = {}
    corrupted: dict[str, str] = {}
    for _, pointed_kind, pointed_name, digest, kind, name, version, fingerprint, body in rows:
        if pointed_kind is None:  # an environment that points at nothing
            continue
        key = f"{pointed_kind}:{pointed_name}"
        if digest is None:
            corrupted[key] = "its body is missing"
        elif digest_of(kind, name, fingerprint, body) != digest:
            corrupted[key] = "its body has not the digest that it was written with"
        elif not (body.startswith("{") and body.endswith("}")):
            corrupted[key] = "its body is no JSON object"
        elif f"{kind}:{name}" != key:
            corrupted[key] = f"its pointer leads to {kind}:{name}"
        else:
            specs[key] = Spec(kind, name, fingerprint, body)
            versions[key] = version
    revision = rows[0][0] if at is None else at
    return State(environment, revision, specs, versions, corrupted)


def open_registry(
    url: str, *, password: str | None = None, clock: Clock | None = None, wait_s: float = WAIT_S
) -> Registry:
    """The registry in a database, made there when it is new, and brought to the newest shape when it is older.

    Raises:
        ConfigError: the URL is none. RegistryTooNew: a newer asof has written it. StateError: it cannot be made
            there, or holds something else. BackendError: the database cannot be reached, or is locked.

    Example:
        >>> import tempfile
        >>> registry = open_registry(f"sqlite:///{tempfile.mkdtemp()}/registry.sqlite")
        >>> registry.environments()
        []
        >>> registry.close()
    """
    database = Database(url, password=password, wait_s=wait_s)
    try:
        _prepare(database)
    except BaseException:
        database.close()
        raise
    return Registry(database, clock or SystemClock())


def _summary(text: str) -> dict[str, object]:
    """What a revision did; a damaged text takes nothing else with it."""
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return cast("dict[str, object]", found) if isinstance(found, dict) else {}


def _make_folder(folder: Path) -> None:
    """The folder; asof's own keeps itself out of git, so that no commit looks changed because of it."""
    folder.mkdir(parents=True, exist_ok=True)
    ignore = folder / ".gitignore"
    if folder.name == ".asof" and not ignore.exists():
        ignore.write_text("*\n", encoding="ascii")


def _prepare(database: Database) -> None:
    if database.file is not None:
        try:
            _make_folder(database.file.parent)
        except OSError as error:
            raise StateError(
                f"registry {database.name}: its folder cannot be made: {error.strerror}"
            ) from error
    with database.read() as connection:
        ready = check_shape(connection, asof.__version__)
    if not ready:
        with database.write() as connection:
            lock_for_migration(connection)
            if not check_shape(connection, asof.__version__):  # nobody else was quicker
                migrate(connection)


def lock_for_migration(connection: Connection) -> None:
    """Lets one migration run at a time; in SQLite the transaction itself does."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("select pg_advisory_xact_lock(7262116)")
