"""Saying why: which credentials could be chosen and which not, for one decision or for the operator."""

from __future__ import annotations

from collections.abc import Iterator, Set
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

from proxy_core.interfaces import Decision, Exclusion, Reason
from proxy_core.rotation.cooldown import Cooldown
from proxy_core.rotation.lane import UNUSABLE, Lane, beyond
from proxy_core.rotation.ledger import Ledger
from proxy_core.rotation.pool import Lease, Pool

#: Of a thousand credentials that rest, the first few tell the story.
_NAMED = 20


def decided(
    pool: Pool,
    model: str,
    lease: Lease | None,
    tried: Set[str],
    deployment: str,
    at_s: float,
    max_priority: int | None = None,
) -> Decision:
    """One look for a credential, right after it happened."""
    now, ledger = pool.clock.monotonic(), pool.ledger
    lane = ledger.settled(model, now)
    chosen = lease.index if lease is not None else None
    limit = beyond(max_priority)
    excluded = [index for index, load in enumerate(lane.loads) if load >= limit and index != chosen]
    excluded += [index for name in tried if lane.loads[index := ledger.places[name]] < limit and index != chosen]
    named = excluded[:_NAMED]
    return Decision(
        deployment=deployment,
        candidates=len(lane.loads) - len(excluded),
        excluded=[_exclusion(ledger, lane, index, now, tried, max_priority) for index in named],
        unnamed=len(excluded) - len(named),
        chosen=lease.credential.id if lease is not None else None,
        probe=lease is not None and lease.probes,
        outage_s=_left(ledger.outage, now),
        at_s=at_s,
    )


def _exclusion(
    ledger: Ledger, lane: Lane, index: int, now: float, tried: Set[str] = frozenset(), max_priority: int | None = None
) -> Exclusion:
    slot = ledger.slots[index]
    name = slot.credential.id
    if name in tried:
        return Exclusion(credential=name, reason="tried")
    if max_priority is not None and slot.credential.priority > max_priority:
        return Exclusion(credential=name, reason="priority")
    if slot.out:
        reason: Reason = "needs login" if slot.for_good else "being renewed"
        return Exclusion(credential=name, reason=reason, words=slot.out)
    if slot.ends_at <= now:
        return Exclusion(credential=name, reason="being renewed", words="its token has ended")
    rest = _rest(ledger, lane, index, now)
    if rest is not None:
        state: Reason = "being tried" if rest.probing else "resting"
        return Exclusion(credential=name, reason=state, left_s=_left(rest, now), words=rest.words)
    if index in lane.capped:
        return Exclusion(credential=name, reason="own cap", left_s=lane.capped[index] - now)
    if slot.in_flight >= min(slot.most, slot.granted):
        return Exclusion(credential=name, reason="busy")
    return Exclusion(credential=name, reason="fair cycle", left_s=ledger.usable_at(lane, index, now) - now)


def _rest(ledger: Ledger, lane: Lane, index: int, now: float) -> Cooldown | None:
    """The rest that keeps a credential from ``lane``, the longer one of two."""
    rests = [c for c in (ledger.slots[index].cooldown, lane.cooldowns.get(index)) if c is not None]
    return max((c for c in rests if c.closed(now)), key=lambda c: c.probe_at, default=None)


def _left(cooldown: Cooldown | None, now: float) -> float | None:
    return max(0.0, cooldown.probe_at - now) if cooldown is not None else None


# --- For the operator --------------------------------------------------------------------


def described(pool: Pool, model: str) -> dict[str, Any]:
    """Everything about a provider's credentials as to one model, as JSON: no secret, times in UTC."""
    now, wall, ledger = pool.clock.monotonic(), pool.clock.now(), pool.ledger
    lane = ledger.settled(model, now)
    times = _Times(now, wall)
    return {
        "selector": pool.selector.name,
        "quota_group": ledger.group_of(model),
        "outage": _cooldown(ledger.outage, times),
        "credentials": [_credential(ledger, lane, index, times) for index in range(len(ledger.slots))],
    }


class _Times:
    """Monotonic seconds as times of day."""

    def __init__(self, now: float, wall: datetime) -> None:
        self.now = now
        self._wall = wall

    def __call__(self, at: float) -> str:
        return (self._wall + timedelta(seconds=at - self.now)).isoformat(timespec="seconds")


def _credential(ledger: Ledger, lane: Lane, index: int, times: _Times) -> dict[str, Any]:
    slot, window = ledger.slots[index], lane.windows.get(index)
    usable = lane.loads[index] != UNUSABLE
    exclusion = None if usable else _exclusion(ledger, lane, index, times.now)
    rests = [("every model", slot.cooldown), (lane.name, lane.cooldowns.get(index))]
    return {
        "id": slot.credential.id,
        "label": slot.credential.label,
        "tier": slot.credential.tier,
        "priority": slot.credential.priority,
        "state": "usable" if exclusion is None else exclusion.reason,
        "in_flight": slot.in_flight,
        "used": lane.used[index],
        "limit": window.limit if window is not None else None,
        "window_resets": times(window.resets_at) if window is not None else None,
        "own_cap_until": times(lane.capped[index]) if index in lane.capped else None,
        "rests": [{"for": scope, **found} for scope, c in rests if (found := _cooldown(c, times)) is not None],
    }


def _cooldown(cooldown: Cooldown | None, times: _Times) -> dict[str, Any] | None:
    if cooldown is None:
        return None
    return {
        "since": times(cooldown.since),
        "until": times(cooldown.until),
        "next_probe": times(cooldown.probe_at),
        "probing": cooldown.probing,
        "failures": cooldown.failures,
        "code": cooldown.code,
        "said": cooldown.words,
    }


def as_json(decision: Decision, *, words: bool = True) -> dict[str, Any]:
    """Without what says nothing, and without upstreams' ``words`` where those may not be kept."""
    rounded = {name: round(value, 3) if isinstance(value, float) else value for name, value in asdict(decision).items()}
    rounded["excluded"] = [dict(_said(exclusion, words)) for exclusion in decision.excluded]
    return {name: value for name, value in rounded.items() if value not in (None, [], 0, False) or name == "chosen"}


def _said(exclusion: Exclusion, words: bool) -> Iterator[tuple[str, Any]]:
    yield "credential", exclusion.credential
    yield "reason", exclusion.reason
    if exclusion.left_s is not None:
        yield "left_s", round(exclusion.left_s, 1)
    if words and exclusion.words:
        yield "said", exclusion.words


def every_lane(pool: Pool, index: int) -> dict[str, Any]:
    """One credential over all models it was used for, as JSON. Clients see it: no words of an upstream."""
    now, ledger = pool.clock.monotonic(), pool.ledger
    times = _Times(now, pool.clock.now())
    slot = ledger.slots[index]
    lanes = {
        name: {
            "used": lane.used[index],
            "limit": window.limit if window is not None else None,
            "window_resets": times(window.resets_at) if window is not None else None,
            "cooldown": _wordless(lane.cooldowns.get(index), times),
        }
        for name, lane in ledger.lanes.items()
        if (window := lane.windows.get(index)) is not None or index in lane.cooldowns
    }
    return {"in_flight": slot.in_flight, "cooldown": _wordless(slot.cooldown, times), "windows": lanes}


def quotas(provider: str, pool: Pool) -> Iterator[dict[str, Any]]:
    """Windows of a provider's credentials, as JSON; ``used`` and ``limit`` are requests, ``limit`` may be unknown."""
    times = _Times(pool.clock.monotonic(), pool.clock.now())
    for name, lane in sorted(pool.ledger.lanes.items()):
        for index, window in sorted(lane.windows.items()):
            credential = pool.ledger.slots[index].credential
            if window.resets_at > times.now:
                yield {
                    "provider": provider,
                    "credential": credential.id,
                    "label": credential.label,
                    "tier": credential.tier,
                    "quota": name,
                    "used": lane.used[index],
                    "limit": window.limit,
                    "resets": times(window.resets_at),
                }


def _wordless(cooldown: Cooldown | None, times: _Times) -> dict[str, Any] | None:
    told = _cooldown(cooldown, times)
    return {name: value for name, value in told.items() if name != "said"} if told is not None else None
