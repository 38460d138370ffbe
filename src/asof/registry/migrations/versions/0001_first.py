"""The first shape: objects, environments, pointers, revisions, and what is materialized."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "asof_head",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.Column("needs", sa.String(32), nullable=False),
    )
    op.create_table(
        "asof_object",
        sa.Column("digest", sa.String(64), primary_key=True),
        sa.Column("kind", sa.String(64), nullable=False),
        sa.Column("name", sa.String(128), nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("created_us", sa.BigInteger, nullable=False),
    )
    op.create_index("asof_object_by_name", "asof_object", ["kind", "name", "version"])
    op.create_table(
        "asof_environment",
        sa.Column("name", sa.String(63), primary_key=True),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.Column("base", sa.String(63)),
        sa.Column("base_revision", sa.BigInteger),
        sa.Column("created_us", sa.BigInteger, nullable=False),
        sa.Column("updated_us", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "asof_pointer",
        sa.Column("environment", sa.String(63), nullable=False),
        sa.Column("kind", sa.String(64), nullable=False),
        sa.Column("name", sa.String(128), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("from_revision", sa.BigInteger, nullable=False),
        sa.Column("until_revision", sa.BigInteger),
        sa.PrimaryKeyConstraint("environment", "kind", "name", "from_revision"),
    )
    op.create_index("asof_pointer_now", "asof_pointer", ["environment", "until_revision"])
    op.create_index("asof_pointer_digest", "asof_pointer", ["digest"])
    _history_and_materialized()
    op.execute("insert into asof_head (id, revision, needs) values (1, 0, '0.1.0')")


def _history_and_materialized() -> None:
    op.create_table(
        "asof_revision",
        sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("environment", sa.String(63), nullable=False),
        sa.Column("action", sa.String(32), nullable=False),
        sa.Column("who", sa.String(128), nullable=False),
        sa.Column("commit", sa.String(128)),
        sa.Column("plan", sa.String(64)),
        sa.Column("message", sa.Text, nullable=False),
        sa.Column("summary", sa.Text, nullable=False),
        sa.Column("undoes", sa.BigInteger),
        sa.Column("at_us", sa.BigInteger, nullable=False),
    )
    op.create_index("asof_revision_by_environment", "asof_revision", ["environment", "number"])
    op.create_table(
        "asof_materialized",
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("from_us", sa.BigInteger, nullable=False),
        sa.Column("until_us", sa.BigInteger, nullable=False),
        sa.Column("namespace", sa.String(200), nullable=False),
        sa.Column("rows", sa.BigInteger, nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("at_us", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("fingerprint", "from_us"),
    )
