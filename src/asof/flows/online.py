"""A project and its online store: opening a reader, materializing views, and noting in the registry what is held."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from asof.clock import to_us
from asof.config import SecretRef
from asof.define.feature_view import FeatureView
from asof.define.service import FeatureService
from asof.define.window import BEGIN_US
from asof.errors import StateError
from asof.flows.feature_columns import Progress
from asof.flows.materialize import run_steps
from asof.flows.materialize_steps import Resources, Step, ViewReport, plan_steps
from asof.flows.read_online import OnlineReader
from asof.online.open_store import open_store
from asof.online.store import OnlineStore
from asof.registry.state import Materialized

if TYPE_CHECKING:
    from asof.flows.project import Project

_HOUR_US = 3_600_000_000


@dataclass(frozen=True)
class Materialization:
    """What one run of `asof materialize` or `asof backfill` did, view by view; rows that were read, and how long it
    took.
    """

    views: tuple[ViewReport, ...]
    rows: int = 0
    seconds: float = 0.0


def open_online_store(project: Project) -> OnlineStore:
    """The project's online store; close it when done.

    Raises:
        StateError: a project in memory has none. ConfigError, MissingExtra, BackendError: it cannot be opened.
    """
    config = project.config
    if config is None:
        raise StateError("a project in memory has no online store", hint="hand one over: store=...")
    secret = config.online_password
    password = None if secret is None else SecretRef.parse(secret).resolve()
    return open_store(
        config.online_store, password=password, timeout_s=config.online_timeout_us / 1e6, root=config.root
    )


def open_reader(project: Project, store: OnlineStore | None = None) -> OnlineReader:
    """A reader of the services that the project's code defines."""
    services = {each.name: each for each in project.definitions.all() if isinstance(each, FeatureService)}
    return OnlineReader(services, store or open_online_store(project), project.clock, project.engine())


def plan_materialization(
    project: Project, views: Sequence[FeatureView], store: OnlineStore, until: datetime | None, *, whole: bool
) -> list[Step]:
    """What a run would do; changes nothing. See `Project.materialize`."""
    now_us = project.clock.now_us()
    until_us = now_us if until is None else to_us(until)
    return plan_steps(views, store, until_us, now_us, resources_of(project), whole=whole)


def materialize_project(
    project: Project, steps: Sequence[Step], store: OnlineStore, progress: Progress
) -> Materialization:
    """Does what was planned, and notes in the registry what the store holds now.

    It is noted also of a run that fails, for the views that it has brought to their watermark.
    """
    engine = project.engine()
    done: list[ViewReport] = []
    try:
        with project.meter.run("materialize") as run:
            made = run_steps(engine, steps, store, resources_of(project), run, progress, on_done=done.append)
    finally:
        engine.close()
        _record(project, done)
    rows = sum(event.rows for event in run.events if event.stage == "read")
    return Materialization(tuple(made), rows, sum(event.seconds for event in run.events))


def _record(project: Project, reports: Sequence[ViewReport]) -> None:
    """Notes what the store holds from the beginning on, also where it was there before: a run that was killed may not
    have come to this.
    """
    if project.config is None or not reports:
        return
    made = [
        Materialized(
            each.fingerprint, BEGIN_US, each.until_us, each.namespace, each.entities, each.held_bytes
        )
        for each in reports
    ]
    registry = project.registry()
    try:
        registry.record_materialized(made)
    finally:
        registry.close()


def resources_of(project: Project) -> Resources:
    """How the project's settings let a run work."""
    shared = project.resources()
    config = project.config
    if config is None:
        return Resources(shared.threads, shared.memory_bytes, _HOUR_US, _HOUR_US)
    ttl_us = config.online_ttl_us
    return Resources(
        shared.threads,
        shared.memory_bytes,
        config.online_history_us,
        config.online_lateness_us,
        None if ttl_us is None else max(1, ttl_us // 1_000_000),
    )
