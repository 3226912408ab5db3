"""The attempts of one request: which deployment and credential come next, and the final error for the client."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from proxy_core.clock import Deadline
from proxy_core.errors import ProxyError
from proxy_core.interfaces import Deployment, FailureDecision, ProxyRequest
from proxy_core.pipeline.final_error import Standing, final_error, limit_met, standing, with_attempts
from proxy_core.pipeline.trace import Trace
from proxy_core.rotation.explain import selected
from proxy_core.rotation.pool import Lease, Pool
from proxy_core.settings.schema import RoutingSettings

_MAX_BACK_OFF_S = 8.0
#: How often one request uses a credential that puts it off each time. A client that wants to go on may ask again.
_MAX_LIMITED = 2
#: A wait ends while there is still time for an attempt, and in time for the client to be told.
_WAITING_SHARE = 0.9
#: A request that waits for long makes many decisions.
_MAX_DECISIONS = 50


@dataclass(slots=True)
class CandidateDeployment:
    """A deployment that may serve the request.

    ``tried`` credentials are not used again in this round; ``spent`` ones are not used again at all; ``limited``
    are those that began to cool down, and how often.
    """

    deployment: Deployment
    pool: Pool
    max_priority: int | None
    tried: set[str] = field(default_factory=set)
    spent: set[str] = field(default_factory=set)
    limited: dict[str, int] = field(default_factory=dict)
    tries: int = 0
    closed: bool = False

    @property
    def soonest_s(self) -> float | None:
        """Seconds until one of its credentials may be used; ``None`` if none will be."""
        if self.closed:
            return None
        return self.pool.soonest_s(self.deployment.model, self.max_priority, self.spent)

    @property
    def cooldown_ends_s(self) -> float | None:
        """Seconds until the next cooldown ends, an event without notification; credentials in use do not count."""
        if self.closed:
            return None
        return self.pool.cooldown_ends_s(self.deployment.model, self.max_priority, self.spent)


Choice = tuple[CandidateDeployment, Lease]


class AttemptPlan:
    """Pure bookkeeping; the executor sends and waits. No attempt starts after ``deadline``."""

    def __init__(
        self,
        request: ProxyRequest,
        deployments: Sequence[Deployment],
        pools: Mapping[str, Pool],
        routing: RoutingSettings,
        trace: Trace,
    ) -> None:
        self._request = request
        self._routing = routing
        self._trace = trace
        self._failures: list[FailureDecision] = []
        self._waited = False
        self.deadline = Deadline.after(min(routing.max_wait_s, trace.left_s * _WAITING_SHARE), trace.clock)
        self.candidates = [_candidate(deployment, pools[deployment.provider.name]) for deployment in deployments]

    def next(self) -> Choice | None:
        """The best deployment with a usable credential, and a lease of it; ``None`` if there is none now."""
        choice = self._choice()
        if self._waited:
            self.pass_on(choice)
        return choice

    def _choice(self) -> Choice | None:
        for candidate in self.candidates:
            if candidate.closed:
                continue
            model, tried, max_priority = candidate.deployment.model, candidate.tried, candidate.max_priority
            lease = candidate.pool.take(self._request, model, tried, max_priority)
            self._note(candidate, lease)
            if lease is not None:
                return candidate, lease
        return None

    def _note(self, candidate: CandidateDeployment, lease: Lease | None) -> None:
        trace, pool, deployment = self._trace, candidate.pool, candidate.deployment
        if len(trace.selections) < _MAX_DECISIONS:
            at_s, tried, max_priority = trace.elapsed_s, candidate.tried, candidate.max_priority
            trace.selections.append(selected(pool, deployment.model, lease, tried, deployment, at_s, max_priority))

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
        if decision.next == "retry" and candidate.tries < self._routing.attempts_per_credential:
            back_off_s = self._back_off_s(candidate.tries, decision.error.retry_after_s)
            if back_off_s < self.deadline.remaining_s(self._trace.clock):
                return back_off_s
        candidate.tries = 0
        self._set_aside(candidate, lease.credential.id, decision)
        if decision.next == "fail_over" or (decision.next == "retry" and decision.fault == "network"):
            candidate.closed = True  # another credential would not reach the host either
        return 0.0

    def _set_aside(self, candidate: CandidateDeployment, credential: str, decision: FailureDecision) -> None:
        candidate.tried.add(credential)
        candidate.limited[credential] = limited = candidate.limited.get(credential, 0) + 1
        if decision.cooldown in (None, "provider") or limited >= _MAX_LIMITED:
            candidate.spent.add(credential)

    def _back_off_s(self, tries: int, requested_s: float | None) -> float:
        """Exponential, with jitter; never less than the upstream requested."""
        routing = self._routing
        delay_s = min(_MAX_BACK_OFF_S, routing.retry_delay_s * 2.0 ** (tries - 1))
        jitter_s = routing.retry_jitter_s * random.random()  # noqa: S311  # spreads retries, hides nothing
        return max(delay_s, requested_s or 0.0) + jitter_s

    @property
    def exhausted(self) -> bool:
        """Whether no further attempt may start."""
        return bool(self._failures) and not self._may_start(len(self._trace.attempts))

    @property
    def may_hedge(self) -> bool:
        """Whether another attempt may start while one is under way."""
        return self._may_start(len(self._trace.attempts) + 1)

    def _may_start(self, attempts: int) -> bool:
        return attempts < self._routing.max_attempts and self.deadline.remaining_s(self._trace.clock) > 0

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
        return with_attempts(final_error(self._failures, self._standings()), self._trace.attempts)

    def limit(self) -> ProxyError | None:
        """The limit that a request met and that still applies, if its time has run out."""
        return limit_met(self._failures, self._standings()) if self._failures else None

    def _standings(self) -> list[Standing]:
        return [standing(c.deployment, c.pool, c.max_priority, None if c.closed else c.tried) for c in self.candidates]


def _candidate(deployment: Deployment, pool: Pool) -> CandidateDeployment:
    max_priority = deployment.provider.max_priority
    return CandidateDeployment(deployment, pool, max_priority(deployment.model) if max_priority is not None else None)
