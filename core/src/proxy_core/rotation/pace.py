"""How fast a credential's quota is used, and when it will be used up. Pure; times are epoch seconds.

Requests are counted in spells of ten minutes by the time of day. The processes add up their counts in the store, so the
pace is that of all of them, and a restart does not forget it.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

SPELL_S = 600
#: The pace is that of the current spell and those before it, up to an hour.
_SPELLS = 6
_MINUTE_S = 60
#: Fewer requests say too little.
_ENOUGH = 3


class Pace(Struct, frozen=True):
    """``requests`` were counted lately; ``per_hour``: at this pace."""

    requests: float
    per_hour: float


def spell(epoch: float) -> int:
    return int(epoch // SPELL_S)


def recent(spells: Mapping[int, float], epoch: float) -> dict[int, float]:
    """Those of the spells that still count."""
    now = spell(epoch)
    return {number: used for number, used in spells.items() if now - _SPELLS < number <= now}


def pace(spells: Mapping[int, float], unsent: float, epoch: float) -> Pace:
    """Since the first spell of the last hour that has a request. ``unsent``: the requests that the store does not have.

    Time passes in whole minutes, so that the figure changes only with a request or a minute. In the first ten minutes
    of use it is too low, as they count whole; later it is exact to the minute at its edges.
    """
    counted = {number: used for number, used in recent(spells, epoch).items() if used > 0}
    span_s = _minute(epoch) + _MINUTE_S - SPELL_S * min(counted, default=spell(epoch))
    requests = max(0.0, sum(counted.values()) + unsent)
    return Pace(requests, requests * 3600 / max(span_s, SPELL_S))


def empty_at(pace: Pace, used: float, limit: float | None, resets_at: float, epoch: float) -> float | None:
    """When a quota is used up at this pace; ``None``: not before it resets, it is already, or too little is known."""
    if limit is None or used >= limit or pace.requests < _ENOUGH:
        return None
    at = _minute(epoch) + (limit - used) * 3600 / pace.per_hour
    return at if at < resets_at else None


def _minute(epoch: float) -> float:
    return epoch // _MINUTE_S * _MINUTE_S
