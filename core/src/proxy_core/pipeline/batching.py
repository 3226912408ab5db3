"""Combines concurrent requests into one upstream request, if their dialect supports it. Off unless configured."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from types import TracebackType
from typing import Self

from msgspec import Struct, field
from msgspec.structs import replace

from proxy_core.clock import Clock
from proxy_core.dialects.common import load_object
from proxy_core.errors import ProxyError
from proxy_core.interfaces import Batching, Deployment, Dialect, ProxyRequest
from proxy_core.messages import Usage
from proxy_core.pipeline.response import Response
from proxy_core.pipeline.sanitize import FilterChain
from proxy_core.pipeline.trace import Trace
from proxy_core.settings.schema import EmbeddingsSettings

log = logging.getLogger("proxy_core.batching")

Obtain = Callable[[ProxyRequest, Sequence[Deployment], FilterChain | None, Trace], Awaitable[Response]]


class Share(Struct):
    """One request's part of a batched response; used like a :class:`Response` that was read to its end."""

    whole: bytes
    usage: Usage | None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        """There is nothing to release."""


class _Member(Struct, eq=False):
    request: ProxyRequest
    trace: Trace
    share: asyncio.Future[Share | None]


class _Batch(Struct, eq=False):
    dialect: Dialect
    batching: Batching
    deployments: Sequence[Deployment]
    trace: Trace
    members: list[_Member] = field(default_factory=list)
    size: int = 0
    full: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None

    @property
    def present(self) -> list[_Member]:
        """The members whose clients are still connected."""
        return [member for member in self.members if not member.share.done()]

    def note_attempts(self, members: Sequence[_Member]) -> None:
        """Attempts belong to all members; they are counted only for the first."""
        for number, member in enumerate(members):
            member.trace.attempts += [replace(a, shared=True) if number else a for a in self.trace.attempts]
            member.trace.decisions += self.trace.decisions


class Batcher:
    """Runs the batches; an async context manager."""

    def __init__(self, obtain: Obtain, settings: EmbeddingsSettings, clock: Clock) -> None:
        self._obtain = obtain
        self._settings = settings
        self._clock = clock
        self.enabled = bool(settings.batch_window_s)
        self._open: dict[str, _Batch] = {}
        self._tasks = asyncio.TaskGroup()

    async def __aenter__(self) -> Self:
        await self._tasks.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._tasks.__aexit__(kind, error, trace)

    async def share(
        self, request: ProxyRequest, dialect: Dialect, deployments: Sequence[Deployment], trace: Trace
    ) -> Share | None:
        """``None`` if the request cannot be batched, was alone in its batch, or the batched request failed."""
        batching = dialect.batching
        key = batching.key(request.body) if batching is not None else None
        if batching is None or key is None:
            return None
        key, size = f"{dialect.name} {key}", batching.size(request.body)
        batch = self._open.get(key)
        if batch is None or batch.size + size > self._settings.batch_inputs:
            if batch is not None:
                batch.full.set()
            batch = self._open[key] = _Batch(dialect, batching, deployments, Trace.begin(self._clock))
            batch.task = self._tasks.create_task(self._run(key, batch))
        member = _Member(request, trace, asyncio.get_running_loop().create_future())
        batch.members.append(member)
        batch.size += size
        if batch.size >= self._settings.batch_inputs:
            batch.full.set()
        try:
            with trace.waiting():
                return await member.share
        except asyncio.CancelledError:
            if not batch.present:
                await self._give_up(key, batch, member)
            raise

    async def _give_up(self, key: str, batch: _Batch, last: _Member) -> None:
        """Every client of the batch has disconnected."""
        self._close(key, batch)
        if batch.task is not None and not batch.task.done() and not batch.task.cancelling():
            batch.task.cancel()
            await asyncio.wait([batch.task])
            batch.note_attempts([last])

    def _close(self, key: str, batch: _Batch) -> None:
        if self._open.get(key) is batch:
            del self._open[key]

    async def _run(self, key: str, batch: _Batch) -> None:
        try:
            async with self._clock.timeout(self._settings.batch_window_s):
                await batch.full.wait()
        except TimeoutError:
            pass
        self._close(key, batch)
        members, shares = batch.present, dict[_Member, Share]()
        try:
            if len(members) > 1:
                shares = await self._send(batch, members)
        except ProxyError:
            pass  # each member is then sent on its own, and gets an error of its own
        except Exception:  # a bug here must not end the batches of others
            log.exception("a batch failed")
        present = batch.present
        batch.note_attempts(present)
        for member in present:
            member.share.set_result(shares.get(member))

    async def _send(self, batch: _Batch, members: Sequence[_Member]) -> dict[_Member, Share]:
        first, bodies = members[0], [member.request.body for member in members]
        merged = first.request.with_body(batch.batching.merge(bodies))
        async with await self._obtain(merged, batch.deployments, None, batch.trace) as response:
            whole = response.whole
        parts = batch.batching.split(whole, bodies)
        for member in batch.present:
            member.trace.committed()
        shares = (Share(part, batch.dialect.whole_usage(load_object(part) or {})) for part in parts)
        return dict(zip(members, shares, strict=True))
