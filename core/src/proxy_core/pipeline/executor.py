"""Attempts until one commits: the only place that retries, rotates and fails over.

Plain and streamed requests take the same walk. Once the first upstream event has arrived the
attempt is committed: it may still break, but it is no longer replaced.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from functools import partial

from proxy_core.clock import Clock, Deadline, Timeout
from proxy_core.errors import BadRequest, InternalError, ProxyError, UpstreamBroken
from proxy_core.failures.policy import classify_failure
from proxy_core.failures.rate_limit_headers import quota_windows
from proxy_core.interfaces import AttemptRecord, Deployment, FailureDecision, ProxyRequest
from proxy_core.messages import UpstreamFailure
from proxy_core.network.fetch import GuardedFetcher
from proxy_core.network.upstream import ResponseTooLarge, TransportError, Upstream, UpstreamResponse, sent_by
from proxy_core.pipeline.calls import Calls
from proxy_core.pipeline.hedge import Hedges
from proxy_core.pipeline.plan import Stop, Walk, told
from proxy_core.pipeline.response import Reply
from proxy_core.pipeline.response_body import ResponseBody
from proxy_core.pipeline.sanitize import FilterChain
from proxy_core.pipeline.trace import Trace
from proxy_core.records.redact import SecretScrubber
from proxy_core.rotation.pool import Lease, Pool
from proxy_core.settings.schema import RoutingSettings, TimeoutSettings, UpstreamSettings

_MAX_BACK_OFF_S = 8.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What attempts may take, from settings."""

    timeouts: TimeoutSettings
    routing: RoutingSettings
    upstream: UpstreamSettings


@dataclass(frozen=True, slots=True)
class Try:
    """What every attempt of one request is given."""

    request: ProxyRequest
    filters: FilterChain | None
    trace: Trace


class Executor:
    """Obtains replies. Holds what every request shares."""

    def __init__(
        self,
        *,
        pools: Mapping[str, Pool],
        upstream: Upstream,
        calls: Calls,
        limits: Limits,
        clock: Clock,
        scrub: SecretScrubber,
        fetcher: GuardedFetcher,
    ) -> None:
        self._pools = pools
        self._upstream = upstream
        self._calls = calls
        self._limits = limits
        self._clock = clock
        self._scrub = scrub
        self._fetcher = fetcher
        self.hedges = Hedges(limits.routing, clock)

    async def obtain(
        self, request: ProxyRequest, deployments: Sequence[Deployment], filters: FilterChain | None, trace: Trace
    ) -> Reply:
        """A committed reply. Raises the ``ProxyError`` the client should see."""
        able, unable = self._calls.able(request, deployments)
        if not able:
            raise unable
        routing = self._limits.routing
        walk = Walk(request, able, self._pools, routing, Deadline.after(routing.max_wait_s, self._clock), trace)
        this = Try(request, filters, trace)
        while not walk.exhausted:
            step = walk.next()
            if step is None:
                if not await self._wait(walk, trace):
                    break
                continue
            reply = await self._asked(walk, *step, this)
            if reply is not None:
                return reply
        raise walk.error()

    async def _asked(self, walk: Walk, stop: Stop, lease: Lease, this: Try) -> Reply | None:
        """One attempt, or two if the first is slow. Raises what ends the request at once."""
        for at, used, outcome in await self.hedges.ask(partial(self._attempt, this), walk, stop, lease):
            if isinstance(outcome, Reply):
                return outcome
            if outcome.next == "reject":
                raise outcome.error if outcome.fault == "client" else told(outcome.error, this.trace.attempts)
            if walk.failed(at, used, outcome):
                await self._back_off(at.tries, outcome.error.retry_after_s, walk.budget)
        return None

    async def _wait(self, walk: Walk, trace: Trace) -> bool:
        """Until a credential may be usable again; false if that takes longer than the budget lasts."""
        soonest_s, left_s = walk.soonest_s, walk.budget.remaining_s(self._clock)
        if soonest_s is None or soonest_s >= left_s:
            return False
        cooldown_ends_s = walk.cooldown_ends_s
        waiter = asyncio.get_running_loop().create_future()
        for stop in walk.stops:
            if (stop_s := stop.soonest_s) is not None:
                stop.pool.wait(waiter, for_lease=stop_s == 0)
        try:
            with trace.waiting():
                async with self._clock.timeout(left_s if cooldown_ends_s is None else min(left_s, cooldown_ends_s)):
                    await waiter
        except TimeoutError:
            pass
        except asyncio.CancelledError:
            if waiter.done():  # told, and gone
                walk.pass_on(None)
            raise
        finally:
            waiter.cancel()
            for stop in walk.stops:
                stop.pool.forget(waiter)
        walk.rested()
        return True

    def judge(self, deployment: Deployment, failure: UpstreamFailure) -> FailureDecision:
        """The provider's judge, else ours; secrets an upstream repeats are taken out first."""
        failure = replace(failure, body=self._scrub.bytes(failure.body))
        try:
            decision = (deployment.provider.classify_failure or classify_failure)(failure)
            message = self._scrub.text(decision.error.message)  # JSON spells secrets in escapes
            decision.error.message, decision.error.args = message, (message,)
            return decision
        except Exception as error:  # a plugin's judge may fail in any way
            broken = InternalError(f"The judge of provider {deployment.provider.name!r} failed.")
            broken.__cause__ = error
            return FailureDecision(fault="provider", next="fail_over", error=broken)

    async def _attempt(self, this: Try, deployment: Deployment, lease: Lease) -> Reply | FailureDecision:
        """One try: a committed reply, or what its failure means. The lease is given back either way."""
        started, trace = self._clock.monotonic(), this.trace
        async with AsyncExitStack() as resources:
            resources.callback(lease.give_back)
            try:
                result = await self._try(deployment, lease, this, resources)
            except BadRequest as error:  # what this provider cannot represent, the next one may
                return FailureDecision(fault="client", next="fail_over", error=error)
            except ProxyError as error:
                trace.attempts.append(self._note(trace, deployment, lease, started, None, "provider", error.message))
                return FailureDecision(fault="provider", next="reject", error=error)
            except asyncio.CancelledError:
                trace.attempts.append(self._note(trace, deployment, lease, started, None, None, "given up"))
                raise
            if isinstance(result, Reply):
                lease.succeeded()
                trace.committed()
                trace.attempts.append(self._note(trace, deployment, lease, started, 200, None, None))
                result.own(resources.pop_all(), lease.credential.id)
                return result
            failure = replace(result, credential_kind=lease.credential.kind, model=deployment.model)
            decision = self.judge(deployment, failure)
            lease.failed(decision, result.status)
            trace.attempts.append(
                self._note(trace, deployment, lease, started, result.status, decision.fault, decision.error.message)
            )
            return decision

    def _note(
        self,
        trace: Trace,
        deployment: Deployment,
        lease: Lease,
        started: float,
        status: int | None,
        fault: str | None,
        message: str | None,
    ) -> AttemptRecord:
        return AttemptRecord(
            deployment=str(deployment),
            credential=lease.credential.id,
            status=status,
            fault=fault,
            message=message,
            duration_s=self._clock.monotonic() - started,
            at_s=started - trace.started,
        )

    async def _try(
        self, deployment: Deployment, lease: Lease, this: Try, resources: AsyncExitStack
    ) -> Reply | UpstreamFailure:
        """Send, and read up to the commit, under one limit. Failures come back as values."""
        name = deployment.provider.name
        request, trace = this.request, this.trace
        call = self._calls.prepare(request, deployment, this.filters)
        try:
            async with self._clock.timeout(self._limits.timeouts.first_event_s) as scope:
                if deployment.provider.fetch_links is not None:
                    with trace.waiting():
                        await call.fetch_links(self._fetcher)
                message = call.encode(lease.credential)
                trace.dropped = message.dropped
                trace.sending()
                if deployment.provider.send is not None:
                    reply = await sent_by(deployment.provider.send, message, lease.credential)
                else:
                    reply = await self._upstream.send(message, self._upload_limit(scope))
                resources.push_async_callback(reply.aclose)
                self._learn(deployment, lease, reply)
                error_body = b"" if 200 <= reply.status < 300 else await reply.read_error()
                if trace.capture is not None:
                    sent = message.content if call.translated else b""
                    trace.capture.attempt(len(trace.attempts), sent=sent, headers=reply.headers, error_body=error_body)
                if not 200 <= reply.status < 300:
                    return UpstreamFailure(provider=name, status=reply.status, headers=reply.headers, body=error_body)
                body = call.body(reply.is_event_stream)
                if request.stream:
                    return await self._until_commit(body, reply, deployment, trace)
                return await self._until_end(body, reply, deployment, trace)
        except TimeoutError:
            return UpstreamFailure(provider=name, transport="timeout")
        except TransportError as error:
            return UpstreamFailure(provider=name, transport=error.fault)
        except (UpstreamBroken, ResponseTooLarge) as error:
            cut = isinstance(error, UpstreamBroken) and error.code == "upstream_cut_off"
            return UpstreamFailure(provider=name, transport="cut" if cut else "unreadable")
        except ProxyError:
            raise
        except Exception as error:  # a plugin's decoder may fail in any way
            raise InternalError(f"The reply of provider {name!r} could not be read by its plugin.") from error

    async def _until_commit(
        self, body: ResponseBody, reply: UpstreamResponse, deployment: Deployment, trace: Trace
    ) -> Reply | UpstreamFailure:
        first, pieces = b"", reply.pieces()
        async for data in pieces:
            trace.heard()
            first += body.feed(data)
            if body.committed:
                return self._committed(body, first, pieces, deployment)
            if body.failure is not None:
                return body.failure
        first += body.close()
        if body.failure is not None and not first:
            return body.failure
        return self._committed(body, first, None, deployment)

    async def _until_end(
        self, body: ResponseBody, reply: UpstreamResponse, deployment: Deployment, trace: Trace
    ) -> Reply | UpstreamFailure:
        data = await reply.read(self._limits.upstream.max_response_bytes)
        trace.heard()
        first = body.feed(data)
        first += body.close()
        return body.failure if body.failure is not None else self._committed(body, first, None, deployment)

    def _committed(
        self, body: ResponseBody, first: bytes, pieces: AsyncGenerator[bytes, None] | None, deployment: Deployment
    ) -> Reply:
        return Reply(body, first, pieces, deployment, lambda failure: self.judge(deployment, failure).error)

    def _learn(self, deployment: Deployment, lease: Lease, reply: UpstreamResponse) -> None:
        """What the provider says of its own counting, if it does."""
        windows = (deployment.provider.read_quota or quota_windows)(reply.headers, self._clock.now())
        if windows:
            lease.learned(windows, self._clock.now())

    def _upload_limit(self, scope: Timeout) -> _UploadLimit:
        return _UploadLimit(scope, self._limits.timeouts)

    async def _back_off(self, tries: int, asked_s: float | None, budget: Deadline) -> None:
        """Doubling, with jitter; never less than what the upstream asked for."""
        routing = self._limits.routing
        delay_s = min(_MAX_BACK_OFF_S, routing.retry_delay_s * 2 ** (tries - 1))
        jitter_s = routing.retry_jitter_s * random.random()  # noqa: S311  # spreads retries, hides nothing
        await self._clock.sleep(min(budget.remaining_s(self._clock), max(delay_s, asked_s or 0.0) + jitter_s))


class _UploadLimit:
    """Lets a large body leave slice by slice: each within ``write_s``, and then the wait for the reply begins."""

    def __init__(self, scope: Timeout, timeouts: TimeoutSettings) -> None:
        self._scope = scope
        self._timeouts = timeouts

    def __call__(self, unsent: int) -> None:
        limit = self._timeouts.write_s if unsent else self._timeouts.first_event_s
        self._scope.reschedule(limit)
