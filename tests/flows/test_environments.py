"""Environments: pointers that share versions, and what is left when one goes."""

from __future__ import annotations

from pathlib import Path

import pytest

import asof
from asof.errors import DefinitionError, StateError, UnknownEnvironment
from asof.flows.environments import create_environment, find_orphans, list_environments, remove_environments
from asof.registry.state import Materialized
from asof.registry.store import Registry
from tests.flows.changing import applied, project_of, view

DAY_US = 86_400_000_000


@pytest.fixture
def registry(bank: Path):
    opened = project_of(bank).registry()
    yield opened
    opened.close()


def make(registry: Registry, name: str, base: str = "prod") -> int:
    return create_environment(registry, name, base, who="anna", commit=None)


def remove(registry: Registry, *names: str, dropped: list[str] | None = None) -> None:
    seen = [] if dropped is None else dropped
    remove_environments(
        registry, names, who="anna", commit=None, drop=lambda each: seen.append(each.namespace)
    )


def held(registry: Registry, key: str, environment: str) -> Materialized:
    spec = registry.state(environment).specs[key]
    return Materialized(spec.fingerprint, 0, DAY_US, f"{spec.name}@{environment}", 5, 1_000)


def test_a_new_environment_shares_every_version(bank: Path, registry: Registry) -> None:
    applied(bank, view(), view(name="other"))
    assert make(registry, "dev-anna") == 2
    assert registry.state("dev-anna").specs == registry.state("prod").specs
    assert {each.digest for each in registry.state("dev-anna").specs.values()} == {
        each.digest for each in registry.state("prod").specs.values()
    }


def test_only_what_differs_is_its_own(bank: Path, registry: Registry) -> None:
    applied(bank, view(), view(asof.count().over("2d"), name="other"))
    applied(bank, view(), view(asof.count().over("9d"), name="other"), environment="dev-anna", create=True)
    registry.record_materialized([held(registry, "feature_view:other", "dev-anna")])
    production, anna = sorted(
        list_environments(registry, now_us=0, abandoned_after_us=1),
        key=lambda each: -each.environment.protected,
    )
    assert (anna.objects, anna.shared, anna.own) == (4, 3, ("feature_view:other",))
    assert anna.materialized_bytes == 1_000
    assert production.own == ("feature_view:other",)
    assert (production.shared, production.materialized_bytes) == (4, 0)


def test_an_environment_is_abandoned_when_nothing_changed_it_for_long(bank: Path, registry: Registry) -> None:
    applied(bank, view())
    make(registry, "dev")
    born_us = next(e.updated_us for e in registry.environments() if e.name == "dev")

    def abandoned(after_us: int) -> list[str]:
        found = list_environments(registry, now_us=born_us + after_us, abandoned_after_us=30 * DAY_US)
        return [each.environment.name for each in found if each.is_abandoned]

    assert abandoned(30 * DAY_US - 1) == []
    assert abandoned(30 * DAY_US) == ["dev"]  # prod never is


def test_removing_one_takes_what_only_it_had(bank: Path, registry: Registry) -> None:
    applied(bank, view(), view(name="other"))
    applied(bank, view(), view(asof.count().over("9d"), name="other"), environment="dev", create=True)
    own, shared = held(registry, "feature_view:other", "dev"), held(registry, "feature_view:activity", "dev")
    registry.record_materialized([own, shared])
    dropped: list[str] = []
    remove(registry, "dev", dropped=dropped)
    assert dropped == ["other@dev"]
    assert registry.materialized() == [shared]
    assert [each.name for each in registry.environments()] == ["prod"]
    assert [number for number, _, _ in registry.versions("feature_view", "other")] == [1]
    assert registry.history()[0].action == "remove"


def test_records_that_a_removal_left_behind_are_dropped_by_the_next(bank: Path, registry: Registry) -> None:
    applied(bank, view())
    applied(bank, view(asof.count().over("9d")), environment="dev", create=True)
    registry.record_materialized([held(registry, "feature_view:activity", "dev")])
    registry.remove("dev")  # and the power fails before the store has dropped anything
    assert [each.namespace for each in find_orphans(registry)] == ["activity@dev"]
    dropped: list[str] = []
    remove(registry, dropped=dropped)
    assert dropped == ["activity@dev"]
    assert registry.materialized() == []


def test_a_store_that_fails_to_drop_leaves_the_note(bank: Path, registry: Registry) -> None:
    applied(bank, view())
    applied(bank, view(asof.count().over("9d")), environment="dev", create=True)
    registry.record_materialized([held(registry, "feature_view:activity", "dev")])

    def refuse(_each: Materialized) -> None:
        raise StateError("the store is down")

    with pytest.raises(StateError, match="down"):
        remove_environments(registry, ["dev"], who="anna", commit=None, drop=refuse)
    assert len(find_orphans(registry)) == 1


def test_what_prod_could_roll_back_to_is_kept(bank: Path, registry: Registry) -> None:
    applied(bank, view())
    make(registry, "dev")
    applied(bank, view(asof.count().over("9d")))
    remove(registry, "dev")
    assert len(registry.state("prod", at=1).specs) == 3


def test_a_removed_name_starts_afresh(bank: Path, registry: Registry) -> None:
    applied(bank, view())
    make(registry, "dev")
    remove(registry, "dev")
    make(registry, "dev")
    assert registry.state("dev").specs == registry.state("prod").specs


def test_prod_and_the_unknown_cannot_be_removed_and_nothing_else_goes(bank: Path, registry: Registry) -> None:
    applied(bank, view())
    make(registry, "dev")
    with pytest.raises(StateError, match="protected"):
        remove(registry, "dev", "prod")
    with pytest.raises(UnknownEnvironment, match="did you mean 'dev'"):
        remove(registry, "dve")
    assert [each.name for each in registry.environments()] == ["dev", "prod"]


def test_a_name_that_is_taken_or_is_none_is_refused(bank: Path, registry: Registry) -> None:
    applied(bank, view())
    with pytest.raises(StateError, match="there already"):
        make(registry, "prod")
    with pytest.raises(DefinitionError, match="is not a name"):
        make(registry, "Dev Anna")
    with pytest.raises(UnknownEnvironment):
        make(registry, "dev", "staging")
