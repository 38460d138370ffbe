"""A project's streams, opened: for workers, for those who push, and for those who look how far workers are."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from asof.define.feature_view import FeatureView
from asof.define.source import Events, parts_of
from asof.define.stream import Kafka, RedisStream
from asof.define.stream import Stream as Definition
from asof.define.substitute import changed
from asof.errors import StateError, UnknownName, did_you_mean
from asof.flows.online import resources_of
from asof.flows.online_views import online_views_of
from asof.flows.stream import Limits, SourceWorker, Watch
from asof.flows.stream_apply import Applier
from asof.flows.stream_checkpoint import Checkpoints
from asof.flows.stream_dead import DeadLetters
from asof.flows.stream_events import Judge, check_known_at
from asof.online.store import OnlineStore
from asof.streams.open_stream import open_decoder, open_stream
from asof.streams.schema import EventSchema
from asof.streams.stream import Stream

if TYPE_CHECKING:
    from asof.flows.project import Project

DEAD = ".dead-letters"


def streamed_sources(project: Project) -> dict[str, Events]:
    """The sources with a stream by name: those that the code defines, and those behind its views."""
    found: dict[str, Events] = {}
    for each in project.definitions.all():
        if isinstance(each, Events):
            found[each.name] = each
        elif isinstance(each, FeatureView):
            found |= {part.source.name: part.source for part in parts_of(each.source)}
    return {name: source for name, source in found.items() if source.stream is not None}


def streamed_source(project: Project, name: str) -> Events:
    """The source of a name.

    Raises:
        UnknownName: there is none. StateError: it has no stream.
    """
    streamed = streamed_sources(project)
    if name in streamed:
        return streamed[name]
    names = [each.name for each in project.definitions.all() if isinstance(each, Events)]
    if name in names:
        raise StateError(
            f"source {name!r} has no stream, so that it takes no events",
            hint="stream=Log() in its definition",
            source=name,
        )
    raise UnknownName(
        f"no source {name!r}", hint=did_you_mean(name, [*streamed, *names]), name=name, kind="source"
    )


def open_source_stream(project: Project, source: Events) -> Stream:
    """The stream of a source; close it when done."""
    return open_stream(_stream(source), name=source.name, folder=_folder(project), clock=project.clock)


def open_dead_letters(project: Project, source: Events) -> DeadLetters:
    """The dead letters of a source; close them when done."""
    definition = _stream(source)
    beside: Definition
    if isinstance(definition, Kafka):
        beside = changed(definition, topic=definition.dead_letters or definition.topic + DEAD, format="json")
    elif isinstance(definition, RedisStream):
        beside = changed(definition, key=definition.key + DEAD)
    else:
        beside = changed(definition, partitions=1, partition_by=None)
    name = source.name + DEAD
    return DeadLetters(open_stream(beside, name=name, folder=_folder(project), clock=project.clock))


def views_of_source(project: Project, source: Events) -> list[FeatureView]:
    """The views that are read online and get rows of a source."""
    return [
        view
        for view in online_views_of(project, None)
        if any(part.source.name == source.name for part in parts_of(view.source))
    ]


def open_worker(
    project: Project,
    source: Events,
    store: OnlineStore,
    *,
    views: Iterable[FeatureView] | None = None,
    watch: Watch | None = None,
    limits: Limits | None = None,
    group: str = "asof",
) -> SourceWorker:
    """A worker for the stream of a source; `close` it when done.

    Raises:
        DefinitionError: the source's known-at column cannot hold what the platform writes. DataError, WrongType: a view
            does not fit its source. BackendError: the stream cannot be opened.
    """
    landing = project.landing
    if landing is None:
        raise StateError("a project in memory has no place for streams", hint="Project(..., folder=...)")
    engine = project.engine()
    types = engine.raw_schema(source)
    check_known_at(source, types)
    schema = EventSchema.of(source, types)
    empty = schema.arrow.empty_table()
    ahead_us, resources = 3_600_000_000, resources_of(project)
    if project.config is not None:
        ahead_us = project.config.stream_ahead_us
        limits = limits or Limits(land_us=project.config.stream_land_every_us)
    limits = limits or Limits()
    found = list(views_of_source(project, source) if views is None else views)
    return SourceWorker(
        open_source_stream(project, source),
        schema,
        Applier(engine, source, found, store, empty, resources),
        Judge(engine, source, empty, ahead_us),
        Checkpoints(store, source.name),
        open_dead_letters(project, source),
        landing,
        project.clock,
        replace(limits, history_us=resources.history_us),
        watch,
        group,
        open_decoder(_stream(source)),
    )


def _folder(project: Project) -> Path:
    if project.stream_folder is None:
        raise StateError("a project in memory has no place for streams", hint="Project(..., folder=...)")
    return project.stream_folder


def _stream(source: Events) -> Definition:
    if source.stream is None:
        raise StateError(f"source {source.name!r} has no stream", hint="stream=Log() in its definition")
    return source.stream
