"""The state of a provider's credentials, from its pool, as values. Reads memory and changes nothing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from math import isfinite

from msgspec.structs import replace

from proxy_core.clock import Instant
from proxy_core.interfaces import (
    CooldownStatus,
    CredentialState,
    CredentialStatus,
    Provider,
    ProviderStatus,
    QuotaStatus,
)
from proxy_core.rotation.changes import summed
from proxy_core.rotation.cooldown import Cooldown
from proxy_core.rotation.ledger import Ledger
from proxy_core.rotation.pace import Pace, empty_at, pace
from proxy_core.rotation.pool import Pool
from proxy_core.rotation.quota import cap_of, standing
from proxy_core.rotation.state import CredentialState as Row
from proxy_core.rotation.state import QuotaGroup

#: The requests that the store does not have yet, by a credential's id and the quota group.
Unsent = Mapping[tuple[str, str], int]
#: Removes what looks like a secret: an upstream may repeat the key that it refuses.
Clean = Callable[[str], str]


def provider_status(
    provider: Provider, plugin: str, pool: Pool, *, credentials: bool, clean: Clean = str
) -> ProviderStatus:
    """``credentials``: include each credential, which takes time for a thousand. ``clean``: what upstreams said."""
    ledger, instant = pool.ledger, Instant.of(pool.clock)
    everywhere, somewhere = _cooling_down(ledger, instant.monotonic)
    return ProviderStatus(
        name=provider.name,
        plugin=plugin,
        dialects=tuple(provider.dialects),
        selector=ledger.policy.selector.name,
        lifecycle=provider.lifecycle,
        credential_count=len(pool),
        in_flight=pool.in_flight,
        waiting=pool.waiting,
        cooling_down=everywhere,
        partly_cooling_down=somewhere,
        circuit_breaker=_cooldown(ledger.outage, instant, clean),
        credentials=_credentials(ledger, instant, clean) if credentials else (),
    )


def _cooling_down(ledger: Ledger, now: float) -> tuple[int, int]:
    """How many credentials are cooling down for every model, and how many of the others for some."""
    rows, groups = ledger.rows, ledger.groups.values()
    everywhere = {row.id for row in rows if row.cooldown is not None and row.cooldown.until > now}
    found = [cooldowns for group in groups for cooldowns in (group.cooldowns, *group.of_model.values())]
    somewhere = {name for cooldowns in found for name, cooldown in cooldowns.items() if cooldown.until > now}
    return len(everywhere), len((somewhere & {row.id for row in rows}) - everywhere)


def _credentials(ledger: Ledger, instant: Instant, clean: Clean) -> Sequence[CredentialStatus]:
    quotas = _quotas(ledger, instant, clean)
    return [_credential(row, quotas.get(row.id, ()), instant, clean) for row in ledger.rows]


def _credential(row: Row, quotas: Sequence[QuotaStatus], instant: Instant, clean: Clean) -> CredentialStatus:
    credential, most = row.credential, min(row.max_concurrent, row.granted)
    return CredentialStatus(
        id=credential.id,
        label=credential.label,
        kind=credential.kind,
        tier=credential.tier,
        priority=credential.priority,
        state=_state(row, instant.monotonic),
        note=row.unavailable or row.note,
        in_flight=row.in_flight,
        max_concurrent=int(most) if isfinite(most) else None,
        last_used_at=instant.utc(row.last_used) if row.last_used >= 0 else None,
        expires_at=credential.expires_at,
        refreshable=credential.refresh_token is not None,
        cooldown=_cooldown(row.cooldown, instant, clean),
        quotas=quotas,
    )


def _state(row: Row, now: float) -> CredentialState:
    if row.unavailable:
        return "needs login" if row.needs_login else "needs setup" if row.needs_setup else "refreshing"
    if row.expires_at <= now:
        return "refreshing"
    if row.cooldown is not None and row.cooldown.closed(now):
        return "probing" if row.cooldown.probing else "cooling down"
    return "busy" if row.in_flight >= min(row.max_concurrent, row.granted) else "usable"


def _quotas(ledger: Ledger, instant: Instant, clean: Clean) -> Mapping[str, Sequence[QuotaStatus]]:
    """By a credential's id: its usage of each quota that has an open window, a cap or a cooldown."""
    found: defaultdict[str, list[QuotaStatus]] = defaultdict(list)
    unsent = summed(ledger.changes.used)
    for group in ledger.groups.values():
        for name in {*group.windows, *group.capped, *group.cooldowns, *group.of(group.name)} & ledger.known.keys():
            quota = _quota(ledger, group, ledger.known[name], unsent, instant, clean)
            if quota is not None:
                found[name].append(quota)
        for model, cooldowns in group.of_model.items():
            for name, cooldown in cooldowns.items() if model != group.name else ():
                found[name].append(_of_model(model, cooldown, instant, clean))
    return found


def _of_model(model: str, cooldown: Cooldown, instant: Instant, clean: Clean) -> QuotaStatus:
    """The cooldown of a single model."""
    return QuotaStatus(
        name=model,
        used=0,
        limit=None,
        resets_at=None,
        reported=False,
        capped_until=None,
        cooldown=_cooldown(cooldown, instant, clean),
    )


def _quota(
    ledger: Ledger, group: QuotaGroup, row: Row, unsent: Unsent, instant: Instant, clean: Clean
) -> QuotaStatus | None:
    now = instant.monotonic
    found, cooldown = standing(group, row, now), group.named_cooldowns(row.id).get(group.name)
    if found.resets_at is None and cooldown is None and found.capped_until is None:
        return None
    status = QuotaStatus(
        name=group.name,
        used=found.used,
        limit=found.limit,
        resets_at=instant.utc(found.resets_at) if found.resets_at is not None else None,
        reported=found.reported,
        capped_until=instant.utc(found.capped_until) if found.capped_until is not None else None,
        cooldown=_cooldown(cooldown, instant, clean),
        cap=cap_of(ledger.policy, group, row),
        reserved_for=_reserved_for(ledger, group, row, now),
    )
    return _forecast(status, _pace(ledger, group, row, unsent, instant), instant.epoch)


def _reserved_for(ledger: Ledger, group: QuotaGroup, row: Row, now: float) -> Sequence[str]:
    main = ledger.groups.get(ledger.policy.parts_of(group.name)[0], group)
    reserved = main.reserved.get(row.id)
    return reserved.clients if reserved is not None and reserved.until > now else ()


def _pace(ledger: Ledger, group: QuotaGroup, row: Row, unsent: Unsent, instant: Instant) -> Pace:
    """Requests count in the main window and in the further ones alike."""
    main = ledger.policy.parts_of(group.name)[0]
    spells = ledger.groups[main].spells if main in ledger.groups else {}
    return pace(spells.get(row.id, {}), unsent.get((row.id, main), 0), instant.epoch)


def _forecast(quota: QuotaStatus, pace: Pace, epoch: float) -> QuotaStatus:
    resets_at = quota.resets_at.timestamp() if quota.resets_at is not None else epoch
    at = empty_at(pace, quota.used, quota.allowed, resets_at, epoch)
    return replace(quota, per_hour=pace.per_hour, empty_at=None if at is None else datetime.fromtimestamp(at, UTC))


def _cooldown(cooldown: Cooldown | None, instant: Instant, clean: Clean) -> CooldownStatus | None:
    if cooldown is None:
        return None
    return CooldownStatus(
        since=instant.utc(cooldown.since),
        until=instant.utc(cooldown.until),
        next_probe=instant.utc(cooldown.probe_at),
        probing=cooldown.probing,
        failures=cooldown.failures,
        code=cooldown.told.code or cooldown.told.kind,
        message=clean(cooldown.told.message),
        kind=cooldown.told.kind,
    )
