"""What is noted about one request while it runs, for its record and its log line."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from proxy_core.clock import Clock
from proxy_core.interfaces import AttemptRecord, Decision, ProxyRequest, RequestRecord
from proxy_core.model import Usage
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
    usage: Usage | None = None
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
        """The attempt that answered, else the last one; of two at once the loser is noted last."""
        answered = (a for a in reversed(self.attempts) if a.status == 200 and a.fault is None)
        return next(answered, self.attempts[-1] if self.attempts else None)

    def committed(self) -> None:
        self.first_event_s = self.elapsed_s

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
        )
