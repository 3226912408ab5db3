"""Notifies observers, afterwards and isolated: a bounded queue, one task."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from types import TracebackType
from typing import Self

from proxy_core.interfaces import Observer, RequestRecord

log = logging.getLogger("proxy_core.observe")
_QUEUE = 10_000
_END_S = 5.0


class Observers:
    """An async context manager around the task that notifies observers; on exit it delivers what is queued."""

    def __init__(self, observers: Sequence[Observer]) -> None:
        self._observers = observers
        self._queue: asyncio.Queue[RequestRecord | None] = asyncio.Queue(_QUEUE)
        self._task: asyncio.Task[None] | None = None
        self.dropped = 0
        self.failures = 0

    @property
    def waiting(self) -> int:
        """Records in the queue."""
        return self._queue.qsize()

    def notify(self, record: RequestRecord) -> None:
        """Queue a record; when the queue is full it is dropped and counted."""
        if not self._observers:
            return
        try:
            self._queue.put_nowait(record)
        except asyncio.QueueFull:
            self.dropped += 1

    async def __aenter__(self) -> Self:
        if self._observers:
            self._task = asyncio.create_task(self._run(), name="observers")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._task is not None:
            await self._queue.put(None)
            await self._task
        for observer in self._observers:
            if observer.close is not None:
                await self._close(observer.name, observer.close)

    async def _close(self, name: str, close: Callable[[], Awaitable[None]]) -> None:
        try:
            async with asyncio.timeout(_END_S):
                await close()
        except TimeoutError:
            self.failures += 1
            log.warning("observer %s did not finish in time", name)
        except Exception:  # as in _run
            self.failures += 1

    async def _run(self) -> None:
        while (record := await self._queue.get()) is not None:
            for observer in self._observers:
                try:
                    await observer.observe(record)
                except Exception:  # an observer may fail in any way, which has been logged; nothing else is affected
                    self.failures += 1
