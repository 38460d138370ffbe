"""Everything that is known of one object, or of one feature: what it is, what it is made of, who reads it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from asof.clock import format_time
from asof.define.deprecated import Deprecated
from asof.define.spec import Spec
from asof.flows.column_types import Types
from asof.flows.discover import owner_of, tags_of
from asof.flows.facts import facts_of, feature_words
from asof.flows.lineage import Lineage, deprecation_of
from asof.registry.fields import window_label
from asof.registry.lineage import column_of, known_columns, object_of, part_of, part_read
from asof.registry.state import Materialized
from asof.registry.store import Registry

Body = Mapping[str, Any]


@dataclass(frozen=True)
class Part:
    """One feature of a view, one column of a service or of a source."""

    name: str
    computes: str
    type: str | None = None
    window: str | None = None
    description: str = ""
    deprecated: str | None = None
    personal: tuple[str, ...] = ()


@dataclass(frozen=True)
class Version:
    """One version of an object, and when it was first applied."""

    number: int
    fingerprint: str
    at_us: int


@dataclass(frozen=True)
class Fresh:
    """Until when a view is materialized, and how old that is."""

    view: str
    until_us: int
    age_us: int


@dataclass(frozen=True)
class Known:
    """What is known from elsewhere than the state: the registry's notes, and where the code stands."""

    versions: tuple[Version, ...] = ()
    fresh: tuple[Fresh, ...] = ()
    written_in: str | None = None


@dataclass(frozen=True)
class Description:
    """An object in full. `facts` are in words, by what they are about; `version` is None in the code."""

    node: str
    environment: str
    revision: int
    owner: str
    description: str
    tags: tuple[str, ...]
    deprecated: Deprecated | None
    version: int | None
    fingerprint: str
    facts: Mapping[str, str]
    parts: tuple[Part, ...]
    reads: tuple[tuple[str, tuple[str, ...]], ...]
    read_by: tuple[tuple[str, tuple[str, ...]], ...]
    code: str | None = None
    known: Known = field(default_factory=Known)


def describe(lineage: Lineage, node: str, types: Types, known: Known | None = None) -> Description:
    """The description of an object, or of the feature or column that `node` names."""
    state = lineage.state
    spec = state.specs[object_of(node)]
    parts = [part for part in parts_of(lineage, spec, types) if part_of(node) in {"", part.name}]
    facts = facts_of(spec, state.specs)
    if part_of(node):
        facts = _part_facts(parts[0] if parts else Part(part_of(node), ""))
    function = cast("Body", spec.about("function") or {})
    described = parts[0].description if part_of(node) and parts else str(spec.about("description") or "")
    return Description(
        node, state.environment, state.revision, owner_of(spec), described, tags_of(spec),
        deprecation_of(state, node), state.versions.get(spec.key), spec.fingerprint, facts,
        () if part_of(node) else tuple(parts), _next_to(lineage, node, "up"), _next_to(lineage, node, "down"),
        function.get("code"), known or Known(),
    )  # fmt: skip


def _part_facts(part: Part) -> dict[str, str]:
    facts = {"computes": part.computes, "type": part.type, "personal": ", ".join(part.personal)}
    return {name: text for name, text in facts.items() if text}


def _next_to(lineage: Lineage, node: str, direction: Any) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """What stands next to a node, or anywhere above or below a whole object; each with what it goes through."""
    graph = lineage.graph_of(node)
    found = graph.next(node, direction) if direction == "up" else graph.reach(node, direction)
    pairs = [(other, (other, node) if direction == "up" else (node, other)) for other in found]
    return tuple((other, () if part_of(node) else lineage.through(*pair)) for other, pair in pairs)


def parts_of(lineage: Lineage, spec: Spec, types: Types) -> list[Part]:
    """The features of a view, the columns of a service, the columns of a source that are read or named."""
    if spec.kind == "feature_view":
        return [_feature(lineage, spec, item, types) for item in spec.body["features"]]
    if spec.kind == "feature_service":
        return [_column(lineage, spec, item, types) for item in spec.body["features"]]
    if spec.kind == "source":
        return _source_columns(lineage, spec, types)
    return []


def _feature(lineage: Lineage, spec: Spec, item: Body, types: Types) -> Part:
    node = f"{spec.key}.{item['name']}"
    deprecated = item.get("deprecated")
    return Part(
        item["name"], feature_words(item), types.of(node),
        None if item["function"] == "latest" else window_label(item.get("window")),
        item.get("description", ""), str(Deprecated(**deprecated)) if deprecated else None,
        _personal(lineage, node),
    )  # fmt: skip


def _column(lineage: Lineage, spec: Spec, item: Body, types: Types) -> Part:
    node, read = f"{spec.key}.{column_of(item)}", part_read(item)
    deprecated = deprecation_of(lineage.state, read)
    words = read.partition(":")[2] if "feature" in item else f"request feature {read.partition(':')[2]}"
    return Part(
        column_of(item), words, types.of(node), deprecated=str(deprecated) if deprecated else None,
        personal=_personal(lineage, node),
    )  # fmt: skip


def _source_columns(lineage: Lineage, spec: Spec, types: Types) -> list[Part]:
    derived: Body = spec.body.get("columns", {})
    nodes = lineage.parts.get(spec.key, {})
    names = dict.fromkeys([*(name for name in known_columns(spec) if name in nodes), *nodes])
    return [
        Part(name, derived.get(name, ""), types.of(nodes[name]), personal=_personal(lineage, nodes[name]))
        for name in names
    ]


def _personal(lineage: Lineage, node: str) -> tuple[str, ...]:
    return tuple(each.partition(":")[2] for each in lineage.personal(node))


def registry_notes(registry: Registry, lineage: Lineage, node: str, now_us: int) -> Known:
    """What the registry has noted: the versions of an object, and until when the views under it are materialized."""
    key = object_of(node)
    kind, _, name = key.partition(":")
    versions = tuple(Version(*row) for row in registry.versions(kind, name))
    specs = lineage.state.specs
    below = [key, *lineage.objects.reach(key, "up")] if kind != "source" else []
    views = {specs[each].fingerprint: specs[each] for each in below if each in specs and _is_view(each)}
    held = registry.materialized(views) if views else []
    return Known(versions, tuple(_fresh(view, print_, held, now_us) for print_, view in views.items() if _has(held, print_)))


def _is_view(key: str) -> bool:
    return key.startswith("feature_view:")


def _has(held: Sequence[Materialized], fingerprint: str) -> bool:
    return any(each.fingerprint == fingerprint for each in held)


def _fresh(view: Spec, fingerprint: str, held: Sequence[Materialized], now_us: int) -> Fresh:
    until_us = max(each.until_us for each in held if each.fingerprint == fingerprint)
    return Fresh(view.name, until_us, max(0, now_us - until_us))
