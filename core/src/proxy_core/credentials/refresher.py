"""Refreshes tokens before they expire, and at once if an upstream rejects one.

Only one refresh per credential runs at a time; the new token is on disk before it is used.
During a refresh, requests wait for the token or use another credential.

The refresher lives as long as the process, and a reload configures it in place: a login that
settings still name keeps its state, so no login is ever refreshed twice at the same time.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from math import isnan
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from msgspec import Struct, field
from msgspec.structs import replace

from proxy_core.clock import Clock
from proxy_core.credentials.fingerprint import Fingerprints
from proxy_core.credentials.login import Login, LoginSpec
from proxy_core.credentials.refresh import Refreshed, refresh_once
from proxy_core.credentials.stored import StoredCredential, VaultProblem
from proxy_core.credentials.vault import Vault
from proxy_core.interfaces import Credential, HttpClient, HttpResponse, LoginRequired, RetryRefresh, SetupRequired
from proxy_core.messages import UpstreamRequest
from proxy_core.plugins.faults import is_cancellation
from proxy_core.rotation.cooldown import BACK_OFF_S, step

log = logging.getLogger("proxy_core.credentials")

#: Back-off if the token server gives no time: short at first, because most failures pass within seconds, then longer.
#: Each try is a separate refresh, which reads the file again under its lock.
RENEW_AGAIN_S = (1.0, 2.0, 4.0, 30.0, 60.0, 120.0, 240.0, 300.0)
#: Linked files may be refreshed by their own program at any instant.
_LOOK_S = 5.0
_END_S = 10.0
_LEAST_PAUSE_S = 0.05
_LEAST_RETRY_S = 1.0
_LONGEST_RETRY_S = 24 * 3600.0
#: Something may have been set up without a reload: a program with an OAuth client was installed.
_SETUP_AGAIN_S = 600.0


class Refresher(Struct, eq=False):
    """An async context manager around the task that refreshes all logins.

    ``http``: the network of a provider. ``learn(*secrets)`` receives every token before it is used, so that it can be
    masked.
    """

    __repr__ = object.__repr__

    _vault: Vault
    _http: Callable[[str], HttpClient]
    _clock: Clock
    _fingerprint: Fingerprints
    _learn: Callable[..., None]
    _interval_s: float = 0.0
    _logins: dict[str, Login] = field(default_factory=dict)
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _task: asyncio.Task[None] | None = None

    def configure(self, specs: Iterable[LoginSpec], interval_s: float) -> None:
        """Replace the set of logins. Those that cannot be used are disabled in their pools.

        Cannot fail and awaits nothing. A refresh in progress continues, even if its login is removed.
        """
        named: dict[str, Login] = {}
        for spec in specs:
            login = self._logins.get(spec.id)
            if login is None:
                login = Login(spec)
            else:
                login.configure(spec)
            named[spec.id] = login
        for name, login in self._logins.items():
            if name not in named and login.refreshing:
                login.retired, named[name] = True, login
        self._learn(*(secret for login in named.values() for secret in login.stored.secrets))
        for login in named.values():
            if not login.retired:
                self._show(login)
        self._logins, self._interval_s = named, interval_s
        self._wake.set()

    @property
    def ended(self) -> list[str]:
        """Providers with a login that needs a new login by the user."""
        return sorted({login.stored.provider for login in self._logins.values() if login.needs_login is not None})

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run(), name="credentials")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task], timeout=_END_S)

    # --- What pools report ---------------------------------------------------------------

    def request_refresh(self, credential: Credential, suspect_details: Sequence[str]) -> bool:
        """A token or its details were rejected. Returns whether it is refreshed now."""
        login = self._logins.get(credential.id)
        if login is None or not login.reject(self._clock.monotonic(), suspect_details):
            return False
        self._withhold(login)
        self._wake.set()
        return True

    def disable(self, credential: Credential, why: str) -> None:
        """A login was rejected for a reason that only its owner can fix."""
        login = self._logins.get(credential.id)
        if login is not None:
            login.ended, login.to_mark = why, True
            self._wake.set()

    # --- The task ------------------------------------------------------------------------

    async def _run(self) -> None:
        """If this ends during a refresh, ``refresh_once`` completes it by itself."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                waits = [self._interval_s]
                for login in list(self._logins.values()):
                    try:
                        await self._tend(login, tasks)
                        waits += self._waits_s(login)
                    except BaseException as error:
                        if is_cancellation(error):
                            raise
                        self._broke(login, error)
                await self._pause(max(_LEAST_PAUSE_S, min(waits)))

    async def _tend(self, login: Login, tasks: asyncio.TaskGroup) -> None:
        """Bring one login up to date, and start what is due for it."""
        await self._look(login)
        if login.to_mark and not login.refreshing:
            await self._mark(login)
        now, monotonic = self._clock.now(), self._clock.monotonic()
        if login.remark:
            self._withhold(login)  # its token may have expired in the meantime
        if login.refresh_due(now, monotonic):
            login.refreshing = True
            tasks.create_task(self._refresh(login))

    def _broke(self, login: Login, error: BaseException) -> None:
        """Something failed that must affect this login only."""
        wait_s = self._later(login, f"it is left alone after an error ({type(error).__name__})")
        log.error("%s: left alone for %.0f s after an error", login.name, wait_s, exc_info=error)

    async def _pause(self, wait_s: float) -> None:
        """Wait until something may be due."""
        if not self._logins:
            await self._wake.wait()
        else:
            try:
                async with self._clock.timeout(wait_s):
                    await self._wake.wait()
            except TimeoutError:
                pass
        self._wake.clear()

    def _waits_s(self, login: Login) -> Sequence[float]:
        waits = login.waits_s(self._clock.now(), self._clock.monotonic())
        return [*waits, _LOOK_S] if login.stored.link is not None else waits

    async def _look(self, login: Login) -> None:
        """Take over what another process, the command line or the program of a shared file has written."""
        if login.refreshing:
            return
        try:
            if not login.looked_for_journal:
                path = self._vault.journal_path(login.stored)
                interrupted = path is not None and await asyncio.to_thread(path.exists)
                login.rejected = login.rejected or interrupted  # read now: it may have been rejected meanwhile
                login.looked_for_journal = True
            if await asyncio.to_thread(self._vault.changed, login.stored):
                self._take_over(login, await asyncio.to_thread(self._vault.read, login.stored))
        except (OSError, VaultProblem) as error:
            why = error.why if isinstance(error, VaultProblem) else str(error.strerror)
            if login.stored.problem != why:
                log.warning("%s cannot be read: %s", login.name, error)
                login.stored = replace(login.stored, problem=why)
                self._show(login)

    def _take_over(self, login: Login, stored: StoredCredential) -> None:
        """Use what was read. For another account, nothing that the pool knows of the old one holds."""
        before = login.stored
        if before.problem:
            log.info("%s can be read again", login.name)
        login.take_over(stored, self._clock.monotonic())
        self._learn(*stored.secrets)
        if before.identity and stored.identity != before.identity:
            log.warning("%s now belongs to %s, no longer to %s", login.name, stored.identity, before.identity)
            login.pool.clear(login.id)
        self._show(login)
        self._report_twin(login, before)

    async def _mark(self, login: Login) -> None:
        """Mark the login on disk, so that other processes, and this one after a restart, do not use it either."""
        login.to_mark, why = False, login.ended or ""
        log.error("%s is disabled until you log in again: %s", login.name, why)
        try:
            stored = await asyncio.to_thread(self._vault.mark_needs_login, login.stored, why, self._clock.now())
            login.note(stored, self._clock.monotonic())
        except (OSError, VaultProblem) as error:
            log.warning("cannot mark %s as disabled: %s", login.name, error)

    # --- Renewing ------------------------------------------------------------------------

    async def _refresh(self, login: Login) -> None:
        """One refresh. Whatever a plugin raises or returns, only its own credential is affected."""
        began = self._clock.monotonic()
        try:
            await self._refresh_or_defer(login)
        except BaseException as error:
            if is_cancellation(error):
                raise
            self._broke(login, error)
        finally:
            login.refreshing, login.took_s = False, self._clock.monotonic() - began
            if login.retired:
                self._logins.pop(login.id, None)
            self._wake.set()

    async def _refresh_or_defer(self, login: Login) -> None:
        try:
            done = await refresh_once(
                login.stored,
                login.refresher,
                self._asking(login),
                self._vault,
                self._clock,
                suspect_details=login.suspect_details,
            )
            self._refreshed(login, done)
        except LoginRequired as needed:
            log.error("%s needs a login: %s", login.name, needed)
            login.ended = str(needed)
            self._withhold(login)
            await self._reread(login)
        except SetupRequired as needed:
            log.error("%s cannot be refreshed: %s", login.name, needed)
            login.setup, login.again_at = str(needed), self._clock.monotonic() + _SETUP_AGAIN_S
            self._show(login)
        except RetryRefresh as later:
            by = f" by {login.asked}" if login.asked else ""
            why = f"its token cannot be refreshed{by} now: {later}"
            wait_s = self._later(login, why, later.retry_after_s, later.back_off_s or RENEW_AGAIN_S)
            log.warning("%s cannot be refreshed now: %s; next try in %.0f s", login.name, later, wait_s)

    def _asking(self, login: Login) -> HttpClient:
        """The network of its provider. While a server is silent, requests and ``why`` name it."""
        http, login.asked = self._http(login.stored.provider), ""

        async def ask(request: UpstreamRequest, *, timeout_s: float = 30.0) -> HttpResponse:
            login.asking = login.asked = urlsplit(request.url).netloc
            self._withhold(login)
            try:
                return await http(request, timeout_s=timeout_s)
            finally:
                login.asking = ""

        return ask

    def _refreshed(self, login: Login, done: Refreshed) -> None:
        before = login.stored
        login.refreshed(done.stored, self._clock.monotonic(), renewed=done.renewed)
        self._learn(*done.stored.secrets)
        wait_s = login.pace(self._clock.now(), self._clock.monotonic())
        if wait_s is not None:
            log.warning("%s: its new token is due for a refresh at once; next try in %.0f s", login.name, wait_s)
        self._show(login)
        self._report_twin(login, before)
        if login.lacks is None:
            login.failures = 0
            log.info("%s: token refreshed (%s)", login.name, done.how)
            return
        login.sought = not done.unfinished
        why = f"{login.lacks} ({login.asked}): {done.unfinished}" if done.unfinished else login.lacks
        self._later(login, why, back_off_s=RENEW_AGAIN_S)
        log.warning("%s cannot be used yet: %s", login.name, why)

    def _report_twin(self, login: Login, before: StoredCredential) -> None:
        """Say so if it has turned out to be an account that another login has, too."""
        identity = login.stored.identity
        if identity is None or identity == before.identity:
            return
        for other in self._logins.values():
            stored = other.stored
            if other is not login and (stored.provider, stored.identity) == (login.stored.provider, identity):
                log.warning(
                    "%s and %s are the same account, %s, and share its quota; to remove one: "
                    "proxy-core credentials remove %s",
                    *(login.name, other.name, identity, login.name),
                )

    def _later(
        self, login: Login, trouble: str, after_s: float | None = None, back_off_s: Sequence[float] = BACK_OFF_S
    ) -> float:
        """Seconds until the next try; the first may be at once, no other."""
        login.failures += 1
        wait_s = step(back_off_s, login.failures) if after_s is None or isnan(after_s) else float(after_s)
        wait_s = min(max(wait_s, 0.0 if login.failures == 1 else _LEAST_RETRY_S), _LONGEST_RETRY_S)
        login.again_at = self._clock.monotonic() + wait_s
        login.trouble = trouble
        login.pool.noted(login.id, login.remark)
        self._withhold(login)
        return wait_s

    async def _reread(self, login: Login) -> None:
        try:
            login.note(await asyncio.to_thread(self._vault.read, login.stored), self._clock.monotonic())
        except (OSError, VaultProblem) as error:
            log.warning("%s cannot be read: %s", login.name, error)

    # --- Pools ---------------------------------------------------------------------------

    def _show(self, login: Login) -> None:
        """Give the pool the stored token, or disable the credential."""
        credential = login.stored.credential(self._fingerprint)
        login.lacks = _lacks(login, credential)
        login.pool.noted(login.id, login.remark)
        if login.unavailable(self._clock.now()) is None:
            login.pool.refreshed(credential)
        else:
            self._withhold(login)

    def _withhold(self, login: Login) -> None:
        found = login.unavailable(self._clock.now())
        if found is not None:
            why, needs = found
            until = login.expected_at(self._clock.monotonic())
            login.pool.withheld(login.id, why, needs_login=needs == "login", needs_setup=needs == "setup", until=until)


def _lacks(login: Login, credential: Credential) -> str | None:
    reason = login.refresher.incomplete_reason
    try:
        return reason(credential) if reason is not None else None
    except BaseException as error:  # a plugin may fail in any way; only its credential is affected
        log.exception("whether %s is complete cannot be found out", login.name)
        return f"its plugin cannot say whether it is complete ({type(error).__name__})"
