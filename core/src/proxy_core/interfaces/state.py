"""Stores of the state that survives a restart and that processes share."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import date
from typing import Protocol

from msgspec import Struct, field

from proxy_core.messages import repr_without

__all__ = [
    "Count",
    "KeptValue",
    "PermitRequest",
    "SharedValue",
    "StateBackend",
    "StateLost",
    "StateStore",
    "SyncRequest",
    "SyncResponse",
    "UsageRow",
]


class UsageRow(Struct, frozen=True, kw_only=True):
    """The usage of one UTC day by one client, through one credential, of one model.

    ``credential`` is a fingerprint, empty for requests without an attempt. ``prompt``
    includes ``cached`` and ``cache_write``; ``completion`` includes ``reasoning``. ``cost`` is in
    US dollars, for the requests whose cost is known, which ``priced`` counts. One that no upstream answered costs
    nothing and is counted, so ``requests - priced`` were answered without a known price. If there are any, ``cost``
    is a lower bound, and where it is 0, the cost is not known.
    """

    day: date
    client: str
    provider: str
    credential: str
    model: str
    requests: int = 0
    attempts: int = 0
    failures: int = 0
    prompt: int = 0
    cached: int = 0
    cache_write: int = 0
    completion: int = 0
    reasoning: int = 0
    cost: float = 0.0
    priced: int = 0


class SharedValue(Struct, frozen=True, kw_only=True):
    """A value under a name: the last one to reach the store wins. ``expires_at`` is in epoch seconds.

    ``None`` deletes the value; other processes receive the deletion for as long as they may remember the value.
    """

    value: bytes | None
    expires_at: float


class Count(Struct, frozen=True, kw_only=True):
    """``add`` is added to the total of all processes under a name, which is deleted at ``expires_at`` (epoch seconds).

    If processes disagree about ``expires_at``, the latest applies. An addition that arrives after
    its own ``expires_at`` is dropped.
    """

    add: float
    expires_at: float


class PermitRequest(Struct, frozen=True, kw_only=True):
    """The number of permits that this process wants, out of ``limit`` that all processes share. 0 returns them.

    ``used``: how many it cannot return now. The process keeps these even if it is granted fewer, so that no
    permit is in use twice. A process that has not started more than ``used`` when the response arrives
    never contributes to exceeding the limit.
    """

    want: int
    limit: int
    used: int = 0


class SyncRequest(Struct, frozen=True, kw_only=True):
    """The changes of one process since its last sync. Names and texts are valid Unicode.

    ``holder`` names the process. ``number`` rises with each request that was applied: a request that
    arrives twice (because its response was lost) counts once, however late. A request without values, counts and
    usage does not consume its number. ``seen`` is the cursor of the last response, 0 at first; a cursor
    that the store never issued counts as 0. ``permits`` that are not listed are unchanged. ``lives_s``:
    the permits of this holder become free when it has been silent for this long, not earlier and
    at most half as much later; after that it has to request them again.
    """

    holder: str
    number: int
    seen: int = 0
    values: Mapping[str, SharedValue] = field(default_factory=dict)
    counts: Mapping[str, Count] = field(default_factory=dict)
    usage: Sequence[UsageRow] = ()
    permits: Mapping[str, PermitRequest] = field(default_factory=dict)
    lives_s: float = 10.0


class SyncResponse(Struct, frozen=True, kw_only=True):
    """The changes of other processes since ``SyncRequest.seen``, and the permits granted.

    ``values``: values that other processes wrote (``value=None``: deleted). ``counts``: the totals of names to
    which any process, including this one, added. If ``seen`` was 0: everything that has not expired, including
    this process's own. ``holders``: how many processes are alive, including this one.

    ``held``: the number granted for each requested permit, at most ``PermitRequest.want``. They are what is left
    of ``PermitRequest.limit`` after the permits that other processes hold, and after what each of those still lacks
    of its share. A share is the limit divided by the number of living holders that want permits, rounded down; if
    more holders want permits than there are, the first ones keep theirs. The permits that are granted, plus those
    that are still in use beyond that, never exceed the limit.
    """

    cursor: int
    values: Mapping[str, SharedValue] = field(default_factory=dict)
    counts: Mapping[str, float] = field(default_factory=dict)
    held: Mapping[str, int] = field(default_factory=dict)
    holders: int = 1


class KeptValue(Struct, frozen=True, kw_only=True):
    """Something that is kept for its ``owner``, a client, until ``expires_at`` (epoch seconds).

    Of more than ``most`` values of one owner, or more than ``most_bytes`` in total, the oldest are deleted.
    """

    __repr__ = repr_without("value")

    owner: str
    name: str
    value: bytes
    expires_at: float
    most: int
    most_bytes: int


class StateBackend(Protocol):
    """An open store behind the in-memory state. Only requests that need a kept value wait for it.

    ``sync`` is one atomic exchange; it may raise any exception, and is then repeated with the same
    number. It returns within seconds or raises.
    """

    async def sync(self, request: SyncRequest) -> SyncResponse: ...
    async def usage(self, since: date, until: date) -> Sequence[UsageRow]:
        """Rows of these days (inclusive), by day and then by name."""
        ...

    async def forget_usage(self, before: date) -> None:
        """Delete the rows of earlier days."""
        ...

    async def keep(self, kept: KeptValue) -> None:
        """Store a value that every process can read; no process is notified. A value of the same name is replaced."""
        ...

    async def kept(self, owner: str, name: str) -> bytes | None: ...
    async def forget(self, owner: str, name: str) -> bool:
        """Delete a kept value; returns whether there was one."""
        ...

    async def close(self) -> None: ...


class StateStore(Struct, frozen=True, kw_only=True):
    """A kind of store, chosen by the scheme of ``state.url``.

    ``open`` is awaited once with the whole URL, and again after any method raised
    :class:`StateLost`; if that was ``open`` itself, only after a pause.
    """

    scheme: str
    open: Callable[[str], Awaitable[StateBackend]]


class StateLost(Exception):
    """The store has to be opened again, and everything read again with ``seen=0``.

    The message tells the operator what is wrong, without a secret.
    """
