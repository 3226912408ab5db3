"""What a selector is shown of a lane."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from proxy_core.interfaces import Candidate, ProxyRequest
from proxy_core.rotation.lane import BUSY, Lane
from proxy_core.rotation.sessions import session_key

if TYPE_CHECKING:
    from proxy_core.rotation.pool import Pool


class Choice:
    """The :class:`~proxy_core.interfaces.Candidates` of one attempt: all whose load is in the lowest band."""

    __slots__ = ("_end", "_lane", "_loads", "_low", "_pool", "_request", "session")

    def __init__(self, pool: Pool, lane: Lane, loads: Sequence[float], low: float, request: ProxyRequest) -> None:
        self._pool = pool
        self._lane = lane
        self._loads = loads
        self._low = low
        self._end = (low // BUSY + 1) * BUSY
        self._request = request
        #: Set once the selector asked for the session's own.
        self.session: str | None = None

    def __iter__(self) -> Iterator[Candidate]:
        return (self._candidate(index) for index, load in enumerate(self._loads) if load < self._end)

    @property
    def first(self) -> Candidate:
        return next(iter(self))

    @property
    def last(self) -> Candidate | None:
        return self._if_usable(self._lane.last)

    @property
    def of_session(self) -> Candidate | None:
        self.session = session_key(self._request)
        return self._if_usable(self._pool.sessions.get(self.session, self._pool.clock.monotonic()))

    def least_used(self) -> Candidate:
        tolerance = self._pool.ledger.rotation.tolerance
        if not tolerance:
            return self._candidate(self._loads.index(self._low))
        limit, size = min(self._low + tolerance, self._end - 1), len(self._loads)
        start = random.randrange(size)  # noqa: S311  # spreads load, hides nothing
        turns = (index % size for index in range(start, start + size))
        return self._candidate(next(index for index in turns if self._loads[index] <= limit))

    def _if_usable(self, index: int | None) -> Candidate | None:
        return self._candidate(index) if index is not None and self._loads[index] < self._end else None

    def _candidate(self, index: int) -> Candidate:
        slot, window = self._pool.ledger.slots[index], self._lane.windows.get(index)
        if window is not None and not window.told:
            window = None  # counted by settings: it says nothing of the provider's
        return Candidate(
            credential=slot.credential,
            in_flight=slot.in_flight,
            used=self._lane.used[index],
            last_used=slot.last_used,
            limit=window.limit if window else None,
            resets_in_s=max(0.0, window.resets_at - self._pool.clock.monotonic()) if window else None,
        )
