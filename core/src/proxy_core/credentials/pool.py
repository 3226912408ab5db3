"""All of a provider's credentials: who is usable now, who goes next, who rests until when."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass, field

from proxy_core.clock import Clock
from proxy_core.interfaces import Candidate, Credential, ProxyRequest, Selector, Verdict

#: Rest without a hint from the upstream, by consecutive failures.
BACK_OFF_S = (10.0, 30.0, 60.0, 120.0, 300.0)
#: The scope "every model of this credential".
ANY_MODEL = ""


@dataclass(slots=True)
class _State:
    credential: Credential
    in_flight: int = 0
    uses: int = 0
    last_used: float = -math.inf
    #: By model, or ``ANY_MODEL``: monotonic seconds until which it rests, and failures in a row.
    rests_until: dict[str, float] = field(default_factory=dict)
    failures: dict[str, int] = field(default_factory=dict)

    def usable_at(self, model: str) -> float:
        rests = self.rests_until
        if not rests:
            return -math.inf
        return max(rests.get(ANY_MODEL, -math.inf), rests.get(model, -math.inf))


class Lease:
    """One credential, lent to one attempt. Given back when the attempt's block ends."""

    __slots__ = ("_clock", "_model", "_state", "_whole")

    def __init__(self, state: _State, model: str, clock: Clock) -> None:
        self._state = state
        self._model = model
        self._clock = clock
        state.in_flight += 1
        state.uses += 1
        state.last_used = clock.monotonic()

    @property
    def credential(self) -> Credential:
        return self._state.credential

    def give_back(self) -> None:
        self._state.in_flight -= 1

    def succeeded(self) -> None:
        """A reply came: whatever was held against this credential for this model is forgotten."""
        for scope in (ANY_MODEL, self._model):
            self._state.failures.pop(scope, None)
            self._state.rests_until.pop(scope, None)

    def failed(self, verdict: Verdict) -> None:
        """Let what the verdict names rest. A longer rest already running stays."""
        if verdict.rest not in ("credential", "model"):
            return
        scope = ANY_MODEL if verdict.rest == "credential" else self._model
        row = self._state.failures.get(scope, 0)
        self._state.failures[scope] = row + 1
        rest_s = BACK_OFF_S[min(row, len(BACK_OFF_S) - 1)] if verdict.rest_s is None else verdict.rest_s
        until = self._clock.monotonic() + rest_s
        self._state.rests_until[scope] = max(until, self._state.rests_until.get(scope, -math.inf))


class Pool:
    """A provider's credentials. Choosing reads memory and awaits nothing."""

    def __init__(self, credentials: Iterable[Credential], selector: Selector, clock: Clock) -> None:
        self._states = [_State(c) for c in credentials]
        self._selector = selector
        self._clock = clock

    def __len__(self) -> int:
        return len(self._states)

    @property
    def in_flight(self) -> int:
        """Leases not yet given back."""
        return sum(state.in_flight for state in self._states)

    @property
    def credentials(self) -> Sequence[Credential]:
        return [state.credential for state in self._states]

    def take(self, request: ProxyRequest, model: str, tried: Set[str]) -> Lease | None:
        """Lend a usable credential that is not in ``tried``; ``None`` if there is none.

        Whoever takes a lease gives it back, whatever happens.
        """
        now = self._clock.monotonic()
        usable = [s for s in self._states if s.credential.id not in tried and s.usable_at(model) <= now]
        if not usable:
            return None
        if len(usable) == 1:
            return Lease(usable[0], model, self._clock)
        candidates = [
            Candidate(credential=s.credential, in_flight=s.in_flight, uses=s.uses, last_used=s.last_used)
            for s in usable
        ]
        chosen = self._selector.select(candidates, request)
        state = next(s for s in usable if s.credential is chosen.credential)
        return Lease(state, model, self._clock)

    def soonest_s(self, model: str) -> float | None:
        """Seconds until some credential is usable for ``model``; ``None`` without credentials."""
        if not self._states:
            return None
        return max(0.0, min(s.usable_at(model) for s in self._states) - self._clock.monotonic())

    def all_resting(self) -> dict[str, float]:
        """Fingerprint to seconds left, for credentials that rest for some model or for all."""
        now = self._clock.monotonic()
        longest = {s.credential.id: max(s.rests_until.values(), default=now) - now for s in self._states}
        return {credential: left for credential, left in longest.items() if left > 0}
