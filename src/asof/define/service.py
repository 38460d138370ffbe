"""Feature services: the features that one model asks for, in order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from asof.clock import parse_duration
from asof.define.deprecated import Deprecated
from asof.define.entity import Entity
from asof.define.feature_view import FeatureRef, FeatureView
from asof.define.names import check_choice, check_name, check_people, check_unique
from asof.define.place import Placed
from asof.define.request_feature import RequestFeature
from asof.define.source import Events, Union
from asof.define.window import Duration
from asof.errors import DefinitionError, UnknownName, did_you_mean
from asof.types import DType

Item = FeatureView | FeatureRef | RequestFeature
Value = bool | int | float | str
Policy = Literal["serve", "null", "default", "refuse"]
POLICIES = ("serve", "null", "default", "refuse")


@dataclass(frozen=True, init=False)
class FeatureService(Placed):
    """What a model asks for: features of views and request features, in order, under unique column names.

    `own_row=True` says that the scored row itself counts in every window of its source that ends at t: the
    spine then carries the source's columns (semantics in docs/concepts/time-and-value.md). Where windows have
    several sources, `own_row` names the one that the row belongs to.

    What a read from the online store does with a value that is not what it seems, in `on_missing` (the view has no
    record of the entity) and `on_stale` (the view's watermark is older than `max_age`): `"serve"` it as it is (of a
    missing entity: what its empty windows hold), make it `"null"`, put the column's value in `defaults` in its place
    (`"default"`; null where there is none), or `"refuse"` the whole read. Either way the answer marks it.

    Raises:
        DefinitionError: nothing in it, two columns of one name, two entities that give one key column
            different types, an own row whose source is not clear, or a policy that is none.
    """

    name: str
    features: tuple[FeatureRef | RequestFeature, ...]
    own_row: Events | Union | None = None
    on_missing: str = "serve"
    on_stale: str = "serve"
    max_age_us: int | None = None
    defaults: tuple[tuple[str, Value], ...] = ()
    owner: str = field(default="", compare=False)
    description: str = field(default="", compare=False)
    tags: tuple[str, ...] = field(default=(), compare=False)
    deprecated: Deprecated | None = field(default=None, compare=False)

    def __init__(
        self,
        name: str,
        features: Sequence[Item],
        *,
        own_row: bool | Events | Union = False,
        on_missing: Policy = "serve",
        on_stale: Policy = "serve",
        max_age: Duration | None = None,
        defaults: Mapping[str, Value] | None = None,
        owner: str = "",
        description: str = "",
        tags: Sequence[str] = (),
        deprecated: Deprecated | None = None,
    ) -> None:
        where = f"feature service {check_name('feature service', name)!r}"
        check_people(where, owner, description, tags)
        flat = _flatten(where, features)
        names = [item.name for item in flat]
        check_unique(where, "columns", names, hint='take one as view["name"].named("other")')
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "features", flat)
        object.__setattr__(self, "own_row", _own_source(where, self.refs, own_row))
        object.__setattr__(self, "on_missing", check_choice(where, "on_missing", on_missing, POLICIES))
        object.__setattr__(self, "on_stale", check_choice(where, "on_stale", on_stale, POLICIES))
        object.__setattr__(self, "max_age_us", None if max_age is None else parse_duration(max_age))
        object.__setattr__(self, "defaults", _checked_defaults(where, names, defaults))
        object.__setattr__(self, "owner", owner)
        object.__setattr__(self, "description", description)
        object.__setattr__(self, "tags", tuple(tags))
        object.__setattr__(self, "deprecated", deprecated)
        key_types = self._key_types(where)
        clash = set(names) & {*key_types, *self._request_types(where)}
        if clash:
            raise DefinitionError(
                f"{where}: column {min(clash)!r} is also a key or request column", hint="rename it"
            )

    @property
    def names(self) -> tuple[str, ...]:
        """The service's columns in order."""
        return tuple(item.name for item in self.features)

    @property
    def refs(self) -> tuple[FeatureRef, ...]:
        """The view features that have to be computed, inputs of request features included, each once."""
        wanted: dict[FeatureRef, None] = {}
        for item in self.features:
            for ref in item.inputs if isinstance(item, RequestFeature) else (item,):
                wanted[ref] = None
        return tuple(wanted)

    @property
    def entities(self) -> tuple[Entity, ...]:
        """The entities of its views, each once, in order."""
        return tuple(dict.fromkeys(ref.view.entity for ref in self.refs))

    @property
    def request(self) -> dict[str, DType]:
        """The columns that a request has to bring for the request features."""
        return self._request_types(f"feature service {self.name!r}")

    def _request_types(self, where: str) -> dict[str, DType]:
        pairs = [pair for item in self.features if isinstance(item, RequestFeature) for pair in item.request]
        return _one_type(where, "request column", pairs)

    def _key_types(self, where: str) -> dict[str, DType]:
        return _one_type(where, "key column", [pair for entity in self.entities for pair in entity.keys])


def _checked_defaults(
    where: str, names: Sequence[str], defaults: Mapping[str, Value] | None
) -> tuple[tuple[str, Value], ...]:
    for name, value in (defaults or {}).items():
        if name not in names:
            raise UnknownName(
                f"{where}: defaults name {name!r}, which is no column",
                hint=did_you_mean(name, names),
                column=name,
            )
        if not isinstance(value, bool | int | float | str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise DefinitionError(f"{where}: the default of {name!r} is no plain value")
    return tuple((defaults or {}).items())


def _flatten(where: str, features: Sequence[Item]) -> tuple[FeatureRef | RequestFeature, ...]:
    flat: list[FeatureRef | RequestFeature] = []
    for item in features:
        if isinstance(item, FeatureView):
            flat += item.refs()
        elif isinstance(item, FeatureRef | RequestFeature):  # pyright: ignore[reportUnnecessaryIsInstance]
            flat.append(item)
        else:
            raise DefinitionError(
                f"{where}: {type(item).__name__} is not a feature",
                hint='a view, view["name"], or a request feature',
            )
    if not flat:
        raise DefinitionError(f"{where}: no features", hint="features=[view]")
    return tuple(flat)


def _own_source(
    where: str, refs: Sequence[FeatureRef], own_row: bool | Events | Union
) -> Events | Union | None:
    if own_row is False:
        return None
    sources = list(dict.fromkeys(r.view.source for r in refs if r.feature.function != "latest"))
    if own_row is not True:
        if own_row not in sources:
            raise DefinitionError(f"{where}: no window has the own row's source {own_row.name!r}")
        return own_row
    if len(sources) != 1:
        names = ", ".join(source.name for source in sources) or "none"
        raise DefinitionError(
            f"{where}: own_row=True, but windows have the sources: {names}", hint="own_row=source"
        )
    return sources[0]


def _one_type(where: str, what: str, pairs: Sequence[tuple[str, DType]]) -> dict[str, DType]:
    types: dict[str, DType] = {}
    for name, dtype in pairs:
        if types.setdefault(name, dtype) != dtype:
            raise DefinitionError(f"{where}: {what} {name!r} is both {types[name]} and {dtype}")
    return types
