"""Passes finished requests to sinks: bounded, batched, outside of requests.

One thread builds, redacts and serializes records; each sink has its own task. If one is slow,
records are dropped and counted; requests never wait.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from types import TracebackType
from typing import Self

from proxy_core.interfaces import Dialect, LogSink, RequestRecord
from proxy_core.records.capture import Budget, Capture, Headers
from proxy_core.records.record import Lines
from proxy_core.records.redact import Redaction, SecretScrubber

log = logging.getLogger("proxy_core.records")

MiB = 1024 * 1024
#: Limits of captured bytes, running and waiting, and of serialized bytes that wait for one sink.
_MAX_HELD = 64 * MiB
_MAX_UNWRITTEN = 16 * MiB
_MAX_WAITING = 10_000
_BATCH = 100
_EVERY_S = 0.2
_END_S = 5.0


class Recorder:
    """An async context manager around its tasks. On exit it writes the waiting records, within limits."""

    def __init__(
        self,
        sinks: Sequence[LogSink],
        redaction: Redaction,
        scrub: SecretScrubber,
        *,
        max_body_bytes: int,
        chunks: bool = False,
    ) -> None:
        self._feeds = [_Feed(sink) for sink in sinks]
        self._build = Lines(redaction, scrub, chunks=chunks)
        self._with_content = redaction.installed
        self._max_body_bytes = max_body_bytes
        self._budget = Budget(_MAX_HELD)
        self._waiting: deque[tuple[RequestRecord, Capture]] = deque()
        self._stopping = False
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.dropped = 0

    @property
    def lost(self) -> int:
        """Number of records that at least one sink did not receive."""
        return self.dropped + sum(feed.lost for feed in self._feeds)

    @property
    def waiting(self) -> int:
        """Number of records that are waiting to be built."""
        return len(self._waiting)

    def begin(self, dialect: Dialect, path: str, headers: Headers, body: bytes) -> Capture:
        capture = Capture(dialect=dialect, path=path, budget=self._budget, max_body_bytes=self._max_body_bytes)
        capture.request_headers(headers)
        capture.request(body)
        return capture

    def record(self, record: RequestRecord, capture: Capture) -> None:
        """Queue a finished request; if the queue is full, it is dropped and counted."""
        if len(self._waiting) >= _MAX_WAITING:
            capture.release()
            self.dropped += 1
            return
        self._waiting.append((record, capture))

    async def __aenter__(self) -> Self:
        if not self._with_content:
            log.warning("request records contain no headers and no bodies, because no redactor is installed")
        self._task = asyncio.create_task(self._run(), name="recorder")
        for feed in self._feeds:
            feed.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping = True
        self._wake.set()
        try:
            async with asyncio.timeout(_END_S):
                if self._task is not None:
                    await self._task
                for feed in self._feeds:
                    await feed.end()
        except TimeoutError:
            log.warning("a log sink did not finish; its last records are lost")
        finally:
            for feed in self._feeds:
                await feed.stop()

    async def _run(self) -> None:
        loop, told = asyncio.get_running_loop(), 0
        with ThreadPoolExecutor(1, thread_name_prefix="records") as thread:
            while self._waiting or not self._stopping:
                if not self._waiting:
                    await self._pause()
                    continue
                batch = [self._waiting.popleft() for _ in range(min(_BATCH, len(self._waiting)))]
                lines = await loop.run_in_executor(thread, self._lines, batch)
                for _, capture in batch:
                    capture.release()
                for feed in self._feeds:
                    feed.put(lines)
                if self.lost > told:
                    log.warning(
                        "%d request records were dropped: they could not be written fast enough", self.lost - told
                    )
                    told = self.lost
                await self._pause()

    async def _pause(self) -> None:
        """Wait so that a batch can accumulate."""
        if len(self._waiting) >= _BATCH or self._stopping:
            return
        try:
            async with asyncio.timeout(_EVERY_S):
                await self._wake.wait()
        except TimeoutError:
            pass

    def _lines(self, batch: Sequence[tuple[RequestRecord, Capture]]) -> list[bytes]:
        return [self._build.line(record, capture) for record, capture in batch]


class _Feed:
    """The queue and task of one sink."""

    def __init__(self, sink: LogSink) -> None:
        self._sink = sink
        self._batches: asyncio.Queue[list[bytes] | None] = asyncio.Queue()
        self._held = 0
        self._task: asyncio.Task[None] | None = None
        self.lost = 0

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name=f"log sink {self._sink.name}")

    def put(self, lines: list[bytes]) -> None:
        size = sum(map(len, lines))
        if self._held and self._held + size > _MAX_UNWRITTEN:
            self.lost += len(lines)
            return
        self._held += size
        self._batches.put_nowait(lines)

    async def end(self) -> None:
        self._batches.put_nowait(None)
        if self._task is not None:
            await self._task

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._sink.close is not None:
            with suppress(Exception):  # as below
                await self._sink.close()

    async def _run(self) -> None:
        while (lines := await self._batches.get()) is not None:
            try:
                await self._sink.write(lines)
            except Exception:  # a sink may fail in any way, which has been logged; nothing else is affected
                self.lost += len(lines)
            self._held -= sum(map(len, lines))
