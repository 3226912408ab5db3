"""What a failed attempt means: the default judge, and the pieces vendors' judges are built from.

Pure: a failure in, a verdict out. A client's own mistake is never tried elsewhere; an
upstream's 401 or 403 is our trouble and never reaches the client as 401.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from proxy_core.errors import (
    CapacityExhausted,
    ProxyError,
    StreamCut,
    Unavailable,
    UpstreamBroken,
    UpstreamRejected,
    UpstreamTimeout,
)
from proxy_core.interfaces import Verdict
from proxy_core.model import UpstreamFailure

#: A credential that was refused or has no balance rests this long; it rarely heals sooner.
REFUSED_REST_S = 300.0
UNPAID_REST_S = 3600.0
#: No hint is believed beyond this: a far-future reset would pin a credential for days.
MAX_HINT_S = 24 * 3600.0
_MESSAGE_LIMIT = 2000

_RATE_CODES = frozenset({"rate_limit_exceeded", "rate_limit_error", "rate_limited", "too_many_requests"})
_QUOTA_CODES = frozenset({"insufficient_quota", "quota_exceeded", "resource_exhausted"})
_CLIENT_TYPES = frozenset({"invalid_request_error", "bad_request", "context_length_exceeded", "content_filter"})
_NO_MODEL = re.compile(
    r"model.{0,80}(not (found|exist|supported|available)|does not exist|unknown)|no such model|unknown model",
    re.I | re.S,
)


@dataclass(frozen=True, slots=True)
class ErrorBody:
    """An upstream's error body in its own words."""

    message: str | None = None
    type: str | None = None
    code: str | None = None
    param: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict)


def read_error(body: bytes) -> ErrorBody:
    """Read the shapes in use: OpenAI, Anthropic and Gemini objects, ``detail``, ``message``, plain text."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        text = body[:_MESSAGE_LIMIT].decode("utf-8", "replace").strip()
        # A web server's or firewall's page helps nobody.
        return ErrorBody(message=text if text and not text.startswith("<") else None)
    if isinstance(value, list) and value:  # Gemini without ``alt=sse``
        value = value[0]
    if not isinstance(value, Mapping):
        return ErrorBody()
    error = value.get("error", value)
    if isinstance(error, str):
        return ErrorBody(message=error[:_MESSAGE_LIMIT], code=_str(value.get("code")))
    if not isinstance(error, Mapping):
        return ErrorBody()
    message = error.get("message") or error.get("detail") or error.get("msg")
    if message is not None and not isinstance(message, str):
        message = json.dumps(message, ensure_ascii=False)
    known = {"message", "type", "code", "param"}
    return ErrorBody(
        message=message[:_MESSAGE_LIMIT] if message else None,
        type=_str(error.get("type")) or _str(error.get("status")),
        code=_str(error.get("code")),
        param=_str(error.get("param")),
        details={k: v for k, v in error.items() if k not in known} if "error" in value else {},
    )


def _str(value: object) -> str | None:
    return value if isinstance(value, str) else None


def retry_after_s(headers: Mapping[str, str], now: datetime) -> float | None:
    """``retry-after-ms``, or ``Retry-After`` in seconds or as an HTTP date; capped, ``None`` if unreadable."""
    for name, scale in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        value = headers.get(name, "").strip()
        if not value:
            continue
        try:
            seconds = float(value) * scale
        except ValueError:
            seconds = _seconds_until(value, now)
        if math.isfinite(seconds) and seconds >= 0:
            return min(seconds, MAX_HINT_S)
    return None


def _seconds_until(http_date: str, now: datetime) -> float:
    try:
        moment = parsedate_to_datetime(http_date)
    except ValueError:
        return math.nan
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - now).total_seconds())


def default_judge(failure: UpstreamFailure) -> Verdict:
    """The core's reading of a failure; a provider's own judge may call it for the rest."""
    if failure.transport is not None:
        return _judge_transport(failure)
    error = read_error(failure.body)
    return judge_status(failure, _effective_status(failure, error), error)


def _effective_status(failure: UpstreamFailure, error: ErrorBody) -> int:
    """An error inside a reply often has no status of its own; its words tell."""
    if failure.status is not None and failure.status >= 400:
        return failure.status
    words = {(error.type or "").lower(), (error.code or "").lower()}
    if words & (_RATE_CODES | _QUOTA_CODES):
        return 429
    if words & _CLIENT_TYPES:
        return 400
    return 502


def _judge_transport(failure: UpstreamFailure) -> Verdict:
    name = failure.provider
    match failure.transport:
        case "connect":
            return Verdict(fault="network", next="retry", error=UpstreamBroken(f"{name} could not be reached."))
        case "timeout":
            # The limit is generous; whoever was silent for minutes is not asked again at once.
            return Verdict(fault="provider", next="fail_over", error=UpstreamTimeout(f"{name} did not answer in time."))
        case "cut":
            return Verdict(
                fault="provider", next="retry", error=StreamCut(f"{name}'s reply ended before it was complete.")
            )
        case "unreadable":
            return Verdict(
                fault="provider", next="fail_over", error=UpstreamBroken(f"{name} sent a reply that cannot be read.")
            )
        case _:
            return Verdict(fault="network", next="retry", error=UpstreamBroken(f"{name} closed the connection."))


def judge_status(failure: UpstreamFailure, status: int, error: ErrorBody) -> Verdict:
    """The verdict for an HTTP status and an error body."""
    name, hint = failure.provider, retry_after_s(failure.headers, failure.received_at)
    if status in (401, 403):
        refused = Unavailable(f"{name} refused this proxy's credential.", code="upstream_credential_refused")
        return Verdict(
            fault="credential", next="rotate", error=refused, rest="credential", rest_s=hint or REFUSED_REST_S
        )
    if status == 402:
        unpaid = CapacityExhausted(f"{name} reports no balance.", code="insufficient_quota", retry_after_s=hint)
        return Verdict(fault="credential", next="rotate", error=unpaid, rest="credential", rest_s=hint or UNPAID_REST_S)
    if status == 429:
        return _rate_limited(name, hint, error)
    if status == 404:
        return _not_found(name, error)
    if status == 408 or status >= 500:
        return _broken(name, status, hint, error)
    return Verdict(fault="client", next="reject", error=rejected(status, error))


def _rate_limited(name: str, hint: float | None, error: ErrorBody) -> Verdict:
    quota = (error.code or "").lower() in _QUOTA_CODES or (error.type or "").lower() in _QUOTA_CODES
    code = "insufficient_quota" if quota else "rate_limit_exceeded"
    words = f" It says: {error.message}" if error.message else ""
    limited = CapacityExhausted(f"{name} is rate limited.{words}", code=code, retry_after_s=hint)
    return Verdict(fault="model", next="rotate", error=limited, rest="model", rest_s=hint)


def _not_found(name: str, error: ErrorBody) -> Verdict:
    """Only an unknown model is a 404 for the client; a wrong path is our configuration."""
    if error.code == "model_not_found" or (error.message and _NO_MODEL.search(error.message)):
        gone = UpstreamRejected(
            error.message or f"{name} does not know this model.", status=404, param="model", code="model_not_found"
        )
        return Verdict(fault="client", next="fail_over", error=gone)
    broken = UpstreamBroken(f"{name} answered 404: its base URL may be wrong.")
    return Verdict(fault="provider", next="fail_over", error=broken)


def _broken(name: str, status: int, hint: float | None, error: ErrorBody) -> Verdict:
    words = f": {error.message}" if error.message else "."
    failed: ProxyError
    if status in (503, 529):
        failed = Unavailable(f"{name} is overloaded{words}", retry_after_s=hint)
    elif status in (408, 504, 524):
        failed = UpstreamTimeout(f"{name} answered {status}{words}")
    else:
        failed = UpstreamBroken(f"{name} answered {status}{words}", retry_after_s=hint)
    return Verdict(fault="provider", next="retry", error=failed)


def rejected(status: int, error: ErrorBody) -> UpstreamRejected:
    """The upstream's own words to the client, with its status."""
    return UpstreamRejected(
        error.message or f"The upstream refused the request with status {status}.",
        status=status if 400 <= status < 500 else 400,
        type=error.type,
        param=error.param,
        code=error.code,
        details=error.details,
    )
