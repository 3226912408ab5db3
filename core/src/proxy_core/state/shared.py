"""Keeps the in-memory state in a store and synchronizes it with other processes, in exchanges off the request path.

If the store fails, no request fails: unsaved state stays in memory, ``/readyz`` shows the problem,
and the next successful exchange catches up.
"""

from __future__ import annotations

import asyncio
import logging
import math
import secrets
from collections.abc import Callable, Mapping, Sequence
from datetime import date, timedelta
from types import TracebackType
from typing import Self, TypeVar
from urllib.parse import quote, unquote

from msgspec import Struct, field
from msgspec.structs import replace

from proxy_core.clock import Clock, Instant
from proxy_core.errors import Unavailable
from proxy_core.interfaces import (
    Count,
    PermitRequest,
    SharedValue,
    StateBackend,
    StateLost,
    StateStore,
    StoreStatus,
    SyncRequest,
    SyncResponse,
    UsageRow,
)
from proxy_core.plugins.faults import is_from_outside
from proxy_core.rotation import sync_codec
from proxy_core.rotation.pool import Pool
from proxy_core.settings.schema import StateSettings
from proxy_core.state.budgets import Budgets
from proxy_core.state.unsent import Unsent
from proxy_core.state.usage import UsageBook

log = logging.getLogger("proxy_core.state")

T = TypeVar("T")

#: How long a start waits for the store's content, and a shutdown for the last exchange.
_START_S = 2.0
_END_S = 5.0
#: A store that takes longer than this is regarded as hanging.
_TIMEOUT_S = 10.0
#: Statistics are sent without usage rather than late.
_STATISTICS_S = 2.0
#: Without a response for this long, shared limits are divided evenly.
_ALONE_S = 2.0
#: How often a request that the store rejects as invalid is repeated.
_TRIES = 5
_AT_LEAST_S = 0.01
_MAX_BACK_OFF_S = 2.0
_FORGET_EVERY_S = 3600.0
_MAX_PROBLEM = 200
#: A process that was silent for this long loses its permits.
LIVES_S = 10.0


class SharedState(Struct, eq=False):
    """An async context manager around the exchanges. Entering it loads what the store has.

    ``pools`` are read at each exchange. ``clean`` removes from upstreams' messages what may not be stored.
    """

    __repr__ = object.__repr__  # the URL may hold a password

    _store: StateStore
    _url: str
    _settings: StateSettings
    _pools: Mapping[str, Pool]
    _usage: UsageBook
    _budgets: Budgets
    _clock: Clock
    _clean: sync_codec.Clean
    _holder: str = field(default_factory=lambda: secrets.token_hex(8))
    _backend: StateBackend | None = None
    _unsent: Unsent = field(default_factory=Unsent)
    #: The parts of a request that the store rejected; one of them has the value that it cannot accept.
    _suspects: list[Unsent] = field(default_factory=list)
    _applied: bool = True
    _cursor: int = 0
    _failures: int = 0
    _responded_at: float = -math.inf
    _holders: int = 1
    _held: dict[str, int] = field(default_factory=dict)
    _forgotten_at: float = -_FORGET_EVERY_S
    #: The credentials that were in the pools when everything was last requested from the store.
    _named: set[tuple[str, str]] = field(default_factory=set)
    #: Request everything from the store, as at the start.
    _anew: bool = False
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _stop: asyncio.Event = field(default_factory=asyncio.Event)
    _task: asyncio.Task[None] | None = None
    #: The current problem, for the operator; ``None`` without one.
    problem: str | None = None
    #: Why usage could not be read, since it last could: a page that is open asks again and again.
    _unread: set[str] = field(default_factory=set)

    async def __aenter__(self) -> Self:
        try:
            async with asyncio.timeout(_START_S):
                await self._exchange()
                if self._holders > 1:
                    await self._exchange()  # to be granted permits
        except TimeoutError:
            self._complain("it does not respond")
        self._task = asyncio.create_task(self._run(), name="state")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._wake.set()
        try:
            async with asyncio.timeout(_END_S):
                if self._task is not None:
                    await self._task
        except TimeoutError:
            log.error("the state store is unavailable: usage since the last exchange is lost")
        await self._close()

    def configure(self, settings: StateSettings) -> None:
        """Apply new settings. The store's state of credentials that are new to the pools is loaded at once."""
        named = {(provider, row.id) for provider, pool in self._pools.items() for row in pool.ledger.rows}
        self._anew |= not named <= self._named
        self._named, self._settings = named, settings
        self._wake.set()

    def wake(self) -> None:
        """Exchange at once, because something changed that other processes should know."""
        self._wake.set()

    @property
    def backend(self) -> StateBackend | None:
        """The open store, for values that are kept in it and nowhere else."""
        return self._backend

    def status(self) -> StoreStatus:
        return StoreStatus(scheme=self._store.scheme, problem=self.problem, processes=self._holders)

    async def rows(self, since: date, until: date) -> Sequence[UsageRow]:
        """Usage of these days, as of the last exchange. Raises whatever the store raises."""
        if self._backend is None:
            return []
        self._wake.set()
        return await self._backend.usage(since, until)

    async def usage(self, since: date, until: date) -> Sequence[UsageRow]:
        """The same, for a reader of statistics. Raises ``Unavailable`` if the store does not answer in time."""
        try:
            async with asyncio.timeout(_STATISTICS_S):
                rows = await self.rows(since, until)
        except BaseException as error:  # a store may fail in any way
            if is_from_outside(error):
                raise
            if type(error).__name__ not in self._unread:
                self._unread.add(type(error).__name__)
                log.warning("usage cannot be read from the state store", exc_info=True)
            raise Unavailable("The usage cannot be read from the state store.") from error
        self._unread.clear()
        return rows

    async def _run(self) -> None:
        while not self._stop.is_set():
            await self._pause()
            await self._exchange()
        kept = False
        while not kept:  # includes changes made during the last exchange
            gathers = self._applied and not self._suspects
            await self._exchange()
            kept = gathers and self._applied and not self._suspects
            if not self._applied:
                await asyncio.sleep(self._settings.sync_interval_s)

    async def _pause(self) -> None:
        """Wait until the next exchange is due, or until :meth:`wake` is called."""
        waited_for = self._stop if self._failures else self._wake
        await asyncio.sleep(_AT_LEAST_S)
        try:
            async with asyncio.timeout(min(self._settings.sync_interval_s * 2**self._failures, _MAX_BACK_OFF_S)):
                await waited_for.wait()
        except TimeoutError:
            pass
        self._wake.clear()

    async def _exchange(self) -> None:
        began = self._clock.monotonic()
        if began - self._responded_at > LIVES_S:
            self._held.clear()  # other processes have them by now; they must be requested again
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                if self._backend is None:
                    self._backend = await self._store.open(self._url)
                response = await self._backend.sync(self._request())
        except StateLost as lost:
            self._complain(str(lost))
            await self._reopen()
        except TimeoutError:
            self._complain("it does not respond")
        except BaseException as error:  # a store may fail in any way; requests go on without it
            if is_from_outside(error):
                raise
            self._complain(f"{type(error).__name__}: {error}"[:_MAX_PROBLEM])
            log.debug("state store", exc_info=True)
            self._give_up(error)
        else:
            self._applied, self._responded_at, self._cursor = True, began, response.cursor
            self._relieved()
            self._take_over(response)
            await self._forget_old()
        if self._failures and self._holders > 1 and self._clock.monotonic() - self._responded_at > _ALONE_S:
            for pool in self._pools.values():
                sync_codec.without_store(pool, self._holders)
                pool.notify(every=True)

    def _give_up(self, error: BaseException) -> None:
        """Find what the store can never accept in a request, and drop it: it would block everything after it."""
        invalid = isinstance(error, ValueError | TypeError | OverflowError)
        if not invalid or self._applied or (self._failures < _TRIES and not self._unsent.suspect):
            return
        self._applied = True
        self._suspects = self._unsent.halves() + self._suspects
        if not self._unsent.halves():
            log.error("the state store rejected %s, which is lost", self._unsent, exc_info=error)

    def _request(self) -> SyncRequest:
        if self._anew:
            self._cursor, self._anew = 0, False
        if self._applied:
            number = self._unsent.number + 1
            self._unsent = replace(self._suspects.pop(0) if self._suspects else self._gathered(), number=number)
            self._applied = False
        return SyncRequest(
            holder=self._holder,
            number=self._unsent.number,
            seen=self._cursor,
            values=self._unsent.values,
            counts=self._unsent.counts,
            usage=self._unsent.usage,
            permits=self._permits_wanted(),
            lives_s=LIVES_S,
        )

    def _gathered(self) -> Unsent:
        instant = Instant.of(self._clock)
        found_values: dict[str, SharedValue] = {}
        found_counts: dict[str, Count] = dict(self._budgets.unsent())
        for provider, pool in self._pools.items():
            ledger = pool.ledger
            if not (ledger.changes.scopes or ledger.changes.used or pool.sessions.changes):
                continue
            scopes, ledger.changes.scopes = ledger.changes.scopes, set()
            for scope in scopes:
                at = ledger.changes.at.get(scope, instant.monotonic)
                found_values[sync_codec.name_of(provider, scope)] = sync_codec.written(
                    ledger, scope, at, instant, self._clean
                )
            found_counts |= sync_codec.counted(provider, ledger, instant)
            found_values |= sync_codec.sessions_written(provider, pool, instant)
        return Unsent(values=found_values, counts=found_counts, usage=self._usage.take())

    def _permits_wanted(self) -> dict[str, PermitRequest]:
        """The permits to request of shared limits. A process that is alone requests none and has them all."""
        now, requests = self._clock.monotonic(), dict[str, PermitRequest]()
        for provider, pool in self._pools.items():
            if self._holders == 1:
                continue
            for credential, permit in sync_codec.permits_wanted(pool, now, self._holders).items():
                name = _permit_name(provider, credential)
                wanted = permit if not self._stop.is_set() else replace(permit, want=0)
                held = self._held.get(name, 0)
                # A process with more than its share repeats its request, because another one may lack a permit.
                if held != wanted.want or held * self._holders > permit.limit:
                    requests[name] = wanted
        return requests

    def _granted(self, response: SyncResponse) -> None:
        was_alone, self._holders = self._holders == 1, response.holders
        self._held |= response.held
        if was_alone and self._holders == 1:
            return
        for provider, pool in self._pools.items():
            if self._holders == 1:
                sync_codec.alone(pool)
            else:
                held = {c.id: self._held.get(_permit_name(provider, c.id), 0) for c in pool.credentials}
                sync_codec.granted(pool, held)

    def _take_over(self, response: SyncResponse) -> None:
        for name, shared in response.values.items():
            self._understood(self._value_received, name, shared)
        for name, total in response.counts.items():
            self._understood(self._counted, name, total)
        self._granted(response)
        if response.values or response.counts or self._holders > 1:
            for pool in self._pools.values():
                if pool.waiting:
                    pool.notify(every=True)

    def _understood(self, take: Callable[[str, T], None], name: str, value: T) -> None:
        """Apply one value. An invalid one, perhaps of another version, does not prevent the others."""
        try:
            take(name, value)
        except (ValueError, TypeError, LookupError, AttributeError):
            log.warning("the state store contains an unknown value under %r", name)

    def _value_received(self, name: str, shared: SharedValue) -> None:
        kind, provider = map(unquote, name.split("/")[:2])
        pool = self._pools.get(provider)
        if pool is not None and kind in ("state", "report"):
            sync_codec.applied(pool.ledger, name, shared, Instant.of(self._clock))
        elif pool is not None and kind == "session":
            sync_codec.session_applied(pool, name, shared, Instant.of(self._clock))

    def _counted(self, name: str, total: float) -> None:
        kind, owner = map(unquote, name.split("/")[:2])
        if kind == "client":
            self._budgets.apply_total(name, total)
        elif kind == "used" and owner in self._pools:
            sync_codec.count_applied(owner, self._pools[owner].ledger, name, total, Instant.of(self._clock))
        elif kind == "pace" and owner in self._pools:
            sync_codec.pace_applied(self._pools[owner].ledger, name, total, Instant.of(self._clock))

    async def _reopen(self) -> None:
        """Open the store again after it lost its data, and send everything again."""
        await self._close()
        self._cursor = 0
        self._held.clear()
        for pool in self._pools.values():
            pool.ledger.changes.send_again()

    async def _close(self) -> None:
        backend, self._backend = self._backend, None
        if backend is None:
            return
        try:
            async with asyncio.timeout(_END_S):
                await backend.close()
        except BaseException as error:  # everything that could be stored has been stored
            if is_from_outside(error):
                raise
            log.debug("closing a state store", exc_info=True)

    async def _forget_old(self) -> None:
        now = self._clock.monotonic()
        if self._backend is None or now - self._forgotten_at <= _FORGET_EVERY_S:
            return
        self._forgotten_at = now
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                await self._backend.forget_usage(
                    self._clock.now().date() - timedelta(days=self._settings.usage_retention_days)
                )
        except BaseException as error:  # not urgent; the next exchange reports a failing store
            if is_from_outside(error):
                raise
            log.warning("old usage could not be deleted", exc_info=True)

    def _complain(self, problem: str) -> None:
        self._failures = min(self._failures + 1, 10)
        if problem != self.problem:
            log.error("the state store cannot be used (%s); continuing with the state in memory", problem)
        self.problem = problem

    def _relieved(self) -> None:
        if self.problem is not None:
            log.warning("the state store works again")
        self.problem, self._failures = None, 0


def _permit_name(provider: str, credential: str) -> str:
    return f"permits/{quote(provider, safe='')}/{credential}"
