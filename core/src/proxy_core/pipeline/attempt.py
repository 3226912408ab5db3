"""One attempt: one request to one deployment with one credential, up to the commit or to what its failure means."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

from proxy_core.clock import Clock, Timeout
from proxy_core.errors import BadRequest, InternalError, ProxyError, UpstreamBroken
from proxy_core.failures.rate_limit_headers import quota_windows
from proxy_core.interfaces import AttemptRecord, FailureDecision, ProxyRequest
from proxy_core.messages import UpstreamFailure, UpstreamRequest
from proxy_core.network.fetch import GuardedFetcher
from proxy_core.network.sent import sent_by
from proxy_core.network.upstream import ResponseTooLarge, TransportError, Upstream, UpstreamResponse
from proxy_core.pipeline.calls import Call, Calls
from proxy_core.pipeline.classify import classified
from proxy_core.pipeline.plan import CandidateDeployment
from proxy_core.pipeline.response import Response, ResponseBody
from proxy_core.pipeline.sanitize import FilterChain
from proxy_core.pipeline.secret_filter import without_secrets
from proxy_core.pipeline.trace import Trace
from proxy_core.records.redact import SecretScrubber
from proxy_core.rotation.pool import Lease
from proxy_core.settings.schema import TimeoutSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptTools:
    """What every attempt of a proxy works with."""

    calls: Calls
    upstream: Upstream
    fetcher: GuardedFetcher
    timeouts: TimeoutSettings
    max_response_bytes: int
    clock: Clock
    scrub: SecretScrubber


class Attempt:
    """Owns its lease, the call and the note of what became of it."""

    def __init__(
        self,
        tools: AttemptTools,
        request: ProxyRequest,
        filters: FilterChain | None,
        trace: Trace,
        candidate: CandidateDeployment,
        lease: Lease,
    ) -> None:
        self._tools = tools
        self._request = request
        self._filters = filters
        self._trace = trace
        self._deployment = candidate.deployment
        self.provider = candidate.deployment.provider.name
        self._upstream_response: UpstreamResponse | None = None
        self._secrets: Sequence[bytes] = ()
        self._started = tools.clock.monotonic()
        self.candidate = candidate
        self.lease = lease

    def beside(self, candidate: CandidateDeployment, lease: Lease) -> Attempt:
        """The same request, asked elsewhere."""
        return Attempt(self._tools, self._request, self._filters, self._trace, candidate, lease)

    async def run(self) -> Response | FailureDecision:
        """A committed response, which then owns this attempt, or what its failure means."""
        committed = False
        try:
            result = await self._exchange()
            if not isinstance(result, Response):
                return self._failed(result)
            self._succeeded()
            committed = True
            return result
        except BadRequest as error:  # what this provider cannot represent, the next one may
            return FailureDecision(fault="client", next="fail_over", error=error)
        except ProxyError as error:
            self._note(None, "provider", error.message)
            return FailureDecision(fault="provider", next="reject", error=error)
        except asyncio.CancelledError:
            self._note(None, None, "given up")
            raise
        finally:
            if not committed:
                await self.aclose()

    async def aclose(self) -> None:
        """Close the upstream's response and give the lease back, however often this is said."""
        response, self._upstream_response = self._upstream_response, None
        try:
            if response is not None:
                await response.aclose()
        finally:
            self.lease.give_back()

    # --- Asking --------------------------------------------------------------------------

    async def _exchange(self) -> Response | UpstreamFailure:
        """Send, and read up to the commit, within one limit. What fails upstream is returned as a value."""
        provider, tools = self.provider, self._tools
        call = tools.calls.prepare(self._request, self._deployment, self._filters)
        try:
            async with tools.clock.timeout(tools.timeouts.first_event_s) as scope:
                message, response = await self._send(call, scope)
                self._learn_quota(response)
                if not 200 <= response.status < 300:
                    return await self._refused(call, message, response)
                self._capture(call, message, response, b"")
                return await self._read(call.body(response.is_event_stream), response)
        except TimeoutError:
            return UpstreamFailure(provider=provider, transport="timeout")
        except TransportError as error:
            return UpstreamFailure(provider=provider, transport=error.fault)
        except (UpstreamBroken, ResponseTooLarge) as error:
            cut = isinstance(error, UpstreamBroken) and error.code == "upstream_cut_off"
            return UpstreamFailure(provider=provider, transport="cut" if cut else "unreadable")
        except ProxyError:
            raise
        except Exception as error:  # a plugin's decoder may fail in any way
            raise InternalError(f"The response of provider {provider!r} could not be read by the plugin.") from error

    async def _send(self, call: Call, scope: Timeout) -> tuple[UpstreamRequest, UpstreamResponse]:
        provider, trace, credential = self._deployment.provider, self._trace, self.lease.credential
        if provider.fetch_links is not None:
            with trace.waiting():
                await call.fetch_links(self._tools.fetcher)
        message = call.encode(credential)
        self._secrets = call.secrets
        trace.dropped = message.dropped
        trace.sending()
        if provider.send is not None:
            response = await sent_by(provider.send, message, credential)
        else:
            response = await self._tools.upstream.send(message, partial(self._uploading, scope))
        self._upstream_response = response
        return message, response

    def _uploading(self, scope: Timeout, unsent: int) -> None:
        """A large body leaves slice by slice, each within ``write_s``; then the wait for the response begins."""
        timeouts = self._tools.timeouts
        scope.reschedule(timeouts.write_s if unsent else timeouts.first_event_s)

    async def _refused(self, call: Call, message: UpstreamRequest, response: UpstreamResponse) -> UpstreamFailure:
        body = await response.read_error()
        self._capture(call, message, response, body)
        status, headers = response.status, response.headers
        return UpstreamFailure(provider=self.provider, status=status, headers=headers, body=body)

    async def _read(self, body: ResponseBody, response: UpstreamResponse) -> Response | UpstreamFailure:
        """A plain response is read to its end, a streamed one up to its first content."""
        if not self._request.stream:
            data = await response.read(self._tools.max_response_bytes)
            self._trace.heard()
            first = self.clean(body.feed(data))
            first += self.clean(body.close())
            return body.failure if body.failure is not None else Response(body, first, None, self)
        first, pieces = b"", response.pieces()
        async for data in pieces:
            self._trace.heard()
            first += self.clean(body.feed(data))
            if body.committed:
                return Response(body, first, pieces, self)
            if body.failure is not None:
                return body.failure
        first += self.clean(body.close())
        return body.failure if body.failure is not None and not first else Response(body, first, None, self)

    def clean(self, out: bytes) -> bytes:
        """Bytes for the client, without the secrets that the upstream was sent."""
        return without_secrets(out, self._secrets) if self._secrets else out

    # --- What became of it ---------------------------------------------------------------

    def _succeeded(self) -> None:
        self.lease.succeeded()
        self._trace.committed()
        self._note(200, None, None)

    def _failed(self, failure: UpstreamFailure) -> FailureDecision:
        decision = self._classify(failure)
        self.lease.failed(decision, failure.status)
        self._note(failure.status, decision.fault, decision.error.message)
        return decision

    def error_of(self, failure: UpstreamFailure) -> ProxyError:
        """What a client is told that has a part of the response already."""
        return self._classify(failure).error

    def _classify(self, failure: UpstreamFailure) -> FailureDecision:
        failure = replace(failure, credential_kind=self.lease.credential.kind, model=self._deployment.model)
        return classified(failure, self._deployment.provider, self._tools.scrub)

    def _learn_quota(self, response: UpstreamResponse) -> None:
        """What the provider says of its own counting, if it does."""
        now = self._tools.clock.now()
        windows = (self._deployment.provider.read_quota or quota_windows)(response.headers, now)
        if windows:
            self.lease.learned(windows, now)

    def _capture(self, call: Call, message: UpstreamRequest, response: UpstreamResponse, error_body: bytes) -> None:
        capture = self._trace.capture
        if capture is not None:
            sent, number = message.content if call.translated else b"", len(self._trace.attempts)
            capture.attempt(number, sent=sent, headers=response.headers, error_body=error_body)

    def _note(self, status: int | None, fault: str | None, message: str | None) -> None:
        self._trace.attempts.append(
            AttemptRecord(
                deployment=str(self._deployment),
                credential=self.lease.credential.id,
                status=status,
                fault=fault,
                message=message,
                duration_s=self._tools.clock.monotonic() - self._started,
                at_s=self._started - self._trace.started,
            )
        )
