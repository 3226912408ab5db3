"""What the client is told when no attempt brought a response."""

from __future__ import annotations

from collections.abc import Sequence

from proxy_core.errors import CapacityExhausted, ProxyError, Unavailable
from proxy_core.interfaces import AttemptRecord, FailureDecision
from proxy_core.rotation.cooldown import Cooldown
from proxy_core.rotation.pool import Pool


def most_hopeful(failures: Sequence[FailureDecision], pools: Sequence[Pool], soonest_s: float | None) -> ProxyError:
    """Of several failures the one most worth waiting for; the latest of those. ``soonest_s``: until a credential is."""
    error = max(reversed(failures), key=_hope).error
    if soonest_s is not None and (isinstance(error, CapacityExhausted | Unavailable) or _outage(pools) is not None):
        error.retry_after_s = max(soonest_s, 1.0)
    elif soonest_s is not None and error.retry_after_s is not None:
        error.retry_after_s = max(soonest_s, error.retry_after_s)
    return error


def _hope(decision: FailureDecision) -> int:
    """A client that waits is helped against a limit, perhaps against an outage, hardly against a refused key."""
    error = decision.error
    if isinstance(error, CapacityExhausted):
        return 3 if error.code == "insufficient_quota" else 4
    if error.retry_after_s is not None:
        return 2
    return 1 if decision.fault in ("provider", "network") else 0


def none_usable(pools: Sequence[Pool], soonest_s: float | None) -> ProxyError:
    """No credential could be lent at all."""
    if not any(len(pool) for pool in pools):
        return Unavailable("No credential is configured for this model.", code="no_credential")
    if soonest_s is None:
        why = next((row.out for pool in pools for row in pool.ledger.rows if row.for_good), "")
        text = "No credential may serve this model." + (f" {why}" if why else "")
        return Unavailable(text, code="no_credential")
    outage = _outage(pools)
    if outage is not None:
        text = f"The provider's circuit breaker is open after repeated failures: {outage.words}"
        return Unavailable(text, retry_after_s=max(soonest_s, 1.0))
    state = "cooling down" if soonest_s else "busy"
    return CapacityExhausted(f"Every credential for this model is {state}.", retry_after_s=max(soonest_s, 1.0))


def _outage(pools: Sequence[Pool]) -> Cooldown | None:
    return next((pool.ledger.outage for pool in pools if pool.ledger.outage is not None), None)


def with_attempts(error: ProxyError, attempts: Sequence[AttemptRecord]) -> ProxyError:
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
