"""How much of a quota window is used: our own count, and what a provider says of its own.

Times are monotonic seconds.
"""

from __future__ import annotations

from datetime import datetime

from proxy_core.interfaces import QuotaWindow
from proxy_core.rotation import caps
from proxy_core.rotation.policy import Policy
from proxy_core.rotation.state import BUSY, UNUSABLE, CredentialState, QuotaGroup, Window

#: Windows that end this close to each other are the same window, reported twice.
_SAME_WINDOW_S = 60.0


def count(policy: Policy, group: QuotaGroup, row: CredentialState, now: float, epoch: float) -> None:
    """One more request. ``epoch``: what to add to monotonic seconds to get the time of day."""
    group.used[row.id] = group.used.get(row.id, 0) + 1
    if row.id not in group.windows:
        group.windows[row.id] = Window(window_end(policy, now, epoch))
    apply_limits(policy, group, row, now)


def uncount(policy: Policy, group: QuotaGroup, row: CredentialState, now: float) -> bool:
    """One less: a provider counts no request that it could not serve. False if there was none."""
    if not group.used.get(row.id):
        return False
    group.used[row.id] -= 1
    apply_limits(policy, group, row, now)
    return True


def learn(
    policy: Policy, group: QuotaGroup, row: CredentialState, said: QuotaWindow, now: float, received_at: datetime
) -> bool:
    """What the provider says takes the place of what we counted. True if it is another window than was known."""
    if said.unit != "requests" or said.resets_at is None:
        return False
    left_s = (said.resets_at - received_at).total_seconds()
    resets_at = now + min(max(0.0, left_s), policy.routing.max_cooldown_s)
    limit = said.limit if said.limit is not None and said.limit > 0 else None  # -1 and 0 say "none"
    before = group.windows.get(row.id)
    group.windows[row.id] = Window(resets_at, limit, from_provider=True)
    if said.used is not None:
        group.used[row.id] = int(min(max(0.0, said.used), BUSY))
    apply_limits(policy, group, row, now)
    return before is None or before.limit != limit or abs(before.resets_at - resets_at) > _SAME_WINDOW_S


def window_end(policy: Policy, now: float, epoch: float) -> float:
    """All processes count in the same windows, whoever was the first: a day begins at 00:00 UTC."""
    length_s = policy.rotation.quota_window_s
    return ((now + epoch) // length_s + 1) * length_s - epoch


def expire(group: QuotaGroup, row: CredentialState, now: float) -> None:
    """Begin anew what is over."""
    window = group.windows.get(row.id)
    if window is not None and window.resets_at <= now:
        del group.windows[row.id]
        group.used.pop(row.id, None)
    if group.capped.get(row.id, UNUSABLE) <= now:
        del group.capped[row.id]


def apply_limits(policy: Policy, group: QuotaGroup, row: CredentialState, now: float) -> None:
    """Configured caps and the share that fair cycle allows, against the count as it is now."""
    used, window = group.used.get(row.id, 0), group.windows.get(row.id)
    group.capped.pop(row.id, None)
    if window is None:
        return
    for cap in policy.caps_for(group.name, row.priority):
        limit = caps.cap_limit(cap, window.limit)
        if limit is not None and used >= limit:
            until = caps.cap_cooldown_until(cap, now, window.resets_at)
            group.capped[row.id] = max(until, group.capped.get(row.id, until))
    share = policy.rotation.fair_cycle_share
    if policy.fair_cycle and window.limit is not None and used >= window.limit * share // 1:
        group.marks[row.id] = now
