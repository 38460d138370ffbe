"""Planning and applying a project: its definitions, its registry, its sources and its ledger brought together."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Protocol

from asof.clock import Clock
from asof.config import Config
from asof.define.feature_view import FeatureView
from asof.define.kinds import kind_of
from asof.engines.duckdb import DuckDBEngine
from asof.errors import AsofError, RegistryMoved
from asof.flows.apply import apply_plan, find_unheld
from asof.flows.author import Author, find_author
from asof.flows.check_sql import check_sql
from asof.flows.column_types import read_types
from asof.flows.estimate import Backfill, estimate_backfills, measured_rows_per_second
from asof.flows.feature_columns import Progress
from asof.flows.lineage import columns_of
from asof.flows.load import Definitions
from asof.flows.openlineage import check_openlineage, emit_state
from asof.flows.plan import Plan, find_target, plan_of, production_of
from asof.registry.state import PROTECTED
from asof.registry.store import Registry
from asof.usage import UsageEvent, read_ledger

_RECENT = timedelta(days=30)
_log = logging.getLogger(__name__)


class ProjectLike(Protocol):
    """What planning needs of a project."""

    definitions: Definitions
    config: Config | None
    clock: Clock

    @property
    def root(self) -> Path:
        """The folder where relative paths start."""
        ...

    def registry(self) -> Registry:
        """The project's registry, opened."""
        ...

    def engine(self) -> DuckDBEngine:
        """A new engine."""
        ...


def plan_project(
    project: ProjectLike, environment: str | None, *, create: bool, estimates: bool, progress: Progress
) -> Plan:
    """See `Project.plan`."""
    definitions = project.definitions.all()
    registry = project.registry()
    try:
        target = find_target(
            registry, default_environment(project) if environment is None else environment, create=create
        )
        production = production_of(registry, target.state)
        specs = project.definitions.specs()
        plan = plan_of(target, specs, production=production, receipts=lambda: recent_receipts(project))
        plan = replace(plan, unheld=tuple(spec.words for spec in find_unheld(registry, plan)))
        done = {each.fingerprint for each in registry.materialized()} if plan.has_changes else set[str]()
    finally:
        registry.close()
    new = {spec.key: spec for spec in (*plan.new_values, *plan.newly_served)}
    if not new:
        return plan
    fresh = [thing for thing in definitions if f"{kind_of(thing)}:{thing.name}" in new]
    views = [thing for thing in fresh if isinstance(thing, FeatureView)]
    missing = [view for view in views if new[f"feature_view:{view.name}"].fingerprint not in done]
    engine = project.engine()
    try:
        check_sql(engine, fresh, project.root)
        found = _estimate(project, engine, missing, progress) if estimates else ()
    finally:
        engine.close()
    return replace(plan, backfills=tuple(found))


def apply_project(project: ProjectLike, plan: Plan, *, force: bool, message: str) -> int | None:
    """See `Project.apply`."""
    specs = project.definitions.specs().values()
    if {spec.identity for spec in specs} != {spec.identity for spec in plan.specs.values()}:
        raise RegistryMoved(
            "the definitions have changed since the plan was made; nothing was changed", hint="plan again"
        )
    return carry_out(
        project, plan, lambda registry, author: apply_plan(registry, plan, author, force=force), message
    )


def carry_out(
    project: ProjectLike, plan: Plan, make: Callable[[Registry, Author], int | None], message: str = ""
) -> int | None:
    """What `make` makes of the project's registry: a revision by whoever is there, told to whoever asked for lineage
    events; None when nothing had to be done.
    """
    config = project.config
    if config is not None:
        check_openlineage(config)
    registry = project.registry()
    try:
        user = None if config is None else config.user
        revision = make(registry, find_author(project.root, user=user, message=message))
        if (
            revision is not None
            and config is not None
            and (config.openlineage_url or config.openlineage_file)
        ):
            _tell(project, config, registry, plan)
        return revision
    finally:
        registry.close()


def _tell(project: ProjectLike, config: Config, registry: Registry, plan: Plan) -> None:
    """Lineage events of what has been made; whatever fails here, it has been made."""
    keys = [spec.key for each in plan.all_changes for spec in (each.old, each.new) if spec is not None]
    engine = project.engine()
    try:
        state = registry.state(plan.target.environment)
        types = read_types(state, project.definitions, engine)
        emit_state(state, columns_of(engine), config, dict.fromkeys(keys), types=types, clock=project.clock)
    except AsofError as exc:
        _log.warning("lineage events: none sent: %s", exc.message)
    finally:
        engine.close()


def default_environment(project: ProjectLike) -> str:
    """The environment that is meant when none is named."""
    return PROTECTED if project.config is None else project.config.environment


def recent_receipts(project: ProjectLike) -> Iterator[UsageEvent]:
    """The ledger's receipts of the last 30 days; its files are named for their days."""
    if project.config is None or not project.config.usage_dir.is_dir():
        return
    since = (project.clock.now() - _RECENT).date().isoformat()
    for file in sorted(project.config.usage_dir.glob("*.jsonl")):
        if file.stem >= since:
            yield from read_ledger(file)


def _estimate(
    project: ProjectLike, engine: DuckDBEngine, views: Sequence[FeatureView], progress: Progress
) -> Sequence[Backfill]:
    if not views:
        return ()
    return estimate_backfills(
        engine,
        views,
        now_us=project.clock.now_us(),
        rows_per_second=measured_rows_per_second(recent_receipts(project)),
        progress=progress,
    )
