"""One request: key, body, sanitizers, executor, bytes; and an eye on the client all the while."""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

from proxy_core.clock import Clock, Timer
from proxy_core.dialects.common import parse_body
from proxy_core.errors import (
    BodyTooLarge,
    DeadlinePassed,
    InternalError,
    ProxyError,
    Unavailable,
    UpstreamTimeout,
)
from proxy_core.interfaces import Dialect, ProxyRequest, RequestRecord
from proxy_core.metrics.meter import Meter
from proxy_core.models.pricing import Prices
from proxy_core.models.routing import Router
from proxy_core.pipeline.batching import Batcher, Share
from proxy_core.pipeline.observe import Observers
from proxy_core.pipeline.plan import told
from proxy_core.pipeline.response import Reply
from proxy_core.pipeline.sanitize import Sanitizers
from proxy_core.pipeline.trace import Outcome, Trace
from proxy_core.records.log import REQUEST_ID
from proxy_core.records.recent import RecentRequests
from proxy_core.records.recorder import Recorder
from proxy_core.records.redact import SecretScrubber
from proxy_core.server.auth import ClientKeys
from proxy_core.server.interrupt import (
    ClientLeft,
    ClientWatch,
    Interruptible,
    OutOfTime,
    Receive,
    ServerStopping,
    Silence,
    Stalled,
)
from proxy_core.server.request_headers import Headers, attempt_headers, id_headers, read
from proxy_core.settings.schema import StreamSettings, TimeoutSettings
from proxy_core.state.budgets import Budgets
from proxy_core.state.usage import UsageBook

log = logging.getLogger("proxy_core.request")

Scope = MutableMapping[str, Any]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
#: An SDK's own limit is met a little early, so that the client gets to see why.
_EARLY = 0.95
#: An upstream's own code is noted only if it is a word or a number.
_CODE = re.compile(r"[A-Za-z_]{1,48}|[0-9]{1,6}")
#: How much of a body that is too large is still read, so that the client gets to see why.
_DRAIN_BYTES = 64 * 1024 * 1024
_DRAIN_S = 5.0


@dataclass(slots=True, kw_only=True)
class Running:
    """Requests in flight of one set of settings, so that they can be ended; ``all``: of every set there is."""

    scopes: set[Interruptible] = field(default_factory=set)
    all: set[Interruptible] = field(default_factory=set)

    def began(self, scope: Interruptible) -> None:
        self.scopes.add(scope)
        self.all.add(scope)

    def ended(self, scope: Interruptible) -> None:
        self.scopes.discard(scope)
        self.all.discard(scope)

    def interrupt(self, reason: ServerStopping | None = None) -> None:
        for scope in list(self.scopes):
            scope.interrupt(reason or ServerStopping())


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """What every endpoint needs."""

    keys: ClientKeys
    router: Router
    sanitizers: Sanitizers
    batcher: Batcher
    observers: Observers
    budgets: Budgets
    usage: UsageBook
    prices: Prices
    recorder: Recorder | None
    scrub: SecretScrubber
    clock: Clock
    max_body_bytes: int
    response_headers: bool
    recent: RecentRequests
    streams: StreamSettings
    timeouts: TimeoutSettings
    meter: Meter | None = None
    running: Running = field(default_factory=Running)


class DialectEndpoint:
    """The ASGI application behind a dialect's paths."""

    def __init__(self, dialect: Dialect, services: Services) -> None:
        self._dialect = dialect
        self._services = services

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await _Exchange(self._dialect, self._services, scope, receive, send).run()


class _Exchange:
    """One client request and its reply."""

    def __init__(self, dialect: Dialect, services: Services, scope: Scope, receive: Receive, send: Send) -> None:
        self._dialect = dialect
        self._services = services
        self._scope = scope
        self._receive = receive
        self._send = send
        self._said = read(scope["headers"])
        self._id = self._said.request_id
        self._trace = Trace.begin(services.clock)
        self._request: ProxyRequest | None = None
        self._status = 0
        self._body_read = False
        self._interrupt = Interruptible()

    async def run(self) -> None:
        """Every way a request can end, in one place."""
        outcome: Outcome = "completed"
        error: ProxyError | None = None
        REQUEST_ID.set(self._id)
        self._services.running.began(self._interrupt)
        timers = self._timers()
        try:
            async with self._interrupt:
                await self._answer()
        except ClientLeft:
            outcome = "client_left"
        except ServerStopping as stopping:
            error = Unavailable(str(stopping))
        except Stalled:
            error = UpstreamTimeout("The upstream fell silent in the middle of its reply.")
        except OutOfTime:
            error = told(DeadlinePassed("The request took longer than it may."), self._trace.attempts)
        except ProxyError as raised:
            error = raised
        except Exception as raised:  # the last resort: a bug of ours still gets a clean answer
            log.exception("the request failed")
            error = InternalError("The proxy failed; its log has the details under this request id.")
            error.__cause__ = raised
        finally:
            self._services.running.ended(self._interrupt)
            for timer in timers:
                timer.cancel()
        if error is not None:
            # It holds the frames that hold it, and so the body, until the garbage collector comes by.
            error.__traceback__ = None
            outcome = "cut" if self._status else "failed"
            await self._tell(error)
        await self._count_all(self._finish(outcome, error))

    def _timers(self) -> list[Timer]:
        """The end of the request's time: as settings say, and as the client says."""
        clock, total_s, patience_s = self._services.clock, self._services.timeouts.total_s, self._said.patience_s
        timers = [clock.call_later(total_s, self._out_of_time)] if total_s is not None else []
        if patience_s is not None:
            timers.append(clock.call_later(patience_s * _EARLY, self._impatient))
        return timers

    def _out_of_time(self) -> None:
        self._interrupt.interrupt(OutOfTime())

    def _impatient(self) -> None:
        """The client would leave now, unless it reads a reply already."""
        if not self._status:
            self._out_of_time()

    async def _answer(self) -> None:
        services = self._services
        client = services.keys.identify(self._scope)
        raw = await self._read_body()
        self._trace.read()
        if services.recorder is not None:
            self._trace.capture = services.recorder.begin(self._dialect, self._scope["path"], self._scope["headers"])
            self._trace.capture.request(raw)
        body = parse_body(raw)
        if self._dialect.read_path is not None:
            query = dict(parse_qsl(self._scope["query_string"].decode("latin-1")))
            body |= self._dialect.read_path(self._scope["path_params"], query)
        self._dialect.check(body)
        self._request = request = ProxyRequest(
            id=self._id,
            client=client,
            dialect=self._dialect.name,
            model=body["model"],
            stream=self._dialect.family == "chat" and bool(body.get("stream")),
            body=body,
            session=self._said.session,
            traceparent=self._said.traceparent,
        )
        services.budgets.admit(client, request.model)
        with ClientWatch(self._receive, self._interrupt) as watch:
            deployments = services.router.resolve(request.model)
            self._trace.routed = True
            request = services.sanitizers.request(request, self._trace.changed_by)
            filters = services.sanitizers.filters(request, self._trace.changed_by)
            obtained = services.batcher.obtain(request, self._dialect, deployments, filters, self._trace)
            async with await obtained as reply:
                try:
                    await (self._stream(reply) if isinstance(reply, Reply) and request.stream else self._whole(reply))
                finally:
                    self._trace.usage = reply.usage
                watch.end()  # closing what is upstream may take longer than the client stays

    async def _read_body(self) -> bytes:
        limit, parts, size = self._services.max_body_bytes, [], 0
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientLeft
            part = message.get("body", b"")
            parts.append(part)
            size += len(part)
            if size > limit:
                raise BodyTooLarge(f"The request body is larger than {limit} bytes.")
            if not message.get("more_body", False):
                self._body_read = True
                return parts[0] if len(parts) == 1 else b"".join(parts)

    async def _whole(self, reply: Reply | Share) -> None:
        body = reply.whole
        if self._trace.capture is not None:
            self._trace.capture.piece(body, self._trace.elapsed_s)
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            *self._own_headers(),
        ]
        await self._start(200, headers)
        await self._send({"type": "http.response.body", "body": body})
        self._trace.told()

    async def _stream(self, reply: Reply) -> None:
        send = self._send
        headers = [
            (b"content-type", b"text/event-stream; charset=utf-8"),
            (b"cache-control", b"no-cache"),
            (b"x-accel-buffering", b"no"),
            *self._own_headers(),
        ]
        await self._start(200, headers)
        streams, timeouts, trace, capture = (
            self._services.streams,
            self._services.timeouts,
            self._trace,
            self._trace.capture,
        )
        beat = self._beat if self._dialect.heartbeat else None
        clock, limits = self._services.clock, {"heartbeat_s": streams.heartbeat_s, "idle_s": timeouts.idle_s}
        with Silence(clock, self._interrupt, beat, **limits) as silence:
            while True:
                silence.reading()
                piece = await reply.read()
                if piece is None:
                    break
                silence.writing()
                if capture is not None:
                    capture.piece(piece, trace.elapsed_s)
                await send({"type": "http.response.body", "body": piece, "more_body": True})
                if trace.told_at is None:
                    trace.told()
        await send({"type": "http.response.body", "body": b""})

    async def _beat(self) -> None:
        await self._send({"type": "http.response.body", "body": self._dialect.heartbeat, "more_body": True})

    async def _start(self, status: int, headers: Headers) -> None:
        await self._send({"type": "http.response.start", "status": status, "headers": headers})
        self._status = status

    async def _tell(self, error: ProxyError) -> None:
        """As a status while that is possible, inside the stream afterwards; without any secret of ours."""
        scrub = self._services.scrub.bytes
        if self._status:
            if self._request is not None and self._request.stream:
                body = scrub(self._dialect.stream_error(error, self._id))
                await self._send({"type": "http.response.body", "body": body})
            return
        encoded = self._dialect.encode_error(error, self._id)
        headers = self._own_headers() + error_headers(error)
        await send_json(self._send, encoded.status, scrub(encoded.body), headers, end=False)
        self._status = encoded.status
        if not self._body_read:
            await self._drain()
        await self._send({"type": "http.response.body", "body": b""})

    async def _drain(self) -> None:
        """A client still sending would see its connection reset instead of the answer."""
        size = 0
        try:
            async with self._services.clock.timeout(_DRAIN_S):
                while size < _DRAIN_BYTES:
                    message = await self._receive()
                    size += len(message.get("body", b""))
                    if not message.get("more_body", False):
                        return
        except TimeoutError:
            return

    async def _count_all(self, record: RequestRecord | None) -> None:
        """What this request used, for the books and for its client's limits.

        The client has its reply. Where nobody near knows the price, what it cost is counted when
        the catalogs were read, the first time a moment after everything else.
        """
        if record is None:
            return
        usage, answered, services = record.usage, record.decisive, self._services
        if usage is None or answered is None:
            services.usage.count(record, None)
            return
        prices, (provider, _, model) = services.prices, answered.deployment.partition("/")
        sure = prices.sure(provider, model, answered.credential)
        cost = prices.cost(provider, model, usage, answered.credential) if sure else None
        services.budgets.count(record.client, usage.total, cost)
        services.usage.count(record, cost)
        if not sure:
            await prices.load()
            late = prices.cost(provider, model, usage, answered.credential)
            if late is not None:
                services.budgets.count(record.client, 0, late)
                services.usage.add_cost(record, late)

    def _own_headers(self) -> Headers:
        headers = id_headers(self._id)
        if self._request is not None:
            headers += self._services.budgets.headers(self._request.client)
        if not self._services.response_headers:
            return headers
        return headers + attempt_headers(self._trace.decisive, len(self._trace.attempts), self._trace.dropped)

    def _finish(self, outcome: Outcome, error: ProxyError | None) -> RequestRecord | None:
        """Say what became of it, but for what it used. The record, if it was a request."""
        trace, request = self._trace, self._request
        code = _noted(error) if error else None
        meter = self._services.meter
        if request is None:
            if meter is not None:
                meter.counts.refused(self._dialect.name, self._status, outcome)
            log.info("%s -> %s %s", self._dialect.name, self._status, code)
            if trace.capture is not None:
                trace.capture.release()
            return None
        record = trace.record(request, status=self._status, outcome=outcome, error=code)
        if log.isEnabledFor(logging.INFO):
            where = trace.decisive.deployment if trace.decisive is not None else "-"
            ending = f", {outcome} {code or ''}" if outcome != "completed" else ""
            log.info(
                "%s %s -> %s %s%s %.0f ms, %d attempt(s)%s",
                *(request.client, record.model, where, self._status, " stream" if request.stream else ""),
                *(record.duration_s * 1000, len(record.attempts), ending),
            )
        if meter is not None:
            meter.counts.finished(record)
        self._services.observers.tell(record)
        self._services.recent.keep(record)
        if self._services.recorder is not None and trace.capture is not None:
            trace.capture.error = error.message if error is not None else None
            self._services.recorder.tell(record, trace.capture)
        return record


def _noted(error: ProxyError) -> str:
    return error.code if error.code and _CODE.fullmatch(error.code) else error.kind


def error_headers(error: ProxyError) -> Headers:
    """``Retry-After`` in both spellings; beyond a minute SDKs that would sleep are told not to."""
    if error.retry_after_s is None:
        return []
    seconds = max(0.0, error.retry_after_s)
    headers = [
        (b"retry-after", str(-int(-seconds // 1)).encode()),
        (b"retry-after-ms", str(int(seconds * 1000)).encode()),
    ]
    return [*headers, (b"x-should-retry", b"false")] if seconds > 60 else headers


async def send_json(send: Send, status: int, body: bytes, headers: Headers, *, end: bool = True) -> None:
    head = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()), *headers]
    await send({"type": "http.response.start", "status": status, "headers": head})
    await send({"type": "http.response.body", "body": body, "more_body": not end})
