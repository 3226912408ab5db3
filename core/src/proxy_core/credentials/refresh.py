"""Refreshes one credential once: while it sends a refresh token, no other process can send it too.

::

    lock → read → resume what a killed process left → journal the intent → send
         → journal the response → save → clear the journal → unlock
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from time import perf_counter
from typing import Literal, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from proxy_core.clock import Clock
from proxy_core.credentials.given import checked
from proxy_core.credentials.journal import Entry, Journal
from proxy_core.credentials.journaled_client import Recorder
from proxy_core.credentials.locks import CredentialLock, LockBusy
from proxy_core.credentials.stored import StoredCredential, VaultProblem, digest
from proxy_core.credentials.vault import Stale, Vault
from proxy_core.errors import PluginFailed
from proxy_core.interfaces import (
    CredentialRefresher,
    HttpClient,
    LoginRequired,
    RetryRefresh,
    SetupRequired,
    Tokens,
)
from proxy_core.plugins.faults import is_cancellation
from proxy_core.records.redact import SecretScrubber

log = logging.getLogger("proxy_core.credentials")

#: Time limit of a whole refresh, whatever the plugin does; after it the lock is released.
_REFRESH_S = 120.0
_SAVE_AGAIN_S = 30.0
#: While a cancelled refresh finishes, how often to check whether it can be stopped.
_LOOK_S = 0.05

T = TypeVar("T")


class Refreshed(Struct, frozen=True, kw_only=True):
    """``how``: ``refreshed`` by this call, ``theirs`` (another process had done it), ``recovered`` from a journal.

    ``renewed=False``: only details were looked up; the refresh token was not sent.
    ``saved=False``: the tokens are valid but only in memory; they are written as soon as possible.
    ``unfinished`` is that of the tokens. ``window_s`` is how long the response existed only in this process,
    ``durable_s`` how long it took until it would have survived a power cut.
    """

    stored: StoredCredential
    how: Literal["refreshed", "theirs", "recovered"]
    renewed: bool = True
    unfinished: str = ""
    saved: bool = True
    window_s: float | None = None
    durable_s: float | None = None


async def refresh_once(
    stored: StoredCredential,
    refresher: CredentialRefresher,
    exchange: HttpClient,
    vault: Vault,
    clock: Clock,
    *,
    lock: CredentialLock | None = None,
    suspect_details: Sequence[str] = (),
) -> Refreshed:
    """Tokens that are newer than those of ``stored``: the vault's if they are newer, otherwise refreshed ones.

    The refresher does not see the details listed in ``suspect_details``.

    Cancellation takes effect at once unless the refresh token is under way: then the response is awaited and stored
    first. A token that is not replaced (``CredentialRefresher.rotates``) is not waited for.
    Raises ``LoginRequired``, which the vault then records, ``SetupRequired`` or ``RetryRefresh``.
    """
    if vault.holds_lock(stored):
        # The lock is already ours, together with tokens that could not be written.
        return await _save_first(stored, vault, clock)
    lock = lock or vault.lock(stored)
    try:
        await lock.acquire()
    except (LockBusy, OSError) as error:
        raise RetryRefresh(f"no lock for {stored.full_name}: {error}") from error
    work = _Refresh(refresher, exchange, vault, clock, lock, suspect_details)
    try:
        return await _to_the_end(work.run(stored), work.may_stop)
    finally:
        if not work.keeps_lock:
            lock.release()


def _hush(error: Exception, current: StoredCredential, recorder: Recorder) -> None:
    """Remove from what a server said whatever it was sent in confidence: the text is stored and shown."""
    error.args = (SecretScrubber((*current.secrets, *recorder.secrets)).text(str(error)),)


async def _save_first(stored: StoredCredential, vault: Vault, clock: Clock) -> Refreshed:
    try:
        current = await asyncio.to_thread(vault.save_unsaved, stored)
    except (OSError, VaultProblem) as error:
        log.error("still cannot save the new tokens of %s: %s", stored.full_name, error)
        current = await asyncio.to_thread(vault.read, stored)
        if not _newer(current, stored, clock.now()):
            text = f"the tokens of {stored.full_name} cannot be saved; no more are asked for until they are"
            raise RetryRefresh(text, retry_after_s=_SAVE_AGAIN_S) from error
        return Refreshed(stored=current, how="theirs", saved=False)
    if not _newer(current, stored, clock.now()):
        raise RetryRefresh(f"the tokens of {stored.full_name} have just been saved", retry_after_s=0.0)
    return Refreshed(stored=current, how="theirs")


def _newer(current: StoredCredential, than: StoredCredential, now: datetime) -> bool:
    other = current.access_token != than.access_token and bool(current.access_token.get_secret_value())
    return other and (current.expires_at is None or current.expires_at > now)


class _Refresh(Struct, eq=False):
    """One refresh, under the lock."""

    _refresher: CredentialRefresher
    _exchange: HttpClient
    _vault: Vault
    _clock: Clock
    _lock: CredentialLock
    _suspect_details: Sequence[str]
    keeps_lock: bool = False
    #: While the plugin refreshes.
    _recorder: Recorder | None = None

    def may_stop(self) -> bool:
        """Whether nothing is lost if it ends now."""
        recorder = self._recorder
        return recorder is not None and (not self._refresher.rotates or (recorder.used and not recorder.in_flight))

    async def run(self, stored: StoredCredential) -> Refreshed:
        try:
            current = await asyncio.to_thread(self._vault.read, stored)
            journal = self._vault.journal(current)
            left = await asyncio.to_thread(journal.read) if journal else None
        except (VaultProblem, OSError) as error:
            # Clients may be told why, so the path is left out.
            why = error.why if isinstance(error, VaultProblem) else str(error.strerror)
            raise RetryRefresh(f"its file {why}") from error
        try:
            return await self._run(stored, current, journal, left)
        finally:
            if journal is not None:
                journal.close()

    async def _run(
        self, stored: StoredCredential, current: StoredCredential, journal: Journal | None, left: Entry | None
    ) -> Refreshed:
        how: Literal["theirs", "recovered"] = "theirs"
        if self._vault.is_unsaved(current):
            return await _save_first(stored, self._vault, self._clock)
        if journal is not None and left is not None and left.token != digest(current.refresh_token):
            # A process saved tokens, or a user logged in again, but the journal was not cleared.
            await asyncio.to_thread(journal.end)
            left = None
        if journal is not None and left is not None and left.answered_at is not None:
            done = await self._recover(current, journal, left)
            if not done.saved:
                return done
            current, how, left = done.stored, "recovered", None
        if _newer(current, stored, self._clock.now()):
            return Refreshed(stored=current, how=how)
        if current.needs_login is not None:
            raise LoginRequired(current.needs_login.why)
        return await self._renew(current, journal, left)

    async def _recover(self, current: StoredCredential, journal: Journal, left: Entry) -> Refreshed:
        """Resume from the response that a killed process journalled."""
        log.warning("%s: resuming a token refresh that was interrupted at %s", current.full_name, left.since)
        recorder = Recorder(self._exchange, None, current.refresh_token, self._clock, left.answer)
        tokens = left.tokens or await self._ask(current, recorder, journal, left)
        if left.answer is not None and left.answered_at is not None and tokens.expires_at is not None:
            # Lifetimes in the response count from its arrival.
            tokens = replace(tokens, expires_at=tokens.expires_at - (self._clock.now() - left.answered_at))
        return await self._save(current, tokens, journal, recorder, "recovered")

    async def _renew(self, current: StoredCredential, journal: Journal | None, left: Entry | None) -> Refreshed:
        since = left.since if left is not None else self._clock.now()
        if journal is not None and current.refresh_token is not None:
            try:
                await asyncio.to_thread(journal.begin, current.refresh_token, since)
            except OSError as error:
                # If it were sent without a journal entry, it could be lost or sent twice.
                log.error("%s is not refreshed, because its journal cannot be written: %s", current.full_name, error)
                text = f"the journal of {current.full_name} cannot be written ({error.strerror})"
                raise RetryRefresh(text, retry_after_s=_SAVE_AGAIN_S) from error
        recorder = Recorder(self._exchange, journal, current.refresh_token, self._clock)
        tokens = await self._ask(current, recorder, journal, left)
        if not recorder.recorded and journal is not None and current.refresh_token is not None:
            await recorder.record(lambda: journal.write_tokens(tokens, self._clock.now()), perf_counter())
        return await self._save(current, tokens, journal, recorder, "refreshed")

    async def _ask(
        self, current: StoredCredential, recorder: Recorder, journal: Journal | None, left: Entry | None
    ) -> Tokens:
        credential = current.credential(lambda account: account)
        believed = {name: value for name, value in credential.details.items() if name not in self._suspect_details}
        credential = replace(credential, details=believed)
        self._recorder = recorder
        try:
            async with self._clock.timeout(_REFRESH_S):
                given = await self._refresher.refresh(credential, recorder)
            self._recorder = None
            return checked(given, self._clock.now(), current.full_name)
        except LoginRequired as error:
            _hush(error, current, recorder)
            raise await self._refused(current, error, journal, left) from error
        except BaseException as error:
            self._recorder = None
            if is_cancellation(error):
                risked = recorder.recorded or (recorder.sent and self._refresher.rotates)
                if not risked and journal is not None and left is None:
                    await _quietly(journal.end)
                raise
            if not recorder.uncertain and not recorder.recorded and journal is not None and left is None:
                await _quietly(journal.end)
            if isinstance(error, RetryRefresh | SetupRequired):
                _hush(error, current, recorder)
                raise
            if isinstance(error, PluginFailed):  # which has been logged
                raise RetryRefresh(f"its plugin failed ({error.cause})") from error
            log.error("%s could not be refreshed: its plugin failed", current.full_name, exc_info=error)
            raise RetryRefresh(f"its plugin failed ({type(error).__name__})") from error

    async def _refused(
        self, current: StoredCredential, error: LoginRequired, journal: Journal | None, left: Entry | None
    ) -> Exception:
        """Check once more before accepting the refusal: a program that takes no lock may have refreshed first."""
        try:
            again = await asyncio.to_thread(self._vault.read, current)
        except VaultProblem as problem:
            return RetryRefresh(f"its file {problem.why}")
        if journal is not None:
            await _quietly(journal.end)
        if digest(again.refresh_token) != digest(current.refresh_token):
            return RetryRefresh(
                f"{current.full_name} was refreshed by another program in the meantime", retry_after_s=0.0
            )
        why = str(error)
        if left is not None:
            why += (
                f". A refresh was interrupted at {left.since:%Y-%m-%d %H:%M:%S} UTC before its answer was on disk;"
                " the server had probably taken the refresh token by then"
            )
        try:
            await asyncio.to_thread(self._vault.mark_needs_login, current, why, self._clock.now())
        except (VaultProblem, OSError) as problem:
            log.error("%s needs a login, but that cannot be recorded: %s", current.full_name, problem)
        return LoginRequired(why)

    async def _save(
        self,
        current: StoredCredential,
        tokens: Tokens,
        journal: Journal | None,
        recorder: Recorder,
        how: Literal["refreshed", "recovered"],
    ) -> Refreshed:
        unfinished, renewed = tokens.unfinished, recorder.sent or tokens.access_token != current.access_token
        try:
            saved = await asyncio.to_thread(self._vault.save_tokens, current, tokens, current.refresh_token)
        except Stale as stale:
            log.warning(
                "%s: another program has stored different tokens in the meantime; they are kept", current.full_name
            )
            saved = stale.current
        except (OSError, VaultProblem) as error:
            on_disk = recorder.recorded or how == "recovered"
            self.keeps_lock = not on_disk
            lock = self._lock if self.keeps_lock else None
            log.error(
                "the new tokens of %s cannot be saved (%s): they are kept in memory%s and saved when that works",
                current.full_name,
                error,
                " and in the journal" if on_disk else " only; do not stop this process",
            )
            kept = self._vault.keep_unsaved(current, tokens, lock)
            return Refreshed(stored=kept, how=how, renewed=renewed, unfinished=unfinished, saved=False)
        if journal is not None:
            await _quietly(journal.end)
        return Refreshed(
            stored=saved,
            how=how,
            renewed=renewed,
            unfinished=unfinished,
            window_s=recorder.window_s,
            durable_s=recorder.durable_s,
        )


async def _quietly(end: Callable[[], None]) -> None:
    """Clear the journal; if that fails, it is recognized as stale later."""
    try:
        await asyncio.to_thread(end)
    except OSError as error:
        log.warning("cannot clear a journal: %s", error)


async def _to_the_end(work: Awaitable[T], may_stop: Callable[[], bool]) -> T:
    """Run to the end even if the caller is cancelled, or until it may stop: a refresh that is interrupted after
    sending would lose the login."""
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    stopped = False
    while not task.done():
        if cancelled is not None and not stopped and may_stop():
            stopped = task.cancel()
        try:
            await asyncio.wait([task], timeout=_LOOK_S if cancelled is not None and not stopped else None)
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        if not task.cancelled():
            task.exception()
        raise cancelled
    return task.result()
