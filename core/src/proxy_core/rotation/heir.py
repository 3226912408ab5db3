"""From one set of settings to the next: the new pool of a provider inherits what is known of its credentials.

Requests that began under the old settings still use the old pool. What they do and learn is
told to the pools that came after it, so that a limit of requests at once, a count or a rest
holds for both. Credentials are found again by their fingerprint; those that are gone are forgotten.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from proxy_core.rotation import quota
from proxy_core.rotation.changes import News, Place
from proxy_core.rotation.cooldown import Cooldown
from proxy_core.rotation.lane import Lane
from proxy_core.rotation.ledger import Ledger, Use

if TYPE_CHECKING:
    from proxy_core.rotation.pool import Pool


def inherit(pool: Pool, before: Pool) -> None:
    """Take over everything, and have ``before`` tell ``pool`` what happens to it from now on."""
    new, old = pool.ledger, before.ledger
    moved = {index: new.places[name] for name, index in old.places.items() if name in new.places}
    new.outage, new.streak = _copy(old.outage), old.streak
    for was, index in moved.items():
        slot, known = new.slots[index], old.slots[was]
        slot.granted, slot.in_flight, slot.last_used = known.granted, known.in_flight, known.last_used
        slot.cooldown = _copy(known.cooldown)
        new.touch(index)
    for name, lane in old.lanes.items():
        if new.group_of(name) in (None, name):  # else its models are counted together with others now
            _take_over(new, new.lane_named(name), old, lane, moved, pool.clock.monotonic())
    _tell(new.news, old.news, moved)
    pool.sessions.inherit(before.sessions, moved)
    before.heir = pool


def _take_over(new: Ledger, lane: Lane, old: Ledger, known: Lane, moved: Mapping[int, int], now: float) -> None:
    for was, index in moved.items():
        lane.used[index] = known.used[was]
        if was in known.cooldowns:
            lane.cooldowns[index] = replace(known.cooldowns[was], probing=False)
        if was in known.marks:
            lane.marks[index] = known.marks[was]
        if was in known.windows:
            lane.windows[index] = known.windows[was]
        caps = new.caps_for(lane.name, new.slots[index].credential.priority)
        if caps != old.caps_for(known.name, old.slots[was].credential.priority):
            quota.apply_limits(new, lane, index, now)
        elif was in known.capped:
            lane.capped[index] = known.capped[was]
    lane.last = moved.get(known.last) if known.last is not None else None


def _tell(news: News, old: News, moved: Mapping[int, int]) -> None:
    """What nobody was told of the old pool's is the new one's to tell."""

    def place(was: Place) -> Place | None:
        if was.index is None:
            return was
        return replace(was, index=moved[was.index]) if was.index in moved else None

    news.at |= {found: at for was, at in old.at.items() if (found := place(was)) is not None}
    news.places |= {found for was in old.places if (found := place(was)) is not None}
    for (index, lane), used in old.used.items():
        if index in moved:
            news.count(moved[index], lane, used)
    old.silence()


def _copy(cooldown: Cooldown | None) -> Cooldown | None:
    """A rest that whoever probes for the old pool does not hold up."""
    return replace(cooldown, probing=False) if cooldown is not None else None


def heirs(pool: Pool, use: Use) -> Iterator[tuple[Pool, Use]]:
    """The pools that came after ``pool``, and what a use of its credential is there."""
    credential = pool.ledger.slots[use.index].credential.id
    heir = pool.heir
    while heir is not None and credential in heir.ledger.places:
        ledger, index = heir.ledger, heir.ledger.places[credential]
        lane = ledger.lane(use.lane.name)
        rests = (ledger.slots[index].cooldown, lane.cooldowns.get(index), ledger.outage) if use.probes else ()
        yield heir, Use(index=index, lane=lane, started=use.started, probes=[r for r in rests if r is not None])
        heir = heir.heir
