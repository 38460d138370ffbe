"""A new kind is a record in define/ and a row in KINDS: the store, plans and checks know it from its fields."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from asof import Entity, Events, FeatureView, Parquet, count
from asof.define import body, kinds
from asof.define.body import check_body
from asof.define.deprecated import Deprecated
from asof.define.fingerprint import fingerprint
from asof.define.kinds import KINDS, below
from asof.define.place import Placed
from asof.define.spec import Spec, specs_of
from asof.errors import DefinitionError, UnknownName
from asof.flows.load import Definitions
from asof.registry.diff import diff
from asof.registry.fields import FieldChange
from asof.registry.store import Registry
from tests.registry.rows import commit

ACCOUNT = Entity("account", keys={"account_id": "string"})
TX = Events("tx", Parquet("tx.parquet"), event_time="at")


@dataclass(frozen=True)
class Channel:
    """A part of an alert."""

    address: str
    urgent: bool = False


@dataclass(frozen=True)
class Alert(Placed):
    """The new kind: it watches views."""

    name: str
    views: tuple[FeatureView, ...]
    every_us: int
    channel: Channel = Channel("nobody")
    owner: str = field(default="", compare=False)
    deprecated: Deprecated | None = field(default=None, compare=False)


def view(window: str = "1d") -> FeatureView:
    feature = count().over(window).named("n")
    return FeatureView("activity", entity=ACCOUNT, source=TX, features=[feature])


def alert(minutes: int = 5, *, over: FeatureView | None = None, **changes: object) -> Alert:
    return Alert("spikes", (over or view(),), minutes * 60_000_000, **changes)  # type: ignore[arg-type]


def _forget_kinds() -> None:
    for each in (kinds._kind_of_class, kinds._holders, body._kinds_in):
        each.cache_clear()


@pytest.fixture
def new_kind(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The row in the table of kinds."""
    monkeypatch.setitem(KINDS, "alert", (Alert,))
    _forget_kinds()
    yield
    monkeypatch.undo()
    _forget_kinds()


def specs(made: Alert) -> dict[str, Spec]:
    return Definitions([made]).specs()


@pytest.mark.usefixtures("new_kind")
def test_it_becomes_data_that_refers_to_what_it_stands_on() -> None:
    found = specs(alert(channel=Channel("desk", urgent=True), owner="risk"))
    assert list(found) == ["entity:account", "source:tx", "feature_view:activity", "alert:spikes"]
    spec = found["alert:spikes"]
    assert spec.text == (
        '{"channel":{"address":"desk","urgent":true},"every_us":300000000,"format":1,"owner":"risk",'
        '"views":[{"ref":"feature_view:activity"}]}'
    )
    assert spec.refs == ("feature_view:activity",)
    assert spec.words == "alert 'spikes'"
    assert below(alert()) == [view()]


@pytest.mark.usefixtures("new_kind")
def test_its_version_follows_its_values_and_what_it_stands_on() -> None:
    same = fingerprint(alert())
    assert fingerprint(alert(owner="risk")) == same
    assert fingerprint(alert(6)) != same
    assert fingerprint(alert(over=view("2d"))) != same


@pytest.mark.usefixtures("new_kind")
def test_it_is_stored_read_back_and_compared(registry: Registry) -> None:
    old, new = specs(alert(5)), specs(alert(10, channel=Channel("desk")))
    commit(registry, None, *old.values())
    assert registry.state("prod").specs == old
    (change,) = diff(registry.state("prod").specs, new)
    assert (change.action, change.key) == ("changed", "alert:spikes")
    assert change.fields == (
        FieldChange("every", "5m", "10m"),
        FieldChange("channel", None, '{"address": "desk"}'),
    )
    commit(registry, 1, new["alert:spikes"])
    assert registry.state("prod").specs == new
    assert registry.state("prod").versions["alert:spikes"] == 2


@pytest.mark.usefixtures("new_kind")
def test_a_change_below_reaches_it() -> None:
    changes = diff(specs(alert()), specs(alert(over=view("2d"))))
    assert [(each.action, each.key, each.because) for each in changes] == [
        ("changed", "feature_view:activity", ()),
        ("changed", "alert:spikes", ("feature_view:activity",)),
    ]


WRONG: dict[str, tuple[dict[str, object], str]] = {
    "an unknown field": ({"evry_us": 1}, "the body of an alert: no field 'evry_us'\nhint: did you mean 'every_us'?"),
    "a text for a number": ({"every_us": "5m"}, "every_us: str where int belongs"),
    "yes for a number": ({"every_us": True}, "every_us: bool where int belongs"),
    "a field of a part": ({"channel": {"adress": "x"}}, "channel: no field 'adress'"),
    "a part without its field": ({"channel": {"urgent": True}}, "channel: 'address' is missing"),
    "a reference to another kind": ({"views": [{"ref": "source:tx"}]}, "views[0]: dict where FeatureView belongs"),
    "one where a list belongs": ({"views": {"ref": "feature_view:activity"}}, "views: dict where"),
}  # fmt: skip


@pytest.mark.usefixtures("new_kind")
@pytest.mark.parametrize("what", WRONG)
def test_its_bodies_are_checked_by_its_fields(what: str) -> None:
    changes, words = WRONG[what]
    right = {"format": 1, "every_us": 5, "views": [{"ref": "feature_view:activity"}]}
    check_body("alert", right)
    with pytest.raises(DefinitionError) as caught:
        check_body("alert", {**right, **changes})
    assert words in str(caught.value)


def test_an_asof_that_does_not_know_it_reads_it_and_writes_none(
    registry: Registry, request: pytest.FixtureRequest
) -> None:
    request.getfixturevalue("new_kind")
    found = specs_of([alert(), view(), TX, ACCOUNT])
    commit(registry, None, *found.values())
    del KINDS["alert"]
    _forget_kinds()
    assert registry.state("prod").specs == found
    with pytest.raises(UnknownName, match="no kind 'alert'"):
        commit(registry, 1, found["alert:spikes"])
    assert registry.state("prod").revision == 1
