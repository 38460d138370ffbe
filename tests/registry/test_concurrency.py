"""Many who apply at once: a change lands whole or is refused whole, nobody hangs, the history is a straight line."""

from __future__ import annotations

import pytest

from asof.errors import BackendError, RegistryMoved
from asof.registry.state import Change
from asof.registry.store import Registry
from tests.registry.conftest import Open
from tests.registry.processes import (
    PATIENCE_S,
    Outcome,
    apply_once_all_are_there,
    by,
    ended,
    start_server,
)
from tests.registry.rows import commit, connected, dump, entity

APPLIERS = 50

A1, A2, A3 = (entity("a", key) for key in ("one", "two", "three"))
B1 = entity("b", "one")


def test_of_two_who_planned_on_one_revision_the_second_is_refused_and_told_who_was_first(
    opened: Open, url: str
) -> None:
    one, other = opened(), opened()
    commit(one, None, A1, who="anna")
    commit(one, 1, A2, B1, who="anna")
    before = dump(url)
    with pytest.raises(RegistryMoved) as caught:
        commit(other, 1, A3, entity("c"), removes=("entity:a",), who="ben")
    assert str(caught.value) == (
        "the registry moved since you planned: environment 'prod': it was at revision 1, now it is at revision 2"
        " (apply by anna); nothing was changed\nhint: plan again, look, and apply"
    )
    assert caught.value.facts == {"environment": "prod", "expected": 1, "seen": 2}
    assert dump(url) == before


def test_of_two_who_make_one_environment_the_second_is_refused(opened: Open, url: str) -> None:
    one, other = opened(), opened()
    commit(one, None, A1, who="anna")
    before = dump(url)
    with pytest.raises(RegistryMoved, match=r"it was not there, now it is at revision 1 \(apply by anna\)"):
        commit(other, None, A2)
    assert dump(url) == before


def test_a_change_of_what_is_gone_is_refused(registry: Registry, url: str) -> None:
    commit(registry, None, A1, environment="dev")
    registry.remove("dev")
    before = dump(url)
    with pytest.raises(RegistryMoved, match="it was at revision 1, now it is gone"):
        commit(registry, 1, A2, environment="dev")
    assert dump(url) == before


def test_a_new_environment_is_refused_when_its_base_has_moved(registry: Registry, url: str) -> None:
    commit(registry, None, A1)
    commit(registry, 1, A2, who="anna")
    before = dump(url)
    with pytest.raises(
        RegistryMoved, match=r"environment 'prod': it was at revision 1, now it is at revision 2"
    ):
        commit(registry, None, B1, environment="dev", base="prod", base_expected=1)
    assert dump(url) == before


def test_environments_do_not_stand_in_each_others_way(opened: Open) -> None:
    one, other = opened(), opened()
    commit(one, None, A1)
    commit(other, None, A1, environment="dev")
    assert commit(one, 1, A2) == 3
    assert commit(other, 2, A3, environment="dev") == 4


def test_who_waits_too_long_for_another_writer_is_told_and_has_changed_nothing(
    opened: Open, url: str
) -> None:
    registry = opened(wait_s=0.1)
    commit(registry, None, A1)
    before = dump(url)
    with connected(url) as connection:
        connection.exec_driver_sql("update asof_head set revision = revision")
        with pytest.raises(
            BackendError, match=r"locked by .* for over 0\.1 s; nothing was changed"
        ) as caught:
            commit(registry, 1, A2)
    assert caught.value.retryable
    assert dump(url) == before
    assert commit(registry, 1, A2) == 2


def run_appliers(url: str) -> list[Outcome]:
    """Everybody opens the empty registry and plans, and when all are ready they apply. The odd ones do not give up."""
    context = start_server()
    start, outcomes = context.Barrier(APPLIERS), context.Queue()
    processes = [
        context.Process(target=apply_once_all_are_there, args=(url, n, bool(n % 2), start, outcomes))
        for n in range(APPLIERS)
    ]
    try:
        for each in processes:
            each.start()
        found = [outcomes.get(timeout=PATIENCE_S) for _ in processes]
        assert [ended(each) for each in processes] == [0] * APPLIERS
    except BaseException:
        for each in processes:
            each.kill()
        raise
    outcomes.close()
    return found


def test_fifty_who_apply_at_once_land_whole_or_are_refused_whole(url: str, opened: Open) -> None:
    outcomes = run_appliers(url)
    assert [each.wrong for each in outcomes if each.wrong] == []
    landed = {each.made: each.number for each in outcomes if each.made is not None}
    # All saw an empty registry: one was first. Whoever tried again has landed, whoever did not was refused once.
    assert len(landed) in {APPLIERS // 2, APPLIERS // 2 + 1}
    assert {n for n in range(APPLIERS) if n % 2} <= set(landed.values())
    assert all(each.refused == 1 for each in outcomes if each.made is None)
    assert sum(each.refused for each in outcomes) >= APPLIERS - 1

    registry = opened()
    history = registry.history(limit=1_000)
    numbers = range(1, len(landed) + 1)
    assert [each.number for each in history] == list(reversed(numbers))
    assert {each.number: int(each.who) for each in history} == landed
    for revision, number in landed.items():
        state = registry.state("prod", at=revision)
        wanted = [by(name, number) for name in (f"own_{number}", "shared_a", "shared_b")]
        assert list(state.specs.values()) == wanted
    assert registry.state("prod").revision == len(landed)
    assert [each.name for each in registry.environments()] == ["prod"]

    rows = dump(url)
    assert rows["asof_head"] == [(1, len(landed), "0.1.0")]
    names = {f"own_{number}" for number in landed.values()} | {"shared_a", "shared_b"}
    assert {row[2] for row in rows["asof_object"]} == names
    assert len(rows["asof_object"]) == len(rows["asof_pointer"]) == 3 * len(landed)
    # Nobody's objects overlap in time: each pointer ends where the next revision begins.
    assert all(row[5] == (row[4] + 1 if row[4] < len(landed) else None) for row in rows["asof_pointer"])


def test_versions_of_a_name_that_all_change_are_numbered_without_a_gap(opened: Open) -> None:
    one, other = opened(), opened()
    revision = None
    for number, registry in enumerate((one, other, one, other, one)):
        revision = registry.commit(Change("prod", "apply", revision, (by("a", number),)))
    assert [version for version, _, _ in one.versions("entity", "a")] == [1, 2, 3, 4, 5]
