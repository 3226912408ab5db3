"""How much of a quota window is used: the proxy's own count, corrected by what the provider reports.

Times are monotonic seconds.
"""

from __future__ import annotations

import math
from calendar import monthrange
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from msgspec import Struct
from msgspec.structs import replace

from proxy_core.interfaces import QuotaWindow
from proxy_core.rotation.policy import Policy
from proxy_core.rotation.state import BUSY, UNUSABLE, CredentialState, QuotaGroup, Reserved, Window
from proxy_core.settings.rotation import WEEKDAYS, CapSettings, ReserveSettings, WindowSettings

#: Windows that end this close to each other are the same window, reported twice.
_SAME_WINDOW_S = 60.0
#: Requests that were not made through this proxy: more than this many, and more than this share of the limit.
_MUCH, _MUCH_OF_IT = 5, 0.05
#: A share of a limit is no exact number.
_ROUNDING = 1e-6
#: A window that settings end at a minute of the day ends at a whole one.
_MINUTE_S = 60.0


def count(policy: Policy, group: QuotaGroup, row: CredentialState, now: float, epoch: float) -> bool:
    """Count one request. True if this began a window whose end other processes cannot know.

    ``epoch``: the offset from monotonic seconds to epoch seconds.
    """
    group.used[row.id] = group.used.get(row.id, 0) + 1
    begun = False
    if row.id not in group.windows:
        window = policy.window_of(group.name)
        group.windows[row.id] = window_open(window, now, epoch)
        begun = begins_anywhere(window)
    apply_limits(policy, group, row, now)
    return begun


def uncount(policy: Policy, group: QuotaGroup, row: CredentialState, now: float) -> bool:
    """Take one request back: a provider does not count one that it failed to serve. False if there was none."""
    if not group.used.get(row.id):
        return False
    group.used[row.id] -= 1
    apply_limits(policy, group, row, now)
    return True


def learn(
    policy: Policy, group: QuotaGroup, row: CredentialState, reported: QuotaWindow, now: float, received_at: datetime
) -> bool | None:
    """Replace the proxy's count with the provider's report. True if the window differs from the one known before, or
    another program used much of it, which other processes cannot count; ``None`` if the report cannot be used."""
    if reported.unit != "requests" or reported.resets_at is None:
        return None
    left_s = (reported.resets_at - received_at).total_seconds()
    resets_at = now + min(max(0.0, left_s), policy.routing.max_cooldown_s)
    limit = reported.limit if reported.limit is not None and reported.limit > 0 else None  # -1 and 0 say "none"
    before = group.windows.get(row.id)
    # Reports of an end differ by seconds. Windows of less than that cannot be told apart, and are reported often.
    ends_in_s = resets_at - now
    number = _number(received_at.timestamp() + ends_in_s, _SAME_WINDOW_S) if ends_in_s >= _SAME_WINDOW_S else None
    group.windows[row.id] = Window(resets_at, limit, from_provider=True, number=number)
    counted = group.used.get(row.id, 0)
    if reported.used is not None:
        group.used[row.id] = int(min(max(0.0, reported.used), BUSY))
    uncounted = group.used.get(row.id, 0) - counted
    news = number is not None and uncounted > max(_MUCH, _MUCH_OF_IT * (limit or 0.0))
    apply_limits(policy, group, row, now)
    return news or before is None or before.limit != limit or abs(before.resets_at - resets_at) > _SAME_WINDOW_S


def window_open(window: WindowSettings, now: float, epoch: float) -> Window:
    """The window that is open now, or begins now."""
    ends = window_end(window, now, epoch)
    slides_s = window.length_s if window.begins == "sliding" and window.resets is None else None
    unit_s = window.length_s if window.resets is None else _MINUTE_S
    return Window(ends, number=_number(ends + epoch, unit_s), slides_s=slides_s)


def _number(ends: float, unit_s: float) -> int:
    """Windows that follow one another end at least ``unit_s`` apart. The clocks of processes differ by less."""
    return math.floor(ends / unit_s + 0.5)


def window_end(window: WindowSettings, now: float, epoch: float) -> float:
    """The end of a window that is open now, or begins now. By the clock, a day begins at 00:00 UTC."""
    if window.resets is not None:
        return next_reset(window.resets, datetime.fromtimestamp(now + epoch, UTC)).timestamp() - epoch
    if begins_anywhere(window):
        return now + window.length_s
    return ((now + epoch) // window.length_s + 1) * window.length_s - epoch


def begins_anywhere(window: WindowSettings) -> bool:
    """Whether the window begins with a request, so that its end cannot be told from the time of day."""
    return window.begins == "first_request" and window.resets is None


def next_reset(text: str, at: datetime) -> datetime:
    """The first one after ``at`` of a window that ends as ``quota_resets`` says."""
    *period, time = text.split()
    today = at.replace(hour=int(time[:2]), minute=int(time[3:]), second=0, microsecond=0)
    days = (today + timedelta(days=n) for n in range(63))
    return next(day for day in days if day > at and _is_last(day, period))


def _is_last(day: datetime, period: Sequence[str]) -> bool:
    """Whether a day, a week or a month of quota ends on this day."""
    match period:
        case ["weekly", name]:
            return WEEKDAYS[day.weekday()] == name
        case ["monthly", number]:
            return day.day == min(int(number), monthrange(day.year, day.month)[1])
    return True


def expire(group: QuotaGroup, row: CredentialState, now: float) -> None:
    """Drop a window or cap that has ended."""
    window = group.windows.get(row.id)
    if window is not None and window.resets_at <= now:
        following = _following(window, group.used.pop(row.id, 0), now)
        if following is None:
            del group.windows[row.id]
        else:
            group.windows[row.id] = following
    if group.capped.get(row.id, UNUSABLE) <= now:
        del group.capped[row.id]


def _following(window: Window, used: int, now: float) -> Window | None:
    """Of a sliding window, the next part, during which requests of this one count less and less."""
    if window.slides_s is None or window.number is None or not used:
        return None
    ends = window.resets_at + window.slides_s
    return replace(window, resets_at=ends, number=window.number + 1, before=used) if ends > now else None


class Standing(Struct, frozen=True, kw_only=True):
    """What of a quota counts now, and when that ends: of a sliding window, when one more request is possible or, where
    it is now, when none of those that were made counts any longer."""

    used: int = 0
    limit: float | None = None
    resets_at: float | None = None
    reported: bool = False
    capped_until: float | None = None


def standing(group: QuotaGroup, row: CredentialState, now: float) -> Standing:
    """Changes nothing, so it may find a window that has ended and has not been removed yet. It assumes that requests
    were spread evenly over the previous part of a sliding window."""
    window, used, capped_until = group.windows.get(row.id), group.used.get(row.id, 0), group.capped.get(row.id)
    if capped_until is not None and capped_until <= now:
        capped_until = None
    if window is not None and window.resets_at <= now:
        window, used = _following(window, used, now), 0
    if window is None:
        return Standing(capped_until=capped_until)
    resets_at = window.resets_at
    if window.slides_s is not None:
        resets_at = capped_until if capped_until is not None else resets_at + window.slides_s * (used > 0)
        share = min(1.0, (window.resets_at - now) / window.slides_s)
        used = math.ceil(used + window.before * share - _ROUNDING)
    return Standing(
        used=used,
        limit=window.limit,
        resets_at=resets_at,
        reported=window.from_provider,
        capped_until=capped_until,
    )


def _full_until(window: Window, used: int, limit: float, now: float) -> float | None:
    """Until when so many requests are used up; ``None`` if they are not."""
    if window.slides_s is None:
        return window.resets_at if used >= limit - _ROUNDING else None
    free_at = _free_at(window, used, limit)
    return free_at if free_at > now else None


def _free_at(window: Window, used: int, limit: float) -> float:
    """When one more request is within the limit of a sliding window."""
    length_s, left = window.slides_s or 0.0, limit - 1 - used
    if left < 0:  # not before this part is the one before
        return window.resets_at + length_s - max(0.0, limit - 1) * length_s / max(1, used)
    return window.resets_at - left * length_s / window.before if window.before else -UNUSABLE


def apply_limits(policy: Policy, group: QuotaGroup, row: CredentialState, now: float) -> None:
    """Check the count against the configured caps and the share that fair cycle allows."""
    used, window = group.used.get(row.id, 0), group.windows.get(row.id)
    group.capped.pop(row.id, None)
    if window is None:
        return
    for cap in policy.caps_for(group.name, row.priority):
        limit = _cap_limit(cap, window.limit)
        ends = _full_until(window, used, limit, now) if limit is not None else None
        if ends is not None:
            until = _cap_ends_at(cap, now, ends)
            group.capped[row.id] = max(until, group.capped.get(row.id, until))
    share = policy.rotation.fair_cycle_share
    if policy.fair_cycle and window.limit is not None and used >= window.limit * share // 1:
        group.marks[row.id] = now


def cap_of(policy: Policy, group: QuotaGroup, row: CredentialState) -> float | None:
    """The lowest limit that settings set on the quota; ``None`` without one."""
    window = group.windows.get(row.id)
    known = window.limit if window is not None else None
    limits = [_cap_limit(cap, known) for cap in policy.caps_for(group.name, row.priority)]
    return min((limit for limit in limits if limit is not None), default=None)


def reserve_in_force(
    policy: Policy, windows: Sequence[QuotaGroup], row: CredentialState, now: float
) -> Reserved | None:
    """The reserve that decides which clients may use the credential: of those in force, that with the smallest share.

    ``windows`` are those of one quota group, the main one first.
    """
    for reserve in policy.reserves:
        if reserve.covers(windows[0].name) and reserve.covers_credential(row.id, row.credential.label):
            if reserve.share == 1:
                return Reserved(tuple(reserve.clients), UNUSABLE)
            ends = [_reserved_until(policy, window, row, reserve, now) for window in windows]
            reached = [until for until in ends if until is not None]
            if reached:
                return Reserved(tuple(reserve.clients), max(reached))
    return None


def _reserved_until(
    policy: Policy, group: QuotaGroup, row: CredentialState, reserve: ReserveSettings, now: float
) -> float | None:
    """Until when the rest of this window is the reserve, or less; ``None`` if it is more, or no limit is known."""
    window = group.windows.get(row.id)
    if window is None or reserve.window not in (None, policy.window_of(group.name).name):
        return None
    limits = [limit for limit in (window.limit, cap_of(policy, group, row)) if limit is not None]
    return _full_until(window, group.used.get(row.id, 0), min(limits) * (1 - reserve.share), now) if limits else None


def _cap_limit(cap: CapSettings, known: float | None) -> float | None:
    """How many requests the cap allows, never more than the provider; ``None`` if that depends on an unknown limit."""
    text = cap.limit
    if text.endswith("%"):
        return None if known is None else known * min(float(text[:-1]), 100.0) / 100
    if text[0] in "+-":
        return None if known is None else max(0.0, min(known, known + float(text)))
    return float(text) if known is None else min(float(text), known)


def _cap_ends_at(cap: CapSettings, now: float, resets_at: float) -> float:
    """When an exhausted cap ends; ``resets_at`` is the end of the quota window."""
    kind, _, seconds = cap.cooldown.partition(":")
    if kind == "fixed":
        return now + max(0.0, float(seconds))
    return max(now, resets_at + (float(seconds) if kind == "offset" else 0.0))
