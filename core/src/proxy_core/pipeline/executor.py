"""Makes attempts until one commits: the only place that retries, rotates and fails over.

Plain and streamed requests take the same path. Once the first content of a response has arrived,
its attempt is committed: it may still fail, but it is no longer replaced.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from proxy_core.clock import Clock
from proxy_core.errors import ModelNotFound, ProxyError
from proxy_core.interfaces import Deployment, ProxyRequest
from proxy_core.jsons import SHORT, beside
from proxy_core.models.routing import Router
from proxy_core.models.suggestions import Suggestions
from proxy_core.network.fetch import GuardedFetcher
from proxy_core.network.upstream import Upstream
from proxy_core.pipeline.attempt import Attempt, AttemptTools
from proxy_core.pipeline.batching import Batcher, Share
from proxy_core.pipeline.calls import Calls
from proxy_core.pipeline.hedge import HedgeBudget, Hedges, Outcome
from proxy_core.pipeline.plan import AttemptPlan
from proxy_core.pipeline.response import Response
from proxy_core.pipeline.sanitize import FilterChain, Sanitizers
from proxy_core.pipeline.trace import Trace
from proxy_core.records.redact import SecretScrubber
from proxy_core.rotation.pool import Pool
from proxy_core.settings.schema import ProxySettings


class Executor:
    """Obtains responses; holds what all requests share."""

    def __init__(
        self,
        *,
        router: Router,
        suggestions: Suggestions,
        sanitizers: Sanitizers,
        pools: Mapping[str, Pool],
        upstream: Upstream,
        calls: Calls,
        settings: ProxySettings,
        clock: Clock,
        scrub: SecretScrubber,
        fetcher: GuardedFetcher,
        hedge_budget: HedgeBudget,
    ) -> None:
        self._router = router
        self._suggestions = suggestions
        self._sanitizers = sanitizers
        self._pools = pools
        self._calls = calls
        self._routing = settings.routing
        self._clock = clock
        self._tools = AttemptTools(
            calls=calls,
            upstream=upstream,
            fetcher=fetcher,
            timeouts=settings.timeouts,
            max_response_bytes=settings.upstream.max_response_bytes,
            clock=clock,
            scrub=scrub,
        )
        self.hedges = Hedges(settings.routing, hedge_budget, clock)
        self.batcher = Batcher(self.obtain, settings.embeddings, clock)

    async def open(self, request: ProxyRequest, trace: Trace) -> Response | Share:
        """A committed response, or a share of one: ``async with await executor.open(request, trace) as response``.

        Raises the ``ProxyError`` that the client should see.
        """
        try:
            deployments = self._router.resolve(request.model)
            trace.routed = True
            clean = self._sanitizers.request
            short = trace.request_bytes <= SHORT
            request = clean(request, trace.changed_by) if short else await beside(clean, request, trace.changed_by)
            filters = self._sanitizers.filters(request, trace.changed_by)
            if self.batcher.enabled:
                share = await self.batcher.share(request, self._calls.dialect(request), deployments, trace)
                if share is not None:
                    return share
            return await self.obtain(request, deployments, filters, trace)
        except ProxyError as error:
            if error.code == ModelNotFound.code and not request.limits.models:
                await self._suggestions.add(error, request.model)
            raise

    async def obtain(
        self, request: ProxyRequest, deployments: Sequence[Deployment], filters: FilterChain | None, trace: Trace
    ) -> Response:
        """A committed response. Raises the ``ProxyError`` that the client should see."""
        able, family = self._calls.able(request, deployments), self._calls.dialect(request).family
        plan = AttemptPlan(request, able, self._pools, self._routing, trace, family)
        try:
            return await self._response(plan, request, filters, trace)
        except asyncio.CancelledError:
            trace.limit = plan.limit()
            raise

    async def _response(
        self, plan: AttemptPlan, request: ProxyRequest, filters: FilterChain | None, trace: Trace
    ) -> Response:
        while not plan.exhausted:
            choice = plan.next()
            if choice is None:
                if not await self._wait(plan, trace):
                    break
                continue
            attempt = Attempt(self._tools, request, filters, trace, *choice)
            for tried, outcome in await self._outcomes(attempt, plan):
                if isinstance(outcome, Response):
                    return outcome
                if outcome.next == "reject":
                    raise plan.rejection(outcome)
                back_off_s = plan.learn(tried.candidate, tried.lease, outcome)
                if back_off_s:
                    await self._clock.sleep(back_off_s)
        raise plan.error()

    async def _outcomes(self, attempt: Attempt, plan: AttemptPlan) -> Sequence[Outcome]:
        """The outcome of the attempt, and of a hedge if it is slow: only the committed response, or every failure."""
        if self.hedges.after_s is None:
            return [(attempt, await attempt.run())]
        return await self.hedges.race(attempt, plan, self.hedges.after_s)

    async def _wait(self, plan: AttemptPlan, trace: Trace) -> bool:
        """Wait until a credential may be usable; false if that will not be before the plan's deadline."""
        soonest_s, left_s = plan.soonest_s, plan.deadline.remaining_s(self._clock)
        if soonest_s is None or soonest_s >= left_s:
            return False
        cooldown_ends_s = plan.cooldown_ends_s
        waiter = asyncio.get_running_loop().create_future()
        for candidate in plan.candidates:
            if (candidate_s := candidate.soonest_s) is not None:
                candidate.pool.wait(waiter, for_lease=candidate_s == 0)
        try:
            with trace.waiting():
                async with self._clock.timeout(left_s if cooldown_ends_s is None else min(left_s, cooldown_ends_s)):
                    await waiter
        except TimeoutError:
            pass
        except asyncio.CancelledError:
            if waiter.done():  # notified, but cancelled before it could use the notification
                plan.pass_on(None)
            raise
        finally:
            waiter.cancel()
            for candidate in plan.candidates:
                candidate.pool.forget(waiter)
        plan.new_round()
        return True
