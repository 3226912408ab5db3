"""The attempts of one request: which deployment and credential come next, and the final error for the client."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from proxy_core.clock import Deadline
from proxy_core.errors import ProxyError
from proxy_core.failures.back_off import back_off_s
from proxy_core.interfaces import Deployment, FailureDecision, ProxyRequest
from proxy_core.pipeline.candidate import CandidateDeployment, candidate_of
from proxy_core.pipeline.final_error import final_error, limit_met, with_attempts
from proxy_core.pipeline.trace import Trace
from proxy_core.rotation.explain import decided
from proxy_core.rotation.pool import Lease, Pool
from proxy_core.settings.schema import RoutingSettings

#: A wait ends while there is still time for an attempt, and in time for the client to be told.
_WAITING_SHARE = 0.9
#: A request that waits for long makes many decisions.
_MAX_DECISIONS = 50

Choice = tuple[CandidateDeployment, Lease]


class AttemptPlan:
    """Pure bookkeeping; the executor sends and waits. After ``deadline`` only untouched deployments get an attempt."""

    def __init__(
        self,
        request: ProxyRequest,
        deployments: Sequence[Deployment],
        pools: Mapping[str, Pool],
        routing: RoutingSettings,
        trace: Trace,
        family: str,
    ) -> None:
        self._request = request
        self._routing = routing
        self._trace = trace
        self._failures: list[FailureDecision] = []
        self._waited = False
        self.deadline = Deadline.after(min(routing.max_wait_s, trace.left_s * _WAITING_SHARE), trace.clock)
        self.candidates = [candidate_of(d, pools[d.provider.name], family, request.client) for d in deployments]

    def next(self) -> Choice | None:
        """The best deployment with a usable credential, and a lease of it; ``None`` if there is none now."""
        choice = self._choice()
        if self._waited:
            self.pass_on(choice)
        return choice

    def _choice(self) -> Choice | None:
        late = self._late
        for candidate in self.candidates:
            if candidate.closed or (late and not candidate.untouched):
                continue
            model, tried, max_priority = candidate.deployment.model, candidate.out, candidate.max_priority
            lease = candidate.pool.take(self._request, model, tried, max_priority)
            self._note(candidate, lease)
            if lease is not None:
                return candidate, lease
        return None

    def _note(self, candidate: CandidateDeployment, lease: Lease | None) -> None:
        trace, pool, deployment = self._trace, candidate.pool, candidate.deployment
        if len(trace.decisions) < _MAX_DECISIONS:
            at_s, limits = trace.elapsed_s, (candidate.max_priority, candidate.unable, candidate.kept)
            trace.decisions.append(decided(pool, deployment.model, lease, candidate.tried, deployment, at_s, *limits))

    def pass_on(self, taken: Choice | None) -> None:
        """A waiting request was notified of one credential; if it took none, the next waiter is notified."""
        self._waited = False
        for candidate in self.candidates:
            if taken is None or taken[0].pool is not candidate.pool:
                candidate.pool.pass_on()

    def learn(self, candidate: CandidateDeployment, lease: Lease, decision: FailureDecision) -> float:
        """Record a failure. Returns the seconds to wait before the next attempt: 0 unless it is a retry."""
        self._failures.append(decision)
        candidate.tries += 1
        if candidate.may_retry(decision, self._routing.attempts_per_credential):
            wait_s = back_off_s(candidate.tries, decision.error.retry_after_s, self._routing)
            if wait_s < self.deadline.remaining_s(self._trace.clock):
                return wait_s
        candidate.set_aside(lease.credential.id, decision)
        return 0.0

    @property
    def exhausted(self) -> bool:
        """Whether no further attempt may start."""
        late = self._late and not any(candidate.untouched for candidate in self.candidates)
        return bool(self._failures) and (late or len(self._trace.attempts) >= self._routing.max_attempts)

    @property
    def may_hedge(self) -> bool:
        """Whether another attempt may start while one is under way."""
        return not self._late and len(self._trace.attempts) + 1 < self._routing.max_attempts

    @property
    def _late(self) -> bool:
        return self.deadline.remaining_s(self._trace.clock) <= 0

    def new_round(self) -> None:
        """After a wait, credentials that were tried may be usable again."""
        self._waited = True
        for candidate in self.candidates:
            candidate.tried = set(candidate.spent)

    @property
    def soonest_s(self) -> float | None:
        return min((wait for c in self.candidates if (wait := c.soonest_s) is not None), default=None)

    @property
    def cooldown_ends_s(self) -> float | None:
        return min((wait for c in self.candidates if (wait := c.cooldown_ends_s) is not None), default=None)

    def rejection(self, decision: FailureDecision) -> ProxyError:
        """The error when no other attempt could help; a client's own mistake lists no attempts."""
        return decision.error if decision.fault == "client" else with_attempts(decision.error, self._trace.attempts)

    def error(self) -> ProxyError:
        """The final error for the client."""
        if self._waited:
            self.pass_on(None)
        standings = [candidate.standing() for candidate in self.candidates]
        return with_attempts(final_error(self._failures, standings), self._trace.attempts)

    def limit(self) -> ProxyError | None:
        """The limit that a request met and that still applies, if its time has run out."""
        standings = [candidate.standing() for candidate in self.candidates]
        return limit_met(self._failures, standings) if self._failures else None
