"""What one request knows of a deployment that may serve it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set

from msgspec import Struct, field

from proxy_core.interfaces import Deployment, FailureDecision
from proxy_core.pipeline.final_error import Standing, standing
from proxy_core.rotation.pool import Pool
from proxy_core.rotation.reserves import kept_from
from proxy_core.rotation.state import UNUSABLE, Reserved

#: How often one request uses a credential that puts it off each time. A client that wants to go on may ask again.
_MAX_LIMITED = 2


class CandidateDeployment(Struct):
    """A deployment that may serve the request.

    ``unable`` credentials are of a kind that cannot serve it. ``tried`` ones are not used again in this round;
    ``spent`` ones are not used again at all; ``limited`` are those that began to cool down, and how often.
    """

    deployment: Deployment
    pool: Pool
    client: str
    max_priority: int | None
    unable: Set[str]
    tried: set[str] = field(default_factory=set)
    spent: set[str] = field(default_factory=set)
    limited: dict[str, int] = field(default_factory=dict)
    tries: int = 0
    closed: bool = False

    def __post_init__(self) -> None:
        self.tried |= self.unable
        self.spent |= self.unable

    @property
    def kept(self) -> Mapping[str, Reserved]:
        """The credentials that are kept for other clients now."""
        return kept_from(self.pool, self.deployment.model, self.client)

    @property
    def out(self) -> Set[str]:
        """The credentials that may not be used now."""
        kept = self.kept
        return self.tried | kept.keys() if kept else self.tried

    @property
    def untouched(self) -> bool:
        return not (self.closed or self.tries or self.limited)

    @property
    def soonest_s(self) -> float | None:
        """Seconds until one of its credentials may be used; ``None`` if none will be, or none is waited for."""
        return self._wait_s(self.pool.soonest_s)

    @property
    def cooldown_ends_s(self) -> float | None:
        """Seconds until the next cooldown ends, an event without notification; credentials in use do not count."""
        return self._wait_s(self.pool.cooldown_ends_s)

    def _wait_s(self, ends_s: Callable[[str, int | None, Set[str]], float | None]) -> float | None:
        if self.closed or self.pool.out:
            return None
        kept, now = self.kept, self.pool.clock.monotonic()
        waits = [reserved.until - now for name, reserved in kept.items() if name not in self.spent]
        free_s = ends_s(self.deployment.model, self.max_priority, self.spent | kept.keys() if kept else self.spent)
        soonest_s = min(waits if free_s is None else [*waits, free_s], default=None)
        return None if soonest_s == UNUSABLE else soonest_s

    def may_retry(self, decision: FailureDecision, most_tries: int) -> bool:
        return decision.next == "retry" and self.tries < most_tries and not self.pool.out

    def set_aside(self, credential: str, decision: FailureDecision) -> None:
        """The credential failed and is not retried now."""
        self.tries = 0
        self.tried.add(credential)
        self.limited[credential] = limited = self.limited.get(credential, 0) + 1
        if decision.cooldown in (None, "provider") or limited >= _MAX_LIMITED:
            self.spent.add(credential)
        if decision.next == "fail_over" or (decision.next == "retry" and decision.fault == "network"):
            self.closed = True  # another credential would not reach the host either

    def standing(self) -> Standing:
        """What its credentials are waiting for, if none of them served."""
        tried = None if self.closed else self.tried
        return standing(self.deployment, self.pool, self.max_priority, tried, self.unable, self.kept)


def candidate_of(deployment: Deployment, pool: Pool, family: str, client: str) -> CandidateDeployment:
    """``family``: that of the client's dialect."""
    provider = deployment.provider
    max_priority = provider.max_priority(deployment.model) if provider.max_priority is not None else None
    kinds = provider.kinds_for.get(family)
    unable = frozenset[str]() if kinds is None else {c.id for c in pool.credentials if c.kind not in kinds}
    return CandidateDeployment(deployment, pool, client, max_priority, unable)
