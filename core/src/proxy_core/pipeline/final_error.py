"""The error for the client when no attempt succeeded."""

from __future__ import annotations

from collections.abc import Sequence

from proxy_core.errors import CapacityExhausted, ProxyError, Unavailable
from proxy_core.interfaces import AttemptRecord, FailureDecision
from proxy_core.rotation.cooldown import Cooldown
from proxy_core.rotation.pool import Pool


def best_failure(failures: Sequence[FailureDecision], pools: Sequence[Pool], soonest_s: float | None) -> ProxyError:
    """The failure most worth retrying, the latest of equals. ``soonest_s``: time until a credential is usable."""
    error = max(reversed(failures), key=_worth_retrying).error
    if soonest_s is not None and (isinstance(error, CapacityExhausted | Unavailable) or _outage(pools) is not None):
        error.retry_after_s = max(soonest_s, 1.0)
    elif soonest_s is not None and error.retry_after_s is not None:
        error.retry_after_s = max(soonest_s, error.retry_after_s)
    return error


def _worth_retrying(decision: FailureDecision) -> int:
    """How much waiting helps: certainly with a limit, perhaps with an outage, hardly with a rejected key."""
    error = decision.error
    if isinstance(error, CapacityExhausted):
        return 3 if error.code == "insufficient_quota" else 4
    if error.retry_after_s is not None:
        return 2
    return 1 if decision.fault in ("provider", "network") else 0


def none_usable(pools: Sequence[Pool], soonest_s: float | None) -> ProxyError:
    """The error when no credential was usable at all."""
    if not any(len(pool) for pool in pools):
        return Unavailable("No credential is configured for this model.", code="no_credential")
    if soonest_s is None:
        why = next((row.unavailable for pool in pools for row in pool.ledger.rows if row.needs_login), "")
        text = "No credential may serve this model." + (f" {why}" if why else "")
        return Unavailable(text, code="no_credential")
    outage = _outage(pools)
    if outage is not None:
        message = f"The provider's circuit breaker is open after repeated failures: {outage.message}"
        return Unavailable(message, retry_after_s=max(soonest_s, 1.0))
    state = "cooling down" if soonest_s else "busy"
    return CapacityExhausted(f"Every credential for this model is {state}.", retry_after_s=max(soonest_s, 1.0))


def _outage(pools: Sequence[Pool]) -> Cooldown | None:
    return next((pool.ledger.outage for pool in pools if pool.ledger.outage is not None), None)


def with_attempts(error: ProxyError, attempts: Sequence[AttemptRecord]) -> ProxyError:
    """``error`` with its attempts, for a client; upstreams' messages concern the operator's keys and are left out."""
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
