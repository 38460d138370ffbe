"""`asof serve`: the feature server."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from asof.config import Config
    from asof.flows.push import Pusher
    from asof.serving.reader import Reader


@click.command("serve")
@click.option(
    "--env", "environment", default=None, help="The environment. [default: the setting `environment`]"
)
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", default=8866, show_default=True, type=click.IntRange(1, 65_535), help="The port.")
@click.option(
    "--workers", default=1, show_default=True, type=click.IntRange(1, 256), help="Processes that answer."
)
@click.option("--deadline", default="5s", show_default=True, help="The longest that a request may take.")
@click.option(
    "--in-flight", default=256, show_default=True, type=click.IntRange(1, 100_000),
    help="Requests at a time, for each worker; more are refused.",
)  # fmt: skip
@click.option("--max-body", default="1MB", show_default=True, help="The largest body of a request.")
@click.option(
    "--threads", default=16, show_default=True, type=click.IntRange(1, 1_024),
    help="Reads at a time of a store behind a network, for each worker.",
)  # fmt: skip
@click.option(
    "--drain", default="0s", show_default=True,
    help="How long to go on answering after SIGTERM, while no longer ready.",
)  # fmt: skip
@click.option(
    "--grace", default="30s", show_default=True, help="How long requests in flight may take after that."
)
@click.option(
    "--access-log", type=click.Choice(["off", "errors", "sampled", "all"]), default="errors", show_default=True,
    help="Which requests to log, as JSON lines on stderr.",
)  # fmt: skip
@click.option(
    "--log-requests", type=click.Path(file_okay=False), default=None,
    help="Log reads to this folder, with keys and values, for `asof skew`.",
)  # fmt: skip
@click.option(
    "--log-share", default=1.0, show_default=True, type=click.FloatRange(0, 1),
    help="Which share of the reads to log.",
)  # fmt: skip
@click.option("--tracing", is_flag=True, help="Send spans of OpenTelemetry (needs the `otel` extra).")
@click.option("--insecure", is_flag=True, help="Listen beyond loopback without keys.")
@click.option("--project", default=".", show_default=True, help="The project's folder.")
def command(
    *,
    environment: str | None,
    host: str,
    port: int,
    workers: int,
    deadline: str,
    in_flight: int,
    max_body: str,
    threads: int,
    drain: str,
    grace: str,
    access_log: str,
    log_requests: str | None,
    log_share: float,
    tracing: bool,
    insecure: bool,
    project: str,
) -> None:
    """Answer requests for features over HTTP, until SIGTERM: then finish what is in flight and end."""
    from asof.cli.state_options import open_state

    with open_state(project, environment, local=False) as opened:
        name, keys = opened.state.environment, _keys(opened.project.config)
    # Before the library of metrics loads: with several workers its counters are files that they share.
    folder = tempfile.TemporaryDirectory(prefix="asof-metrics-") if workers > 1 else None
    if folder is not None:
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder.name
    from functools import partial

    from asof.errors import MissingExtra

    try:
        from asof.serving.app import Limits
        from asof.serving.build import Options
        from asof.serving.keys import check_address
        from asof.serving.server import Listen, serve
    except ModuleNotFoundError as exc:
        raise MissingExtra("asof serve", "serve") from exc

    check_address(host, keys, insecure=insecure)
    limits = Limits(in_flight, _bytes("--max-body", max_body), _seconds("--deadline", deadline))
    options = Options(
        keys=keys, limits=limits, threads=threads, access_log=access_log, tracing=tracing,
        log_requests=None if log_requests is None else Path(log_requests).resolve(), log_share=log_share,
    )  # fmt: skip
    listen = Listen(
        host, port, workers, _seconds("--drain", drain), max(1, round(_seconds("--grace", grace)))
    )
    click.echo(f"serving {name} on http://{host}:{port}", err=True)
    try:
        root = str(Path(project).resolve())
        serve(partial(_open_reader, root, name), options, listen, partial(_open_pusher, root))
    finally:
        if folder is not None:
            folder.cleanup()


def _open_reader(project: str, environment: str) -> Reader:
    """The reader of a worker, opened in it."""
    from asof.flows.project import open as open_project

    return open_project(project).online(environment)


def _open_pusher(project: str) -> Pusher:
    """What appends events in a worker; it loads the project's code when the first come."""
    from asof.flows.project import open as open_project
    from asof.flows.push import Pusher

    return Pusher(lambda: open_project(project))


def _keys(config: Config | None) -> tuple[str, ...]:
    from asof.config import SecretRef
    from asof.serving.keys import parse_keys

    if config is None or config.serve_keys is None:
        return ()
    return parse_keys(SecretRef.parse(config.serve_keys).resolve())


def _seconds(option: str, text: str) -> float:
    from asof.clock import parse_duration
    from asof.errors import DefinitionError

    try:
        return parse_duration(text) / 1e6
    except DefinitionError as exc:
        raise click.BadParameter(f"{text!r} is no duration such as 5s or 250ms", param_hint=option) from exc


def _bytes(option: str, text: str) -> int:
    from asof.settings import parse_size

    try:
        size = parse_size(text)
    except ValueError:
        size = 0
    if size < 1_000:
        raise click.BadParameter(f"{text!r} is no size of at least 1KB", param_hint=option)
    return size
