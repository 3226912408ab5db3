"""Fair cycle: an exhausted credential is set aside until all are exhausted, so that quota is drained evenly."""

from __future__ import annotations

from collections.abc import Collection

from proxy_core.rotation.policy import Policy
from proxy_core.rotation.state import CredentialState, QuotaGroup


def complete(group: QuotaGroup, row: CredentialState) -> bool:
    """Whether every credential that shares a cycle with ``row`` is exhausted."""
    return group.marks.keys() >= row.cycle.keys()


def over_at(policy: Policy, group: QuotaGroup, row: CredentialState, now: float) -> float:
    """When ``row`` stops being set aside, as far as that is known."""
    if row.id not in group.marks:
        return now
    over = group.marks[row.id] + policy.rotation.fair_cycle_s
    if not complete(group, row):
        return over
    cooldowns = [
        cooldown
        for name, other in row.cycle.items()
        for cooldown in (other.cooldown, group.cooldowns.get(name))
        if cooldown is not None
    ]
    soon = [c.until for c in cooldowns if 0 < c.until - now < policy.rotation.fair_cycle_short_cooldown_s]
    return min(over, min(soon, default=now))  # a credential usable again soon is waited for


def forgotten(group: QuotaGroup, row: CredentialState) -> Collection[str]:
    """Whose marks end when ``row`` is used again: the last of a cycle begins a new one for all."""
    return list(row.cycle) if complete(group, row) else [row.id]
