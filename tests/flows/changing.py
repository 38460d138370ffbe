"""A project whose definitions change, in memory, over a real registry."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import asof
from asof.config import load_config
from asof.flows.project import Project
from asof.testing.clock import FakeClock

account = asof.Entity("account", keys={"account_id": "string"})


def source(name: str = "tx", **changes: Any) -> asof.Events:
    return asof.Events(name, asof.Parquet("tx.parquet"), event_time="at", **changes)


def view(
    *features: Any, name: str = "activity", over: asof.Events | None = None, **changes: Any
) -> asof.FeatureView:
    made = features or (asof.count().over("1d"), asof.sum("amount").over("1d"))
    return asof.FeatureView(name, entity=account, source=over or source(), features=made, **changes)


def service(*items: Any, name: str = "risk", **changes: Any) -> asof.FeatureService:
    return asof.FeatureService(name, items or [view()], **changes)


def model(asked: asof.FeatureService, name: str = "returns_model") -> asof.Model:
    return asof.Model(name, service=asked)


def project_of(folder: Path, *objects: Any, clock: FakeClock | None = None) -> Project:
    """A project with these definitions and the registry of the folder."""
    (folder / "asof.toml").touch()
    found = {name: value for name, value in os.environ.items() if not name.startswith("ASOF_")}
    config = load_config(folder, {**found, "ASOF_USER": "anna"})
    return Project(objects, config=config, clock=clock)


def applied(
    folder: Path, *objects: Any, environment: str = "prod", create: bool = False, force: bool = False
) -> int:
    """The revision after these definitions are applied."""
    project = project_of(folder, *objects)
    plan = project.plan(environment, create=create, estimates=False)
    revision = project.apply(plan, force=force)
    assert revision is not None
    return revision


def actions(changes: Sequence[Any]) -> list[tuple[str, str]]:
    return [(each.action, each.key) for each in changes]
