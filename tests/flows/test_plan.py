"""Plans: what would change, whom it concerns, what it would break."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import asof
from asof.errors import DefinitionError, InvalidExpression, UnknownEnvironment
from asof.flows.plan import find_target, plan_of
from asof.registry.state import State
from tests.flows.changing import account, actions, applied, model, project_of, service, source, view


def test_everything_is_added_to_an_empty_registry(bank: Path) -> None:
    plan = project_of(bank, service()).plan()
    assert plan.target.is_new
    assert actions(plan.changes) == [
        ("added", "entity:account"),
        ("added", "source:tx"),
        ("added", "feature_view:activity"),
        ("added", "feature_service:risk"),
    ]
    assert plan.has_changes
    assert plan.affected == ()


def test_the_same_definitions_again_change_nothing(bank: Path) -> None:
    applied(bank, service())
    plan = project_of(bank, service()).plan()
    assert not plan.has_changes
    assert plan.backfills == ()


def test_a_plan_changes_nothing(bank: Path) -> None:
    project_of(bank, service()).plan()
    registry = project_of(bank).registry()
    assert registry.environments() == []
    registry.close()


def test_a_changed_window_is_told_field_by_field_and_reaches_the_model(bank: Path) -> None:
    old = view(asof.sum("amount").over("7d").named("spend"))
    new = view(asof.sum("amount").over("14d").named("spend"))
    applied(bank, model(service(old)))
    plan = project_of(bank, model(service(new))).plan()
    (change,) = plan.changes
    assert (change.action, change.key) == ("changed", "feature_view:activity")
    assert [(each.path, each.old, each.new) for each in change.fields] == [
        ("features.spend.window", "7d", "14d")
    ]
    assert [(each.key, each.because) for each in plan.affected] == [
        ("feature_service:risk", ("feature_view:activity",)),
        ("model:returns_model", ("feature_service:risk",)),
    ]
    assert plan.breaks == ()


def test_a_service_that_does_not_take_the_changed_feature_is_not_affected(bank: Path) -> None:
    def made(window: str) -> asof.FeatureService:
        both = view(asof.count().over("1d"), asof.sum("amount").over(window).named("spend"))
        return service(both["count_1d"])

    applied(bank, made("7d"))
    plan = project_of(bank, made("14d")).plan()
    assert actions(plan.changes) == [("changed", "feature_view:activity")]
    assert plan.affected == ()


def test_owner_and_description_change_no_version(bank: Path) -> None:
    applied(bank, service(view(owner="risk")))
    plan = project_of(bank, service(view(owner="growth", description="what an account does"))).plan()
    (change,) = plan.changes
    assert change.action == "metadata"
    assert [(each.path, each.old, each.new) for each in change.fields] == [
        ("owner", "risk", "growth"),
        ("description", None, "what an account does"),
    ]
    assert (plan.affected, plan.backfills) == ((), ())


def test_a_rename_is_shown_as_one(bank: Path) -> None:
    applied(bank, view())
    plan = project_of(bank, view(name="account_activity")).plan()
    (change,) = plan.changes
    assert (change.action, change.old and change.old.name, change.spec.name) == (
        "renamed",
        "activity",
        "account_activity",
    )
    assert plan.backfills == ()


def test_a_renamed_source_changes_no_value_of_the_view_that_reads_it(bank: Path) -> None:
    applied(bank, view())
    plan = project_of(bank, view(over=source("transactions"))).plan()
    assert actions(plan.changes) == [
        ("renamed", "source:transactions"),
        ("metadata", "feature_view:activity"),
    ]


def test_what_is_gone_is_removed_last(bank: Path) -> None:
    applied(bank, view(), view(name="other"))
    plan = project_of(bank, view()).plan()
    assert actions(plan.changes) == [("removed", "feature_view:other")]


def test_an_upstream_change_names_its_cause(bank: Path) -> None:
    def made(sql: str) -> asof.FeatureView:
        return view(asof.sum("spent").over("1d"), over=source(columns={"spent": sql}))

    applied(bank, made("amount"))
    plan = project_of(bank, made("amount * 2")).plan()
    assert actions(plan.changes) == [("changed", "source:tx")]
    assert [(each.key, each.because) for each in plan.affected] == [("feature_view:activity", ("source:tx",))]


def test_a_lost_feature_breaks_the_models_that_read_it(bank: Path) -> None:
    both = view(asof.count().over("1d"), asof.sum("amount").over("1d"))
    applied(bank, model(service(both)))
    plan = project_of(bank, model(service(both["count_1d"]))).plan()
    (found,) = plan.breaks
    assert (found.service, found.what, found.readers) == (
        "risk",
        "loses feature 'amount_sum_1d'",
        ("model 'returns_model'",),
    )
    assert plan.blocking == plan.breaks


def test_a_lost_feature_that_nobody_reads_is_told_and_not_refused(bank: Path) -> None:
    both = view(asof.count().over("1d"), asof.sum("amount").over("1d"))
    applied(bank, service(both))
    plan = project_of(bank, service(both["count_1d"])).plan()
    assert [each.readers for each in plan.breaks] == [()]
    assert plan.blocking == ()


def test_a_service_that_the_ledger_names_is_read_by_that_flow(bank: Path) -> None:
    both = view(asof.count().over("1d"), asof.sum("amount").over("1d"))
    project = project_of(bank, service(both))
    project.training_set("risk", spine="select 'a' as account_id, timestamp '2024-01-01' as event_time")
    applied(bank, service(both))
    plan = project_of(bank, service(both["count_1d"])).plan()
    assert plan.breaks[0].readers == ("training_set (ledger)",)


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        (
            lambda: service(view(), name="risk"),
            lambda: service(view(), name="ach_risk"),
            "is renamed to 'ach_risk'",
        ),
        (lambda: service(view()), view, "is removed"),
        (
            lambda: service(view(), _request(asof, "float64")),
            lambda: service(view(), _request(asof, "int64")),
            "feature 'f' changes its type from float64 to int64",
        ),
        (
            lambda: service(view()),
            lambda: service(view(), _request(asof, "float64")),
            "needs request column 'amount' of type float64",
        ),
        (lambda: service(view()), lambda: service(_other_key()), "needs key 'account_id' of type int64"),
    ],
)
def test_what_a_reader_would_miss_is_told(bank: Path, old: object, new: object, what: str) -> None:
    applied(bank, old())  # type: ignore[operator]
    plan = project_of(bank, new()).plan(estimates=False)  # type: ignore[operator]
    assert what in [each.what for each in plan.breaks]


def _request(api: object, dtype: str) -> object:
    del api

    @asof.request_feature(request={"amount": "float64"}, dtype=dtype, name="f")
    def made(amount):
        return amount

    return made


def _other_key() -> asof.FeatureView:
    entity = asof.Entity("account", keys={"account_id": "int64"})
    return asof.FeatureView(
        "activity",
        entity=entity,
        source=source(),
        features=[asof.count().over("1d"), asof.sum("amount").over("1d")],
    )


def test_a_plan_is_named_by_the_definitions_and_the_revision(bank: Path) -> None:
    one, two = project_of(bank, service()).plan(), project_of(bank, service()).plan()
    assert one.id == two.id
    assert project_of(bank, service(name="other")).plan().id != one.id
    applied(bank, view(name="other"))
    assert project_of(bank, service()).plan().id != one.id


def test_a_deprecated_view_and_a_deprecated_feature_warn_those_that_use_them(bank: Path) -> None:
    old = view(
        asof.count().over("1d"),
        asof.sum("amount").over("1d").deprecated("2027-01-31", use="spend_1d"),
        deprecated=asof.Deprecated("2027-06-30", note="moves to the card team"),
    )
    plan = project_of(bank, service(old), service(old["count_1d"], name="counts")).plan(estimates=False)
    view_is = "feature view 'activity', deprecated from 2027-06-30: moves to the card team"
    feature_is = (
        "feature 'amount_sum_1d' of feature view 'activity', deprecated from 2027-01-31: use spend_1d"
    )
    assert sorted(plan.warnings) == [
        f"feature service 'counts' uses {view_is}",
        f"feature service 'risk' uses {feature_is}",
        f"feature service 'risk' uses {view_is}",
    ]


def test_an_unknown_environment_is_refused_with_the_nearest_name(bank: Path) -> None:
    applied(bank, view())
    with pytest.raises(UnknownEnvironment, match="did you mean 'prod'\\?; --create makes it from 'prod'"):
        project_of(bank, view()).plan("prdo")


@pytest.mark.parametrize("name", ["Dev", "dev anna", "1dev", "dev/anna", "x" * 64, ""])
def test_a_new_environment_needs_a_plain_name(bank: Path, name: str) -> None:
    with pytest.raises(DefinitionError, match="is not a name"):
        project_of(bank, view()).plan(name or " ", create=True)


def test_sql_that_is_no_expression_is_told_with_file_and_line(bank: Path) -> None:
    project = project_of(bank, view(asof.count().where("amount >").over("1d").named("large")))
    with pytest.raises(
        InvalidExpression, match=r"changing\.py:\d+: feature view 'activity': feature 'large'"
    ):
        project.plan()


def test_objects_in_a_circle_are_refused(bank: Path) -> None:
    specs = project_of(bank, service()).definitions.specs()
    activity = specs["feature_view:activity"]
    looped = replace(activity, text=activity.text.replace("source:tx", "feature_service:risk"))
    registry = project_of(bank).registry()
    target = find_target(registry, "prod")
    registry.close()
    with pytest.raises(DefinitionError, match="stand on each other in a circle"):
        plan_of(target, {**specs, activity.key: looped})


def test_a_new_environment_tells_what_it_shares_with_prod(bank: Path) -> None:
    applied(bank, service(), view(asof.count().over("2d"), name="second"))
    changed = view(asof.count().over("3d"), name="second")
    plan = project_of(bank, service(), changed).plan("dev-anna", create=True)
    assert (plan.target.base, plan.shared, len(plan.specs)) == ("prod", 4, 5)
    assert actions(plan.changes) == [("changed", "feature_view:second")]
    assert [each.view for each in plan.backfills] == ["second"]


def test_estimates_come_from_the_real_source(bank: Path) -> None:
    (found,) = project_of(bank, service()).plan().backfills
    assert (found.view, found.rows, found.entities, found.layout) == ("activity", 4, 2, "rows")


def test_a_source_that_is_not_there_is_a_note_and_no_failure(tmp_path: Path) -> None:
    (found,) = project_of(tmp_path, service()).plan().backfills
    assert found.note is not None
    assert "tx.parquet" in found.note


def test_two_definitions_of_one_name_are_told_with_both_places(bank: Path) -> None:
    with pytest.raises(
        DefinitionError, match=r"entity 'account' is defined twice, first in .*changing\.py:\d+"
    ):
        project_of(bank, account, asof.Entity("account", keys={"id": "int64"}))


def test_an_empty_state_has_no_object() -> None:
    assert State("prod", 0, {}).fingerprints == frozenset()


def test_a_model_that_asks_another_service_now_misses_nothing(bank: Path) -> None:
    both = view(asof.count().over("1d"), asof.sum("amount").over("1d"))
    applied(bank, model(service(both)), service(both, name="second"))
    plan = project_of(bank, service(both["count_1d"]), model(service(both, name="second"))).plan(
        estimates=False
    )
    assert [each.readers for each in plan.breaks] == [()]


def test_a_view_that_is_to_be_served_now_is_estimated_though_its_values_are_as_before(bank: Path) -> None:
    applied(bank, view())
    plan = project_of(bank, view(online=True)).plan()
    assert actions(plan.changes) == [("metadata", "feature_view:activity")]
    assert [each.view for each in plan.backfills] == ["activity"]
    assert plan.unheld == ("feature view 'activity'",)


def test_a_plan_is_named_alike_by_every_python(bank: Path) -> None:
    specs = project_of(bank, service(view(), _request(asof, "float64"))).definitions.specs()
    spec = specs["request_feature:f"]
    other = replace(spec, text=spec.text.replace("return amount", "return (amount)"))
    assert other.digest != spec.digest
    assert other.identity == spec.identity


def test_a_feature_that_becomes_a_list_breaks_its_readers(bank: Path) -> None:
    applied(bank, model(service(view(asof.max("amount").over("1d").named("top")))))
    plan = project_of(bank, model(service(view(asof.topk("amount", 3).over("1d").named("top"))))).plan(
        estimates=False
    )
    assert [each.what for each in plan.breaks] == ["feature 'top' changes its type from a value to a list"]


def test_an_own_row_that_requests_have_to_bring_breaks_them(bank: Path) -> None:
    applied(bank, model(service(view())))
    plan = project_of(bank, model(service(view(), own_row=True))).plan(estimates=False)
    assert [each.what for each in plan.breaks] == ["needs the columns of its own row in a request"]


def test_an_environment_without_a_name_is_not_prod(bank: Path) -> None:
    with pytest.raises(UnknownEnvironment):
        project_of(bank, view()).plan("")
