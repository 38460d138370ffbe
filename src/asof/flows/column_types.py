"""Types of columns, features and labels of a state, as far as they can be known: written in definitions, or told by
the sources themselves where the code names the same ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, cast

from asof.compute.arrow import FLOAT64, INT64, common_type, find_dtype
from asof.compute.feature_types import feature_dtype
from asof.define.aggregation import Feature
from asof.define.source import Events, Source, parts_of
from asof.define.spec import specs_of
from asof.define.window import Window
from asof.engines.duckdb import DuckDBEngine
from asof.engines.files import is_remote
from asof.errors import AsofError
from asof.flows.load import Definitions
from asof.registry.lineage import column_of, object_of, part_of, part_read
from asof.registry.state import State
from asof.types import DType

Body = Mapping[str, Any]
Columns = Mapping[str, DType]
# The key of a source -> the types of its columns, by their names in lower case.
SourceTypes = Callable[[str], Columns]
_WHOLE = {"count", "distinct", "approx_distinct"}  # whole numbers, whatever the column is
_REAL = {"mean", "var", "std", "quantile", "decayed_sum", "ratio"}  # floating point, whatever the column is
_ANY = Window(None)


@dataclass(frozen=True)
class Types:
    """Tells the types of a state's nodes, given those of the sources' columns."""

    state: State
    of_source: SourceTypes
    _items: dict[str, dict[str, Body]] = field(default_factory=dict[str, "dict[str, Body]"], repr=False)

    def of(self, node: str) -> str | None:
        """The type of a column, a feature, a request feature or a label; None where it is not known."""
        spec = self.state.specs.get(object_of(node))
        told = None if spec is None else _TELLERS.get(spec.kind)
        return None if told is None else told(self, object_of(node), part_of(node))

    def body(self, key: str) -> Body:
        """The body of an object."""
        return self.state.specs[key].body

    def item(self, key: str, part: str) -> Body | None:
        """The feature of a view, or the item of a service, that has a name."""
        if key not in self._items:
            self._items[key] = {column_of(item): item for item in self.body(key)["features"]}
        return self._items[key].get(part)

    def value(self, source: str, item: Body) -> DType | None:
        """The type of an aggregation over a source: by its column's type, or by the function alone."""
        column = item.get("column")
        dtype = None if column is None else self.of_source(source).get(column.lower())
        try:
            if dtype is not None:
                return feature_dtype(_feature(item), dtype)
        except AsofError:  # not defined for such a column: `asof check` tells it
            return None
        plain = INT64 if item["function"] in _WHOLE else FLOAT64 if item["function"] in _REAL else None
        return DType("map", item=plain) if plain and item.get("by") else plain


def _feature(item: Body) -> Feature:
    params = tuple(cast("Mapping[str, float]", item.get("params") or {}).items())
    return Feature(item.get("name", ""), item["function"], item["column"], _ANY, None, item.get("by"), params)


def _of_source(types: Types, key: str, part: str) -> str | None:
    return _said(types.of_source(key).get(part.lower()))


def _of_view(types: Types, key: str, part: str) -> str | None:
    item = types.item(key, part)
    return None if item is None else _said(types.value(types.body(key)["source"]["ref"], item))


def _of_service(types: Types, key: str, part: str) -> str | None:
    item = types.item(key, part)
    return None if item is None else types.of(part_read(item))


def _of_request_feature(types: Types, key: str, part: str) -> str | None:
    return None if part else str(types.body(key)["dtype"])


def _of_label(types: Types, key: str, part: str) -> str | None:
    body = types.body(key)
    value = body.get("value")
    if part or value is None:
        return None if part else str(INT64)
    return _said(types.value(body["source"]["ref"], value))


_TELLERS: dict[str, Callable[[Types, str, str], str | None]] = {
    "source": _of_source,
    "feature_view": _of_view,
    "feature_service": _of_service,
    "request_feature": _of_request_feature,
    "label": _of_label,
}


def _said(dtype: DType | None) -> str | None:
    return None if dtype is None else str(dtype)


def written_types(state: State) -> SourceTypes:
    """What definitions say of their sources' columns: those of CSV files and of streams may have a type."""

    @cache
    def types(key: str) -> Columns:
        spec = state.specs.get(key)
        columns: list[Body] = [] if spec is None else spec.body.get("history", {}).get("columns", [])
        derived = {} if spec is None else spec.body.get("columns", {})
        hidden = {name.lower() for name in derived}
        named = {column["name"].lower(): DType.parse(column["type"]) for column in columns}
        return {name: dtype for name, dtype in named.items() if name not in hidden}

    return types


def read_types(
    state: State, definitions: Definitions, engine: DuckDBEngine, *, remote: bool = False
) -> SourceTypes:
    """What the sources themselves tell, where the code defines them as the state does; else what is written.

    Sources in an object store are asked only when `remote`; one that cannot be read has no types.
    """
    sources = cast("list[Source]", definitions.list("source"))
    same = {key: spec.fingerprint for key, spec in specs_of(sources).items()}
    known = {f"source:{source.name}": source for source in sources}
    written = written_types(state)

    @cache
    def types(key: str) -> Columns:
        spec, source = state.specs.get(key), known.get(key)
        if spec is None or source is None or same[key] != spec.fingerprint:
            return written(key)
        if not remote and any(_is_far(part.source) for part in parts_of(source)):
            return written(key)
        try:
            return _columns(engine, source)
        except AsofError:
            return written(key)

    return types


def _is_far(source: Events) -> bool:
    return any(is_remote(path) for path in getattr(source.history, "paths", ()))


def _columns(engine: DuckDBEngine, source: Source) -> Columns:
    found = [engine.schema(part) for part in parts_of(source)]
    shared = [name for name in found[0] if all(name in columns for columns in found)]
    types = {name.lower(): find_dtype(common_type(name, [each[name] for each in found])) for name in shared}
    return {name: dtype for name, dtype in types.items() if dtype is not None}
