"""All credentials of one provider, and the choice of the next one. Choosing reads memory and awaits nothing.

A pool lives as long as the process. A reload configures it in place, so requests that began before
the reload and those that begin after it use the same rows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from datetime import datetime
from typing import Protocol

from proxy_core.clock import Clock
from proxy_core.interfaces import Credential, FailureDecision, ProxyRequest, QuotaWindow
from proxy_core.rotation.candidates import Choice
from proxy_core.rotation.changes import Changes, no_listener
from proxy_core.rotation.ledger import Ledger, Use
from proxy_core.rotation.policy import Policy
from proxy_core.rotation.sessions import Sessions
from proxy_core.rotation.state import UNUSABLE, CredentialState, QuotaGroup, beyond
from proxy_core.rotation.waiters import Waiters

#: HTTP Unauthorized: the upstream rejected the token.
_UNAUTHORIZED = 401


class Logins(Protocol):
    """Refreshes the tokens of a pool's OAuth credentials."""

    def request_refresh(self, credential: Credential, suspect_details: Sequence[str]) -> bool:
        """The upstream rejected the token or the named details. Returns whether a refresh is now under way."""

    def disable(self, credential: Credential, why: str) -> None:
        """Take a credential out of use until its owner logs in again."""


class Lease:
    """One credential, lent to one attempt and returned when the attempt's block ends."""

    __slots__ = ("_held", "_pool", "_use", "credential")

    def __init__(self, pool: Pool, use: Use) -> None:
        self._pool = pool
        self._use = use
        self._held = True
        self.credential = use.row.credential

    @property
    def probes(self) -> bool:
        """Whether this attempt probes a cooldown."""
        return bool(self._use.probes)

    def release(self) -> None:
        """Return the credential. Safe to call more than once."""
        if self._held:
            self._held = False
            self._pool.ledger.returned(self._use)
            self._pool.notify(every=self.probes)

    def succeeded(self) -> None:
        """A response arrived: end the cooldowns that this attempt probed."""
        if self._pool.ledger.succeeded(self._use, self._pool.clock.monotonic()):
            self._pool.notify(every=True)  # all of them: a cooldown ended, so several may proceed

    def failed(self, decision: FailureDecision, status: int | None = None) -> None:
        """Start the decided cooldown. A rejected token is refreshed instead; suspect details are discovered anew."""
        pool, suspect = self._pool, decision.suspect_details
        concerns_token = status == _UNAUTHORIZED or decision.refresh or bool(suspect)
        if decision.disable_until_login:
            pool.disabled(self.credential, decision.error.message)
        elif not (concerns_token and decision.cooldown == "credential" and pool.rejected(self.credential, suspect)):
            pool.ledger.failed(self._use, decision, pool.clock.monotonic())

    def learned(self, windows: Iterable[QuotaWindow], received_at: datetime) -> None:
        """Apply the quota windows that a response reported."""
        self._pool.ledger.learned(self._use, windows, self._pool.clock.monotonic(), received_at)


class Pool:
    """A provider's credentials, their ledger, and the requests that wait for one.

    ``logins`` refreshes tokens. ``changed`` is called after a change that other processes should
    learn of at once.
    """

    def __init__(
        self,
        clock: Clock,
        policy: Policy,
        credentials: Iterable[Credential] = (),
        *,
        logins: Logins | None = None,
        changed: Callable[[], None] = no_listener,
    ) -> None:
        self.clock = clock
        self.ledger = Ledger(policy, Changes(changed))
        self.sessions = Sessions(policy.routing.session_ttl_s)
        self._logins = logins
        self._waiters = Waiters()
        self.configure(credentials, policy)

    def configure(self, credentials: Iterable[Credential], policy: Policy) -> None:
        """Use these credentials from now on. New ones get a row; those no longer named are retired.

        Cannot fail and awaits nothing. Open leases are returned to the row from which they were taken.
        """
        self.sessions.ttl_s = policy.routing.session_ttl_s
        self.ledger.set_time(self.clock)
        self.ledger.configure(credentials, policy, self.clock.monotonic())
        self.notify(every=True)

    def __len__(self) -> int:
        return len(self.ledger.rows)

    @property
    def in_flight(self) -> int:
        """Open leases, including those of removed credentials."""
        return sum(row.in_flight for row in self.ledger.known.values())

    @property
    def credentials(self) -> Sequence[Credential]:
        return [row.credential for row in self.ledger.rows]

    # --- Choosing ------------------------------------------------------------------------

    def take(
        self, request: ProxyRequest, model: str, tried: Set[str] = frozenset(), max_priority: int | None = None
    ) -> Lease | None:
        """Lend a usable credential that is not in ``tried``; ``None`` if there is none.

        The caller must return the lease. ``max_priority`` is the highest priority number that may
        serve this model.
        """
        now = self.clock.monotonic()
        found = self._found(request, model, tried, max_priority, now)
        if found is None:
            return None
        row, group, session = found
        if session is not None:
            self.sessions.remember(session, row.id, now)
        return Lease(self, self.ledger.leased(row, group, model, now))

    def peek(self, request: ProxyRequest, model: str, out: Set[str], max_priority: int | None) -> Credential | None:
        """The credential that :meth:`take` would lend. Changes nothing."""
        found = self._found(request, model, out, max_priority, self.clock.monotonic())
        return found[0].credential if found is not None else None

    def _found(
        self, request: ProxyRequest, model: str, tried: Set[str], max_priority: int | None, now: float
    ) -> tuple[CredentialState, QuotaGroup, str | None] | None:
        """The next credential, its quota group, and the session to remember it for."""
        ledger = self.ledger
        if ledger.outage is not None and ledger.outage.closed(now):
            return None
        group = ledger.settled(model, now)
        out = tried | group.closed(model, now) if group.of_model else tried
        loads = self._without(group.loads, out) if out else group.loads
        low = min(loads, default=UNUSABLE) if out else group.lowest
        if low >= beyond(max_priority):
            return None
        row = group.to_probe(low) if group.due and not tried else None
        if row is not None and row.id not in out:
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

        0 if one is merely in use: its lease may be returned at any instant.
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
        """Like :meth:`soonest_s` without credentials that are merely in use: when the next cooldown ends."""
        now, outage = self.clock.monotonic(), self.ledger.outage
        out = outage is not None and outage.probe_at > now  # then none is in use, and all wait for its end
        busy = {row.id for row, at in self._usable_at(model, now, None) if at <= now and not out}
        return self.soonest_s(model, max_priority, spent | busy)

    def _usable_at(self, model: str, now: float, max_priority: int | None) -> Iterable[tuple[CredentialState, float]]:
        group = self.ledger.settled(model, now)
        for row in self.ledger.rows:
            at = self.ledger.usable_at(group, model, row, now)
            if at < UNUSABLE and (max_priority is None or row.priority <= max_priority):
                yield row, at

    @property
    def out(self) -> bool:
        """Whether a probe has confirmed an outage: no request waits for the next one."""
        return self.ledger.out(self.clock.monotonic())

    @property
    def waiting(self) -> int:
        """How many requests wait for a credential."""
        return len(self._waiters)

    def wait(self, waiter: asyncio.Future[None], *, for_lease: bool = True) -> None:
        """Have ``waiter`` notified when a credential may be had. A waiter that then takes none passes it on.

        Not ``for_lease``: only of cooldowns that end before their time.
        """
        self._waiters.add(waiter, for_lease=for_lease)
        if for_lease and any(row.granted < row.max_concurrent for row in self.ledger.rows):
            self.ledger.changes.notify()  # other processes may have some to spare

    def forget(self, waiter: asyncio.Future[None]) -> None:
        """Stop notifying ``waiter``."""
        self._waiters.forget(waiter)

    def notify(self, *, every: bool = False) -> None:
        """Wake the request that has waited longest, or every one."""
        self._waiters.notify(every=every)

    def pass_on(self) -> None:
        """Wake the next waiter that has not looked since the last change."""
        self._waiters.pass_on()

    # --- Logins --------------------------------------------------------------------------

    def rejected(self, credential: Credential, suspect_details: Sequence[str] = ()) -> bool:
        """The upstream rejected the token or the named details. True if that calls for no cooldown: the token is
        outdated already, or a refresh is under way."""
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
        return self._logins.request_refresh(credential, suspect_details)

    def disabled(self, credential: Credential, why: str) -> None:
        """Stop leasing a credential until its owner logs in again; an API key, until the next reload."""
        self.ledger.disable(credential.id, why, needs_login=True)
        self.notify(every=True)
        if self._logins is not None:
            self._logins.disable(credential, why)

    def reported(self, credential: str, windows: Iterable[QuotaWindow], asked_at: datetime) -> None:
        """Apply a provider's response to a quota query."""
        self.ledger.reported(credential, windows, self.clock.monotonic(), asked_at)

    def withheld(self, credential: str, why: str, *, needs_login: bool, needs_setup: bool, until: float) -> None:
        """Stop leasing a login, at least until then; requests that wait for it learn at once if that is too long."""
        self.ledger.disable(credential, why, needs_login=needs_login, needs_setup=needs_setup, until=until)
        if needs_login or needs_setup or until > self.clock.monotonic():
            self.notify(every=True)

    def noted(self, credential: str, note: str) -> None:
        """What the operator should know of a credential, whether or not it is usable."""
        row = self.ledger.known.get(credential)
        if row is not None:
            row.note = note

    def refreshed(self, credential: Credential) -> None:
        """The account has a new token."""
        self.ledger.set_time(self.clock)
        self.ledger.refreshed(credential)
        self.notify(every=True)

    # --- For the operator ----------------------------------------------------------------

    def clear(self, credential: str | None = None, model: str | None = None) -> int:
        """End cooldowns, caps and fair-cycle marks, of one credential or all, for one model or all; return how many."""
        cleared = self.ledger.clear(self.clock.monotonic(), credential, model)
        self.notify(every=True)
        return cleared

    def cooling_down(self) -> Mapping[str, float]:
        """Fingerprint to seconds left, for credentials that are cooling down for at least one model."""
        return self.ledger.cooling_down(self.clock.monotonic())
