"""One attempt: a request to one deployment with one credential, up to the commit point or a failure decision."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial

from msgspec import Struct
from msgspec.structs import replace

from proxy_core.clock import Clock, Timeout
from proxy_core.errors import BadRequest, InternalError, ProxyError, UpstreamBroken
from proxy_core.failures.rate_limit_headers import quota_windows
from proxy_core.interfaces import AttemptRecord, FailureDecision, ProxyRequest, ResponseHead
from proxy_core.jsons import SHORT, beside
from proxy_core.messages import UpstreamFailure, UpstreamRequest
from proxy_core.network.errors import ResponseTooLarge, TransportError
from proxy_core.network.fetch import GuardedFetcher
from proxy_core.network.sent import sent_by
from proxy_core.network.upstream import Upstream, UpstreamResponse
from proxy_core.pipeline.calls import Call, Calls
from proxy_core.pipeline.candidate import CandidateDeployment
from proxy_core.pipeline.classify import classified
from proxy_core.pipeline.response import Response, ResponseBody
from proxy_core.pipeline.sanitize import FilterChain
from proxy_core.pipeline.secret_filter import without_secrets
from proxy_core.pipeline.trace import Trace, upstream_id
from proxy_core.records.redact import SecretScrubber
from proxy_core.rotation.pool import Lease
from proxy_core.settings.schema import TimeoutSettings

#: The beginning of a stream is held back until its first content, because another attempt may replace it.
_MOST_HELD = 64 * 1024


class AttemptTools(Struct, frozen=True, kw_only=True):
    """What all attempts of a proxy share."""

    calls: Calls
    upstream: Upstream
    fetcher: GuardedFetcher
    timeouts: TimeoutSettings
    max_response_bytes: int
    clock: Clock
    scrub: SecretScrubber


class Attempt:
    """Owns its lease and its call, and records its outcome."""

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

    def hedge(self, candidate: CandidateDeployment, lease: Lease) -> Attempt:
        """Another attempt at the same request, for hedging."""
        return Attempt(self._tools, self._request, self._filters, self._trace, candidate, lease)

    async def run(self) -> Response | FailureDecision:
        """A committed response, which then owns this attempt, or a failure decision."""
        committed = False
        try:
            result = await self._exchange()
            if not isinstance(result, Response):
                return self._failed(result)
            self._succeeded()
            committed = True
            return result
        except BadRequest as error:  # this provider cannot represent the request; the next one may
            return FailureDecision(fault="client", next="fail_over", error=error)
        except ProxyError as error:
            self._note(None, error.at_fault or "provider", error.message, error.cause)
            return FailureDecision(fault="provider", next="fail_over" if error.replaceable else "reject", error=error)
        except asyncio.CancelledError:
            self._note(None, None, "cancelled")
            raise
        finally:
            if not committed:
                await self.aclose()

    async def aclose(self) -> None:
        """Close the upstream response and release the lease. Safe to call more than once."""
        response, self._upstream_response = self._upstream_response, None
        try:
            if response is not None:
                await response.aclose()
        finally:
            self.lease.release()

    # --- The exchange --------------------------------------------------------------------

    async def _exchange(self) -> Response | UpstreamFailure:
        """Send, and read up to the commit point, within one time limit. An upstream failure is returned as a value."""
        provider, tools = self.provider, self._tools
        call = tools.calls.prepare(self._request, self._deployment, self._filters)
        try:
            async with tools.clock.timeout(tools.timeouts.first_event_s) as scope:
                message, response = await self._send(call, scope)
                self._learn_quota(response)
                if not 200 <= response.status < 300:
                    return await self._refused(call, message, response)
                self._capture(message, response, b"")
                return await self._read(call, response, scope)
        except TimeoutError:
            return UpstreamFailure(provider=provider, transport="timeout")
        except TransportError as error:
            return UpstreamFailure(provider=provider, transport=error.fault, cause=error.cause)
        except (UpstreamBroken, ResponseTooLarge) as error:
            cut = isinstance(error, UpstreamBroken) and error.code == "upstream_cut_off"
            return UpstreamFailure(provider=provider, transport="cut" if cut else "unreadable", cause=error.cause)
        except ProxyError:
            raise
        except Exception as error:  # a dialect may fail in any way
            raise InternalError(f"The response of provider {provider!r} could not be translated.") from error

    async def _send(self, call: Call, scope: Timeout) -> tuple[UpstreamRequest, UpstreamResponse]:
        provider, trace, credential = self._deployment.provider, self._trace, self.lease.credential
        if provider.fetch_links is not None:
            with trace.waiting():
                await call.fetch_links(self._tools.fetcher)
        short = trace.request_bytes <= SHORT
        message = call.encode(credential) if short else await beside(call.encode, credential)
        self._secrets = call.secrets
        trace.dropped = message.dropped
        trace.sending()
        if provider.send is not None:
            response = await sent_by(provider.send, message, credential)
        else:
            progress = partial(self._uploading, scope)
            response = await self._tools.upstream.send(message, progress, provider=provider.name)
        self._upstream_response = response
        return message, response

    def _uploading(self, scope: Timeout, unsent: int) -> None:
        """A large body is sent in slices, each within ``write_s``; after the last, the wait for the response begins."""
        timeouts = self._tools.timeouts
        scope.reschedule(timeouts.write_s if unsent else timeouts.first_event_s)

    async def _refused(self, call: Call, message: UpstreamRequest, response: UpstreamResponse) -> UpstreamFailure:
        body = await response.read_error()
        self._capture(message, response, body)
        status, headers = response.status, response.headers
        return UpstreamFailure(provider=self.provider, status=status, headers=headers, body=body)

    async def _read(self, call: Call, response: UpstreamResponse, scope: Timeout) -> Response | UpstreamFailure:
        """Read a plain response to its end, a streamed one up to its first content."""
        head = ResponseHead(content_type=response.content_type, streaming=self._request.stream)
        if not self._request.stream:
            data = await response.read(self._tools.max_response_bytes)
            self._trace.received()
            body = call.body(bool(call.is_stream(data, head)), head)
            first = self._whole(body, data) if len(data) <= SHORT else await beside(self._whole, body, data)
            return body.failure if body.failure is not None else Response(body, first, None, self)
        started: ResponseBody | None = None
        timeouts = self._tools.timeouts
        held, first, pieces = b"", b"", response.pieces()
        async for data in pieces:
            self._trace.received()
            if not held or b"data:" in data:  # from now on, silence is measured as in the rest of the stream
                scope.reschedule(min(timeouts.idle_s, timeouts.first_event_s))
            held += data
            if started is None:
                streamed = call.is_stream(held, head)
                if streamed is None:
                    continue
                started, data = call.body(streamed, head), held
            first += self.clean(started.feed(data))
            if started.committed or len(first) > _MOST_HELD:
                return Response(started, first, pieces, self)
            if started.failure is not None:
                return started.failure
            if started.ended:
                break
        body = started or call.body(head.is_event_stream, head)
        first += self.clean(body.close())
        return body.failure if body.failure is not None and not body.committed else Response(body, first, None, self)

    def _whole(self, body: ResponseBody, data: bytes) -> bytes:
        return self.clean(body.feed(data) + body.close())

    def clean(self, out: bytes) -> bytes:
        """``out`` without the secrets that were sent to the upstream."""
        return without_secrets(out, self._secrets) if self._secrets else out

    # --- Outcome -------------------------------------------------------------------------

    def _succeeded(self) -> None:
        self.lease.succeeded()
        self._trace.committed()
        self._note(200, None, None)

    def _failed(self, failure: UpstreamFailure) -> FailureDecision:
        error = (decision := self._classify(failure)).error
        self.lease.failed(decision, failure.status)
        self._note(failure.status, error.at_fault or decision.fault, error.message, error.cause)
        return decision

    def error_of(self, failure: UpstreamFailure) -> ProxyError:
        """The error for a client that already has part of the response."""
        return self._classify(failure).error

    def _classify(self, failure: UpstreamFailure) -> FailureDecision:
        failure = replace(failure, credential_kind=self.lease.credential.kind, model=self._deployment.model)
        return classified(failure, self._deployment.provider, self._tools.scrub)

    def _learn_quota(self, response: UpstreamResponse) -> None:
        """Apply the quota windows that the response reports, if any."""
        now = self._tools.clock.now()
        windows = (self._deployment.provider.read_quota or quota_windows)(response.headers, now)
        if windows:
            self.lease.learned(windows, now)

    def _capture(self, message: UpstreamRequest, response: UpstreamResponse, error_body: bytes) -> None:
        capture = self._trace.capture
        if capture is not None:
            number = len(self._trace.attempts)
            capture.attempt(number, sent=message.content, headers=response.headers, error_body=error_body)

    def _note(self, status: int | None, fault: str | None, message: str | None, cause: str = "") -> None:
        response = self._upstream_response
        self._trace.attempts.append(
            AttemptRecord(
                deployment=str(self._deployment),
                credential=self.lease.credential.id,
                status=status,
                fault=fault,
                message=message,
                duration_s=self._tools.clock.monotonic() - self._started,
                at_s=self._started - self._trace.started,
                upstream_id=self.clean(upstream_id(response.headers)).decode() if response is not None else "",
                cause=cause,
            )
        )
