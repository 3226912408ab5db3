"""One request: read, admit, open the response, write, account; and end it when its client disconnects."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from proxy_core.clock import Timer
from proxy_core.dialects.common import parse_body
from proxy_core.errors import ProxyError, forget_frames
from proxy_core.interfaces import Dialect, ProxyRequest
from proxy_core.jsons import SHORT, beside
from proxy_core.messages import JsonObject
from proxy_core.pipeline.accounting import Ending
from proxy_core.pipeline.response import Response
from proxy_core.pipeline.trace import Outcome, Trace
from proxy_core.records.log import REQUEST_ID
from proxy_core.server.bodies import TimedBody, decompressed
from proxy_core.server.errors import drain, error_headers, error_of, send_json
from proxy_core.server.follow import Followed, follow
from proxy_core.server.head import request_head
from proxy_core.server.interrupt import ClientLeft, ClientWatch, Interruptible, OutOfTime, Receive, Silence
from proxy_core.server.request_headers import STREAM_HEADERS, Headers, attempt_headers, check_hops, id_headers, read
from proxy_core.server.services import Services

Scope = MutableMapping[str, Any]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
#: The deadline is a little before an SDK's own timeout, so that the client still receives an error.
_EARLY = 0.95


class DialectEndpoint:
    """The ASGI application behind a dialect's paths."""

    def __init__(self, dialect: Dialect, services: Services) -> None:
        self._dialect = dialect
        self._services = services

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        return _Exchange(self._dialect, self._services, scope, receive, send).run()


class _Exchange:
    """One client request and its response."""

    def __init__(self, dialect: Dialect, services: Services, scope: Scope, receive: Receive, send: Send) -> None:
        self._dialect = dialect
        self._services = services
        self._scope = scope
        self._receive = receive
        self._send = send
        self._headers = read(scope["headers"])
        self._id = self._headers.request_id
        self._trace = Trace.begin(services.clock)
        self._request: ProxyRequest | None = None
        self._status = 0
        self._followed: Followed | None = None
        self._interrupt = Interruptible()
        self._body = TimedBody(services.max_body_bytes, services.clock, self._interrupt)

    async def run(self) -> None:
        """Handles every way in which a request can end."""
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
        except (Exception, SystemExit) as raised:  # a plugin may call sys.exit()
            error = error_of(raised, self._trace, self._services.faults)
        finally:
            self._services.running.ended(self._interrupt)
            self._body.end()
            for timer in timers:
                timer.cancel()
        if error is not None:
            forget_frames(error)
            outcome = "cut" if self._status else "failed"
            await self._write_error(error)
        ending = Ending(dialect=self._dialect.name, status=self._status, outcome=outcome, error=error)
        await self._services.accounting.account(self._request, self._trace, ending)

    def _timers(self) -> list[Timer]:
        """Timers for the request's deadlines: the configured one, and the client's own."""
        clock, total_s, client_s = self._services.clock, self._services.timeouts.total_s, self._headers.timeout_s
        timers: list[Timer] = []
        if total_s is not None:
            self._trace.patience_s = total_s
            timers.append(clock.call_later(total_s, self._out_of_time))
        if client_s is not None:
            self._trace.patience_s = min(self._trace.patience_s, client_s * _EARLY)
            timers.append(clock.call_later(client_s * _EARLY, self._client_timeout))
        return timers

    def _out_of_time(self) -> None:
        self._interrupt.interrupt(OutOfTime())

    def _client_timeout(self) -> None:
        """The client's timeout is near; end the request unless the client is already reading a response."""
        if not self._status:
            self._out_of_time()

    async def _answer(self) -> None:
        services, trace = self._services, self._trace
        client = services.keys.identify(self._scope)
        request = await self._admit(client, await self._read_body())
        with ClientWatch(self._receive, self._interrupt) as watch:
            async with await services.pipeline.open(request, trace) as response:
                try:
                    if isinstance(response, Response) and request.stream:
                        await self._write_stream(response)
                    else:
                        await self._write_whole(response.whole)
                finally:
                    trace.usage = response.usage
                watch.end()  # closing the upstream may take longer than the client stays connected

    async def _read_body(self) -> bytes:
        body = self._body
        while not body.complete:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientLeft
            body.add(message.get("body", b""), last=not message.get("more_body", False))
        self._trace.read(body.size)
        whole = body.whole() if body.size <= SHORT else await beside(body.whole)
        encoding, limit = self._headers.encoding, self._services.max_body_bytes
        return whole if encoding is None else await decompressed(whole, encoding, limit)

    async def _admit(self, client: str, raw: bytes) -> ProxyRequest:
        """The request, if it is valid and its client may make it now."""
        check_hops(self._headers.hops)
        if (recorder := self._services.recorder) is not None:
            self._trace.capture = recorder.begin(self._dialect, self._scope["path"], self._scope["headers"], raw)
        body = self._parse(client, raw) if len(raw) <= SHORT else await beside(self._parse, client, raw)
        self._request = request = ProxyRequest(
            id=self._id,
            client=client,
            dialect=self._dialect.name,
            model=body["model"],
            stream=self._dialect.family == "chat" and bool(body.get("stream")),
            body=body,
            session=self._headers.session,
            traceparent=self._headers.traceparent,
            limits=self._services.budgets.limits(client),
            hops=self._headers.hops,
        )
        self._services.budgets.admit(client, request.model)
        if self._dialect.follower is not None:
            request, self._followed = await follow(self._dialect, request, self._services.kept)
        return request

    def _parse(self, client: str, raw: bytes) -> JsonObject:
        body = parse_body(raw)
        if self._dialect.read_request is not None:
            body = self._dialect.read_request(request_head(self._scope, self._services.keys.places, client), body)
        self._dialect.check(body)
        return body

    async def _write_whole(self, body: bytes) -> None:
        if self._trace.capture is not None:
            self._trace.capture.piece(body, self._trace.elapsed_s)
        if self._followed is not None:
            await self._followed.keep(body)
        await self._start([(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())])
        await self._send({"type": "http.response.body", "body": body})
        self._trace.responded()

    async def _write_stream(self, response: Response) -> None:
        send, services, trace = self._send, self._services, self._trace
        await self._start(STREAM_HEADERS)
        beat = self._beat if self._dialect.heartbeat else None
        heartbeat_s, idle_s = services.streams.heartbeat_s, services.timeouts.idle_s
        with Silence(services.clock, self._interrupt, beat, heartbeat_s, idle_s) as silence:
            silence.reading()
            while (piece := await response.read()) is not None:
                if b"data:" in piece:  # a comment does not end the upstream's silence
                    silence.writing()
                if trace.capture is not None:
                    trace.capture.piece(piece, trace.elapsed_s)
                if self._followed is not None:
                    await self._followed.add(piece)
                await send({"type": "http.response.body", "body": piece, "more_body": True})
                if trace.responded_at is None:
                    trace.responded()
                silence.reading()
        await send({"type": "http.response.body", "body": b""})

    async def _beat(self) -> None:
        speaker = self._followed or self._dialect
        await self._send({"type": "http.response.body", "body": speaker.heartbeat, "more_body": True})

    async def _start(self, headers: Headers) -> None:
        await self._send({"type": "http.response.start", "status": 200, "headers": headers + self._own_headers()})
        self._status = 200

    async def _write_error(self, error: ProxyError) -> None:
        """As a status while that is possible, inside the stream afterwards; secrets are removed."""
        scrub = self._services.scrub.bytes
        if self._status:
            if self._request is not None and self._request.stream:
                body = scrub((self._followed or self._dialect).stream_error(error, self._id))
                await self._send({"type": "http.response.body", "body": body})
            return
        encoded = self._dialect.encode_error(error, self._id)
        headers = self._own_headers() + error_headers(error, encoded)
        await send_json(self._send, encoded.status, scrub(encoded.body), headers, end=False)
        self._status = encoded.status
        if not self._body.complete:
            await drain(self._receive, self._services.clock)
        await self._send({"type": "http.response.body", "body": b""})

    def _own_headers(self) -> Headers:
        headers = id_headers(self._id)
        if self._request is not None:
            headers += self._services.budgets.headers(self._request.client)
        if not self._services.response_headers:
            return headers
        return headers + attempt_headers(self._trace.decisive, len(self._trace.attempts), self._trace.dropped)
