"""Error responses: what a client receives for a request that failed."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from proxy_core.clock import Clock
from proxy_core.errors import DeadlinePassed, InternalError, PluginFailed, ProxyError, Unavailable, UpstreamTimeout
from proxy_core.interfaces import EncodedError
from proxy_core.pipeline.final_error import with_attempts
from proxy_core.pipeline.trace import Trace
from proxy_core.plugins.faults import Faults
from proxy_core.server.interrupt import OutOfTime, Receive, ServerStopping, Stalled
from proxy_core.server.request_headers import Headers

log = logging.getLogger("proxy_core.request")

#: How much of an oversized body is still read, so that the client receives the error.
_DRAIN_BYTES = 64 * 1024 * 1024
_DRAIN_S = 5.0
#: And in how many pieces, as each tiny one costs more than its content.
_DRAIN_PIECES = 4096

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


def error_of(raised: BaseException, trace: Trace, faults: Faults) -> ProxyError:
    """The error for the client when an exception ended its request. A limit says more than that time ran out."""
    match raised:
        case PluginFailed():
            return raised
        case InternalError():
            if raised.__cause__ is not None and (failed := faults.blamed(raised.__cause__)) is not None:
                return failed
            log.error("the request failed", exc_info=raised)
            return raised
        case ProxyError():
            return raised
        case ServerStopping():
            return Unavailable(str(raised))
        case Stalled():
            stalled = UpstreamTimeout("The upstream stopped responding in the middle of its response.")
            stalled.cause = "it fell silent"
            return stalled
        case OutOfTime():
            late = DeadlinePassed("The request exceeded its time limit.")
            late.cause = "no answer in time"
            return with_attempts(trace.limit or late, trace.attempts)
    if (failed := faults.blamed(raised)) is not None:
        return failed
    # Any other unexpected exception is a bug of the proxy; the client still receives a proper error.
    log.error("the request failed", exc_info=raised)
    error = InternalError("The proxy failed; its log has the details under this request id.")
    error.__cause__ = raised
    return error


def error_headers(error: ProxyError, encoded: EncodedError) -> Headers:
    """Those of the error's dialect, and ``Retry-After`` in both forms."""
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in encoded.headers]
    if error.retry_after_s is None:
        return headers
    seconds = max(0.0, error.retry_after_s)
    return [
        *headers,
        (b"retry-after", str(-int(-seconds // 1)).encode()),
        (b"retry-after-ms", str(int(seconds * 1000)).encode()),
    ]


async def send_json(send: Send, status: int, body: bytes, headers: Headers, *, end: bool = True) -> None:
    head = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()), *headers]
    await send({"type": "http.response.start", "status": status, "headers": head})
    await send({"type": "http.response.body", "body": body, "more_body": not end})


async def drain(receive: Receive, clock: Clock) -> None:
    """Read the rest of a request: a client that is still sending would see a reset instead of the response."""
    size = 0
    try:
        async with clock.timeout(_DRAIN_S):
            for _ in range(_DRAIN_PIECES):
                message = await receive()
                size += len(message.get("body", b""))
                if size >= _DRAIN_BYTES or not message.get("more_body", False):
                    return
    except TimeoutError:
        return
