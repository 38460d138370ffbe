"""`asof stream`: the worker of streams; how far it has come is in `stream_state.py`."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import click

from asof.cli.stream_state import replay, status

if TYPE_CHECKING:
    from asof.define.feature_view import FeatureView
    from asof.flows.project import Project
    from asof.flows.stream import SourceWorker
    from asof.flows.stream_status import SourceStatus
    from asof.flows.stream_tally import Tally
    from asof.online.store import OnlineStore
    from asof.serving.stream_metrics import StreamMetrics

_LOOK_S = 2.0
_LOG_US = 10_000_000


class _RunByDefault(click.Group):
    """A group that runs its command `run` where none is named."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """The arguments with the command that is meant before them."""
        if not args or (args[0] not in self.commands and args[0] not in ctx.help_option_names):
            args = ["run", *args]
        return super().parse_args(ctx, args)


@click.group("stream", cls=_RunByDefault)
def group() -> None:
    """Streams: run their worker (also without `run`), see how far it has come, replay."""


group.add_command(status)
group.add_command(replay)


@group.command("run")
@click.argument("sources", metavar="[SOURCE]...", nargs=-1)
@click.option("--until-idle", is_flag=True, help="End when all that the streams hold has been dealt with.")
@click.option(
    "--metrics-port", default=None, type=click.IntRange(0, 65_535),
    help="Serve metrics for Prometheus on this port of the loopback (needs the `serve` extra).",
)  # fmt: skip
@click.option(
    "--batch", default=10_000, show_default=True, type=click.IntRange(1, 1_000_000),
    help="How many events are dealt with at a time.",
)  # fmt: skip
@click.option(
    "--group", "name", default="asof", show_default=True, help="Workers of one group share the partitions."
)
@click.option("--no-backfill", is_flag=True, help="Start at once, also where a view was never materialized.")
@click.option("--project", default=".", show_default=True, help="The project's folder.")
@click.option("--json", "as_json", is_flag=True, help="Print what was done as JSON at the end.")
@click.option("-q", "--quiet", is_flag=True, help="No progress.")
def run(
    *, sources: tuple[str, ...], until_idle: bool, metrics_port: int | None, batch: int, name: str,
    no_backfill: bool, project: str, as_json: bool, quiet: bool,
) -> None:  # fmt: skip
    """Follow the stream of each SOURCE (of all with views that are read online) and keep the views' records fresh.

    At SIGINT or SIGTERM what was applied is landed, a checkpoint is written, and the partitions are given back; a
    second signal ends at once. Views that were never materialized are materialized first.
    """
    from asof.flows.online import open_online_store
    from asof.flows.project import open as open_project
    from asof.flows.stream import run_workers
    from asof.flows.stream_run import opened_workers, sources_to_follow, unmaterialized_views
    from asof.flows.stream_tally import Tally

    opened = open_project(project)
    found = sources_to_follow(opened, sources)
    tally, stop, begun_us = Tally(), threading.Event(), opened.clock.now_us()
    metrics = None if metrics_port is None else _metrics(tally)
    with ExitStack() as stack:
        store = open_online_store(opened)
        stack.callback(store.close)
        if metrics is not None and metrics_port is not None:
            server = metrics.serve(metrics_port)
            stack.callback(server.close)
            click.echo(f"metrics on http://127.0.0.1:{server.port}/metrics", err=True)
        if not no_backfill:
            _materialize(opened, unmaterialized_views(opened, found, store), store, quiet=quiet or as_json)
        stack.enter_context(_stopped_by_signals(stop))
        workers = stack.enter_context(
            opened_workers(opened, found, store, watch=tally, batch=batch, group=name)
        )
        click.echo(f"following {', '.join(source.name for source in found)}", err=True)
        with _looking(_Look(opened, store, workers, tally, metrics), quiet=quiet or as_json):
            run_workers(workers, stop, until_idle=until_idle)
    _tell(tally, opened.clock.now_us() - begun_us, as_json=as_json)


def _metrics(tally: Tally) -> StreamMetrics:
    from asof.errors import MissingExtra

    try:
        from asof.serving.stream_metrics import StreamMetrics
    except ModuleNotFoundError as exc:
        raise MissingExtra("asof stream --metrics-port", "serve") from exc
    return StreamMetrics(tally)


def _materialize(project: Project, views: Sequence[FeatureView], store: OnlineStore, *, quiet: bool) -> None:
    from asof.cli.console import ProgressBars
    from asof.flows.online import materialize_project, plan_materialization

    if not views:
        return
    click.echo(f"materializing {', '.join(view.name for view in views)}", err=True)
    with ProgressBars(quiet=quiet) as bars:
        steps = plan_materialization(project, views, store, None, whole=False)
        materialize_project(project, steps, store, bars.step)


@contextmanager
def _stopped_by_signals(stop: threading.Event) -> Generator[None]:
    """Sets an event at the first SIGINT or SIGTERM, and ends the process at the second."""

    def handle(number: int, frame: object) -> None:
        del frame
        if stop.is_set():
            os._exit(128 + number)
        stop.set()
        os.write(2, b"stopping: what was applied is landed (once more ends at once)\n")

    before = {each: signal.signal(each, handle) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


class _Look:
    """Looks at how far the workers are, and tells it in one line."""

    def __init__(
        self,
        project: Project,
        store: OnlineStore,
        workers: Sequence[SourceWorker],
        tally: Tally,
        metrics: StreamMetrics | None,
    ) -> None:
        self._project, self._store, self._workers = project, store, workers
        self._tally, self._metrics = tally, metrics
        self._before = (0, project.clock.now_us())

    def line(self) -> str:
        """Events a second since the last look, what waits, and what could not be used."""
        from asof.errors import AsofError
        from asof.flows.stream_status import read_status

        try:
            statuses = [
                read_status(self._project, self._store, each.source, each.stream) for each in self._workers
            ]
        except AsofError as exc:
            return f"{self._counts()}; {exc.message}"
        if self._metrics is not None:
            self._metrics.show(statuses)
        return f"{self._counts()}, {_lag(statuses)}"

    @property
    def now_us(self) -> int:
        """The time by the project's clock."""
        return self._project.clock.now_us()

    def _counts(self) -> str:
        found, now_us = self._tally.read().values(), self.now_us
        events, before = sum(each.events for each in found), self._before
        rate = (events - before[0]) / max((now_us - before[1]) / 1e6, 1e-6)
        self._before = events, now_us
        dead = sum(each.dead for each in found)
        return f"{events:,} events, {rate:,.0f}/s, {dead:,} dead"


def _lag(statuses: Sequence[SourceStatus]) -> str:
    """What waits, of all sources: `lag 12 events, 0.3 s`."""
    problems = [each.problem for each in statuses if each.problem is not None]
    if problems:
        return f"lag unknown: {problems[0]}"
    seconds = max((each.lag_us or 0 for each in statuses), default=0) / 1e6
    counted = [each.lag_events for each in statuses if each.lag_events is not None]
    return f"lag {sum(counted):,} events, {seconds:,.1f} s" if counted else f"lag {seconds:,.1f} s"


@contextmanager
def _looking(look: _Look, *, quiet: bool) -> Generator[None]:
    """Shows how far the workers are, every two seconds on a terminal and every ten elsewhere."""
    from asof.cli.console import LiveLine

    done = threading.Event()

    def watch(live: LiveLine) -> None:
        told_us = look.now_us
        while not done.wait(_LOOK_S):
            line = look.line()
            if live.is_terminal or look.now_us - told_us >= _LOG_US:
                live.show(line)
                told_us = look.now_us

    with LiveLine(quiet=quiet) as live:
        thread = threading.Thread(target=watch, args=(live,), name="look")
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()


def _tell(tally: Tally, took_us: int, *, as_json: bool) -> None:
    found = tally.read()
    if as_json:
        body: dict[str, Any] = {
            "sources": {
                name: {
                    "events": each.events,
                    "dead": each.dead,
                    "views": {view: vars(receipt) for view, receipt in each.views.items()},
                }
                for name, each in found.items()
            },
            "seconds": round(took_us / 1e6, 6),
        }
        click.echo(json.dumps(body, indent=2))
        return
    for name, each in found.items():
        dead = f", {each.dead:,} of them cannot be used: asof dead-letter list {name}" if each.dead else ""
        records = sum(receipt.records for receipt in each.views.values())
        click.echo(f"{name}: {each.events:,} events{dead}; {records:,} records written", err=True)
    if not found:
        click.echo("no new events", err=True)
