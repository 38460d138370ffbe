"""Checking bodies: is this JSON a definition of its kind? The form follows from the fields of the kind's record,
so a new kind is checked without a line here.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from typing import Any, cast

from asof.define.aggregation import Params
from asof.define.feature_view import FeatureRef
from asof.define.kinds import KINDS, spoken
from asof.define.source import Location, Pairs
from asof.define.spec import FORMAT, is_reference
from asof.errors import DefinitionError, UnknownName, did_you_mean
from asof.types import DType, Schema

_EXTRA = {"format", "type"}
_TYPED = (Location, *(types for types in KINDS.values() if len(types) > 1))


def check_body(kind: str, body: object) -> None:
    """Nothing, when the body has the form of its kind.

    Raises:
        UnknownName: there is no such kind. DefinitionError: a field is unknown, is missing, or holds something else
            than it may; the message names it.

    Example:
        >>> check_body("entity", {"format": 1, "keys": [{"name": "account_id", "type": "string"}]})
        >>> check_body("entity", {"format": 1, "kezs": []})
        Traceback (most recent call last):
        asof.errors.DefinitionError: the body of an entity: no field 'kezs'
        hint: did you mean 'keys'?
    """
    if kind not in KINDS:
        raise UnknownName(f"no kind {kind!r}", hint=did_you_mean(kind, KINDS), kind=kind)
    where = f"the body of a{'n' if kind[0] in 'aeiou' else ''} {spoken(kind)}"
    if not isinstance(body, Mapping):
        raise DefinitionError(f"{where}: not an object")
    node = cast("Mapping[str, object]", body)
    if node.get("format") != FORMAT:
        raise DefinitionError(f"{where}: format {node.get('format')!r} is not {FORMAT}")
    _check_record(where, {**node, "name": ""}, KINDS[kind])  # an object's own name stands beside its body


def _check_record(where: str, node: Mapping[str, object], classes: tuple[type, ...]) -> None:
    cls = classes[0]
    if len(classes) > 1:
        named = {each.__name__: each for each in classes}
        if node.get("type") not in named:
            raise DefinitionError(f"{where}: type {node.get('type')!r} is none of {', '.join(named)}")
        cls = named[str(node["type"])]
    known = _hints(cls)
    for name, value in node.items():
        if name in known:
            _check(f"{where}: {name}", value, known[name][0])
        elif name not in _EXTRA:
            raise DefinitionError(f"{where}: no field {name!r}", hint=did_you_mean(name, known))
    for name, (_, needed) in known.items():
        if needed and name not in node:
            raise DefinitionError(f"{where}: {name!r} is missing")


@cache
def _hints(cls: type) -> dict[str, tuple[Any, bool]]:
    """The fields of a record: their types, and whether they must be there."""
    hints = typing.get_type_hints(cls)
    return {f.name: (hints[f.name], f.default is MISSING and hints[f.name] is not Any) for f in fields(cls)}


def _check(where: str, value: object, hint: Any) -> None:
    if not _fits(where, value, hint):
        raise DefinitionError(f"{where}: {type(value).__name__} where {_said(hint)} belongs")


def _fits(where: str, value: object, hint: Any) -> bool:
    origin = typing.get_origin(hint)
    if hint in _MAPPINGS:
        fits = _is_mapping(value, _MAPPINGS[hint])
    elif hint is Schema:
        fits = isinstance(value, list) and all(map(_is_column, cast("list[object]", value)))
    elif hint is FeatureRef or _kinds_in(hint):
        fits = _is_ref(value, hint)
    elif hint in _SIMPLE:
        fits = _SIMPLE[hint](value)
    elif origin is tuple:
        fits = _fits_list(where, value, typing.get_args(hint)[0])
    elif origin in {typing.Union, types.UnionType}:
        fits = _fits_union(where, value, typing.get_args(hint))
    elif origin is typing.Literal:
        fits = value in typing.get_args(hint)
    else:
        fits = _fits_record(where, value, hint)
    return fits


def _fits_list(where: str, value: object, inner: Any) -> bool:
    if not isinstance(value, list):
        return False
    for place, item in enumerate(cast("list[object]", value)):
        _check(f"{where}[{place}]", item, inner)
    return True


def _fits_union(where: str, value: object, choices: tuple[Any, ...]) -> bool:
    records = tuple(each for each in choices if is_dataclass(each))
    if isinstance(value, Mapping) and records and "ref" not in value:
        _check_record(where, cast("Mapping[str, object]", value), cast("tuple[type, ...]", records))
        return True
    return any(_fits(where, value, each) for each in choices if each not in records or _kinds_in(each))


def _fits_record(where: str, value: object, hint: Any) -> bool:
    if not is_dataclass(hint):
        return isinstance(value, Mapping) and "sha256" in value  # a function
    if not isinstance(value, Mapping):
        return False
    _check_record(where, cast("Mapping[str, object]", value), (cast("type", hint),))
    return True


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_type(value: object) -> bool:
    try:
        return isinstance(value, str) and bool(DType.parse(value))
    except DefinitionError:
        return False


def _is_column(value: object) -> bool:
    column = cast("Mapping[str, object]", value) if isinstance(value, Mapping) else {}
    return set(column) == {"name", "type"} and isinstance(column["name"], str) and _is_type(column["type"])


def _is_mapping(value: object, inner: Any) -> bool:
    items = cast("Mapping[str, object]", value).values() if isinstance(value, Mapping) else (None,)
    return all(map(_SIMPLE[inner], items))


_MAPPINGS: dict[Any, Any] = {Pairs: str, Params: float}
_SIMPLE: dict[Any, Callable[[object], bool]] = {
    str: lambda value: isinstance(value, str),
    bool: lambda value: isinstance(value, bool),
    int: lambda value: isinstance(value, int) and not isinstance(value, bool),
    float: _is_number,
    type(None): lambda value: value is None,
    DType: _is_type,
}


@cache
def _kinds_in(hint: Any) -> list[str]:
    """The kinds whose definitions a field may hold; they stand there as references."""
    choices = typing.get_args(hint) if typing.get_origin(hint) in {typing.Union, types.UnionType} else (hint,)
    return [
        kind for kind, classes in KINDS.items() if set(classes) & {each for each in choices if each.__hash__}
    ]


def _is_ref(value: object, hint: Any) -> bool:
    choices = typing.get_args(hint) or (hint,)
    if not is_reference(value):
        return value is None and type(None) in choices
    node = cast("Mapping[str, object]", value)
    kind = str(node["ref"]).partition(":")[0]
    of_view = FeatureRef in choices and kind == "feature_view" and isinstance(node.get("feature"), str)
    return of_view or kind in _kinds_in(hint)


def _said(hint: Any) -> str:
    return str(getattr(hint, "__name__", hint)).replace("asof.define.", "")
