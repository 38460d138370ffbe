"""Making a plan: apply, rollback and promote, each one transaction of the registry."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

from asof.define.spec import Spec
from asof.errors import BreakingChange, NotMaterialized, RegistryMoved, StateError
from asof.flows.author import Author
from asof.flows.plan import Plan, Receipts, Target, find_target, plan_of
from asof.registry.state import PROTECTED, Change, Environment, Materialized, Revision, covers
from asof.registry.store import Registry


def apply_plan(registry: Registry, plan: Plan, author: Author, *, force: bool = False) -> int | None:
    """The revision that makes exactly this plan; None when it changes nothing.

    Raises:
        BreakingChange: somebody who is known would miss something, and `force` is not said.
        NotMaterialized: `prod` would serve a version that no store holds.
        RegistryMoved: the environment has changed since the plan was made; nothing is changed.
    """
    return _make(registry, plan, "apply", author, force=force)


def rollback_plan(
    registry: Registry, environment: str, to: int | None = None, *, receipts: Receipts = list
) -> tuple[Plan, int]:
    """The plan that brings an environment back to a revision, and that revision; by default the one before the last.

    Raises:
        StateError: there is no such revision of this environment. UnknownEnvironment: there is no such environment.
    """
    state = registry.state(environment)
    past = _since_creation(registry.history(environment, limit=10_000))
    numbers = [each.number for each in past]
    if to is None:
        if len(numbers) < 2:
            raise StateError(f"environment {environment!r} has one revision: nothing to go back to")
        to = _before(past)
    elif to not in numbers:
        known = ", ".join(str(number) for number in numbers[:8])
        raise StateError(f"environment {environment!r} has no revision {to}", hint=f"its revisions: {known}")
    wanted = registry.state(environment, at=to)
    if wanted.corrupted:
        raise StateError(f"revision {to} cannot be brought back: {', '.join(wanted.corrupted)} is damaged")
    return plan_of(Target(environment, state, state.revision), wanted.specs, receipts=receipts), to


def _since_creation(past: list[Revision]) -> list[Revision]:
    """Newest first, up to where the environment was last removed."""
    gone = next((place for place, each in enumerate(past) if each.action == "remove"), len(past))
    return past[:gone]


def _before(past: list[Revision]) -> int:
    """The revision before the last change; a rollback in a row goes back one more, as undo does."""
    if past[0].undoes is None:
        return past[1].number
    numbers = [each.number for each in past]
    place = numbers.index(past[0].undoes) if past[0].undoes in numbers else 0
    if place + 1 >= len(numbers):
        raise StateError("the first revision has been brought back: nothing is before it")
    return numbers[place + 1]


def rollback(registry: Registry, plan: Plan, to: int, author: Author, *, force: bool = False) -> int | None:
    """Makes the plan of `rollback_plan`; raises as `apply_plan` does."""
    return _make(registry, plan, "rollback", author, force=force, undoes=to)


def promotion_plan(registry: Registry, source: str, target: str, *, receipts: Receipts = list) -> Plan:
    """The plan that points `target` at what `source` points at.

    Raises:
        UnknownEnvironment: one of the two is not there. StateError: an environment onto itself, one that is damaged,
            or one that was made from `target` before that last moved: it would undo what came in between.
    """
    if source == target:
        raise StateError(f"environment {source!r} cannot be promoted to itself")
    wanted = registry.state(source)
    if wanted.corrupted:
        raise StateError(f"environment {source!r} is damaged: {', '.join(wanted.corrupted)}")
    plan = plan_of(find_target(registry, target), wanted.specs, receipts=receipts)
    found = {each.name: each for each in registry.environments()}
    if plan.has_changes and target in found:
        _check_base(found[source], found[target])
    # Promotion says nothing of what the target was made from.
    return replace(plan, target=replace(plan.target, base=None, base_revision=None, rebases=False))


def _check_base(source: Environment, target: Environment) -> None:
    if source.base == target.name and source.base_revision != target.revision:
        raise RegistryMoved(
            f"environment {target.name!r} has moved to revision {target.revision} since {source.name!r} was last"
            f" applied on its revision {source.base_revision}; promoting would undo what came in between",
            hint=f"bring the code up to date and apply it again: asof apply --env {source.name}",
            environment=target.name,
        )


def promote(
    registry: Registry, plan: Plan, source: str, author: Author, *, force: bool = False
) -> int | None:
    """Makes the plan of `promotion_plan`: the pointers move in one transaction; raises as `apply_plan` does."""
    message = author.message or f"from {source}"
    return _make(registry, plan, "promote", Author(author.who, author.commit, message), force=force)


def _make(
    registry: Registry, plan: Plan, action: str, author: Author, *, force: bool, undoes: int | None = None
) -> int | None:
    if not plan.has_changes and not plan.target.rebases:
        return None
    if plan.blocking and not force:
        said = "; ".join(
            f"feature service {each.service!r} {each.what}, read by {', '.join(each.readers)}"
            for each in plan.blocking
        )
        raise BreakingChange(
            f"this would break: {said}",
            hint="keep the feature, change its readers first, or say --force",
            breaks=[(each.service, each.what, each.readers) for each in plan.blocking],
        )
    check_materialized(registry, plan)
    target = plan.target
    renamed = [each.old.key for each in plan.changes if each.action == "renamed" and each.old]
    removed = [each.key for each in plan.changes if each.action == "removed"]
    damaged = [key for key in plan.damaged if key not in plan.specs]
    return registry.commit(
        Change(
            target.environment,
            action,
            target.revision,
            puts=tuple(each.new for each in plan.all_changes if each.new is not None),
            removes=(*removed, *renamed, *damaged),
            who=author.who,
            commit=author.commit,
            plan=plan.id,
            message=author.message,
            summary=summary_of(plan),
            base=target.base,
            base_expected=target.base_revision,
            undoes=undoes,
        )
    )


def summary_of(plan: Plan) -> dict[str, object]:
    """What the history says of a change: counts by action, and what was changed (the first 100)."""
    counts = Counter(each.action for each in plan.all_changes)
    said = [
        f"{each.action} {each.key}"
        + (f" (was {each.old.name})" if each.action == "renamed" and each.old else "")
        for each in plan.all_changes
    ]
    return {"counts": dict(counts), "changes": said[:100]}


def check_materialized(registry: Registry, plan: Plan) -> None:
    """Nothing, when every version that `prod` would serve is in a store.

    Raises:
        NotMaterialized: some are not; they are named.
    """
    missing = find_unheld(registry, plan)
    if missing:
        names = ", ".join(spec.words for spec in missing[:8])
        raise NotMaterialized(
            f"environment {plan.target.environment!r} would serve what no online store holds as defined: {names}",
            hint="apply to another environment, materialize there, then promote it",
            missing=[spec.key for spec in missing],
        )


def find_unheld(registry: Registry, plan: Plan) -> list[Spec]:
    """The views that `prod` would serve and that no store holds as far back as they look."""
    if plan.target.environment != PROTECTED:
        return []
    served = [spec for spec in plan.specs.values() if spec.about("online")]
    return [spec for spec in served if not covers(_held(registry, spec), _reach_us(spec))]


def _held(registry: Registry, spec: Spec) -> list[Materialized]:
    return registry.materialized([spec.fingerprint])


def _reach_us(view: Spec) -> int | None:
    """How far back the longest window of a view looks; None when it needs the first row of its source."""
    reaches: list[int] = []
    for feature in view.body["features"]:
        window: Mapping[str, int] = feature["window"]
        if feature["function"] == "latest" or window.get("size_us") is None:
            return None
        reaches.append(window["size_us"] + window.get("offset_us", 0) + window.get("hop_us", 0))
    return max(reaches)
