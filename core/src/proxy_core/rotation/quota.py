"""How much of a quota window is used: our own count, and what a provider says of its own.

Times are monotonic seconds.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from proxy_core.interfaces import QuotaWindow
from proxy_core.rotation import caps
from proxy_core.rotation.changes import Place
from proxy_core.rotation.lane import BUSY, UNUSABLE, Lane, Window

if TYPE_CHECKING:
    from proxy_core.rotation.ledger import Ledger

#: Windows that end this close to each other are the same window, told twice.
_SAME_WINDOW_S = 60.0


def count(ledger: Ledger, lane: Lane, index: int, now: float) -> None:
    """One more request."""
    lane.used[index] += 1
    ledger.news.count(index, lane.name, 1)
    if index not in lane.windows:
        lane.windows[index] = Window(ends(ledger, now))
    apply_limits(ledger, lane, index, now)


def uncount(ledger: Ledger, lane: Lane, index: int, now: float) -> None:
    """One less: a provider counts no request that it could not serve."""
    if lane.used[index]:
        lane.used[index] -= 1
        ledger.news.count(index, lane.name, -1)
        apply_limits(ledger, lane, index, now)


def learn(ledger: Ledger, lane: Lane, index: int, told: QuotaWindow, now: float, received_at: datetime) -> None:
    """What the provider says takes the place of what we counted."""
    if told.unit != "requests" or told.resets_at is None:
        return
    left_s = (told.resets_at - received_at).total_seconds()
    resets_at = now + min(max(0.0, left_s), ledger.rules.max_cooldown_s)
    limit = told.limit if told.limit is not None and told.limit > 0 else None  # -1 and 0 say "none"
    before = lane.windows.get(index)
    lane.windows[index] = Window(resets_at, limit, told=True)
    if before is None or before.limit != limit or abs(before.resets_at - resets_at) > _SAME_WINDOW_S:
        ledger.news.changed(Place(index, lane.name), now)
    if told.used is not None:
        lane.used[index] = int(min(max(0.0, told.used), BUSY))
    apply_limits(ledger, lane, index, now)


def ends(ledger: Ledger, now: float) -> float:
    """All processes count in the same windows, whoever was the first: a day begins at 00:00 UTC."""
    length_s = ledger.rotation.quota_window_s
    return ((now + ledger.epoch) // length_s + 1) * length_s - ledger.epoch


def expire(lane: Lane, index: int, now: float) -> None:
    """Begin anew what is over."""
    window = lane.windows.get(index)
    if window is not None and window.resets_at <= now:
        del lane.windows[index]
        lane.used[index] = 0
    if lane.capped.get(index, UNUSABLE) <= now:
        del lane.capped[index]


def apply_limits(ledger: Ledger, lane: Lane, index: int, now: float) -> None:
    """Own caps and the share that fair cycle allows, against the count as it is now."""
    used, window = lane.used[index], lane.windows.get(index)
    lane.capped.pop(index, None)
    if window is None:
        return
    for cap in ledger.caps_for(lane.name, ledger.slots[index].credential.priority):
        limit = caps.cap_limit(cap, window.limit)
        if limit is not None and used >= limit:
            until = caps.cap_cooldown_until(cap, now, window.resets_at)
            lane.capped[index] = max(until, lane.capped.get(index, until))
    if ledger.fair_cycle and window.limit is not None and used >= window.limit * ledger.rotation.fair_cycle_share // 1:
        lane.marks[index] = now
