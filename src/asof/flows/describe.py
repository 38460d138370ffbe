"""Everything that is known of one object, or of one feature: what it is, what it is made of, who reads it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, cast

from asof.clock import format_time
from asof.define.deprecated import Deprecated
from asof.define.spec import Spec
from asof.flows.column_types import Types
from asof.flows.discover import owner_of, tags_of
from asof.flows.facts import facts_of
from asof.flows.lineage import Lineage, deprecation_of
from asof.registry.fields import summary, window_label
from asof.registry.lineage import Direction, column_of, known_columns, object_of, part_of, part_read
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

    def as_dict(self) -> dict[str, Any]:
        """The description as plain data; times as ISO text."""
        made = {each.name: getattr(self, each.name) for each in fields(self) if each.name != "known"}
        deprecated = None if self.deprecated is None else asdict(self.deprecated)
        made |= {"facts": dict(self.facts), "parts": [asdict(part) for part in self.parts]}
        made |= {"deprecated": deprecated, "reads": _nodes(self.reads), "read_by": _nodes(self.read_by)}
        made["versions"] = [
            {"number": each.number, "fingerprint": each.fingerprint, "at": format_time(each.at_us)}
            for each in self.known.versions
        ]
        made["freshness"] = [
            {"view": each.view, "until": format_time(each.until_us), "age_seconds": each.age_us // 1_000_000}
            for each in self.known.fresh
        ]
        return {**made, "written_in": self.known.written_in}


def _nodes(found: tuple[tuple[str, tuple[str, ...]], ...]) -> list[dict[str, Any]]:
    return [{"node": node, "through": list(through)} for node, through in found]


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


def _next_to(lineage: Lineage, node: str, direction: Direction) -> tuple[tuple[str, tuple[str, ...]], ...]:
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
        item["name"], summary(item), types.of(node),
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
    below = [key, *lineage.objects.reach(key, "up")]
    views = {specs[each].fingerprint: each for each in below if each in specs and _is_view(each)}
    newest: dict[str, int] = {}
    for held in registry.materialized(views) if views else ():
        newest[held.fingerprint] = max(held.until_us, newest.get(held.fingerprint, held.until_us))
    fresh = [
        Fresh(view.partition(":")[2], newest[mark], max(0, now_us - newest[mark]))
        for mark, view in views.items()
        if mark in newest
    ]
    return Known(versions, tuple(fresh))


def _is_view(key: str) -> bool:
    return key.startswith("feature_view:")
