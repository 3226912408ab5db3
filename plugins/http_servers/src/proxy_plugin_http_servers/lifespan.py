"""Opens an ASGI application around a server that does not: the same under each, whatever fails."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from proxy_core import AsgiApp


async def open_around(app: AsgiApp, serve: Callable[[], Awaitable[None]]) -> None:
    """Open ``app``, call ``serve``, and close ``app``. Raises, in a group, what either of them raises."""
    opened, closing = asyncio.Event(), asyncio.Event()
    states = iter(("startup", "shutdown"))

    async def receive() -> MutableMapping[str, Any]:
        state = next(states)
        if state == "shutdown":
            await closing.wait()
        return {"type": f"lifespan.{state}"}

    async def send(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "lifespan.startup.complete":
            opened.set()

    async with asyncio.TaskGroup() as tasks:
        scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": {}}
        # An application that fails raises, and then nothing is served.
        tasks.create_task(app(scope, receive, send), name="lifespan")  # type: ignore[arg-type]  # a coroutine here
        await opened.wait()
        try:
            await serve()
        finally:
            closing.set()
