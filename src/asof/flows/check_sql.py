"""The SQL in definitions, checked by the engine's parser: a plan shows no definition that could not run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from asof.define.aggregation import Feature
from asof.define.feature_view import FeatureView
from asof.define.kinds import Definition, kind_of, spoken
from asof.define.label import Label
from asof.define.place import place_of
from asof.define.source import Events, Union
from asof.engines.duckdb import DuckDBEngine
from asof.errors import InvalidExpression


def check_sql(engine: DuckDBEngine, definitions: Iterable[Definition], root: Path) -> None:
    """Nothing, when every SQL text in the definitions is an expression.

    Raises:
        InvalidExpression: one is not; the message names the definition, and its file and line.
    """
    found = [(thing, part, sql) for thing in definitions for part, sql in _texts(thing)]
    engine.parse(sql for _, _, sql in found)
    for thing, part, sql in found:
        words = f"{spoken(kind_of(thing) or '')} {thing.name!r}: {part}"
        try:
            engine.check_expression(words, sql)
        except InvalidExpression as exc:
            place = place_of(thing, root)
            raise InvalidExpression(
                f"{place}: {exc.message}" if place else exc.message,
                hint=exc.hint,
                **{**exc.facts, "at": place},
            ) from exc


def _texts(thing: Definition) -> Iterator[tuple[str, str]]:
    if isinstance(thing, Events):
        yield from ((f"column {name!r}", sql) for name, sql in thing.columns)
        if thing.deleted:
            yield "deleted", thing.deleted
    elif isinstance(thing, Union):
        yield from ((f"column {name!r}", sql) for part in thing.sources for name, sql in part.columns)
    elif isinstance(thing, FeatureView | Label):
        yield from ((f"key {name!r}", sql) for name, sql in thing.keys)
        features = thing.features if isinstance(thing, FeatureView) else [f for f, _ in thing.features()]
        for feature in features:
            yield from ((f"feature {feature.name!r}", sql) for sql in _predicates(feature))


def _predicates(feature: Feature) -> Iterator[str]:
    if feature.predicate:
        yield feature.predicate
    for part in feature.parts:
        yield from _predicates(part)
