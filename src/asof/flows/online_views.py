"""Which views are read online, and which of them an environment points at."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from asof.define.feature_view import FeatureView
from asof.define.fingerprint import fingerprint
from asof.define.service import FeatureService
from asof.define.spec import Spec
from asof.errors import UnknownName, did_you_mean
from asof.registry.state import State

if TYPE_CHECKING:
    from asof.flows.project import Project


@dataclass(frozen=True)
class Chosen:
    """Views to materialize; `absent` are those that an environment serves and that the code does not have so."""

    views: tuple[FeatureView, ...]
    absent: tuple[str, ...] = ()


def online_views_of(project: Project, names: Iterable[str] | None) -> list[FeatureView]:
    """The views of these names, or all that are read online: those that say so, and those of services.

    Raises:
        UnknownName: there is no such view.
    """
    everything, served = _views_of(project)
    if names is None:
        return [view for name, view in everything.items() if view.online or name in served]
    wanted = dict.fromkeys(names)
    for name in wanted:
        if name not in everything:
            hint = did_you_mean(name, everything)
            raise UnknownName(f"no feature view {name!r}", hint=hint, name=name, kind="feature_view")
    return [everything[name] for name in wanted]


def choose_views(project: Project, names: Iterable[str] | None, environment: str | None) -> Chosen:
    """The views of these names, or all that are read online; of an environment only the versions that it points at.

    Raises:
        UnknownName, UnknownEnvironment: there is no such view, or no such environment.
    """
    if environment is None:
        return Chosen(tuple(online_views_of(project, names)))
    wanted = None if names is None else list(names)
    registry = project.registry()
    try:
        state = registry.state(environment)
    finally:
        registry.close()
    specs = (
        [state.get("feature_view", name) for name in wanted] if wanted is not None else served_specs(state)
    )
    coded = {fingerprint(view): view for view in _views_of(project)[0].values()}
    return Chosen(
        tuple(coded[spec.fingerprint] for spec in specs if spec.fingerprint in coded),
        tuple(spec.name for spec in specs if spec.fingerprint not in coded),
    )


def served_specs(state: State) -> list[Spec]:
    """The views that an environment serves: those that say `online=True`, and those that its services read."""
    read = {
        key for spec in state.specs.values() if spec.kind == "feature_service" for key in _below(state, spec)
    }
    views = [spec for spec in state.specs.values() if spec.kind == "feature_view"]
    return [spec for spec in views if spec.about("online") or spec.key in read]


def _below(state: State, spec: Spec) -> Iterator[str]:
    for key in spec.refs:
        if key.startswith("request_feature:") and key in state.specs:
            yield from state.specs[key].refs
        else:
            yield key


def _views_of(project: Project) -> tuple[dict[str, FeatureView], frozenset[str]]:
    """All views by name, and the names of those that services read."""
    views = {each.name: each for each in project.definitions.all() if isinstance(each, FeatureView)}
    services = [each for each in project.definitions.all() if isinstance(each, FeatureService)]
    served = {ref.view.name: ref.view for service in services for ref in service.refs}
    return {**served, **views}, frozenset(served)
