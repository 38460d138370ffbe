"""The two servers of `serving`: asof's, and a bare application that answers the same bytes from memory.

`python -m bench.serving_side ours PORT LOG URL`, `python -m bench.serving_side bare PORT FILE`: the file holds the body
of every answer. Both run in Granian with one worker and the same settings; the bare one reads the request, too.
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Any

from granian.constants import HTTPModes, Interfaces, Loops
from granian.http import HTTP1Settings
from granian.log import LogLevels
from granian.server import MPServer

from asof.serving.build import Options
from asof.serving.server import Listen, serve


def ours(port: int, log: str, url: str) -> None:
    """What `asof serve` runs, over a project whose clock stands still."""
    serve(partial(_reader, log, url), Options(), Listen(port=port))


def _reader(log: str, url: str) -> Any:
    from asof.online.open_store import open_store
    from bench import online_views

    return online_views.project(log).online(store=open_store(url, timeout_s=5.0))


def bare(port: int, file: str) -> None:
    """Granian with the settings of asof's server and next to nothing in it."""
    server = MPServer(
        "bare",
        address="127.0.0.1",
        port=port,
        interface=Interfaces.ASGI,
        workers=1,
        loop=Loops.auto,
        http=HTTPModes.http1,
        http1_settings=HTTP1Settings(header_read_timeout=10_000),
        websockets=False,
        backlog=1_024,
        backpressure=1_024,
        log_level=LogLevels.warning,
    )
    server.serve(target_loader=partial(_bare, file), wrap_loader=False)


def _bare(file: str) -> Any:
    body = Path(file).read_bytes()
    head = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    start = {"type": "http.response.start", "status": 200, "headers": head}
    rest = {"type": "http.response.body", "body": body}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        if scope["method"] == "POST":
            await receive()
        await send(start)
        await send(rest)

    return app


if __name__ == "__main__":
    {"ours": ours, "bare": bare}[sys.argv[1]](int(sys.argv[2]), *sys.argv[3:])
