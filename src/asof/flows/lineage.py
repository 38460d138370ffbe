"""Lineage: what an object or a column stands on, and what stands on it; of an environment, or of the code.

`lineage_of` makes the graphs of a `State`, `find_node` (find_node.py) finds what a person means by a name, `tree_of`
walks from there. A whole object is walked object by object; a column or a feature, column by column.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Any, cast

from asof.define.deprecated import Deprecated
from asof.define.kinds import Definition
from asof.define.spec import Spec, in_order, specs_of
from asof.engines.duckdb import DuckDBEngine
from asof.errors import InvalidExpression
from asof.registry.lineage import (
    ColumnsOf,
    Direction,
    Graph,
    column_graph,
    object_graph,
    object_of,
    part_of,
)
from asof.registry.state import State

LOCAL = "local"  # the name of the state that is the code
_ROWS = {"source", "feature_view", "entity"}  # whole objects that hold no value of their own
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Lineage:
    """The objects of a state, and the graphs of whole objects and of columns.

    Example:
        >>> from asof import Entity, Events, FeatureView, Parquet, sum
        >>> account = Entity("account", keys={"account_id": "string"})
        >>> tx = Events("tx", Parquet("tx.parquet"), event_time="at")
        >>> view = FeatureView("spend", entity=account, source=tx, features=[sum("amount").over("1d")])
        >>> lineage = lineage_of(state_of([account, tx, view]), lambda sql: (sql,))
        >>> lineage.columns.reach("source:tx.amount", "down")
        ['feature_view:spend.amount_sum_1d']
        >>> lineage.through("source:tx", "feature_view:spend")
        ('account_id', 'amount')
    """

    state: State
    objects: Graph
    columns: Graph
    columns_of: ColumnsOf = field(repr=False)

    def graph_of(self, node: str) -> Graph:
        """The graph that a node is walked in."""
        return self.columns if part_of(node) else self.objects

    @cached_property
    def parts(self) -> Mapping[str, Mapping[str, str]]:
        """Of each object its columns or features: name -> node."""
        found: dict[str, dict[str, str]] = {}
        for node in self.columns.up:
            if part_of(node):
                found.setdefault(object_of(node), {})[part_of(node)] = node
        return found

    @cached_property
    def _between(self) -> Mapping[tuple[str, str], Mapping[str, None]]:
        found: dict[tuple[str, str], dict[str, None]] = {}
        for high, lows in self.columns.up.items():
            for low in filter(part_of, lows):
                found.setdefault((object_of(low), object_of(high)), {})[part_of(low)] = None
        return found

    def through(self, low: str, high: str) -> tuple[str, ...]:
        """The columns or features of one object that another one reads, in the order in which it does."""
        return tuple(self._between.get((low, high), ()))

    def personal(self, node: str) -> tuple[str, ...]:
        """The personal columns whose values a column or feature is made of (keys and times do not count)."""
        found, queue = dict[str, None](), [node]
        for each in queue:
            if each in self._personal:
                found[each] = None
            below = self.columns.next(each, "up")
            queue += [one for one in below if one not in queue and (part_of(one) or not _is_rows(one))]
        return tuple(found)

    @cached_property
    def _personal(self) -> frozenset[str]:
        marked = [
            (spec.key, name)
            for spec in self.state.specs.values()
            for name in cast("list[str]", spec.about("personal") or [])
        ]
        return frozenset(self.source_column(key, name) for key, name in marked)

    def source_column(self, key: str, name: str) -> str:
        """The node of a source's column; SQL's names have no case."""
        known = self.parts.get(key, {})
        return known.get(name) or self._folded.get(f"{key}.{name}".lower(), f"{key}.{name}")

    @cached_property
    def _folded(self) -> Mapping[str, str]:
        return {node.lower(): node for node in self.columns.up if node.startswith("source:")}


def _is_rows(node: str) -> bool:
    return node.partition(":")[0] in _ROWS


def lineage_of(state: State, columns_of: ColumnsOf) -> Lineage:
    """The lineage of all objects of a state; `columns_of` tells the columns that an SQL expression reads.

    Raises:
        DefinitionError: objects that stand on each other in a circle.
    """
    specs = in_order(state.specs.values())  # in one order, whoever has made the state
    return Lineage(state, object_graph(specs), column_graph(specs, columns_of), columns_of)


def columns_of(engine: DuckDBEngine) -> ColumnsOf:
    """Tells the columns that an SQL expression reads. One that is no expression reads nothing, and is logged."""

    @cache
    def read(sql: str) -> tuple[str, ...]:
        try:
            return engine.check_expression("lineage", sql)
        except InvalidExpression as exc:
            _log.warning("%s", exc.message)
            return ()

    return read


def state_of(definitions: Iterable[Definition]) -> State:
    """The state of the code: what an environment would hold if it were applied."""
    return State(LOCAL, 0, specs_of(definitions))


def deprecation_of(state: State, node: str) -> Deprecated | None:
    """The deprecation of an object, of a feature, or of the view or source that it belongs to."""
    spec = state.specs.get(object_of(node))
    if spec is None:
        return None
    body: Mapping[str, Any] | None = spec.about("deprecated")
    for feature in spec.body["features"] if spec.kind == "feature_view" and part_of(node) else ():
        if feature["name"] == part_of(node):
            body = feature.get("deprecated", body)
    return None if body is None else Deprecated(**body)


def name_of(state: State) -> str:
    """What a state is of, in words.

    Example:
        >>> name_of(State("prod", 7, {})), name_of(state_of([]))
        ("environment 'prod'", 'the code')
    """
    is_code = state.environment == LOCAL and state.revision == 0
    return "the code" if is_code else f"environment {state.environment!r}"


@dataclass(frozen=True)
class Branch:
    """A node of a tree, the columns through which it is joined to the one before, and what comes next.

    `again`: what comes next has been told at its first place.
    """

    node: str
    through: tuple[str, ...] = ()
    branches: tuple[Branch, ...] = ()
    again: bool = False


def tree_of(lineage: Lineage, node: str, direction: Direction) -> Branch:
    """All that a node stands on (up), or that stands on it (down), as a tree; nothing is told twice."""
    return _branch(lineage, lineage.graph_of(node), node, (), direction, set())


def _branch(
    lineage: Lineage, graph: Graph, node: str, through: tuple[str, ...], direction: Direction, told: set[str]
) -> Branch:
    following = graph.next(node, direction)
    if node in told:
        return Branch(node, through, again=bool(following))
    told.add(node)
    made: list[Branch] = []
    for other in following:
        low, high = (other, node) if direction == "up" else (node, other)
        between = lineage.through(low, high) if graph is lineage.objects else ()
        made.append(_branch(lineage, graph, other, between, direction, told))
    return Branch(node, through, tuple(made))


def graph_data(lineage: Lineage, node: str, directions: Iterable[Direction]) -> dict[str, Any]:
    """The part of the graph around a node as plain data: `node`, `nodes`, `edges`."""
    graph = lineage.graph_of(node)
    nodes, edges = {node: None}, dict[tuple[str, str], None]()
    for direction in directions:
        reached = [node, *graph.reach(node, direction)]
        nodes |= dict.fromkeys(reached)
        for each in reached:
            for other in graph.next(each, direction):
                edges[(other, each) if direction == "up" else (each, other)] = None
    state = lineage.state
    return {
        "environment": state.environment,
        "revision": state.revision,
        "node": node,
        "nodes": [_node_data(lineage, each, state.specs.get(object_of(each))) for each in nodes],
        "edges": [
            {"from": low, "to": high, "through": list(lineage.through(low, high))} for low, high in edges
        ],
    }


def _node_data(lineage: Lineage, node: str, spec: Spec | None) -> dict[str, Any]:
    deprecated = deprecation_of(lineage.state, node)
    return {
        "id": node,
        "kind": node.partition(":")[0],
        "name": object_of(node).partition(":")[2],
        "part": part_of(node) or None,
        "owner": spec.about("owner") if spec else None,
        "deprecated": str(deprecated) if deprecated else None,
        "personal": list(lineage.personal(node)) if part_of(node) else [],
    }
