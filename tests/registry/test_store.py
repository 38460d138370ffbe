"""The store's contract over a SQLite file and over PostgreSQL: objects, environments, one straight history."""

from __future__ import annotations

import pytest

from asof import Entity, Events, FeatureView, Parquet, count
from asof.define.spec import Spec, specs_of
from asof.errors import DefinitionError, StateError, UnknownEnvironment, UnknownName
from asof.flows.plan import find_target, plan_of
from asof.registry.state import Change, Environment, Materialized, Revision
from asof.registry.store import Registry, open_registry
from asof.testing.clock import FakeClock
from tests.registry.rows import commit, connected, dump, entity, run, statements

DAY_US = 86_400_000_000
NEW_YEAR_US = 1_735_689_600_000_000  # 2025-01-01

A1, A2 = entity("a", "one"), entity("a", "two")
A1_OWNED = entity("a", "one", owner="risk")
B1, C1 = entity("b", "one"), entity("c", "one")


def held(registry: Registry, environment: str = "prod", at: int | None = None) -> dict[str, Spec]:
    return dict(registry.state(environment, at=at).specs)


def test_a_new_registry_is_empty(registry: Registry) -> None:
    assert registry.environments() == []
    assert registry.history() == []
    assert registry.materialized() == []
    assert registry.versions("entity", "a") == []
    assert registry.revision("prod") is None


def test_what_was_put_is_read_back_object_by_object(registry: Registry) -> None:
    account = Entity("account", keys={"account_id": "string"}, description="ä 'quoted' \"twice\"\n%s :name")
    source = Events("tx", Parquet("tx.parquet"), event_time="at")
    view = FeatureView("activity", entity=account, source=source, features=[count().over("1d")])
    specs = specs_of([account, source, view])
    assert commit(registry, None, *specs.values()) == 1
    state = registry.state("prod")
    assert state.specs == specs
    assert state.revision == 1
    assert state.versions == {"entity:account": 1, "source:tx": 1, "feature_view:activity": 1}
    assert state.corrupted == {}
    assert state.get("entity", "account").body["description"] == "ä 'quoted' \"twice\"\n%s :name"


def test_a_change_puts_and_removes_and_leaves_the_rest(registry: Registry) -> None:
    commit(registry, None, A1, B1)
    assert commit(registry, 1, A2, C1, removes=("entity:b",)) == 2
    assert held(registry) == {"entity:a": A2, "entity:c": C1}


def test_every_revision_can_be_read_as_it_was(registry: Registry) -> None:
    commit(registry, None, A1, B1)
    commit(registry, 1, A2)
    commit(registry, 2, C1, removes=("entity:b",))
    commit(registry, 3, B1, A1)
    assert held(registry, at=1) == {"entity:a": A1, "entity:b": B1}
    assert held(registry, at=2) == {"entity:a": A2, "entity:b": B1}
    assert held(registry, at=3) == {"entity:a": A2, "entity:c": C1}
    assert held(registry, at=4) == held(registry) == {"entity:a": A1, "entity:b": B1, "entity:c": C1}
    assert held(registry, at=0) == {}
    assert registry.state("prod", at=2).revision == 2


def test_an_environment_that_points_at_nothing_is_there(registry: Registry) -> None:
    commit(registry, None)
    assert registry.state("prod").specs == {}
    assert registry.state("prod").revision == 1


def test_a_version_follows_the_fingerprint_and_comes_back_with_it(
    registry: Registry, clock: FakeClock
) -> None:
    commit(registry, None, A1)
    clock.advance("1d")
    commit(registry, 1, A1_OWNED)
    clock.advance("1d")
    commit(registry, 2, A2)
    assert registry.state("prod").versions == {"entity:a": 2}
    clock.advance("1d")
    commit(registry, 3, A1)
    assert registry.state("prod").versions == {"entity:a": 1}
    assert registry.versions("entity", "a") == [
        (1, A1.fingerprint, NEW_YEAR_US),
        (2, A2.fingerprint, NEW_YEAR_US + 2 * DAY_US),
    ]


def test_objects_of_one_name_and_two_kinds_have_versions_of_their_own(registry: Registry) -> None:
    source = Events("a", Parquet("a"), event_time="at")
    commit(registry, None, A1, *specs_of([source]).values())
    commit(registry, 1, A2)
    assert registry.state("prod").versions == {"entity:a": 2, "source:a": 1}


def test_the_history_tells_who_did_what_and_when(registry: Registry, clock: FakeClock) -> None:
    registry.commit(
        Change(
            "prod", "apply", None, puts=(A1,), who="anna", commit="0af3", plan="c0ffee", message="first",
            summary={"counts": {"added": 1}, "changes": ["added entity:a"]},
        )
    )  # fmt: skip
    clock.advance("1d")
    registry.commit(Change("dev", "create", None, who="ben", base="prod", base_expected=1))
    registry.commit(Change("prod", "rollback", 1, removes=("entity:a",), undoes=1))
    first, second, third = reversed(registry.history())
    assert first == Revision(
        1, "prod", "apply", "anna", "0af3", "c0ffee", "first",
        {"counts": {"added": 1}, "changes": ["added entity:a"]}, None, NEW_YEAR_US,
    )  # fmt: skip
    assert second == Revision(2, "dev", "create", "ben", None, None, "", {}, None, NEW_YEAR_US + DAY_US)
    assert (third.number, third.action, third.undoes) == (3, "rollback", 1)
    assert [each.number for each in registry.history("prod")] == [3, 1]
    assert [each.number for each in registry.history(limit=2)] == [3, 2]
    assert registry.history("nowhere") == []


def test_a_commit_of_a_git_with_long_hashes_and_changed_files_is_noted(registry: Registry) -> None:
    commit(registry, None, A1, commit="f" * 64 + "+", who="x" * 300)
    (made,) = registry.history()
    assert made.commit == "f" * 64 + "+"
    assert made.who == "x" * 128


def test_a_new_environment_points_at_what_its_base_does(registry: Registry, url: str) -> None:
    commit(registry, None, A1, B1)
    before = dump(url)
    assert commit(registry, None, environment="dev", base="prod", base_expected=1) == 2
    assert held(registry, "dev") == held(registry, "prod")
    assert dump(url)["asof_object"] == before["asof_object"]  # no copy
    commit(registry, 2, A2, environment="dev", removes=("entity:b",))
    assert held(registry, "dev") == {"entity:a": A2}
    assert held(registry, "dev", at=2) == {"entity:a": A1, "entity:b": B1}
    assert held(registry, "prod") == {"entity:a": A1, "entity:b": B1}


def test_a_new_environment_can_differ_from_its_base_at_once(registry: Registry) -> None:
    commit(registry, None, A1, B1)
    commit(registry, None, A2, C1, environment="dev", base="prod", base_expected=1, removes=("entity:b",))
    assert held(registry, "dev") == held(registry, "dev", at=2) == {"entity:a": A2, "entity:c": C1}


def test_environments_are_listed_with_their_base(registry: Registry, clock: FakeClock) -> None:
    commit(registry, None, A1)
    commit(registry, None, environment="dev", base="prod", base_expected=1)
    clock.advance("1d")
    commit(registry, 1, A2)
    commit(registry, 2, A2, environment="dev", base="prod", base_expected=3)
    assert registry.environments() == [
        Environment("dev", 4, "prod", 3, NEW_YEAR_US, NEW_YEAR_US + DAY_US),
        Environment("prod", 3, None, None, NEW_YEAR_US, NEW_YEAR_US + DAY_US),
    ]
    assert [each.protected for each in registry.environments()] == [False, True]


def test_an_environment_goes_with_its_pointers_and_with_what_only_it_had(
    registry: Registry, url: str
) -> None:
    commit(registry, None, A1)
    commit(registry, None, B1, environment="dev", base="prod", base_expected=1)
    commit(registry, 2, C1, environment="dev", removes=("entity:b",))
    assert registry.remove("dev", who="anna", commit="0af3") == 4
    assert [each.name for each in registry.environments()] == ["prod"]
    rows = dump(url)
    assert {row[2] for row in rows["asof_object"]} == {"a"}
    assert {row[0] for row in rows["asof_pointer"]} == {"prod"}
    assert registry.history()[0].action == "remove"
    assert [registry.is_known(each.fingerprint) for each in (A1, entity("b", "x"))] == [True, False]
    with pytest.raises(UnknownEnvironment):
        registry.state("dev")


def test_what_another_environment_has_pointed_at_once_stays(registry: Registry) -> None:
    commit(registry, None, A1)
    commit(registry, 1, A2)
    commit(registry, None, environment="dev", base="prod", base_expected=2)
    registry.remove("dev")
    assert held(registry, at=1) == {"entity:a": A1}
    assert registry.is_known(A1.fingerprint)


def test_a_name_that_was_removed_can_be_taken_again(registry: Registry) -> None:
    commit(registry, None, A1)
    commit(registry, None, B1, environment="dev", base="prod", base_expected=1)
    registry.remove("dev")
    assert commit(registry, None, C1, environment="dev", base="prod", base_expected=1) == 4
    assert held(registry, "dev") == {"entity:a": A1, "entity:c": C1}
    assert [each.action for each in registry.history("dev")] == ["apply", "remove", "apply"]


def test_prod_cannot_be_removed_and_the_unknown_cannot_either(registry: Registry, url: str) -> None:
    commit(registry, None, A1)
    before = dump(url)
    with pytest.raises(StateError, match="'prod' is protected"):
        registry.remove("prod")
    with pytest.raises(UnknownEnvironment, match="no environment 'dev'"):
        registry.remove("dev")
    assert dump(url) == before


def test_an_unknown_environment_is_told_with_the_nearest_name(registry: Registry) -> None:
    with pytest.raises(UnknownEnvironment, match="nothing has been applied yet: asof apply"):
        registry.state("prod")
    commit(registry, None, A1)
    with pytest.raises(UnknownEnvironment, match=r"no environment 'prd'\nhint: did you mean 'prod'\?"):
        registry.state("prd")


def test_an_unknown_object_is_told_with_the_nearest_name(registry: Registry) -> None:
    commit(registry, None, entity("account"))
    state = registry.state("prod")
    with pytest.raises(UnknownName, match=r"no entity 'acount'\nhint: did you mean 'account'\?"):
        state.get("entity", "acount")
    with pytest.raises(UnknownName, match="environment 'prod' has no feature view"):
        state.get("feature_view", "activity")


def test_intervals_in_a_store_are_noted_replaced_and_forgotten(registry: Registry) -> None:
    day = Materialized("f1", 0, 10, "activity@f1", rows=5, size_bytes=50)
    longer = Materialized("f1", 0, 20, "activity@f1", rows=9, size_bytes=90)
    next_day, other = Materialized("f1", 20, 30, "activity@f1"), Materialized("f0", -5, 5, "spend@f0")
    registry.record_materialized([day, next_day, other])
    assert registry.materialized() == [other, day, next_day]
    registry.record_materialized([longer])
    assert registry.materialized(["f1", "f9"]) == [longer, next_day]
    registry.forget_materialized(["f1"])
    assert registry.materialized() == [other]


def test_what_is_materialized_of_a_removed_environment_stays_noted(registry: Registry) -> None:
    commit(registry, None, A1)
    commit(registry, None, B1, environment="dev", base="prod", base_expected=1)
    registry.record_materialized([Materialized(B1.fingerprint, 0, 10, "b")])
    registry.remove("dev")
    assert [each.namespace for each in registry.materialized()] == ["b"]


def test_another_registry_in_the_same_database_sees_it_all(registry: Registry, url: str) -> None:
    commit(registry, None, A1, who="anna")
    other = open_registry(url)
    assert other.state("prod") == registry.state("prod")
    assert other.history() == registry.history()
    other.close()


BODIES: dict[str, tuple[str, str, str]] = {
    "an unknown field": ("entity", '{"format":1,"kezs":[]}', "no field 'kezs'\nhint: did you mean 'keys'?"),
    "a missing field": ("entity", '{"format":1}', "'keys' is missing"),
    "half of a body": ("entity", '{"format":', "the body of entity 'a' is no JSON"),
    "a list": ("entity", "[]", "the body of an entity: not an object"),
    "an unknown kind": ("enttity", "{}", "no kind 'enttity'\nhint: did you mean 'entity'?"),
}


@pytest.mark.parametrize("what", BODIES)
def test_a_body_that_is_none_is_refused_and_nothing_is_written(
    registry: Registry, url: str, what: str
) -> None:
    kind, text, words = BODIES[what]
    before = dump(url)
    with pytest.raises(DefinitionError) as caught:
        commit(registry, None, B1, Spec(kind, "a", "f" * 64, text))
    assert words in str(caught.value)
    assert dump(url) == before


def test_two_objects_of_one_name_are_refused_and_nothing_is_written(registry: Registry, url: str) -> None:
    before = dump(url)
    with pytest.raises(DefinitionError, match="a change: two objects are named 'entity:a'"):
        commit(registry, None, A1, B1, A2)
    assert dump(url) == before


def test_objects_that_stand_on_each_other_in_a_circle_are_refused_by_the_next_plan(
    registry: Registry,
) -> None:
    def union(name: str, below: str) -> Spec:
        sources = f'[{{"source":{{"ref":"source:{below}"}}}}]'
        return Spec("source", name, "f" * 64, f'{{"format":1,"sources":{sources},"type":"Union"}}')

    circle = {spec.key: spec for spec in (union("a", "b"), union("b", "c"), union("c", "a"))}
    commit(registry, None)
    with pytest.raises(
        DefinitionError, match=r"in a circle: source:a -> source:[bc] -> source:[bc] -> source:a"
    ):
        plan_of(find_target(registry, "prod"), circle)


DAMAGES = {
    "another body": "update asof_object set body = '{}' where name = 'a'",
    "another fingerprint": "update asof_object set fingerprint = 'f' where name = 'a'",
    "another name": "update asof_object set name = 'x' where name = 'a'",
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_object_is_named_and_the_rest_still_loads(
    registry: Registry, url: str, damage: str
) -> None:
    commit(registry, None, A1, B1)
    run(url, DAMAGES[damage])
    state = registry.state("prod")
    assert state.specs == {"entity:b": B1}
    assert state.versions == {"entity:b": 1}
    assert state.corrupted == {"entity:a": "its body has not the digest that it was written with"}
    with pytest.raises(StateError, match="entity 'a' is damaged: its body has not the digest") as caught:
        state.get("entity", "a")
    assert caught.value.facts == {"object": "entity:a"}


def test_an_object_that_is_missing_is_named_and_the_rest_still_loads(registry: Registry, url: str) -> None:
    commit(registry, None, A1, B1)
    run(url, "delete from asof_object where name = 'a'")
    assert registry.state("prod").corrupted == {"entity:a": "its body is missing"}
    assert registry.state("prod").specs == {"entity:b": B1}


def test_a_pointer_to_another_object_is_damage(registry: Registry, url: str) -> None:
    commit(registry, None, A1, B1)
    run(url, f"update asof_pointer set digest = '{B1.digest}' where name = 'a'")
    assert registry.state("prod").corrupted == {"entity:a": "its pointer leads to entity:b"}
    assert registry.state("prod").specs == {"entity:b": B1}


@pytest.mark.parametrize("damage", [*DAMAGES.values(), "delete from asof_object where name = 'a'"])
def test_a_damaged_object_is_whole_again_when_it_is_put_again(
    registry: Registry, url: str, damage: str
) -> None:
    commit(registry, None, A1, B1)
    run(url, damage)
    commit(registry, 1, A1)
    assert registry.state("prod").specs == {"entity:a": A1, "entity:b": B1}
    assert registry.state("prod", at=1).specs == {"entity:a": A1, "entity:b": B1}


def test_an_environment_with_a_damaged_object_can_be_changed_and_removed(
    registry: Registry, url: str
) -> None:
    commit(registry, None, A1)
    commit(registry, None, B1, environment="dev", base="prod", base_expected=1)
    run(url, "update asof_object set body = '{}' where name = 'b'")
    assert commit(registry, 2, C1, environment="dev", removes=("entity:b",)) == 3
    assert held(registry, "dev") == {"entity:a": A1, "entity:c": C1}
    registry.remove("dev")
    assert {row[2] for row in dump(url)["asof_object"]} == {"a"}


def test_a_state_is_one_query(registry: Registry) -> None:
    commit(registry, None, *(entity(f"e{n}") for n in range(30)))
    with statements(registry) as sent:
        assert len(registry.state("prod").specs) == 30
    assert [statement.split()[0] for statement in sent] == ["SELECT"]
    with statements(registry) as sent:
        registry.state("prod", at=1)
    assert len(sent) == 1


def test_a_change_sends_as_many_statements_for_many_objects_as_for_few(registry: Registry) -> None:
    with statements(registry) as few:
        commit(registry, None, A1, B1)
    with statements(registry) as many:
        commit(registry, 1, *(entity(f"e{n}", description="x" * n) for n in range(300)))
    assert len(many) == len(few)


def test_a_thousand_objects_go_in_and_out(registry: Registry) -> None:
    first = {spec.key: spec for spec in (entity(f"e{n}", "one") for n in range(1_000))}
    second = {spec.key: spec for spec in (entity(f"e{n}", "two") for n in range(1_000))}
    commit(registry, None, *first.values())
    commit(registry, 1, *second.values())
    state = registry.state("prod")
    assert state.specs == second
    assert set(state.versions.values()) == {2}
    commit(registry, 2, removes=tuple(first))
    assert registry.state("prod").specs == {}
    assert registry.state("prod", at=1).specs == first


def test_a_write_that_fails_halfway_leaves_nothing(registry: Registry, url: str) -> None:
    commit(registry, None, A1)
    before = dump(url)
    with pytest.raises(RuntimeError, match="halfway"), registry.database.write() as connection:
        connection.exec_driver_sql("update asof_head set revision = 99")
        raise RuntimeError("halfway")
    assert dump(url) == before
    with connected(url) as connection:
        assert connection.exec_driver_sql("select revision, needs from asof_head").one() == (1, "0.1.0")
