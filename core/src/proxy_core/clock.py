"""Time as a value: reading it and waiting. In tests, a clock does both without real time passing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Protocol, Self

from msgspec import Struct


class Timer(Protocol):
    """A scheduled call."""

    def cancel(self) -> None: ...


class Clock(Protocol):
    """The source of time, and everything that waits. Seconds are never negative."""

    def monotonic(self) -> float:
        """Seconds on a clock that never jumps; only differences are meaningful."""
        ...

    def now(self) -> datetime:
        """The wall clock, UTC."""
        ...

    async def sleep(self, seconds: float) -> None: ...

    def call_later(self, seconds: float, callback: Callable[[], object]) -> Timer:
        """Call ``callback`` from the event loop, unless the timer is canceled before."""
        ...

    def timeout(self, seconds: float) -> Timeout:
        """A block with a time limit: ``async with clock.timeout(5):``."""
        ...


class Instant(Struct, frozen=True):
    """The same instant on both clocks: monotonic seconds, and epoch seconds."""

    monotonic: float
    epoch: float

    @classmethod
    def of(cls, clock: Clock) -> Self:
        return cls(clock.monotonic(), clock.now().timestamp())

    def to_epoch(self, monotonic: float) -> float:
        return self.epoch + monotonic - self.monotonic

    def to_monotonic(self, epoch: float) -> float:
        return self.monotonic + epoch - self.epoch

    def utc(self, monotonic: float) -> datetime:
        return datetime.fromtimestamp(self.to_epoch(monotonic), UTC)


class SystemClock:
    """The machine's clocks and asyncio's timers."""

    monotonic = staticmethod(time.monotonic)

    def now(self) -> datetime:
        return datetime.now(UTC)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def call_later(self, seconds: float, callback: Callable[[], object]) -> Timer:
        return asyncio.get_running_loop().call_later(seconds, callback)

    def timeout(self, seconds: float) -> Timeout:
        return Timeout(self, seconds)


class Timeout:
    """``asyncio.timeout`` on any clock: when its time is over, raises ``TimeoutError`` where the block is waiting.

    It cancels the task and converts this cancellation, and no other, to the error.
    """

    __slots__ = ("_cancelling", "_clock", "_expired", "_seconds", "_task", "_timer")

    def __init__(self, clock: Clock, seconds: float) -> None:
        self._clock = clock
        self._seconds = seconds
        self._task: asyncio.Task[Any] | None = None
        self._timer: Timer | None = None
        self._cancelling = 0
        self._expired = False

    def reschedule(self, seconds: float) -> None:
        """Allow this many seconds from now, whatever time was left."""
        if self._timer is not None and not self._expired:
            self._timer.cancel()
            self._timer = self._clock.call_later(seconds, self._expire)

    def _expire(self) -> None:
        self._expired = True
        if self._task is not None:
            self._task.cancel()

    async def __aenter__(self) -> Self:
        self._task = asyncio.current_task()
        assert self._task is not None  # an async with always runs in a task
        self._cancelling = self._task.cancelling()
        self._timer = self._clock.call_later(self._seconds, self._expire)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        task, timer = self._task, self._timer
        self._task = self._timer = None
        if timer is not None:
            timer.cancel()
        if not self._expired or task is None:
            return
        if task.uncancel() <= self._cancelling and kind is not None and issubclass(kind, asyncio.CancelledError):
            raise TimeoutError from error


class Deadline(Struct, frozen=True):
    """The instant, on a monotonic clock, by which something has to be done."""

    at: float

    @classmethod
    def after(cls, seconds: float, clock: Clock) -> Deadline:
        return cls(clock.monotonic() + seconds)

    def remaining_s(self, clock: Clock) -> float:
        """Seconds left, never negative."""
        return max(0.0, self.at - clock.monotonic())
