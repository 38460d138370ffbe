"""Two bodies of one object, field by field, in words that a person reads: `features.spend.window: 7d -> 14d`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast, get_args

from asof.clock import format_duration
from asof.define.aggregation import FUNCTIONS
from asof.define.spec import CODE, Spec, is_reference
from asof.define.stream import Stream
from asof.define.window import Window

_MISSING = object()
_HASH = re.compile(r"[0-9a-f]{64}")
_STREAMS = {cls.__name__ for cls in get_args(Stream)}
Node = Mapping[str, object]


@dataclass(frozen=True)
class FieldChange:
    """One field that differs: its path, and both values as text; None where it is not there."""

    path: str
    old: str | None
    new: str | None


def field_changes(was: Spec, spec: Spec) -> tuple[FieldChange, ...]:
    """The fields that differ between two versions of an object.

    Items of a list go by their name; one that is new or gone is a single line. The layout of a function does not
    count, nor does an order that changes no value.
    """
    found = tuple(_differing((), was.body, spec.body))
    if found or was.fingerprint == spec.fingerprint:
        return found
    return tuple(_orders(was.body, spec.body))


def _differing(path: tuple[str, ...], one: object, two: object) -> Iterator[FieldChange]:
    if one == two:
        return
    if _is_node(one) and _is_node(two) and not is_reference(one):
        yield from _differing_nodes(path, cast("Node", one), cast("Node", two))
    elif _labelled(one) and _labelled(two):
        yield from _differing_lists(path, _labelled(one), _labelled(two))
    elif (first := _only(one)) and (second := _only(two)):
        yield from _differing_nodes(path, first, second)
    else:
        name = ".".join(path)
        if isinstance(one, int) or isinstance(two, int):  # a length; a user's column may end in _us, too
            name = name.removesuffix("_us")
        old, new = _said(path, one), _said(path, two)
        if old is not None or new is not None:
            yield FieldChange(name, old, new)


def _differing_nodes(path: tuple[str, ...], one: Node, two: Node) -> Iterator[FieldChange]:
    if _is_function(one) and _is_function(two):  # its text is shown when it means something else
        if one["sha256"] != two["sha256"]:
            same = one.get(CODE) == two.get(CODE)
            old, new = (
                ("what it reads", "other values") if same else (_text(one.get(CODE)), _text(two.get(CODE)))
            )
            yield FieldChange(".".join(path), old, new)
        return
    for key in dict.fromkeys([*one, *two]):
        if key == "window" and (_is_node(one.get(key)) or _is_node(two.get(key))):
            old, new = window_label(one.get(key)), window_label(two.get(key))
            if old != new:
                yield FieldChange(".".join((*path, key)), old, new)
        else:
            yield from _differing((*path, key), one.get(key, _MISSING), two.get(key, _MISSING))


def _differing_lists(
    path: tuple[str, ...], one: dict[str, object], two: dict[str, object]
) -> Iterator[FieldChange]:
    gone = [label for label in one if label not in two]
    for label, item in two.items():
        if label in one:
            yield from _differing((*path, label), one[label], item)
            continue
        twin = next(
            (
                each
                for each in gone
                if _nameless(one[each]) == _nameless(item) and "name" in _keys(item, one[each])
            ),
            None,
        )
        if twin is None:
            yield FieldChange(".".join((*path, label)), None, summary(item))
        else:
            gone.remove(twin)
            yield FieldChange(".".join((*path, label, "name")), twin, label)
    for label in gone:
        yield FieldChange(".".join((*path, label)), summary(one[label]), None)


def _orders(one: Node, two: Node) -> Iterator[FieldChange]:
    for key in two:
        old, new = list(_labelled(one.get(key))), list(_labelled(two.get(key)))
        if old != new and sorted(old) == sorted(new):
            yield FieldChange(f"{key} (order)", ", ".join(old), ", ".join(new))


def _is_node(value: object) -> bool:
    return isinstance(value, Mapping)


def _is_function(node: Node) -> bool:
    return set(node) == {"sha256", CODE} and _HASH.fullmatch(str(node["sha256"])) is not None


def _only(value: object) -> Node | None:
    """The item of a list with a single object in it."""
    items = cast("list[object]", value) if isinstance(value, list) else []
    return cast("Node", items[0]) if len(items) == 1 and _is_node(items[0]) else None


def _keys(*items: object) -> set[str]:
    return {key for item in items if _is_node(item) for key in cast("Node", item)}


def _nameless(item: object) -> object:
    return {k: v for k, v in cast("Node", item).items() if k != "name"} if _is_node(item) else item


def _labelled(value: object) -> dict[str, object]:
    """The items of a list of objects by name; empty for anything else, or where two have one name."""
    items = cast("list[object]", value) if isinstance(value, list) else []
    if not items or not all(_is_node(item) for item in items):
        return {}
    labelled = {_label(cast("Node", item)): item for item in items}
    return labelled if len(labelled) == len(items) and "" not in labelled else {}


def _label(item: Node) -> str:
    named = item.get("name") or item.get("feature") or item.get("code") or item.get("ref")
    return str(named or next((_label(cast("Node", v)) for v in item.values() if is_reference(v)), ""))


def summary(item: object) -> str:
    """An item of a list in one line: a feature as it was written, a reference as what it refers to.

    Example:
        >>> summary({"name": "s", "function": "sum", "column": "amount", "window": {"size_us": 604800000000}})
        'sum(amount) over 7d'
        >>> summary(
        ...     {"function": "quantile", "column": "amount", "params": {"q": 0.5}, "window": {"size_us": 1}}
        ... )
        'quantile(amount) over 1us, q=0.5'
    """
    node = cast("Node", item) if _is_node(item) else {}
    if is_reference(node):
        return ".".join(str(node[key]) for key in ("ref", "feature") if key in node)
    if not isinstance(node.get("function"), str) or node["function"] not in FUNCTIONS:
        return _text(item) or ""
    words = [_call(node)]
    words += [f"by {node['by']}"] if node.get("by") else []
    words += [f"where {node['predicate']}"] if node.get("predicate") else []
    label = window_label(node.get("window"))
    words += [f"over {label}"] if label and node["function"] != "latest" else []
    return ", ".join([" ".join(words), *_parameters(node)])


def _call(node: Node) -> str:
    parts = cast("list[Node]", node.get("parts", []))
    inner = [summary({name: value for name, value in part.items() if name != "window"}) for part in parts]
    return f"{node['function']}({', '.join(inner) or node.get('column') or ''})"


def _parameters(node: Node) -> Iterator[str]:
    for name, value in cast("Mapping[str, Any]", node.get("params") or {}).items():
        if name == "half_life_us":
            yield f"half-life {format_duration(value)}"
        else:
            yield f"{value} where empty" if name == "empty" else f"{name}={value}"
    if isinstance(ttl_us := node.get("ttl_us"), int):
        yield f"ttl {format_duration(ttl_us)}"


def window_label(value: object) -> str | None:
    """A window's body in words: `7d`, `1h_hop_5m`, `lifetime`."""
    if not _is_node(value):
        return None
    return window_of(cast("Mapping[str, Any]", value)).label


def stream_label(value: object) -> str | None:
    """A stream's body in words, as it was written.

    Example:
        >>> stream_label({"type": "Log", "partitions": 4, "retention_us": 86400000000})
        'Log(partitions=4, retention=1d)'
    """
    node = cast("Node", value) if _is_node(value) else {}
    if node.get("type") not in _STREAMS:
        return None
    read = cast("Node", _readable({name: item for name, item in node.items() if name != "type"}))
    words = (f"{name}={item if isinstance(item, str) else json.dumps(item)}" for name, item in read.items())
    return f"{node['type']}({', '.join(words)})"


def window_of(body: Mapping[str, Any]) -> Window:
    """The window that a body tells."""
    return Window(
        body.get("size_us"), body.get("offset_us", 0), body.get("closed", "left"), body.get("hop_us", 0),
        body.get("forward", False),
    )  # fmt: skip


def _said(path: tuple[str, ...], value: object) -> str | None:
    if value is _MISSING or value is None:
        return None
    if path and path[-1].endswith("_us") and isinstance(value, int):
        return format_duration(value)
    if path == ("stream",) and (said := stream_label(value)):
        return said
    if _is_node(value):
        return summary(value)
    if isinstance(value, list):
        return ", ".join(summary(item) for item in cast("list[object]", value)) or None
    return _text(value)


def _text(value: object) -> str | None:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value if isinstance(value, str) or value is None else json.dumps(_readable(value), sort_keys=True)


def _readable(value: object) -> object:
    """The value with its lengths in words."""
    if isinstance(value, list):
        return [_readable(item) for item in cast("list[object]", value)]
    if not _is_node(value):
        return value
    made: dict[str, object] = {}
    for key, item in cast("Node", value).items():
        is_length = key.endswith("_us") and isinstance(item, int)
        made[key.removesuffix("_us") if is_length else key] = (
            format_duration(cast("int", item)) if is_length else _readable(item)
        )
    return made
