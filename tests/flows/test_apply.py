"""Apply, rollback and promote: exactly the plan, once, and back again."""

from __future__ import annotations

from pathlib import Path

import pytest

import asof
from asof.define.window import BEGIN_US
from asof.errors import BreakingChange, NotMaterialized, RegistryMoved, StateError, UnknownEnvironment
from asof.flows.apply import apply_plan, promote, promotion_plan, rollback, rollback_plan
from asof.flows.author import Author
from asof.flows.plan import Target, plan_of
from asof.registry.state import Materialized, State, namespace_of
from asof.registry.store import Registry
from asof.usage import MemoryMeter
from tests.flows.changing import actions, applied, model, project_of, service, view

DAY_US = 86_400_000_000
ANNA = Author("anna", "c0ffee", "")


@pytest.fixture
def registry(bank: Path):
    opened = project_of(bank).registry()
    yield opened
    opened.close()


def test_an_apply_makes_the_plan_and_says_who_and_why(bank: Path, registry: Registry) -> None:
    project = project_of(bank, service())
    plan = project.plan()
    assert project.apply(plan, message="first") == 1
    assert set(registry.state("prod").specs) == set(plan.specs)
    (line,) = registry.history()
    assert (line.who, line.action, line.plan, line.message) == ("anna", "apply", plan.id, "first")
    assert line.summary["counts"] == {"added": 4}


def test_applying_the_same_twice_does_nothing(bank: Path, registry: Registry) -> None:
    applied(bank, service())
    project = project_of(bank, service())
    assert project.apply(project.plan()) is None
    assert len(registry.history()) == 1


def test_a_plan_is_made_once_only(bank: Path) -> None:
    project = project_of(bank, service())
    plan = project.plan()
    project.apply(plan)
    with pytest.raises(RegistryMoved, match="the registry moved since you planned"):
        project.apply(plan)


def test_of_two_plans_on_one_revision_the_second_is_refused_whole(bank: Path, registry: Registry) -> None:
    applied(bank, service())
    one = project_of(bank, service(), view(name="one"))
    two = project_of(bank, service(), view(name="two"))
    first, second = one.plan(), two.plan()
    one.apply(first)
    with pytest.raises(RegistryMoved, match=r"was at revision 1, now it is at revision 2 \(apply by anna\)"):
        two.apply(second)
    assert "feature_view:two" not in registry.state("prod").specs
    assert registry.versions("feature_view", "two") == []


def test_changed_definitions_are_refused(bank: Path) -> None:
    plan = project_of(bank, service()).plan()
    with pytest.raises(RegistryMoved, match="the definitions have changed"):
        project_of(bank, service(), view(name="late")).apply(plan)


def test_what_breaks_a_model_is_refused_unless_forced(bank: Path, registry: Registry) -> None:
    both = view(asof.count().over("1d"), asof.sum("amount").over("1d"))
    applied(bank, model(service(both)))
    less = project_of(bank, model(service(both["count_1d"])))
    with pytest.raises(
        BreakingChange, match="'risk' loses feature 'amount_sum_1d', read by model 'returns_model'"
    ):
        less.apply(less.plan())
    assert registry.state("prod").revision == 1
    assert less.apply(less.plan(), force=True) == 2


def test_a_model_that_goes_with_its_service_misses_nothing(bank: Path) -> None:
    applied(bank, model(service()))
    project = project_of(bank, view())
    assert project.apply(project.plan()) == 2


def test_versions_count_values_and_come_back(bank: Path, registry: Registry) -> None:
    def spend(window: str, owner: str = "") -> asof.FeatureView:
        return view(asof.sum("amount").over(window).named("spend"), owner=owner)

    for made in (spend("1d"), spend("1d", "risk"), spend("2d"), spend("1d", "fraud")):
        applied(bank, made)
    assert [number for number, _, _ in registry.versions("feature_view", "activity")] == [1, 2]
    assert registry.state("prod").versions["feature_view:activity"] == 1


def test_a_rollback_brings_everything_back_and_is_a_revision_of_its_own(
    bank: Path, registry: Registry
) -> None:
    applied(bank, service(view(owner="risk")))
    before = registry.state("prod").specs
    applied(bank, service(view(asof.count().over("2d"), owner="fraud")), view(name="more"))
    plan, to = rollback_plan(registry, "prod")
    assert (to, rollback(registry, plan, to, ANNA)) == (1, 3)
    assert registry.state("prod").specs == before
    assert (registry.history()[0].action, registry.history()[0].undoes) == ("rollback", 1)


def test_rollbacks_in_a_row_go_back_step_by_step(bank: Path, registry: Registry) -> None:
    for days in (1, 2, 3):
        applied(bank, view(asof.count().over(f"{days}d").named("n")))
    for expected in (2, 1):
        plan, to = rollback_plan(registry, "prod")
        rollback(registry, plan, to, ANNA)
        assert to == expected
    with pytest.raises(StateError, match="nothing is before it"):
        rollback_plan(registry, "prod")


def test_a_rollback_can_name_its_revision_and_be_taken_back(bank: Path, registry: Registry) -> None:
    for days in (1, 2, 3):
        applied(bank, view(asof.count().over(f"{days}d").named("n")))
    newest = registry.state("prod").specs
    rollback(registry, *rollback_plan(registry, "prod", 1), ANNA)
    rollback(registry, *rollback_plan(registry, "prod", 3), ANNA)
    assert registry.state("prod").specs == newest


@pytest.mark.parametrize("to", [0, 2, 77, -1])
def test_a_rollback_to_a_revision_of_another_environment_is_refused(
    bank: Path, registry: Registry, to: int
) -> None:
    applied(bank, view())
    applied(bank, view(asof.count().over("2d")), environment="dev", create=True)
    applied(bank, view(name="more"), force=True)
    with pytest.raises(StateError, match=f"has no revision {to}"):
        rollback_plan(registry, "prod", to)


def test_a_single_revision_has_nothing_to_go_back_to(bank: Path, registry: Registry) -> None:
    applied(bank, view())
    with pytest.raises(StateError, match="one revision"):
        rollback_plan(registry, "prod")


def test_a_promotion_moves_pointers_and_nothing_else(bank: Path, registry: Registry) -> None:
    applied(bank, service())
    applied(bank, service(view(asof.count().over("2d"))), environment="dev", create=True, force=True)
    wanted = registry.state("dev").specs
    plan = promotion_plan(registry, "dev", "prod")
    assert promote(registry, plan, "dev", ANNA) == 3
    assert registry.state("prod").specs == wanted
    assert registry.history()[0].message == "from dev"


def test_a_promotion_would_not_undo_what_came_in_between(bank: Path, registry: Registry) -> None:
    applied(bank, view())
    applied(bank, view(asof.count().over("2d")), environment="dev", create=True)
    applied(bank, view(), view(name="hotfix"))
    with pytest.raises(
        RegistryMoved, match="'prod' has moved to revision 3 since 'dev' was last applied on its"
    ):
        promotion_plan(registry, "dev", "prod")
    applied(bank, view(asof.count().over("2d")), view(name="hotfix"), environment="dev")
    promote(registry, promotion_plan(registry, "dev", "prod"), "dev", ANNA)
    assert "feature_view:hotfix" in registry.state("prod").specs


def test_an_environment_that_holds_it_already_is_only_put_on_the_new_base(bank: Path) -> None:
    applied(bank, view())
    applied(bank, view(name="more"), view(), environment="dev", create=True)
    applied(bank, view(name="more"), view())
    project = project_of(bank, view(name="more"), view())
    plan = project.plan("dev")
    assert not plan.has_changes
    assert project.apply(plan) == 4
    assert project.apply(project.plan("dev")) is None


def test_an_environment_is_not_promoted_to_itself(registry: Registry) -> None:
    with pytest.raises(StateError, match="to itself"):
        promotion_plan(registry, "prod", "prod")


def _hold(registry: Registry, name: str, from_us: int, until_us: int) -> None:
    """Notes an interval, from now on (or rather back)."""
    (spec,) = [
        s
        for e in registry.environments()
        for k, s in registry.state(e.name).specs.items()
        if k.endswith(name)
    ]
    space, today_us = namespace_of(spec.fingerprint), registry.clock.now_us()
    first_us = from_us if from_us == BEGIN_US else today_us + from_us
    registry.record_materialized(
        [Materialized(spec.fingerprint, first_us, today_us + until_us, space, 1, 10)]
    )


def test_prod_never_points_at_what_is_to_be_served_and_in_no_store(bank: Path, registry: Registry) -> None:
    served = view(asof.count().over("7d"), online=True)
    project = project_of(bank, served)
    with pytest.raises(NotMaterialized, match="feature view 'activity'"):
        project.apply(project.plan())
    assert registry.environments() == []
    applied(bank, served, environment="staging", create=True)
    with pytest.raises(NotMaterialized):
        promote(registry, promotion_plan(registry, "staging", "prod"), "staging", ANNA)
    _hold(registry, "activity", -20 * DAY_US, -10 * DAY_US)  # long enough, and long ago
    with pytest.raises(NotMaterialized):
        promote(registry, promotion_plan(registry, "staging", "prod"), "staging", ANNA)
    _hold(registry, "activity", -6 * DAY_US, 0)  # a day short
    with pytest.raises(NotMaterialized):
        promote(registry, promotion_plan(registry, "staging", "prod"), "staging", ANNA)
    _hold(registry, "activity", -8 * DAY_US, -5 * DAY_US)
    assert promote(registry, promotion_plan(registry, "staging", "prod"), "staging", ANNA) == 2


def test_a_lifetime_has_to_be_held_from_the_first_row(bank: Path, registry: Registry) -> None:
    served = view(asof.count().over("lifetime"), online=True)
    applied(bank, served, environment="staging", create=True)
    _hold(registry, "activity", -900 * DAY_US, 0)
    with pytest.raises(NotMaterialized):
        promote(registry, promotion_plan(registry, "staging", "prod"), "staging", ANNA)
    _hold(registry, "activity", BEGIN_US, 1)
    assert promote(registry, promotion_plan(registry, "staging", "prod"), "staging", ANNA) == 2


def test_a_rollback_to_a_version_that_was_never_materialized_is_refused_too(
    bank: Path, registry: Registry
) -> None:
    applied(bank, view(asof.count().over("7d")))
    specs = project_of(bank, view(asof.count().over("7d"), online=True)).definitions.specs()
    state = registry.state("prod")
    with pytest.raises(NotMaterialized):
        apply_plan(registry, plan_of(Target("prod", state, state.revision), specs), ANNA)


def test_a_damaged_object_is_written_anew(bank: Path, registry: Registry) -> None:
    applied(bank, service())
    specs = registry.state("prod").specs
    rest = {key: spec for key, spec in specs.items() if key != "feature_view:activity"}
    state = State("prod", 1, rest, {}, {"feature_view:activity": "its body is missing"})
    plan = plan_of(Target("prod", state, 1), specs)
    assert actions(plan.changes) == [("added", "feature_view:activity")]
    assert plan.damaged == ("feature_view:activity",)


def test_a_promotion_refuses_what_the_ledger_says_is_read(bank: Path, registry: Registry) -> None:
    both = view(asof.count().over("1d"), asof.sum("amount").over("1d"))
    applied(bank, service(both))
    applied(bank, service(both["count_1d"]), environment="dev", create=True, force=True)
    receipt = MemoryMeter()
    with receipt.run("training_set", labels={"service": "risk"}) as run, run.stage("read"):
        pass
    plan = promotion_plan(registry, "dev", "prod", receipts=lambda: receipt.events)
    with pytest.raises(BreakingChange, match="read by training_set"):
        promote(registry, plan, "dev", ANNA)


def test_a_promotion_to_an_environment_that_is_not_there_is_refused(bank: Path, registry: Registry) -> None:
    applied(bank, view())
    with pytest.raises(UnknownEnvironment, match="did you mean 'prod'"):
        promotion_plan(registry, "prod", "prdo")


def test_promoting_again_has_nothing_to_do(bank: Path, registry: Registry) -> None:
    applied(bank, view())
    applied(bank, view(asof.count().over("2d")), environment="dev", create=True)
    promote(registry, promotion_plan(registry, "dev", "prod"), "dev", ANNA)
    again = promotion_plan(registry, "dev", "prod")
    assert not again.has_changes
    assert promote(registry, again, "dev", ANNA) is None


def test_files_that_have_not_taken_a_change_of_prod_cannot_undo_it_by_a_promotion(
    bank: Path, registry: Registry
) -> None:
    applied(bank, view())
    applied(bank, view(), view(asof.count().over("9d"), name="mine"), environment="dev", create=True)
    applied(bank, view(), view(asof.count().over("8d"), name="hotfix"))
    stale = project_of(bank, view(), view(asof.count().over("9d"), name="mine"))
    assert stale.apply(stale.plan("dev")) is None
    applied(bank, view(), view(asof.count().over("7d"), name="mine"), environment="dev")
    with pytest.raises(RegistryMoved, match="feature_view:hotfix"):
        promotion_plan(registry, "dev", "prod")


def test_an_environment_that_went_back_stands_on_an_older_prod(bank: Path, registry: Registry) -> None:
    applied(bank, view())
    applied(bank, view(), environment="dev", create=True)
    applied(bank, view(), view(asof.count().over("8d"), name="hotfix"))
    applied(bank, view(), view(asof.count().over("8d"), name="hotfix"), environment="dev")
    rollback(registry, *rollback_plan(registry, "dev"), ANNA)
    with pytest.raises(RegistryMoved, match="feature_view:hotfix"):
        promotion_plan(registry, "dev", "prod")


def test_an_environment_that_is_older_than_prod_does_not_empty_it(bank: Path, registry: Registry) -> None:
    applied(bank, view(), environment="staging", create=True)
    applied(bank, view(), view(asof.count().over("8d"), name="hotfix"))
    with pytest.raises(RegistryMoved, match="feature_view:hotfix"):
        promotion_plan(registry, "staging", "prod")


def test_what_was_taken_back_does_not_come_back_by_taking_back_more(bank: Path, registry: Registry) -> None:
    applied(bank, view(asof.count().over("1d").named("n")))
    applied(bank, view(asof.count().over("2d").named("n")))  # bad
    rollback(registry, *rollback_plan(registry, "prod"), ANNA)
    applied(bank, view(asof.count().over("3d").named("n")))
    rollback(registry, *rollback_plan(registry, "prod"), ANNA)
    with pytest.raises(StateError, match="nothing is before it"):
        rollback_plan(registry, "prod")


def test_a_plan_of_a_promotion_says_what_will_be_refused(bank: Path, registry: Registry) -> None:
    applied(bank, view())
    applied(bank, view(online=True), environment="dev", create=True)
    plan = promotion_plan(registry, "dev", "prod")
    assert (plan.unheld, plan.shared) == (("feature view 'activity'",), 3)
