"""The graph of what stands on what, made of bodies: source column -> feature -> service -> model.

A node is the key of an object (`source:transactions`) or of a part of one (`source:transactions.amount`,
`feature_view:activity.amount_sum_7d`). Which columns an SQL expression reads is told by the caller, who has a parser.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from typing import Any, Literal, cast

from asof.define.spec import Spec
from asof.errors import DefinitionError

ColumnsOf = Callable[[str], tuple[str, ...]]
Direction = Literal["up", "down"]
Body = Mapping[str, Any]


@dataclass
class Graph:
    """Edges between nodes, both ways; neighbours in order of appearance, each once."""

    up: dict[str, dict[str, None]] = field(default_factory=dict[str, "dict[str, None]"])
    down: dict[str, dict[str, None]] = field(default_factory=dict[str, "dict[str, None]"])

    def add(self, low: str, high: str) -> None:
        """`high` stands on `low`."""
        if low != high:
            self.up.setdefault(high, {})[low] = None
            self.down.setdefault(low, {})[high] = None
            self.up.setdefault(low, {})
            self.down.setdefault(high, {})

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
        for ref in spec.refs:
            graph.add(ref, spec.key)
    try:
        TopologicalSorter(graph.up).prepare()
    except CycleError as exc:
        circle = " -> ".join(cast("list[str]", exc.args[1]))
        raise DefinitionError(f"definitions stand on each other in a circle: {circle}") from exc
    return graph


def column_graph(specs: Mapping[str, Spec], columns_of: ColumnsOf) -> Graph:
    """The graph of columns: raw and derived columns of sources, features, columns of services, labels and models."""
    graph = Graph()
    for spec in specs.values():
        for low, high in _EDGES.get(spec.kind, _whole)(spec, columns_of):
            graph.add(low, high)
    for low, high in [*_same_names(specs, graph), *_all_parts(specs, graph)]:
        graph.add(low, high)
    return graph


def object_of(node: str) -> str:
    """The key of the object that a node is a part of.

    Example:
        >>> object_of("source:transactions.amount")
        'source:transactions'
    """
    return node.partition(".")[0]


Edges = Iterator[tuple[str, str]]


def _whole(spec: Spec, columns_of: ColumnsOf) -> Edges:
    """A kind without columns of its own stands on whole objects."""
    del columns_of
    yield from ((ref, spec.key) for ref in spec.refs)


def _source(spec: Spec, columns_of: ColumnsOf) -> Edges:
    body: Body = spec.body
    for name, sql in body.get("columns", {}).items():
        yield from ((f"{spec.key}.{column}", f"{spec.key}.{name}") for column in columns_of(sql))
    for part in body.get("sources", []):
        for name, sql in part.get("columns", {}).items():
            yield from (
                (f"{part['source']['ref']}.{column}", f"{spec.key}.{name}") for column in columns_of(sql)
            )


def _same_names(specs: Mapping[str, Spec], graph: Graph) -> list[tuple[str, str]]:
    """Columns that a union takes from its sources under the same name: those that something reads."""
    made: list[tuple[str, str]] = []
    for spec in specs.values():
        for part in spec.body.get("sources", []) if spec.kind == "source" else []:
            read = [node for node in graph.up if object_of(node) == spec.key and node != spec.key]
            names = [node.partition(".")[2] for node in read]
            taken = [name for name in names if name not in part.get("columns", {})]
            made += [(f"{part['source']['ref']}.{name}", f"{spec.key}.{name}") for name in taken]
    return made


def _all_parts(specs: Mapping[str, Spec], graph: Graph) -> list[tuple[str, str]]:
    """What reads a whole service reads each of its columns."""
    columns: dict[str, list[str]] = {}
    for node in graph.up:
        if node.startswith("feature_service:"):
            columns.setdefault(object_of(node), []).append(node)
    plain = [spec for spec in specs.values() if spec.kind not in _EDGES]
    return [
        (node, spec.key)
        for spec in plain
        for ref in spec.refs
        for node in columns.get(ref, [])
        if node != ref
    ]


def _view(spec: Spec, columns_of: ColumnsOf) -> Edges:
    source, entity = spec.body["source"]["ref"], spec.body["entity"]["ref"]
    for feature in spec.body["features"]:
        node = f"{spec.key}.{feature['name']}"
        yield entity, node
        read = dict.fromkeys(_read(feature, columns_of))
        yield from ((f"{source}.{column}", node) for column in read)
        if not read:  # it counts rows
            yield source, node


def _read(feature: Body, columns_of: ColumnsOf) -> Iterator[str]:
    """The columns that a feature reads, without those that every feature needs (key and times)."""
    yield from (feature[name] for name in ("column", "by") if feature.get(name))
    if feature.get("predicate"):
        yield from columns_of(feature["predicate"])
    for part in feature.get("parts", []):
        yield from _read(part, columns_of)


def _request_feature(spec: Spec, columns_of: ColumnsOf) -> Edges:
    del columns_of
    yield from ((f"{item['ref']}.{item['feature']}", spec.key) for item in spec.body.get("inputs", []))


def _service(spec: Spec, columns_of: ColumnsOf) -> Edges:
    del columns_of
    for item in spec.body["features"]:
        yield _part(item), f"{spec.key}.{column_of(item)}"


def _part(item: Body) -> str:
    return f"{item['ref']}.{item['feature']}" if "feature" in item else str(item["ref"])


def column_of(item: Body) -> str:
    """The column that an item of a service's body becomes."""
    return str(item.get("name") or item.get("feature") or item["ref"].partition(":")[2])


def _label(spec: Spec, columns_of: ColumnsOf) -> Edges:
    body: Body = spec.body
    source = body["source"]["ref"]
    yield body["entity"]["ref"], spec.key
    value: Body = body.get("value") or {}
    read = [body.get("outcome"), value.get("column")]
    texts = [text for text in (body.get("predicate"), value.get("predicate")) if text]
    columns = [column for column in read if column] + [
        column for text in texts for column in columns_of(text)
    ]
    yield from ((f"{source}.{column}", spec.key) for column in dict.fromkeys(columns))
    if not columns:
        yield source, spec.key


_EDGES: dict[str, Callable[[Spec, ColumnsOf], Edges]] = {
    "source": _source,
    "feature_view": _view,
    "request_feature": _request_feature,
    "feature_service": _service,
    "label": _label,
}
