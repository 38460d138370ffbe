"""What each column of an object is made of, and how: OpenLineage's words for an edge of the graph of columns.

DIRECT: the value comes from the column (IDENTITY as it is, AGGREGATION of many rows, TRANSFORMATION otherwise).
INDIRECT: the column decides which rows count, and when (FILTER, GROUP_BY, WINDOW, SORT).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from asof.define.spec import Spec
from asof.flows.lineage import Lineage
from asof.registry.fields import summary
from asof.registry.lineage import column_of

Body = Mapping[str, Any]
IDENTITY, AGGREGATION, TRANSFORMATION = (
    ("DIRECT", each) for each in ("IDENTITY", "AGGREGATION", "TRANSFORMATION")
)
FILTER, GROUP_BY, WINDOW, SORT = (("INDIRECT", each) for each in ("FILTER", "GROUP_BY", "WINDOW", "SORT"))
READ = ("INDIRECT", "")  # a model reads it; how is the model's own
How = tuple[str, str]
_TIMES = {"event_time": WINDOW, "known_at": FILTER, "key": FILTER, "sequence": SORT}


@dataclass(frozen=True)
class Input:
    """A column of another object (its key and the column's name), and how it is used."""

    key: str
    column: str
    how: How


@dataclass
class Inputs:
    """Of each column of an object what it is made of and in words how; `rows` count for all its columns."""

    columns: dict[str, list[Input]] = field(default_factory=dict[str, list[Input]])
    words: dict[str, str] = field(default_factory=dict[str, str])
    rows: list[Input] = field(default_factory=list[Input])

    def keys(self) -> list[str]:
        """The objects that are read, each once."""
        all_inputs = [*(each for found in self.columns.values() for each in found), *self.rows]
        return list(dict.fromkeys(each.key for each in all_inputs))


def inputs_of(spec: Spec, lineage: Lineage) -> Inputs:
    """What the columns of an object are made of; nothing for an entity."""
    made = Inputs()
    fill = _FILLERS.get(spec.kind)
    if fill is not None:
        fill(_Read(lineage), spec, made)
    made.rows = list(dict.fromkeys(made.rows))
    made.columns = {name: list(dict.fromkeys(found)) for name, found in made.columns.items()}
    return made


@dataclass(frozen=True)
class _Read:
    lineage: Lineage

    @property
    def specs(self) -> Mapping[str, Spec]:
        """All objects."""
        return self.lineage.state.specs

    def sql(self, key: str, text: str | None, how: How) -> list[Input]:
        """The columns that an expression reads."""
        return [Input(key, column, how) for column in self.lineage.columns_of(text)] if text else []

    def keys(self, body: Body) -> Iterator[Input]:
        """The columns that hold the keys of an entity."""
        source, mapped = body["source"]["ref"], body.get("keys", {})
        entity = self.specs.get(body["entity"]["ref"])
        for key in entity.body["keys"] if entity else []:
            if key["name"] not in mapped:
                yield Input(source, key["name"], GROUP_BY)
        for sql in mapped.values():
            yield from self.sql(source, sql, GROUP_BY)

    def rows(self, key: str) -> Iterator[Input]:
        """The columns of a source that decide which of its rows count; of a union, those of its parts."""
        spec = self.specs.get(key)
        body: Body = spec.body if spec else {}
        yield from (Input(key, body[name], how) for name, how in _TIMES.items() if body.get(name))
        yield from self.sql(key, body.get("deleted"), FILTER)


def _source(read: _Read, spec: Spec, made: Inputs) -> None:
    for name, sql in spec.body.get("columns", {}).items():
        made.columns[name] = read.sql(spec.key, sql, TRANSFORMATION)
        made.words[name] = sql
    for part in spec.body.get("sources", []):
        key = part["source"]["ref"]
        for name, sql in part.get("columns", {}).items():
            made.columns.setdefault(name, []).extend(read.sql(key, sql, TRANSFORMATION))
        for name in read.lineage.parts.get(spec.key, {}):
            if name not in part.get("columns", {}):
                made.columns.setdefault(name, []).append(Input(key, name, IDENTITY))
        made.rows += read.rows(key)


def _view(read: _Read, spec: Spec, made: Inputs) -> None:
    source = spec.body["source"]["ref"]
    for item in spec.body["features"]:
        made.columns[item["name"]] = list(_feature(read, source, item))
        made.words[item["name"]] = summary(item)
    made.rows += [*read.keys(spec.body), *read.rows(source)]


def _feature(read: _Read, source: str, item: Body) -> Iterator[Input]:
    if item.get("column"):
        yield Input(source, item["column"], IDENTITY if item["function"] == "latest" else AGGREGATION)
    if item.get("by"):  # its values are the keys of the map
        yield Input(source, item["by"], TRANSFORMATION)
    yield from read.sql(source, item.get("predicate"), FILTER)
    for part in item.get("parts", []):
        yield from _feature(read, source, part)


def _label(read: _Read, spec: Spec, made: Inputs) -> None:
    body = spec.body
    source, value = body["source"]["ref"], cast("Body", body.get("value") or {})
    found = [Input(source, value["column"], AGGREGATION)] if value.get("column") else []
    found += read.sql(source, value.get("predicate"), FILTER) + read.sql(
        source, body.get("predicate"), FILTER
    )
    found += [Input(source, body["outcome"], FILTER)] if body.get("outcome") else []
    made.columns[spec.name] = found
    made.rows += [*read.keys(body), *read.rows(source)]


def _request_feature(read: _Read, spec: Spec, made: Inputs) -> None:
    del read
    inputs: list[Body] = spec.body.get("inputs", [])
    made.columns[spec.name] = [Input(each["ref"], each["feature"], TRANSFORMATION) for each in inputs]


def _service(read: _Read, spec: Spec, made: Inputs) -> None:
    del read
    for item in spec.body["features"]:
        column = item.get("feature") or item["ref"].partition(":")[2]
        made.columns[column_of(item)] = [Input(item["ref"], column, IDENTITY)]


def _model(read: _Read, spec: Spec, made: Inputs) -> None:
    for ref in spec.refs:
        below = read.specs.get(ref)
        if below is not None and below.kind == "feature_service":
            made.rows += [Input(ref, column_of(item), READ) for item in below.body["features"]]
        else:
            made.rows.append(Input(ref, ref.partition(":")[2], READ))


_FILLERS: dict[str, Callable[[_Read, Spec, Inputs], None]] = {
    "source": _source,
    "feature_view": _view,
    "label": _label,
    "request_feature": _request_feature,
    "feature_service": _service,
    "model": _model,
}
