"""What an environment has pointed at since a revision."""

from __future__ import annotations

from sqlalchemy import or_, select

from asof.registry.database import Database
from asof.registry.tables import pointers


def held_since(database: Database, environment: str, revision: int) -> dict[str, set[str]]:
    """The digests that an environment has pointed at, at that revision or later, by the object's key."""
    held = or_(pointers.c.until_revision.is_(None), pointers.c.until_revision > revision)
    query = select(pointers.c.kind, pointers.c.name, pointers.c.digest).where(
        pointers.c.environment == environment, held
    )
    found: dict[str, set[str]] = {}
    with database.read() as connection:
        for kind, name, digest in connection.execute(query):
            found.setdefault(f"{kind}:{name}", set()).add(digest)
    return found
