"""Every error of the backend as it appears on the wire: name to status and body."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

_TYPE = "type.googleapis.com/google.rpc."
CLOUD_CODE = "cloudcode-pa.googleapis.com"


def error_body(code: int, status: str, message: str, *details: Mapping[str, Any]) -> bytes:
    """``{"error": {...}}``."""
    error: dict[str, Any] = {"code": code, "message": message, "status": status}
    if details:
        error["details"] = list(details)
    return json.dumps({"error": error}).encode()


def info(reason: str, domain: str = CLOUD_CODE, **metadata: str) -> dict[str, Any]:
    return {"@type": f"{_TYPE}ErrorInfo", "reason": reason, "domain": domain, "metadata": metadata}


def retry(delay: str) -> dict[str, Any]:
    return {"@type": f"{_TYPE}RetryInfo", "retryDelay": delay}


def quota(*ids: str) -> dict[str, Any]:
    violations = [{"subject": "projects/1", "quotaMetric": "requests", "quotaId": name} for name in ids]
    return {"@type": f"{_TYPE}QuotaFailure", "violations": violations}


def help_links(**links: str) -> dict[str, Any]:
    return {"@type": f"{_TYPE}Help", "links": [{"description": k, "url": url} for k, url in links.items()]}


def _400(message: str) -> tuple[int, bytes]:
    return 400, error_body(400, "INVALID_ARGUMENT", message)


def _429(message: str, *details: Mapping[str, Any]) -> tuple[int, bytes]:
    return 429, error_body(429, "RESOURCE_EXHAUSTED", message, *details)


def _403(reason: str, message: str = "The caller does not have permission", **metadata: str) -> tuple[int, bytes]:
    return 403, error_body(403, "PERMISSION_DENIED", message, info(reason, **metadata))


_DAILY = "You have exhausted your capacity on this model. Your quota will reset after 8h44m7s."
_VERIFY = "https://accounts.google.com/example?x=1"

ERRORS: Mapping[str, tuple[int, bytes]] = {
    "unknown_field": (
        400,
        error_body(
            400,
            "INVALID_ARGUMENT",
            "Invalid JSON payload received. Unknown name \"x\" at 'request': Cannot find field.",
        ),
    ),
    "turn_order": _400("Please ensure that function call turn comes immediately after a user turn."),
    "oneof": _400("contents[0].parts[0].data: required oneof field 'data' must have one initialized field"),
    "too_complex": _400("The specified schema produces a constraint that has too many states for serving."),
    "too_long": (
        400,
        error_body(
            400,
            "INVALID_ARGUMENT",
            "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).",
        ),
    ),
    "location": (
        400,
        error_body(400, "FAILED_PRECONDITION", "User location is not supported for the API use."),
    ),
    "bad_key": (
        400,
        error_body(
            400,
            "INVALID_ARGUMENT",
            "API key not valid. Please pass a valid API key.",
            info("API_KEY_INVALID", "googleapis.com", service="generativelanguage.googleapis.com"),
        ),
    ),
    "unauthenticated": (
        401,
        error_body(
            401, "UNAUTHENTICATED", "Request had invalid credentials.", info("ACCESS_TOKEN_EXPIRED", "googleapis.com")
        ),
    ),
    "token_type": (
        401,
        error_body(401, "UNAUTHENTICATED", "Invalid.", info("ACCESS_TOKEN_TYPE_UNSUPPORTED", "googleapis.com")),
    ),
    "validation_required": (
        403,
        error_body(
            403,
            "PERMISSION_DENIED",
            "Verify your account to continue.",
            info("VALIDATION_REQUIRED", validation_url=_VERIFY, validation_url_link_text="Verify"),
            help_links(Verify=_VERIFY),
        ),
    ),
    "subscription_required": _403(
        "SUBSCRIPTION_REQUIRED", "You are missing a valid license. (#3501)", domain="cloudaicompanion.googleapis.com"
    ),
    "service_disabled": _403(
        "SERVICE_DISABLED",
        "Gemini for Google Cloud API has not been used in project 1 before or it is disabled.",
        service="cloudaicompanion.googleapis.com",
        consumer="projects/my-project-123",
        activationUrl="https://console.developers.google.com/apis/api/cloudaicompanion.googleapis.com?project=my-project-123",
    ),
    "consumer_invalid": _403("CONSUMER_INVALID"),
    "iam_denied": _403("IAM_PERMISSION_DENIED"),
    "tos_violation": _403(
        "TOS_VIOLATION",
        "This service has been disabled in this account.",
        appeal_url="https://example.com/appeal?who=me",
    ),
    "vpc_sc": _403("SECURITY_POLICY_VIOLATED", "Request is prohibited by organization's policy."),
    "scope": _403("ACCESS_TOKEN_SCOPE_INSUFFICIENT"),
    "not_found": (404, error_body(404, "NOT_FOUND", "Requested entity was not found.")),
    "slow_408": (408, error_body(408, "DEADLINE_EXCEEDED", "Deadline exceeded.")),
    "slow_504": (504, error_body(504, "DEADLINE_EXCEEDED", "Deadline exceeded.")),
    "conflict": (409, error_body(409, "ABORTED", "The operation was aborted.")),
    "precondition": (412, error_body(412, "FAILED_PRECONDITION", "Precondition Failed")),
    "too_large": (413, error_body(413, "INVALID_ARGUMENT", "Request payload size exceeds the limit.")),
    "daily": _429(
        _DAILY,
        info(
            "QUOTA_EXHAUSTED",
            model="gemini-2.5-pro",
            quotaResetDelay="8h44m7.216s",
            quotaResetTimeStamp="2026-11-02T04:44:07Z",
        ),
        retry("31447.216s"),
    ),
    "per_minute": _429(
        "Quota exceeded for quota metric 'Gemini 2.5 Pro Requests' and limit 'per minute'. Please retry in 12.5s.",
        quota("GenerateRequestsPerMinutePerProjectPerModel"),
        retry("12.5s"),
    ),
    "per_minute_no_delay": _429("Quota exceeded.", quota("GenerateRequestsPerMinutePerProjectPerModel")),
    "per_minute_limit": _429(
        "Quota exceeded.", info("SOMETHING", "googleapis.com", quota_limit="Gemini25ProRequestsPerMinute")
    ),
    "per_day_id": _429("Quota exceeded.", quota("GenerateRequestsPerDayPerProjectPerModel"), retry("9s")),
    "daily_id": _429("Quota exceeded.", quota("DailyLimitPerUser")),
    "per_day_limit": _429(
        "Quota exceeded.",
        info("RATE_LIMIT_EXCEEDED", "googleapis.com", quota_limit="Gemini25ProRequestsPerDay"),
    ),
    "capacity": _429(
        "No capacity available for model gemini-3-pro-preview on the server",
        info("MODEL_CAPACITY_EXHAUSTED", model="gemini-3-pro-preview"),
    ),
    "capacity_delay": _429("No capacity", info("MODEL_CAPACITY_EXCEEDED"), retry("7s")),
    "capacity_text": _429("You have exhausted your capacity on this model."),
    "capacity_text_exceeded": _429("Capacity exceeded."),
    "capacity_text_reason": _429("MODEL_CAPACITY_EXHAUSTED"),
    "capacity_text_detailed": _429("You have exhausted your capacity on this model.", info("SOMETHING")),
    "credits": _429("Not enough credits.", info("INSUFFICIENT_G1_CREDITS_BALANCE")),
    "rate_short": _429("Slow down.", info("RATE_LIMIT_EXCEEDED"), retry("0.847655010s")),
    "rate_long": _429("Slow down.", info("RATE_LIMIT_EXCEEDED"), retry("3601s")),
    "rate_no_delay": _429("Slow down.", info("RATE_LIMIT_EXCEEDED")),
    "rate_staging": _429("Slow down.", info("RATE_LIMIT_EXCEEDED", "staging-cloudcode-pa.googleapis.com")),
    "rate_autopush": _429("Slow down.", info("RATE_LIMIT_EXCEEDED", "autopush-cloudcode-pa.googleapis.com")),
    "rate_foreign": _429("Slow down.", info("RATE_LIMIT_EXCEEDED", "googleapis.com")),
    "retry_elsewhere": _429("Slow down.", retry("20s")),
    "retry_elsewhere_long": _429("Slow down.", retry("161h39m41.300432511s")),
    "text_short": _429("Too many. Please retry in 900ms."),
    "text_long": _429("Too many. Please retry in 3600s."),
    "no_entitlement": _429("Quota exceeded for metric: requests, limit: 0, model: gemini-2.5-pro", retry("9s")),
    "plain_429": _429("Resource has been exhausted (e.g. check quota)."),
    "cancelled": (499, error_body(499, "CANCELLED", "The operation was cancelled.")),
    "internal": (500, error_body(500, "INTERNAL", "Internal error encountered.")),
    "html_502": (502, b"<!DOCTYPE html><title>Error 502 (Server Error)</title>"),
    "unavailable": (503, error_body(503, "UNAVAILABLE", "The model is overloaded. Please try again later.")),
    "no_capacity_503": (503, error_body(503, "UNAVAILABLE", "No capacity available for model gemini-2.5-pro")),
    "cancelled_quota": (499, error_body(499, "CANCELLED", "Cancelled.", retry("20s"))),
    "html_503": (503, b"<html>503</html>"),
    "empty_500": (500, b""),
    "string": (400, b'{"error":"invalid_request"}'),
}


def variants(body: bytes) -> Sequence[bytes]:
    """The same error as other serving paths wrap it: an array, JSON in the message, spaces in keys, pretty-printed."""
    value = json.loads(body)
    nested = {"error": {"code": value["error"]["code"], "message": json.dumps(value)}}
    deeper = {"error": {"code": value["error"]["code"], "message": json.dumps(nested)}}
    blank = json.dumps(value).replace('"@type"', '" @type"').replace('"domain": "', '"domain": "\u00a0')
    return [
        json.dumps([value]).encode(),
        json.dumps(nested).encode(),
        json.dumps([deeper]).encode(),
        blank.encode(),
        json.dumps(value, indent=2).encode(),
        b"data: " + body,
    ]
