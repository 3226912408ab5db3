"""Decide on Google's errors: one table by status, another for limits."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping

from msgspec.structs import replace

from proxy_core import (
    CapacityExhausted,
    ErrorBody,
    FailureDecision,
    FailureKind,
    UpstreamFailure,
    UpstreamRejected,
    classify_failure,
    decision_for,
    failure_kind,
    read_error,
    rejected,
    reset_after_s,
)
from proxy_plugin_gemini.google_error import GoogleError, read_google_error, with_plain_spaces
from proxy_plugin_gemini.limits import HOUR_S, limit_of

#: Decides on a failure whose error body has been read.
Decide = Callable[[UpstreamFailure, GoogleError, ErrorBody], FailureDecision]

_DENIED_COOLDOWN_S = 3600.0
_LOCATION = re.compile(r"location is not supported", re.I)
#: A cache or a file that the request names. It belongs to one account, so another credential may know it.
_LOST = re.compile(
    r"cached ?contents?\b.{0,200}(not found|not exist|denied|expired)|(access the|no such) file\b|"
    r"\bfiles?\b.{0,200}(not found|not exist)",
    re.I | re.S,
)
_KEY = re.compile(r"api[ _]key (not valid|not found|expired|invalid)", re.I)


def classify_google_failure(failure: UpstreamFailure) -> FailureDecision:
    """For the public API and its keys: a 403 is treated like that of any vendor."""
    return decide_failure(failure, forbidden=lambda failure, error, words: classify_failure(failure))


def decide_failure(failure: UpstreamFailure, *, forbidden: Decide) -> FailureDecision:
    """``forbidden`` decides on a 403, whose meaning differs between logins and keys."""
    if failure.transport is not None:
        return classify_failure(failure)
    failure = replace(failure, body=with_plain_spaces(failure.body))
    error = read_google_error(failure.body)
    status = error.code or failure.status
    words = read_error(failure.body)
    if error.message and error.message != words.message:
        words = replace(words, message=error.message)
    if status in (429, 499, 503) or error.info("MODEL_CAPACITY_EXHAUSTED", "QUOTA_EXHAUSTED"):
        return _limited(failure, status, error, words)
    if status in (403, 404) and _LOST.search(error.message):
        return FailureDecision(fault="client", next="rotate", error=rejected(status, words))
    decide = forbidden if status == 403 else _BY_STATUS.get(status or 0)
    return classify_failure(failure) if decide is None else decide(failure, error, words)


def _limited(failure: UpstreamFailure, status: int | None, error: GoogleError, words: ErrorBody) -> FailureDecision:
    name, limit = failure.provider, limit_of(error, failure.received_at)
    if limit.wait_s is None and limit.kind in ("rate", "capacity"):
        # Gateways in front of Google say it their own way.
        limit = replace(limit, wait_s=reset_after_s(failure.headers, failure.body, failure.received_at))
    if not error.detailed and not limit.terminal and limit.wait_s is None and status in (499, 503):
        # No more than "cancelled" or "overloaded": retry with the core's usual delays.
        return decision_for("broken" if status == 499 else "overloaded", failure, status, words)
    says = f" Message: {error.message}" if error.message else ""
    retry_after_s = None if limit.wait_s is None else float(math.ceil(limit.wait_s))
    match limit.kind:
        case "none":
            return decision_for("not_included", failure, status, words)
        case "capacity":
            no_capacity = CapacityExhausted(
                f"{name} has no capacity for this model.{says}",
                code="model_capacity_exhausted",
                retry_after_s=retry_after_s,
            )
            return FailureDecision(
                fault="model", next="rotate", cooldown="model", cooldown_s=limit.wait_s, error=no_capacity
            )
        case "daily" | "quota" | "credits":
            used_up = CapacityExhausted(
                f"{name}'s quota is used up.{says}", code="quota_exhausted", retry_after_s=retry_after_s
            )
            wait_s = limit.wait_s if limit.wait_s is not None else HOUR_S
            return FailureDecision(fault="model", next="rotate", cooldown="quota", cooldown_s=wait_s, error=used_up)
        case "minute" | "rate":
            slower = CapacityExhausted(
                f"{name} is rate limited.{says}", code="rate_limit_exceeded", retry_after_s=retry_after_s
            )
            return FailureDecision(
                fault="model", next="rotate", cooldown="quota", cooldown_s=limit.wait_s, error=slower
            )


def _bad_request(failure: UpstreamFailure, error: GoogleError, words: ErrorBody) -> FailureDecision:
    if error.info("API_KEY_INVALID") or _KEY.match(error.message):
        return decision_for("refused", failure, 401, words)
    if error.status == "FAILED_PRECONDITION" and _LOCATION.search(error.message):
        return decision_for("disabled", failure, 400, words)
    if failure_kind(400, words) == "too_long":
        return decision_for("too_long", failure, 400, words)
    return FailureDecision(fault="client", next="reject", error=rejected(400, words))


def _refused(failure: UpstreamFailure, error: GoogleError, words: ErrorBody) -> FailureDecision:
    return decision_for("refused", failure, 401, words)


def _unknown_model(failure: UpstreamFailure, error: GoogleError, words: ErrorBody) -> FailureDecision:
    """The model may be unknown, or unavailable only to this account: other accounts and other models stay in use."""
    unknown = UpstreamRejected(
        f"{failure.provider} does not know this model, or this account has no access to it.",
        status=404,
        param="model",
        code="model_not_found",
    )
    return FailureDecision(fault="model", next="rotate", cooldown="model", cooldown_s=_DENIED_COOLDOWN_S, error=unknown)


def _client(failure: UpstreamFailure, error: GoogleError, words: ErrorBody) -> FailureDecision:
    return FailureDecision(fault="client", next="reject", error=rejected(error.code or failure.status or 400, words))


def _kind(kind: FailureKind) -> Decide:
    def decide(failure: UpstreamFailure, error: GoogleError, words: ErrorBody) -> FailureDecision:
        return decision_for(kind, failure, error.code or failure.status, words)

    return decide


_BY_STATUS: Mapping[int, Decide] = {
    400: _bad_request,
    401: _refused,
    404: _unknown_model,
    408: _kind("timeout"),
    409: _client,
    412: _client,
    413: _client,
    500: _kind("broken"),
    502: _kind("broken"),
    504: _kind("timeout"),
}
