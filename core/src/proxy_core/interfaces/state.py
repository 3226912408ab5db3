"""What survives a restart and is shared by processes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageRow:
    """What was used on one UTC day, by one client through one credential for one model.

    ``credential`` is a fingerprint, empty for requests nobody could be asked for. ``prompt``
    includes ``cached`` and ``cache_write``; ``completion`` includes ``reasoning``. ``cost`` is in
    US dollars, of the requests whose price is known; ``priced`` counts those.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedValue:
    """A value under a name: the last one to reach the store counts. ``expires_at`` is epoch seconds.

    ``None`` takes it away; that is told to others for as long as they may remember the note.
    """

    value: bytes | None
    expires_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """``add`` is added to what all processes counted under a name; forgotten at ``expires_at``, epoch seconds.

    Where processes differ about ``expires_at``, the latest holds. An add that comes later than
    its own ``expires_at`` is dropped.
    """

    add: float
    expires_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PermitRequest:
    """Permits this process would like to hold, of ``limit`` that all processes share. 0 gives them back.

    ``used``: how many it cannot give back now. They stay its own even where it is granted fewer,
    so that they are not in use twice. A process that has not started more than ``used`` when the
    answer comes never takes part in exceeding the limit.
    """

    want: int
    limit: int
    used: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncRequest:
    """What one process has to say since its last sync. Names and texts are valid Unicode.

    ``holder`` names the process, ``number`` rises with each push that was applied: a push that
    comes twice (its answer was lost) counts once, however late. A push with no notes, counts and
    usage does not use its number up. ``seen`` is the cursor of the last pull, 0 at first; one
    that the store never gave is taken for 0. ``claims`` not named stay as they were. ``lives_s``:
    what this holder claims is free again when it has been silent for this long, not earlier and
    at most half as much later; it has to claim anew then.
    """

    holder: str
    number: int
    seen: int = 0
    notes: Mapping[str, SharedValue] = field(default_factory=dict)
    counts: Mapping[str, Count] = field(default_factory=dict)
    usage: Sequence[UsageRow] = ()
    claims: Mapping[str, PermitRequest] = field(default_factory=dict)
    lives_s: float = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncResponse:
    """What the others did since ``SyncRequest.seen``, and what is granted.

    ``notes``: names others wrote (``value=None``: took away). ``counts``: the totals of names to
    which somebody, this process included, added. Everything not expired, its own too, when
    ``seen`` was 0. ``holders``: how many processes are alive, this one included.

    ``held``: permits per claim in the push, at most ``PermitRequest.want``, the rest of ``PermitRequest.limit``
    after what the others hold, and after what each of them still lacks of its share. The share is
    the limit divided by the living holders that want any, rounded down: when more want than there
    are permits, who came first keeps them. What is granted, and what is still in use beyond that,
    never exceeds the limit.
    """

    cursor: int
    notes: Mapping[str, SharedValue] = field(default_factory=dict)
    counts: Mapping[str, float] = field(default_factory=dict)
    held: Mapping[str, int] = field(default_factory=dict)
    holders: int = 1


class StateBackend(Protocol):
    """An open store behind the in-memory state. Never on a request's path.

    ``sync`` is one atomic exchange; it may raise anything, and is then repeated with the same
    number. It returns within seconds or raises.
    """

    async def sync(self, push: SyncRequest) -> SyncResponse: ...
    async def usage(self, since: date, until: date) -> Sequence[UsageRow]:
        """Rows of these days, both included, by day and then by name."""
        ...

    async def forget_usage(self, before: date) -> None:
        """Take away the rows of days before this one."""
        ...

    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class StateStore:
    """A kind of store, chosen by the scheme of ``state.url``.

    ``open`` is awaited once with the whole URL, and again after anything raised
    :class:`StateLost`, which may be ``open`` itself: then not at once.
    """

    scheme: str
    open: Callable[[str], Awaitable[StateBackend]]


class StateLost(Exception):
    """The store has to be opened anew, and everything pulled with ``seen=0``.

    The message says what is wrong, for the operator, without a secret.
    """
