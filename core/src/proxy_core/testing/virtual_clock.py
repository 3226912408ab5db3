"""A clock whose time passes only when a test advances it, or when all tasks wait for it."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TypeVar

from proxy_core.clock import Timeout

T = TypeVar("T")

#: Each task that wakes another takes one turn of the event loop; no chain is nearly as long as this.
_TURNS = 50
#: After so many turns with nothing else to run, all tasks wait. It would be one, but for what comes through a thread.
_IDLE_TURNS = 5
#: Time limit after which a run counts as stuck.
_PATIENCE_S = 3600.0


class VirtualTimer:
    """A scheduled call at the time ``at``, unless ``cancelled``."""

    __slots__ = ("at", "callback", "cancelled")

    def __init__(self, at: float, callback: Callable[[], object]) -> None:
        self.at = at
        self.callback = callback
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class VirtualClock:
    """A :class:`~proxy_core.clock.Clock` for tests.

    ``passes(30)`` advances the time by 30 seconds at once; ``await run(awaitable)`` advances it from timer to
    timer, whenever all tasks wait, until ``awaitable`` is done. Both are exact, however busy the machine is.
    Only timers of this clock count, so nothing may depend on sockets or threads.
    """

    def __init__(self, start: float = 1000.0) -> None:
        self.time = start
        self._timers: list[tuple[float, int, VirtualTimer]] = []
        self._order = itertools.count()

    def monotonic(self) -> float:
        return self.time

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.time, UTC)

    def call_later(self, seconds: float, callback: Callable[[], object]) -> VirtualTimer:
        timer = VirtualTimer(self.time + seconds, callback)
        heapq.heappush(self._timers, (timer.at, next(self._order), timer))
        return timer

    def timeout(self, seconds: float) -> Timeout:
        return Timeout(self, seconds)

    async def sleep(self, seconds: float) -> None:
        over = asyncio.Event()
        timer = self.call_later(seconds, over.set)
        try:
            await over.wait()
        finally:
            timer.cancel()

    def passes(self, seconds: float) -> None:
        """Advance the time, and make the calls that are due."""
        end = self.time + seconds
        while (at := self._next_at()) is not None and at <= end:
            self._call_next()
        self.time = end

    async def settle(self) -> None:
        """Return when all tasks wait."""
        loop, idle = asyncio.get_running_loop(), 0
        for _ in range(_TURNS):
            await asyncio.sleep(0)
            idle = 0 if getattr(loop, "_ready", True) else idle + 1  # asyncio's own; with another loop, all turns
            if idle == _IDLE_TURNS:
                return

    async def run(self, awaitable: Awaitable[T]) -> T:
        """The result of ``awaitable``, after all the time it takes. Raises ``TimeoutError`` if it never finishes."""
        task, end = asyncio.ensure_future(awaitable), self.time + _PATIENCE_S
        try:
            await self.settle()
            while not task.done():
                if (at := self._next_at()) is None or at > end:
                    raise TimeoutError("the awaitable waits for something other than time")
                self._call_next()
                await self.settle()
        finally:
            task.cancel()
        return await task

    async def timed(self, awaitable: Awaitable[T]) -> tuple[T, float]:
        """The result of ``awaitable``, and the seconds that it took."""
        began = self.time
        return await self.run(awaitable), self.time - began

    def _next_at(self) -> float | None:
        while self._timers and self._timers[0][2].cancelled:
            heapq.heappop(self._timers)
        return self._timers[0][0] if self._timers else None

    def _call_next(self) -> None:
        at, _, timer = heapq.heappop(self._timers)
        self.time = max(self.time, at)
        timer.callback()
