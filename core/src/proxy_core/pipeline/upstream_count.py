"""Asks the provider of a request to count its tokens, because only its own count is exact."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping

from msgspec import Struct, field

from proxy_core.clock import Clock
from proxy_core.errors import ProxyError
from proxy_core.interfaces import CountedTokens, Deployment, ProxyRequest, UpstreamCount
from proxy_core.jsons import beside
from proxy_core.network.upstream import Upstream
from proxy_core.pipeline.calls import Calls
from proxy_core.pipeline.candidate import candidate_of
from proxy_core.pipeline.sanitize import Sanitizers
from proxy_core.rotation.pool import Pool

log = logging.getLogger("proxy_core.count")

#: A client waits for a count before it does anything else; the other counters take milliseconds.
_LIMIT_S = 3.0
_AT_ONCE = 8
#: How long a provider that did not count is not asked again.
_REST_S = 60.0
#: Answers that concern the request or the model.
_REFUSED = frozenset({400, 404, 413, 422})
_MOST_BYTES = 1024 * 1024


class UpstreamCounting(Struct, eq=False):
    """Uses a credential that is usable, without lending it: a count neither waits for one nor costs quota."""

    _sanitizers: Sanitizers
    _calls: Calls
    _pools: Mapping[str, Pool]
    _upstream: Upstream
    _clock: Clock
    #: Until when a provider is not asked, and why.
    _resting: dict[str, tuple[float, str]] = field(default_factory=dict)
    _limit: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_AT_ONCE))

    async def count(self, request: ProxyRequest, deployment: Deployment) -> CountedTokens | str:
        """Why the provider did not count, if it did not; empty if it cannot. Raises only what sanitizers raise."""
        provider = deployment.provider
        counting, now = provider.count_tokens, self._clock.monotonic()
        if counting is None or provider.send is not None:
            return ""
        until, why = self._resting.get(provider.name, (now, ""))
        if until > now:
            return why
        request = await beside(self._sanitizers.request, request, [])
        try:
            async with self._clock.timeout(_LIMIT_S), self._limit:
                tokens, problem = await self._asked(request, deployment, counting)
        except ProxyError as error:
            tokens, problem = None, error.message
        except Exception as error:  # not reached in time, or a plugin's parser may fail in any way
            tokens, problem = None, type(error).__name__
            self._rest(provider.name, problem)
        if tokens is not None:
            return CountedTokens(tokens=tokens, exact=True, source=f"upstream: {deployment}")
        log.info("the tokens of a request were not counted by %s: %s", deployment, problem)
        return _did_not_count(provider.name, problem)

    def _rest(self, provider: str, problem: str) -> None:
        self._resting[provider] = (self._clock.monotonic() + _REST_S, _did_not_count(provider, problem))

    async def _asked(
        self, request: ProxyRequest, deployment: Deployment, counting: UpstreamCount
    ) -> tuple[int | None, str]:
        """The count, or what is wrong."""
        self._calls.able(request, [deployment])
        provider = deployment.provider
        family, pool = self._calls.dialect(request).family, self._pools[provider.name]
        candidate = candidate_of(deployment, pool, family, request.client)
        credential = pool.peek(request, deployment.model, candidate.out, candidate.max_priority)
        if credential is None:
            return None, "no credential is usable"
        call = self._calls.prepare(request, deployment, None)
        message = await beside(call.encode, credential, counting.request)
        async with self._upstream.exchange(message, provider=provider.name) as response:
            if response.status == 200:
                return counting.parse(await response.read(_MOST_BYTES)), ""
            problem = f"status {response.status}"
            if response.status not in _REFUSED:
                self._rest(provider.name, problem)
            return None, problem


def _did_not_count(provider: str, problem: str) -> str:
    return f"The provider {provider} did not count: {problem.rstrip('.')}."
