"""Environments: what there is, which are abandoned, and taking one away with everything it owns."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from asof.errors import StateError, UnknownEnvironment, did_you_mean
from asof.flows.plan import check_environment_name
from asof.registry.state import PROTECTED, Change, Environment, Materialized
from asof.registry.store import Registry

Drop = Callable[[Materialized], None]


@dataclass(frozen=True)
class EnvironmentReport:
    """An environment, what it shares with `prod`, and what only it has."""

    environment: Environment
    objects: int
    shared: int
    own: tuple[str, ...]
    materialized_bytes: int
    is_abandoned: bool


def list_environments(registry: Registry, *, now_us: int, abandoned_after_us: int) -> list[EnvironmentReport]:
    """All environments; one that is not protected is abandoned when nothing changed it for so long."""
    found = registry.environments()
    states = {each.name: registry.state(each.name) for each in found}
    held = registry.materialized()
    made: list[EnvironmentReport] = []
    for each in found:
        others = frozenset[str]().union(*(s.fingerprints for name, s in states.items() if name != each.name))
        state = states[each.name]
        own = [key for key, spec in state.specs.items() if spec.fingerprint not in others]
        alone = state.fingerprints - others
        size_bytes = sum(interval.size_bytes for interval in held if interval.fingerprint in alone)
        abandoned = not each.protected and now_us - each.updated_us >= abandoned_after_us
        production = states.get(PROTECTED, state)
        shared = sum(1 for spec in state.specs.values() if spec.fingerprint in production.fingerprints)
        made.append(EnvironmentReport(each, len(state.specs), shared, tuple(own), size_bytes, abandoned))
    return made


def create_environment(registry: Registry, name: str, base: str, *, who: str, commit: str | None) -> int:
    """The revision that makes an environment pointing at what its base points at: no copy, no cost.

    Raises:
        UnknownEnvironment: the base is not there. StateError: an environment of that name is there already.
        DefinitionError: it may not have that name.
    """
    check_environment_name(name)
    if registry.revision(name) is not None:
        raise StateError(f"environment {name!r} is there already")
    revision = registry.state(base).revision
    return registry.commit(
        Change(name, "create", None, who=who, commit=commit, base=base, base_expected=revision)
    )


def remove_environments(
    registry: Registry,
    names: Iterable[str],
    *,
    who: str,
    commit: str | None,
    drop: Drop | None = None,
    expected: Mapping[str, int] | None = None,
    idle_since_us: int | None = None,
) -> list[Materialized]:
    """Removes environments, the versions that nobody else points at, and the records of those; gives what was dropped.

    `drop` takes the records of one interval out of their store; without it nothing is dropped, and what is held stays
    noted. Records of an earlier removal that was cut short are dropped as well: what is noted as materialized and
    pointed at by no environment is an orphan. `expected` are the revisions at which the environments were looked at.
    `idle_since_us` keeps orphans that these environments do not point at and whose watermark has moved since: somebody
    may have materialized what is to be applied next.

    Raises:
        UnknownEnvironment: one is not there; the others are not removed either. StateError: one is protected.
        RegistryMoved: one has been changed since it was looked at.
    """
    wanted = dict.fromkeys(names)
    check_removable(registry, wanted)
    theirs = frozenset[str]().union(*(registry.state(name).fingerprints for name in wanted))
    for name in wanted:
        registry.remove(name, expected=(expected or {}).get(name), who=who, commit=commit)
    if drop is None:
        return []
    orphans = [
        each
        for each in find_orphans(registry)
        if idle_since_us is None or each.fingerprint in theirs or each.until_us < idle_since_us
    ]
    for each in orphans:
        drop(each)
    registry.forget_materialized({each.fingerprint for each in orphans})
    return orphans


def check_removable(registry: Registry, names: Iterable[str]) -> None:
    """Nothing, when all these environments are there and may be removed."""
    known = {each.name: each for each in registry.environments()}
    for name in names:
        if name not in known:
            hint = did_you_mean(name, known)
            raise UnknownEnvironment(f"no environment {name!r}", hint=hint, environment=name)
        if known[name].protected:
            raise StateError(f"environment {name!r} is protected and cannot be removed")


def find_orphans(registry: Registry) -> list[Materialized]:
    """What is materialized of versions that no environment points at, now or at a revision one could go back to."""
    return [each for each in registry.materialized() if not registry.is_known(each.fingerprint)]
