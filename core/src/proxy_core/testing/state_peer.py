"""One process that shares state, as a test plays it: it keeps its number, its cursor and what it was told."""

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


def note(value: bytes | None, life_s: float = 60) -> SharedValue:
    return SharedValue(value=value, expires_at=in_s(life_s))


def count(add: float, life_s: float = 60) -> Count:
    return Count(add=add, expires_at=in_s(life_s))


@dataclass(slots=True)
class Peer:
    """``notes`` and ``totals`` are what it knows by now, ``held`` what it was granted last."""

    backend: StateBackend
    holder: str
    lives_s: float = 30.0
    number: int = 0
    seen: int = 0
    notes: dict[str, bytes] = field(default_factory=dict)
    totals: dict[str, float] = field(default_factory=dict)
    held: dict[str, int] = field(default_factory=dict)

    async def sync(
        self,
        *,
        notes: Mapping[str, SharedValue] | None = None,
        counts: Mapping[str, Count] | None = None,
        usage: Sequence[UsageRow] = (),
        claims: Mapping[str, PermitRequest] | None = None,
        answer_lost: bool = False,
    ) -> SyncResponse:
        """One exchange. ``answer_lost``: the first answer does not arrive, so it is sent twice."""
        push = SyncRequest(
            holder=self.holder,
            number=self.number + 1,
            seen=self.seen,
            notes=notes or {},
            counts=counts or {},
            usage=usage,
            claims=claims or {},
            lives_s=self.lives_s,
        )
        if answer_lost:
            await self.backend.sync(push)
        pull = await self.backend.sync(push)
        if notes or counts or usage:
            self.number += 1
        self.learn(push.notes)
        self.take(pull)
        return pull

    def take(self, pull: SyncResponse) -> None:
        """Learn what an answer says."""
        assert pull.cursor >= self.seen, "a cursor never goes back"
        self.seen = pull.cursor
        self.learn(pull.notes)
        self.totals.update(pull.counts)
        self.held.update(pull.held)

    def learn(self, notes: Mapping[str, SharedValue]) -> None:
        """Write down notes, its own or others'."""
        for name, note in notes.items():
            if note.value is None:
                self.notes.pop(name, None)
            else:
                self.notes[name] = note.value


@pytest.mark.anyio
class StateFixtures:
    """What the contract's tests are given."""

    #: A short life, for what is to expire within a test; a slow store may need more.
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
        """Each call is another connection to one store, as another process would open it."""
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
