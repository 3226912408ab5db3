"""Asking a second credential when the first is slow to say anything: opt-in, and capped as a share of requests."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine

from proxy_core.clock import Clock
from proxy_core.interfaces import Deployment, FailureDecision
from proxy_core.pipeline.plan import Stop, Walk
from proxy_core.pipeline.response import Reply
from proxy_core.rotation.pool import Lease
from proxy_core.settings.schema import RoutingSettings

Attempt = Callable[[Deployment, Lease], Coroutine[None, None, Reply | FailureDecision]]
Outcome = tuple[Stop, Lease, Reply | FailureDecision]
_Tasks = set[asyncio.Task[Reply | FailureDecision]]

#: A quiet hour does not pay for a storm of second attempts.
_MAX_SAVED = 10.0


class Hedges:
    """Each request earns a part of a second attempt."""

    def __init__(self, routing: RoutingSettings, clock: Clock) -> None:
        self._clock = clock
        self._after_s = routing.hedge_after_s
        self._share = routing.hedge_max_ratio
        self._saved = 1.0

    def inherit(self, before: Hedges) -> None:
        """What was earned is not lost with other settings."""
        self._saved = before._saved

    async def ask(self, attempt: Attempt, walk: Walk, stop: Stop, lease: Lease) -> list[Outcome]:
        """What came of asking: the committed reply alone, or one decision for each that was asked."""
        if self._after_s is None:
            return [(stop, lease, await attempt(stop.deployment, lease))]
        return await self._race(attempt, walk, stop, lease, self._after_s)

    async def _race(self, attempt: Attempt, walk: Walk, stop: Stop, lease: Lease, after_s: float) -> list[Outcome]:
        asked: dict[asyncio.Task[Reply | FailureDecision], tuple[Stop, Lease]] = {}
        winner: asyncio.Task[Reply | FailureDecision] | None = None
        self._saved = min(_MAX_SAVED, self._saved + self._share)
        try:
            async with asyncio.TaskGroup() as tasks:
                asked[tasks.create_task(attempt(stop.deployment, lease))] = (stop, lease)
                done, waiting = await self._asked_for(set(asked), after_s)
                second = None if done else self._second(walk, stop, lease)
                if second is not None:
                    asked[tasks.create_task(attempt(second[0].deployment, second[1]))] = second
                    waiting = set(asked)
                while (winner := _committed(done)) is None and waiting:
                    done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                for task in waiting:
                    task.cancel()
        except BaseException:
            winner = None  # nobody is left to read it
            raise
        finally:
            await self._end_losers(asked, winner)
        return [(*asked[task], task.result()) for task in ([winner] if winner is not None else asked)]

    async def _asked_for(self, asked: _Tasks, after_s: float) -> tuple[_Tasks, _Tasks]:
        """Who is done, and who is not yet."""
        try:
            async with self._clock.timeout(after_s):
                return await asyncio.wait(asked)
        except TimeoutError:
            return set(), asked

    def _second(self, walk: Walk, stop: Stop, lease: Lease) -> tuple[Stop, Lease] | None:
        if self._saved < 1 or not walk.may_ask_beside:
            return None
        stop.tried.add(lease.credential.id)
        second = walk.next()
        stop.tried.discard(lease.credential.id)
        self._saved -= second is not None
        return second

    async def _end_losers(
        self,
        asked: dict[asyncio.Task[Reply | FailureDecision], tuple[Stop, Lease]],
        winner: asyncio.Task[Reply | FailureDecision] | None,
    ) -> None:
        for task, (_, lease) in asked.items():
            if task is winner:
                continue
            if not task.cancelled() and isinstance(reply := task.result(), Reply):
                await reply.__aexit__(None, None, None)
            lease.give_back()  # a task that was cancelled before it began has not


def _committed(done: set[asyncio.Task[Reply | FailureDecision]]) -> asyncio.Task[Reply | FailureDecision] | None:
    return next((task for task in done if isinstance(task.result(), Reply)), None)
