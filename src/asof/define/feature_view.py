"""Feature views: a named group of features with one entity and one source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from asof.clock import parse_duration
from asof.define.aggregation import Aggregation, Feature, Latest
from asof.define.deprecated import Deprecated
from asof.define.entity import Entity
from asof.define.names import check_name, check_people, check_unique
from asof.define.place import Placed
from asof.define.source import Events, Pairs, Union, parts_of
from asof.define.window import Duration
from asof.errors import DefinitionError, UnknownName, did_you_mean


@dataclass(frozen=True)
class FeatureRef:
    """One feature of a view, as a service or a request feature takes it:
    `account_activity["amount_mean_30d"]`.
    """

    view: FeatureView
    feature: Feature
    name: str

    def named(self, name: str) -> FeatureRef:
        """The same feature under another column name."""
        return replace(self, name=check_name("feature", name))


@dataclass(frozen=True, init=False)
class FeatureView(Placed):
    """Features of one entity from one source.

    Args:
        name: the view's name.
        entity: what the features describe.
        source: an `Events` or a `Union`.
        features: aggregations with windows, and `latest(...)`.
        keys: entity key -> SQL over the source's columns, where the source names its key columns otherwise.
        online: the view is to be served: production only points at a version that has been materialized.
        freshness: how old at most the newest events of the source's stream may be in served values; checked and
            shown, nothing is refused because of it.

    Raises:
        DefinitionError: no feature, a feature without window, two features of one name.

    Example:
        >>> from asof import Entity, Events, FeatureView, Parquet, count, sum
        >>> account = Entity("account", keys={"account_id": "string"})
        >>> tx = Events("transactions", Parquet("tx/*.parquet"), event_time="occurred_at")
        >>> view = FeatureView(
        ...     "activity",
        ...     entity=account,
        ...     source=tx,
        ...     features=[count().over("1h", "1d"), sum("amount").over("30d")],
        ... )
        >>> view.names
        ('count_1h', 'count_1d', 'amount_sum_30d')
    """

    name: str
    entity: Entity
    source: Events | Union
    features: tuple[Feature, ...]
    keys: Pairs = ()
    owner: str = field(default="", compare=False)
    description: str = field(default="", compare=False)
    tags: tuple[str, ...] = field(default=(), compare=False)
    deprecated: Deprecated | None = field(default=None, compare=False)
    online: bool = field(default=False, compare=False)
    freshness_us: int | None = field(default=None, compare=False)

    def __init__(
        self,
        name: str,
        *,
        entity: Entity,
        source: Events | Union,
        features: Sequence[Aggregation | Latest],
        keys: Mapping[str, str] | None = None,
        owner: str = "",
        description: str = "",
        tags: Sequence[str] = (),
        deprecated: Deprecated | None = None,
        online: bool = False,
        freshness: Duration | None = None,
    ) -> None:
        where = f"feature view {check_name('feature view', name)!r}"
        _check_parts(where, entity, source, features)
        check_people(where, owner, description, tags)
        for key in keys or {}:
            if key not in entity.keys:
                hint = did_you_mean(key, entity.keys.names)
                raise UnknownName(f"{where}: entity {entity.name!r} has no key {key!r}", hint=hint, key=key)
        made = tuple(feature for item in features for feature in item.features(where))
        check_unique(where, "features", (f.name for f in made), hint='give one of them .named("...")')
        clash = {f.name for f in made} & {*entity.keys.names}
        if clash:
            raise DefinitionError(
                f"{where}: feature {min(clash)!r} has the name of an entity key", hint="rename it"
            )
        facts: dict[str, object] = {
            "name": name, "entity": entity, "source": source, "features": made, "owner": owner,
            "keys": tuple((keys or {}).items()), "description": description, "tags": tuple(tags),
            "deprecated": deprecated, "online": online, "freshness_us": _freshness(where, source, freshness),
        }  # fmt: skip
        for fact, value in facts.items():
            object.__setattr__(self, fact, value)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the features in order."""
        return tuple(feature.name for feature in self.features)

    def __getitem__(self, name: str) -> FeatureRef:
        for feature in self.features:
            if feature.name == name:
                return FeatureRef(self, feature, name)
        raise UnknownName(
            f"feature view {self.name!r} has no feature {name!r}",
            hint=did_you_mean(name, self.names),
            feature=name,
        )

    def refs(self) -> tuple[FeatureRef, ...]:
        """All features of the view, as a service takes them."""
        return tuple(FeatureRef(self, feature, feature.name) for feature in self.features)


def _freshness(where: str, source: Events | Union, freshness: Duration | None) -> int | None:
    if freshness is None:
        return None
    if all(part.source.stream is None for part in parts_of(source)):
        raise DefinitionError(
            f"{where}: freshness, and source {source.name!r} has no stream",
            hint="give the source a stream, for example stream=Log()",
        )
    freshness_us = parse_duration(freshness)
    if freshness_us <= 0:
        raise DefinitionError(f"{where}: freshness is not positive", hint='freshness="60s"')
    return freshness_us


def _check_parts(where: str, entity: object, source: object, features: Sequence[object]) -> None:
    if not isinstance(entity, Entity):
        raise DefinitionError(f"{where}: entity is {type(entity).__name__}", hint="an Entity")
    if not isinstance(source, Events | Union):
        raise DefinitionError(f"{where}: source is {type(source).__name__}", hint="an Events or a Union")
    if not features:
        raise DefinitionError(f"{where}: no features", hint='features=[count().over("1d")]')
    for item in features:
        if not isinstance(item, Aggregation | Latest):
            raise DefinitionError(
                f"{where}: {type(item).__name__} is not a feature",
                hint='features=[count().over("1d"), latest("x")]',
            )
