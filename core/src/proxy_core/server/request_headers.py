"""Client headers that the proxy itself reads, none of which is sent upstream; and the proxy's response headers."""

from __future__ import annotations

import math
import random
import re
from collections.abc import Iterable

from msgspec import Struct

from proxy_core.errors import ProxyLoop
from proxy_core.interfaces import AttemptRecord
from proxy_core.network.headers import HOP_HEADER

Headers = list[tuple[bytes, bytes]]

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:-]{1,128}")
#: Headers in which agents and SDKs send a conversation's id.
_SESSION = frozenset(
    {
        b"x-session-id",
        b"session-id",
        b"session_id",
        b"x-session-affinity",
        b"x-conversation-id",
        b"conversation_id",
        b"x-opencode-session",
    }
)
#: Some agents put their own name before it: ``x-example-agent-session-id``.
_OF_AGENT = b"-session-id"
#: W3C Trace Context; from later versions, only the fields of version 00 are read.
_TRACEPARENT = re.compile(rb"(?!ff)[0-9a-f]{2}(-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2})(?:-.*)?")
#: The timeout of the official SDKs, in seconds, as they report it.
_TIMEOUT = frozenset({b"x-stainless-timeout", b"x-stainless-read-timeout", b"x-server-timeout"})
#: Counts proxies, so that a loop of them ends.
HOPS = HOP_HEADER.encode()
_TRANSFER = b"transfer-encoding"
_NAMES = _SESSION | _TIMEOUT | {b"x-request-id", b"traceparent", b"content-encoding", _TRANSFER, HOPS}
_MAX_SESSION = 256
#: A program's own proxy, a team's and a company's are three.
_MAX_HOPS = 4
#: Clients reject responses with long headers.
_MAX_HEADER = 256


class RequestHeaders(Struct, frozen=True):
    """``request_id`` is the client's if it is valid, else a new one; ``timeout_s`` is the client's own timeout."""

    request_id: str
    session: str | None = None
    timeout_s: float | None = None
    traceparent: str | None = None
    #: How the body is compressed.
    encoding: str | None = None
    #: Through how many of these proxies the request has come.
    hops: int = 0


def read(headers: Iterable[tuple[bytes, bytes]]) -> RequestHeaders:
    """Unreadable values are ignored."""
    request_id, session, timeout_s, traceparent, encoding, hops = None, None, None, None, None, 0
    for name, value in headers:
        if not value or not (name in _NAMES or name.endswith(_OF_AGENT)):
            continue
        if name in _SESSION or name.endswith(_OF_AGENT):
            session = session or value[:_MAX_SESSION].decode("latin-1")
        elif name in _TIMEOUT:
            timeout_s = timeout_s or _seconds(value)
        elif name == b"content-encoding":
            encoding = value.decode("latin-1") if encoding is None else f"{encoding}, {value.decode('latin-1')}"
        elif name == _TRANSFER:
            if value.strip().lower() != b"chunked":  # some servers undo that one and pass on what is inside
                encoding = f"the transfer-encoding {value.decode('latin-1')}"
        elif name == HOPS:
            hops = max(hops, int(value)) if value.isdigit() and len(value) < 4 else hops
        elif name == b"traceparent":
            traceparent = traceparent or _traceparent(value)
        elif request_id is None and _REQUEST_ID.fullmatch(value):
            request_id = value.decode("ascii")
    return RequestHeaders(request_id or _new_id(), session, timeout_s, traceparent, encoding, hops)


def check_hops(hops: int) -> None:
    """Raises ``ProxyLoop`` for a request that has come through so many proxies that it must be going in circles."""
    if hops > _MAX_HOPS:
        raise ProxyLoop(f"The request has come through {hops} proxies: one of them is its own upstream.")


def _new_id() -> str:
    """24 hexadecimal digits. They only have to differ, and asking the system for randomness costs a request more."""
    return f"{random.getrandbits(96):024x}"


def _traceparent(value: bytes) -> str | None:
    found = _TRACEPARENT.fullmatch(value)
    if found is None or (value.startswith(b"00") and len(value) != 55):
        return None
    return f"00{found[1].decode('ascii')}"


def _seconds(value: bytes) -> float | None:
    try:
        seconds = float(value)
    except ValueError:
        return None
    return seconds if math.isfinite(seconds) and seconds > 0 else None


STREAM_HEADERS: Headers = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
]


def id_headers(request_id: str) -> Headers:
    """The request id in the headers of both SDK families."""
    value = request_id.encode("ascii")
    return [(b"x-request-id", value), (b"request-id", value)]


def attempt_headers(decisive: AttemptRecord | None, attempts: int, dropped: Iterable[str] = ()) -> Headers:
    """``X-Proxy-...``: the decisive attempt and the fields it dropped; empty if there was no attempt."""
    if decisive is None:
        return []
    provider, _, model = decisive.deployment.partition("/")
    left_out = _header(", ".join(dropped))
    return [
        *([(b"x-proxy-dropped", left_out)] if left_out else []),
        (b"x-proxy-provider", _header(provider)),
        (b"x-proxy-model", _header(model)),
        (b"x-proxy-credential", _header(decisive.credential)),
        (b"x-proxy-attempts", str(attempts).encode()),
        *([(b"x-proxy-upstream-request-id", _header(decisive.upstream_id))] if decisive.upstream_id else []),
    ]


def _header(text: str) -> bytes:
    """Model names come from clients; characters that a header cannot carry are left out."""
    text = text[:_MAX_HEADER]
    if not (text.isascii() and text.isprintable()):
        text = "".join(c for c in text if c.isascii() and c.isprintable())
    return text.strip().encode()
