"""When an exhausted quota resets, according to the response or to the vendor's calendar. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone

from proxy_core import UpstreamFailure, reset_after_s

#: The quotas of plans and logins reset at midnight in China.
CHINA = timezone(timedelta(hours=8))
DAY_S, HOUR_S = 86_400.0, 3600.0

#: The cooldown in seconds, from a failure and its message.
CooldownS = Callable[[UpstreamFailure, str], float | None]


def until_midnight(failure: UpstreamFailure, message: str) -> float:
    now = failure.received_at.astimezone(CHINA)
    end = (now + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
    return min((end - now).total_seconds(), DAY_S)


def until_monday(failure: UpstreamFailure, message: str) -> float:
    now = failure.received_at.astimezone(CHINA)
    end = (now + timedelta(days=7 - now.weekday())).replace(hour=0, minute=0, second=0, microsecond=0)
    return (end - now).total_seconds()


_LOCAL = re.compile(r"(?:reset|until)\D{0,20}(\d{4}-\d\d-\d\d[ T]\d\d:\d\d(?::\d\d)?)(?![\d:])", re.I)


def stated_or(fallback_s: float | None) -> CooldownS:
    """The time that the response states, else ``fallback_s``; ``None`` means the row's back-off."""

    def cooldown_s(failure: UpstreamFailure, message: str) -> float | None:
        stated = reset_after_s(failure.headers, failure.body, failure.received_at)
        stated = stated if stated is not None else _local_reset_s(message, failure.received_at)
        return max(stated, 1.0) if stated is not None else fallback_s

    return cooldown_s


def _local_reset_s(message: str, now: datetime) -> float | None:
    """A time without a zone is read as China's: if that is wrong, the result is too early, never hours too late."""
    match = _LOCAL.search(message)
    if match is None:
        return None
    try:
        moment = datetime.fromisoformat(match[1]).replace(tzinfo=CHINA)
    except ValueError:
        return None
    left_s = (moment - now.astimezone(UTC)).total_seconds()
    return left_s if left_s > 0 else None
