"""A reader that follows an environment: what is applied is served, and what cannot be is told and tried again."""

from __future__ import annotations

from pathlib import Path

import asof
from asof.flows.project import Project
from asof.testing.clock import FakeClock

CODE = """
from asof import CSV, Entity, Events, FeatureService, FeatureView, count, sum

account = Entity("account", keys={{"account_id": "string"}})
payments = Events("payments", CSV("payments.csv", columns={{"amount": "int64"}}), event_time="paid_at")
activity = FeatureView("activity", entity=account, source=payments, features=[{features}])
risk = FeatureService("risk", features=[activity])
"""
ROWS = "account_id,amount,paid_at\nann,10,2026-01-01T10:00:00Z\nann,5,2026-01-02T10:00:00Z\n"


def write(folder: Path, features: str) -> None:
    (folder / "definitions.py").write_text(CODE.format(features=features))


def opened(folder: Path) -> Project:
    return asof.open(folder, clock=FakeClock("2026-01-03T00:00:00Z"))


def apply(folder: Path, environment: str = "dev") -> None:
    project = opened(folder)
    project.apply(project.plan(environment, create=True))


def test_an_apply_before_its_code_is_there_takes_nothing_down_and_heals(tmp_path: Path) -> None:
    (tmp_path / "asof.toml").write_text('name = "bank"\n')
    (tmp_path / "payments.csv").write_text(ROWS)
    write(tmp_path, 'count().over("30d")')
    apply(tmp_path, "prod")
    apply(tmp_path)
    opened(tmp_path).materialize()
    reader = opened(tmp_path).online("dev")
    asked = {"account_id": ["ann"]}
    first = reader.revision
    assert reader.read("risk", asked).to_dict() == {"count_30d": [2]}

    write(tmp_path, 'count().over("30d"), sum("amount").over("30d")')
    apply(tmp_path)  # from another checkout; the code here is the old one still
    write(tmp_path, 'count().over("30d")')
    assert reader.refresh() is False
    assert reader.problem is not None
    assert "risk" in reader.problem
    assert reader.revision == first
    assert reader.read("risk", asked).to_dict() == {"count_30d": [2]}

    write(tmp_path, 'count().over("30d"), sum("amount").over("30d")')
    opened(tmp_path).materialize()
    assert any(reader.refresh() for _ in range(4))
    assert reader.problem is None
    assert reader.revision != first
    assert reader.read("risk", asked).to_dict() == {"count_30d": [2], "amount_sum_30d": [15]}
    assert reader.refresh() is False
    reader.close()


def test_a_broken_state_is_not_loaded_again_at_each_look(tmp_path: Path) -> None:
    (tmp_path / "asof.toml").write_text('name = "bank"\n')
    (tmp_path / "payments.csv").write_text(ROWS)
    write(tmp_path, 'count().over("30d")')
    apply(tmp_path, "prod")
    apply(tmp_path)
    opened(tmp_path).materialize()
    reader = opened(tmp_path).online("dev")
    loads: list[int] = []
    load = reader._load
    reader._load = lambda: (loads.append(1), load())[1]
    write(tmp_path, 'sum("amount").over("30d")')
    apply(tmp_path)
    (tmp_path / "definitions.py").write_text("this is no Python")
    for _ in range(20):
        reader.refresh()
    assert 1 < len(loads) < 6
    assert reader.read("risk", {"account_id": ["ann"]}).to_dict() == {"count_30d": [2]}
    reader.close()
