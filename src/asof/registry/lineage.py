"""The graph of what stands on what, made of bodies: source column -> feature -> service -> model.

A node is the key of an object (`source:transactions`) or of a part of one (`source:transactions.amount`,
`feature_view:activity.amount_sum_7d`). In the graph of columns a whole source or view is its rows: which there are,
and when; the columns of times and keys stand below it, and all features of a view above. Which columns an SQL
expression reads is told by the caller, who has a parser.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from typing import Any, Literal, cast

from asof.define.spec import Spec, is_reference
from asof.errors import DefinitionError

ColumnsOf = Callable[[str], tuple[str, ...]]
Direction = Literal["up", "down"]
Body = Mapping[str, Any]
# Columns of a source that decide which of its rows count, and when.
TIMES = ("event_time", "known_at", "key", "sequence")


@dataclass
class Graph:
    """Edges between nodes, both ways; neighbours in order of appearance, each once."""

    up: dict[str, dict[str, None]] = field(default_factory=dict[str, "dict[str, None]"])
    down: dict[str, dict[str, None]] = field(default_factory=dict[str, "dict[str, None]"])

    def add(self, low: str, high: str) -> None:
        """`high` stands on `low`; a node on itself is only there."""
        for node in (low, high):
            self.up.setdefault(node, {})
            self.down.setdefault(node, {})
        if low != high:
            self.up[high][low] = None
            self.down[low][high] = None

    def next(self, node: str, direction: Direction) -> list[str]:
        """The neighbours of a node in one direction."""
        return list((self.up if direction == "up" else self.down).get(node, {}))

    def reach(self, node: str, direction: Direction) -> list[str]:
        """All that stands above or below a node, nearest first, each once, without itself."""
        found: dict[str, None] = {}
        queue = [node]
        for each in queue:
            for other in self.next(each, direction):
                if other not in found and other != node:
                    found[other] = None
                    queue.append(other)
        return list(found)


def object_graph(specs: Mapping[str, Spec]) -> Graph:
    """The graph of whole objects, from their references.

    Raises:
        DefinitionError: objects that stand on each other in a circle; it is told.
    """
    graph = Graph()
    for spec in specs.values():
        graph.add(spec.key, spec.key)
        for ref in spec.refs:
            graph.add(ref, spec.key)
    try:
        TopologicalSorter(graph.up).prepare()
    except CycleError as exc:
        circle = " -> ".join(cast("list[str]", exc.args[1]))
        raise DefinitionError(f"definitions stand on each other in a circle: {circle}") from exc
    return graph


def column_graph(specs: Mapping[str, Spec], columns_of: ColumnsOf) -> Graph:
    """The graph of columns: raw and derived columns of sources, features, columns of services, labels and models.

    A column that a source is not known to have (nothing reads it, nothing names it) is not in it.
    """
    graph, spelt = Graph(), dict[str, str]()

    def named(node: str) -> str:  # SQL's names have no case: the first spelling stands for all
        return spelt.setdefault(node.lower(), node) if node.startswith("source:") else node

    context = _Context(specs, columns_of)
    for spec in specs.values():
        for low, high in _EDGES.get(spec.kind, _whole)(spec, context):
            graph.add(named(low), named(high))
    for low, high in list(_same_names(specs, graph)):
        graph.add(named(low), named(high))
    return graph


def object_of(node: str) -> str:
    """The key of the object that a node is a part of.

    Example:
        >>> object_of("source:transactions.amount")
        'source:transactions'
    """
    return node.partition(".")[0]


def part_of(node: str) -> str:
    """The name of the column or feature that a node is; empty for a whole object.

    Example:
        >>> part_of("source:transactions.amount"), part_of("source:transactions")
        ('amount', '')
    """
    return node.partition(".")[2]


@dataclass(frozen=True)
class _Context:
    """What the edges of one object need to know of others."""

    specs: Mapping[str, Spec]
    columns_of: ColumnsOf

    def key_columns(self, body: Body) -> Iterator[str]:
        """The columns that hold an entity's keys: those that a key is mapped to, else the one of its name."""
        mapped = body.get("keys", {})
        entity = self.specs.get(body["entity"]["ref"])
        for key in entity.body["keys"] if entity else []:
            if key["name"] not in mapped:
                yield key["name"]
        for sql in mapped.values():
            yield from self.columns_of(sql)


Edges = Iterator[tuple[str, str]]


def _whole(spec: Spec, context: _Context) -> Edges:
    """A kind without columns of its own stands on what it refers to: of a whole view or service, on each part."""
    yield spec.key, spec.key
    for item in _references(spec.body):
        below = context.specs.get(item["ref"])
        if "feature" in item or below is None or "features" not in below.body:
            yield part_read(item), spec.key
        else:
            yield from ((f"{below.key}.{column_of(each)}", spec.key) for each in below.body["features"])


def _references(value: object) -> Iterator[Body]:
    if is_reference(value):
        yield cast("Body", value)
    elif isinstance(value, Mapping):
        for item in cast("Body", value).values():
            yield from _references(item)
    elif isinstance(value, list):
        for item in cast("list[object]", value):
            yield from _references(item)


def _source(spec: Spec, context: _Context) -> Edges:
    body: Body = spec.body
    yield spec.key, spec.key
    yield from ((f"{spec.key}.{body[name]}", spec.key) for name in TIMES if body.get(name))
    if body.get("deleted"):
        yield from ((f"{spec.key}.{column}", spec.key) for column in context.columns_of(body["deleted"]))
    for node in (f"{spec.key}.{name}" for name in known_columns(spec)):
        yield node, node
    yield from _derived(spec.key, spec.key, body, context)
    for part in body.get("sources", []):
        yield part["source"]["ref"], spec.key
        yield from _derived(part["source"]["ref"], spec.key, part, context)


def _derived(low: str, high: str, body: Body, context: _Context) -> Edges:
    for name, sql in body.get("columns", {}).items():
        yield f"{high}.{name}", f"{high}.{name}"
        yield from ((f"{low}.{column}", f"{high}.{name}") for column in context.columns_of(sql))


def known_columns(source: Spec) -> list[str]:
    """The columns that a source's definition names, each once; it may have others."""
    body: Body = source.body
    typed: list[Body] = body.get("history", {}).get("columns", [])
    named = [*(column["name"] for column in typed), *(body[name] for name in TIMES if body.get(name))]
    mapped = [name for part in body.get("sources", []) for name in part.get("columns", {})]
    if parted := body.get("stream", {}).get("partition_by"):
        named.append(parted)
    return list(dict.fromkeys([*named, *body.get("personal", []), *body.get("columns", {}), *mapped]))


def _same_names(specs: Mapping[str, Spec], graph: Graph) -> Edges:
    """Columns that a union takes from its sources under the same name: those that something reads."""
    read: dict[str, list[str]] = {}
    for node in graph.up:
        if part_of(node):
            read.setdefault(object_of(node), []).append(part_of(node))
    for spec in specs.values():
        for part in spec.body.get("sources", []) if spec.kind == "source" else []:
            mapped = {name.lower() for name in part.get("columns", {})}
            taken = [name for name in read.get(spec.key, []) if name.lower() not in mapped]
            yield from ((f"{part['source']['ref']}.{name}", f"{spec.key}.{name}") for name in taken)


def _view(spec: Spec, context: _Context) -> Edges:
    source = spec.body["source"]["ref"]
    yield from ((spec.body[name]["ref"], spec.key) for name in ("entity", "source"))
    yield from ((f"{source}.{column}", spec.key) for column in context.key_columns(spec.body))
    for feature in spec.body["features"]:
        node = f"{spec.key}.{feature['name']}"
        for column in dict.fromkeys(columns_read(feature, context.columns_of)):
            yield f"{source}.{column}", node
        yield spec.key, node


def columns_read(feature: Body, columns_of: ColumnsOf) -> Iterator[str]:
    """The columns that a feature reads, without those that every feature needs (key and times)."""
    yield from (feature[name] for name in ("column", "by") if feature.get(name))
    if feature.get("predicate"):
        yield from columns_of(feature["predicate"])
    for part in feature.get("parts", []):
        yield from columns_read(part, columns_of)


def _request_feature(spec: Spec, context: _Context) -> Edges:
    del context
    yield spec.key, spec.key
    yield from ((f"{item['ref']}.{item['feature']}", spec.key) for item in spec.body.get("inputs", []))


def _service(spec: Spec, context: _Context) -> Edges:
    del context
    for item in spec.body["features"]:
        yield part_read(item), f"{spec.key}.{column_of(item)}"


def part_read(item: Body) -> str:
    """The node that an item of a service's or a request feature's body refers to."""
    return f"{item['ref']}.{item['feature']}" if "feature" in item else str(item["ref"])


def column_of(item: Body) -> str:
    """The column that an item of a service's body becomes."""
    return str(item.get("name") or item.get("feature") or item["ref"].partition(":")[2])


def _label(spec: Spec, context: _Context) -> Edges:
    body: Body = spec.body
    source, value = body["source"]["ref"], cast("Body", body.get("value") or {})
    yield body["entity"]["ref"], spec.key
    read = [column for column in (body.get("outcome"), value.get("column")) if column]
    for text in (body.get("predicate"), value.get("predicate")):
        read += context.columns_of(text) if text else ()
    for column in dict.fromkeys([*read, *context.key_columns(body)]):
        yield f"{source}.{column}", spec.key
    yield source, spec.key


_EDGES: dict[str, Callable[[Spec, _Context], Edges]] = {
    "source": _source,
    "feature_view": _view,
    "request_feature": _request_feature,
    "feature_service": _service,
    "label": _label,
}
