"""Running the workers of streams: of which sources, and which views have to be materialized before."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from asof.define.feature_view import FeatureView
from asof.define.fingerprint import fingerprint
from asof.define.source import Events
from asof.errors import StateError
from asof.flows.stream import Limits, SourceWorker, Watch
from asof.flows.stream_open import open_worker, streamed_source, streamed_sources, views_of_source
from asof.online.store import META_KEY, OnlineStore
from asof.registry.state import namespace_of

if TYPE_CHECKING:
    from asof.flows.project import Project


def sources_to_follow(project: Project, names: Sequence[str]) -> list[Events]:
    """The sources of these names, or all that have a stream and views that are read online.

    Raises:
        UnknownName: no such source. StateError: it has no stream; or there is no source to follow.
    """
    if names:
        return [streamed_source(project, name) for name in dict.fromkeys(names)]
    streamed = list(streamed_sources(project).values())
    found = [source for source in streamed if views_of_source(project, source)]
    if found:
        return found
    if streamed:
        raise StateError(
            "no view that is read online gets rows of a stream",
            hint=f"say online=True of a view, or name the source: asof stream {streamed[0].name}",
        )
    raise StateError(
        "no source of the project has a stream", hint="stream=Log() and known_at= in its definition"
    )


def unmaterialized_views(
    project: Project, sources: Iterable[Events], store: OnlineStore
) -> list[FeatureView]:
    """The views of these sources of which the store holds nothing that can be read."""
    views = {view.name: view for source in sources for view in views_of_source(project, source)}
    spaces = [(namespace_of(fingerprint(view)), [META_KEY]) for view in views.values()]
    metas = store.get(spaces) if spaces else []
    return [view for view, meta in zip(views.values(), metas, strict=True) if meta is None]


@contextmanager
def opened_workers(
    project: Project, sources: Iterable[Events], store: OnlineStore, *, watch: Watch, batch: int, group: str
) -> Generator[list[SourceWorker]]:
    """A worker for each source; their streams are closed at the end.

    Raises:
        DefinitionError, DataError, BackendError, ConfigError, MissingExtra: see `open_worker`.
    """
    limits = Limits(batch_events=batch)
    if project.config is not None:
        limits = Limits(batch_events=batch, land_us=project.config.stream_land_every_us)
    with ExitStack() as stack:
        workers: list[SourceWorker] = []
        for source in sources:
            worker = open_worker(project, source, store, watch=watch, limits=limits, group=group)
            stack.callback(worker.stream.close)
            stack.callback(worker.dead_letters.close)
            workers.append(worker)
        yield workers
