"""Online reads at their edges: values that are no key, many entities, the future, records ahead of a watermark."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import asof
from asof.errors import DataError, LimitError, WrongType
from asof.flows.online_request import _REFUSED, _converted
from asof.flows.project import Project
from asof.online.codec import Meta
from asof.online.open_store import open_store
from asof.online.store import META_KEY
from asof.testing.clock import FakeClock

DAY = 86_400_000_000
PEOPLE = 1_203


def moment(days: float) -> datetime:
    return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=days)


def project() -> Project:
    rng = np.random.default_rng(1)
    n = 6_000
    table = pa.table(
        {
            "person": rng.integers(0, PEOPLE, n),
            "amount": rng.integers(1, 100, n),
            "kind": pa.array(rng.choice(["a", "b", None], n)),
            "at": pa.array([moment(day) for day in np.sort(rng.random(n)) * 10], pa.timestamp("us", "UTC")),
        }
    )
    person = asof.Entity("person", keys={"person": "int64"})
    source = asof.Events("payments", asof.InMemory(table), event_time="at")
    features = [
        asof.count().over("3d"), asof.sum("amount").over("3d"), asof.last("kind"), asof.topk("kind", 2).over("5d"),
    ]  # fmt: skip
    view = asof.FeatureView("activity", entity=person, source=source, features=features)
    return Project([view, asof.FeatureService("risk", [view])], clock=FakeClock(moment(10)))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory):
    opened = project()
    store = open_store("lmdb:///online", root=tmp_path_factory.mktemp("online"))
    opened.materialize(store=store)
    yield opened, store
    store.close()


@pytest.mark.parametrize("value", [1.5, -0.5, 1e300, float("nan"), True, "1", np.float64(1.9), 2**63])
def test_what_is_no_whole_number_is_no_key(made, value: object) -> None:
    opened, store = made
    reader = opened.online(store=store)
    with pytest.raises(WrongType) as raised:
        reader.read("risk", {"person": [1, value] if not isinstance(value, str) else [value]})
    assert str(value) not in raised.value.message or value is True
    assert raised.value.facts["column"] == "person"


def test_whole_floats_and_numpy_numbers_are_keys(made) -> None:
    opened, store = made
    reader = opened.online(store=store)
    plain = reader.read("risk", {"person": [3, 4]}).to_dict()
    assert reader.read("risk", {"person": [3.0, 4.0]}).to_dict() == plain
    assert reader.read("risk", {"person": np.array([3, 4])}).to_dict() == plain


def test_many_entities_are_answered_as_one_by_one(made) -> None:
    opened, store = made
    reader = opened.online(store=store)
    people = [*range(PEOPLE), None, 99_999]
    whole = reader.read("risk", {"person": people})
    assert whole.size == len(people)
    single = [reader.read("risk", {"person": [each]}) for each in people[::97]]
    assert whole.rows()[::97] == [row for each in single for row in each.rows()]
    assert whole.statuses[::97].tolist() == [row for each in single for row in each.statuses.tolist()]
    fresh = whole.freshness[0]
    assert fresh.newest_us[::97].tolist() == [int(each.freshness[0].newest_us[0]) for each in single]
    with pytest.raises(LimitError):
        reader.read("risk", {"person": list(range(10_001))})


def test_next_week_is_not_known(made) -> None:
    opened, store = made
    reader = opened.online(store=store)
    with pytest.raises(DataError, match="future"):
        reader.read("risk", {"person": [1]}, at=moment(18))


def test_a_record_that_is_ahead_of_the_watermark_says_so(tmp_path: Path) -> None:
    opened = project()
    store = open_store("lmdb:///ahead", root=tmp_path)
    opened.materialize(store=store, until=moment(4))
    reader = opened.online(store=store)
    before = reader.read("risk", {"person": [1, 99_999]}).freshness[0]
    assert len(set(before.known_before_us.tolist())) == 1
    namespace = opened.materialize(store=store, until=moment(4)).views[0].namespace
    held = store.get([(namespace, [META_KEY])])[0]
    assert held is not None
    opened.materialize(store=store, until=moment(9), whole=True)
    store.write(namespace, [(META_KEY, held)])  # as while the run was under way
    now = opened.online(store=store).read("risk", {"person": [1, 99_999]}).freshness[0]
    assert now.watermark_us == Meta.parse(held).watermark_us
    assert now.known_before_us.tolist() == [int(moment(9).timestamp() * 1e6), now.watermark_us]
    store.close()


@pytest.mark.parametrize(
    ("values", "stands"),
    [([3, None], "3.00"), ([12.5], "12.50"), (["1.07"], "1.07"), ([0.30000000000000004], "0.30")],
)
def test_a_decimal_is_given_as_a_number_or_a_text(values: list[object], stands: str) -> None:
    made = _converted(values, pa.decimal128(18, 2))
    assert str(made[0].as_py()) == stands


@pytest.mark.parametrize("values", [[1.009], ["1.009"], [True], [10**17], [["1"]]])
def test_a_decimal_is_never_rounded(values: list[object]) -> None:
    with pytest.raises(_REFUSED):
        _converted(values, pa.decimal128(18, 2))


@pytest.mark.parametrize("values", [[5], [1.5], ["yesterday"]])
def test_a_time_is_no_number(values: list[object]) -> None:
    with pytest.raises(_REFUSED):
        _converted(values, pa.timestamp("us", "UTC"))
