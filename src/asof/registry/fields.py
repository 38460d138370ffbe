"""Two bodies of one object, field by field, in words that a person reads: `features.spend.window: 7d -> 14d`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

from asof.clock import format_duration
from asof.define.spec import CODE, Spec
from asof.define.window import Window

_MISSING = object()
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
    if _is_node(one) and _is_node(two) and "ref" not in cast("Node", one):
        yield from _differing_nodes(path, cast("Node", one), cast("Node", two))
    elif _labelled(one) and _labelled(two):
        yield from _differing_lists(path, _labelled(one), _labelled(two))
    else:
        yield FieldChange(".".join(path).removesuffix("_us"), _said(path, one), _said(path, two))


def _differing_nodes(path: tuple[str, ...], one: Node, two: Node) -> Iterator[FieldChange]:
    if "sha256" in one and "sha256" in two:  # a function: its text is shown when it means something else
        if one["sha256"] != two["sha256"]:
            same = one.get(CODE) == two.get(CODE)
            old, new = (
                ("what it reads", "other values") if same else (_text(one.get(CODE)), _text(two.get(CODE)))
            )
            yield FieldChange(".".join(path), old, new)
        return
    for key in dict.fromkeys([*one, *two]):
        if key == "window":
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
            (each for each in gone if _nameless(one[each]) == _nameless(item) and "name" in _keys(item)), None
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


def _keys(item: object) -> set[str]:
    return set(cast("Node", item)) if _is_node(item) else set()


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
    return str(item.get("name") or item.get("feature") or item.get("code") or item.get("ref") or "")


def summary(item: object) -> str:
    """An item of a list in one line: a feature as it was written, a reference as what it refers to.

    Example:
        >>> summary({"name": "s", "function": "sum", "column": "amount", "window": {"size_us": 604800000000}})
        'sum(amount) over 7d'
    """
    node = cast("Node", item) if _is_node(item) else {}
    if "ref" in node:
        return ".".join(str(node[key]) for key in ("ref", "feature") if key in node)
    if "function" not in node:
        return _text(item) or ""
    parts = [f"{node['function']}({node.get('column') or ''})"]
    inner = cast("list[Node]", node.get("parts", []))
    parts += [f"{part['function']}({part.get('column') or ''})" for part in inner]
    if node.get("by"):
        parts.append(f"by {node['by']}")
    if node.get("predicate"):
        parts.append(f"where {node['predicate']}")
    label = window_label(node.get("window"))
    return " ".join([*parts, *([f"over {label}"] if label and node["function"] != "latest" else [])])


def window_label(value: object) -> str | None:
    """A window's body in words: `7d`, `1h_hop_5m`, `lifetime`."""
    if not _is_node(value):
        return None
    body = cast("dict[str, Any]", value)
    return Window(
        body.get("size_us"), body.get("offset_us", 0), body.get("closed", "left"), body.get("hop_us", 0),
        body.get("forward", False),
    ).label  # fmt: skip


def _said(path: tuple[str, ...], value: object) -> str | None:
    if value is _MISSING or value is None:
        return None
    if path and path[-1].endswith("_us") and isinstance(value, int):
        return format_duration(value)
    if _is_node(value):
        return summary(value)
    if isinstance(value, list):
        return ", ".join(summary(item) for item in cast("list[object]", value))
    return _text(value)


def _text(value: object) -> str | None:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value if isinstance(value, str) or value is None else json.dumps(value, sort_keys=True)
