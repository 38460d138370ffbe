"""The writes of the registry, statement by statement, inside the caller's transaction."""

from __future__ import annotations

import json
from collections.abc import Sequence

from sqlalchemy import Connection, bindparam, delete, insert, literal, select, tuple_, update
from sqlalchemy.dialects import postgresql, sqlite

from asof.clock import Clock
from asof.define.spec import Spec
from asof.errors import RegistryMoved, StateError, UnknownEnvironment
from asof.registry.state import PROTECTED, Change
from asof.registry.tables import environments, head, objects, pointers, revisions

_AHEAD_US = 300_000_000  # how far clocks of hosts may differ and be taken for one
CHUNK = 400  # values in one IN list; SQLite's limit is far above


def make(connection: Connection, change: Change, clock: Clock) -> int:
    """The change as a new revision; the caller's transaction makes it whole.

    Raises:
        RegistryMoved: the environment, or the base of a new one, is not at the revision that is expected.
    """
    number = _next_revision(connection)
    now_us = _time_of(connection, clock)
    _check_expected(connection, change)
    _upsert_environment(connection, change, number, now_us)
    if change.expected is None and change.base is not None:
        _copy_pointers(connection, change.base, change.environment, number)
    _put_objects(connection, change.puts, now_us)
    _move_pointers(connection, change, number)
    _note(connection, change, number, now_us)
    return number


def _next_revision(connection: Connection) -> int:
    """One more than the last; from here on other writers wait."""
    connection.execute(update(head).where(head.c.id == 1).values(revision=head.c.revision + 1))
    return int(connection.execute(select(head.c.revision).where(head.c.id == 1)).scalar_one())


def _time_of(connection: Connection, clock: Clock) -> int:
    """Now, or the time of the last revision where that host's clock was a little ahead: a history does not go
    backwards. A clock that is far off is not followed.
    """
    last = connection.execute(select(revisions.c.at_us).order_by(revisions.c.number.desc()).limit(1)).scalar()
    now_us = clock.now_us()
    return last if last is not None and now_us < last <= now_us + _AHEAD_US else now_us


def _check_expected(connection: Connection, change: Change) -> None:
    expected = [(change.environment, change.expected)]
    if change.base is not None and change.expected is None:
        expected.append((change.base, change.base_expected))
    for name, revision in expected:
        seen = connection.execute(select(environments.c.revision).where(environments.c.name == name)).scalar()
        if seen != revision:
            raise _moved(connection, name, revision, seen)


def _moved(connection: Connection, name: str, expected: int | None, seen: int | None) -> RegistryMoved:
    who = connection.execute(
        select(revisions.c.who, revisions.c.action).where(revisions.c.number == seen)
    ).first()
    by = f" ({who.action} by {who.who})" if who else ""
    was = "it was not there" if expected is None else f"it was at revision {expected}"
    now = "it is gone" if seen is None else f"it is at revision {seen}{by}"
    return RegistryMoved(
        f"the registry moved since you planned: environment {name!r}: {was}, now {now}; nothing was changed",
        hint="plan again, look, and apply",
        environment=name,
        expected=expected,
        seen=seen,
    )


def _upsert_environment(connection: Connection, change: Change, number: int, now_us: int) -> None:
    values: dict[str, object] = {"revision": number, "updated_us": now_us}
    if change.base is not None:
        values |= {"base": change.base, "base_revision": change.base_expected}
    if change.expected is not None:
        connection.execute(
            update(environments).where(environments.c.name == change.environment).values(**values)
        )
        return
    connection.execute(insert(environments).values(name=change.environment, created_us=now_us, **values))


def _copy_pointers(connection: Connection, base: str, environment: str, number: int) -> None:
    held = select(
        literal(environment), pointers.c.kind, pointers.c.name, pointers.c.digest, literal(number)
    ).where(pointers.c.environment == base, pointers.c.until_revision.is_(None))
    connection.execute(
        insert(pointers).from_select(["environment", "kind", "name", "digest", "from_revision"], held)
    )


def _put_objects(connection: Connection, puts: Sequence[Spec], now_us: int) -> None:
    known = _known_versions(connection, puts)
    rows: dict[str, dict[str, object]] = {}
    for spec in puts:
        numbers = known.setdefault(spec.key, {})
        version = numbers.setdefault(spec.fingerprint, max(numbers.values(), default=0) + 1)
        rows[spec.digest] = {
            "digest": spec.digest, "kind": spec.kind, "name": spec.name, "version": version,
            "fingerprint": spec.fingerprint, "body": spec.text, "created_us": now_us,
        }  # fmt: skip
    if rows:
        dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
        added = dialect.insert(objects)
        # One that is there already is the same, unless it has been damaged: then this heals it.
        whole = {column: added.excluded[column] for column in ("kind", "name", "fingerprint", "body")}
        connection.execute(
            added.on_conflict_do_update(index_elements=["digest"], set_=whole), list(rows.values())
        )


def _known_versions(connection: Connection, puts: Sequence[Spec]) -> dict[str, dict[str, int]]:
    """Key -> fingerprint -> version, of the objects with these names."""
    names = sorted({(spec.kind, spec.name) for spec in puts})
    known: dict[str, dict[str, int]] = {}
    columns = (objects.c.kind, objects.c.name, objects.c.fingerprint, objects.c.version)
    for start in range(0, len(names), CHUNK):
        query = (
            select(*columns)
            .where(tuple_(objects.c.kind, objects.c.name).in_(names[start : start + CHUNK]))
            .distinct()
        )
        for kind, name, fingerprint, version in connection.execute(query):
            known.setdefault(f"{kind}:{name}", {})[fingerprint] = version
    return known


def _move_pointers(connection: Connection, change: Change, number: int) -> None:
    """Ends the pointers of what is put or removed, and starts new ones. One that began with this very revision
    (copied from the base) never held: it is replaced.
    """
    keys = [spec.key for spec in change.puts] + list(change.removes)
    pairs = [key.split(":", 1) for key in keys]
    ended = [{"k": kind, "n": name} for kind, name in pairs]
    if ended:
        this = (
            pointers.c.environment == change.environment,
            pointers.c.kind == bindparam("k"),
            pointers.c.name == bindparam("n"),
            pointers.c.until_revision.is_(None),
        )
        if change.expected is None:
            connection.execute(delete(pointers).where(*this), ended)
        else:
            connection.execute(update(pointers).where(*this).values(until_revision=number), ended)
    started = [
        {"environment": change.environment, "kind": spec.kind, "name": spec.name, "digest": spec.digest,
         "from_revision": number}
        for spec in change.puts
    ]  # fmt: skip
    if started:
        connection.execute(insert(pointers), started)


def _note(connection: Connection, change: Change, number: int, now_us: int) -> None:
    connection.execute(
        insert(revisions).values(
            number=number, environment=change.environment, action=change.action, who=change.who[:128],
            commit=change.commit, plan=change.plan, message=change.message, undoes=change.undoes, at_us=now_us,
            summary=json.dumps(dict(change.summary), sort_keys=True),
        )
    )  # fmt: skip


def remove_environment(
    connection: Connection, environment: str, expected: int | None, who: str, commit: str | None, clock: Clock
) -> int:
    """Removes an environment with its pointers, and the objects that no environment has pointed at otherwise.

    What is materialized of them stays noted until its store has dropped it: see `Registry.materialized`.
    """
    if environment == PROTECTED:
        raise StateError(f"environment {environment!r} is protected", hint="only others can be removed")
    number = _next_revision(connection)
    now_us = _time_of(connection, clock)
    if expected is not None:
        _check_expected(connection, Change(environment, "remove", expected))
    if not connection.execute(delete(environments).where(environments.c.name == environment)).rowcount:
        raise UnknownEnvironment(f"no environment {environment!r}", environment=environment)
    connection.execute(delete(pointers).where(pointers.c.environment == environment))
    pointed = select(pointers.c.digest).where(pointers.c.digest == objects.c.digest)
    connection.execute(delete(objects).where(~pointed.exists()))
    _note(connection, Change(environment, "remove", None, who=who, commit=commit), number, now_us)
    return number
