"""All of a provider's credentials: who goes next. Choosing reads memory and awaits nothing."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import replace
from datetime import datetime

from proxy_core.clock import Clock
from proxy_core.interfaces import Credential, FailureDecision, ProxyRequest, QuotaWindow, Selector
from proxy_core.rotation.candidates import Choice
from proxy_core.rotation.heir import heirs
from proxy_core.rotation.lane import PRIORITY, UNUSABLE, Lane, beyond
from proxy_core.rotation.ledger import Ledger, Use
from proxy_core.rotation.sessions import Sessions
from proxy_core.settings.rotation import RotationSettings
from proxy_core.settings.schema import RoutingSettings

#: HTTP's "your token is not good".
_REFUSED = 401


class Lease:
    """One credential, lent to one attempt. Given back when the attempt's block ends."""

    __slots__ = ("_held", "_pool", "_use", "credential")

    def __init__(self, pool: Pool, use: Use) -> None:
        self._pool = pool
        self._use = use
        self._held = True
        self.credential = pool.ledger.slots[use.index].credential

    @property
    def index(self) -> int:
        """The credential's place in the pool."""
        return self._use.index

    @property
    def probes(self) -> bool:
        """This attempt finds out whether a rest is over."""
        return bool(self._use.probes)

    def give_back(self) -> None:
        """However the attempt ended, and however often this is said."""
        if self._held:
            self._held = False
            self._pool.ledger.returned(self._use)
            self._pool.notify(every=self.probes)
            for heir, use in heirs(self._pool, self._use):
                heir.ledger.returned(replace(use, probes=()))
                heir.notify()

    def succeeded(self) -> None:
        """A reply came: whatever was held against this credential before the attempt began is forgotten."""
        for pool, use in self._everywhere():
            if pool.ledger.succeeded(use, pool.clock.monotonic()):
                pool.notify(every=True)  # not one, as for a lease: a rest is over, and all may go

    def failed(self, decision: FailureDecision, status: int | None = None) -> None:
        """Let what the decision names rest; what was refused is renewed or found anew instead, if it can be."""
        mendable = (
            status == _REFUSED or decision.renew or bool(decision.suspect_details)
        ) and decision.cooldown == "credential"
        for pool, use in self._everywhere():
            if decision.disable_until_login:
                pool.barred(self.credential, decision.error.message)
            elif not (mendable and pool.refused(self.credential, decision.suspect_details)):
                pool.ledger.failed(use, decision, pool.clock.monotonic())

    def learned(self, windows: Iterable[QuotaWindow], received_at: datetime) -> None:
        """What a reply said of the provider's own counting."""
        windows = list(windows)
        for pool, use in self._everywhere():
            pool.ledger.learned(use, windows, pool.clock.monotonic(), received_at)

    def _everywhere(self) -> Iterable[tuple[Pool, Use]]:
        if self._pool.heir is None:
            return ((self._pool, self._use),)
        return [(self._pool, self._use), *heirs(self._pool, self._use)]


class Pool:
    """A provider's credentials, their ledger, and who waits for one."""

    def __init__(
        self,
        credentials: Iterable[Credential],
        selector: Selector,
        clock: Clock,
        rotation: RotationSettings | None = None,
        rules: RoutingSettings | None = None,
    ) -> None:
        rules = rules or RoutingSettings()
        epoch = clock.now().timestamp() - clock.monotonic()
        self.ledger = Ledger(credentials, selector, rotation or RotationSettings(), rules, epoch)
        self.sessions = Sessions(rules.session_ttl_s)
        self.selector = selector
        self.clock = clock
        #: Asked to renew a credential, without details that are in doubt; whether it will.
        self.renew: Callable[[Credential, Sequence[str]], bool] | None = None
        #: The pool that took this one's place when settings were read again.
        self.heir: Pool | None = None
        #: Told of a login that is of no use until its owner has acted, and why.
        self.bar: Callable[[Credential, str], None] | None = None
        #: Who waits for a lease, longest first, and what was the news when they last looked.
        self._waiting: OrderedDict[asyncio.Future[None], int] = OrderedDict()
        self._news = 0
        #: Who only waits for a rest to end: a lease that comes back is nothing to them.
        self._resting: set[asyncio.Future[None]] = set()

    def __len__(self) -> int:
        return len(self.ledger.slots)

    @property
    def in_flight(self) -> int:
        """Leases not yet given back."""
        return sum(slot.in_flight for slot in self.ledger.slots)

    @property
    def credentials(self) -> Sequence[Credential]:
        return [slot.credential for slot in self.ledger.slots]

    def take(
        self, request: ProxyRequest, model: str, tried: Set[str] = frozenset(), max_priority: int | None = None
    ) -> Lease | None:
        """Lend a usable credential that is not in ``tried``; ``None`` if there is none.

        Whoever takes a lease gives it back, whatever happens. ``max_priority`` is the highest
        priority number that may serve this model.
        """
        now = self.clock.monotonic()
        found = self._found(request, model, tried, max_priority, now)
        if found is None:
            return None
        index, lane, session = found
        if session is not None:
            self.sessions.remember(session, index, now)
        use = self.ledger.lent(index, lane, now)
        for heir, its_use in heirs(self, use):
            heir.ledger.lent_before(its_use, now)
            if session is not None:
                heir.sessions.remember(session, its_use.index, now)
        return Lease(self, use)

    def peek(self, request: ProxyRequest, model: str, max_priority: int | None = None) -> Credential | None:
        """Whose lease :meth:`take` would give. Changes nothing."""
        found = self._found(request, model, frozenset(), max_priority, self.clock.monotonic())
        return self.ledger.slots[found[0]].credential if found is not None else None

    def _found(
        self, request: ProxyRequest, model: str, tried: Set[str], max_priority: int | None, now: float
    ) -> tuple[int, Lane, str | None] | None:
        """Who goes next, for which lane, and the session to remember it for."""
        ledger = self.ledger
        if ledger.outage is not None and ledger.outage.closed(now):
            return None
        lane = ledger.settled(model, now)
        loads = _without(lane.loads, [ledger.places[credential] for credential in tried]) if tried else lane.loads
        low = min(loads, default=UNUSABLE)
        if low >= beyond(max_priority):
            return None
        index = _due(lane, low) if lane.due and not tried else None
        if index is not None:
            return index, lane, None
        choice = Choice(self, lane, loads, low, request)
        index = ledger.places[self.selector.select(choice, request).credential.id]
        return index, lane, choice.session

    def soonest_s(self, model: str, max_priority: int | None = None, spent: Set[str] = frozenset()) -> float | None:
        """Seconds until a credential that is not in ``spent`` may be usable for ``model``; ``None`` if none ever is.

        0 where one is only lent to somebody else: it may come back at any moment.
        """
        now, ledger = self.clock.monotonic(), self.ledger
        lane = ledger.settled(model, now)
        waits = [
            at - now
            for index, slot in enumerate(ledger.slots)
            if (at := ledger.usable_at(lane, index, now)) < UNUSABLE
            and slot.credential.id not in spent
            and (max_priority is None or slot.credential.priority <= max_priority)
        ]
        if not waits:
            return None
        outage_s = ledger.outage.probe_at - now if ledger.outage is not None else 0.0
        return max(0.0, outage_s, min(waits))

    @property
    def waiting(self) -> int:
        """How many wait for a credential."""
        return len(self._waiting) + len(self._resting)

    def wait(self, waiter: asyncio.Future[None], *, for_lease: bool = True) -> None:
        """Have ``waiter`` told when a credential may be had. Whoever was told and took none passes it on.

        Not ``for_lease``: only of rests that end before their time.
        """
        if for_lease:
            self._waiting[waiter] = self._news
            if any(slot.granted < slot.most for slot in self.ledger.slots):
                self.ledger.news.tell()  # other processes may have some to spare
        else:
            self._resting.add(waiter)

    def forget(self, waiter: asyncio.Future[None]) -> None:
        """It waits no longer."""
        self._waiting.pop(waiter, None)
        self._resting.discard(waiter)

    def notify(self, *, every: bool = False) -> None:
        """There are news, for the one that waits longest or for ``every`` one."""
        self._news += 1
        for _ in range(len(self._waiting) if every else 1):
            self.pass_on()
        while every and self._resting:
            waiter = self._resting.pop()
            if not waiter.done():
                waiter.set_result(None)

    def pass_on(self) -> None:
        """Tell the next that has not looked since the last news; so no news goes round for ever."""
        while self._waiting:
            waiter, looked_at = next(iter(self._waiting.items()))
            if looked_at == self._news:
                return
            del self._waiting[waiter]
            if not waiter.done():
                waiter.set_result(None)
                return

    def refused(self, credential: Credential, suspect_details: Sequence[str] = ()) -> bool:
        """A token was refused, or what its details name. True if that is no reason to rest: it is an old one, or it
        is being renewed now."""
        now_held = self.ledger.slots[self.ledger.places[credential.id]].credential
        if now_held.secret != credential.secret or any(
            now_held.details.get(name) != credential.details.get(name) for name in suspect_details
        ):
            return True
        if credential.refresh_token is None or self.renew is None or not self.renew(credential, suspect_details):
            return False
        why = "its token was refused and is being renewed"
        if suspect_details:
            why = f"its {', '.join(suspect_details)} may be wrong and is being looked up"
        self.ledger.taken_out(credential.id, why, for_good=False)
        return True

    def barred(self, credential: Credential, why: str) -> None:
        """Not lent again until somebody logs in anew; a key, until settings change."""
        self.ledger.taken_out(credential.id, why, for_good=True)
        if self.bar is not None:
            self.bar(credential, why)

    def told(self, credential: str, windows: Iterable[QuotaWindow], asked_at: datetime) -> None:
        """What the provider answered when it was asked for a credential's quota."""
        self.ledger.told(credential, windows, self.clock.monotonic(), asked_at)

    def renewed(self, credential: Credential) -> None:
        """The same account with a new token."""
        self.ledger.renewed(credential)
        self.notify(every=True)

    def clear(self, credential: str | None = None, model: str | None = None) -> int:
        """Forget rests, caps and marks: of one credential or all, for one model or altogether. How many there were."""
        cleared = self.ledger.clear(self.clock.monotonic(), credential, model)
        self.notify(every=True)
        return cleared

    def cooling_down(self) -> Mapping[str, float]:
        """Fingerprint to seconds left, for credentials that rest for some model or for all."""
        return self.ledger.resting(self.clock.monotonic())


def _without(loads: Sequence[float], indexes: Iterable[int]) -> Sequence[float]:
    rest = list(loads)
    for index in indexes:
        rest[index] = UNUSABLE
    return rest


def _due(lane: Lane, low: float) -> int | None:
    """One whose rest may be tried, unless something of a better priority is usable."""
    return next((index for index in lane.due if lane.loads[index] // PRIORITY <= low // PRIORITY), None)
