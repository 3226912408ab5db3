"""How long to wait, and how much of a limit is left: everything that a response says about time.

Pure, and never raises: a value that cannot be read, or is implausible, is skipped in favor of the
next source. A wait may be written as a number, a duration (``6m0s``) or an instant; one reader
accepts all of them, and distinguishes an epoch from a number of seconds by its size.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Any, Literal

from proxy_core.failures.error_body import error_object
from proxy_core.interfaces import QuotaWindow

#: No hint is trusted beyond this: a reset in the far future would disable a credential for days
#: (CLIProxyAPI #1655, #5639). A credential with a longer wait is probed after a day.
MAX_HINT_S = 24 * 3600.0
#: No quota resets later than after a year and a bit; such a value is broken.
_IMPLAUSIBLE_S = 400 * 24 * 3600.0
#: Clocks differ by up to this much. An instant further in the past is stale and does not mean "now".
_PAST_S = 60.0
#: Numbers from here on are epochs, not durations: seconds since 2001, milliseconds since 1973.
_EPOCH_S, _EPOCH_MS = 1e9, 1e11
_MAX_TEXT = 2000
_MAX_VALUE = 80

_NUMBER = re.compile(r"\d{1,16}(?:\.\d{1,9})?", re.A)
_INSTANT = re.compile(
    r"\d{4}-\d\d-\d\d(?:[T ]| at )\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?\s?(?:Z|UTC|[+-]\d\d:?\d\d)", re.A | re.I
)
# ``m`` must not match the beginning of ``ms``: a unit is not followed by a letter.
_PART = re.compile(
    r"(\d{1,12}(?:\.\d{1,12})?)\s?"
    r"(ms|milliseconds?|[uµ]s|ns|s|secs?|seconds?|m|mins?|minutes?|h|hrs?|hours?|d|days?)(?![a-zµ])",
    re.A | re.I,
)
_JOINT = re.compile(r"(?:,? (?:and )?)?(?=\d)", re.A | re.I)
_UNITS = {"ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
# "try again in 20s", "Please retry in 34.07s", "retry after 5 seconds", "wait 3 minutes",
# "quota will reset after 156h14m36s", "Resets in 2h", "resets at 2026-01-02T00:00:00Z",
# "You will regain access on 2026-02-01 at 00:00 UTC".
_SENTENCE = re.compile(
    r"\b(?:(?:try(?:ing)? again|retry|resets?|renews?|available|regain access)\b[ \w]{0,30}?\b(?:in|after|at|on|until)"
    r"|wait(?: for| at least| another)?)\b[: ]{1,3}(?:about |approximately )?(?=\d)",
    re.A | re.I,
)
_LIMIT_HEADER = re.compile(
    r"(?:x-)?ratelimit-(?P<a>limit|remaining|reset)(?:-(?P<b>.+))?"
    r"|(?!x-)[a-z]+-ratelimit-(?P<c>.+)-(?P<d>limit|remaining|reset|status)"
)
_LIMIT_FIELD = re.compile(r"\b(limit|remaining|reset|r|t)=(\d{1,16})", re.A)
_FIELDS = {"r": "remaining", "t": "reset"}


def reset_after_s(headers: Mapping[str, str], body: bytes, now: datetime) -> float | None:
    """:func:`stated_wait_s`, at most ``MAX_HINT_S``."""
    wait = stated_wait_s(headers, body, now)
    return None if wait is None else min(wait, MAX_HINT_S)


def stated_wait_s(headers: Mapping[str, str], body: bytes, now: datetime) -> float | None:
    """Seconds until a retry makes sense, which may be weeks; ``None`` without a plausible hint.

    ``headers`` have lower-case names; ``now`` is when they were received, UTC. In this order of trust:

    1. ``retry-after-ms``, then ``retry-after`` in seconds or as an HTTP date: made for this purpose.
    2. ``retryDelay`` of a typed detail, then ``quotaResetDelay`` and ``quotaResetTimeStamp``.
    3. Reset headers of limits that are exhausted according to their ``remaining`` or ``status``:
       the latest, as every one of them must have capacity.
    4. Members of the body: ``retry_after``, ``resets_in_seconds``, ``resets_at`` and the headers
       that gateways copy to ``error.metadata.headers``.
    5. Known sentences in the message.
    6. Reset headers when none says which limit was reached: the soonest. They name the time until
       a limit is fully restored (platform.openai.com, rate limits), mostly longer than needed.

    A zero counts only if there is no other hint.
    """
    zero = None
    for wait in _waits(headers, body, now):
        if wait > 0:
            return wait
        zero = 0.0
    return zero


def retry_after_s(headers: Mapping[str, str], now: datetime) -> float | None:
    """``retry-after-ms``, or ``Retry-After`` in seconds or as an HTTP date; capped, ``None`` if unreadable."""
    wait = next(_retry_after(headers, now), None)
    return None if wait is None else min(wait, MAX_HINT_S)


def wait_s(value: object, now: datetime) -> float | None:
    """Seconds from a number of them, a duration or an instant; capped, ``None`` if it is none of these."""
    wait = _wait(value, now)
    return None if wait is None else min(wait, MAX_HINT_S)


def quota_windows(headers: Mapping[str, str], now: datetime) -> list[QuotaWindow]:
    """Limits on requests and tokens that response headers report, one window each.

    Reads ``x-ratelimit-{limit,remaining,reset}[-requests|-tokens…]``, a vendor's
    ``<vendor>-ratelimit-{requests,tokens,…}-…``, and the IETF draft's ``ratelimit-…`` and
    ``ratelimit``. A limit that counts neither requests nor tokens is left out (``unified`` windows
    are fractions of a plan). ``resets_at`` is as reported, not capped.
    """
    # Runs after every attempt; for most responses this one search in the joined names is the only cost.
    if "ratelimit" not in "\n".join(headers):
        return []
    windows = []
    for name, limit in _limits(headers).items():
        unit = _unit(name)
        total, left = _count(limit.get("limit")), _count(limit.get("remaining"))
        wait = _wait(limit.get("reset"), now)
        if unit is None or (total is None and wait is None):
            continue
        used = None if total is None or left is None else max(0.0, total - left)
        resets_at = None if wait is None else now + timedelta(seconds=wait)
        windows.append(QuotaWindow(unit=unit, limit=total, used=used, resets_at=resets_at))
    return windows


def _waits(headers: Mapping[str, str], body: bytes, now: datetime) -> Iterator[float]:
    """Every plausible wait, most trusted first; lazily, as the first mostly suffices."""
    found = error_object(body)
    error, around = found or ({}, {})
    yield from _retry_after(headers, now)
    yield from _typed(error, now)
    used_up, unknown = _resets(headers, now)
    yield from used_up
    for place in (error, _mapping(error.get("metadata")), around):
        yield from _members(place, now)
    yield from _sentences(error, body if found is None else b"", now)
    yield from unknown


def _retry_after(headers: Mapping[str, str], now: datetime) -> Iterator[float]:
    yield from _some(_wait(headers.get("retry-after-ms"), now, scale=0.001))
    yield from _some(_wait(headers.get("retry-after"), now))


def _typed(error: Mapping[str, Any], now: datetime) -> Iterator[float]:
    """``RetryInfo`` and ``ErrorInfo`` among typed ``details``, in any order."""
    details = error.get("details")
    entries = [entry for entry in details if isinstance(entry, Mapping)] if isinstance(details, list) else []
    for entry in entries:
        yield from _some(_wait(entry.get("retryDelay"), now))
    for key in ("quotaResetDelay", "quotaResetTimeStamp"):
        for entry in entries:
            yield from _some(_wait(_mapping(entry.get("metadata")).get(key), now))


def _members(place: Mapping[str, Any], now: datetime) -> Iterator[float]:
    """``retry_after``, ``resets_in_seconds``, ``resets_at``, and headers that a gateway copies."""
    yield from _some(_wait(place.get("retry_after_ms"), now, scale=0.001))
    for key in ("retry_after", "retry_after_seconds", "resets_in_seconds", "resets_at", "reset_at"):
        yield from _some(_wait(place.get(key), now))
    named = {str(key).lower(): str(value) for key, value in _mapping(place.get("headers")).items()}
    if named:
        yield from _retry_after(named, now)
        used_up, unknown = _resets(named, now)
        yield from (*used_up, *unknown)


def _sentences(error: Mapping[str, Any], plain: bytes, now: datetime) -> Iterator[float]:
    texts: list[object] = [error.get("message"), error.get("detail"), error.get("error")]
    texts.append(_mapping(error.get("metadata")).get("raw"))  # from a gateway: the message of its upstream
    if plain:
        texts.append(plain[:_MAX_TEXT].decode("utf-8", "replace"))
    for text in texts:
        if isinstance(text, str):
            text = text[:_MAX_TEXT]
            for match in _SENTENCE.finditer(text):
                yield from _some(_wait_within(text, match.end(), now))


def _wait_within(text: str, at: int, now: datetime) -> float | None:
    """The wait with which a sentence continues."""
    if instant := _INSTANT.match(text, at):
        return _wait(instant[0], now)
    seconds, end = _duration(text, at)
    if end > at:
        return _plausible(seconds)
    number = _NUMBER.match(text, at)
    # "in 5 requests" and "after 2026-01-02" are not seconds.
    bare = number is not None and not re.match(r"[\w:/-]| [a-z]", text[number.end() : number.end() + 2], re.I)
    return _wait(number[0], now) if number is not None and bare else None


# --- Limits in headers -------------------------------------------------------------------


def _limits(headers: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """``limit``, ``remaining``, ``reset`` (and ``status``) by the limit's name, ``""`` if it has none."""
    limits: dict[str, dict[str, str]] = {}
    for name, value in headers.items():
        if "ratelimit" not in name:
            continue
        if name == "ratelimit":
            _read_ietf(value[:_MAX_TEXT], limits)
        elif part := _part_of_limit(name):
            limits.setdefault(part[0], {})[part[1]] = value.strip()
    return limits


@lru_cache(maxsize=256)  # a vendor sends the same few with every response
def _part_of_limit(name: str) -> tuple[str, str] | None:
    """The limit that a header describes, and which part of it."""
    match = _LIMIT_HEADER.fullmatch(name)
    return (match["b"] or match["c"] or "", match["a"] or match["d"]) if match else None


def _read_ietf(value: str, limits: dict[str, dict[str, str]]) -> None:
    """``"burst";r=0;t=30, "day";r=9;t=600`` (draft 08 on) or ``limit=9, remaining=0, reset=30`` before."""
    for item in value.split(",") if ";" in value else [value]:
        label = item.partition(";")[0].strip(' "') if ";" in item else ""
        fields = {_FIELDS.get(key, key): number for key, number in _LIMIT_FIELD.findall(item)}
        limits.setdefault(label, {}).update(fields)


def _resets(headers: Mapping[str, str], now: datetime) -> tuple[list[float], list[float]]:
    """The wait for exhausted limits, and for the others if none is known to be exhausted; each one value or none."""
    used_up, unknown = [], []
    for limit in _limits(headers).values():
        wait = _wait(limit.get("reset"), now)
        if wait is None:
            continue
        left = _count(limit.get("remaining"))
        if left == 0 or limit.get("status") == "rejected":
            used_up.append(wait)
        elif "status" not in limit and wait > 0:  # after "allowed" there is no need to wait
            unknown.append(wait)
    if used_up:
        return [max(used_up)], []
    return [], [min(unknown)] if unknown else []


def _unit(name: str) -> Literal["requests", "tokens"] | None:
    if "token" in name:
        return "tokens"
    known = name in ("", "default") or "req" in name or name in ("minute", "hour", "day", "burst")
    return "requests" if known else None


def _count(value: str | None) -> float | None:
    return float(value) if value is not None and _NUMBER.fullmatch(value) else None


# --- One reader for all forms of a wait --------------------------------------------------


def _wait(value: object, now: datetime, *, scale: float = 1.0) -> float | None:
    """Seconds from a number, a duration or an instant; ``None`` if it is none of them or implausible."""
    if isinstance(value, str):
        text = value.strip()
        if not text or len(text) > _MAX_VALUE:
            return None
        if not _NUMBER.fullmatch(text):
            seconds, end = _duration(text, 0)
            return _plausible(seconds) if end == len(text) else _until(_instant(text), now)
        value = float(text)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    # Beyond a float's range, or NaN, for which no comparison holds.
    number = value * scale if -1e18 < value < 1e18 else -1.0
    if number < _EPOCH_S:
        return _plausible(number)
    seconds = number / 1000 if number >= _EPOCH_MS else number
    return _until(datetime.fromtimestamp(seconds, UTC), now) if seconds < _EPOCH_MS else None


def _duration(text: str, at: int) -> tuple[float, int]:
    """The duration at ``at``, and where it ends (``at`` itself if there is none)."""
    total = 0.0
    while part := _PART.match(text, at):
        unit = part[2].lower()
        total += float(part[1]) * _UNITS["ms" if unit.startswith("milli") else unit if unit in _UNITS else unit[0]]
        at = part.end()
        joint = _JOINT.match(text, at)
        if joint is None or not _PART.match(text, joint.end()):
            break
        at = joint.end()
    return total, at


def _instant(text: str) -> datetime | None:
    """RFC 3339, or an HTTP date. Without a zone it may be hours off (Z.AI writes Beijing time), so it is rejected."""
    try:
        if _INSTANT.fullmatch(text):
            text = text.upper().replace(" AT ", "T").replace("UTC", "Z")
            return datetime.fromisoformat(text[:10] + "T" + text[11:].replace(" ", ""))
        instant = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    # "-0000" is UTC by RFC 5322.
    return instant.replace(tzinfo=UTC) if instant.tzinfo is None and text.endswith("-0000") else instant


def _until(instant: datetime | None, now: datetime) -> float | None:
    if instant is None or instant.tzinfo is None:
        return None
    try:
        seconds = (instant - now).total_seconds()
    except OverflowError:
        return None
    return _plausible(max(seconds, 0.0)) if seconds >= -_PAST_S else None


def _plausible(seconds: float) -> float | None:
    return seconds if 0 <= seconds <= _IMPLAUSIBLE_S else None


def _some(wait: float | None) -> tuple[float, ...]:
    return () if wait is None else (wait,)


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
