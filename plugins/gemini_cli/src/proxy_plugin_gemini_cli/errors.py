"""What Google's errors say, and what follows: an error body read tolerantly, then one table and one order of questions.

Pure. The order of the limits is that of Google's own client (gemini-cli ``googleQuotaErrors.ts``).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from proxy_core import (
    CapacityExhausted,
    ErrorBody,
    FailureDecision,
    FailureKind,
    Unavailable,
    UpstreamFailure,
    UpstreamRejected,
    classify_failure,
    decision_for,
    read_error,
    rejected,
)

# --- Reading -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Info:
    """A ``google.rpc.ErrorInfo``."""

    reason: str
    domain: str
    metadata: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class GoogleError:
    """An error in Google's words. ``detailed``: it has any structured detail."""

    code: int | None
    status: str
    message: str
    infos: Sequence[Info] = ()
    retry_delay_s: float | None = None
    quota_ids: Sequence[str] = ()
    links: Sequence[str] = ()
    detailed: bool = False

    def info(self, *reasons: str) -> Info | None:
        return next((info for info in self.infos if info.reason in reasons), None)

    def said(self, name: str) -> str | None:
        """The first value of a metadata member."""
        return next((info.metadata[name] for info in self.infos if info.metadata.get(name)), None)


_DEPTH = 5


def read_google_error(body: bytes) -> GoogleError:
    """Every form in use: the object, an array of one, JSON within ``message``, an event's ``data:`` line, a bare text.

    Blanks around keys do not matter. What cannot be read is an empty error.
    """
    text = body[: 256 * 1024].decode("utf-8", "replace").strip().removeprefix("data:").strip()
    found: Mapping[str, Any] = {}
    for _ in range(_DEPTH):
        inner = _error_in(text)
        if inner is None:
            break
        found = inner
        message = inner.get("message")
        if not isinstance(message, str) or message.lstrip()[:1] not in ("{", "["):
            break
        text = message.strip()
    if not found:
        return GoogleError(None, "", "" if text[:1] in ("<", "{", "[") else text[:2000])
    return _read(found)


def _error_in(text: str) -> Mapping[str, Any] | None:
    try:
        value = _trimmed(json.loads(text))
    except (ValueError, RecursionError):
        return None
    if isinstance(value, list) and value:
        value = value[0]
    if not isinstance(value, dict):
        return None
    error = value.get("error", value if "message" in value else None)
    if isinstance(error, str):
        return {"message": error}
    return error if isinstance(error, dict) else None


def _trimmed(value: Any) -> Any:
    """The same with keys stripped of blanks, no-break ones too."""
    if isinstance(value, dict):
        return {key.strip().strip("\u00a0"): _trimmed(inner) for key, inner in value.items()}
    return [_trimmed(inner) for inner in value] if isinstance(value, list) else value


def _read(error: Mapping[str, Any]) -> GoogleError:
    details = error.get("details")
    entries = [entry for entry in details if isinstance(entry, dict)] if isinstance(details, list) else []
    infos: list[Info] = []
    ids: list[str] = []
    links: list[str] = []
    delay: float | None = None
    for entry in entries:
        if isinstance(entry.get("reason"), str):
            metadata = entry.get("metadata")
            named = {str(k): str(v) for k, v in metadata.items()} if isinstance(metadata, dict) else {}
            domain = re.sub(r"[^A-Za-z0-9.-]", "", str(entry.get("domain") or ""))
            infos.append(Info(entry["reason"].strip(), domain, named))
        for violation in _objects(entry.get("violations")):
            if isinstance(violation.get("quotaId"), str):
                ids.append(violation["quotaId"])
        links += [link["url"] for link in _objects(entry.get("links")) if isinstance(link.get("url"), str)]
        if delay is None and isinstance(entry.get("retryDelay"), str):
            delay = duration_s(entry["retryDelay"])
    code, message = error.get("code"), error.get("message")
    return GoogleError(
        code=code if isinstance(code, int) and not isinstance(code, bool) and 400 <= code <= 599 else None,
        status=status if isinstance(status := error.get("status"), str) else "",
        message=message.replace("\u00a0", " ")[:2000] if isinstance(message, str) else "",
        infos=infos,
        retry_delay_s=delay,
        quota_ids=ids,
        links=links,
        detailed=bool(entries),
    )


def _objects(value: object) -> Iterator[Mapping[str, Any]]:
    if isinstance(value, list):
        yield from (entry for entry in value if isinstance(entry, dict))


_DURATION = re.compile(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m(?!s))?(?:(\d+(?:\.\d+)?)s)?(?:(\d+(?:\.\d+)?)ms)?")
_LONGEST_S = 8 * 86_400.0


def duration_s(text: str) -> float | None:
    """Seconds of ``8h44m7.2s``, ``900ms`` and the like; what is not positive is a second. ``None`` if unreadable."""
    text = text.strip()
    negative, text = text.startswith("-"), text.removeprefix("-")
    match = _DURATION.fullmatch(text)
    if not text or match is None:
        return None
    hours, minutes, seconds, milliseconds = (float(part or 0) for part in match.groups())
    total = hours * 3600 + minutes * 60 + seconds + milliseconds / 1000
    return 1.0 if negative or total <= 0 else min(total, _LONGEST_S)


# --- Limits ------------------------------------------------------------------------------

#: A wait up to this is one to sit out; a longer one means used up.
_LONG_S = 300.0
_CAPACITY_S = 30.0
_MINUTE_S = 60.0
_HOUR_S = 3600.0
_DOMAINS = (
    "cloudcode-pa.googleapis.com",
    "staging-cloudcode-pa.googleapis.com",
    "autopush-cloudcode-pa.googleapis.com",
)
_PROMISE = re.compile(
    r"(?:please retry in|reset(?:s)? (?:after|in))\s+((?:\d+(?:\.\d+)?(?:ms|h|m|s))+)", re.IGNORECASE | re.ASCII
)
_NO_ENTITLEMENT = re.compile(r"\blimit: 0(?![\d.])", re.ASCII)
_CROWDED = re.compile(r"exhausted your capacity|capacity exceeded|MODEL_CAPACITY_EXHAUSTED|no capacity", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Limit:
    """What a 429, 499 or 503 means. ``terminal``: not this model on this credential before ``wait_s`` are over."""

    kind: Literal["none", "daily", "quota", "capacity", "credits", "minute", "rate"]
    terminal: bool
    wait_s: float | None = None


def limit_of(error: GoogleError, now: datetime) -> Limit:
    """The questions in Google's order. ``now`` is UTC."""
    told = _told_wait(error, now)
    if _NO_ENTITLEMENT.search(error.message):
        return Limit("none", True, told)
    if not error.detailed:
        promised = _promised(error.message)
        if promised is not None:
            return Limit("rate" if promised <= _LONG_S else "quota", promised > _LONG_S, promised)
        crowded = _CROWDED.search(error.message)
        return Limit("capacity", True, _CAPACITY_S) if crowded else Limit("rate", False)
    if any("PerDay" in name or "Daily" in name for name in _limit_names(error)):
        return Limit("daily", True, told if told is not None and told > _LONG_S else _until_midnight(now))
    if error.info("MODEL_CAPACITY_EXHAUSTED", "MODEL_CAPACITY_EXCEEDED"):
        return Limit("capacity", True, told or _CAPACITY_S)
    if error.info("INSUFFICIENT_G1_CREDITS_BALANCE"):
        return Limit("credits", True, told)
    if error.info("QUOTA_EXHAUSTED"):
        return Limit("quota", True, told if told is not None else _until_midnight(now))
    delay = error.retry_delay_s
    if any(info.domain in _DOMAINS and info.reason == "RATE_LIMIT_EXCEEDED" for info in error.infos):
        soon = delay is not None and delay <= _LONG_S
        return Limit("rate" if soon else "quota", not soon, told)
    if delay is not None:
        return Limit("rate" if delay <= _LONG_S else "quota", delay > _LONG_S, told)
    if any("PerMinute" in name for name in _limit_names(error)):
        return Limit("minute", False, _MINUTE_S)
    if _CROWDED.search(error.message):
        return Limit("capacity", True, told or _CAPACITY_S)
    return Limit("rate", False, told)


def _limit_names(error: GoogleError) -> list[str]:
    return [*error.quota_ids, *(info.metadata.get("quota_limit", "") for info in error.infos)]


def _told_wait(error: GoogleError, now: datetime) -> float | None:
    """Seconds until the reset, as the first of its sources says that can be read."""
    if error.retry_delay_s is not None:
        return error.retry_delay_s
    delay = duration_s(error.said("quotaResetDelay") or "")
    if delay is not None:
        return delay
    at = error.said("quotaResetTimeStamp")
    if at is not None:
        try:
            moment = datetime.fromisoformat(at)
        except ValueError:
            moment = None
        if moment is not None and moment.tzinfo is not None:
            return min(max(1.0, (moment - now).total_seconds()), _LONGEST_S)
    return _promised(error.message)


def _promised(text: str) -> float | None:
    match = _PROMISE.search(text)
    return duration_s(match[1].lower()) if match else None


def _until_midnight(now: datetime) -> float:
    """Daily quotas begin anew at midnight in California."""
    try:
        there = now.astimezone(ZoneInfo("America/Los_Angeles"))
    except ZoneInfoNotFoundError:
        return _HOUR_S
    midnight = (there + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
    return max(1.0, (midnight.astimezone(UTC) - now).total_seconds())


# --- What follows ------------------------------------------------------------------------

#: Somebody has to act: it is asked again once a day at most.
_OWNER_REST_S = 86_400.0
_DENIED_REST_S = 3600.0
_TOO_LONG = re.compile(r"token count.{0,80}exceed|exceeds the maximum number of tokens|prompt is too long", re.I | re.S)
_LOCATION = re.compile(r"location is not supported", re.I)
_KEY = re.compile(r"api[ _]key (not valid|not found|expired|invalid)", re.I)

#: 403 reasons: the code for clients, and the advice. ``{url}`` is the error's own link, where it has one.
ADVICE: Mapping[str, tuple[str, str]] = {
    "VALIDATION_REQUIRED": (
        "validation_required",
        "its account has to be verified by its owner{url}; log in again then",
    ),
    "SUBSCRIPTION_REQUIRED": ("account_ineligible", "its account has no Gemini Code Assist licence in its project"),
    "SERVICE_DISABLED": (
        "project_required",
        "the Gemini for Google Cloud API is switched off in its project: switch it on{url}, or set another project",
    ),
    "CONSUMER_INVALID": ("project_required", "its project does not exist or may not be used: set another one"),
    "IAM_PERMISSION_DENIED": (
        "account_ineligible",
        "its account may not use its project: ask for the role cloudaicompanion.user",
    ),
    "TOS_VIOLATION": (
        "account_ineligible",
        "its account was disabled for a breach of terms{url}; do not use it further",
    ),
    "SECURITY_POLICY_VIOLATED": ("account_ineligible", "its organisation's VPC Service Controls do not let it in"),
    "ACCESS_TOKEN_SCOPE_INSUFFICIENT": ("reauthentication_required", "its login lacks a scope: log in again"),
    "UNSUPPORTED_CLIENT": ("account_ineligible", "accounts of its kind are no longer served since 18 June 2026"),
}


#: It may be the project that is wrong, which may have changed: it is looked up anew, once.
_OF_PROJECT = frozenset({"SUBSCRIPTION_REQUIRED", "SERVICE_DISABLED", "CONSUMER_INVALID", "IAM_PERMISSION_DENIED"})
PROJECT = "project_id"
#: Asking again would only make it worse, or is of no use before its owner has acted.
_FOR_GOOD = frozenset({"TOS_VIOLATION", "VALIDATION_REQUIRED"})


def judge(failure: UpstreamFailure) -> FailureDecision:
    """Both providers' judge."""
    if failure.transport is not None:
        return classify_failure(failure)
    error = read_google_error(failure.body)
    status = error.code or failure.status
    words = read_error(failure.body)
    if error.message and error.message != words.message:
        words = replace(words, message=error.message)
    if status in (429, 499, 503) or error.info("MODEL_CAPACITY_EXHAUSTED", "QUOTA_EXHAUSTED"):
        return _limited(failure, status, error, words)
    named = _JUDGES.get(status or 0)
    if named is not None:
        return named(failure, error, words)
    return classify_failure(failure)


def _limited(failure: UpstreamFailure, status: int | None, error: GoogleError, words: ErrorBody) -> FailureDecision:
    name, limit = failure.provider, limit_of(error, failure.received_at)
    if not error.detailed and not limit.terminal and limit.wait_s is None and status in (499, 503):
        # Nothing but "cancelled" or "overloaded": once more, with the core's own pauses.
        return decision_for("broken" if status == 499 else "overloaded", failure, status, words)
    says = f" It says: {error.message}" if error.message else ""
    told = None if limit.wait_s is None else float(math.ceil(limit.wait_s))
    match limit.kind:
        case "none":
            return replace(decision_for("model_denied", failure, status, words), cooldown_s=_DENIED_REST_S)
        case "capacity":
            crowded = CapacityExhausted(
                f"{name} has no capacity for this model.{says}", code="model_capacity_exhausted", retry_after_s=told
            )
            return FailureDecision(
                fault="model", next="rotate", cooldown="model", cooldown_s=limit.wait_s, error=crowded
            )
        case "daily" | "quota" | "credits":
            used_up = CapacityExhausted(f"{name}'s quota is used up.{says}", code="quota_exhausted", retry_after_s=told)
            wait_s = limit.wait_s if limit.wait_s is not None else _HOUR_S
            return FailureDecision(fault="model", next="rotate", cooldown="model", cooldown_s=wait_s, error=used_up)
        case "minute" | "rate":
            slower = CapacityExhausted(f"{name} is rate limited.{says}", code="rate_limit_exceeded", retry_after_s=told)
            return FailureDecision(
                fault="model", next="rotate", cooldown="model", cooldown_s=limit.wait_s, error=slower
            )


def _bad_request(failure: UpstreamFailure, error: GoogleError, words: ErrorBody) -> FailureDecision:
    if error.info("API_KEY_INVALID") or _KEY.match(error.message):
        return decision_for("refused", failure, 401, words)
    if error.status == "FAILED_PRECONDITION" and _LOCATION.search(error.message):
        return decision_for("disabled", failure, 400, words)
    if _TOO_LONG.search(error.message):
        words = replace(words, code="context_length_exceeded")
    return FailureDecision(fault="client", next="reject", error=rejected(400, words))


def _refused(failure: UpstreamFailure, error: GoogleError, words: ErrorBody) -> FailureDecision:
    return decision_for("refused", failure, 401, words)


def _forbidden(failure: UpstreamFailure, error: GoogleError, words: ErrorBody) -> FailureDecision:
    info = error.info(*ADVICE)
    if info is None:
        decision = classify_failure(failure)
        return replace(decision, suspect_details=[PROJECT]) if decision.cooldown == "credential" else decision
    code, advice = ADVICE[info.reason]
    url = _url(error, info)
    text = f"{failure.provider} refused this proxy's credential: {advice.format(url=f' ({url})' if url else '')}."
    told = Unavailable(text, code=code)
    return FailureDecision(
        fault="credential",
        next="rotate",
        cooldown="credential",
        cooldown_s=_OWNER_REST_S,
        error=told,
        disable_until_login=info.reason in _FOR_GOOD,
        suspect_details=[PROJECT] if info.reason in _OF_PROJECT else (),
    )


def _url(error: GoogleError, info: Info) -> str | None:
    """Where its owner can act. A query may name the project or the account, so only a verification keeps its own."""
    names = ("validation_url", "appeal_url", "activationUrl")
    found = [info.metadata[name] for name in names if info.metadata.get(name)] or list(error.links)
    url = next((u for u in found if u.startswith("https://") and u.isprintable() and len(u) < 1000), None)
    if url is None or info.reason == "VALIDATION_REQUIRED":
        return url
    return url.partition("?")[0]


def _unknown_model(failure: UpstreamFailure, error: GoogleError, words: ErrorBody) -> FailureDecision:
    """Or one that this account may not use: others may, and its other models go on."""
    told = UpstreamRejected(
        f"{failure.provider} does not know this model, or this account may not use it.",
        status=404,
        param="model",
        code="model_not_found",
    )
    return FailureDecision(fault="model", next="rotate", cooldown="model", cooldown_s=_DENIED_REST_S, error=told)


def _client(failure: UpstreamFailure, error: GoogleError, words: ErrorBody) -> FailureDecision:
    return FailureDecision(fault="client", next="reject", error=rejected(error.code or failure.status or 400, words))


def _meaning(meaning: FailureKind) -> Callable[[UpstreamFailure, GoogleError, ErrorBody], FailureDecision]:
    def judged(failure: UpstreamFailure, error: GoogleError, words: ErrorBody) -> FailureDecision:
        return decision_for(meaning, failure, error.code or failure.status, words)

    return judged


_JUDGES: Mapping[int, Callable[[UpstreamFailure, GoogleError, ErrorBody], FailureDecision]] = {
    400: _bad_request,
    401: _refused,
    403: _forbidden,
    404: _unknown_model,
    408: _meaning("timeout"),
    409: _client,
    412: _client,
    413: _client,
    500: _meaning("broken"),
    502: _meaning("broken"),
    504: _meaning("timeout"),
}
