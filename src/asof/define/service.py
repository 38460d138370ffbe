"""Feature services: the features that one model asks for, in order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from asof.define.deprecated import Deprecated
from asof.define.entity import Entity
from asof.define.feature_view import FeatureRef, FeatureView
from asof.define.names import check_name, check_people, check_unique
from asof.define.place import Placed
from asof.define.request_feature import RequestFeature
from asof.define.source import Events, Union
from asof.errors import DefinitionError
from asof.types import DType

Item = FeatureView | FeatureRef | RequestFeature


@dataclass(frozen=True, init=False)
class FeatureService(Placed):
    """What a model asks for: features of views and request features, in order, under unique column names.

    `own_row=True` says that the scored row itself counts in every window of its source that ends at t: the
    spine then carries the source's columns (semantics in docs/concepts/time-and-value.md). Where windows have
    several sources, `own_row` names the one that the row belongs to.

    Raises:
        DefinitionError: nothing in it, two columns of one name, two entities that give one key column
            different types, or an own row whose source is not clear.
    """

    name: str
    features: tuple[FeatureRef | RequestFeature, ...]
    own_row: Events | Union | None = None
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
