"""State within one process, lost when it ends. For ``state.url = "memory:"`` and for tests."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from datetime import date

from msgspec import Struct, field

from proxy_core.interfaces import (
    Count,
    KeptValue,
    PermitRequest,
    SharedValue,
    StateBackend,
    StateStore,
    SyncRequest,
    SyncResponse,
    UsageRow,
)
from proxy_core.state.sharing import share
from proxy_core.state.usage import added


def memory_store() -> StateStore:
    """A store whose backends all share one state."""
    state = MemoryState()

    async def open_it(url: str) -> StateBackend:
        return state

    return StateStore(scheme="memory", open=open_it)


class _Stored(Struct):
    shared: SharedValue
    writer: str
    version: int
    #: Until when another process may remember a value of this name, and has to receive the next one.
    kept_until: float


class _Counted(Struct):
    total: float
    expires_at: float
    version: int


class _Holder(Struct):
    number: int = 0
    dies_at: float = 0.0
    #: want, kept
    permits: dict[str, tuple[int, int]] = field(default_factory=dict)


class MemoryState:
    """A ``StateBackend``. No method awaits anything, so each one is atomic."""

    def __init__(self) -> None:
        self._version = 0
        self._values: dict[str, _Stored] = {}
        self._counts: dict[str, _Counted] = {}
        self._holders: dict[str, _Holder] = {}
        #: By owner, and in the order in which they were kept.
        self._kept: dict[str, dict[str, KeptValue]] = {}
        self._usage: dict[tuple[date, str, str, str, str], UsageRow] = {}

    async def sync(self, request: SyncRequest) -> SyncResponse:
        now = time.time()
        self._forget(now)
        me = self._holders.setdefault(request.holder, _Holder())
        if me.dies_at <= now:
            me.permits.clear()
        me.dies_at = now + request.lives_s
        if request.number > me.number and (request.values or request.counts or request.usage):
            me.number = request.number
            self._apply(request, now)
        seen = request.seen if request.seen <= self._version else 0
        return SyncResponse(
            cursor=self._version,
            values={
                name: n.shared
                for name, n in self._values.items()
                if n.version > seen
                and (n.writer != request.holder if seen else n.shared.value is not None and n.shared.expires_at > now)
            },
            counts={name: c.total for name, c in self._counts.items() if c.version > seen},
            held={name: self._grant(me, name, permit, now) for name, permit in request.permits.items()},
            holders=sum(1 for _ in self._living(now)),
        )

    async def usage(self, since: date, until: date) -> Sequence[UsageRow]:
        return [self._usage[key] for key in sorted(self._usage) if since <= self._usage[key].day <= until]

    async def forget_usage(self, before: date) -> None:
        self._usage = {key: row for key, row in self._usage.items() if row.day >= before}

    async def keep(self, kept: KeptValue) -> None:
        own = self._kept.setdefault(kept.owner, {})
        own.pop(kept.name, None)
        own[kept.name] = kept
        excess = sum(len(other.value) for other in own.values()) - kept.most_bytes
        for oldest in list(own.values()):
            if excess <= 0 and len(own) <= kept.most and oldest.expires_at > time.time():
                break
            excess -= len(own.pop(oldest.name).value)

    async def kept(self, owner: str, name: str) -> bytes | None:
        found = self._kept.get(owner, {}).get(name)
        return found.value if found is not None and found.expires_at > time.time() else None

    async def forget(self, owner: str, name: str) -> bool:
        found = self._kept.get(owner, {}).pop(name, None)
        return found is not None and found.expires_at > time.time()

    async def close(self) -> None:
        """The state is kept for the next one who opens it."""

    def _apply(self, request: SyncRequest, now: float) -> None:
        self._version += 1
        for name, shared in request.values.items():
            old = self._values.get(name)
            until = max(shared.expires_at, old.kept_until if old else 0)
            self._values[name] = _Stored(shared, request.holder, self._version, until)
        for name, count in request.counts.items():
            if count.expires_at > now:
                self._count(name, count)
        for row in request.usage:
            key = (row.day, row.client, row.provider, row.credential, row.model)
            known = self._usage.get(key)
            self._usage[key] = row if known is None else added(row, known)

    def _count(self, name: str, count: Count) -> None:
        known = self._counts.setdefault(name, _Counted(0, 0, 0))
        known.total += count.add
        known.expires_at = max(known.expires_at, count.expires_at)
        known.version = self._version

    def _grant(self, me: _Holder, name: str, permit: PermitRequest, now: float) -> int:
        others = [h.permits[name] for h in self._living(now) if h is not me and name in h.permits]
        granted, kept = share(permit, me.permits.get(name, (0, 0))[1], others)
        me.permits[name] = (permit.want, kept)
        return granted

    def _living(self, now: float) -> Iterator[_Holder]:
        return (holder for holder in self._holders.values() if holder.dies_at > now)

    def _forget(self, now: float) -> None:
        self._values = {name: n for name, n in self._values.items() if n.kept_until > now}
        self._counts = {name: c for name, c in self._counts.items() if c.expires_at > now}
