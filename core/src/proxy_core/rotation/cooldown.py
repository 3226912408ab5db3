"""How long a cooldown lasts after a failure, and when it is probed. Pure; times are monotonic seconds."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from proxy_core.errors import ErrorFacts, Unavailable
from proxy_core.settings.schema import RoutingSettings

#: The cooldown when the upstream names none, by consecutive failures.
BACK_OFF_S = (10.0, 30.0, 60.0, 120.0, 300.0)
#: A cooldown that ended longer ago than this does not count towards consecutive failures.
_FORGOTTEN_S = 3600.0
_MAX_PROBE_GAP_S = 3600.0
#: For a failure of which nothing is known.
_UNKNOWN = Unavailable("Not usable at the moment.").facts


class Cooldown(Struct, kw_only=True, eq=False):
    """One cooldown, compared by identity. ``told`` is the error for clients, of the last failure, at ``failed_at``.

    Until ``probe_at`` no request passes. From then on, even after ``until``, one request at a time
    may probe: if it succeeds, the cooldown ends; if it fails, the cooldown is extended. ``ends_at`` is
    the upstream's own end, which may be later than ``until``; ``None`` if it named none.
    """

    since: float
    until: float
    probe_at: float
    failed_at: float
    failures: int = 1
    told: ErrorFacts = _UNKNOWN
    ends_at: float | None = None
    probing: bool = False

    def closed(self, now: float) -> bool:
        return self.probing or now < self.probe_at


class Failure(Struct, frozen=True, kw_only=True):
    """The failure that starts a cooldown. ``ends_s``: seconds until the upstream's own end, if it named one."""

    now: float
    cooldown_s: float | None
    back_off_s: Sequence[float] = ()
    told: ErrorFacts = _UNKNOWN
    ends_s: float | None = None


def cooldown_after(
    before: Cooldown | None, failure: Failure, rules: RoutingSettings, probes: Sequence[Cooldown] = ()
) -> Cooldown:
    """The cooldown after a failure: at most ``rules.max_cooldown_s``, first probed after ``rules.half_open_after_s``.

    ``probes`` are the cooldowns that the failed attempt was probing. If ``before`` is not among
    them, it began while the attempt was already under way.
    """
    now = failure.now
    if before is not None and now - before.until > _FORGOTTEN_S:
        before = None
    if before is not None and before not in probes:
        return _late(before, failure, rules)
    failures = before.failures + 1 if before is not None else 1
    if failure.cooldown_s is not None:
        until = now + min(failure.cooldown_s, rules.max_cooldown_s)
    else:
        guessed = now + min(step(failure.back_off_s or BACK_OFF_S, failures), rules.max_cooldown_s)
        until = max(guessed, before.until) if before is not None else guessed
    gap = min(rules.half_open_after_s * 2 ** min(failures - 1, 16), max(_MAX_PROBE_GAP_S, rules.half_open_after_s))
    return Cooldown(
        since=now,
        until=until,
        probe_at=min(until, now + gap),
        failed_at=now,
        failures=failures,
        told=failure.told,
        ends_at=None if failure.ends_s is None else max(until, now + failure.ends_s),
    )


def step(back_off_s: Sequence[float], failures: int) -> float:
    """The cooldown after so many consecutive failures, counted from 1; the last step repeats."""
    return back_off_s[min(failures, len(back_off_s)) - 1]


def _late(before: Cooldown, failure: Failure, rules: RoutingSettings) -> Cooldown:
    """The attempt began before the cooldown did, so its failure confirms that cooldown and does not escalate it."""
    cooldown_s = min(failure.cooldown_s or 0.0, rules.max_cooldown_s)
    probe_is_near = failure.now < before.probe_at < before.until
    if cooldown_s <= rules.half_open_after_s or not probe_is_near:
        before.probe_at = max(before.probe_at, failure.now + min(cooldown_s, rules.half_open_after_s))
    before.until = max(before.until, failure.now + cooldown_s)
    if failure.ends_s is not None:
        before.ends_at = max(before.until, before.ends_at or 0.0, failure.now + failure.ends_s)
    before.failed_at = failure.now
    return before
