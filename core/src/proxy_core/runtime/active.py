"""Several composed proxies, one after the other, behind one ASGI application.

A request stays with the one it began with. One that was replaced closes what it has opened when
its last request is done; each is opened and closed in a task of its own.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Generic, Protocol, TypeVar

from starlette.types import ASGIApp

from proxy_core.errors import SetupError
from proxy_core.server.admin import RELOAD
from proxy_core.server.interrupt import Receive, ServerStopping

log = logging.getLogger("proxy_core.reload")

Scope = MutableMapping[str, Any]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

#: What ending requests may take once they were interrupted.
_GRACE_S = 5.0


class Composed(Protocol):
    """What can be served."""

    @property
    def app(self) -> ASGIApp: ...
    def open(self) -> AbstractAsyncContextManager[None]: ...
    def interrupt(self, reason: ServerStopping) -> None: ...
    def retire(self) -> None:
        """It is no longer in force: end what would go on forever."""
        ...


C = TypeVar("C", bound=Composed)


class Stopping(SetupError):
    """It is too late to serve anything else."""


class _Generation(Generic[C]):
    """One composed proxy while it is served."""

    def __init__(self, composed: C) -> None:
        self.composed = composed
        self.running = 0
        self.idle = asyncio.Event()
        self.replaced = asyncio.Event()
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.idle.set()

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.running += 1
        self.idle.clear()
        try:
            await self.composed.app(scope, receive, send)
        finally:
            self.running -= 1
            if not self.running:
                self.idle.set()


class Switch(Generic[C]):
    """The application. ``around`` stays open from beginning to end, whatever is served."""

    def __init__(self, first: C, around: AbstractAsyncContextManager[Any], shutdown_grace_s: float) -> None:
        self.current = first
        #: Asked for by ``POST /admin/reload``; the answer is JSON.
        self.reload: Callable[[], Awaitable[dict[str, Any]]] | None = None
        self._around = around
        self._drain_s = shutdown_grace_s
        self._generation: _Generation[C] | None = None
        self._living: set[_Generation[C]] = set()
        self._tasks: asyncio.TaskGroup | None = None
        self._started = asyncio.Event()

    def __len__(self) -> int:
        """How many are open: the current one, and those with requests still running."""
        return len(self._living)

    def interrupt(self) -> None:
        """End every request."""
        for generation in list(self._living):
            generation.composed.interrupt(ServerStopping())

    def retire(self) -> None:
        """The server is stopping: end what would go on forever."""
        for generation in list(self._living):
            generation.composed.retire()

    async def turn(self, new: C, before: Callable[[C, C], None], stop: asyncio.Event) -> None:
        """Open ``new`` and serve it from now on. ``before(old, new)`` runs when nothing can go wrong any more.

        Not after ``stop``: what is served then is served to the end.

        Raises ``Stopping``, or what opening raises; then nothing has changed.
        """
        await self._started.wait()
        generation = await self._open(new)
        if stop.is_set() or self._generation is None:
            generation.replaced.set()
            raise Stopping("the server is stopping")
        before(self.current, new)
        old, self.current, self._generation = self._generation, new, generation
        old.replaced.set()
        old.composed.retire()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
            return
        assert self._generation is not None  # a server begins with the lifespan
        if self.reload is not None:
            scope[RELOAD] = self.reload
        await self._generation.serve(scope, receive, send)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        said = "startup"
        try:
            async with self._around, asyncio.TaskGroup() as self._tasks:
                self._generation = await self._open(self.current)
                await send({"type": "lifespan.startup.complete"})
                self._started.set()
                said = "shutdown"
                await receive()
                self._generation = None  # no other may take its place
                for generation in self._living:
                    generation.replaced.set()
        except BaseException as error:
            log.critical("%s failed", said, exc_info=error)
            await send({"type": f"lifespan.{said}.failed", "message": type(error).__name__})
            raise
        await send({"type": "lifespan.shutdown.complete"})

    async def _open(self, composed: C) -> _Generation[C]:
        assert self._tasks is not None  # the lifespan began
        generation = _Generation(composed)
        self._tasks.create_task(self._live(generation), name="settings in force")
        await generation.opened
        return generation

    async def _live(self, generation: _Generation[C]) -> None:
        """Open, wait, close: all in this task, because what is opened demands it."""
        try:
            async with generation.composed.open():
                self._living.add(generation)
                generation.opened.set_result(None)
                await generation.replaced.wait()
                await self._drain(generation)
        except Exception as error:  # it must not take with it what is served now
            if generation.opened.done():
                log.exception("what settings no longer in force had opened could not be closed")
            else:
                generation.opened.set_exception(error)
        finally:
            self._living.discard(generation)

    async def _drain(self, generation: _Generation[C]) -> None:
        for limit_s in (self._drain_s, _GRACE_S):
            try:
                async with asyncio.timeout(limit_s):
                    await generation.idle.wait()
                return
            except TimeoutError:
                reason = ServerStopping(
                    "The proxy has new settings, and this took longer than server.shutdown_grace_s."
                )
                generation.composed.interrupt(reason)
