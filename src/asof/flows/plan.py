"""Plans: what a change of definitions would do to an environment, before anything happens."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from asof.define.deprecated import Deprecated
from asof.define.kinds import KINDS, spoken
from asof.define.spec import Spec, in_order
from asof.errors import DefinitionError, UnknownEnvironment, did_you_mean
from asof.flows.breaks import Break, find_breaks
from asof.flows.estimate import Backfill
from asof.registry.diff import ObjectChange, diff
from asof.registry.lineage import object_graph
from asof.registry.state import PROTECTED, State
from asof.registry.store import Registry
from asof.settings import ENVIRONMENT
from asof.usage import UsageEvent

Receipts = Callable[[], Iterable[UsageEvent]]


@dataclass(frozen=True)
class Target:
    """What a plan starts from: the environment's state, and for a new one the state of its base."""

    environment: str
    state: State
    revision: int | None
    base: str | None = None
    base_revision: int | None = None
    held_base: int | None = None  # the base's revision that the environment stands on

    @property
    def rebases(self) -> bool:
        """True when the base has moved since the environment was last applied."""
        return not self.is_new and self.base is not None and self.base_revision != self.held_base

    @property
    def is_new(self) -> bool:
        """True for an environment that apply would make."""
        return self.revision is None


@dataclass(frozen=True)
class Plan:
    """What would change, whom it concerns, what it costs and what it breaks.

    `changes` are objects whose own fields differ; `affected` are those whose values change only because something
    that they stand on does. `unheld` are views to be served that no store holds as defined, where that is refused.
    `id` names exactly this plan: the same definitions on the same revision.
    """

    target: Target
    specs: Mapping[str, Spec]
    changes: tuple[ObjectChange, ...]
    affected: tuple[ObjectChange, ...]
    breaks: tuple[Break, ...] = ()
    backfills: tuple[Backfill, ...] = ()
    warnings: tuple[str, ...] = ()
    shared: int = 0
    unheld: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """The plan's name: 12 hexadecimal digits."""
        target = self.target
        facts = [target.environment, target.revision, target.base, target.base_revision]
        text = json.dumps([facts, sorted(spec.identity for spec in self.specs.values())])
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    @property
    def has_changes(self) -> bool:
        """True when applying it would change anything."""
        return bool(self.changes or self.affected or self.damaged or self.target.is_new)

    @property
    def damaged(self) -> tuple[str, ...]:
        """Stored objects whose body is damaged: written anew, or taken out."""
        return tuple(self.target.state.corrupted)

    @property
    def blocking(self) -> tuple[Break, ...]:
        """What would break somebody who is known; refused unless forced."""
        return tuple(each for each in self.breaks if each.readers)

    @property
    def all_changes(self) -> tuple[ObjectChange, ...]:
        """`changes` and `affected`."""
        return self.changes + self.affected

    @property
    def newly_served(self) -> tuple[Spec, ...]:
        """The views that are to be served from now on, though their values are as before."""
        flipped = [each for each in self.changes if any(field.path == "online" for field in each.fields)]
        return tuple(each.spec for each in flipped if each.spec.about("online"))

    @property
    def new_values(self) -> tuple[Spec, ...]:
        """The objects whose values are new: added, or of another fingerprint."""
        return tuple(each.spec for each in self.all_changes if each.action in {"added", "changed"})


def find_target(
    registry: Registry, environment: str, *, create: bool = False, base: str = PROTECTED
) -> Target:
    """The environment that a plan is for. `prod` is there from the beginning, others after `create`.

    Raises:
        UnknownEnvironment: there is none and `create` is not said.
    """
    known = {each.name: each for each in registry.environments()}
    if environment in known:
        state, own = registry.state(environment), known[environment]
        if own.base is None or own.base not in known:
            return Target(environment, state, state.revision)
        seen = known[own.base].revision
        return Target(environment, state, state.revision, own.base, seen, own.base_revision)
    if environment == PROTECTED:
        return Target(environment, State(environment, 0, {}), None)
    if not create:
        near = did_you_mean(environment, [*known, PROTECTED])
        raise UnknownEnvironment(
            f"no environment {environment!r}",
            hint=f"{near}; --create makes it from {base!r}",
            environment=environment,
        )
    check_environment_name(environment)
    if base not in known:
        return Target(environment, State(environment, 0, {}), None)
    state = registry.state(base)
    return Target(environment, state, None, base, state.revision)


def production_of(registry: Registry, state: State) -> State | None:
    """The state of `prod`, to tell what another environment shares with it; None where there is none."""
    if state.environment == PROTECTED:
        return state
    try:
        return registry.state(PROTECTED)
    except UnknownEnvironment:
        return None


def check_environment_name(name: str) -> None:
    """Nothing, when a new environment may have this name.

    Raises:
        DefinitionError: it may not.
    """
    if ENVIRONMENT.fullmatch(name) is None:
        raise DefinitionError(
            f"environment name {name!r} is not a name",
            hint="lower-case letters, digits, _ and -, a letter first, at most 63, such as dev-anna",
        )


def plan_of(
    target: Target,
    specs: Mapping[str, Spec],
    *,
    receipts: Receipts = list,
    production: State | None = None,
) -> Plan:
    """The plan that makes an environment hold these objects.

    Args:
        target: where the plan starts; see `find_target`.
        specs: what the environment should hold.
        receipts: gives the ledger's newest receipts; asked only when something breaks.
        production: the state of `prod`, to tell what is shared with it.

    Raises:
        DefinitionError: objects that stand on each other in a circle.
    """
    specs = in_order(specs.values())
    # Objects of a kind that this asof does not know are a newer one's: they stay.
    old = {key: spec for key, spec in target.state.specs.items() if spec.kind in KINDS or key in specs}
    found = diff(old, specs)
    if found:  # what has been applied stands on each other as it should
        object_graph(specs)
    affected = [each for each in found if each.because and not each.fields]
    changes = [each for each in found if not (each.because and not each.fields)]
    breaks = find_breaks(found, target.state.specs, specs, receipts)
    shared = [key for key, spec in specs.items() if production and _same(production.specs.get(key), spec)]
    return Plan(
        target,
        specs,
        tuple(changes),
        tuple(affected),
        tuple(breaks),
        (),
        tuple(deprecations(specs)),
        len(shared),
    )


def _same(one: Spec | None, two: Spec) -> bool:
    return one is not None and one.fingerprint == two.fingerprint


def deprecations(specs: Mapping[str, Spec]) -> list[str]:
    """Who uses what is deprecated, a sentence each."""
    said: list[str] = []
    for spec in specs.values():
        for part, words, about in _deprecated(spec):
            users = [
                other.words
                for other in specs.values()
                if spec.key in other.refs and _reads(other, spec.key, part)
            ]
            said += [f"{user} uses {words}, {about}" for user in users]
    return said


def _deprecated(spec: Spec) -> list[tuple[str | None, str, str]]:
    found: list[tuple[str | None, str, str]] = []
    if '"deprecated"' not in spec.text:  # parsing a thousand bodies takes longer than looking
        return found
    if "deprecated" in spec.body:
        found.append((None, spec.words, str(Deprecated(**spec.body["deprecated"]))))
    for feature in spec.body.get("features", []) if spec.kind == "feature_view" else []:
        if "deprecated" in feature:
            name = feature["name"]
            words = f"feature {name!r} of {spoken(spec.kind)} {spec.name!r}"
            found.append((name, words, str(Deprecated(**feature["deprecated"]))))
    return found


def _reads(other: Spec, key: str, feature: str | None) -> bool:
    """True when an object refers to another one, or to one feature of it."""
    items = [*other.body.get("features", []), *other.body.get("inputs", [])]
    return feature is None or any(i.get("ref") == key and i.get("feature") == feature for i in items)
