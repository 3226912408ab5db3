"""Asking a second credential when the first is slow to say anything: opt-in, and capped as a share of requests."""

from __future__ import annotations

import asyncio

from proxy_core.clock import Clock
from proxy_core.interfaces import FailureDecision
from proxy_core.pipeline.attempt import Attempt
from proxy_core.pipeline.plan import AttemptPlan
from proxy_core.pipeline.response import Response
from proxy_core.settings.schema import RoutingSettings

Outcome = tuple[Attempt, Response | FailureDecision]
_Task = asyncio.Task[Response | FailureDecision]

#: A quiet hour does not pay for a storm of second attempts.
_MAX_SAVED = 10.0


class HedgeBudget:
    """Second attempts that were earned and not made yet; it lives as long as the process."""

    def __init__(self) -> None:
        self._saved = 1.0

    def earn(self, share: float) -> None:
        self._saved = min(_MAX_SAVED, self._saved + share)

    @property
    def covers_one(self) -> bool:
        return self._saved >= 1

    def spend(self) -> None:
        self._saved -= 1


class Hedges:
    """Each request earns a part of a second attempt. ``after_s``: when it is made; ``None``: never."""

    def __init__(self, routing: RoutingSettings, budget: HedgeBudget, clock: Clock) -> None:
        self._clock = clock
        self.after_s = routing.hedge_after_s
        self._max_ratio = routing.hedge_max_ratio
        self._budget = budget

    async def race(self, first: Attempt, plan: AttemptPlan, after_s: float) -> list[Outcome]:
        """The committed response alone, or one failure for each that was asked."""
        asked: dict[_Task, Attempt] = {}
        winner: _Task | None = None
        self._budget.earn(self._max_ratio)
        try:
            async with asyncio.TaskGroup() as tasks:
                asked[tasks.create_task(first.run())] = first
                done, waiting = await self._wait(set(asked), after_s)
                second = None if done else self._second(first, plan)
                if second is not None:
                    asked[tasks.create_task(second.run())] = second
                    waiting = set(asked)
                while (winner := _committed(done)) is None and waiting:
                    done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                for task in waiting:
                    task.cancel()
        except BaseException:
            winner = None  # nobody is left to read it
            raise
        finally:
            await _end_losers(asked, winner)
        return [(asked[task], task.result()) for task in ([winner] if winner is not None else asked)]

    async def _wait(self, asked: set[_Task], after_s: float) -> tuple[set[_Task], set[_Task]]:
        """Which are done, and which are not yet."""
        try:
            async with self._clock.timeout(after_s):
                return await asyncio.wait(asked)
        except TimeoutError:
            return set(), asked

    def _second(self, first: Attempt, plan: AttemptPlan) -> Attempt | None:
        if not self._budget.covers_one or not plan.may_hedge:
            return None
        candidate, credential = first.candidate, first.lease.credential.id
        candidate.tried.add(credential)
        choice = plan.next()
        candidate.tried.discard(credential)
        if choice is None:
            return None
        self._budget.spend()
        return first.beside(*choice)


async def _end_losers(asked: dict[_Task, Attempt], winner: _Task | None) -> None:
    for task, attempt in asked.items():
        if task is winner:
            continue
        if not task.cancelled() and isinstance(response := task.result(), Response):
            await response.aclose()
        await attempt.aclose()  # a task that was cancelled before it began has not


def _committed(done: set[_Task]) -> _Task | None:
    return next((task for task in done if isinstance(task.result(), Response)), None)
