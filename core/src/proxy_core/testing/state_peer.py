"""A simulated process that shares state: it keeps its number, its cursor and what it has received."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

import pytest

from proxy_core.interfaces import (
    Count,
    PermitRequest,
    SharedValue,
    StateBackend,
    StateStore,
    SyncRequest,
    SyncResponse,
    UsageRow,
)

OpenBackend = Callable[[], Awaitable[StateBackend]]


def in_s(seconds: float) -> float:
    """Epoch seconds, this long from now."""
    return time.time() + seconds


def shared(value: bytes | None, life_s: float = 60) -> SharedValue:
    return SharedValue(value=value, expires_at=in_s(life_s))


def count(add: float, life_s: float = 60) -> Count:
    return Count(add=add, expires_at=in_s(life_s))


@dataclass(slots=True)
class Peer:
    """``values`` and ``totals`` are what it has received so far, ``held`` the permits that it was last granted."""

    backend: StateBackend
    holder: str
    lives_s: float = 30.0
    number: int = 0
    seen: int = 0
    values: dict[str, bytes] = field(default_factory=dict)
    totals: dict[str, float] = field(default_factory=dict)
    held: dict[str, int] = field(default_factory=dict)

    async def sync(
        self,
        *,
        values: Mapping[str, SharedValue] | None = None,
        counts: Mapping[str, Count] | None = None,
        usage: Sequence[UsageRow] = (),
        permits: Mapping[str, PermitRequest] | None = None,
        answer_lost: bool = False,
    ) -> SyncResponse:
        """One exchange. ``answer_lost``: the first response does not arrive, so the request is sent twice."""
        request = SyncRequest(
            holder=self.holder,
            number=self.number + 1,
            seen=self.seen,
            values=values or {},
            counts=counts or {},
            usage=usage,
            permits=permits or {},
            lives_s=self.lives_s,
        )
        if answer_lost:
            await self.backend.sync(request)
        response = await self.backend.sync(request)
        if values or counts or usage:
            self.number += 1
        self.learn(request.values)
        self.take(response)
        return response

    def take(self, response: SyncResponse) -> None:
        """Apply a response."""
        assert response.cursor >= self.seen, "a cursor never goes back"
        self.seen = response.cursor
        self.learn(response.values)
        self.totals.update(response.counts)
        self.held.update(response.held)

    def learn(self, values: Mapping[str, SharedValue]) -> None:
        """Store shared values, its own or those of others."""
        for name, shared in values.items():
            if shared.value is None:
                self.values.pop(name, None)
            else:
                self.values[name] = shared.value


@pytest.mark.anyio
class StateFixtures:
    """The fixtures of the contract tests."""

    #: A short lifetime, for values that expire within a test; a slow store may need more.
    short_s: float = 0.25

    @pytest.fixture
    def anyio_backend(self) -> str:
        return "asyncio"

    @pytest.fixture
    def store(self) -> StateStore:
        raise NotImplementedError

    @pytest.fixture
    def url(self) -> str:
        raise NotImplementedError

    @pytest.fixture
    async def open_backend(self, store: StateStore, url: str) -> AsyncIterator[OpenBackend]:
        """Each call opens another connection to one store, as another process would."""
        opened: list[StateBackend] = []

        async def open_one() -> StateBackend:
            opened.append(await store.open(url))
            return opened[-1]

        yield open_one
        for backend in opened:
            await backend.close()

    @pytest.fixture
    async def ann(self, open_backend: OpenBackend) -> Peer:
        return Peer(await open_backend(), "ann")

    @pytest.fixture
    async def bob(self, open_backend: OpenBackend) -> Peer:
        return Peer(await open_backend(), "bob")

    @pytest.fixture
    async def peers(self, ann: Peer, bob: Peer, open_backend: OpenBackend) -> list[Peer]:
        return [ann, bob, Peer(await open_backend(), "cem"), Peer(await open_backend(), "dot")]
