"""The application without a server: requests straight into it, in one event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import httpx

from asof.serving.app import App
from asof.serving.build import Options, build_app
from tests.serving.double import DictReader

SMALL = {"service": "small", "entities": {"account_id": "a1"}}


def made(reader: DictReader | None = None, **more: Any) -> App:
    """An application over the double."""
    extra = {name: more.pop(name) for name in ("on_read", "log_to", "tracer", "clock") if name in more}
    return build_app(reader or DictReader(), Options(**more), **extra)  # type: ignore[arg-type]


@asynccontextmanager
async def running(app: App) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the application while it runs: started as a server would, and ended so."""
    inbox: asyncio.Queue[dict[str, str]] = asyncio.Queue()
    outbox: asyncio.Queue[Any] = asyncio.Queue()
    task = asyncio.create_task(app({"type": "lifespan"}, inbox.get, outbox.put))  # type: ignore[arg-type]
    await inbox.put({"type": "lifespan.startup"})
    assert (await outbox.get())["type"] == "lifespan.startup.complete"
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=True)  # type: ignore[arg-type]
    async with httpx.AsyncClient(transport=transport, base_url="http://inside", timeout=20) as client:
        yield client
    await inbox.put({"type": "lifespan.shutdown"})
    assert (await outbox.get())["type"] == "lifespan.shutdown.complete"
    await task


def with_app(app: App, scenario: Callable[[httpx.AsyncClient], Coroutine[Any, Any, Any]]) -> Any:
    """Runs a scenario against the running application."""

    async def whole() -> Any:
        async with running(app) as client:
            return await scenario(client)

    return asyncio.run(whole())


async def features(client: httpx.AsyncClient, body: Any = None, **headers: str) -> httpx.Response:
    return await client.post("/v1/features", json=body or SMALL, headers=headers)
