"""A ledger's part of the state that several processes share: to notes and counts, and back.

Inside a process times are monotonic; in notes they are epoch seconds. A note holds everything
about one credential for one lane, or for every model, or about the provider as a whole; the
last one written counts.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import quote, unquote

from proxy_core.interfaces import Count, PermitRequest, SharedValue
from proxy_core.rotation import quota
from proxy_core.rotation.changes import PROVIDER, Place
from proxy_core.rotation.cooldown import Cooldown
from proxy_core.rotation.lane import UNUSABLE, Window
from proxy_core.rotation.ledger import Ledger
from proxy_core.rotation.pool import Pool

T = TypeVar("T")
Clean = Callable[[str], str]

#: A rest that is over is still worth knowing: the next failure builds on it.
_KEPT_S = 3600.0
#: How long it is said that nothing rests any more.
_OVER_S = 60.0
#: The clocks' own inaccuracy: what differs by less is the same news.
_SAME_S = 0.001
#: Windows that move by less than this are the same window.
_MINUTE_S = 60.0
#: A credential used this lately is likely to be used again.
_WARM_S = 1.0


@dataclass(frozen=True, slots=True)
class Moment:
    """The same instant on both clocks."""

    monotonic: float
    epoch: float

    def outside(self, monotonic: float) -> float:
        return self.epoch + monotonic - self.monotonic

    def inside(self, epoch: float) -> float:
        return self.monotonic + epoch - self.epoch


def name_of(provider: str, ledger: Ledger, place: Place) -> str:
    """``state/<provider>[/<credential>[/<lane>]]``."""
    parts = [provider]
    if place.index is not None:
        parts.append(ledger.slots[place.index].credential.id)
    if place.lane is not None:
        parts.append(place.lane)
    return "/".join(["state", *(quote(part, safe="") for part in parts)])


def place_of(ledger: Ledger, name: str) -> Place | None:
    """Where a note of this provider belongs; ``None`` for a credential that is not here."""
    _, _, *rest = map(unquote, name.split("/"))
    if not rest:
        return PROVIDER
    index = ledger.places.get(rest[0])
    return Place(index, rest[1] if len(rest) > 1 else None) if index is not None else None


def written(ledger: Ledger, place: Place, at: float, moment: Moment, clean: Clean) -> SharedValue:
    """The note about ``place`` as it is now; ``at`` is when it changed. That nothing rests is news, too."""
    value: dict[str, Any] = {"at": moment.outside(at)}
    ends = [moment.epoch + _OVER_S]
    rest = _rest_at(ledger, place)
    if rest is not None:
        value["cooldown"] = {
            "since": moment.outside(rest.since),
            "until": moment.outside(rest.until),
            "probe_at": moment.outside(rest.probe_at),
            "failed_at": moment.outside(rest.failed_at),
            "failures": rest.failures,
            "code": rest.code,
            "words": clean(rest.words),
        }
        ends.append(moment.outside(rest.until) + _KEPT_S)
    if place.index is not None:
        value |= _kept(ledger, place.index, place.lane, moment, ends)
    return SharedValue(value=json.dumps(value).encode(), expires_at=max(ends))


def _kept(ledger: Ledger, index: int, lane_name: str | None, moment: Moment, ends: list[float]) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    lane = ledger.lanes.get(lane_name) if lane_name is not None else None
    if lane is None:
        return kept
    if index in lane.marks:
        kept["mark"] = moment.outside(lane.marks[index])
        ends.append(kept["mark"] + ledger.rotation.fair_cycle_s)
    if index in lane.capped:
        kept["capped"] = moment.outside(lane.capped[index])
        ends.append(kept["capped"])
    window = lane.windows.get(index)
    if window is not None and window.told:
        kept["window"] = {"resets_at": moment.outside(window.resets_at), "limit": window.limit}
        ends.append(kept["window"]["resets_at"])
    return kept


def _rest_at(ledger: Ledger, place: Place) -> Cooldown | None:
    if place.index is None:
        return ledger.outage
    if place.lane is None:
        return ledger.slots[place.index].cooldown
    lane = ledger.lanes.get(place.lane)
    return lane.cooldowns.get(place.index) if lane is not None else None


def applied(ledger: Ledger, name: str, note: SharedValue, moment: Moment) -> None:
    """Take over what another process, or this one before it was restarted, wrote; unless it is older than ours."""
    place = place_of(ledger, name)
    if place is None or note.value is None:
        return  # somebody else's, or expired
    value: Mapping[str, Any] = json.loads(note.value)
    at = moment.inside(value["at"])
    if at <= ledger.news.at.get(place, -math.inf) + _SAME_S:
        return
    rest = _cooldown(value.get("cooldown"), moment)
    ledger.news.at[place] = at  # to be told again, should the store lose it
    if place.index is None:
        ledger.outage = rest
        ledger.streak = ledger.streak if rest is not None else 0
        return
    if place.lane is None:
        ledger.slots[place.index].cooldown = rest
    else:
        lane = ledger.lane_named(place.lane)
        _put(lane.cooldowns, place.index, rest)
        _put(lane.marks, place.index, _inside(value.get("mark"), moment))
        _put(lane.capped, place.index, _inside(value.get("capped"), moment))
        window = value.get("window")
        if window is not None:
            lane.windows[place.index] = Window(moment.inside(window["resets_at"]), window["limit"], told=True)
    ledger.touch(place.index)


def _cooldown(value: Mapping[str, Any] | None, moment: Moment) -> Cooldown | None:
    if value is None:
        return None
    return Cooldown(
        since=moment.inside(value["since"]),
        until=moment.inside(value["until"]),
        probe_at=moment.inside(value["probe_at"]),
        failed_at=moment.inside(value["failed_at"]),
        failures=value["failures"],
        code=value["code"],
        words=value["words"],
    )


def _inside(epoch: float | None, moment: Moment) -> float | None:
    return moment.inside(epoch) if epoch is not None else None


def _put(record: dict[int, T], index: int, value: T | None) -> None:
    if value is None:
        record.pop(index, None)
    else:
        record[index] = value


# --- How much was used ---------------------------------------------------------------------


def count_name(provider: str, ledger: Ledger, index: int, lane: str, moment: Moment) -> tuple[str, float]:
    """Under which name a credential's requests in its present window are counted, and until when."""
    known = ledger.lanes.get(lane)
    window = known.windows.get(index) if known is not None else None
    ends = window.resets_at if window is not None else quota.ends(ledger, moment.monotonic)
    resets_at = moment.outside(ends)
    parts = (provider, ledger.slots[index].credential.id, lane, str(round(resets_at / _MINUTE_S)))
    return "/".join(["used", *(quote(part, safe="") for part in parts)]), resets_at + _MINUTE_S


def counted(provider: str, ledger: Ledger, moment: Moment) -> Iterator[tuple[str, Count]]:
    """What was used since the last time; it is counted from now on as sent."""
    uses, ledger.news.used = ledger.news.used, {}
    for (index, lane), used in uses.items():
        if used:
            name, expires_at = count_name(provider, ledger, index, lane, moment)
            yield name, Count(add=used, expires_at=expires_at)


def count_applied(provider: str, ledger: Ledger, name: str, total: float, moment: Moment) -> None:
    """All processes together used this much; the provider may know of more."""
    _, _, credential, lane_name, _ = map(unquote, name.split("/"))
    index = ledger.places.get(credential)
    if index is None or count_name(provider, ledger, index, lane_name, moment)[0] != name:
        return  # of a window that is over
    lane = ledger.lane_named(lane_name)
    window = lane.windows.setdefault(index, Window(quota.ends(ledger, moment.monotonic)))
    used = max(0, int(total) + ledger.news.used.get((index, lane_name), 0))
    lane.used[index] = max(used, lane.used[index]) if window.told else used
    quota.apply_limits(ledger, lane, index, moment.monotonic)
    ledger.touch(index)


# --- Conversations -------------------------------------------------------------------------


def sessions_written(provider: str, pool: Pool, moment: Moment) -> Iterator[tuple[str, SharedValue]]:
    """Which credential conversations have now, where that changed."""
    changes, pool.sessions.changes = pool.sessions.changes, set()
    for session in changes:
        known = pool.sessions.known(session)
        if known is not None:
            ends = moment.outside(known[1]) + pool.ledger.rules.session_ttl_s
            credential = pool.ledger.slots[known[0]].credential.id
            yield (
                f"session/{quote(provider, safe='')}/{session}",
                SharedValue(value=credential.encode(), expires_at=ends),
            )


def session_applied(pool: Pool, name: str, note: SharedValue, moment: Moment) -> None:
    """Another process chose a credential for a conversation."""
    index = pool.ledger.places.get(note.value.decode()) if note.value is not None else None
    if index is not None:
        at = moment.inside(note.expires_at) - pool.ledger.rules.session_ttl_s
        pool.sessions.take_over(name.rpartition("/")[2], index, at)


# --- Limits of requests at once -------------------------------------------------------------


def claims(pool: Pool, now: float, holders: int) -> dict[str, PermitRequest]:
    """What this process would like to have of each limit that all share: for what is in use, who waits, one to spare.

    Where there are more processes than permits, one to spare only if the credential was used just
    now. From now on no more than that is lent, so that ``used`` is the most there can be when the
    answer comes.
    """
    found, waiting = {}, pool.waiting
    for index, slot in enumerate(pool.ledger.slots):
        if slot.most == UNUSABLE:
            continue
        spare = max(waiting, slot.most >= holders or now - slot.last_used < _WARM_S)
        want = int(min(slot.most, slot.in_flight + spare))
        if slot.granted > want:
            _grant(pool, index, want)
        used = max(slot.in_flight, int(slot.granted))
        found[slot.credential.id] = PermitRequest(want=want, limit=int(slot.most), used=used)
    return found


def granted(pool: Pool, held: Mapping[str, int]) -> None:
    """How many requests may be under way here, as far as the other processes are concerned."""
    for index, slot in enumerate(pool.ledger.slots):
        if slot.most != UNUSABLE:
            _grant(pool, index, held.get(slot.credential.id, 0))


def without_store(pool: Pool, holders: int) -> None:
    """Nobody can be asked: what is held is kept, and everybody takes an even share, but at least one."""
    for index, slot in enumerate(pool.ledger.slots):
        if slot.most != UNUSABLE:
            _grant(pool, index, max(slot.granted, slot.most // holders, 1))


def alone(pool: Pool) -> None:
    """There is nobody to share with."""
    for index in range(len(pool.ledger.slots)):
        _grant(pool, index, UNUSABLE)


def _grant(pool: Pool, index: int, held: float) -> None:
    slot = pool.ledger.slots[index]
    if slot.granted != held:
        slot.granted = held
        pool.ledger.touch(index)
