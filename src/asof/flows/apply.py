"""Making a plan: apply, rollback and promote, each one transaction of the registry."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

from asof.define.kinds import KINDS
from asof.define.spec import Spec
from asof.errors import BreakingChange, NotMaterialized, RegistryMoved, RegistryTooNew, StateError
from asof.flows.author import Author
from asof.flows.plan import Plan, Receipts, Target, find_target, plan_of, production_of
from asof.registry.fields import window_of
from asof.registry.past import held_since
from asof.registry.state import PROTECTED, Change, Environment, Materialized, Revision, covers
from asof.registry.store import Registry

Specs = Mapping[str, Spec]


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
    own = next(each for each in registry.environments() if each.name == environment)
    # What stood on a later revision of the base is given up with the rest.
    base = None if own.base_revision is None else min(own.base_revision, to)
    target = Target(environment, state, state.revision, own.base, base, base)
    return _completed(registry, plan_of(target, wanted.specs, receipts=receipts)), to


def _since_creation(past: list[Revision]) -> list[Revision]:
    """Newest first, up to where the environment was last removed."""
    gone = next((place for place, each in enumerate(past) if each.action == "remove"), len(past))
    return past[:gone]


def _before(past: list[Revision]) -> int:
    """The revision before the last change; a rollback in a row goes back one more, as undo does."""
    known = {each.number: each for each in past}
    if past[0].undoes is None:
        return past[1].number
    origin = past[0]
    while origin.undoes in known:  # what was brought back may have been brought back itself
        origin = known[origin.undoes]
    earlier = [number for number in known if number < origin.number]
    if not earlier:
        raise StateError("the first revision has been brought back: nothing is before it")
    return max(earlier)


def rollback(registry: Registry, plan: Plan, to: int, author: Author, *, force: bool = False) -> int | None:
    """Makes the plan of `rollback_plan`; raises as `apply_plan` does."""
    return _make(registry, plan, "rollback", author, force=force, undoes=to)


def promotion_plan(registry: Registry, source: str, target: str, *, receipts: Receipts = list) -> Plan:
    """The plan that points `target` at what `source` points at.

    Raises:
        UnknownEnvironment: one of the two is not there. StateError: an environment onto itself, or a damaged one.
        RegistryTooNew: it holds what only a newer asof knows. RegistryMoved: `target` has changed an object since, and
            the source still holds what it was before: promoting would undo that.
    """
    if source == target:
        raise StateError(f"environment {source!r} cannot be promoted to itself")
    wanted = registry.state(source)
    if wanted.corrupted:
        raise StateError(f"environment {source!r} is damaged: {', '.join(wanted.corrupted)}")
    newer = [spec.words for spec in wanted.specs.values() if spec.kind not in KINDS]
    if newer:
        raise RegistryTooNew(
            f"environment {source!r} holds what a newer asof has applied: {', '.join(newer[:8])}",
            hint="promote it with that version",
        )
    found = find_target(registry, target)
    # Promotion says nothing of what the target was made from.
    found = replace(found, base=None, base_revision=None, held_base=None)
    plan = plan_of(found, wanted.specs, receipts=receipts)
    if plan.has_changes and not found.is_new:
        own = next(each for each in registry.environments() if each.name == source)
        _check_base(registry, own, found, wanted.specs)
    return _completed(registry, plan)


def _check_base(registry: Registry, source: Environment, target: Target, wanted: Specs) -> None:
    on = source.base_revision if source.base == target.environment else source.revision
    behind = _behind(registry, target.environment, on or 0, target.state.specs, wanted)
    if behind:
        raise RegistryMoved(
            f"environment {target.environment!r} has moved to revision {target.revision} since {source.name!r} was"
            f" last applied on its revision {on}; promoting would undo what came in between: {', '.join(behind[:8])}",
            hint=f"bring the code up to date and apply it again: asof apply --env {source.name}",
            environment=target.environment,
            behind=behind,
        )


def _behind(registry: Registry, environment: str, revision: int, now: Specs, wanted: Specs) -> list[str]:
    """The objects that an environment has changed since a revision, and of which these are still what it held."""
    before = registry.state(environment, at=revision).specs
    past = held_since(registry.database, environment, revision)
    return [
        key
        for key in {**before, **now, **past}
        if (digest := _digest(wanted, key)) != _digest(now, key)
        and (digest in past.get(key, ()) or (digest is None and key not in before))
    ]


def _digest(specs: Specs, key: str) -> str | None:
    return specs[key].digest if key in specs else None


def _completed(registry: Registry, plan: Plan) -> Plan:
    """The plan with what only the registry knows: what is shared with `prod`, and what no store holds."""
    production = production_of(registry, plan.target.state)
    known = frozenset[str]() if production is None else production.fingerprints
    shared = sum(1 for spec in plan.specs.values() if spec.fingerprint in known)
    return replace(plan, shared=shared, unheld=tuple(spec.words for spec in find_unheld(registry, plan)))


def promote(
    registry: Registry, plan: Plan, source: str, author: Author, *, force: bool = False
) -> int | None:
    """Makes the plan of `promotion_plan`: the pointers move in one transaction; raises as `apply_plan` does."""
    message = author.message or f"from {source}"
    return _make(registry, plan, "promote", Author(author.who, author.commit, message), force=force)


def _make(
    registry: Registry, plan: Plan, action: str, author: Author, *, force: bool, undoes: int | None = None
) -> int | None:
    target = plan.target
    base = target.base_revision
    if action == "apply" and target.rebases and target.base is not None:
        newest = registry.state(target.base).specs
        if _behind(registry, target.base, target.held_base or 0, newest, plan.specs):
            base = (
                target.held_base
            )  # the files have not taken what came in between: it still stands where it stood
    if not plan.has_changes and base == target.held_base:
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
            base_expected=base,
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
            hint="fill it first, with the code that defines it: asof materialize",
            missing=[spec.key for spec in missing],
        )


def find_unheld(registry: Registry, plan: Plan) -> list[Spec]:
    """The views that `prod` would serve and that no store holds as far back as they look."""
    if plan.target.environment != PROTECTED:
        return []
    served = [spec for spec in plan.specs.values() if spec.about("online")]
    now_us = registry.clock.now_us()
    return [spec for spec in served if not covers(_held(registry, spec), _reach_us(spec), now_us=now_us)]


def _held(registry: Registry, spec: Spec) -> list[Materialized]:
    return registry.materialized([spec.fingerprint])


def _reach_us(view: Spec) -> int | None:
    """How far back the longest window of a view looks; None when it needs the first row of its source."""
    reaches = [
        None if f["function"] == "latest" else window_of(f["window"]).reach_us for f in view.body["features"]
    ]
    known = [reach for reach in reaches if reach is not None]
    return max(known) if len(known) == len(reaches) else None
