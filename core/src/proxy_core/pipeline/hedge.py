"""Hedging: a second attempt when the first is slow to respond. Opt-in, and limited to a share of all requests."""

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

#: Savings are limited, so that an idle hour does not pay for a burst of second attempts.
_MAX_SAVED = 10.0


class HedgeBudget:
    """Second attempts that were earned but not made yet; lives as long as the process."""

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
    """Each request earns a fraction of a hedge. ``after_s``: when a hedge starts; ``None``: never."""

    def __init__(self, routing: RoutingSettings, budget: HedgeBudget, clock: Clock) -> None:
        self._clock = clock
        self.after_s = routing.hedge_after_s
        self._max_ratio = routing.hedge_max_ratio
        self._budget = budget

    async def race(self, first: Attempt, plan: AttemptPlan, after_s: float) -> list[Outcome]:
        """Only the committed response, or one failure per attempt."""
        attempts: dict[_Task, Attempt] = {}
        winner: _Task | None = None
        self._budget.earn(self._max_ratio)
        try:
            async with asyncio.TaskGroup() as tasks:
                attempts[tasks.create_task(first.run())] = first
                done, waiting = await self._wait(set(attempts), after_s)
                second = None if done else self._second(first, plan)
                if second is not None:
                    attempts[tasks.create_task(second.run())] = second
                    waiting = set(attempts)
                while (winner := _committed(done)) is None and waiting:
                    done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                for task in waiting:
                    task.cancel()
        except BaseException:
            winner = None  # the response would not be read
            raise
        finally:
            await _end_losers(attempts, winner)
        return [(attempts[task], task.result()) for task in ([winner] if winner is not None else attempts)]

    async def _wait(self, attempts: set[_Task], after_s: float) -> tuple[set[_Task], set[_Task]]:
        """The tasks that are done, and those that are not."""
        try:
            async with self._clock.timeout(after_s):
                return await asyncio.wait(attempts)
        except TimeoutError:
            return set(), attempts

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
        return first.hedge(*choice)


async def _end_losers(attempts: dict[_Task, Attempt], winner: _Task | None) -> None:
    for task, attempt in attempts.items():
        if task is winner:
            continue
        if not task.cancelled() and isinstance(response := task.result(), Response):
            await response.aclose()
        await attempt.aclose()  # a task cancelled before it started has not closed its attempt


def _committed(done: set[_Task]) -> _Task | None:
    return next((task for task in done if isinstance(task.result(), Response)), None)
