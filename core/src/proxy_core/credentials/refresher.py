"""Keeping logins alive: renews what is near its end in time, and what an upstream refused at once; asks for quotas.

One renewal at a time per credential, whoever asks; the new token is on disk before it is lent.
While a token is being renewed its requests wait for it, or go to another credential.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from types import TracebackType
from typing import Self

from proxy_core.clock import Clock
from proxy_core.credentials.fingerprint import Fingerprints
from proxy_core.credentials.refresh import refresh_once
from proxy_core.credentials.stored import StoredCredential, VaultProblem
from proxy_core.credentials.vault import Vault
from proxy_core.interfaces import (
    Credential,
    CredentialRefresher,
    HttpClient,
    LoginRequired,
    Provider,
    RetryRefresh,
)
from proxy_core.rotation.cooldown import BACK_OFF_S, step
from proxy_core.rotation.pool import Pool

log = logging.getLogger("proxy_core.credentials")

#: A token that is refused this soon after it was given is not renewed again: the account has another problem.
_FRESH_S = 30.0
#: Without a word from the token server: soon at first, as most failures are over in seconds, then ever more rarely.
#: What Mirrowel's proxy does with Qwen's; each try is a renewal of its own, with the file read anew under its lock.
RENEW_AGAIN_S = (1.0, 2.0, 4.0, 30.0, 60.0, 120.0, 240.0, 300.0)
#: Details in doubt are found anew once in this long: what is refused after that is right, and refused.
_DOUBT_S = 6 * 3600.0
#: Linked files may be renewed by their own program at any moment.
_LOOK_S = 5.0
_END_S = 10.0
_QUOTA_S = 60.0
_QUOTA_LEAST_S = 1.0
_SHORTEST_S = 0.1


class _Kept:
    """One login and what is being done about it."""

    def __init__(
        self, stored: StoredCredential, refresher: CredentialRefresher, pool: Pool, name: str, provider: Provider | None
    ) -> None:
        self.stored = stored
        self.refresher = refresher
        self.pool = pool
        self.id = name
        self.quota = provider.quota if provider is not None else None
        self.quota_every_s = provider.quota_every_s if provider is not None else 0.0
        self.quota_at = float("-inf")
        self.asking = False
        #: Why it is of no use, to be written down.
        self.barred: str | None = None
        #: What it lacks before it can be lent.
        self.lacks: str | None = None
        self.renewing = False
        self.renewed_at = float("-inf")
        self.failures = 0
        self.again_at = float("-inf")
        #: The upstream refused its token before its time.
        self.refused = False
        #: Details that the next renewal is not to believe.
        self.suspect_details: Sequence[str] = ()
        self.doubted_at = float("-inf")

    def wanted(self, now: datetime, monotonic: float) -> bool:
        if self.renewing or self.stored.needs_login is not None or monotonic < self.again_at:
            return False
        return self.refused or self.lacks is not None or self.stored.due(now, self.refresher.refresh_margin_s)

    def wants_quota(self, monotonic: float) -> bool:
        usable = bool(self.stored.access_token.get_secret_value()) and self.stored.needs_login is None
        busy = self.asking or self.renewing or self.lacks is not None
        return self.quota is not None and usable and not busy and monotonic >= self.quota_at


class Keeper:
    """An async context manager around the task that looks after all logins."""

    def __init__(
        self,
        vault: Vault,
        exchange: HttpClient,
        clock: Clock,
        fingerprint: Fingerprints,
        learn: Callable[..., None],
        interval_s: float,
    ) -> None:
        """``learn(*secrets)`` is told every token before it is used, for whoever hides them."""
        self._vault = vault
        self._exchange = exchange
        self._clock = clock
        self._fingerprint = fingerprint
        self._learn = learn
        self._interval_s = interval_s
        self._kept: dict[str, _Kept] = {}
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def keep(
        self,
        pool: Pool,
        refresher: CredentialRefresher,
        stored: Iterable[StoredCredential],
        provider: Provider | None = None,
    ) -> None:
        """Look after these from now on. Those that need a login are taken out of the pool, with the reason."""
        pool.renew, pool.bar = self._renew, self._bar
        for one in stored:
            name = one.credential(self._fingerprint).id
            if name in pool.ledger.places:
                self._kept[name] = kept = _Kept(one, refresher, pool, name, provider)
                self._show(kept)

    @property
    def ended(self) -> list[str]:
        """Providers of which a login has ended."""
        return sorted({k.stored.provider for k in self._kept.values() if k.stored.needs_login is not None})

    async def __aenter__(self) -> Self:
        if self._kept:
            self._task = asyncio.create_task(self._run(), name="credentials")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task], timeout=_END_S)

    def _renew(self, credential: Credential, suspect_details: Sequence[str]) -> bool:
        """A pool's token was refused, or what its details name."""
        kept, now = self._kept.get(credential.id), self._clock.monotonic()
        if kept is None or (not suspect_details and now - kept.renewed_at < _FRESH_S):
            return False
        if suspect_details and not kept.suspect_details:
            if now - kept.doubted_at < _DOUBT_S:
                return False
            kept.suspect_details, kept.doubted_at = suspect_details, now
        kept.refused = True
        kept.again_at = float("-inf")
        self._wake.set()
        return True

    def _bar(self, credential: Credential, why: str) -> None:
        """A pool's login was refused for what only its owner can mend."""
        kept = self._kept.get(credential.id)
        if kept is not None:
            kept.barred = why
            self._wake.set()

    async def _run(self) -> None:
        """A renewal under way when this ends is carried to its end by ``refresh_once`` itself."""
        async with asyncio.TaskGroup() as tasks:
            for kept in self._kept.values():
                path = self._vault.journal_path(kept.stored)
                kept.refused = path is not None and await asyncio.to_thread(path.exists)  # a killed renewal
            while True:
                await self._look()
                now, monotonic = self._clock.now(), self._clock.monotonic()
                for kept in self._kept.values():
                    if kept.barred is not None and not kept.renewing:
                        await self._mark(kept, kept.barred)
                    if kept.wanted(now, monotonic):
                        kept.renewing = True
                        tasks.create_task(self._refresh(kept))
                    elif kept.wants_quota(monotonic):
                        kept.asking = True
                        tasks.create_task(self._ask_quota(kept))
                await self._pause()

    async def _pause(self) -> None:
        try:
            async with self._clock.timeout(self._wait_s()):
                await self._wake.wait()
        except TimeoutError:
            pass
        self._wake.clear()

    def _wait_s(self) -> float:
        """Until something may have to be done."""
        now, monotonic = self._clock.now(), self._clock.monotonic()
        waits = [self._interval_s]
        for kept in self._kept.values():
            if kept.quota is not None and kept.quota_at > monotonic:
                waits.append(kept.quota_at - monotonic)
            if kept.stored.link is not None:
                waits.append(_LOOK_S)
            if kept.again_at > monotonic:
                waits.append(kept.again_at - monotonic)
            elif kept.stored.expires_at is not None and kept.stored.needs_login is None:
                waits.append((kept.stored.expires_at - now).total_seconds() - kept.refresher.refresh_margin_s)
        return max(0.05, min(waits))

    async def _look(self) -> None:
        """Take over what others wrote: another process, the command line, the program a file is shared with."""
        for kept in self._kept.values():
            if kept.renewing:
                continue
            try:
                if await asyncio.to_thread(self._vault.changed, kept.stored):
                    kept.stored = await asyncio.to_thread(self._vault.read, kept.stored)
                    self._show(kept)
            except (OSError, VaultProblem) as error:
                log.warning("%s %s cannot be read: %s", kept.stored.provider, kept.stored.name, error)

    async def _mark(self, kept: _Kept, why: str) -> None:
        """Other processes, and this one after a restart, leave it alone too."""
        kept.barred = None
        log.error("%s %s is out until somebody logs in again: %s", kept.stored.provider, kept.stored.name, why)
        try:
            kept.stored = await asyncio.to_thread(self._vault.mark_needs_login, kept.stored, why, self._clock.now())
        except (OSError, VaultProblem) as error:
            log.warning("%s %s cannot be marked: %s", kept.stored.provider, kept.stored.name, error)

    async def _refresh(self, kept: _Kept) -> None:
        name = f"{kept.stored.provider} {kept.stored.name}"
        try:
            done = await refresh_once(
                kept.stored,
                kept.refresher,
                self._exchange,
                self._vault,
                self._clock,
                suspect_details=kept.suspect_details,
            )
        except LoginRequired as needed:
            log.error("%s needs a login: %s", name, needed)
            kept.pool.ledger.taken_out(kept.id, str(needed), for_good=True)
            await self._reread(kept)
        except RetryRefresh as later:
            wait_s = self._later(kept, str(later), later.retry_after_s, later.back_off_s or RENEW_AGAIN_S)
            log.warning("%s cannot be renewed now: %s; again in %.0f s", name, later, wait_s)
        except Exception as error:  # a refresher may fail in any way; its credential alone is concerned
            self._later(kept, type(error).__name__)
            log.exception("%s could not be renewed", name)
        else:
            kept.stored, kept.refused, kept.suspect_details = done.stored, False, ()
            kept.renewed_at = self._clock.monotonic()
            self._spare(kept)
            self._show(kept)
            if kept.lacks is not None:
                self._later(kept, kept.lacks)
                # Nobody need wait for it: whatever it is, the last try did not find it.
                kept.pool.ledger.taken_out(kept.id, kept.lacks, for_good=True)
                log.warning("%s cannot be used yet: %s", name, kept.lacks)
            else:
                kept.failures = 0
                log.info("%s: its token is renewed (%s)", name, done.how)
        finally:
            kept.renewing = False
            self._wake.set()

    async def _ask_quota(self, kept: _Kept) -> None:
        """Figures for the pool. Nothing depends on them, so nothing is done about what goes wrong."""
        assert kept.quota is not None
        try:
            async with self._clock.timeout(_QUOTA_S):
                windows = await kept.quota(kept.stored.credential(self._fingerprint), self._exchange)
            kept.pool.told(kept.id, windows, self._clock.now())
        except Exception as error:  # a plugin's question may fail in any way
            log.warning("the quota of %s %s is not known: %s", kept.stored.provider, kept.stored.name, _brief(error))
        finally:
            kept.asking = False
            kept.quota_at = self._clock.monotonic() + max(_QUOTA_LEAST_S, kept.quota_every_s)
            self._wake.set()

    def _spare(self, kept: _Kept) -> None:
        """A token that does not live as long as it is renewed early is due at once: it is let live half of its time."""
        now, ends = self._clock.now(), kept.stored.expires_at
        if ends is not None and kept.stored.due(now, kept.refresher.refresh_margin_s):
            kept.again_at = kept.renewed_at + max(_SHORTEST_S, (ends - now).total_seconds() / 2)

    def _later(
        self, kept: _Kept, why: str, after_s: float | None = None, back_off_s: Sequence[float] = BACK_OFF_S
    ) -> float:
        """Seconds until the next try."""
        kept.failures += 1
        wait_s = step(back_off_s, kept.failures) if after_s is None else after_s
        kept.again_at = self._clock.monotonic() + wait_s
        if kept.refused:
            kept.pool.ledger.taken_out(kept.id, f"its token cannot be renewed now: {why}", for_good=False)
        return wait_s

    async def _reread(self, kept: _Kept) -> None:
        try:
            kept.stored = await asyncio.to_thread(self._vault.read, kept.stored)
        except (OSError, VaultProblem) as error:
            log.warning("%s %s cannot be read: %s", kept.stored.provider, kept.stored.name, error)

    def _show(self, kept: _Kept) -> None:
        """The pool lends what is stored now."""
        stored = kept.stored
        self._learn(*_secrets(stored))
        if stored.needs_login is not None:
            kept.pool.ledger.taken_out(kept.id, stored.needs_login.why, for_good=True)
            return
        credential = stored.credential(self._fingerprint)
        kept.lacks = (
            kept.refresher.incomplete_reason(credential) if kept.refresher.incomplete_reason is not None else None
        )
        if stored.access_token.get_secret_value() and kept.lacks is None:
            kept.pool.renewed(credential)
        elif stored.access_token.get_secret_value():
            kept.pool.ledger.taken_out(kept.id, kept.lacks or "", for_good=False)
        else:
            kept.pool.ledger.taken_out(kept.id, "it has no token yet and is being renewed", for_good=False)


def _brief(error: Exception) -> str:
    return str(error) or type(error).__name__


def _secrets(stored: StoredCredential) -> list[str]:
    hidden = [stored.access_token, stored.refresh_token, *stored.details.values()]
    return [value.get_secret_value() for value in hidden if value is not None and not isinstance(value, str)]


def keep_all(
    keeper: Keeper,
    pools: Mapping[str, Pool],
    refreshers: Mapping[str, CredentialRefresher],
    stored: Mapping[str, Iterable[StoredCredential]],
    providers: Mapping[str, Provider],
) -> None:
    """Give a keeper every login of every provider."""
    for provider, credentials in stored.items():
        for kind, refresher in refreshers.items():
            mine = [one for one in credentials if one.kind == kind]
            if mine and provider in pools:
                keeper.keep(pools[provider], refresher, mine, providers.get(provider))
