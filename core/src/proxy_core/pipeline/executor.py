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

from proxy_core.clock import Clock, Deadline
from proxy_core.credentials.pool import Lease, Pool
from proxy_core.errors import BadRequest, CapacityExhausted, InternalError, ProxyError, Unavailable, UpstreamBroken
from proxy_core.fetch import GuardedFetcher
from proxy_core.interfaces import AttemptRecord, Deployment, ProxyRequest, Verdict
from proxy_core.judging import default_judge
from proxy_core.model import UpstreamFailure, Usage
from proxy_core.pipeline.calls import Calls
from proxy_core.pipeline.reply import ReplyBody
from proxy_core.pipeline.sanitize import FilterChain
from proxy_core.pipeline.trace import Trace
from proxy_core.records.redact import SecretScrubber
from proxy_core.settings import RoutingSettings, TimeoutSettings, UpstreamSettings
from proxy_core.upstream import ReplyTooLarge, TransportError, Upstream, UpstreamReply

_BACK_OFF_S = 0.25
_MAX_BACK_OFF_S = 8.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What attempts may take, from settings."""

    timeouts: TimeoutSettings
    routing: RoutingSettings
    upstream: UpstreamSettings


class Reply:
    """A committed reply. ``read`` gives the client's bytes, piece by piece; leaving the block closes the upstream."""

    def __init__(
        self,
        body: ReplyBody,
        first: bytes,
        pieces: AsyncGenerator[bytes, None] | None,
        deployment: Deployment,
        owner: Executor,
    ) -> None:
        self._body = body
        self._first = first
        self._pieces = pieces
        self._owner = owner
        self._resources = AsyncExitStack()
        self.deployment = deployment

    @property
    def whole(self) -> bytes:
        """The body of a reply that was read to its end before it was committed."""
        return self._first

    @property
    def usage(self) -> Usage | None:
        return self._body.usage

    def own(self, resources: AsyncExitStack) -> None:
        self._resources = resources

    async def read(self) -> bytes | None:
        """The next bytes for the client; ``None`` at a complete end. Raises ``ProxyError`` for any other end."""
        if self._first:
            first, self._first = self._first, b""
            return first
        while self._body.failure is None:
            if self._pieces is None:
                return None
            out = await self._next(self._pieces)
            if out:
                return out
        raise self._owner.judge(self.deployment, self._body.failure).error

    async def _next(self, pieces: AsyncGenerator[bytes, None]) -> bytes:
        try:
            data = await anext(pieces)
        except StopAsyncIteration:
            self._pieces = None
            return self._body.close()
        except TransportError as error:
            failure = UpstreamFailure(provider=self.deployment.provider.name, transport=error.fault)
            raise self._owner.judge(self.deployment, failure).error from error
        return self._body.feed(data)

    async def __aenter__(self) -> Reply:
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._pieces is not None:
            await self._pieces.aclose()
        await self._resources.aclose()


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

    async def obtain(
        self, request: ProxyRequest, deployments: Sequence[Deployment], filters: FilterChain | None, trace: Trace
    ) -> Reply:
        """A committed reply. Raises the ``ProxyError`` the client should see."""
        able, unable = self._calls.able(request, deployments)
        if not able:
            raise unable
        routing = self._limits.routing
        budget = Deadline.after(routing.budget_s, self._clock)
        last: Verdict | None = None
        for deployment in able:
            pool, tried, tries = self._pools[deployment.provider.name], set[str](), 0
            while (lease := pool.take(request, deployment.model, tried)) is not None:
                if last is not None and (
                    len(trace.attempts) >= routing.max_attempts or not budget.remaining_s(self._clock)
                ):
                    lease.give_back()
                    raise last.error
                outcome = await self._attempt(request, deployment, lease, filters, trace)
                if isinstance(outcome, Reply):
                    return outcome
                last, tries = outcome, tries + 1
                if outcome.next == "reject":
                    raise outcome.error
                if outcome.next == "fail_over":
                    break
                if outcome.next == "retry" and tries < routing.attempts_per_credential:
                    await self._back_off(tries, budget)
                    continue
                if outcome.fault == "network":
                    break  # another credential would not find the host either
                tried.add(lease.credential.id)
                tries = 0
        raise last.error if last is not None else self._nobody(able)

    def judge(self, deployment: Deployment, failure: UpstreamFailure) -> Verdict:
        """The provider's judge, else ours; secrets an upstream repeats are taken out first."""
        failure = replace(failure, body=self._scrub.bytes(failure.body))
        try:
            return (deployment.provider.judge or default_judge)(failure)
        except Exception as error:  # a plugin's judge may fail in any way
            broken = InternalError(f"The judge of provider {deployment.provider.name!r} failed.")
            broken.__cause__ = error
            return Verdict(fault="provider", next="fail_over", error=broken)

    async def _attempt(
        self, request: ProxyRequest, deployment: Deployment, lease: Lease, filters: FilterChain | None, trace: Trace
    ) -> Reply | Verdict:
        """One try: a committed reply, or what its failure means. The lease is given back either way."""
        started = self._clock.monotonic()
        async with AsyncExitStack() as resources:
            resources.callback(lease.give_back)
            try:
                result = await self._try(request, deployment, lease, filters, trace, resources)
            except BadRequest as error:  # what this provider cannot represent, the next one may
                return Verdict(fault="client", next="fail_over", error=error)
            if isinstance(result, Reply):
                lease.succeeded()
                trace.committed()
                trace.attempts.append(self._note(deployment, lease, started, None, None))
                result.own(resources.pop_all())
                return result
            verdict = self.judge(deployment, result)
            lease.failed(verdict)
            trace.attempts.append(self._note(deployment, lease, started, result.status, verdict))
            return verdict

    def _note(
        self, deployment: Deployment, lease: Lease, started: float, status: int | None, verdict: Verdict | None
    ) -> AttemptRecord:
        return AttemptRecord(
            deployment=str(deployment),
            credential=lease.credential.id,
            status=200 if verdict is None else status,
            fault=verdict.fault if verdict else None,
            message=verdict.error.message if verdict else None,
            duration_s=self._clock.monotonic() - started,
        )

    async def _try(
        self,
        request: ProxyRequest,
        deployment: Deployment,
        lease: Lease,
        filters: FilterChain | None,
        trace: Trace,
        resources: AsyncExitStack,
    ) -> Reply | UpstreamFailure:
        """Send, and read up to the commit, under one limit. Failures come back as values."""
        name = deployment.provider.name
        call = self._calls.prepare(request, deployment, filters)
        try:
            async with asyncio.timeout(self._limits.timeouts.first_event_s) as scope:
                if deployment.provider.fetch_links is not None:
                    await call.fetch_links(self._fetcher)
                message = call.encode(lease.credential)
                reply = await self._upstream.send(message, self._upload_limit(scope))
                resources.push_async_callback(reply.aclose)
                error_body = b"" if 200 <= reply.status < 300 else await reply.read_error()
                if trace.capture is not None:
                    sent = message.content if call.translated else b""
                    trace.capture.attempt(len(trace.attempts), sent=sent, headers=reply.headers, error_body=error_body)
                if not 200 <= reply.status < 300:
                    return UpstreamFailure(provider=name, status=reply.status, headers=reply.headers, body=error_body)
                body = call.body(reply.is_event_stream)
                if request.stream:
                    return await self._until_commit(body, reply, deployment)
                return await self._until_end(body, reply, deployment)
        except TimeoutError:
            return UpstreamFailure(provider=name, transport="timeout")
        except TransportError as error:
            return UpstreamFailure(provider=name, transport=error.fault)
        except (UpstreamBroken, ReplyTooLarge) as error:
            cut = isinstance(error, UpstreamBroken) and error.code == "upstream_cut_off"
            return UpstreamFailure(provider=name, transport="cut" if cut else "unreadable")
        except ProxyError:
            raise
        except Exception as error:  # a plugin's decoder may fail in any way
            raise InternalError(f"The reply of provider {name!r} could not be read by its plugin.") from error

    async def _until_commit(
        self, body: ReplyBody, reply: UpstreamReply, deployment: Deployment
    ) -> Reply | UpstreamFailure:
        first, pieces = b"", reply.pieces()
        async for data in pieces:
            first += body.feed(data)
            if body.committed:
                return Reply(body, first, pieces, deployment, self)
            if body.failure is not None:
                return body.failure
        first += body.close()
        return body.failure if body.failure is not None and not first else Reply(body, first, None, deployment, self)

    async def _until_end(
        self, body: ReplyBody, reply: UpstreamReply, deployment: Deployment
    ) -> Reply | UpstreamFailure:
        first = body.feed(await reply.read(self._limits.upstream.max_reply_bytes))
        first += body.close()
        return body.failure if body.failure is not None else Reply(body, first, None, deployment, self)

    def _upload_limit(self, scope: asyncio.Timeout) -> _UploadLimit:
        return _UploadLimit(scope, self._limits.timeouts)

    async def _back_off(self, tries: int, budget: Deadline) -> None:
        limit = min(_MAX_BACK_OFF_S, _BACK_OFF_S * 2 ** (tries - 1))
        jittered = limit * random.uniform(0.5, 1.0)  # noqa: S311  # spreads retries, hides nothing
        await asyncio.sleep(min(budget.remaining_s(self._clock), jittered))

    def _nobody(self, deployments: Sequence[Deployment]) -> ProxyError:
        """No credential was usable at all."""
        waits = [self._pools[d.provider.name].soonest_s(d.model) for d in deployments]
        known = [wait for wait in waits if wait is not None]
        if not known:
            return Unavailable("No credential is configured for this model.", code="no_credential")
        return CapacityExhausted("Every credential for this model is resting.", retry_after_s=min(known))


class _UploadLimit:
    """Lets a large body leave slice by slice: each within ``write_s``, and then the wait for the reply begins."""

    def __init__(self, scope: asyncio.Timeout, timeouts: TimeoutSettings) -> None:
        self._scope = scope
        self._timeouts = timeouts

    def __call__(self, unsent: int) -> None:
        limit = self._timeouts.write_s if unsent else self._timeouts.first_event_s
        self._scope.reschedule(asyncio.get_running_loop().time() + limit)
