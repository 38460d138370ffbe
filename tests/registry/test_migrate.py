"""The registry's tables come from migrations; what another asof, or another application, has made is refused."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Column, String, Table, create_engine

import asof
from asof.errors import RegistryTooNew, StateError
from asof.registry import migrations
from asof.registry.store import Registry, open_registry
from asof.registry.tables import NEEDS, NEWEST, head, metadata
from tests.registry.rows import commit, connected, dump, entity, run


def scripts() -> ScriptDirectory:
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    return ScriptDirectory.from_config(config)


def numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:3])


@pytest.mark.usefixtures("registry")
def test_the_migrations_make_the_tables_that_the_code_knows(url: str) -> None:
    with connected(url) as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_a_difference_between_migrations_and_tables_would_be_found(url: str) -> None:
    engine = create_engine(url)
    with engine.begin() as connection:
        Table(head.name, type(metadata)(), Column("id", String(3), primary_key=True)).create(connection)
        found = compare_metadata(MigrationContext.configure(connection), metadata)
    engine.dispose()
    assert len(found) > 3


@pytest.mark.usefixtures("registry")
def test_a_new_registry_is_of_the_newest_shape_and_says_what_it_needs(url: str) -> None:
    assert dump(url)["asof_head"] == [(1, 0, NEEDS)]
    with connected(url) as connection:
        shape = connection.exec_driver_sql("select version_num from alembic_version").scalars().all()
    assert shape == [NEWEST]


def test_migrations_follow_each_other_and_the_last_is_the_newest() -> None:
    found = [each.revision for each in scripts().walk_revisions()]
    assert found[0] == NEWEST
    assert found == sorted(found, reverse=True)
    assert len(scripts().get_heads()) == 1
    names = sorted(path.name[:4] for path in Path(scripts().versions).glob("[0-9]*.py"))
    assert names == sorted(found)


def test_this_asof_is_new_enough_for_the_registry_that_it_makes() -> None:
    assert numbers(NEEDS) <= numbers(asof.__version__)


def test_a_registry_of_a_newer_asof_is_refused_with_the_version_that_it_needs(
    registry: Registry, url: str
) -> None:
    commit(registry, None, entity("a"))
    run(url, "update alembic_version set version_num = '9999'", "update asof_head set needs = '7.1.0'")
    before = dump(url)
    with pytest.raises(RegistryTooNew) as caught:
        open_registry(url)
    assert str(caught.value) == (
        f"registry: it has been written by a newer asof and needs asof >= 7.1.0; this is asof {asof.__version__}\n"
        "hint: pip install 'asof>=7.1.0'"
    )
    assert caught.value.facts == {"needs": "7.1.0", "version": asof.__version__}
    assert dump(url) == before


@pytest.mark.usefixtures("registry")
def test_a_registry_at_a_migration_that_nobody_knows_is_refused(url: str) -> None:
    run(url, "update alembic_version set version_num = '0000'")
    before = dump(url)
    with pytest.raises(StateError, match=r"cannot be brought to this asof's shape: .*'0000'"):
        open_registry(url)
    assert dump(url) == before


@pytest.mark.usefixtures("registry")
@pytest.mark.parametrize("damage", ["drop table alembic_version", "delete from alembic_version"])
def test_tables_of_an_unknown_shape_are_refused(url: str, damage: str) -> None:
    run(url, damage)
    with pytest.raises(StateError, match="tables are there, but not which migration made them"):
        open_registry(url)


@pytest.mark.parametrize("version", ["0000", "3f2a91c0d4e5"])
def test_a_database_that_another_application_migrates_is_refused_and_left_alone(
    url: str, version: str
) -> None:
    run(
        url,
        "create table alembic_version (version_num varchar(32) not null)",
        f"insert into alembic_version values ('{version}')",
        "create table customer (id integer)",
    )
    with pytest.raises(
        StateError, match=f"is another application's, at its migration '{version}'\nhint: give the"
    ):
        open_registry(url)
    with connected(url) as connection:
        assert connection.exec_driver_sql("select version_num from alembic_version").scalars().all() == [
            version
        ]


def test_a_registry_can_share_a_database_with_tables_of_others(url: str) -> None:
    run(url, "create table customer (id integer)", "insert into customer values (7)")
    registry = open_registry(url)
    assert commit(registry, None, entity("a")) == 1
    registry.close()
    with connected(url) as connection:
        assert connection.exec_driver_sql("select id from customer").scalars().all() == [7]


def test_opening_a_registry_that_is_as_it_should_be_does_not_load_the_migrations(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/registry.sqlite"
    open_registry(url).close()
    code = (
        "import sys\nfrom asof.registry.store import open_registry\n"
        "open_registry(sys.argv[1]).close()\nprint('alembic' in sys.modules, 'psycopg' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, url], capture_output=True, text=True, check=True)
    assert done.stdout == "False False\n"
