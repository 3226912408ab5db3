"""Sanitizers, which may change traffic; records of requests, and their receivers: observers, redactors, sinks."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Literal, Protocol

from msgspec import Struct

from proxy_core.interfaces.requests import ProxyRequest
from proxy_core.messages import (
    ChatEvent,
    JsonObject,
    Usage,
)

__all__ = ["AttemptRecord", "EventFilter", "LogSink", "Observer", "Redactor", "RequestRecord", "Sanitizer"]


class EventFilter(Protocol):
    """Changes the events of one response. ``close`` returns text that is still held."""

    def feed(self, event: ChatEvent) -> Sequence[ChatEvent]: ...
    def close(self) -> Sequence[ChatEvent]: ...


class Sanitizer(Struct, frozen=True, kw_only=True):
    """Changes traffic before it leaves. Lower ``rank`` first, then by name; responses in reverse order.

    ``request`` returns the request to continue with, or raises a ``ProxyError`` to reject it.
    ``events`` returns a filter for this request's response, or ``None`` to relay its bytes unchanged.
    Any other exception rejects the request or ends the response: a sanitizer never fails open.
    """

    name: str
    rank: int = 0
    request: Callable[[ProxyRequest], ProxyRequest] | None = None
    events: Callable[[ProxyRequest], EventFilter | None] | None = None


class AttemptRecord(Struct, frozen=True, kw_only=True):
    """One attempt. ``credential`` is a fingerprint; ``at_s`` is its start in seconds since the request began.

    ``duration_s`` ends with the upstream's first event, or with the failure. ``shared``: the attempt served
    several requests and is counted with another one. ``upstream_id`` is the upstream's own id of it, if it
    sent one. ``cause``: what went wrong, without the upstream's own words, which are in ``message``.
    """

    deployment: str
    credential: str
    status: int | None
    fault: str | None
    message: str | None
    duration_s: float
    at_s: float = 0.0
    shared: bool = False
    upstream_id: str = ""
    cause: str = ""


def decisive(attempts: Sequence[AttemptRecord]) -> AttemptRecord | None:
    """The attempt that answered, else the last one. Of two parallel attempts the loser is recorded last."""
    for attempt in reversed(attempts):
        if attempt.status == 200 and attempt.fault is None:
            return attempt
    return attempts[-1] if attempts else None


Reason = Literal[
    "busy",
    "cooling down",
    "probing",
    "capped",
    "reserved",
    "fair cycle",
    "priority",
    "tried",
    "unable",
    "refreshing",
    "needs login",
    "needs setup",
]


class Exclusion(Struct, frozen=True, kw_only=True):
    """Why a credential could not be chosen. ``left_s``: seconds until that may change, if known."""

    credential: str
    reason: Reason
    left_s: float | None = None
    message: str = ""


class Decision(Struct, frozen=True, kw_only=True):
    """One choice of a credential. ``chosen`` is a fingerprint, ``None`` if no credential could serve;
    ``outage_s`` is the time until the next probe of an open circuit breaker; ``at_s`` is in seconds since the
    request began.

    ``excluded`` lists the first few credentials that could not be chosen, ``unnamed`` counts the others.
    """

    deployment: str
    candidates: int
    excluded: Sequence[Exclusion] = ()
    unnamed: int = 0
    chosen: str | None = None
    probe: bool = False
    outage_s: float | None = None
    at_s: float = 0.0


class RequestRecord(Struct, frozen=True, kw_only=True):
    """What happened to one request: ids, times and counts; no body, no header, no key.

    ``changed_by`` names the sanitizers that changed the request or filtered its response.
    ``overhead_s`` is the proxy's own time until the response's first byte, without waiting;
    ``None`` without a response. ``traceparent`` is as in :class:`ProxyRequest`. ``cause``: if a plugin failed, the
    exception's type and the function; if it is not used, why.
    """

    id: str
    client: str
    dialect: str
    model: str
    stream: bool
    status: int
    outcome: Literal["completed", "failed", "cut", "client_left"]
    error: str | None
    started_at: datetime
    first_event_s: float | None
    duration_s: float
    attempts: Sequence[AttemptRecord]
    usage: Usage | None
    decisions: Sequence[Decision] = ()
    changed_by: Sequence[str] = ()
    overhead_s: float | None = None
    traceparent: str | None = None
    cause: str = ""

    @property
    def decisive(self) -> AttemptRecord | None:
        """The attempt that answered, else the last one; ``None`` if there was none."""
        return decisive(self.attempts)


class Observer(Struct, frozen=True, kw_only=True):
    """Receives records of finished requests, from a bounded queue. An exception is logged once per cause and counted.

    ``close`` is awaited once, at the end, for a few seconds at most.
    """

    name: str
    observe: Callable[[RequestRecord], Awaitable[None]]
    close: Callable[[], Awaitable[None]] | None = None


class Redactor(Struct, frozen=True, kw_only=True):
    """Cleans a record before it is stored: a pure function from JSON to JSON. Fails closed."""

    name: str
    redact: Callable[[JsonObject], JsonObject]
    rank: int = 0


class LogSink(Struct, frozen=True, kw_only=True):
    """Stores records in batches. If it is slow, records are lost, but no client waits.

    A record is one line of JSON, redacted, without a newline; ``docs/security.md`` lists its
    fields. ``close`` is awaited once, at the end.
    """

    name: str
    write: Callable[[Sequence[bytes]], Awaitable[None]]
    close: Callable[[], Awaitable[None]] | None = None
