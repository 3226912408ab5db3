"""What is recorded about a request while it runs, for its record and its log line."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from time import perf_counter
from typing import Literal

from msgspec import Struct, field

from proxy_core.clock import Clock
from proxy_core.errors import ProxyError
from proxy_core.interfaces import AttemptRecord, ProxyRequest, RequestRecord
from proxy_core.interfaces.records import Decision, decisive
from proxy_core.messages import Usage
from proxy_core.records.capture import Capture

Outcome = Literal["completed", "failed", "cut", "client_left"]
#: Headers in which upstreams send their own id of a request.
_REQUEST_IDS = ("x-request-id", "request-id", "x-correlation-id", "apim-request-id", "cf-ray")


class Trace(Struct):
    """Mutable while the request runs; :meth:`record` freezes it."""

    clock: Clock
    started_at: datetime
    started: float
    attempts: list[AttemptRecord] = field(default_factory=list)
    decisions: list[Decision] = field(default_factory=list)
    changed_by: list[str] = field(default_factory=list)
    first_event_s: float | None = None
    #: When the request was read, first sent upstream, answered by an upstream, and answered to the client. Read
    #: from ``perf_counter``, not from the injected clock, because the proxy's own work takes real time.
    read_at: float | None = None
    request_bytes: int = 0
    sent_at: float | None = None
    received_at: float | None = None
    responded_at: float | None = None
    #: Time spent waiting before anything was sent.
    waited_s: float = 0.0
    usage: Usage | None = None
    #: How long the request may take, by settings and by its client's own timeout.
    patience_s: float = math.inf
    #: The limit that the request had met when it was interrupted.
    limit: ProxyError | None = None
    #: Fields that the last provider's format could not express.
    dropped: Sequence[str] = ()
    #: An unknown model name is client content and is recorded nowhere.
    routed: bool = False
    #: Bodies for the request's record; ``None`` unless records are enabled.
    capture: Capture | None = None

    @classmethod
    def begin(cls, clock: Clock) -> Trace:
        return cls(clock, clock.now(), clock.monotonic())

    @property
    def elapsed_s(self) -> float:
        return self.clock.monotonic() - self.started

    @property
    def left_s(self) -> float:
        """How much of its time the request has left."""
        return self.patience_s - self.elapsed_s

    @property
    def decisive(self) -> AttemptRecord | None:
        return decisive(self.attempts)

    def committed(self) -> None:
        self.first_event_s = self.elapsed_s

    def read(self, size: int) -> None:
        """The client's request has been read."""
        self.read_at = perf_counter()
        self.request_bytes = size

    def sending(self) -> None:
        """A request is sent upstream."""
        if self.sent_at is None:
            self.sent_at = perf_counter()

    def received(self) -> None:
        """An upstream sent something; the last time before the commit point counts."""
        self.received_at = perf_counter()

    def responded(self) -> None:
        """The first byte of the response was sent."""
        self.responded_at = perf_counter()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Time spent in this block does not count as the proxy's own."""
        began = perf_counter()
        try:
            yield
        finally:
            if self.sent_at is None:
                self.waited_s += perf_counter() - began

    @property
    def overhead_s(self) -> float | None:
        """The proxy's own time before the response's first byte; ``None`` without a response."""
        if self.read_at is None or self.sent_at is None or self.received_at is None or self.responded_at is None:
            return None
        return max(0.0, self.sent_at - self.read_at - self.waited_s) + max(0.0, self.responded_at - self.received_at)

    def record(
        self, request: ProxyRequest, *, status: int, outcome: Outcome, error: str | None, cause: str = ""
    ) -> RequestRecord:
        return RequestRecord(
            id=request.id,
            client=request.client,
            dialect=request.dialect,
            model=request.model if self.routed else "-",
            stream=request.stream,
            status=status,
            outcome=outcome,
            error=error,
            cause=cause,
            started_at=self.started_at,
            first_event_s=self.first_event_s,
            duration_s=self.elapsed_s,
            attempts=tuple(self.attempts),
            usage=self.usage,
            decisions=tuple(self.decisions),
            changed_by=tuple(self.changed_by),
            overhead_s=self.overhead_s,
            traceparent=request.traceparent,
        )


def upstream_id(headers: Mapping[str, str]) -> bytes:
    """The upstream's own id of a request, for a question to its support; empty if it sent none."""
    return next((headers[name].encode() for name in _REQUEST_IDS if name in headers), b"")
