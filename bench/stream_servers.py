"""The servers of `stream_latency` and `stream_events`: asof's over a stream's project, and bare ones that append.

`python -m bench.stream_servers ours PORT FOLDER`, `python -m bench.stream_servers bare-loop PORT FOLDER`. A bare one
reads the body of a request and appends it to a file, and answers when it is on the disk: in the loop itself, or
(`bare-threads`) in a thread.
"""

from __future__ import annotations

import asyncio
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from granian.constants import HTTPModes, Interfaces, Loops
from granian.http import HTTP1Settings
from granian.log import LogLevels
from granian.server import MPServer

from asof.clock import SystemClock
from asof.flows.push import Pusher
from asof.online.open_store import open_store
from asof.serving.build import Options
from asof.serving.server import Listen, serve
from bench import stream_data, stream_sides

THREADS = 4


def project(folder: str) -> Any:
    """The project that lies in a folder, by the machine's clock."""
    return stream_data.project(Path(folder), stream_sides.definition(), SystemClock())


def store(folder: str) -> Any:
    """Its LMDB."""
    return open_store(f"lmdb:///{Path(folder) / 'online'}", timeout_s=30.0)


def ours(port: int, folder: str) -> None:
    """What `asof serve` runs: reads and events."""
    serve(partial(_reader, folder), Options(), Listen(port=port), partial(_pusher, folder))


def _reader(folder: str) -> Any:
    return project(folder).online(store=store(folder))


def _pusher(folder: str) -> Pusher:
    return Pusher(partial(project, folder))


def bare(port: int, folder: str, *, threads: bool) -> None:
    """Granian with the settings of asof's server, and an append with the log's own promise (`fsync`)."""
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
    server.serve(target_loader=partial(_bare, folder, threads), wrap_loader=False)


def _bare(folder: str, threads: bool) -> Any:
    file = os.open(Path(folder) / f"bare-{threads}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    pool = ThreadPoolExecutor(THREADS) if threads else None
    answer = b'{"count":100}'
    head = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(answer))]
    start = {"type": "http.response.start", "status": 200, "headers": head}
    rest = {"type": "http.response.body", "body": answer}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        body, more = b"", True
        while more:
            part = await receive()
            body, more = body + part.get("body", b""), part.get("more_body", False)
        if pool is None:
            _append(file, body)
        else:
            await asyncio.get_running_loop().run_in_executor(pool, _append, file, body)
        await send(start)
        await send(rest)

    return app


def _append(file: int, body: bytes) -> None:
    os.write(file, body)
    os.fsync(file)


if __name__ == "__main__":
    kind, where = sys.argv[1], (int(sys.argv[2]), sys.argv[3])
    ours(*where) if kind == "ours" else bare(*where, threads=kind == "bare-threads")
