"""The books of a provider's credentials: requests in flight, usage counts, and which credentials are cooling down.

In memory, and changed by the outcomes of leases. Times are monotonic seconds.
"""

from __future__ import annotations

import heapq
import logging
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from datetime import datetime

from msgspec import Struct
from msgspec.structs import replace

from proxy_core.interfaces import Credential, FailureDecision, QuotaWindow
from proxy_core.rotation import fair_cycle, quota
from proxy_core.rotation.changes import PROVIDER, Changes, Scope
from proxy_core.rotation.cooldown import Cooldown, Failure, cooldown_after
from proxy_core.rotation.policy import Policy, further_window
from proxy_core.rotation.rows import Rows, expires_at
from proxy_core.rotation.state import UNUSABLE, CredentialState, QuotaGroup, load, put
from proxy_core.settings.rotation import DEFAULT_PRIORITY

log = logging.getLogger("proxy_core.rotation")


class Use(Struct, frozen=True, kw_only=True):
    """One credential in use for one model since ``started``. ``probes``: the cooldowns that this attempt probes."""

    row: CredentialState
    model: str
    started: float
    probes: Sequence[Cooldown]


class Ledger(Rows):
    """The books of one provider."""

    def __init__(self, policy: Policy, changes: Changes) -> None:
        super().__init__(policy, changes)
        #: The provider's circuit breaker: consecutive failures, and the cooldown after too many of them.
        self.streak = 0
        self.outage: Cooldown | None = None
        #: Credentials by when they last changed, in ticks; the latest last.
        self._changed: OrderedDict[str, int] = OrderedDict()
        self._tick = 0
        self._wakes: list[tuple[float, str]] = []
        self._woken_at: dict[str, float] = {}

    # --- Loads ---------------------------------------------------------------------------

    def settled(self, model: str, now: float) -> QuotaGroup:
        """The quota group of ``model``, with every load brought up to date."""
        while self._wakes and self._wakes[0][0] <= now:
            at, name = heapq.heappop(self._wakes)
            if self._woken_at.get(name) == at:
                del self._woken_at[name]
                if name in self.known:
                    self.touch(self.known[name])
        group = self.group(model)
        self._read_changes(group)
        while group.dirty:
            self._settle(group, group.dirty.pop(), now)
        return group

    def touch(self, row: CredentialState) -> None:
        """Note that this credential has changed. Each quota group picks the change up when it is next read."""
        if row.retired:
            return
        self._tick += 1
        self._changed[row.id] = self._tick
        self._changed.move_to_end(row.id)

    def _read_changes(self, group: QuotaGroup) -> None:
        for name, tick in reversed(self._changed.items()):
            if tick <= group.tick:
                break
            row = self.known[name]
            group.dirty.add(row)
            if name in group.marks and fair_cycle.complete(group, row):
                group.dirty.update(row.cycle.values())  # the whole cycle may be over
        group.tick = self._tick

    def _settle(self, group: QuotaGroup, row: CredentialState, now: float) -> None:
        """Recompute one load, and schedule the time at which it changes without any event."""
        windows = self.windows_of(group)
        for window in windows:
            quota.expire(window, row, now)
        cooldowns = [c for c in (row.cooldown, group.cooldowns.get(row.id)) if c is not None]
        ends = [c.probe_at for c in cooldowns if c.probe_at > now]
        if now < row.expires_at < UNUSABLE:
            ends.append(row.expires_at)
        ends += [window.windows[row.id].resets_at for window in windows if row.id in window.windows]
        capped = [window.capped[row.id] for window in windows if row.id in window.capped]
        ends += capped
        aside = self.policy.fair_cycle and self._set_aside(group, row, now, ends)
        usable = not (aside or capped) and self._free(row, now) and not any(c.closed(now) for c in cooldowns)
        if usable:
            group.put_load(row.position, self._load(group, row))
            group.unusable.pop(row.id, None)
        else:
            group.put_load(row.position, UNUSABLE)
            group.unusable[row.id] = row
        if self.policy.reserves:
            reserved = quota.reserve_in_force(self.policy, windows, row, now)
            put(group.reserved, row.id, reserved)
            ends += [reserved.until] if reserved is not None and reserved.until < UNUSABLE else []
        if cooldowns and usable:
            group.due[row.id] = row
        else:
            group.due.pop(row.id, None)
        if ends:
            self._wake(min(ends), row)

    def _set_aside(self, group: QuotaGroup, row: CredentialState, now: float, ends: list[float]) -> bool:
        """Whether fair cycle sets ``row`` aside. When that ends, a new cycle begins."""
        if row.id not in group.marks:
            return False
        over = fair_cycle.over_at(self.policy, group, row, now)
        if over > now:
            ends.append(over)
            return True
        rows = [self.known[name] for name in fair_cycle.forgotten(group, row)]
        for other in rows:
            group.marks.pop(other.id, None)
        for sharing in self._sharing_marks(group):
            sharing.dirty.update(rows)
        return False

    def _free(self, row: CredentialState, now: float) -> bool:
        """Whether the credential itself can be leased: it is not too busy, and its token is valid."""
        return row.in_flight < min(row.max_concurrent, row.granted) and not row.unavailable and row.expires_at > now

    def _load(self, group: QuotaGroup, row: CredentialState) -> float:
        busy = max(0.0, row.in_flight - row.preferred + 1)
        return load(row.priority, busy, group.used.get(row.id, 0))

    def _wake(self, at: float, row: CredentialState) -> None:
        """Recompute this credential's load at ``at``. An earlier wake-up suffices, as it schedules the next one."""
        if at >= self._woken_at.get(row.id, UNUSABLE):
            return
        self._woken_at[row.id] = at
        heapq.heappush(self._wakes, (at, row.id))
        if len(self._wakes) > 2 * len(self.rows):  # most of them were overtaken by an earlier one
            self._wakes = [(at, name) for name, at in self._woken_at.items()]
            heapq.heapify(self._wakes)

    def _retire(self, row: CredentialState) -> None:
        self._woken_at.pop(row.id, None)
        self._changed.pop(row.id, None)
        super()._retire(row)

    # --- What happens --------------------------------------------------------------------

    def leased(self, row: CredentialState, group: QuotaGroup, model: str, now: float) -> Use:
        """A credential was leased."""
        row.in_flight += 1
        row.last_used = now
        cooldowns = cooldowns_of(row, group, model)
        probes = [*cooldowns, self.outage] if self.outage is not None else cooldowns
        for cooldown in probes:
            cooldown.probing = True
        if not cooldowns:
            group.last = row.id
        for window in self.windows_of(group):
            if quota.count(self.policy, window, row, now, self.epoch):
                self.changes.changed(Scope(row.id, window.name), now)
            self._counted(window, row, 1)
        self.touch(row)
        return Use(row=row, model=model, started=now, probes=probes)

    def _counted(self, group: QuotaGroup, row: CredentialState, requests: int) -> None:
        window = group.windows[row.id]
        self.changes.count(row.id, group.name, window.number, requests)
        if window.from_provider:  # what was reported, and what was counted since, is stored as one number
            self.changes.scopes.add(Scope(row.id, group.name, reported=True))

    def returned(self, use: Use) -> None:
        """The lease was returned, whatever its outcome."""
        use.row.in_flight -= 1
        for cooldown in use.probes:
            cooldown.probing = False
        self.touch(use.row)
        self._drop_if_idle(use.row)

    def succeeded(self, use: Use, now: float) -> bool:
        """A response arrived: end the cooldowns that this attempt probed, except those that were extended meanwhile."""
        row, group = use.row, self.group(use.model)
        ended = [cooldown for cooldown in use.probes if cooldown.failed_at <= use.started]
        if row.cooldown in ended:
            row.cooldown = None
            self.changes.changed(Scope(row.id), now)
        if group.cooldowns.get(row.id) in ended:
            del group.cooldowns[row.id]
            self.changes.changed(Scope(row.id, group.name), now)
        if group.of(use.model).get(row.id) in ended:
            group.put(use.model, row.id, None)
            self.changes.changed(Scope(row.id, group.name, use.model), now)
        if self.outage in ended:
            self._end_outage(now)
        self.streak = 0
        self.touch(row)
        return bool(ended)

    def failed(self, use: Use, decision: FailureDecision, now: float) -> None:
        """Start the cooldown that the decision names."""
        row, group = use.row, self.group(use.model)
        failure = Failure(
            now=now,
            cooldown_s=decision.cooldown_s,
            back_off_s=decision.back_off_s,
            told=decision.error.facts,
            ends_s=decision.error.retry_after_s,
        )
        self._provider_failed(use, decision, failure)
        for window in self.windows_of(group) if decision.fault in ("provider", "network") else ():
            if quota.uncount(self.policy, window, row, now):
                self._counted(window, row, -1)
        self.touch(row)
        routing = self.policy.routing
        if decision.cooldown == "credential":
            log.warning("%s %s cools down: %s", row.credential.provider, row.credential.label, decision.error.message)
            scope = Scope(row.id)
            cooldown = row.cooldown = cooldown_after(row.cooldown, failure, routing, use.probes)
        elif decision.cooldown == "model":
            before = group.of(use.model).get(row.id)
            group.put(use.model, row.id, cooldown_after(before, failure, routing, use.probes))
            self.changes.changed(Scope(row.id, group.name, use.model), now)
            return  # says nothing about other models, so fair cycle does not set the credential aside
        elif decision.cooldown == "quota":
            scope, before = Scope(row.id, group.name), group.cooldowns.get(row.id)
            cooldown = group.cooldowns[row.id] = cooldown_after(before, failure, routing, use.probes)
        else:
            return
        if self.policy.fair_cycle and cooldown.until - now >= self.policy.rotation.exhausted_cooldown_s:
            group.marks[row.id] = now
        self.changes.changed(scope, now)

    def _provider_failed(self, use: Use, decision: FailureDecision, failure: Failure) -> None:
        """Count failures of the provider itself; after enough in a row the provider cools down, not each credential."""
        counts = decision.fault in ("provider", "network") and not decision.answered
        if decision.cooldown != "provider" and not counts:
            self.streak = 0
            if self.outage in use.probes:
                self._end_outage(failure.now)
            return
        self.streak += 1
        if decision.cooldown == "provider" or self.streak >= self.policy.routing.circuit_breaker_failures:
            if decision.cooldown not in ("provider", "model"):  # that of a credential says nothing about the provider
                failure = replace(failure, cooldown_s=None, back_off_s=())
            self.outage = cooldown_after(self.outage, failure, self.policy.routing, use.probes)
            self.changes.changed(PROVIDER, failure.now)

    def _end_outage(self, now: float) -> None:
        self.outage, self.streak = None, 0
        self.changes.changed(PROVIDER, now)

    def out(self, now: float) -> bool:
        """Whether the circuit breaker is open again after a probe, until a time that is only a guess."""
        outage = self.outage
        return outage is not None and outage.failures > 1 and outage.ends_at is None and now < outage.probe_at

    def learned(self, use: Use, windows: Iterable[QuotaWindow], now: float, received_at: datetime) -> None:
        """Apply the quota windows that a response reported."""
        for window in windows:
            self._learn(self.group(window.group or use.model), use.row, window, now, received_at)
        self.touch(use.row)

    def reported(self, credential: str, windows: Iterable[QuotaWindow], now: float, received_at: datetime) -> None:
        """Apply the quota windows that the provider reports for a credential; each must name its group or model."""
        row = self.known.get(credential)
        if row is None:
            return
        for window in windows:
            if window.group:
                self._learn(self.group(window.group), row, window, now, received_at)
        self.touch(row)

    def _learn(
        self, group: QuotaGroup, row: CredentialState, window: QuotaWindow, now: float, received_at: datetime
    ) -> None:
        if window.window:
            name = further_window(group.name, window.window)
            found = [each for each in self.windows_of(group) if each.name == name]
            if not found:
                return  # settings count no such window
            group = found[0]
        news = quota.learn(self.policy, group, row, window, now, received_at)
        if news is not None:
            (self.changes.changed if news else self.changes.noted)(Scope(row.id, group.name, reported=True), now)

    def clear(self, now: float, credential: str | None = None, model: str | None = None) -> int:
        """End cooldowns, caps and fair-cycle marks, of one credential or all, for one model or all; return how many."""
        cleared = 0
        if credential is None and self.outage is not None:
            self._end_outage(now)
            cleared = 1
        groups = list(self.groups.values()) if model is None else self.windows_of(self.group(model))
        for row in self.rows:
            if credential not in (None, row.id):
                continue
            if row.cooldown is not None:
                row.cooldown = None
                cleared += 1
                self.changes.changed(Scope(row.id), now)
            for group in groups:
                kept = (
                    group.cooldowns.pop(row.id, None),
                    group.capped.pop(row.id, None),
                    group.marks.pop(row.id, None),
                )
                if any(found is not None for found in kept):
                    cleared += 1
                    self.changes.changed(Scope(row.id, group.name), now)
                for name in [name for name in group.of_model if model in (None, name) and row.id in group.of(name)]:
                    group.put(name, row.id, None)
                    cleared += 1
                    self.changes.changed(Scope(row.id, group.name, name), now)
            self.touch(row)
        return cleared

    def refreshed(self, credential: Credential) -> None:
        """The account has a new token: cooldowns that were caused by the old one end."""
        row = self.known.get(credential.id)
        if row is None:
            return
        old, row.credential = row.credential, replace(credential, priority=self._priority(row.credential, credential))
        row.expires_at = expires_at(credential, self.epoch)
        row.unavailable, row.needs_login, row.needs_setup = "", False, False
        if (old.secret, old.details) != (credential.secret, credential.details):
            row.cooldown = None
        self.touch(row)

    def _priority(self, old: Credential, new: Credential) -> int:
        """A tier that only became known now changes the priority, unless settings had set it explicitly."""
        tiers = self.policy.rotation.tiers
        explicit = old.priority != tiers.get(old.tier or "", DEFAULT_PRIORITY)
        return old.priority if explicit else tiers.get(new.tier or "", DEFAULT_PRIORITY)

    def disable(
        self,
        credential: str,
        why: str,
        *,
        needs_login: bool = False,
        needs_setup: bool = False,
        until: float = -UNUSABLE,
    ) -> None:
        """Stop leasing a credential until it is refreshed, at the earliest at ``until``, or logged in again, or
        something is set up."""
        row = self.known.get(credential)
        if row is not None:
            row.unavailable, row.needs_login, row.needs_setup, row.retry_at = why, needs_login, needs_setup, until
            self.touch(row)

    # --- Looking -------------------------------------------------------------------------

    def usable_at(self, group: QuotaGroup, model: str, row: CredentialState, now: float) -> float:
        """The earliest time at which this credential may be usable for ``model``, from what is known now.

        A refresh may finish at any instant, so only its next try counts; a login or a setup may never happen.
        """
        if row.stuck:
            return UNUSABLE
        ends = [now, *(c.probe_at for c in cooldowns_of(row, group, model))]
        ends += [window.capped[row.id] for window in self.capping(group, row)]
        if row.unavailable:
            ends.append(row.retry_at)
        if self.policy.fair_cycle:
            ends.append(fair_cycle.over_at(self.policy, group, row, now))
        return max(ends)

    def capping(self, group: QuotaGroup, row: CredentialState) -> Sequence[QuotaGroup]:
        """The windows of a quota group in which a cap is reached."""
        return [window for window in self.windows_of(group) if row.id in window.capped]

    def cooling_down(self, now: float) -> dict[str, float]:
        """Fingerprint to seconds left, for credentials that are cooling down for at least one model."""
        found: dict[str, float] = {}
        for row in self.rows:
            cooldowns = [c for group in self.groups.values() for c in group.named_cooldowns(row.id).values()]
            left = max((c.until - now for c in (row.cooldown, *cooldowns) if c is not None), default=0.0)
            if left > 0:
                found[row.id] = left
        return found


def cooldowns_of(row: CredentialState, group: QuotaGroup, model: str) -> list[Cooldown]:
    """The cooldowns of a credential that concern ``model``, the widest first."""
    found = (row.cooldown, group.cooldowns.get(row.id), group.of(model).get(row.id))
    return [cooldown for cooldown in found if cooldown is not None]
