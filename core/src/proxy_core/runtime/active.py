"""The ASGI application of a process: successive generations of settings behind one address.

A request stays with the generation in which it began. A replaced generation closes its resources
when its last request has ended; each generation is opened and closed in a task of its own.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import AsyncExitStack
from typing import Any

from proxy_core.errors import SetupError
from proxy_core.interfaces.servers import GRACE_S
from proxy_core.runtime.generation import Generation
from proxy_core.runtime.process import Process
from proxy_core.server.admin import RELOAD, Reloads
from proxy_core.server.interrupt import Receive, ServerStopping

log = logging.getLogger("proxy_core.reload")

Scope = MutableMapping[str, Any]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class Stopping(SetupError):
    """The server is stopping, so no other generation is activated."""


class _Served:
    """One generation while its resources are open."""

    def __init__(self, generation: Generation) -> None:
        self.generation = generation
        self.running = 0
        self.idle = asyncio.Event()
        self.replaced = asyncio.Event()
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.idle.set()

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.running += 1
        self.idle.clear()
        try:
            await self.generation.app(scope, receive, send)
        finally:
            self.running -= 1
            if not self.running:
                self.idle.set()


class Active:
    """The application. ``process`` is open from the first generation's activation until the last one has closed."""

    def __init__(self, process: Process, first: Generation) -> None:
        self.process = process
        self.current = first
        #: Once set, no other generation is activated.
        self.stop = asyncio.Event()
        #: For ``POST /admin/reload`` and for pages.
        self.reload: Reloads | None = None
        self._shutdown_grace_s = first.loaded.settings.server.shutdown_grace_s
        self._serving: _Served | None = None
        self._open: set[_Served] = set()
        self._tasks: asyncio.TaskGroup | None = None
        #: The first generation serves.
        self.started = asyncio.Event()

    def __len__(self) -> int:
        """The number of open generations: the current one, and replaced ones with unfinished requests."""
        return len(self._open)

    def interrupt(self) -> None:
        """End every request."""
        for served in list(self._open):
            served.generation.interrupt(ServerStopping())

    def retire(self) -> None:
        """The server is stopping: end feeds, which would never end by themselves."""
        for served in list(self._open):
            served.generation.retire()

    async def replace(self, new: Generation) -> None:
        """Activate ``new``, after the first generation. Raises the same as :meth:`_activate`."""
        await self.started.wait()
        await self._activate(new)

    async def _activate(self, new: Generation) -> None:
        """Open ``new``, configure the process for it and serve it from now on; the previous generation drains.

        Raises ``Stopping``, or whatever opening raises; then nothing has changed.
        """
        served = await self._opened(new)
        before = self._serving
        if before is not None and self.stop.is_set():
            served.replaced.set()
            raise Stopping("the server is stopping")
        self.process.configure(new)
        self.current, self._serving = new, served
        if before is not None:
            before.replaced.set()
            before.generation.retire()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
            return
        assert self._serving is not None  # a server runs the lifespan first
        if self.reload is not None:
            scope[RELOAD] = self.reload
        await self._serving.serve(scope, receive, send)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        phase = "startup"
        try:
            async with AsyncExitStack() as around, asyncio.TaskGroup() as self._tasks:
                await self._activate(self.current)
                await around.enter_async_context(self.process.open())
                await send({"type": "lifespan.startup.complete"})
                self.started.set()
                phase = "shutdown"
                await receive()
                self.stop.set()
                for served in self._open:
                    served.replaced.set()
        except BaseException as error:
            log.critical("%s failed", phase, exc_info=error)
            await send({"type": f"lifespan.{phase}.failed", "message": type(error).__name__})
            raise
        await send({"type": "lifespan.shutdown.complete"})

    async def _opened(self, generation: Generation) -> _Served:
        assert self._tasks is not None  # the lifespan has begun
        served = _Served(generation)
        self._tasks.create_task(self._live(served), name="generation")
        await served.opened
        return served

    async def _live(self, served: _Served) -> None:
        """Open, wait and close, all in one task, because the resources' task groups require it."""
        try:
            async with served.generation.open():
                self._open.add(served)
                served.opened.set_result(None)
                await served.replaced.wait()
                await self._drain(served)
        except Exception as error:  # the generation that is being served must not end with it
            if served.opened.done():
                log.exception("resources of a replaced generation could not be closed")
            else:
                served.opened.set_exception(error)
        finally:
            self._open.discard(served)

    async def _drain(self, served: _Served) -> None:
        for limit_s in (self._shutdown_grace_s, GRACE_S):
            try:
                async with asyncio.timeout(limit_s):
                    await served.idle.wait()
                return
            except TimeoutError:
                reason = "The proxy was reloaded, and this request took longer than server.shutdown_grace_s."
                served.generation.interrupt(ServerStopping(reason))
