"""The kinds of definitions: one row each. A new kind is a file with a frozen record, and a row here; loading,
fingerprints, the registry, plans and lineage follow from its fields.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any, cast, get_args, get_type_hints

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
    return _kind_of_class(type(thing))


@cache
def _kind_of_class(cls: type) -> str | None:
    return next((kind for kind, types in KINDS.items() if issubclass(cls, types)), None)


def spoken(kind: str) -> str:
    """The kind in words: `feature view`."""
    return kind.replace("_", " ")


def below(thing: object) -> list[Definition]:
    """The definitions that one stands on directly, each once, in the order of its fields."""
    found: dict[int, Definition] = {}
    for name in _holders(type(thing)):
        for each in _definitions(getattr(thing, name)):
            found[id(each)] = each
    return list(found.values())


def _definitions(value: object) -> Iterator[Definition]:
    """The definitions within a field's value; what stands behind those is theirs."""
    if kind_of(value) is not None:
        yield cast("Definition", value)
    elif isinstance(value, FeatureRef):
        yield value.view
    elif isinstance(value, tuple):
        for item in cast("tuple[Any, ...]", value):
            yield from _definitions(item)
    else:
        for name in _holders(type(value)):
            yield from _definitions(getattr(value, name))


@cache
def _holders(cls: type) -> tuple[str, ...]:
    """The fields of a record that can hold definitions, from their types."""
    if not is_dataclass(cls):
        return ()
    hints = get_type_hints(cls)
    return tuple(each.name for each in fields(cls) if _can_hold(hints[each.name], (cls,)))


def _can_hold(hint: Any, within: tuple[type, ...]) -> bool:
    """True when a value of this type can be or hold a definition; a record inside of itself adds nothing."""
    if not isinstance(hint, type) or get_args(hint):
        return any(_can_hold(each, within) for each in get_args(hint))
    if hint is FeatureRef or _kind_of_class(hint) is not None:
        return True
    if hint in within or not is_dataclass(hint):
        return False
    inner = get_type_hints(hint)
    return any(_can_hold(inner[each.name], (*within, hint)) for each in fields(hint))
