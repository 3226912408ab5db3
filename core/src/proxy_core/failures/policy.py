"""What follows from a failed attempt: the default judge, and the pieces vendors' judges are built from.

Pure: a failure in, a decision out, in two steps. Tables say what a failure *means*: words for machines
first, then known sentences, then the status; a vendor's own tables (:class:`ErrorRules`) come
before these. One more table says what *follows* from each meaning. A client's own mistake is never tried elsewhere; an
upstream's 401 or 403 is our trouble and never reaches the client as 401.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from proxy_core.errors import (
    CapacityExhausted,
    ProxyError,
    StreamCut,
    Unavailable,
    UpstreamBroken,
    UpstreamRejected,
    UpstreamTimeout,
)
from proxy_core.failures.rate_limit_headers import error_object, reset_after_s
from proxy_core.interfaces import FailureDecision
from proxy_core.messages import UpstreamFailure

# --- What it means -----------------------------------------------------------------------

#: What a failure can mean; what follows is in ``_COURSES``.
FailureKind = Literal[
    "client",  # the request itself is wrong
    "too_large",  # the request alone is above this account's limit
    "no_model",  # nobody here has this model
    "model_denied",  # this credential may not use this model
    "refused",  # this credential is wrong or may do nothing
    "disabled",  # its account, project, organisation or location is barred
    "unpaid",  # no balance, a spending limit
    "rate_limited",
    "quota",  # used up until a reset that may be hours away
    "overloaded",
    "conflict",  # the same request may succeed in a moment
    "timeout",
    "broken",
    "misconfigured",  # our base URL or headers are wrong
]

_MESSAGE_LIMIT = 2000


@dataclass(frozen=True, slots=True)
class ErrorBody:
    """An upstream's error body in its own words. ``html``: a web server's or firewall's page instead of one."""

    message: str | None = None
    type: str | None = None
    code: str | None = None
    param: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
    number: int | None = None
    html: bool = False

    @property
    def words(self) -> tuple[str, ...]:
        """Everything meant for machines, lower case, the most specific first."""
        metadata = self.details.get("metadata")
        named = [metadata.get(key) for key in ("error_type", "limit_source")] if isinstance(metadata, Mapping) else []
        reasons = [detail.get("reason") for detail in self.google]
        number = None if self.number is None else str(self.number)
        return tuple(w.lower() for w in (*reasons, *named, self.code, number, self.type) if isinstance(w, str))

    @property
    def google(self) -> list[Mapping[str, Any]]:
        """The ``google.rpc`` details."""
        details = self.details.get("details")
        return [entry for entry in details if isinstance(entry, Mapping)] if isinstance(details, list) else []


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorRules:
    """What words and statuses mean.

    ``codes`` are ``code``, ``type``, ``status`` or Google's ``reason``, lower case. ``says`` are
    regular expressions for the *beginning* of the message: further in, it may be the client's
    own text coming back. ``statuses`` are for what no word explains.
    """

    codes: Mapping[str, FailureKind] = field(default_factory=dict)
    says: Mapping[str, FailureKind] = field(default_factory=dict)
    statuses: Mapping[int, FailureKind] = field(default_factory=dict)


def _each(**words: str) -> dict[str, FailureKind]:
    return {word: meaning for meaning, row in words.items() for word in row.split()}  # type: ignore[misc]  # keywords are the literals


#: OpenAI (platform.openai.com, error codes), Anthropic, ``google.api.ErrorReason``, llama.cpp's server.
_CODES = _each(
    client="context_length_exceeded content_filter content_policy_violation invalid_prompt cyber_policy"
    " string_above_max_length exceed_context_size_error unsupported_parameter unsupported_value",
    no_model="model_not_found modelnotfound",
    model_denied="usage_not_included",
    refused="invalid_api_key api_key_invalid incorrect_api_key authentication_error access_token_expired"
    " access_token_type_unsupported access_token_scope_insufficient credentials_missing iam_permission_denied"
    " api_key_service_blocked api_key_http_referrer_blocked api_key_ip_address_blocked",
    disabled="account_deactivated unsupported_country_region_territory consumer_suspended consumer_invalid"
    " service_disabled subscription_required tos_violation validation_required security_policy_violated"
    " user_project_denied account_state_invalid location_policy_violated",
    unpaid="insufficient_quota billing_hard_limit_reached billing_not_active billing_error billing_disabled"
    " insufficient_balance insufficient_credits insufficient_g1_credits_balance",
    quota="quota_exhausted quota_exceeded usage_limit_reached",
    overloaded="overloaded_error server_is_overloaded slow_down model_capacity_exhausted model_capacity_exceeded",
)
#: Words that say nothing beyond the class of error, so a status or a known sentence says more.
_BROAD = _each(
    rate_limited="rate_limit_exceeded rate_limit_error rate_limited too_many_requests too_many_requests_error"
    " resource_exhausted ratelimitexceeded",
)
#: Believed only of an error that has no status, inside a reply: as types, they are often untrue
#: (Mistral's capacity and Anthropic's billing errors are of type ``invalid_request_error``).
_IN_BAND = _each(
    client="invalid_request_error bad_request invalid_argument request_too_large",
    refused="permission_error permission_denied unauthenticated",
    no_model="not_found_error not_found",
    overloaded="unavailable unavailable_error",
    timeout="timeout_error deadline_exceeded",
)
_SAYS: Mapping[str, FailureKind] = {
    # Google's keys: 400 and 403.
    r"api[ _]key (not valid|not found|expired|invalid)": "refused",
    r"your api key was reported as leaked": "disabled",
    r"(permission denied: )?consumer '?\S{1,100} has been suspended": "disabled",
    r"user location is not supported": "disabled",
    r"your prepayment credits are depleted": "unpaid",
    # xAI: 403 and 429 for no credits (warp #14867, continue #10373).
    r"your (newly created )?team \S{0,60} ?(has either used all available credits|doesn't have any credits)": "unpaid",
    # Anthropic: 400 invalid_request_error.
    r"your credit balance is too low": "unpaid",
    r"you have reached your specified (api|workspace api) usage limits": "quota",
    r"(this|your) organization has been (disabled|restricted|suspended)": "disabled",
    # OpenAI.
    r"(your )?billing hard limit has been reached": "unpaid",
    r"your account is not active": "unpaid",
    r"(your|the openai) account (associated with this api key )?has been deactivated": "disabled",
    r"country, region, or territory not supported": "disabled",
    r"you exceeded your current quota": "quota",
    r"request too large for ": "too_large",
    # api-docs.deepseek.com; NanoGPT's legacy form.
    r"insufficient (account )?balance": "unpaid",
    # Unknown models that come as a 400: DeepSeek, OpenRouter, DashScope, vLLM, Kimi.
    r"model not exist": "no_model",
    r"\S{1,120} is not a valid model id": "no_model",
    r"(the )?model [`'\"]?[^\s`'\"]{1,120}[`'\"]? (does not exist|not found|is not found|is not supported)": "no_model",
    r"not found the model ": "no_model",
}
_STATUSES: Mapping[int, FailureKind] = {
    401: "refused",
    402: "unpaid",
    403: "refused",
    # Whichever client asked: our path or method is wrong there.
    404: "misconfigured",
    405: "misconfigured",
    407: "misconfigured",
    408: "timeout",
    409: "conflict",
    410: "misconfigured",
    421: "broken",
    423: "conflict",
    425: "conflict",
    426: "misconfigured",
    429: "rate_limited",
    451: "disabled",
    498: "refused",  # "invalid token" where it is used at all
    499: "broken",  # Google's CANCELLED: the upstream gave up by itself
    501: "misconfigured",
    503: "overloaded",
    504: "timeout",
    522: "timeout",
    524: "timeout",
    529: "overloaded",
}
_NO_RULES = ErrorRules()

#: For these statuses only; elsewhere the words may be the client's own.
_NO_MODEL = re.compile(
    r"model.{0,80}(not (found|exist|supported|available)|does not exist|unknown)|no such model|unknown model"
    r"|requested entity was not found",
    re.I | re.S,
)
_DENIED = re.compile(
    r"access.{0,60}\bmodel\b|\bmodel\b.{0,80}(access|permission|not (allowed|enabled|available))", re.I
)
_CROWDED = re.compile(r"overloaded|(at|over|no) (maximum )?capacity|server (is )?busy|too busy", re.I)
_RATED = re.compile(r"rate limit|too many requests", re.I)


def failure_kind(status: int | None, error: ErrorBody, rules: ErrorRules = _NO_RULES) -> FailureKind:
    """What a failure with this status and body means. ``status`` is ``None`` for an error inside a reply."""
    status = status if status is not None and status >= 300 else None
    found = _first(error.words, rules.codes, _CODES) or _said(status, error, rules)
    if found is None and status not in (401, 402, 404, 413, 422):
        found = _first(error.words, _BROAD)
    if found is None:
        found = _by_status(status, error, rules) if status is not None else _first(error.words, _IN_BAND)
    return _refined(status, error, found or "broken")


def _first(words: Iterable[str], *tables: Mapping[str, FailureKind]) -> FailureKind | None:
    return next((table[word] for table in tables for word in words if word in table), None)


def _said(status: int | None, error: ErrorBody, rules: ErrorRules) -> FailureKind | None:
    """A known sentence. An error that names a parameter is about the request, whatever it says."""
    if error.message is None or (error.param and status in (400, 422)):
        return None
    for table in (rules.says, _SAYS):
        for sentence, meaning in table.items():
            if re.match(sentence, error.message, re.I):
                return meaning
    return None


def _by_status(status: int, error: ErrorBody, rules: ErrorRules) -> FailureKind:
    message = error.message or ""
    if status in rules.statuses:
        return rules.statuses[status]
    if status in (404, 410) and _NO_MODEL.search(message):
        return "no_model"
    if status == 403 and error.html:
        return "broken"  # a firewall's page, which blames no credential
    if status == 403 and _DENIED.search(message):
        return "model_denied"
    if status >= 500 and _RATED.search(message):
        return "rate_limited"
    if status >= 500 and _CROWDED.search(message):
        return "overloaded"
    if status in _STATUSES:
        return _STATUSES[status]
    return "client" if 400 <= status < 500 else "broken"


def _refined(status: int | None, error: ErrorBody, found: FailureKind) -> FailureKind:
    """A second look where one word has two meanings."""
    if found == "no_model" and status == 403:
        return "model_denied"  # OpenAI: this project has no access to the model
    if found in ("rate_limited", "quota") and error.google:
        # gemini-cli googleQuotaErrors.ts: a limit of 0 is no entitlement; a limit per day is used up.
        if re.search(r"\blimit: 0(?![\d.])", error.message or ""):
            return "model_denied"
        if "quota_exhausted" in error.words or any(map(_daily, error.google)):
            return "quota"
        return "rate_limited"  # "You exceeded your current quota" is said of limits per minute, too
    return found


def _daily(detail: Mapping[str, Any]) -> bool:
    violations, metadata = detail.get("violations"), detail.get("metadata")
    ids = [v.get("quotaId") for v in violations if isinstance(v, Mapping)] if isinstance(violations, list) else []
    ids.append(metadata.get("quota_limit") if isinstance(metadata, Mapping) else None)
    return any(isinstance(name, str) and ("PerDay" in name or "Daily" in name) for name in ids)


def read_error(body: bytes) -> ErrorBody:
    """Read the shapes in use: OpenAI, Anthropic and Gemini objects, ``detail``, ``message``, plain text."""
    found = error_object(body)
    if found is None:
        text = body[:_MESSAGE_LIMIT].decode("utf-8", "replace").strip()
        html = text.startswith("<")  # a web server's or firewall's page helps nobody
        plain = text and not html and text[:1] not in ("{", "[") and not _is_json(body)
        return ErrorBody(message=text if plain else None, html=html)
    error, around = found
    if isinstance(inner := error.get("error"), str):
        return ErrorBody(message=inner[:_MESSAGE_LIMIT], code=_str(error.get("code")))
    message = error.get("message") or error.get("detail") or error.get("msg") or error.get("title")
    if message is not None and not isinstance(message, str):
        message = json.dumps(message, ensure_ascii=False)
    known, number = {"message", "type", "code", "param"}, error.get("code")
    return ErrorBody(
        message=message[:_MESSAGE_LIMIT] if message else None,
        type=_str(error.get("type")) or _str(error.get("status")),
        code=_str(error.get("code")),
        param=_str(error.get("param")),
        details={key: value for key, value in error.items() if key not in known} if error is not around else {},
        number=number if isinstance(number, int) and not isinstance(number, bool) and 0 <= number < 10**9 else None,
    )


def _is_json(body: bytes) -> bool:
    try:
        json.loads(body)
    except (ValueError, RecursionError):
        return False
    return True


def _str(value: object) -> str | None:
    return value if isinstance(value, str) else None


# --- What follows ------------------------------------------------------------------------

#: A credential that was refused may be mended by its owner; what needs somebody to pay, to
#: appeal or to buy access rarely heals within the hour. The core probes before the time is up.
REFUSED_COOLDOWN_S = 300.0
UNPAID_COOLDOWN_S = 3600.0
#: A quota whose reset is not told. Hours or a day, mostly; asking once an hour finds out.
QUOTA_COOLDOWN_S = 3600.0
#: A wait as short as this is worth sitting out with the same credential (parity: SMALL_COOLDOWN_RETRY_THRESHOLD).
SHORT_WAIT_S = 10.0
#: A hint never takes a whole provider out for longer: one model's trouble may hide behind it.
OUTAGE_COOLDOWN_S = 300.0
#: "0 s" would send the next request straight into the same limit.
_MIN_COOLDOWN_S = 1.0


@dataclass(frozen=True, slots=True)
class _Course:
    """What a meaning calls for. ``cooldown_s=None``: the core's back-off unless there is a hint."""

    fault: Literal["client", "credential", "model", "provider", "network"]
    next: Literal["retry", "rotate", "fail_over", "reject"]
    cooldown: Literal["credential", "model", "provider"] | None = None
    cooldown_s: float | None = None


_COURSES: Mapping[FailureKind, _Course] = {
    "client": _Course("client", "reject"),
    # Every key of an account has the same limit: trying them all would be spraying.
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
    """The core's reading of a failure; a provider's own judge may call it for the rest."""
    return classify_by_rules(failure, ErrorRules())


def classify_by_rules(failure: UpstreamFailure, rules: ErrorRules) -> FailureDecision:
    """The default judge with a vendor's own words and statuses."""
    if failure.transport is not None:
        return _transport_failure(failure)
    error = read_error(failure.body)
    return decision_for(failure_kind(failure.status, error, rules), failure, failure.status, error)


def classify_status(failure: UpstreamFailure, status: int, error: ErrorBody) -> FailureDecision:
    """The decision for an HTTP status and an error body, where those of ``failure`` are not to be used."""
    return decision_for(failure_kind(status, error), failure, status, error)


def decision_for(
    meaning: FailureKind, failure: UpstreamFailure, status: int | None, error: ErrorBody
) -> FailureDecision:
    """The decision for a failure whose meaning is known."""
    course, hint = _COURSES[meaning], _hint(meaning, failure)
    told = _told(meaning, failure.provider, status, hint, error)
    if course.cooldown is not None:
        cooldown_s = course.cooldown_s if hint is None else max(hint, _MIN_COOLDOWN_S)
        if meaning == "quota" and error.google and (hint or 0.0) < 60:
            cooldown_s = (
                QUOTA_COOLDOWN_S  # Gemini's daily quota comes with a retryDelay of seconds, that of another limit
            )
        return FailureDecision(
            fault=course.fault, next=course.next, error=told, cooldown=course.cooldown, cooldown_s=cooldown_s
        )
    if course.next == "retry" and hint is not None and hint > SHORT_WAIT_S:
        return _outage(course, told, hint, error)
    return FailureDecision(fault=course.fault, next=course.next, error=told)


def _outage(course: _Course, told: ProxyError, hint: float, error: ErrorBody) -> FailureDecision:
    """The upstream asks to be left alone for a while: all of it, unless it speaks of one model."""
    about_model = "model" in (error.message or "").lower()
    scope: Literal["model", "provider"] = "model" if about_model else "provider"
    return FailureDecision(
        fault=course.fault, next="fail_over", error=told, cooldown=scope, cooldown_s=min(hint, OUTAGE_COOLDOWN_S)
    )


def _hint(meaning: FailureKind, failure: UpstreamFailure) -> float | None:
    headers = failure.headers
    if meaning in ("refused", "disabled", "unpaid", "model_denied"):
        # The limits in these headers go on as if nothing were wrong with the account.
        headers = {name: headers[name] for name in ("retry-after-ms", "retry-after") if name in headers}
    return reset_after_s(headers, failure.body, failure.received_at)


def _told(meaning: FailureKind, name: str, status: int | None, hint: float | None, error: ErrorBody) -> ProxyError:
    """What the client hears. Words about our account stay with us; they name it."""
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
            return Unavailable(f"{name} refused this proxy's credential.", code="upstream_credential_refused")
        case "unpaid":
            return CapacityExhausted(f"{name} reports no balance.", code="insufficient_quota", retry_after_s=hint)
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
            # The limit is generous; whoever was silent for minutes is not asked again at once.
            return FailureDecision(
                fault="provider", next="fail_over", error=UpstreamTimeout(f"{name} did not answer in time.")
            )
        case "cut":
            return FailureDecision(
                fault="provider", next="retry", error=StreamCut(f"{name}'s reply ended before it was complete.")
            )
        case "unreadable":
            return FailureDecision(
                fault="provider", next="fail_over", error=UpstreamBroken(f"{name} sent a reply that cannot be read.")
            )
        case _:
            return FailureDecision(
                fault="network", next="retry", error=UpstreamBroken(f"{name} closed the connection.")
            )


def rejected(status: int, error: ErrorBody) -> UpstreamRejected:
    """The upstream's own words to the client, with its status."""
    # 401, 402 and 429 would be read as the client's own key, bill and pace.
    fits = 400 <= status < 500 and status not in (401, 402, 429)
    return UpstreamRejected(
        error.message or f"The upstream refused the request with status {status}.",
        status=status if fits else 400,
        type=error.type,
        param=error.param,
        code=error.code,
        details=error.details,
    )
