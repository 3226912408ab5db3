"""Ends a block of code early, from outside, with a reason."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from types import TracebackType
from typing import Any, Self

from proxy_core.clock import Clock

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Beat = Callable[[], Awaitable[None]]


class ClientLeft(Exception):
    """The client closed its connection."""


class ServerStopping(Exception):
    """The server is stopping and its grace period is over; the client receives the message."""

    def __init__(self, message: str = "The server is stopping.") -> None:
        super().__init__(message)


class Stalled(Exception):
    """The upstream was silent for too long in the middle of a response."""


class OutOfTime(Exception):
    """The deadline of the whole request has passed."""


class Interruptible:
    """A block that :meth:`interrupt` ends: the given exception is raised where the block is waiting.

    Works like ``asyncio.timeout``: it cancels the task and converts this cancellation, and no other,
    to the reason.
    """

    def __init__(self) -> None:
        self._task: asyncio.Task[Any] | None = None
        self._cancelling = 0
        self._reason: Exception | None = None

    def interrupt(self, reason: Exception) -> None:
        """The first reason counts; after the block has ended, this has no effect."""
        if self._task is not None and self._reason is None:
            self._reason = reason
            self._task.cancel()

    async def __aenter__(self) -> Self:
        self._task = asyncio.current_task()
        assert self._task is not None  # an async with always runs in a task
        self._cancelling = self._task.cancelling()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        task, self._task = self._task, None
        if self._reason is None or task is None:
            return
        if task.uncancel() <= self._cancelling and kind is not None and issubclass(kind, asyncio.CancelledError):
            raise self._reason from error


class ClientWatch:
    """Interrupts ``scope`` when the client disconnects; only ``receive`` reports that, servers' ``send`` does not.

    Start it after the body has been read; the next message can then only be the disconnect.
    The task lives exactly as long as the block.
    """

    def __init__(self, receive: Receive, scope: Interruptible) -> None:
        self._receive = receive
        self._scope = scope
        self._task: asyncio.Task[None] | None = None

    def __enter__(self) -> Self:
        self._task = asyncio.create_task(_watch(self._receive, self._scope))
        return self

    def __exit__(self, *exc: object) -> None:
        self.end()

    def end(self) -> None:
        """The client may disconnect from now on, as it has the complete response."""
        if self._task is not None:
            self._task.cancel()


async def _watch(receive: Receive, scope: Interruptible) -> None:
    # A method would create a reference cycle of the watch, its task and its traceback per request, which
    # only the garbage collector could free.
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.interrupt(ClientLeft())


class Silence:
    """Measures the upstream's silence: sends heartbeats during it, and ends the request if it is too long.

    Each stream has one timer that checks a timestamp, instead of one timer per event.
    """

    def __init__(self, clock: Clock, scope: Interruptible, beat: Beat | None, beat_s: float, idle_s: float) -> None:
        self._clock = clock
        self._scope = scope
        self._beat = beat
        self._beat_s = beat_s
        self._idle_s = idle_s
        self._since: float | None = None
        self._beaten = 0.0
        self._task: asyncio.Future[None] | None = None
        self._timer = self._clock.call_later(min(beat_s, idle_s), self._look)

    def reading(self) -> None:
        """Waiting for the upstream from now on, or still."""
        if self._since is None:
            self._since = self._clock.monotonic()

    def writing(self) -> None:
        """Waiting for the client, which does not count as the upstream's silence."""
        self._since = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._timer.cancel()
        if self._task is not None:
            self._task.cancel()

    def _look(self) -> None:
        now = self._clock.monotonic()
        since = self._since
        wait = min(self._beat_s, self._idle_s)
        if since is not None:
            if now - since >= self._idle_s:
                self._scope.interrupt(Stalled())
                return
            last = max(since, self._beaten)
            if now - last >= self._beat_s and self._beat is not None:
                self._beaten = last = now
                self._task = asyncio.ensure_future(self._beat())
            wait = min(last + self._beat_s, since + self._idle_s) - now
        self._timer = self._clock.call_later(max(wait, 0.001), self._look)
