"""The candidates of one attempt, as a selector sees them."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from proxy_core.interfaces import Candidate, ProxyRequest
from proxy_core.rotation.ledger import Ledger
from proxy_core.rotation.quota import cap_of
from proxy_core.rotation.sessions import Sessions, session_key
from proxy_core.rotation.state import BUSY, CredentialState, QuotaGroup


class Choice:
    """The :class:`~proxy_core.interfaces.Candidates` of one attempt: all credentials with a load in the lowest band."""

    __slots__ = ("_end", "_group", "_ledger", "_loads", "_low", "_now", "_request", "_sessions", "session")

    def __init__(
        self,
        ledger: Ledger,
        sessions: Sessions,
        group: QuotaGroup,
        loads: Sequence[float],
        low: float,
        request: ProxyRequest,
        now: float,
    ) -> None:
        self._ledger = ledger
        self._sessions = sessions
        self._group = group
        self._loads = loads
        self._low = low
        self._end = (low // BUSY + 1) * BUSY
        self._request = request
        self._now = now
        #: Set once the selector has read ``of_session``.
        self.session: str | None = None

    def __iter__(self) -> Iterator[Candidate]:
        return (self._candidate(position) for position, load in enumerate(self._loads) if load < self._end)

    @property
    def first(self) -> Candidate:
        return next(iter(self))

    @property
    def last(self) -> Candidate | None:
        return self._if_usable(self._group.last)

    @property
    def of_session(self) -> Candidate | None:
        self.session = session_key(self._request)
        return self._if_usable(self._sessions.get(self.session, self._now))

    def least_used(self) -> Candidate:
        tolerance = self._ledger.policy.rotation.tolerance
        if not tolerance:
            known = self._loads is self._group.loads
            return self._candidate(self._group.lowest_position if known else self._loads.index(self._low))
        limit, size = min(self._low + tolerance, self._end - 1), len(self._loads)
        start = random.randrange(size)  # noqa: S311  # spreads load, hides nothing
        turns = (position % size for position in range(start, start + size))
        return self._candidate(next(position for position in turns if self._loads[position] <= limit))

    def _if_usable(self, credential: str | None) -> Candidate | None:
        row = self._ledger.known.get(credential) if credential is not None else None
        if row is None or row.retired or self._loads[row.position] >= self._end:
            return None
        return self._candidate(row.position)

    def _candidate(self, position: int) -> Candidate:
        row = self._ledger.rows[position]
        limit, resets_at, used = self._tightest(row)
        return Candidate(
            credential=row.credential,
            in_flight=row.in_flight,
            used=used,
            last_used=row.last_used,
            limit=limit,
            resets_in_s=max(0.0, resets_at - self._now) if resets_at is not None else None,
        )

    def _tightest(self, row: CredentialState) -> tuple[float | None, float | None, int]:
        """Of the windows that the provider reports or a cap limits, the one with the least left: its limit, its end,
        and the requests in it.

        Any other window that comes only from settings says nothing about the provider's own.
        """
        policy = self._ledger.policy
        known = []
        for group in self._ledger.windows_of(self._group):
            window = group.windows.get(row.id)
            cap = cap_of(policy, group, row) if window is not None and policy.rotation.caps else None
            if window is not None and (window.from_provider or cap is not None):
                limit = cap if window.limit is None else window.limit
                known.append((limit, window.resets_at, group.used.get(row.id, 0)))
        return max(known, key=_share) if known else (None, None, self._group.used.get(row.id, 0))


def _share(counted: tuple[float | None, float, int]) -> float:
    limit, _, used = counted
    return used / limit if limit else 0.0
