"""All credentials of one provider: which goes next. Choosing reads memory and awaits nothing.

A pool lives as long as the process. A reload configures it in place, so requests that began under
the old settings and those that begin under the new ones use the same rows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from datetime import datetime
from typing import Protocol

from proxy_core.clock import Clock
from proxy_core.interfaces import Credential, FailureDecision, ProxyRequest, QuotaWindow
from proxy_core.rotation.candidates import Choice
from proxy_core.rotation.changes import Changes, nobody
from proxy_core.rotation.ledger import Ledger, Use
from proxy_core.rotation.policy import Policy
from proxy_core.rotation.sessions import Sessions
from proxy_core.rotation.state import PRIORITY, UNUSABLE, CredentialState, QuotaGroup, beyond
from proxy_core.rotation.waiters import Waiters

#: HTTP's "your token is not good".
_REFUSED = 401


class Logins(Protocol):
    """Whatever keeps a pool's logins alive."""

    def renew(self, credential: Credential, suspect_details: Sequence[str]) -> bool:
        """The upstream refused a token, or what the named details say. Whether it is renewed now."""

    def disable(self, credential: Credential, why: str) -> None:
        """A login is of no use until its owner has acted."""


class Lease:
    """One credential, lent to one attempt. Given back when the attempt's block ends."""

    __slots__ = ("_held", "_pool", "_use", "credential")

    def __init__(self, pool: Pool, use: Use) -> None:
        self._pool = pool
        self._use = use
        self._held = True
        self.credential = use.row.credential

    @property
    def probes(self) -> bool:
        """This attempt finds out whether a cooldown is over."""
        return bool(self._use.probes)

    def give_back(self) -> None:
        """However the attempt ended, and however often this is called."""
        if self._held:
            self._held = False
            self._pool.ledger.returned(self._use)
            self._pool.notify(every=self.probes)

    def succeeded(self) -> None:
        """A response came: whatever was held against this credential before the attempt began is forgotten."""
        if self._pool.ledger.succeeded(self._use, self._pool.clock.monotonic()):
            self._pool.notify(every=True)  # not one, as for a lease: a cooldown is over, and all may go

    def failed(self, decision: FailureDecision, status: int | None = None) -> None:
        """Let what the decision names cool down; a refused token is renewed instead, a wrong detail found anew."""
        pool, doubts = self._pool, decision.suspect_details
        mendable = (status == _REFUSED or decision.renew or bool(doubts)) and decision.cooldown == "credential"
        if decision.disable_until_login:
            pool.disabled(self.credential, decision.error.message)
        elif not (mendable and pool.refused(self.credential, doubts)):
            pool.ledger.failed(self._use, decision, pool.clock.monotonic())

    def learned(self, windows: Iterable[QuotaWindow], received_at: datetime) -> None:
        """What a response said of the provider's own counting."""
        self._pool.ledger.learned(self._use, windows, self._pool.clock.monotonic(), received_at)


class Pool:
    """A provider's credentials, their ledger, and the requests that wait for one.

    ``logins`` renews tokens. ``changed`` is called when something happened that other processes
    should know at once.
    """

    def __init__(
        self,
        clock: Clock,
        policy: Policy,
        credentials: Iterable[Credential] = (),
        *,
        logins: Logins | None = None,
        changed: Callable[[], None] = nobody,
    ) -> None:
        epoch = clock.now().timestamp() - clock.monotonic()
        self.clock = clock
        self.ledger = Ledger(policy, Changes(changed), epoch)
        self.sessions = Sessions(policy.routing.session_ttl_s)
        self._logins = logins
        self._waiters = Waiters()
        self.configure(credentials, policy)

    def configure(self, credentials: Iterable[Credential], policy: Policy) -> None:
        """Use these from now on. New credentials get a row, those that are not named lose theirs.

        Cannot fail and awaits nothing. Leases that are out are returned to the row they came from.
        """
        self.sessions.ttl_s = policy.routing.session_ttl_s
        self.ledger.configure(credentials, policy, self.clock.monotonic())
        self.notify(every=True)

    def __len__(self) -> int:
        return len(self.ledger.rows)

    @property
    def in_flight(self) -> int:
        """Leases not yet given back, of removed credentials too."""
        return sum(row.in_flight for row in self.ledger.known.values())

    @property
    def credentials(self) -> Sequence[Credential]:
        return [row.credential for row in self.ledger.rows]

    # --- Choosing ------------------------------------------------------------------------

    def take(
        self, request: ProxyRequest, model: str, tried: Set[str] = frozenset(), max_priority: int | None = None
    ) -> Lease | None:
        """Lend a usable credential that is not in ``tried``; ``None`` if there is none.

        The caller gives the lease back, whatever happens. ``max_priority`` is the highest
        priority number that may serve this model.
        """
        now = self.clock.monotonic()
        found = self._found(request, model, tried, max_priority, now)
        if found is None:
            return None
        row, group, session = found
        if session is not None:
            self.sessions.remember(session, row.id, now)
        return Lease(self, self.ledger.lent(row, group, model, now))

    def peek(self, request: ProxyRequest, model: str, max_priority: int | None = None) -> Credential | None:
        """Whose lease :meth:`take` would give. Changes nothing."""
        found = self._found(request, model, frozenset(), max_priority, self.clock.monotonic())
        return found[0].credential if found is not None else None

    def _found(
        self, request: ProxyRequest, model: str, tried: Set[str], max_priority: int | None, now: float
    ) -> tuple[CredentialState, QuotaGroup, str | None] | None:
        """Which credential goes next, for which quota group, and the session to remember it for."""
        ledger = self.ledger
        if ledger.outage is not None and ledger.outage.closed(now):
            return None
        group = ledger.settled(model, now)
        loads = self._without(group.loads, tried) if tried else group.loads
        low = min(loads, default=UNUSABLE)
        if low >= beyond(max_priority):
            return None
        row = _due(group, low) if group.due and not tried else None
        if row is not None:
            return row, group, None
        choice = Choice(ledger, self.sessions, group, loads, low, request, now)
        chosen = ledger.policy.selector.select(choice, request)
        return ledger.known[chosen.credential.id], group, choice.session

    def _without(self, loads: Sequence[float], credentials: Iterable[str]) -> Sequence[float]:
        others = list(loads)
        for name in credentials:
            row = self.ledger.known.get(name)
            if row is not None and not row.retired:
                others[row.position] = UNUSABLE
        return others

    # --- Waiting -------------------------------------------------------------------------

    def soonest_s(self, model: str, max_priority: int | None = None, spent: Set[str] = frozenset()) -> float | None:
        """Seconds until a credential that is not in ``spent`` may be usable for ``model``; ``None`` if none ever is.

        0 where one is only lent to another request: it may come back at any moment.
        """
        now, ledger = self.clock.monotonic(), self.ledger
        waits = [at - now for row, at in self._usable_at(model, now, max_priority) if row.id not in spent]
        if not waits:
            return None
        outage_s = ledger.outage.probe_at - now if ledger.outage is not None else 0.0
        return max(0.0, outage_s, min(waits))

    def cooldown_ends_s(
        self, model: str, max_priority: int | None = None, spent: Set[str] = frozenset()
    ) -> float | None:
        """The same, but for credentials that are merely busy: when the next cooldown ends, of which nobody tells."""
        now = self.clock.monotonic()
        busy = {row.id for row, at in self._usable_at(model, now, None) if at <= now}
        return self.soonest_s(model, max_priority, spent | busy)

    def _usable_at(self, model: str, now: float, max_priority: int | None) -> Iterable[tuple[CredentialState, float]]:
        group = self.ledger.settled(model, now)
        for row in self.ledger.rows:
            at = self.ledger.usable_at(group, row, now)
            if at < UNUSABLE and (max_priority is None or row.priority <= max_priority):
                yield row, at

    @property
    def waiting(self) -> int:
        """How many wait for a credential."""
        return len(self._waiters)

    def wait(self, waiter: asyncio.Future[None], *, for_lease: bool = True) -> None:
        """Have ``waiter`` notified when a credential may be had. A waiter that then takes none passes it on.

        Not ``for_lease``: only of cooldowns that end before their time.
        """
        self._waiters.add(waiter, for_lease=for_lease)
        if for_lease and any(row.granted < row.most for row in self.ledger.rows):
            self.ledger.changes.notify()  # other processes may have some to spare

    def forget(self, waiter: asyncio.Future[None]) -> None:
        """It waits no longer."""
        self._waiters.forget(waiter)

    def notify(self, *, every: bool = False) -> None:
        """Wake the request that has waited longest, or ``every`` one."""
        self._waiters.notify(every=every)

    def pass_on(self) -> None:
        """Wake the next that has not looked since something last changed."""
        self._waiters.pass_on()

    # --- Logins --------------------------------------------------------------------------

    def refused(self, credential: Credential, suspect_details: Sequence[str] = ()) -> bool:
        """A token was refused, or what its details name. True if that is no reason to cool down: it is an old one,
        or it is being renewed now."""
        row = self.ledger.known.get(credential.id)
        if row is None:
            return False
        held = row.credential
        if held.secret != credential.secret or any(
            held.details.get(name) != credential.details.get(name) for name in suspect_details
        ):
            return True
        if credential.refresh_token is None or self._logins is None:
            return False
        return self._logins.renew(credential, suspect_details)

    def disabled(self, credential: Credential, why: str) -> None:
        """Not lent again until somebody logs in anew; a key, until settings are read again."""
        self.ledger.taken_out(credential.id, why, for_good=True)
        if self._logins is not None:
            self._logins.disable(credential, why)

    def reported(self, credential: str, windows: Iterable[QuotaWindow], asked_at: datetime) -> None:
        """What the provider answered when it was asked for a credential's quota."""
        self.ledger.reported(credential, windows, self.clock.monotonic(), asked_at)

    def renewed(self, credential: Credential) -> None:
        """The same account with a new token."""
        self.ledger.renewed(credential)
        self.notify(every=True)

    # --- For the operator ----------------------------------------------------------------

    def clear(self, credential: str | None = None, model: str | None = None) -> int:
        """Forget cooldowns, caps and marks: of one credential or all, for one model or all. How many there were."""
        cleared = self.ledger.clear(self.clock.monotonic(), credential, model)
        self.notify(every=True)
        return cleared

    def cooling_down(self) -> Mapping[str, float]:
        """Fingerprint to seconds left, for credentials that cool down for some model or for all."""
        return self.ledger.cooling_down(self.clock.monotonic())


def _due(group: QuotaGroup, low: float) -> CredentialState | None:
    """One whose cooldown may be probed, unless something of a better priority is usable."""
    due = group.due.values()
    return next((row for row in due if group.loads[row.position] // PRIORITY <= low // PRIORITY), None)
