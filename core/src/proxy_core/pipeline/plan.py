"""One request's way along its deployments and their credentials: who is asked next, and what is said in the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field

from proxy_core.clock import Deadline
from proxy_core.errors import CapacityExhausted, ProxyError, Unavailable
from proxy_core.interfaces import AttemptRecord, Deployment, FailureDecision, ProxyRequest
from proxy_core.pipeline.trace import Trace
from proxy_core.rotation.cooldown import Cooldown
from proxy_core.rotation.explain import decided
from proxy_core.rotation.pool import Lease, Pool
from proxy_core.settings.schema import RoutingSettings

#: A request that waits long looks often.
_MAX_DECISIONS = 50


@dataclass(slots=True)
class Stop:
    """One deployment on the way. ``tried`` were asked in this round, ``spent`` are not asked again at all."""

    deployment: Deployment
    pool: Pool
    max_priority: int | None
    tried: set[str] = field(default_factory=set)
    spent: set[str] = field(default_factory=set)
    tries: int = 0
    closed: bool = False

    @property
    def soonest_s(self) -> float | None:
        """When somebody here may be asked again; ``None``: nobody will be."""
        return self._soonest_s(frozenset())

    @property
    def cooldown_ends_s(self) -> float | None:
        """When the next rest ends, whoever is merely busy: nobody tells of that."""
        ledger, model = self.pool.ledger, self.deployment.model
        now = self.pool.clock.monotonic()
        lane = ledger.settled(model, now)
        busy = {s.credential.id for index, s in enumerate(ledger.slots) if ledger.usable_at(lane, index, now) <= now}
        return self._soonest_s(busy)

    def _soonest_s(self, but: Set[str]) -> float | None:
        if self.closed:
            return None
        return self.pool.soonest_s(self.deployment.model, self.max_priority, self.spent | but)


class Walk:
    """Pure bookkeeping; the executor does the asking and the waiting."""

    def __init__(
        self,
        request: ProxyRequest,
        deployments: Sequence[Deployment],
        pools: Mapping[str, Pool],
        routing: RoutingSettings,
        budget: Deadline,
        trace: Trace,
    ) -> None:
        self._request = request
        self._routing = routing
        self._trace = trace
        self._last: list[FailureDecision] = []
        self._waited = False
        self.budget = budget
        self.stops = [_stop(deployment, pools[deployment.provider.name]) for deployment in deployments]

    def next(self) -> tuple[Stop, Lease] | None:
        """The best deployment with a usable credential, and the lease of one; ``None`` if there is none now."""
        found = self._found()
        if self._waited:
            self.pass_on(found)
        return found

    def _found(self) -> tuple[Stop, Lease] | None:
        for stop in self.stops:
            if stop.closed:
                continue
            lease = stop.pool.take(self._request, stop.deployment.model, stop.tried, stop.max_priority)
            self._note(stop, lease)
            if lease is not None:
                return stop, lease
        return None

    def _note(self, stop: Stop, lease: Lease | None) -> None:
        trace, deployment = self._trace, stop.deployment
        if len(trace.decisions) < _MAX_DECISIONS:
            worst, at_s = stop.max_priority, trace.elapsed_s
            trace.decisions.append(
                decided(stop.pool, deployment.model, lease, stop.tried, str(deployment), at_s, worst)
            )

    def pass_on(self, taken: tuple[Stop, Lease] | None) -> None:
        """Whoever waited was told of one credential: where it took none, the next one is told."""
        self._waited = False
        for stop in self.stops:
            if taken is None or taken[0].pool is not stop.pool:
                stop.pool.pass_on()

    def failed(self, stop: Stop, lease: Lease, decision: FailureDecision) -> bool:
        """Take note; true if the same may be asked again after a moment."""
        self._last.append(decision)
        stop.tries += 1
        if decision.next == "retry" and stop.tries < self._routing.attempts_per_credential:
            return True
        stop.tries = 0
        stop.tried.add(lease.credential.id)
        if decision.cooldown not in ("credential", "model"):
            stop.spent.add(lease.credential.id)
        if decision.next == "fail_over" or (decision.next == "retry" and decision.fault == "network"):
            stop.closed = True  # another credential would not find the host either
        return False

    @property
    def exhausted(self) -> bool:
        """No further attempt may start."""
        return bool(self._last) and not self._may_ask(len(self._trace.attempts))

    @property
    def may_ask_beside(self) -> bool:
        """A further attempt may start while one is under way."""
        return self._may_ask(len(self._trace.attempts) + 1)

    def _may_ask(self, asked: int) -> bool:
        return asked < self._routing.max_attempts and self.budget.remaining_s(self._trace.clock) > 0

    def rested(self) -> None:
        """Somebody may be usable again: a new round."""
        self._waited = True
        for stop in self.stops:
            stop.tried = set(stop.spent)

    @property
    def soonest_s(self) -> float | None:
        return min((wait for stop in self.stops if (wait := stop.soonest_s) is not None), default=None)

    @property
    def cooldown_ends_s(self) -> float | None:
        return min((wait for stop in self.stops if (wait := stop.cooldown_ends_s) is not None), default=None)

    def error(self) -> ProxyError:
        """What the client is told in the end: the failure that is most worth waiting for, and all that was tried."""
        if self._waited:
            self.pass_on(None)
        known = [s.pool.soonest_s(s.deployment.model, s.max_priority) for s in self.stops]
        soonest_s = min((wait for wait in known if wait is not None), default=None)
        if not self._last:
            return self._nobody(soonest_s)
        error = max(reversed(self._last), key=_hope).error
        if soonest_s is not None and (isinstance(error, CapacityExhausted | Unavailable) or self._outage is not None):
            error.retry_after_s = max(soonest_s, 1.0)
        elif soonest_s is not None and error.retry_after_s is not None:
            error.retry_after_s = max(soonest_s, error.retry_after_s)
        return told(error, self._trace.attempts)

    @property
    def _outage(self) -> Cooldown | None:
        return next((stop.pool.ledger.outage for stop in self.stops if stop.pool.ledger.outage is not None), None)

    def _nobody(self, soonest_s: float | None) -> ProxyError:
        """No credential was usable at all."""
        if not any(len(stop.pool) for stop in self.stops):
            return Unavailable("No credential is configured for this model.", code="no_credential")
        if soonest_s is None:
            why = next((slot.out for stop in self.stops for slot in stop.pool.ledger.slots if slot.for_good), "")
            text = "No credential may serve this model." + (f" {why}" if why else "")
            return Unavailable(text, code="no_credential")
        outage = self._outage
        if outage is not None:
            return Unavailable(f"The provider rests after failures: {outage.words}", retry_after_s=max(soonest_s, 1.0))
        state = "resting" if soonest_s else "busy"
        return CapacityExhausted(f"Every credential for this model is {state}.", retry_after_s=max(soonest_s, 1.0))


def _stop(deployment: Deployment, pool: Pool) -> Stop:
    worst = deployment.provider.max_priority
    return Stop(deployment, pool, worst(deployment.model) if worst is not None else None)


def _hope(decision: FailureDecision) -> int:
    """A client that waits is helped against a limit, perhaps against an outage, hardly against a refused key."""
    error = decision.error
    if isinstance(error, CapacityExhausted):
        return 3 if error.code == "insufficient_quota" else 4
    if error.retry_after_s is not None:
        return 2
    return 1 if decision.fault in ("provider", "network") else 0


def told(error: ProxyError, attempts: Sequence[AttemptRecord]) -> ProxyError:
    """``error`` with what was tried, for a client: no message of an upstream to somebody else's key."""
    error.attempts = [
        {
            "deployment": attempt.deployment,
            "credential": attempt.credential,
            "status": attempt.status,
            "fault": attempt.fault,
            "duration_s": round(attempt.duration_s, 3),
        }
        for attempt in attempts
    ]
    return error
