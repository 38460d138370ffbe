"""The registry's tables. They know no kind of object: a new kind changes nothing here.

Objects are immutable. An environment points at objects, and each pointer says from which revision until which it
held, so that the state at any revision is one query, and a revision costs what it changes. The shape is changed by a
migration (migrations/versions/), never here alone.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, MetaData, PrimaryKeyConstraint, String, Table, Text

NEWEST = "0001"  # the last migration; a test compares it with migrations/versions/
NEEDS = "0.1.0"  # the oldest asof that understands a registry of that shape

metadata = MetaData()

# One row: the last revision, and who may read. Updating it is the lock that all writers take first.
head = Table(
    "asof_head",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("revision", BigInteger, nullable=False),
    Column("needs", String(32), nullable=False),
)

objects = Table(
    "asof_object",
    metadata,
    Column("digest", String(64), primary_key=True),
    Column("kind", String(64), nullable=False),
    Column("name", String(128), nullable=False),
    Column("version", Integer, nullable=False),
    Column("fingerprint", String(64), nullable=False),
    Column("body", Text, nullable=False),
    Column("created_us", BigInteger, nullable=False),
    Index("asof_object_by_name", "kind", "name", "version"),
)

environments = Table(
    "asof_environment",
    metadata,
    Column("name", String(63), primary_key=True),
    Column("revision", BigInteger, nullable=False),
    Column("base", String(63)),
    Column("base_revision", BigInteger),
    Column("created_us", BigInteger, nullable=False),
    Column("updated_us", BigInteger, nullable=False),
)

pointers = Table(
    "asof_pointer",
    metadata,
    Column("environment", String(63), nullable=False),
    Column("kind", String(64), nullable=False),
    Column("name", String(128), nullable=False),
    Column("digest", String(64), nullable=False),
    Column("from_revision", BigInteger, nullable=False),
    Column("until_revision", BigInteger),
    PrimaryKeyConstraint("environment", "kind", "name", "from_revision"),
    Index("asof_pointer_now", "environment", "until_revision"),
    Index("asof_pointer_digest", "digest"),
)

revisions = Table(
    "asof_revision",
    metadata,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("environment", String(63), nullable=False),
    Column("action", String(32), nullable=False),
    Column("who", String(128), nullable=False),
    Column("commit", String(128)),
    Column("plan", String(64)),
    Column("message", Text, nullable=False),
    Column("summary", Text, nullable=False),
    Column("undoes", BigInteger),
    Column("at_us", BigInteger, nullable=False),
    Index("asof_revision_by_environment", "environment", "number"),
)

# Which intervals of which version are in an online store; written by whoever fills the store.
materialized = Table(
    "asof_materialized",
    metadata,
    Column("fingerprint", String(64), nullable=False),
    Column("from_us", BigInteger, nullable=False),
    Column("until_us", BigInteger, nullable=False),
    Column("namespace", String(200), nullable=False),
    Column("rows", BigInteger, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("at_us", BigInteger, nullable=False),
    PrimaryKeyConstraint("fingerprint", "from_us"),
)
