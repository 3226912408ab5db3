"""What is known of a provider's credentials: what they do, what they were used for, which of them rest.

In memory, and changed by what happens to leases. Times are monotonic seconds.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from fnmatch import fnmatchcase
from functools import lru_cache

from proxy_core.interfaces import Credential, FailureDecision, QuotaWindow, Selector
from proxy_core.rotation import fair_cycle, quota
from proxy_core.rotation.changes import PROVIDER, News, Place
from proxy_core.rotation.cooldown import Cooldown, Failure, rested
from proxy_core.rotation.lane import UNUSABLE, Lane, load, new_lane
from proxy_core.rotation.state import ends_at, new_slot
from proxy_core.settings.rotation import DEFAULT_PRIORITY, RotationSettings
from proxy_core.settings.schema import RoutingSettings

#: Clients choose models, so what is kept of them is bounded.
MAX_LANES = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """One credential at work for one lane since ``started``. ``probes``: the rests, due then, that it tries."""

    index: int
    lane: Lane
    started: float
    probes: Sequence[Cooldown]


class Ledger:
    """The books of one provider."""

    def __init__(
        self,
        credentials: Iterable[Credential],
        selector: Selector,
        rotation: RotationSettings,
        rules: RoutingSettings,
        epoch: float = 0.0,
    ) -> None:
        """``epoch``: what to add to monotonic seconds to get the time of day."""
        self.rotation = rotation
        self.rules = rules
        self.fair_cycle = selector.fair_cycle if rotation.fair_cycle is None else rotation.fair_cycle
        self.slots = [new_slot(credential, selector, rotation, epoch) for credential in credentials]
        self.places = {slot.credential.id: index for index, slot in enumerate(self.slots)}
        #: By place, those who share a cycle with it.
        self.cycles = self._cycles()
        #: The marks of every lane, where fair cycle is for all models together.
        self._marks: dict[int, float] | None = {} if rotation.fair_cycle_scope == "credential" else None
        #: Least recently used first.
        self.lanes: OrderedDict[str, Lane] = OrderedDict()
        #: The provider as a whole: failures in a row, and its rest after too many.
        self.streak = 0
        self.outage: Cooldown | None = None
        self.epoch = epoch
        self.news = News()
        self.group_of = lru_cache(maxsize=1024)(self._group_of)
        self.caps_for = lru_cache(maxsize=1024)(rotation.caps_for)
        #: Places by when they last changed, in ticks; the latest last.
        self._changes: OrderedDict[int, int] = OrderedDict()
        self._tick = 0
        self._wakes: list[tuple[float, int]] = []
        self._woken_at: dict[int, float] = {}

    def _cycles(self) -> Sequence[frozenset[int]]:
        scopes = [0 if self.rotation.fair_cycle_cross_tier else slot.credential.priority for slot in self.slots]
        members = {scope: frozenset(n for n, s in enumerate(scopes) if s == scope) for scope in set(scopes)}
        return [members[scope] for scope in scopes]

    # --- Lanes ---------------------------------------------------------------------------

    def lane(self, model: str) -> Lane:
        """The lane a model belongs to: its quota group's, else its own."""
        return self.lane_named(self.group_of(model) or model)

    def lane_named(self, name: str) -> Lane:
        lane = self.lanes.get(name)
        if lane is None:
            if len(self.lanes) >= MAX_LANES:
                gone = next((n for n, old in self.lanes.items() if self._idle(old)), next(iter(self.lanes)))
                del self.lanes[gone]
                self.news.forget(gone)
            marks = {} if self._marks is None else self._marks
            lane = self.lanes[name] = new_lane(name, len(self.slots), marks)
        self.lanes.move_to_end(name)
        return lane

    def _idle(self, lane: Lane) -> bool:
        """Nothing would be lost with it but counts."""
        return not (lane.cooldowns or lane.capped or (lane.marks and lane.marks is not self._marks))

    def _group_of(self, model: str) -> str | None:
        for group, models in self.rotation.quota_groups.items():
            if any(fnmatchcase(model, glob) for glob in models):
                return group
        return None

    def settled(self, model: str, now: float) -> Lane:
        """The lane of ``model``, with every load as it is now."""
        while self._wakes and self._wakes[0][0] <= now:
            at, index = heapq.heappop(self._wakes)
            if self._woken_at.get(index) == at:
                del self._woken_at[index]
                self.touch(index)
        lane = self.lane(model)
        self._read_changes(lane)
        while lane.dirty:
            self._settle(lane, lane.dirty.pop(), now)
        return lane

    def touch(self, index: int) -> None:
        """Something about this credential has changed. Each lane finds out when it is looked at."""
        self._tick += 1
        self._changes[index] = self._tick
        self._changes.move_to_end(index)

    def _read_changes(self, lane: Lane) -> None:
        for index, tick in reversed(self._changes.items()):
            if tick <= lane.tick:
                break
            lane.dirty.add(index)
            if index in lane.marks and fair_cycle.complete(self, lane, index):
                lane.dirty |= self.cycles[index]  # they wait for each other
        lane.tick = self._tick

    def _settle(self, lane: Lane, index: int, now: float) -> None:
        """Find one load anew, and when time alone will change it."""
        quota.expire(lane, index, now)
        slot = self.slots[index]
        rests = [c for c in (slot.cooldown, lane.cooldowns.get(index)) if c is not None]
        waits = (
            (self.fair_cycle and fair_cycle.sets_aside(self, lane, index, now))
            or slot.in_flight >= min(slot.most, slot.granted)
            or index in lane.capped
            or bool(slot.out)
            or slot.ends_at <= now
            or any(c.closed(now) for c in rests)
        )
        if waits:
            lane.loads[index] = UNUSABLE
        else:
            busy = max(0.0, slot.in_flight - slot.optimal + 1)
            lane.loads[index] = load(slot.credential.priority, busy, lane.used[index])
        if rests and not waits:
            lane.due.add(index)
        else:
            lane.due.discard(index)
        ends = [c.probe_at for c in rests if c.probe_at > now]
        if now < slot.ends_at < UNUSABLE:
            ends.append(slot.ends_at)
        if index in lane.windows:
            ends.append(lane.windows[index].resets_at)
        if index in lane.capped:
            ends.append(lane.capped[index])
        if ends:
            self.wake(min(ends), index)

    def wake(self, at: float, index: int) -> None:
        """Look at this credential again at ``at``. An earlier look is enough: it finds out when the next one is."""
        if at >= self._woken_at.get(index, UNUSABLE):
            return
        self._woken_at[index] = at
        heapq.heappush(self._wakes, (at, index))
        if len(self._wakes) > 2 * len(self.slots):  # most of them were overtaken by an earlier one
            self._wakes = [(at, index) for index, at in self._woken_at.items()]
            heapq.heapify(self._wakes)

    # --- What happens --------------------------------------------------------------------

    def lent(self, index: int, lane: Lane, now: float) -> Use:
        """A credential goes to work."""
        slot = self.slots[index]
        slot.in_flight += 1
        slot.last_used = now
        rests = (slot.cooldown, lane.cooldowns.get(index), self.outage)
        probes = [cooldown for cooldown in rests if cooldown is not None]
        for cooldown in probes:
            cooldown.probing = True
        if rests[0] is None and rests[1] is None:
            lane.last = index
        quota.count(self, lane, index, now)
        self.touch(index)
        return Use(index=index, lane=lane, started=now, probes=probes)

    def lent_before(self, use: Use, now: float) -> None:
        """A credential went to work for who still has the pool that was there before this one."""
        slot = self.slots[use.index]
        slot.in_flight += 1
        slot.last_used = now
        quota.count(self, use.lane, use.index, now)
        self.touch(use.index)

    def returned(self, use: Use) -> None:
        """It is back, whatever came of it."""
        self.slots[use.index].in_flight -= 1
        for cooldown in use.probes:
            cooldown.probing = False
        self.touch(use.index)

    def succeeded(self, use: Use, now: float) -> bool:
        """A reply came: the rests that this attempt tried are over, unless one failed again meanwhile."""
        slot, cooldowns = self.slots[use.index], use.lane.cooldowns
        ended = [cooldown for cooldown in use.probes if cooldown.failed_at <= use.started]
        if slot.cooldown in ended:
            slot.cooldown = None
            self.news.changed(Place(use.index), now)
        if cooldowns.get(use.index) in ended:
            del cooldowns[use.index]
            self.news.changed(Place(use.index, use.lane.name), now)
        if self.outage in ended:
            self._end_outage(now)
        self.streak = 0
        self.touch(use.index)
        return bool(ended)

    def failed(self, use: Use, decision: FailureDecision, now: float) -> None:
        """Let what the decision names rest."""
        index, lane, slot = use.index, self.lane_named(use.lane.name), self.slots[use.index]
        failure = Failure(
            now=now,
            cooldown_s=decision.cooldown_s,
            back_off_s=decision.back_off_s,
            code=decision.error.code or decision.error.kind,
            words=decision.error.message,
        )
        self._provider_failed(use, decision, failure)
        if decision.fault in ("provider", "network"):
            quota.uncount(self, lane, index, now)
        self.touch(index)
        if decision.cooldown == "credential":
            cooldown = slot.cooldown = rested(slot.cooldown, failure, self.rules, use.probes)
        elif decision.cooldown == "model":
            cooldown = lane.cooldowns[index] = rested(lane.cooldowns.get(index), failure, self.rules, use.probes)
        else:
            return
        if self.fair_cycle and cooldown.until - now >= self.rotation.exhausted_cooldown_s:
            lane.marks[index] = now
        self.news.changed(Place(index, None if decision.cooldown == "credential" else lane.name), now)

    def _provider_failed(self, use: Use, decision: FailureDecision, failure: Failure) -> None:
        """Many failures in a row that are nobody's but the provider's rest it once, not each credential."""
        if decision.cooldown != "provider" and decision.fault not in ("provider", "network"):
            self.streak = 0
            if self.outage in use.probes:
                self._end_outage(failure.now)
            return
        self.streak += 1
        if decision.cooldown == "provider" or self.streak >= self.rules.circuit_breaker_failures:
            if decision.cooldown != "provider":
                failure = replace(failure, cooldown_s=None, back_off_s=())
            self.outage = rested(self.outage, failure, self.rules, use.probes)
            self.news.changed(PROVIDER, failure.now)

    def _end_outage(self, now: float) -> None:
        self.outage, self.streak = None, 0
        self.news.changed(PROVIDER, now)

    def learned(self, use: Use, windows: Iterable[QuotaWindow], now: float, received_at: datetime) -> None:
        """What a reply said of the provider's own counting."""
        for told in windows:
            lane = self.lane(told.group) if told.group else self.lane_named(use.lane.name)
            quota.learn(self, lane, use.index, told, now, received_at)
        self.touch(use.index)

    def told(self, credential: str, windows: Iterable[QuotaWindow], now: float, received_at: datetime) -> None:
        """What the provider says of a credential's quota, each window of the group or model it names."""
        for told in windows:
            if told.group:
                quota.learn(self, self.lane(told.group), self.places[credential], told, now, received_at)
        self.touch(self.places[credential])

    def clear(self, now: float, credential: str | None = None, model: str | None = None) -> int:
        """Forget rests, caps and marks: of one credential or all, for one model or altogether. How many there were."""
        cleared = 0
        if credential is None and self.outage is not None:
            self._end_outage(now)
            cleared = 1
        lanes = list(self.lanes.values()) if model is None else [self.lane(model)]
        for index, slot in enumerate(self.slots):
            if credential not in (None, slot.credential.id):
                continue
            if slot.cooldown is not None:
                slot.cooldown = None
                cleared += 1
                self.news.changed(Place(index), now)
            for lane in lanes:
                kept = (lane.cooldowns.pop(index, None), lane.capped.pop(index, None), lane.marks.pop(index, None))
                if any(found is not None for found in kept):
                    cleared += 1
                    self.news.changed(Place(index, lane.name), now)
            self.touch(index)
        return cleared

    def renewed(self, credential: Credential) -> None:
        """The same account with a new token. What was held against the old one is forgotten."""
        index = self.places[credential.id]
        slot = self.slots[index]
        slot.credential = replace(credential, priority=self._priority(slot.credential, credential))
        slot.ends_at = ends_at(credential, self.epoch)
        slot.out, slot.for_good, slot.cooldown = "", False, None
        self.touch(index)

    def _priority(self, old: Credential, new: Credential) -> int:
        """A plan that has only now become known changes it, unless settings had said another."""
        tiers = self.rotation.tiers
        said = old.priority != tiers.get(old.tier or "", DEFAULT_PRIORITY)
        return old.priority if said else tiers.get(new.tier or "", DEFAULT_PRIORITY)

    def taken_out(self, credential: str, why: str, *, for_good: bool) -> None:
        """Not lent until it is renewed."""
        index = self.places[credential]
        self.slots[index].out, self.slots[index].for_good = why, for_good
        self.touch(index)

    # --- Looking -------------------------------------------------------------------------

    def usable_at(self, lane: Lane, index: int, now: float) -> float:
        """When nothing that is known now keeps this credential from being used for ``lane``.

        A renewal may be over at any moment, a login may never come.
        """
        if self.slots[index].for_good:
            return UNUSABLE
        rests = (self.slots[index].cooldown, lane.cooldowns.get(index))
        ends = [now, lane.capped.get(index, now), *(c.probe_at for c in rests if c is not None)]
        if self.fair_cycle:
            ends.append(fair_cycle.over_at(self, lane, index, now))
        return max(ends)

    def resting(self, now: float) -> dict[str, float]:
        """Fingerprint to seconds left, for credentials that rest for some model or for all."""
        found: dict[str, float] = {}
        for index, slot in enumerate(self.slots):
            rests = [slot.cooldown, *(lane.cooldowns.get(index) for lane in self.lanes.values())]
            left = max((c.until - now for c in rests if c is not None), default=0.0)
            if left > 0:
                found[slot.credential.id] = left
        return found
