"""Whatever interrupts a write, and wherever: the registry holds the old state or the new one, and works on."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import pytest
from sqlalchemy import Engine, event

from asof.define.spec import Spec
from asof.registry.state import Change
from asof.registry.store import Registry, open_registry
from tests.registry.processes import Work, commit_change, create, ended, remove, start_server, work_and_die
from tests.registry.rows import connected, dump, entity

When = Literal["before", "after"]


class Cut(Exception):
    """The interruption."""


@contextmanager
def cut(engine: Engine, at: int | str, when: When = "before") -> Iterator[None]:
    """Raises before or after the n-th statement, or before the commit; nothing, where there are fewer."""
    count = 0

    def statement(*_facts: object) -> None:
        nonlocal count
        count += 1
        if count == at:
            raise Cut

    def commit(_connection: object) -> None:
        if at == "commit":
            raise Cut

    name = f"{when}_cursor_execute"
    event.listen(engine, name, statement)
    event.listen(engine, "commit", commit)
    try:
        yield
    finally:
        event.remove(engine, name, statement)
        event.remove(engine, "commit", commit)


def states(number: int) -> tuple[dict[str, Spec], dict[str, Spec]]:
    """Two states between which a change adds, changes, removes and renames; new objects for every number."""
    same, kept = entity("same"), entity("kept", f"key_{number}", description="old")
    changed = entity("kept", f"key_{number}_b")
    old = [same, kept, entity("gone", f"gone_{number}"), entity("before", f"renamed_{number}")]
    new = [same, changed, entity("added", f"added_{number}"), entity("after", f"renamed_{number}")]
    return {spec.key: spec for spec in old}, {spec.key: spec for spec in new}


def between(
    revision: int | None, old: dict[str, Spec], new: dict[str, Spec], environment: str = "prod"
) -> Change:
    puts = tuple(spec for key, spec in new.items() if old.get(key) != spec)
    removes = tuple(key for key in old if key not in new)
    return Change(
        environment, "apply", revision, puts, removes, who="anna", summary={"counts": {"changed": 1}}
    )


def check_file(url: str) -> None:
    if url.startswith("sqlite"):
        with connected(url) as connection:
            assert connection.exec_driver_sql("pragma integrity_check").scalars().all() == ["ok"]


@pytest.mark.parametrize("when", ["before", "after"])
def test_an_apply_that_fails_at_any_statement_changes_nothing_and_can_be_made_again(
    registry: Registry, url: str, when: When
) -> None:
    engine = registry.database.engine
    held: dict[str, Spec] = {}
    revision, at, finished = None, 0, False
    while not finished:
        at += 1
        finished = True
        for new in states(at):
            before, change = dump(url), between(revision, held, new)
            with cut(engine, at, when):
                try:
                    revision = registry.commit(change)
                except Cut:
                    finished = False
                    assert dump(url) == before
                    assert revision is None or registry.state("prod").specs == held
            if dump(url) == before:
                revision = registry.commit(change)
            assert registry.state("prod").specs == new
            held = new
    assert at > 8  # so many statements does a change have
    assert [each.number for each in registry.history(limit=100)] == list(range(2 * at, 0, -1))


def test_an_apply_that_fails_at_its_commit_changes_nothing(registry: Registry, url: str) -> None:
    old, new = states(1)
    registry.commit(between(None, {}, old))
    before = dump(url)
    with cut(registry.database.engine, "commit"), pytest.raises(Cut):
        registry.commit(between(1, old, new))
    assert dump(url) == before
    assert registry.commit(between(1, old, new)) == 2


def test_a_new_environment_is_made_whole_or_not_at_all(registry: Registry, url: str) -> None:
    old, new = states(1)
    registry.commit(between(None, {}, old))
    made = Change("dev", "create", None, tuple(new.values()), ("entity:gone",), base="prod", base_expected=1)
    before = dump(url)
    for at in range(1, 100):
        with cut(registry.database.engine, at):
            try:
                registry.commit(made)
                break
            except Cut:
                assert dump(url) == before
    assert at > 8
    assert registry.state("dev").specs == {**new, "entity:before": old["entity:before"]}


def test_a_removal_that_fails_at_any_statement_changes_nothing(registry: Registry, url: str) -> None:
    old, new = states(1)
    registry.commit(between(None, {}, old))
    registry.commit(between(None, {}, new, "dev"))
    before = dump(url)
    for at in range(1, 100):
        with cut(registry.database.engine, at):
            try:
                registry.remove("dev")
                break
            except Cut:
                assert dump(url) == before
    assert at > 5
    assert [each.name for each in registry.environments()] == ["prod"]


def tables_of(url: str) -> int:
    where = (
        "sqlite_master"
        if url.startswith("sqlite")
        else "information_schema.tables where table_schema = 'public'"
    )
    with connected(url) as connection:
        return int(connection.exec_driver_sql(f"select count(*) from {where}").scalar_one())


def test_a_creation_that_fails_at_any_statement_leaves_an_empty_database_that_the_next_completes(
    url: str,
) -> None:
    for at in range(1, 200):
        with cut(Engine, at):  # type: ignore[arg-type] - of all engines, for this one is not made yet
            try:
                registry = open_registry(url)
                break
            except Cut:
                pass
        assert tables_of(url) == 0
    assert at > 12
    assert registry.environments() == []
    assert registry.commit(between(None, {}, states(1)[0])) == 1
    registry.close()


# ----------------------------------------------------------------------------------------------- real deaths


def killed(work: Work, url: str, argument: object, at: int | str, *, small_cache: bool = False) -> bool:
    """Whether a process that does the work is killed there; False when it has come to its end."""
    context = start_server()
    process = context.Process(target=work_and_die, args=(work, url, argument, at, small_cache))
    process.start()
    code = ended(process)
    assert code in {0, -9}
    return code != 0


def test_an_apply_that_is_killed_anywhere_leaves_the_old_state_or_the_new_one(
    registry: Registry, url: str
) -> None:
    held: dict[str, Spec] = {}
    revision, at, finished = None, 0, False
    while not finished:
        at += 1
        new = states(at)[at % 2]
        before, change = dump(url), between(revision, held, new)
        finished = not killed(commit_change, url, change, at)
        check_file(url)
        if not finished:
            assert dump(url) == before
            registry.commit(change)
        revision = registry.state("prod").revision
        assert registry.state("prod").specs == new
        held = new
    assert at > 8
    assert revision == at


@pytest.mark.parametrize("at", ["before", "after"])
def test_an_apply_that_is_killed_at_its_commit_is_there_or_not(registry: Registry, url: str, at: str) -> None:
    old, new = states(1)
    registry.commit(between(None, {}, old))
    before = dump(url)
    assert killed(commit_change, url, between(1, old, new), at)
    check_file(url)
    if at == "before":
        assert dump(url) == before
        registry.commit(between(1, old, new))
    assert registry.state("prod").specs == new
    assert registry.state("prod").revision == 2
    assert registry.commit(between(2, new, old)) == 3


def test_a_file_that_was_half_written_is_put_right_by_whoever_opens_it_next(tmp_path: Path) -> None:
    file = tmp_path / "registry.sqlite"
    url = f"sqlite:///{file}"
    registry = open_registry(url)
    registry.commit(between(None, {}, states(1)[0]))
    registry.close()
    before, size = dump(url), file.read_bytes()
    large = tuple(entity(f"large_{n}", description="x" * 20_000) for n in range(100))
    assert killed(commit_change, url, Change("prod", "apply", 1, large), "before", small_cache=True)
    assert file.read_bytes() != size  # pages of what was never committed
    assert Path(f"{file}-journal").stat().st_size > 0
    assert dump(url) == before
    check_file(url)
    registry = open_registry(url)
    assert registry.commit(Change("prod", "apply", 1, large)) == 2
    assert len(registry.state("prod").specs) == 4 + 100
    registry.close()


def test_a_removal_that_is_killed_anywhere_is_made_or_not(registry: Registry, url: str) -> None:
    old, new = states(1)
    registry.commit(between(None, {}, old))
    registry.commit(between(None, {}, new, "dev"))
    before = dump(url)
    assert killed(remove, url, "dev", "before")
    assert dump(url) == before
    for at in range(1, 100):
        if not killed(remove, url, "dev", at):
            break
        check_file(url)
        assert dump(url) == before
    assert at > 5
    assert_removed(registry, url, old)
    registry.commit(between(None, {}, new, "dev"))
    assert killed(remove, url, "dev", "after")
    assert_removed(registry, url, old)


def assert_removed(registry: Registry, url: str, rest: dict[str, Spec]) -> None:
    check_file(url)
    assert [each.name for each in registry.environments()] == ["prod"]
    assert registry.state("prod").specs == rest
    assert {row[2] for row in dump(url)["asof_object"]} == {spec.name for spec in rest.values()}


def test_a_creation_that_is_killed_anywhere_is_completed_by_the_next(url: str, tmp_path: Path) -> None:
    reached = 0
    for at in range(1, 200):
        if not killed(create, url, None, at):
            reached = at
            break
        assert tables_of(url) == 0
        check_file(url)
        if url.startswith("sqlite"):
            copy = tmp_path / f"copy_{at}.sqlite"
            shutil.copy(tmp_path / "registry.sqlite", copy)
            complete(f"sqlite:///{copy}")
    assert reached > 12
    complete(url)


def complete(url: str) -> None:
    registry = open_registry(url)
    assert registry.history() == []
    assert registry.commit(between(None, {}, states(1)[0])) == 1
    registry.close()
