"""Sources: where rows come from, when they happened, when they were known, and how they are revised.

`Parquet`, `CSV`, `ArrowFile`, `DuckDBTable`, `InMemory` and `Landed` say where history lies; `Events` gives such a
history its times, its key and the stream that adds to it; `Union` puts several `Events` under common columns. Nothing
is opened here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from zoneinfo import ZoneInfo

from asof.clock import parse_duration
from asof.define.deprecated import Deprecated
from asof.define.names import check_name, check_people, check_unique
from asof.define.place import Placed
from asof.define.stream import Stream
from asof.define.window import Duration
from asof.errors import DefinitionError, did_you_mean
from asof.types import DType, Schema

Pairs = tuple[tuple[str, str], ...]


def _paths(kind: str, paths: str | Sequence[str]) -> tuple[str, ...]:
    found = (paths,) if isinstance(paths, str) else tuple(paths)
    if not found or not all(found):
        raise DefinitionError(f"{kind}: no path was given", hint=f'{kind}("data/*.{kind.lower()}")')
    if any("@" in path.partition("://")[2].partition("/")[0] for path in found):
        raise DefinitionError(
            f"{kind}: a path holds credentials", hint="the environment gives them to the store"
        )
    return found


@dataclass(frozen=True, init=False)
class Parquet:
    """Parquet files: paths or globs (local, or `s3://bucket/...`); `hive=True` reads `key=value` folders as
    columns.
    """

    paths: tuple[str, ...]
    hive: bool = False

    def __init__(self, paths: str | Sequence[str], *, hive: bool = False) -> None:
        object.__setattr__(self, "paths", _paths("Parquet", paths))
        object.__setattr__(self, "hive", hive)


@dataclass(frozen=True, init=False)
class CSV:
    """CSV files with a header; `columns` gives the types (a column without one is inferred), `delimiter` one
    character.
    """

    paths: tuple[str, ...]
    columns: Schema
    delimiter: str = ","

    def __init__(
        self,
        paths: str | Sequence[str],
        *,
        columns: Mapping[str, str | DType] | None = None,
        delimiter: str = ",",
    ) -> None:
        if len(delimiter) != 1:
            raise DefinitionError(f"CSV: delimiter {delimiter!r} is not one character")
        object.__setattr__(self, "paths", _paths("CSV", paths))
        object.__setattr__(self, "columns", Schema.of(columns or {}))
        object.__setattr__(self, "delimiter", delimiter)


@dataclass(frozen=True, init=False)
class ArrowFile:
    """Arrow IPC (Feather v2) files: paths or globs."""

    paths: tuple[str, ...]

    def __init__(self, paths: str | Sequence[str]) -> None:
        object.__setattr__(self, "paths", _paths("ArrowFile", paths))


@dataclass(frozen=True)
class DuckDBTable:
    """A table or view in a DuckDB database file, opened read-only."""

    database: str
    table: str

    def __post_init__(self) -> None:
        for part in self.table.split("."):
            check_name("DuckDBTable: table", part)


@dataclass(frozen=True, eq=False)
class InMemory:
    """A table held by the process: anything with `__arrow_c_stream__` (PyArrow, pandas, Polars, ...); equal
    to itself only.
    """

    table: Any = field(compare=False, repr=False)
    name: str = "memory"

    def __post_init__(self) -> None:
        if not hasattr(self.table, "__arrow_c_stream__"):
            seen = type(self.table).__name__
            raise DefinitionError(
                f"InMemory: {seen} is not a table",
                hint="pass a PyArrow table, or a pandas or Polars frame",
            )


@dataclass(frozen=True, init=False)
class Landed:
    """No history but what the source's stream has landed; `columns` are the names and types of its events."""

    columns: Schema

    def __init__(self, *, columns: Mapping[str, str | DType]) -> None:
        if not columns:
            raise DefinitionError("Landed: no columns", hint='Landed(columns={"at": "timestamp", ...})')
        for name in columns:
            check_name("Landed: column", name)
        folded = [name.lower() for name in columns]
        check_unique("Landed", "columns", folded, hint="names differ in more than their case")
        object.__setattr__(self, "columns", Schema.of(columns))


Location = Parquet | CSV | ArrowFile | DuckDBTable | InMemory | Landed


def _pairs(where: str, what: str, mapping: Mapping[str, str] | None) -> Pairs:
    for name, text in (mapping or {}).items():
        check_name(f"{where}: {what}", name)
        if not isinstance(text, str) or not text.strip():  # pyright: ignore[reportUnnecessaryIsInstance]
            raise DefinitionError(
                f"{where}: {what} {name!r} has no SQL", hint="a column's name or an expression"
            )
    return tuple((mapping or {}).items())


@dataclass(frozen=True, init=False)
class Events(Placed):
    """A source of events: a history, its event time, when rows were known, and (with `key`) how they are
    revised.

    Args:
        name: the source's name.
        history: where the rows are.
        event_time: column of the event time. Naive times are UTC unless `zone` names a zone.
        known_at: column of the time at which the row could first be known; without it: event time + `delay`.
        delay: how long after its event time a row is known, where there is no `known_at`.
        key: column that identifies an event. A later row of the same key supersedes the earlier one.
        deleted: SQL predicate; a row where it holds withdraws its event (needs `key`).
        sequence: column that orders rows of equal event time and known-at time; default: the order of the
        history.
        columns: derived columns, name -> SQL expression over the history's columns.
        zone: the zone of naive times, for example `"America/New_York"`.
        personal: columns that hold personal data.
        stream: where new events come in; what it has landed follows the history. Needs `known_at`: the platform
            writes there when the stream took the event.

    Raises:
        DefinitionError: a part that is missing or contradicts another.
    """

    name: str
    history: Location
    event_time: str
    known_at: str | None = None
    delay_us: int = 0
    key: str | None = None
    deleted: str | None = None
    sequence: str | None = None
    columns: Pairs = ()
    zone: str | None = None
    personal: tuple[str, ...] = field(default=(), compare=False)
    description: str = field(default="", compare=False)
    owner: str = field(default="", compare=False)
    tags: tuple[str, ...] = field(default=(), compare=False)
    deprecated: Deprecated | None = field(default=None, compare=False)
    stream: Stream | None = field(default=None, compare=False)

    def __init__(
        self,
        name: str,
        history: Location,
        *,
        event_time: str,
        known_at: str | None = None,
        delay: Duration | None = None,
        key: str | None = None,
        deleted: str | None = None,
        sequence: str | None = None,
        columns: Mapping[str, str] | None = None,
        zone: str | None = None,
        personal: Sequence[str] = (),
        description: str = "",
        owner: str = "",
        tags: Sequence[str] = (),
        deprecated: Deprecated | None = None,
        stream: Stream | None = None,
    ) -> None:
        where = f"source {check_name('source', name)!r}"
        check_people(where, owner, description, tags)
        if not isinstance(history, Location):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise DefinitionError(
                f"{where}: history is {type(history).__name__}",
                hint="one of Parquet, CSV, ArrowFile, DuckDBTable, InMemory, Landed",
            )
        _check_stream(where, stream, known_at, delay, sequence)
        if isinstance(history, Landed):
            _check_landed(where, history, stream, event_time, known_at)
        if delay is not None and known_at is not None:
            raise DefinitionError(
                f"{where}: both known_at and delay", hint="a row is known at one time: keep one"
            )
        if deleted is not None and key is None:
            raise DefinitionError(f"{where}: deleted without key", hint="a delete names its event by the key")
        if deleted is not None and not deleted.strip():
            raise DefinitionError(f"{where}: deleted has no SQL", hint="a predicate over the row's columns")
        facts: dict[str, object] = {
            "name": name,
            "history": history,
            "event_time": check_name(f"{where}: event_time", event_time),
            "known_at": None if known_at is None else check_name(f"{where}: known_at", known_at),
            "delay_us": 0 if delay is None else parse_duration(delay),
            "key": None if key is None else check_name(f"{where}: key", key),
            "deleted": deleted,
            "sequence": None if sequence is None else check_name(f"{where}: sequence", sequence),
            "columns": _pairs(where, "column", columns),
            "zone": _check_zone(where, zone),
            "personal": tuple(personal),
            "description": description,
            "owner": owner,
            "tags": tuple(tags),
            "deprecated": deprecated,
            "stream": stream,
        }
        for fact, value in facts.items():
            object.__setattr__(self, fact, value)

    def mapped(self, **columns: str) -> Mapped:
        """This source under other columns, for a `Union`: name -> SQL over this source's columns.

        A column of the same name in the source needs no mapping.
        """
        return Mapped(self, _pairs(f"source {self.name!r}", "column", columns))


def _check_stream(
    where: str, stream: object, known_at: str | None, delay: Duration | None, sequence: str | None
) -> None:
    if stream is None:
        return
    if not isinstance(stream, Stream):
        raise DefinitionError(
            f"{where}: stream is {type(stream).__name__}", hint="one of Log, Kafka, RedisStream"
        )
    if known_at is None or delay is not None:
        said = "without known_at" if delay is None else "with delay"
        raise DefinitionError(
            f"{where}: a stream {said}",
            hint='known_at="known_at": the platform writes there when the stream took the event',
        )
    if sequence is not None:
        raise DefinitionError(
            f"{where}: a stream with sequence={sequence!r}",
            hint="its events are ordered by known-at time and by their place in the stream: leave sequence out",
        )


def _check_landed(
    where: str, history: Landed, stream: Stream | None, event_time: str, known_at: str | None
) -> None:
    if stream is None:
        raise DefinitionError(
            f"{where}: history is Landed, and no stream lands anything", hint="stream=Log()"
        )
    for what, name in (
        ("event_time", event_time), ("known_at", known_at), ("partition_by", stream.partition_by),
    ):  # fmt: skip
        if name is not None and name not in history.columns:
            raise DefinitionError(
                f"{where}: {what} {name!r} is no column of Landed",
                hint=did_you_mean(name, history.columns.names),
            )


def _check_zone(where: str, zone: str | None) -> str | None:
    if zone is not None:
        try:
            ZoneInfo(zone)
        except (KeyError, ValueError, OSError) as exc:
            raise DefinitionError(
                f"{where}: zone {zone!r} is unknown", hint="an IANA name such as 'America/New_York'"
            ) from exc
    return zone


@dataclass(frozen=True)
class Mapped:
    """One source of a `Union`, with the SQL that gives the common columns."""

    source: Events
    columns: Pairs = ()


@dataclass(frozen=True, init=False)
class Union(Placed):
    """Several sources as one: each mapped to common columns, each with its own times and its own event keys.

    Ties: at equal event time and known-at time, the order in which the sources are named; then each source's
    sequence.

    Example:
        >>> card = Events("card", Parquet("card.parquet"), event_time="at", columns={"kind": "'card'"})
        >>> ach = Events("ach", Parquet("ach.parquet"), event_time="initiated_at")
        >>> Union("money", [card, ach.mapped(kind="'ach'", amount="amount_usd")]).names
        ('card', 'ach')
    """

    name: str
    sources: tuple[Mapped, ...]
    description: str = field(default="", compare=False)
    owner: str = field(default="", compare=False)
    tags: tuple[str, ...] = field(default=(), compare=False)
    deprecated: Deprecated | None = field(default=None, compare=False)

    def __init__(
        self,
        name: str,
        sources: Sequence[Events | Mapped],
        *,
        description: str = "",
        owner: str = "",
        tags: Sequence[str] = (),
        deprecated: Deprecated | None = None,
    ) -> None:
        check_people(f"union {check_name('source', name)!r}", owner, description, tags)
        parts = tuple(Mapped(part) if isinstance(part, Events) else part for part in sources)
        if not parts or not all(isinstance(part, Mapped) for part in parts):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise DefinitionError(f"union {name!r}: needs at least one Events source")
        check_unique(f"union {name!r}", "sources", (part.source.name for part in parts))
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "sources", parts)
        object.__setattr__(self, "description", description)
        object.__setattr__(self, "owner", owner)
        object.__setattr__(self, "tags", tuple(tags))
        object.__setattr__(self, "deprecated", deprecated)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the sources in order."""
        return tuple(part.source.name for part in self.sources)


Source = Events | Union


def parts_of(source: Source) -> tuple[Mapped, ...]:
    """The sources that stand behind one: itself, or a union's parts in order."""
    return source.sources if isinstance(source, Union) else (Mapped(source),)


def is_streamed(source: Source) -> bool:
    """True where a stream adds to a source, or to a part of it."""
    return any(part.source.stream is not None for part in parts_of(source))
