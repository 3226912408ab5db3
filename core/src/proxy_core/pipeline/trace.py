"""What is noted about one request while it runs, for its record and its log line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from time import perf_counter
from typing import Literal

from proxy_core.clock import Clock
from proxy_core.interfaces import AttemptRecord, Decision, ProxyRequest, RequestRecord, decisive
from proxy_core.messages import Usage
from proxy_core.records.capture import Capture

Outcome = Literal["completed", "failed", "cut", "client_left"]


@dataclass(slots=True)
class Trace:
    """Mutable while the request runs; :meth:`record` freezes it."""

    clock: Clock
    started_at: datetime
    started: float
    attempts: list[AttemptRecord] = field(default_factory=list)
    decisions: list[Decision] = field(default_factory=list)
    changed_by: list[str] = field(default_factory=list)
    first_event_s: float | None = None
    #: When the request was read, first sent on, answered by an upstream, and told to the client; by a watch of
    #: their own, because work takes the time it takes.
    read_at: float | None = None
    sent_at: float | None = None
    heard_at: float | None = None
    told_at: float | None = None
    #: Waiting for others before anything was sent.
    waited_s: float = 0.0
    usage: Usage | None = None
    #: What the provider asked last had no word for.
    dropped: Sequence[str] = ()
    #: A model that nothing here serves is a client's words, and written nowhere.
    routed: bool = False
    #: What is kept for the request's record; ``None`` unless records are asked for.
    capture: Capture | None = None

    @classmethod
    def begin(cls, clock: Clock) -> Trace:
        return cls(clock, clock.now(), clock.monotonic())

    @property
    def elapsed_s(self) -> float:
        return self.clock.monotonic() - self.started

    @property
    def decisive(self) -> AttemptRecord | None:
        return decisive(self.attempts)

    def committed(self) -> None:
        self.first_event_s = self.elapsed_s

    def read(self) -> None:
        """The client's request is here."""
        self.read_at = perf_counter()

    def sending(self) -> None:
        """An upstream is asked."""
        if self.sent_at is None:
            self.sent_at = perf_counter()

    def heard(self) -> None:
        """An upstream says something; the last time before the commit counts."""
        self.heard_at = perf_counter()

    def told(self) -> None:
        """The reply's first byte has left."""
        self.told_at = perf_counter()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """What happens in the block is not the proxy's work."""
        began = perf_counter()
        try:
            yield
        finally:
            if self.sent_at is None:
                self.waited_s += perf_counter() - began

    @property
    def overhead_s(self) -> float | None:
        """The proxy's own time until the reply's first byte; ``None`` if it did not come to that."""
        if self.read_at is None or self.sent_at is None or self.heard_at is None or self.told_at is None:
            return None
        return max(0.0, self.sent_at - self.read_at - self.waited_s) + max(0.0, self.told_at - self.heard_at)

    def record(self, request: ProxyRequest, *, status: int, outcome: Outcome, error: str | None) -> RequestRecord:
        return RequestRecord(
            id=request.id,
            client=request.client,
            dialect=request.dialect,
            model=request.model if self.routed else "-",
            stream=request.stream,
            status=status,
            outcome=outcome,
            error=error,
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
