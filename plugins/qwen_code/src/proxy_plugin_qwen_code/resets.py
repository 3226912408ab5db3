"""When a used-up quota is whole again: told by the reply, or by the vendor's calendar. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone

from proxy_core import UpstreamFailure, reset_after_s

#: Quotas of plans and logins end with the day in China.
CHINA = timezone(timedelta(hours=8))
DAY_S, HOUR_S = 86_400.0, 3600.0

#: Seconds to rest, from a failure and its message.
RestS = Callable[[UpstreamFailure, str], float | None]


def until_midnight(failure: UpstreamFailure, message: str) -> float:
    now = failure.received_at.astimezone(CHINA)
    end = (now + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
    return min((end - now).total_seconds(), DAY_S)


def until_monday(failure: UpstreamFailure, message: str) -> float:
    now = failure.received_at.astimezone(CHINA)
    end = (now + timedelta(days=7 - now.weekday())).replace(hour=0, minute=0, second=0, microsecond=0)
    return (end - now).total_seconds()


_LOCAL = re.compile(r"(?:reset|until)\D{0,20}(\d{4}-\d\d-\d\d[ T]\d\d:\d\d(?::\d\d)?)(?![\d:])", re.I)


def told_or(fallback_s: float | None) -> RestS:
    """The time the reply names, else this; ``None``: the row's back-off."""

    def rest(failure: UpstreamFailure, message: str) -> float | None:
        told = reset_after_s(failure.headers, failure.body, failure.received_at)
        told = told if told is not None else _local_reset_s(message, failure.received_at)
        return max(told, 1.0) if told is not None else fallback_s

    return rest


def _local_reset_s(message: str, now: datetime) -> float | None:
    """A time without a zone is China's: read as anyone else's it might be hours too late, this way only too early."""
    match = _LOCAL.search(message)
    if match is None:
        return None
    try:
        moment = datetime.fromisoformat(match[1]).replace(tzinfo=CHINA)
    except ValueError:
        return None
    left_s = (moment - now.astimezone(UTC)).total_seconds()
    return left_s if left_s > 0 else None
