"""Granian with the application in it: workers, signals and the drain.

At SIGTERM the main process first tells the workers to be no longer ready (`/readyz` is 503, everything else is answered
as before), waits until a load balancer has seen it, and then has Granian end: no new connections, requests in flight
are finished, exit 0. A worker that dies is replaced.
"""

from __future__ import annotations

import logging
import os
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from threading import Event
from typing import Any

from granian.constants import HTTPModes, Interfaces, Loops
from granian.http import HTTP1Settings
from granian.log import LogLevels
from granian.server import MPServer

from asof.errors import AsofError, BackendError
from asof.flows.push import Pusher
from asof.serving.app import App
from asof.serving.build import DRAIN_SIGNAL, Options, build_app
from asof.serving.metrics import forget_worker
from asof.serving.reader import Reader

_log = logging.getLogger(__name__)
CANNOT_SERVE = 3


@dataclass(frozen=True)
class Listen:
    """Where to listen, and how to end.

    Args:
        host: the address; loopback unless told otherwise.
        port: the port.
        workers: processes that answer; one for each core that may be used.
        drain_s: how long the server goes on answering after SIGTERM while it says that it is not ready.
        grace_s: how long requests in flight may take after that.
    """

    host: str = "127.0.0.1"
    port: int = 8866
    workers: int = 1
    drain_s: float = 0.0
    grace_s: int = 30


def serve(
    open_reader: Callable[[], Reader],
    options: Options,
    listen: Listen,
    open_pusher: Callable[[], Pusher] | None = None,
) -> None:
    """Serves until SIGTERM or SIGINT, then drains and returns.

    `open_reader` and `open_pusher` are called in each worker, after the processes have parted: a store must not be
    carried across.

    Raises:
        BackendError: the address cannot be listened on.
    """
    _check_port(listen)
    server = _Server(
        "asof",
        address=listen.host,
        port=listen.port,
        interface=Interfaces.ASGI,
        workers=listen.workers,
        loop=Loops.auto,
        http=HTTPModes.http1,
        http1_settings=HTTP1Settings(header_read_timeout=10_000),
        websockets=False,
        backlog=1_024,
        backpressure=max(options.limits.in_flight * 4, 1_024),
        log_level=LogLevels.warning,
        respawn_failed_workers=True,
        workers_kill_timeout=listen.grace_s,
    )
    server.drain_s = listen.drain_s
    server.serve(target_loader=partial(_load, open_reader, options, open_pusher), wrap_loader=False)


def _check_port(listen: Listen) -> None:
    """Nothing, when nobody listens there: workers share a port among themselves, and would share it with a stranger."""
    try:
        family, kind, proto, _, address = socket.getaddrinfo(
            listen.host, listen.port, type=socket.SOCK_STREAM
        )[0]
        with socket.socket(family, kind, proto) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as exc:
        text = f"cannot listen on {listen.host}:{listen.port}: {exc.strerror or exc}"
        raise BackendError(text, hint="choose another with --port or --host") from exc


def _load(
    open_reader: Callable[[], Reader], options: Options, open_pusher: Callable[[], Pusher] | None
) -> App:
    """The application, made in a worker. One that cannot be made ends the worker with a message and no traceback."""
    try:
        return build_app(open_reader(), options, pusher=None if open_pusher is None else open_pusher())
    except AsofError as exc:
        sys.stderr.write(f"error: {exc}\n")
        sys.stderr.flush()
        os._exit(CANNOT_SERVE)


class _Server(MPServer):
    """Granian's server of processes, with a drain before its end."""

    drain_s = 0.0

    def shutdown(self, exit_code: int = 0) -> None:
        """First not ready, then no more connections, then the end."""
        if self.interrupt_signal and self.drain_s > 0:
            for worker in self.wrks:
                _tell(worker.inner.pid)
            Event().wait(self.drain_s)
        super().shutdown(exit_code)

    def _respawn_workers(self, workers: list[int], *args: Any, **kwargs: Any) -> None:
        for index in workers:
            pid = self.wrks[index].inner.pid
            if pid is not None:
                forget_worker(pid)
        super()._respawn_workers(workers, *args, **kwargs)


def _tell(pid: int | None) -> None:
    if pid is not None:
        try:
            os.kill(pid, DRAIN_SIGNAL)
        except ProcessLookupError:  # gone already
            return
