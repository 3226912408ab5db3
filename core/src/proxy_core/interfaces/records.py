"""What is told of a request, and to whom; what may change it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol

from proxy_core.interfaces.requests import ProxyRequest
from proxy_core.messages import (
    ChatEvent,
    JsonObject,
    Usage,
)


class EventFilter(Protocol):
    """Changes one reply's events. ``close`` gives back text still held."""

    def feed(self, event: ChatEvent) -> Sequence[ChatEvent]: ...
    def close(self) -> Sequence[ChatEvent]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Sanitizer:
    """Changes traffic before it leaves. Lower ``rank`` first, then by name; replies in reverse.

    ``request`` returns the request to go on with, or raises a ``ProxyError`` to refuse it.
    ``events`` returns a filter for this request's reply, or ``None`` to let its bytes pass.
    Anything else raised refuses the request or ends the reply: a sanitizer never fails open.
    """

    name: str
    rank: int = 0
    request: Callable[[ProxyRequest], ProxyRequest] | None = None
    events: Callable[[ProxyRequest], EventFilter | None] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptRecord:
    """One try. ``credential`` is a fingerprint; ``at_s`` is when it began, seconds into the request.

    ``duration_s`` ends with the upstream's first event, or with the failure. ``shared``: made for
    several requests, and counted with another.
    """

    deployment: str
    credential: str
    status: int | None
    fault: str | None
    message: str | None
    duration_s: float
    at_s: float = 0.0
    shared: bool = False


def decisive(attempts: Sequence[AttemptRecord]) -> AttemptRecord | None:
    """The one that answered, else the last; of two at once the loser is noted last."""
    answered = (a for a in reversed(attempts) if a.status == 200 and a.fault is None)
    return next(answered, attempts[-1] if attempts else None)


Reason = Literal[
    "busy", "resting", "being tried", "own cap", "fair cycle", "priority", "tried", "being renewed", "needs login"
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Exclusion:
    """Why a credential could not be chosen. ``left_s``: seconds until that may change, where known."""

    credential: str
    reason: Reason
    left_s: float | None = None
    words: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """One look for a credential. ``chosen`` is a fingerprint, ``None`` if nobody could serve;
    ``outage_s`` how long the provider as a whole still rests; ``at_s`` seconds into the request.

    ``excluded`` names the first few of those that could not be chosen, ``unnamed`` counts the rest.
    """

    deployment: str
    candidates: int
    excluded: Sequence[Exclusion] = ()
    unnamed: int = 0
    chosen: str | None = None
    probe: bool = False
    outage_s: float | None = None
    at_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestRecord:
    """What happened to one request: ids, times and counts; no body, no header, no key.

    ``changed_by`` names the sanitizers that changed the request or saw its reply.
    ``overhead_s`` is what the proxy itself took until the reply's first byte, waiting excluded;
    ``None`` without a reply. ``traceparent`` as in :class:`ProxyRequest`.
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

    @property
    def decisive(self) -> AttemptRecord | None:
        """The attempt that answered, else the last one; ``None`` if nobody was asked."""
        return decisive(self.attempts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Observer:
    """Is told after the fact, from a bounded queue. What it raises is logged once and counted.

    ``close`` is awaited once, at the end, for a few seconds at most.
    """

    name: str
    observe: Callable[[RequestRecord], Awaitable[None]]
    close: Callable[[], Awaitable[None]] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Redactor:
    """Cleans a record before it is kept: a pure function from JSON to JSON. Fails closed."""

    name: str
    redact: Callable[[JsonObject], JsonObject]
    rank: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSink:
    """Keeps records, a batch at a time. A slow one loses records, never time of a client.

    A record is one line of JSON, redacted, without its line end; what it holds is in
    ``docs/security.md``. ``close`` is awaited once, at the end.
    """

    name: str
    write: Callable[[Sequence[bytes]], Awaitable[None]]
    close: Callable[[], Awaitable[None]] | None = None
