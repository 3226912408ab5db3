"""The error for the client when no attempt succeeded.

If nothing could serve the request now, the error says what is being waited for, and is the same for the first request,
which found out, as for the hundredth, which is turned away: both get the message that the cooldowns keep.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence, Set
from datetime import UTC, datetime

from msgspec import Struct

from proxy_core.errors import CapacityExhausted, Forbidden, ProxyError, Unavailable, UpstreamLoginRequired
from proxy_core.interfaces import AttemptRecord, Deployment, FailureDecision, Provider
from proxy_core.rotation.cooldown import Cooldown
from proxy_core.rotation.obstacles import Obstacle, obstacles
from proxy_core.rotation.pool import Pool
from proxy_core.rotation.state import Reserved
from proxy_core.settings.base import environment_name

#: Clients sleep through a Retry-After in silence, so a guess is never longer than this: they may ask again, which
#: costs the upstream nothing. A guess that is longer than the second is for a quota, and stops agents, as it should.
_GUESS_S = 60.0
_LONG_GUESS_S = 300.0
#: An SDK that asks again twice after this long then still meets the first probe of a circuit breaker.
_OUTAGE_GUESS_S = 5.0
_SOON_S = 1.0


class Wait(Struct, frozen=True, kw_only=True):
    """What credentials are waiting for; ``ends_s``: seconds until it ends, infinite if waiting does not help."""

    error: ProxyError
    ends_s: float


class Standing(Struct, frozen=True, kw_only=True):
    """How the credentials of one deployment stand.

    ``waits``: what those that cannot serve are waiting for, the first of each kind; ``usable``: some are waiting for
    nothing; ``untried``: and were not even tried. ``lacks``: there is none at all, and what to do about that.
    """

    lacks: str
    waits: Sequence[Wait]
    usable: bool
    untried: bool


def standing(
    deployment: Deployment,
    pool: Pool,
    max_priority: int | None,
    tried: Set[str] | None,
    unable: Set[str],
    kept: Mapping[str, Reserved],
) -> Standing:
    """``tried``: the credentials that need not be tried again for this request; ``None`` stands for all.
    ``kept``: those that are kept for other clients.
    """
    found, now = obstacles(pool, deployment.model, max_priority, kept), pool.clock.monotonic()
    found = {credential: obstacle for credential, obstacle in found.items() if credential not in unable}
    name, epoch = deployment.provider.name, pool.ledger.epoch
    free = {credential for credential, obstacle in found.items() if obstacle is None}
    return Standing(
        lacks="" if len(pool) > len(unable) else _lacks(deployment.provider, {c.kind for c in pool.credentials}),
        waits=[
            Wait(error=_error(obstacle, name, ends_s, epoch), ends_s=ends_s)
            for obstacle, ends_s in _soonest_of_each_kind(found.values(), now)
        ],
        usable=bool(free),
        untried=tried is not None and not free <= tried,
    )


def final_error(failures: Sequence[FailureDecision], standings: Sequence[Standing]) -> ProxyError:
    """``failures`` of this request; none if nothing was tried."""
    waits = [wait for standing in standings for wait in standing.waits]
    if not failures and not waits:
        lacks = dict.fromkeys(standing.lacks for standing in standings if standing.lacks)
        return _no_credential(" ".join(lacks) or "No credential may serve this model.")
    if not failures or (waits and not any(standing.usable for standing in standings)):
        return soonest(waits)
    best = max(reversed(failures), key=_worth_retrying).error
    alike = [wait for wait in waits if wait.error.kind == best.kind]
    error = soonest(alike) if alike else best
    if error.retry_after_s is not None and any(standing.untried for standing in standings):
        error.retry_after_s = _SOON_S
    return error


def limit_met(failures: Sequence[FailureDecision], standings: Sequence[Standing]) -> ProxyError | None:
    """The limit among the failures that still applies, if there is one."""
    if not any(decision.error.kind == CapacityExhausted.kind for decision in failures):
        return None
    waits = [wait for standing in standings for wait in standing.waits if wait.error.kind == CapacityExhausted.kind]
    return soonest(waits) if waits else None


def _worth_retrying(decision: FailureDecision) -> int:
    """How much trying again helps: at once what the client can mend, certainly with a limit, perhaps with an outage,
    hardly with a rejected key.
    """
    error = decision.error
    if error.client_can_mend:
        return 5
    if isinstance(error, CapacityExhausted):
        return 3 if error.code == "insufficient_quota" else 4
    if error.retry_after_s is not None:
        return 2
    return 1 if decision.fault in ("provider", "network") else 0


def soonest(waits: Sequence[Wait]) -> ProxyError:
    """The error of what ends first."""
    return min(waits, key=lambda wait: wait.ends_s).error


def _lacks(provider: Provider, kinds: Set[str]) -> str:
    """``kinds``: of the credentials that there are, but that cannot serve this."""
    variable, kind = f"{environment_name(provider.name)}_API_KEY", provider.credential_kind
    keys = kind == "api_key" or provider.accepts_api_keys
    ways = [f"set {variable}"] if keys and "api_key" not in kinds else []
    ways += [f"run `proxy-core login {provider.name}`"] if kind != "api_key" and kind not in kinds else []
    what = f"credential for {provider.name}" + (" that can serve this endpoint" if kinds else "")
    return f"There is no {what}: {' or '.join(ways)}."


def _no_credential(message: str) -> ProxyError:
    error = Unavailable(message, code="no_credential")
    error.waiting_helps = False
    return error


def _soonest_of_each_kind(found: Iterable[Obstacle | None], now: float) -> Iterable[tuple[Obstacle, float]]:
    """The obstacle of each kind that ends first, and in how many seconds."""
    soonest: dict[str, tuple[Obstacle, float]] = {}
    for obstacle in found:
        if obstacle is not None:
            kind, ends_s = obstacle.cooldown.told.kind if obstacle.cooldown else obstacle.reason, _ends_s(obstacle, now)
            if kind not in soonest or ends_s < soonest[kind][1]:
                soonest[kind] = obstacle, ends_s
    return soonest.values()


def _ends_s(obstacle: Obstacle, now: float) -> float:
    """Seconds until it ends; infinite if waiting does not help."""
    cooldown, ends_at = obstacle.cooldown, obstacle.ends_at
    endless = obstacle.reason in ("needs login", "needs setup") or (obstacle.reason == "reserved" and ends_at is None)
    if endless or (cooldown and not cooldown.told.waiting_helps):
        return math.inf
    if cooldown is not None:
        ends_at = cooldown.until if cooldown.ends_at is None else cooldown.ends_at
    return _SOON_S if ends_at is None else max(_SOON_S, ends_at - now)


def _error(obstacle: Obstacle, provider: str, ends_s: float, epoch: float) -> ProxyError:
    """What an error says of an obstacle. ``epoch``: the offset from monotonic seconds to epoch seconds."""
    if obstacle.cooldown is not None:
        return _cooling_down(obstacle.cooldown, ends_s, epoch, outage=obstacle.outage)
    match obstacle.reason:
        case "needs login":
            return UpstreamLoginRequired(_login(provider, obstacle.note))
        case "needs setup":
            return _not_set_up(provider, obstacle.note)
        case "refreshing":
            return _not_ready(provider, obstacle.note, ends_s)
        case "reserved":
            return _reserved(provider, ends_s, obstacle.ends_at, epoch)
        case "capped":
            text, ends_at = f"The limit that is set for {provider} is reached.", obstacle.ends_at
        case "busy":
            text, ends_at = f"Every credential of {provider} for this model is busy.", None
        case _:
            text, ends_at = f"{provider} is set aside to spread its use.", obstacle.ends_at
    return _exhausted(text, ends_s, ends_at, epoch)


def _exhausted(text: str, ends_s: float, ends_at: float | None, epoch: float) -> CapacityExhausted:
    error = CapacityExhausted(text, retry_after_s=ends_s)
    if ends_at is not None:
        error.say_more(f"Available again at {_instant(ends_at + epoch)}.")
    return error


def _reserved(provider: str, ends_s: float, ends_at: float | None, epoch: float) -> ProxyError:
    """Only the operator can change it, and only a window that resets ends it."""
    if ends_at is None:
        return Forbidden(f"{provider} is kept for other clients; its operator may change that.", code="reserved")
    text = f"The rest of the quota of {provider} is kept for other clients; its operator may change that."
    return _exhausted(text, ends_s, ends_at, epoch)


def _not_ready(provider: str, why: str, ends_s: float) -> ProxyError:
    acts = "; the proxy tries again by itself" if ends_s > _SOON_S else ""
    text = f"The login for {provider} is not ready: {why.rstrip('.')}{acts}."
    return Unavailable(text, retry_after_s=min(ends_s, _GUESS_S))


def _not_set_up(provider: str, why: str) -> ProxyError:
    error = Unavailable(f"{provider} cannot be used until this is set up: {why.rstrip('.')}.", code="setup_required")
    error.waiting_helps = False
    return error


def _login(provider: str, why: str) -> str:
    why = why.rstrip(".")
    return f"{why}." if why.startswith(provider) else f"{provider} cannot be used until its owner acts: {why}."


def _cooling_down(cooldown: Cooldown, ends_s: float, epoch: float, *, outage: bool) -> ProxyError:
    told, ends_at = cooldown.told, cooldown.ends_at
    if not told.waiting_helps:
        return ProxyError.again(told, None)
    most_s = _OUTAGE_GUESS_S if outage else ends_s if ends_s > _LONG_GUESS_S else _GUESS_S
    guess_s = min(ends_s, most_s)
    error = ProxyError.again(told, guess_s if ends_at is None else ends_s)
    if outage and ends_at is None:
        error.say_more("The provider's circuit breaker is open after repeated failures.")
    if ends_at is not None:
        error.say_more(f"Available again at {_instant(ends_at + epoch)}.")
    return error


def _instant(epoch_s: float) -> str:
    """To the second, so that it is the same in every error."""
    return datetime.fromtimestamp(math.ceil(epoch_s - 0.01), UTC).isoformat().replace("+00:00", "Z")


def with_attempts(error: ProxyError, attempts: Sequence[AttemptRecord]) -> ProxyError:
    """``error`` with its attempts, for a client; upstreams' messages concern the operator's keys and are left out.

    A refusal, which is to stop agents, lists none: some of them go on if there is a "429" anywhere in an error.
    """
    if error.kind in ("refused", "unpaid"):
        return error
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
