"""Decides what to do about a failed attempt, and provides the building blocks of vendors' own decisions.

Pure: from a failure to a decision. :mod:`~proxy_core.failures.kinds` classifies it, and a table here has the decision
for each kind. A client's own error is never retried elsewhere; an upstream's 401 or 403 is a problem of the proxy's
credentials and never reaches the client as 401.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from proxy_core.errors import (
    CapacityExhausted,
    ProxyError,
    StreamCut,
    Unavailable,
    UpstreamBroken,
    UpstreamRejected,
    UpstreamTimeout,
)
from proxy_core.failures.error_body import ErrorBody, read_error
from proxy_core.failures.kinds import ErrorRules, FailureKind, failure_kind
from proxy_core.failures.rate_limit_headers import reset_after_s
from proxy_core.interfaces import FailureDecision
from proxy_core.messages import UpstreamFailure

#: The owner may fix a rejected credential. A problem that requires a payment, an appeal or a purchase
#: is rarely solved within the hour. The core probes before the time is up.
REFUSED_COOLDOWN_S = 300.0
UNPAID_COOLDOWN_S = 3600.0
#: A quota without a known reset. Usually it is hours or a day away; one probe per hour is enough.
QUOTA_COOLDOWN_S = 3600.0
#: For a wait as short as this, retry with the same credential (as SMALL_COOLDOWN_RETRY_THRESHOLD does).
SHORT_WAIT_S = 10.0
#: A hint never stops a whole provider for longer than this: it may concern only one model.
OUTAGE_COOLDOWN_S = 300.0
#: "0 s" would send the next request straight into the same limit.
_MIN_COOLDOWN_S = 1.0


@dataclass(frozen=True, slots=True)
class _Course:
    """The decision for a kind of failure. ``cooldown_s=None``: the core's back-off unless there is a hint."""

    fault: Literal["client", "credential", "model", "provider", "network"]
    next: Literal["retry", "rotate", "fail_over", "reject"]
    cooldown: Literal["credential", "model", "provider"] | None = None
    cooldown_s: float | None = None


_COURSES: Mapping[FailureKind, _Course] = {
    "client": _Course("client", "reject"),
    # All keys of an account share the limit, so trying each of them is pointless.
    "too_large": _Course("client", "fail_over"),
    "no_model": _Course("client", "fail_over"),
    "model_denied": _Course("model", "rotate", "model", UNPAID_COOLDOWN_S),
    "refused": _Course("credential", "rotate", "credential", REFUSED_COOLDOWN_S),
    "disabled": _Course("credential", "rotate", "credential", UNPAID_COOLDOWN_S),
    "unpaid": _Course("credential", "rotate", "credential", UNPAID_COOLDOWN_S),
    "rate_limited": _Course("model", "rotate", "model"),
    "quota": _Course("model", "rotate", "model", QUOTA_COOLDOWN_S),
    "overloaded": _Course("provider", "retry"),
    "conflict": _Course("provider", "retry"),
    "timeout": _Course("provider", "retry"),
    "broken": _Course("provider", "retry"),
    "misconfigured": _Course("provider", "fail_over"),
}


def classify_failure(failure: UpstreamFailure) -> FailureDecision:
    """The core's classifier; a provider's own classifier may call it for all other failures."""
    return classify_by_rules(failure, ErrorRules())


def classify_by_rules(failure: UpstreamFailure, rules: ErrorRules) -> FailureDecision:
    """The core's classifier with a vendor's additional codes, sentences and statuses."""
    if failure.transport is not None:
        return _transport_failure(failure)
    error = read_error(failure.body)
    return decision_for(failure_kind(failure.status, error, rules), failure, failure.status, error)


def classify_status(failure: UpstreamFailure, status: int, error: ErrorBody) -> FailureDecision:
    """The decision for another HTTP status and error body than those of ``failure``."""
    return decision_for(failure_kind(status, error), failure, status, error)


def decision_for(
    meaning: FailureKind, failure: UpstreamFailure, status: int | None, error: ErrorBody
) -> FailureDecision:
    """The decision for a failure of a known kind."""
    course, hint = _COURSES[meaning], _hint(meaning, failure)
    told = _told(meaning, failure.provider, status, hint, error)
    if course.cooldown is not None:
        cooldown_s = course.cooldown_s if hint is None else max(hint, _MIN_COOLDOWN_S)
        if meaning == "quota" and error.typed and (hint or 0.0) < 60:
            cooldown_s = (
                QUOTA_COOLDOWN_S  # a daily quota may come with a delay of seconds that belongs to another limit
            )
        return FailureDecision(
            fault=course.fault, next=course.next, error=told, cooldown=course.cooldown, cooldown_s=cooldown_s
        )
    if course.next == "retry" and hint is not None and hint > SHORT_WAIT_S:
        return _outage(course, told, hint, error)
    return FailureDecision(fault=course.fault, next=course.next, error=told)


def _outage(course: _Course, told: ProxyError, hint: float, error: ErrorBody) -> FailureDecision:
    """The upstream asks for a pause, which applies to the whole provider unless the error names a model."""
    about_model = "model" in (error.message or "").lower()
    scope: Literal["model", "provider"] = "model" if about_model else "provider"
    return FailureDecision(
        fault=course.fault, next="fail_over", error=told, cooldown=scope, cooldown_s=min(hint, OUTAGE_COOLDOWN_S)
    )


def _hint(meaning: FailureKind, failure: UpstreamFailure) -> float | None:
    headers = failure.headers
    if meaning in ("refused", "disabled", "unpaid", "model_denied"):
        # The limits in these headers look normal even if something is wrong with the account.
        headers = {name: headers[name] for name in ("retry-after-ms", "retry-after") if name in headers}
    return reset_after_s(headers, failure.body, failure.received_at)


def _told(meaning: FailureKind, name: str, status: int | None, hint: float | None, error: ErrorBody) -> ProxyError:
    """The client's error. Messages about our account are withheld, because they may identify it."""
    says = f" It says: {error.message}" if error.message else ""
    words = f": {error.message}" if error.message else "."
    answered = f"{name} answered {status}" if status is not None and status >= 300 else f"{name} failed"
    match meaning:
        case "client" | "conflict":
            return rejected(status or 400, error)
        case "too_large":
            return rejected(413, error)
        case "no_model" | "model_denied":
            unknown = f"{name} does not know this model."
            gone = unknown if meaning == "model_denied" else error.message or unknown
            return UpstreamRejected(gone, status=404, param="model", code="model_not_found")
        case "refused" | "disabled":
            return Unavailable(f"{name} rejected this proxy's credential.", code="upstream_credential_refused")
        case "unpaid":
            return CapacityExhausted(
                f"{name} reports that no credit is left.", code="insufficient_quota", retry_after_s=hint
            )
        case "rate_limited":
            return CapacityExhausted(f"{name} is rate limited.{says}", code="rate_limit_exceeded", retry_after_s=hint)
        case "quota":
            return CapacityExhausted(f"{name}'s quota is used up.{says}", code="insufficient_quota", retry_after_s=hint)
        case "overloaded":
            return Unavailable(f"{name} is overloaded{words}", retry_after_s=hint)
        case "timeout":
            return UpstreamTimeout(f"{answered}{words}")
        case "broken" if status is None or not 300 <= status < 400:
            return UpstreamBroken(f"{answered}{words}", retry_after_s=hint)
        case "broken" | "misconfigured":
            return UpstreamBroken(f"{answered}: its base URL may be wrong.")


def _transport_failure(failure: UpstreamFailure) -> FailureDecision:
    name = failure.provider
    match failure.transport:
        case "connect":
            return FailureDecision(fault="network", next="retry", error=UpstreamBroken(f"{name} could not be reached."))
        case "timeout":
            # The time limit is generous; an upstream that was silent for minutes is not retried at once.
            return FailureDecision(
                fault="provider", next="fail_over", error=UpstreamTimeout(f"{name} did not respond in time.")
            )
        case "cut":
            return FailureDecision(
                fault="provider", next="retry", error=StreamCut(f"{name}'s response ended before it was complete.")
            )
        case "unreadable":
            return FailureDecision(
                fault="provider", next="fail_over", error=UpstreamBroken(f"{name} sent a response that cannot be read.")
            )
        case _:
            return FailureDecision(
                fault="network", next="retry", error=UpstreamBroken(f"{name} closed the connection.")
            )


def rejected(status: int, error: ErrorBody) -> UpstreamRejected:
    """The upstream's own error for the client, with its status."""
    # The client would relate 401, 402 and 429 to its own key, bill and rate.
    fits = 400 <= status < 500 and status not in (401, 402, 429)
    return UpstreamRejected(
        error.message or f"The upstream refused the request with status {status}.",
        status=status if fits else 400,
        type=error.type,
        param=error.param,
        code=error.code,
        details=error.details,
    )
