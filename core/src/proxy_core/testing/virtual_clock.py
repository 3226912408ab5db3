"""A clock whose time passes only when a test says so, or when nothing is left to do but wait for it."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TypeVar

from proxy_core.clock import Timeout

T = TypeVar("T")

#: A task that wakes the next is a turn of the event loop; no chain of them is nearly as long.
_TURNS = 50
#: What has not come by then will not come.
_PATIENCE_S = 3600.0


class VirtualTimer:
    """A call that is still to come; ``cancelled`` or ``at`` its time."""

    __slots__ = ("at", "callback", "cancelled")

    def __init__(self, at: float, callback: Callable[[], object]) -> None:
        self.at = at
        self.callback = callback
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class VirtualClock:
    """A :class:`~proxy_core.clock.Clock` for tests.

    ``passes(30)`` lets 30 seconds go by at once; ``await run(asked)`` lets as much time go by as
    ``asked`` takes, from timer to timer, whenever every task waits. Both are exact: what takes no
    virtual time takes none, however busy the machine is. Only what waits by this clock is waited
    for, so nothing may depend on sockets or threads.
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
        """Time goes on, and calls whose time has come are made."""
        end = self.time + seconds
        while (at := self._next_at()) is not None and at <= end:
            self._call_next()
        self.time = end

    async def settle(self) -> None:
        """Return when every task waits."""
        for _ in range(_TURNS):
            await asyncio.sleep(0)

    async def run(self, asked: Awaitable[T]) -> T:
        """What ``asked`` gives, after all the time that it takes. Raises ``TimeoutError`` where it never would."""
        task, end = asyncio.ensure_future(asked), self.time + _PATIENCE_S
        try:
            await self.settle()
            while not task.done():
                if (at := self._next_at()) is None or at > end:
                    raise TimeoutError("what was asked waits for something else than time")
                self._call_next()
                await self.settle()
        finally:
            task.cancel()
        return await task

    async def timed(self, asked: Awaitable[T]) -> tuple[T, float]:
        """What ``asked`` gives, and the seconds that it took."""
        began = self.time
        return await self.run(asked), self.time - began

    def _next_at(self) -> float | None:
        while self._timers and self._timers[0][2].cancelled:
            heapq.heappop(self._timers)
        return self._timers[0][0] if self._timers else None

    def _call_next(self) -> None:
        at, _, timer = heapq.heappop(self._timers)
        self.time = max(self.time, at)
        timer.callback()
