"""What differs between two sets of objects: actions, renames, causes; and that making the changes makes the new set."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

import asof
from asof import Entity, Events, FeatureService, FeatureView, Label, Model, Parquet
from asof.define.spec import Spec, specs_of
from asof.flows.load import Definitions
from asof.registry.diff import ACTIONS, ObjectChange, diff
from asof.registry.fields import FieldChange
from asof.registry.state import Change
from asof.registry.store import Registry, open_registry

ACCOUNT = Entity("account", keys={"account_id": "string"})
COUNT = asof.count().over("1d").named("n")
SPEND = asof.sum("amount").over("7d").named("spend")


def source(name: str = "tx", **changes: object) -> Events:
    return Events(name, Parquet("tx.parquet"), event_time="at", **changes)  # type: ignore[arg-type]


def view(
    *features: object, name: str = "activity", over: Events | None = None, **changes: object
) -> FeatureView:
    made = list(features) or [COUNT, SPEND]
    return FeatureView(name, entity=ACCOUNT, source=over or source(), features=made, **changes)  # type: ignore[arg-type]


def specs(*things: object) -> dict[str, Spec]:
    return Definitions(things).specs()


def told(changes: list[ObjectChange]) -> list[tuple[str, str, tuple[str, ...]]]:
    return [(each.action, each.key, each.because) for each in changes]


def test_equal_sets_do_not_differ() -> None:
    assert diff(specs(view()), specs(view())) == []
    assert diff({}, {}) == []


def test_from_nothing_all_is_added_and_to_nothing_all_is_removed() -> None:
    found = specs(view())
    assert told(diff({}, found)) == [
        ("added", "entity:account", ()),
        ("added", "source:tx", ()),
        ("added", "feature_view:activity", ()),
    ]
    assert told(diff(found, {})) == [
        ("removed", "entity:account", ()),
        ("removed", "source:tx", ()),
        ("removed", "feature_view:activity", ()),
    ]
    assert [(each.old, each.new) for each in diff(found, {})] == [(spec, None) for spec in found.values()]


def test_what_is_for_people_is_metadata() -> None:
    (change,) = diff(specs(view()), specs(view(owner="risk")))
    assert (change.action, change.fields) == ("metadata", (FieldChange("owner", None, "risk"),))


def test_values_and_people_in_one_change_are_a_change() -> None:
    (change,) = diff(specs(view(COUNT)), specs(view(asof.count().over("2d").named("n"), owner="risk")))
    assert change.action == "changed"
    assert {field.path for field in change.fields} == {"features.n.window", "owner"}


def test_an_upstream_change_reaches_all_that_stands_on_it_and_names_its_cause() -> None:
    def project(delay: str) -> dict[str, Spec]:
        made = view(over=source(delay=delay))
        service = FeatureService("risk", [made["n"]])
        label = Label("returned", entity=ACCOUNT, source=source("returns"), horizon="60d")
        return specs(Model("returns", service=service, labels=[label]))

    changes = diff(project("1h"), project("2h"))
    assert told(changes) == [
        ("changed", "source:tx", ()),
        ("changed", "feature_view:activity", ("source:tx",)),
        ("changed", "feature_service:risk", ("feature_view:activity",)),
        ("changed", "model:returns", ("feature_service:risk",)),
    ]
    assert [len(each.fields) for each in changes] == [1, 0, 0, 0]


def test_an_object_that_changes_itself_and_by_another_tells_both() -> None:
    changes = diff(specs(view(COUNT)), specs(view(COUNT, SPEND, over=source(delay="2h"))))
    assert told(changes)[1] == ("changed", "feature_view:activity", ("source:tx",))
    assert [field.path for field in changes[1].fields] == ["features.spend"]


def test_a_derived_column_that_nothing_reads_stops_at_its_source() -> None:
    changes = diff(specs(view()), specs(view(over=source(columns={"unused": "1"}))))
    assert told(changes) == [("changed", "source:tx", ())]


def test_a_rename_is_recognised_by_its_values() -> None:
    old, new = specs(view()), specs(view(name="spending", owner="risk"))
    (change,) = diff(old, new)
    assert (change.action, change.key) == ("renamed", "feature_view:spending")
    assert change.old == old["feature_view:activity"]
    assert change.new == new["feature_view:spending"]
    assert change.fields == (FieldChange("owner", None, "risk"),)


def test_whoever_stands_on_a_renamed_object_only_refers_to_it_otherwise() -> None:
    old, new = (specs(FeatureService("risk", [view(COUNT, name=name)])) for name in ("a", "b"))
    changes = diff(old, new)
    assert told(changes) == [("renamed", "feature_view:b", ()), ("metadata", "feature_service:risk", ())]
    assert changes[1].fields == (FieldChange("features.n", "feature_view:a.n", "feature_view:b.n"),)


def test_a_renamed_source_changes_no_value_above_it() -> None:
    changes = diff(specs(view()), specs(view(over=source("transactions"))))
    assert told(changes) == [
        ("renamed", "source:transactions", ()),
        ("metadata", "feature_view:activity", ()),
    ]


def test_a_rename_with_other_values_is_one_added_and_one_removed() -> None:
    changes = diff(specs(view(COUNT)), specs(view(SPEND, name="spending")))
    assert told(changes) == [("added", "feature_view:spending", ()), ("removed", "feature_view:activity", ())]


def test_a_copy_beside_the_first_is_added_and_no_rename() -> None:
    changes = diff(specs(view(COUNT)), specs(view(COUNT), view(COUNT, name="copy")))
    assert told(changes) == [("added", "feature_view:copy", ())]


def test_equal_values_of_another_kind_are_no_rename() -> None:
    spec = specs(ACCOUNT)["entity:account"]
    other = Spec("toy", "account_v2", spec.fingerprint, spec.text)
    assert told(diff({spec.key: spec}, {other.key: other})) == [
        ("added", "toy:account_v2", ()),
        ("removed", "entity:account", ()),
    ]


def test_of_several_that_could_have_been_renamed_the_likest_name_was() -> None:
    old = specs(ACCOUNT, view(COUNT, name="card_activity"), view(COUNT, name="ach_activity"))
    new = specs(ACCOUNT, view(COUNT, name="ach_activity_v2"))
    changes = diff(old, new)
    assert told(changes) == [
        ("renamed", "feature_view:ach_activity_v2", ()),
        ("removed", "feature_view:card_activity", ()),
    ]
    assert changes[0].old == old["feature_view:ach_activity"]


def test_two_that_are_renamed_at_once_are_paired_and_none_is_taken_twice() -> None:
    old = specs(view(COUNT, name="card_a"), view(COUNT, name="ach_a"))
    new = specs(view(COUNT, name="ach_b"), view(COUNT, name="card_b"), view(COUNT, name="other"))
    found = {each.key: each.old.name if each.old else None for each in diff(old, new)}
    assert found == {
        "feature_view:ach_b": "ach_a",
        "feature_view:card_b": "card_a",
        "feature_view:other": None,
    }


def test_changes_are_in_the_order_of_the_new_set_and_removals_last() -> None:
    old = specs(ACCOUNT, Entity("device", keys={"device_id": "string"}), source("old", delay="9d"))
    new = specs(ACCOUNT, Entity("card", keys={"pan": "string"}), view(COUNT))
    assert [each.action for each in diff(old, new)] == ["added", "added", "added", "removed", "removed"]
    assert [each.key for each in diff(old, new)][-2:] == ["entity:device", "source:old"]


def test_only_the_order_of_a_service_is_told() -> None:
    made = view()
    changes = diff(
        specs(FeatureService("s", [made["n"], made["spend"]])),
        specs(FeatureService("s", [made["spend"], made["n"]])),
    )
    assert told(changes) == [("changed", "feature_service:s", ())]
    assert changes[0].fields == (FieldChange("features (order)", "n, spend", "spend, n"),)


def test_the_order_of_columns_of_a_source_and_of_keys_changes_nothing() -> None:
    pair = Entity("pair", keys={"a": "string", "b": "string"})

    def label(*names: str) -> Label:
        over = source(columns={name: f"upper({name})" for name in names})
        return Label(
            "l", entity=pair, source=over, horizon="1d", keys={name: f"lower({name})" for name in names}
        )

    assert diff(specs(label("a", "b")), specs(label("b", "a"))) == []


# ----------------------------------------------------------------------------------------------------- properties

NAMES = st.sampled_from(["a", "b", "c", "d"])
COLUMNS = st.sampled_from([None, "low", "high"])


@st.composite
def projects(draw: st.DrawFn) -> dict[str, Spec]:
    """Views over sources, services of some of their features, and people: a project as it could stand."""
    made: list[object] = [ACCOUNT]
    for name in draw(st.sets(NAMES, max_size=3)):
        column = draw(COLUMNS)
        over = source(draw(NAMES) + "_tx", columns=None if column is None else {"amount": column})
        other = asof.sum("amount").over(draw(st.sampled_from(["1d", "7d"])))
        features = [COUNT, SPEND] if draw(st.booleans()) else [other]
        viewed = view(*features, name=name, over=over, owner=draw(st.sampled_from(["", "risk"])))
        made.append(viewed)
        if draw(st.booleans()):
            taken = draw(st.permutations(viewed.refs()))[: draw(st.integers(1, len(viewed.names)))]
            made.append(FeatureService(draw(NAMES) + "_service", taken))
    unique = {(type(each), each.name): each for each in made}  # type: ignore[attr-defined]
    try:
        return specs(*unique.values())
    except asof.errors.DefinitionError:  # two sources of one name
        return specs_of([ACCOUNT])


def puts_and_removes(changes: list[ObjectChange]) -> tuple[tuple[Spec, ...], tuple[str, ...]]:
    """As apply makes a plan."""
    removed = [each.key for each in changes if each.action == "removed"]
    renamed = [each.old.key for each in changes if each.action == "renamed" and each.old]
    return tuple(each.new for each in changes if each.new is not None), (*removed, *renamed)


def made(old: Mapping[str, Spec], changes: list[ObjectChange]) -> dict[str, Spec]:
    puts, removes = puts_and_removes(changes)
    return {**{k: v for k, v in old.items() if k not in removes}, **{spec.key: spec for spec in puts}}


@given(projects(), projects())
def test_making_the_changes_makes_the_new_set(old: dict[str, Spec], new: dict[str, Spec]) -> None:
    changes = diff(old, new)
    assert made(old, changes) == new
    assert all(each.action in ACTIONS for each in changes)
    assert len({each.key for each in changes}) == len(changes)
    # What is not told is as it was, and what is told is not.
    assert {each.key for each in changes if each.new} == {k for k in new if old.get(k) != new[k]}
    for each in changes:
        assert bool(each.fields) or bool(each.because) or each.action in {"added", "removed", "renamed"}
        assert (each.action in {"changed", "added"}) == bool(
            each.new and (each.old is None or each.old.fingerprint != each.new.fingerprint)
        )


@given(projects())
def test_a_set_does_not_differ_from_itself(found: dict[str, Spec]) -> None:
    assert diff(found, found) == []


NUMBERS = itertools.count()


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    registry = open_registry(f"sqlite:///{tmp_path_factory.mktemp('history')}/registry.sqlite")
    yield registry
    registry.close()


@given(st.lists(projects(), min_size=1, max_size=5))
def test_every_state_of_a_history_is_what_was_planned(
    history: Registry, planned: list[dict[str, Spec]]
) -> None:
    name = f"env_{next(NUMBERS)}"
    held: Mapping[str, Spec] = {}
    revision: int | None = None
    seen: list[tuple[int, Mapping[str, Spec]]] = []
    for wanted in planned:
        puts, removes = puts_and_removes(diff(held, wanted))
        revision = history.commit(Change(name, "apply", revision, puts, removes))
        held = history.state(name).specs
        assert held == wanted
        seen.append((revision, wanted))
    for number, wanted in seen:
        assert history.state(name, at=number).specs == wanted
    history.remove(name)
