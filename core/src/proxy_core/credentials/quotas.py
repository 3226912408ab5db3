"""Asks providers how much quota each credential has left: at intervals, and no request waits for it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import nullcontext
from types import TracebackType
from typing import Any, Self

from msgspec import Struct, field

from proxy_core.clock import Clock
from proxy_core.interfaces import Credential, HttpClient, Provider
from proxy_core.plugins.faults import is_cancellation
from proxy_core.rotation.pool import Pool
from proxy_core.rotation.state import CredentialState

log = logging.getLogger("proxy_core.credentials")

_ASK_S = 60.0
_AT_ONCE = 4
_LEAST_S = 1.0
#: How long to wait before checking again whether a credential can be used.
_LOOK_S = 1.0
#: On demand, the quota of a credential is requested at most once in this time, and answers are awaited for this long.
_FRESH_S = 30.0
_DEMAND_S = 15.0


class QuotaAsker(Struct, eq=False):
    """An async context manager around the task that asks. ``http``: the network of a provider."""

    __repr__ = object.__repr__

    _http: Callable[[str], HttpClient]
    _clock: Clock
    _sources: Mapping[str, tuple[Provider, Pool]] = field(default_factory=dict)
    #: By provider and credential: when it was asked for last.
    _asked_at: dict[tuple[str, str], float] = field(default_factory=dict)
    _asking: set[tuple[str, str]] = field(default_factory=set)
    _turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_AT_ONCE))
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _task: asyncio.Task[None] | None = None

    def configure(self, providers: Mapping[str, Provider], pools: Mapping[str, Pool]) -> None:
        """Ask for the credentials of these from now on. Cannot fail and awaits nothing."""
        asked = {name: one for name, one in providers.items() if one.quota is not None and name in pools}
        self._sources = {name: (one, pools[name]) for name, one in asked.items()}
        known = {(name, row.id) for name, (_, pool) in self._sources.items() for row in pool.ledger.rows}
        self._asked_at = {key: at for key, at in self._asked_at.items() if key in known}
        self._wake.set()

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run(), name="quotas")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def ask_now(self, provider: str | None = None, credential: str | None = None) -> int:
        """Ask for these credentials, or all; returns how many were asked for. Those asked for lately are left out."""
        chosen = [
            (source, pool, row)
            for source, pool, row in self._usable()
            if provider in (None, source.name) and credential in (None, row.id) and self._age_s(source, row) >= _FRESH_S
        ]
        asking = [asyncio.ensure_future(self._ask(source, pool, row.credential)) for source, pool, row in chosen]
        try:
            async with self._clock.timeout(_DEMAND_S):
                await asyncio.gather(*asking)
        except TimeoutError:
            log.warning("not all quotas are known: not every provider answers within %.0f s", _DEMAND_S)
        return len(chosen)

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            while True:
                waits = [_LOOK_S] if self._some_not_ready() else []
                for provider, pool, row in self._usable():
                    left_s = max(_LEAST_S, provider.quota_every_s) - self._age_s(provider, row)
                    if left_s <= 0:
                        tasks.create_task(self._ask(provider, pool, row.credential))
                    else:
                        waits.append(left_s)
                await self._pause(min(waits, default=None))

    async def _pause(self, wait_s: float | None) -> None:
        try:
            async with self._clock.timeout(wait_s) if wait_s is not None else nullcontext():
                await self._wake.wait()
        except TimeoutError:
            pass
        self._wake.clear()

    def _some_not_ready(self) -> bool:
        """Whether a login has no token yet."""
        rows = (row for _, pool in self._sources.values() for row in pool.ledger.rows)
        return any(row.unavailable and not row.stuck for row in rows)

    def _usable(self) -> Iterator[tuple[Provider, Pool, CredentialState]]:
        """Credentials that are not being asked for, with a token of the kind that the provider can ask for."""
        for provider, pool in self._sources.values():
            for row in pool.ledger.rows:
                credential, key = row.credential, (provider.name, row.id)
                has_token = credential.kind == provider.credential_kind and bool(credential.secret.get_secret_value())
                if has_token and not row.unavailable and key not in self._asking:
                    yield provider, pool, row

    def _age_s(self, provider: Provider, row: CredentialState) -> float:
        return self._clock.monotonic() - self._asked_at.get((provider.name, row.id), float("-inf"))

    def _ask(self, provider: Provider, pool: Pool, credential: Credential) -> Coroutine[Any, Any, None]:
        self._asking.add((provider.name, credential.id))  # at once: a task begins later
        return self._asked(provider, pool, credential)

    async def _asked(self, provider: Provider, pool: Pool, credential: Credential) -> None:
        """Nothing depends on the figures, so whatever fails is only logged."""
        key = (provider.name, credential.id)
        try:
            assert provider.quota is not None  # it is one of the sources
            async with self._turns, self._clock.timeout(_ASK_S):
                windows = await provider.quota(credential, self._http(provider.name))
            pool.reported(credential.id, windows, self._clock.now())
        except BaseException as error:  # a plugin's quota request may fail in any way
            if is_cancellation(error):
                raise
            log.warning(
                "the quota of %s %s is not known: %s",
                *(provider.name, credential.label, str(error) or type(error).__name__),
            )
        finally:
            self._asking.discard(key)
            self._asked_at[key] = self._clock.monotonic()
            self._wake.set()
