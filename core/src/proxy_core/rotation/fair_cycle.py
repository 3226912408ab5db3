"""Fair cycle: who is exhausted is left alone until all are, so that quota is drained evenly."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from proxy_core.rotation.lane import Lane

if TYPE_CHECKING:
    from proxy_core.rotation.ledger import Ledger


def complete(ledger: Ledger, lane: Lane, index: int) -> bool:
    """Whether all that share a cycle with ``index`` are exhausted."""
    return lane.marks.keys() >= ledger.cycles[index]


def sets_aside(ledger: Ledger, lane: Lane, index: int, now: float) -> bool:
    """Whether ``index`` has to wait for the others. The last of a cycle begins a new one."""
    if index not in lane.marks:
        return False
    over = over_at(ledger, lane, index, now)
    if over > now:
        ledger.wake(over, index)
        return True
    _forget(ledger, lane, ledger.cycles[index] if complete(ledger, lane, index) else [index])
    return False


def over_at(ledger: Ledger, lane: Lane, index: int, now: float) -> float:
    """When a mark stops keeping ``index`` back, as far as that is known."""
    if index not in lane.marks:
        return now
    over = lane.marks[index] + ledger.rotation.fair_cycle_s
    if not complete(ledger, lane, index):
        return over
    rests = [
        c for n in ledger.cycles[index] for c in (ledger.slots[n].cooldown, lane.cooldowns.get(n)) if c is not None
    ]
    soon = [c.until for c in rests if 0 < c.until - now < ledger.rotation.fair_cycle_short_cooldown_s]
    return min(over, min(soon, default=now))  # one that is back in a moment is waited for


def _forget(ledger: Ledger, lane: Lane, indexes: Collection[int]) -> None:
    for index in indexes:
        lane.marks.pop(index, None)
    for other in ledger.lanes.values():
        if other.marks is lane.marks:
            other.dirty.update(indexes)
