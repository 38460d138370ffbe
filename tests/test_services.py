"""The servers that other tests run against are there, and are what they say."""

from __future__ import annotations

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError

from tests.services import Postgres, absent


def rows(url: str, *statements: str) -> list[tuple[object, ...]]:
    """What the last of the statements gives."""
    engine = create_engine(url)
    try:
        with engine.begin() as connection:
            results = [connection.execute(text(statement)) for statement in statements]
            return [tuple(row) for row in results[-1]]
    finally:
        engine.dispose()


@pytest.mark.service("postgres")
def test_rows_that_are_written_are_read_back(postgres: Postgres) -> None:
    url = postgres.create()
    made = rows(
        url,
        "create table t (name text primary key, amount numeric(18, 2), at timestamptz)",
        "insert into t values ('a', 1.50, '2024-01-01T00:00:00Z'), ('ü', null, null)",
        "select name, amount::text, at::text from t order by name",
    )
    assert made == [("a", "1.50", "2024-01-01 00:00:00+00"), ("ü", None, None)]
    assert rows(url, "select count(*) from t") == [(2,)]


@pytest.mark.service("postgres")
def test_databases_are_separate(postgres: Postgres) -> None:
    one, other = postgres.create(), postgres.create()
    assert one != other
    rows(one, "create table t (x int)", "select 1")
    found = "select count(*) from information_schema.tables where table_schema = 'public'"
    assert rows(one, found) == [(1,)]
    assert rows(other, found) == [(0,)]


@pytest.mark.service("postgres")
def test_a_database_is_dropped_although_somebody_is_connected(postgres: Postgres) -> None:
    url = postgres.create()
    engine = create_engine(url)
    with engine.connect() as connection:
        connection.execute(text("select 1"))
        postgres.drop(url)
        connection.invalidate()
    engine.dispose()
    with pytest.raises(OperationalError, match="does not exist"):
        rows(url, "select 1")


@pytest.mark.service("postgres")
def test_the_server_is_fast_and_answers_on_loopback_only(postgres: Postgres) -> None:
    names = ("fsync", "listen_addresses", "max_connections", "TimeZone")
    shown = {name: rows(postgres.url("postgres"), f"show {name}")[0][0] for name in names}
    assert shown == {
        "fsync": "off",
        "listen_addresses": "127.0.0.1",
        "max_connections": "150",
        "TimeZone": "UTC",
    }


def test_a_server_that_is_absent_skips_or_fails_with_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ASOF_REQUIRE_SERVICES", raising=False)
    with pytest.raises(pytest.skip.Exception, match=r"^Oracle is not installed; buy it$"):
        absent("Oracle", "buy it")
    monkeypatch.setenv("ASOF_REQUIRE_SERVICES", "1")
    with pytest.raises(
        pytest.fail.Exception, match=r"^Oracle is not installed, and ASOF_REQUIRE_SERVICES=1; buy it$"
    ):
        absent("Oracle", "buy it")
