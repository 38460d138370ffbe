"""One example: generated histories, the spine that asks, and the oracle's answers."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa

from asof.clock import format_time
from asof.define.entity import Entity
from asof.define.feature_view import FeatureView
from asof.define.label import Label
from asof.define.source import Events, InMemory, Mapped, Union, parts_of
from asof.define.substitute import changed
from asof.engines.scan import Engine
from asof.errors import DataError, DefinitionError, MissingColumn, WrongType
from asof.testing.generated.answers import read_all, read_own
from asof.testing.generated.history import Maker, Types
from asof.testing.generated.naive import Needed
from asof.testing.generated.spine import (
    ROWS,
    edges_us,
    entity_of,
    forward_edges_us,
    spine_table,
    within_calendar,
)
from asof.testing.generated.subject import Subject
from asof.testing.generated.values import BASE_US, DAY_US
from asof.testing.oracle import Row

Engines = Callable[[], Engine]


@dataclass(frozen=True)
class Example:
    """Histories, a spine, and how it is asked; `subject` is the user's own, `sources` stand in its place."""

    subject: Subject
    sources: Mapping[str, Events]
    tables: Mapping[str, pa.Table]
    spine: pa.Table
    as_known: bool = True
    cutoff_us: int | None = None

    def held(self) -> Subject:
        """The subject over the histories."""
        sources = {
            name: changed(source, history=InMemory(self.tables[name], name), stream=None)
            for name, source in self.sources.items()
        }
        return self.subject.over(sources)

    @property
    def options(self) -> str:
        """How it is asked, in words."""
        known = "as known" if self.as_known else "in hindsight"
        return known if self.cutoff_us is None else f"{known}, cut-off {format_time(self.cutoff_us)}"


def make_example(engines: Engines, subject: Subject, types: Mapping[str, Types], name: str) -> Example:
    """The example of a name: equal names give equal examples.

    A history is made of the columns of the files, and the engine makes derived columns of them. Where it refuses
    (a text that is no number, say), derived columns are made directly, and then with texts that are numbers.

    Raises:
        DataError: the SQL of the definitions refuses all of these.
    """
    error: DataError | None = None
    for direct, plain in ((False, False), (True, False), (True, True)):
        rng = random.Random(f"{name}/{direct}/{plain}")
        try:
            return _attempt(engines, subject, types, rng, direct=direct, plain=plain)
        except (MissingColumn, WrongType):
            raise
        except DataError as exc:
            error = exc
    raise error or DataError("nothing was tried")


def _attempt(
    engines: Engines,
    subject: Subject,
    types: Mapping[str, Types],
    rng: random.Random,
    *,
    direct: bool,
    plain: bool,
) -> Example:
    words = changed(subject.words(), plain=plain)
    spans_us, few = subject.spans_us(), frozenset(subject.key_sql())
    sources: dict[str, Events] = {}
    makers: dict[str, Maker] = {}
    for name, source in subject.sources.items():
        columns = _with_derived(engines(), source, types[name]) if direct else types[name]
        sources[name] = changed(source, columns=()) if direct else source
        makers[name] = Maker(rng, source, columns, spans_us, words, few)
    tables = {name: maker.table() for name, maker in makers.items()}
    empty = spine_table([], [])
    example = Example(subject, sources, tables, empty, rng.random() < 0.85)
    held = example.held()
    spine = _spine(rng, held, read_all(engines(), held))
    if held.service.own_row is not None and held.label is None:
        maker = makers[parts_of(held.service.own_row)[0].source.name]
        spine = _with_own(engines(), held, maker, spine)
        read_own(engines(), held, spine)  # or the engine refuses these values
    return changed(example, spine=spine, cutoff_us=_cutoff_us(rng, held))


def _with_derived(engine: Engine, source: Events, types: Types) -> Types:
    empty = pa.table({name: pa.array([], arrow) for name, arrow in types.items()})
    return engine.schema(Mapped(changed(source, history=InMemory(empty, source.name), stream=None)))


def _spine(rng: random.Random, held: Subject, rows: Mapping[str, Sequence[Row]]) -> pa.Table:
    owners: Sequence[FeatureView | Label] = [held.label] if held.label else held.views
    entities: dict[Entity, Sequence[Row]] = {owner.entity: rows[owner.name] for owner in owners}
    asked: list[tuple[dict[str, object], int | None]] = []
    for _ in range(ROWS):
        owner = rng.choice(owners)
        row = rng.choice(rows[owner.name]) if rows[owner.name] else Row((), BASE_US, BASE_US)
        who: dict[str, object] = {}
        for entity, history in entities.items():
            kinds = [dtype for _, dtype in entity.keys]
            there = rng.random() < 0.7 and entity == owner.entity and len(row.entity) == len(kinds)
            found = row.entity if there else entity_of(rng, kinds, history)
            who |= dict(zip(entity.keys.names, found, strict=True))
        asked.append((who, _instant_us(rng, owner, row)))
    return spine_table([key for entity in entities for key in entity.keys], asked)


def _instant_us(rng: random.Random, owner: FeatureView | Label, row: Row) -> int | None:
    if rng.randrange(25) == 0:
        return None
    if isinstance(owner, Label):
        edges = forward_edges_us(rng, rng.choice(owner.outcomes).horizon, row)
        return within_calendar(rng.choice(edges) + rng.choice((-1, 0, 1)))
    edges = [*edges_us(rng, rng.choice(owner.features), row), BASE_US, BASE_US + 500 * DAY_US]
    return rng.choice(edges[:-2] if rng.randrange(10) else edges) + rng.choice((-1, 0, 1))


def _cutoff_us(rng: random.Random, held: Subject) -> int | None:
    if held.label is None:
        return None if rng.random() < 0.8 else BASE_US + rng.choice((-DAY_US, -1, 0, 1, DAY_US))
    longest_us = max(outcome.horizon.size_us or DAY_US for outcome in held.label.outcomes)
    return BASE_US + rng.choice((0, 1, DAY_US, longest_us, longest_us + 1, 2 * longest_us, 500 * DAY_US))


def _with_own(engine: Engine, held: Subject, maker: Maker, spine: pa.Table) -> pa.Table:
    """The spine with the columns of the own row's source, where they clash with nothing."""
    source = held.service.own_row
    if isinstance(source, Union):  # an own row has the columns that a union's sources have in common
        maker = replace(maker, types=engine.schema(parts_of(source)[0]), pools={})
    taken = {*spine.column_names, *held.service.names, maker.source.event_time}
    read = Needed.by(ref.feature for ref in held.service.refs if ref.view.source == source)
    clash = set(read.columns) & {*held.service.names}
    if clash:
        raise DefinitionError(
            f"its own row needs column {min(clash)!r}, which is also the name of a feature",
            hint='take the feature under another name: view["name"].named("other")',
        )
    rows = maker.as_table([maker.row() for _ in range(spine.num_rows)])
    for name in rows.column_names:
        if name not in taken:
            spine = spine.append_column(name, rows[name])
    return spine
