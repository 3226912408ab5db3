"""Interpret Google's rate limits and quotas. Pure; the order of the checks is that of Google's own client.

Source: gemini-cli ``googleQuotaErrors.ts``.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from msgspec import Struct

from proxy_plugin_gemini.google_error import LONGEST_S, GoogleError, duration_s

#: A wait up to this is a rate limit; a longer one means that a quota is exhausted.
_LONG_S = 300.0
_CAPACITY_S = 30.0
_MINUTE_S = 60.0
HOUR_S = 3600.0
_DOMAINS = (
    "cloudcode-pa.googleapis.com",
    "staging-cloudcode-pa.googleapis.com",
    "autopush-cloudcode-pa.googleapis.com",
)
_PROMISE = re.compile(
    r"(?:please retry in|reset(?:s)? (?:after|in))\s+((?:\d+(?:\.\d+)?(?:ms|h|m|s))+)", re.IGNORECASE | re.ASCII
)
_NO_ENTITLEMENT = re.compile(r"\blimit: 0(?![\d.])", re.ASCII)
_NO_CAPACITY = re.compile(
    r"exhausted your capacity|capacity exceeded|MODEL_CAPACITY_EXHAUSTED|no capacity", re.IGNORECASE
)


class Limit(Struct, frozen=True):
    """The meaning of a 429, 499 or 503. ``terminal``: no more of this model on this credential for ``wait_s``."""

    kind: Literal["none", "daily", "quota", "capacity", "credits", "minute", "rate"]
    terminal: bool
    wait_s: float | None = None


def limit_of(error: GoogleError, now: datetime) -> Limit:
    """The first check that applies, in the order of Google's client. ``now`` is UTC."""
    stated = _stated_wait(error, now)
    if _NO_ENTITLEMENT.search(error.message):
        return Limit("none", True, stated)
    if not error.detailed:
        promised = _promised(error.message)
        if promised is not None:
            return Limit("rate" if promised <= _LONG_S else "quota", promised > _LONG_S, promised)
        no_capacity = _NO_CAPACITY.search(error.message)
        return Limit("capacity", True, _CAPACITY_S) if no_capacity else Limit("rate", False)
    if any("PerDay" in name or "Daily" in name for name in _limit_names(error)):
        return Limit("daily", True, stated if stated is not None and stated > _LONG_S else _until_midnight(now))
    if error.info("MODEL_CAPACITY_EXHAUSTED", "MODEL_CAPACITY_EXCEEDED"):
        return Limit("capacity", True, stated or _CAPACITY_S)
    if error.info("INSUFFICIENT_G1_CREDITS_BALANCE"):
        return Limit("credits", True, stated)
    if error.info("QUOTA_EXHAUSTED"):
        return Limit("quota", True, stated if stated is not None else _until_midnight(now))
    delay = error.retry_delay_s
    if any(info.domain in _DOMAINS and info.reason == "RATE_LIMIT_EXCEEDED" for info in error.infos):
        soon = delay is not None and delay <= _LONG_S
        return Limit("rate" if soon else "quota", not soon, stated)
    if delay is not None:
        return Limit("rate" if delay <= _LONG_S else "quota", delay > _LONG_S, stated)
    if any("PerMinute" in name for name in _limit_names(error)):
        return Limit("minute", False, _MINUTE_S)
    if _NO_CAPACITY.search(error.message):
        return Limit("capacity", True, stated or _CAPACITY_S)
    return Limit("rate", False, stated)


def _limit_names(error: GoogleError) -> list[str]:
    return [*error.quota_ids, *(info.metadata.get("quota_limit", "") for info in error.infos)]


def _stated_wait(error: GoogleError, now: datetime) -> float | None:
    """Seconds until the reset, from the first readable source."""
    if error.retry_delay_s is not None:
        return error.retry_delay_s
    delay = duration_s(error.metadata_value("quotaResetDelay") or "")
    if delay is not None:
        return delay
    at = error.metadata_value("quotaResetTimeStamp")
    if at is not None:
        try:
            moment = datetime.fromisoformat(at)
        except ValueError:
            moment = None
        if moment is not None and moment.tzinfo is not None:
            return min(max(1.0, (moment - now).total_seconds()), LONGEST_S)
    return _promised(error.message)


def _promised(text: str) -> float | None:
    match = _PROMISE.search(text)
    return duration_s(match[1].lower()) if match else None


def _until_midnight(now: datetime) -> float:
    """Daily quotas reset at midnight in California."""
    try:
        there = now.astimezone(ZoneInfo("America/Los_Angeles"))
    except ZoneInfoNotFoundError:
        return HOUR_S
    midnight = (there + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
    return max(1.0, (midnight.astimezone(UTC) - now).total_seconds())
