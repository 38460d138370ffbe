"""The kinds of definitions: one row each. A new kind is a file with a frozen record, and a row here; loading,
fingerprints, the registry, plans and lineage follow from its fields.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any, cast

from asof.define.entity import Entity
from asof.define.feature_view import FeatureRef, FeatureView
from asof.define.label import Label
from asof.define.model import Model
from asof.define.request_feature import RequestFeature
from asof.define.service import FeatureService
from asof.define.source import Events, Union

Definition = Entity | Events | Union | FeatureView | RequestFeature | FeatureService | Label | Model
# From what stands alone to what stands on others: a list of objects is in this order.
KINDS: dict[str, tuple[type, ...]] = {
    "entity": (Entity,),
    "source": (Events, Union),
    "feature_view": (FeatureView,),
    "request_feature": (RequestFeature,),
    "feature_service": (FeatureService,),
    "label": (Label,),
    "model": (Model,),
}


def kind_of(thing: object) -> str | None:
    """The kind of a definition, or None for anything else.

    Example:
        >>> kind_of(Entity("account", keys={"account_id": "string"})), kind_of("account")
        ('entity', None)
    """
    for kind, types in KINDS.items():
        if isinstance(thing, types):
            return kind
    return None


def spoken(kind: str) -> str:
    """The kind in words: `feature view`."""
    return kind.replace("_", " ")


def below(thing: object) -> list[Definition]:
    """The definitions that one stands on directly, each once, in the order of its fields."""
    found: dict[int, Definition] = {}
    for item in _parts(thing):
        for each in _definitions(item):
            found[id(each)] = each
    return list(found.values())


def _parts(thing: object) -> Iterator[object]:
    if is_dataclass(thing):
        yield from (getattr(thing, each.name) for each in fields(thing))


def _definitions(value: object) -> Iterator[Definition]:
    """The definitions within a field's value; what stands behind those is theirs."""
    if kind_of(value) is not None:
        yield cast("Definition", value)
    elif isinstance(value, FeatureRef):
        yield value.view
    elif isinstance(value, tuple):
        for item in cast("tuple[Any, ...]", value):
            yield from _definitions(item)
    elif is_dataclass(value) and not isinstance(value, type):
        for item in _parts(value):
            yield from _definitions(item)
