"""A plan as plain data, for machines: `asof plan --json`, and what a program makes of it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from asof.clock import format_time
from asof.define.spec import Spec
from asof.flows.estimate import Backfill
from asof.flows.plan import Plan
from asof.registry.diff import ObjectChange


def plan_data(plan: Plan) -> dict[str, Any]:
    """The plan: `id`, `environment`, `changes`, `affected`, `backfills`, `breaks`, `warnings`, `has_changes`."""
    target = plan.target
    return {
        "id": plan.id,
        "environment": target.environment,
        "revision": target.revision,
        "base": target.base,
        "base_revision": target.base_revision,
        "is_new": target.is_new,
        "has_changes": plan.has_changes,
        "changes": [_change(each, plan) for each in plan.changes],
        "affected": [_change(each, plan) for each in plan.affected],
        "backfills": [_backfill(each, plan) for each in plan.backfills],
        "breaks": [asdict(each) | {"refused": bool(each.readers)} for each in plan.breaks],
        "warnings": list(plan.warnings),
        "unheld": list(plan.unheld),
        "damaged": list(plan.damaged),
        "objects": len(plan.specs),
        "shared_with_prod": plan.shared,
    }


def _change(change: ObjectChange, plan: Plan) -> dict[str, Any]:
    spec = change.spec
    made: dict[str, Any] = {
        "action": change.action,
        "kind": spec.kind,
        "name": spec.name,
        "fingerprint": spec.fingerprint,
        "version": plan.target.state.versions.get(change.old.key) if change.old else None,
        "fields": [asdict(each) for each in change.fields],
        "because": list(change.because),
    }
    return made | ({"was": change.old.name} if change.action == "renamed" and change.old else {})


def _backfill(each: Backfill, plan: Plan) -> dict[str, Any]:
    view = plan.specs.get(f"feature_view:{each.view}")
    times = {
        name: value and format_time(value)
        for name, value in (("from", each.from_us), ("until", each.until_us))
    }
    rest = {name: value for name, value in asdict(each).items() if name not in {"from_us", "until_us"}}
    return {**rest, **times, "needed": is_served(view)}


def is_served(view: Spec | None) -> bool:
    """True for a view that is to be served, so that it has to be materialized."""
    return view is not None and bool(view.about("online"))
