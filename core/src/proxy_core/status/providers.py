"""A provider's credentials as its pool knows them now, as values. Reads memory and changes nothing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from math import isfinite

from proxy_core.interfaces import (
    CooldownStatus,
    CredentialState,
    CredentialStatus,
    Provider,
    ProviderStatus,
    QuotaStatus,
)
from proxy_core.rotation.cooldown import Cooldown
from proxy_core.rotation.lane import Lane
from proxy_core.rotation.ledger import Ledger
from proxy_core.rotation.pool import Pool
from proxy_core.rotation.state import Slot


def provider_status(provider: Provider, plugin: str, pool: Pool, *, credentials: bool) -> ProviderStatus:
    """``credentials``: with everything about each of them, which takes time for a thousand."""
    ledger, instants = pool.ledger, _Instants(pool.clock.monotonic(), pool.clock.now())
    everywhere, somewhere = _cooling_down(ledger, instants.now)
    return ProviderStatus(
        name=provider.name,
        plugin=plugin,
        dialects=tuple(provider.dialects),
        selector=pool.selector.name,
        lifecycle=provider.lifecycle,
        credential_count=len(pool),
        in_flight=pool.in_flight,
        waiting=pool.waiting,
        cooling_down=everywhere,
        partly_cooling_down=somewhere,
        circuit_breaker=_cooldown(ledger.outage, instants),
        credentials=_credentials(ledger, instants) if credentials else (),
    )


class _Instants:
    """Monotonic seconds as times of day."""

    def __init__(self, now: float, wall: datetime) -> None:
        self.now = now
        self._wall = wall

    def __call__(self, at: float) -> datetime:
        return self._wall + timedelta(seconds=at - self.now)


def _cooling_down(ledger: Ledger, now: float) -> tuple[int, int]:
    """How many credentials are in cooldown for every model, and how many of the others for some."""
    slots, lanes = ledger.slots, ledger.lanes.values()
    everywhere = {i for i, slot in enumerate(slots) if slot.cooldown is not None and slot.cooldown.until > now}
    somewhere = {i for lane in lanes for i, cooldown in lane.cooldowns.items() if cooldown.until > now}
    return len(everywhere), len(somewhere - everywhere)


def _credentials(ledger: Ledger, instants: _Instants) -> Sequence[CredentialStatus]:
    quotas = _quotas(ledger, instants)
    return [_credential(slot, quotas.get(index, ()), instants) for index, slot in enumerate(ledger.slots)]


def _credential(slot: Slot, quotas: Sequence[QuotaStatus], instants: _Instants) -> CredentialStatus:
    credential, most = slot.credential, min(slot.most, slot.granted)
    return CredentialStatus(
        id=credential.id,
        label=credential.label,
        kind=credential.kind,
        tier=credential.tier,
        priority=credential.priority,
        state=_state(slot, instants.now),
        note=slot.out,
        in_flight=slot.in_flight,
        max_concurrent=int(most) if isfinite(most) else None,
        last_used_at=instants(slot.last_used) if slot.last_used >= 0 else None,
        expires_at=credential.expires_at,
        renewable=credential.refresh_token is not None,
        cooldown=_cooldown(slot.cooldown, instants),
        quotas=quotas,
    )


def _state(slot: Slot, now: float) -> CredentialState:
    if slot.out:
        return "needs login" if slot.for_good else "refreshing"
    if slot.ends_at <= now:
        return "refreshing"
    if slot.cooldown is not None and slot.cooldown.closed(now):
        return "probing" if slot.cooldown.probing else "cooling down"
    return "busy" if slot.in_flight >= min(slot.most, slot.granted) else "usable"


def _quotas(ledger: Ledger, instants: _Instants) -> Mapping[int, Sequence[QuotaStatus]]:
    """By a credential's place: what it used of each quota, of those with an open window, a cap or a cooldown."""
    found: defaultdict[int, list[QuotaStatus]] = defaultdict(list)
    for lane in ledger.lanes.values():
        for index in {*lane.windows, *lane.capped, *lane.cooldowns}:
            quota = _quota(lane, index, instants)
            if quota is not None:
                found[index].append(quota)
    return found


def _quota(lane: Lane, index: int, instants: _Instants) -> QuotaStatus | None:
    now, window, cooldown = instants.now, lane.windows.get(index), lane.cooldowns.get(index)
    if window is not None and window.resets_at <= now:
        window = None
    capped_until = lane.capped.get(index, now)
    if window is None and cooldown is None and capped_until <= now:
        return None
    return QuotaStatus(
        name=lane.name,
        used=lane.used[index] if window is not None else 0,
        limit=window.limit if window is not None else None,
        resets_at=instants(window.resets_at) if window is not None else None,
        reported=window is not None and window.told,
        capped_until=instants(capped_until) if capped_until > now else None,
        cooldown=_cooldown(cooldown, instants),
    )


def _cooldown(cooldown: Cooldown | None, instants: _Instants) -> CooldownStatus | None:
    if cooldown is None:
        return None
    return CooldownStatus(
        since=instants(cooldown.since),
        until=instants(cooldown.until),
        next_probe=instants(cooldown.probe_at),
        probing=cooldown.probing,
        failures=cooldown.failures,
        code=cooldown.code,
        message=cooldown.words,
    )
