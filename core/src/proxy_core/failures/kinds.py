"""Classifies a failure by tables of codes, messages and statuses, consulted in this order.

Pure. A vendor's own tables (:class:`ErrorRules`) take precedence. Which vendor sends which code is
recorded in ``core/tests/test_failure_policy.py``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from msgspec import Struct, field

from proxy_core.failures.error_body import ErrorBody
from proxy_core.failures.overflow import overflow

#: The kinds of failure; ``policy.py`` maps each to a decision.
FailureKind = Literal[
    "client",  # the request itself is wrong
    "too_long",  # the conversation is longer than the model's context
    "too_large",  # the request alone is above this account's limit
    "no_model",  # the provider does not have this model
    "no_model_here",  # the same, or this credential may not use it: the upstream does not say which
    "model_denied",  # this credential may not use this model
    "not_included",  # the same, reported as a limit of 0 requests
    "refused",  # this credential is invalid or has no permissions
    "disabled",  # its account, project, organization or location is blocked
    "unpaid",  # no balance, a spending limit
    "rate_limited",
    "quota",  # exhausted until a reset that may be hours away
    "overloaded",
    "conflict",  # the same request may succeed in a moment
    "timeout",
    "broken",
    "misconfigured",  # the configured base URL or headers are wrong
    "loop",  # the configured base URL leads back to this proxy
]


class ErrorRules(Struct, frozen=True, kw_only=True):
    """Maps codes, messages and statuses to kinds of failure, and says where a vendor's error body has them.

    ``message``, ``code`` and ``retry_after`` are paths into the JSON body, for a shape of the vendor's own:
    ``"fault.text"``, ``"errors.0.wait"``. ``retry_after`` is in seconds, or a text with a unit (``"1m30s"``) or an
    instant; it counts more than any other hint. Where a path leads nowhere, the common shapes are read.
    ``codes`` match ``code``, ``type``, ``status`` or a typed detail's ``reason``, lower case.
    ``messages`` are regular expressions for the *beginning* of the message: further in, it may
    repeat the client's own text. ``statuses`` apply when neither of them matches.
    """

    codes: Mapping[str, FailureKind] = field(default_factory=dict)
    messages: Mapping[str, FailureKind] = field(default_factory=dict)
    statuses: Mapping[int, FailureKind] = field(default_factory=dict)
    message: str | None = None
    code: str | None = None
    retry_after: str | None = None


def _each(**kinds: str) -> dict[str, FailureKind]:
    return {code: kind for kind, codes in kinds.items() for code in codes.split()}  # type: ignore[misc]  # keywords are the literals


#: Codes, types and reasons.
_CODES = _each(
    client="content_filter content_policy_violation invalid_prompt cyber_policy string_above_max_length"
    " unsupported_parameter unsupported_value",
    too_long="context_length_exceeded exceed_context_size_error model_max_prompt_tokens_exceeded",
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
#: Codes that only repeat the class of error, so a status or a known message is more precise.
_BROAD = _each(
    rate_limited="rate_limit_exceeded rate_limit_error rate_limited too_many_requests too_many_requests_error"
    " resource_exhausted ratelimitexceeded",
)
#: Used only for an error without a status, inside a response: as types, they are often wrong (some vendors send
#: capacity and billing errors with the type ``invalid_request_error``).
_IN_BAND = _each(
    client="invalid_request_error bad_request invalid_argument request_too_large",
    refused="permission_error permission_denied unauthenticated",
    no_model="not_found_error not_found",
    overloaded="unavailable unavailable_error",
    timeout="timeout_error deadline_exceeded",
)
_MESSAGES: Mapping[str, FailureKind] = {
    # 400 and 403.
    r"api[ _]key (not valid|not found|expired|invalid)": "refused",
    r"your api key was reported as leaked": "disabled",
    r"(permission denied: )?consumer '?\S{1,100} has been suspended": "disabled",
    r"user location is not supported": "disabled",
    r"your prepayment credits are depleted": "unpaid",
    # 403 and 429 for no credits.
    r"your (newly created )?team \S{0,60} ?(has either used all available credits|doesn't have any credits)": "unpaid",
    # 400, of type invalid_request_error.
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
    r"insufficient (account )?balance": "unpaid",
    # Unknown models that are reported with a 400.
    r"model not exist": "no_model",
    r"\S{1,120} is not a valid model id": "no_model",
    r"(the )?model [`'\"]?[^\s`'\"]{1,120}[`'\"]? (does not exist|not found|is not found|is not supported)": "no_model",
    r"not found the model ": "no_model",
}
_STATUSES: Mapping[int, FailureKind] = {
    401: "refused",
    402: "unpaid",
    403: "refused",
    # For any client: the configured path or method is wrong.
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
    499: "broken",  # "cancelled": the upstream gave up by itself
    501: "misconfigured",
    508: "loop",
    503: "overloaded",
    504: "timeout",
    522: "timeout",
    524: "timeout",
    529: "overloaded",
}
_NO_RULES = ErrorRules()

#: For these statuses only; with others the message may repeat the client's own text.
_NO_MODEL = re.compile(
    r"model.{0,80}(not (found|exist|supported|available)|does not exist|unknown)|no such model|unknown model"
    r"|requested entity was not found",
    re.I | re.S,
)
#: Something else that the request names by its id: an item, a response, a file. Addresses contain slashes.
_LOST = re.compile(r"(?=[^/]*(not found|no such|does not exist))[^/]*\b[a-z]{2,20}[_-](?=[^\W_]*\d)[^\W_]{12}", re.I)
_DENIED = re.compile(
    r"access.{0,60}\bmodel\b|\bmodel\b.{0,80}(access|permission|not (allowed|enabled|available))", re.I
)
#: "The model `m` does not exist or you do not have access to it."
_OR_DENIED = re.compile(r"\b(or|and)\b.{0,80}\b(have|has) (no )?access|inaccessible|not authorized", re.I | re.S)
_CROWDED = re.compile(r"overloaded|(at|over|no) (maximum )?capacity|server (is )?busy|too busy", re.I)
_RATED = re.compile(r"rate limit|too many requests", re.I)


def failure_kind(status: int | None, error: ErrorBody, rules: ErrorRules = _NO_RULES) -> FailureKind:
    """The kind of a failure with this status and body. ``status`` is ``None`` for an error inside a response."""
    status = status if status is not None and status >= 300 else None
    found = _first(error.codes, rules.codes, _CODES)
    if found is None:
        found = "too_long" if overflow(status, error) is not None else _by_message(status, error, rules)
    if found is None and status not in (401, 402, 404, 413, 422):
        found = _first(error.codes, _BROAD)
    if found is None:
        found = _by_status(status, error, rules) if status is not None else _first(error.codes, _IN_BAND)
    return _refined(status, error, found or "broken")


def _first(codes: Iterable[str], *tables: Mapping[str, FailureKind]) -> FailureKind | None:
    return next((table[code] for table in tables for code in codes if code in table), None)


def _by_message(status: int | None, error: ErrorBody, rules: ErrorRules) -> FailureKind | None:
    """By a known message. An error that names a parameter concerns the request, whatever its message."""
    if error.message is None or (error.param and status in (400, 422)):
        return None
    for table in (rules.messages, _MESSAGES):
        for sentence, kind in table.items():
            if re.match(sentence, error.message, re.I):
                return kind
    return None


def _by_status(status: int, error: ErrorBody, rules: ErrorRules) -> FailureKind:
    message = error.message or ""
    if status in rules.statuses:
        return rules.statuses[status]
    if status in (404, 410) and _NO_MODEL.search(message):
        return "no_model"
    if status == 404 and "not_found_error" in error.codes and "model" in message.lower():
        return "no_model"  # the same code is used for unknown addresses
    if status == 404 and error.param:
        return "no_model" if error.param == "model" else "client"
    if status == 404 and _LOST.match(message):
        return "client"
    if status in (400, 413) and error.html:  # a web server's page: no model has seen the request
        return "misconfigured" if status == 400 else "too_large"
    if status == 403 and error.html:
        return "broken"  # a firewall's page; the credential is not at fault
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
    """Resolve codes that have two meanings."""
    if found == "no_model" and status == 403:
        return "model_denied"  # OpenAI: this project has no access to the model
    if found == "no_model" and _OR_DENIED.search(error.message or ""):
        return "no_model_here"
    if found in ("rate_limited", "quota") and error.typed:
        # A limit of 0 means no entitlement; a limit per day means an exhausted quota.
        if re.search(r"\blimit: 0(?![\d.])", error.message or ""):
            return "not_included"
        if "quota_exhausted" in error.codes or any(map(_daily, error.typed)):
            return "quota"
        return "rate_limited"  # "You exceeded your current quota" is also used for limits per minute
    return found


def _daily(detail: Mapping[str, Any]) -> bool:
    violations, metadata = detail.get("violations"), detail.get("metadata")
    ids = [v.get("quotaId") for v in violations if isinstance(v, Mapping)] if isinstance(violations, list) else []
    ids.append(metadata.get("quota_limit") if isinstance(metadata, Mapping) else None)
    return any(isinstance(name, str) and ("PerDay" in name or "Daily" in name) for name in ids)
