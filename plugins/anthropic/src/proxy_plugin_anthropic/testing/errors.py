"""Errors of the real API as they appear on the wire: name to status, headers and body."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from msgspec import Struct, field


class Error(Struct, frozen=True):
    status: int
    type: str
    message: str
    headers: Mapping[str, str] = field(default_factory=dict)
    members: Mapping[str, Any] = field(default_factory=dict)

    @property
    def body(self) -> bytes:
        error = {"type": self.type, "message": self.message, **self.members}
        return json.dumps({"type": "error", "error": error, "request_id": "req_scripted"}).encode()


_RESET = "2030-01-01T00:00:00Z"

#: Source: docs of the API, "Errors" and "Rate limits"; issue trackers of its clients.
ERRORS: Mapping[str, Error] = {
    "bad_request": Error(400, "invalid_request_error", "messages: at least one message is required"),
    "too_long": Error(400, "invalid_request_error", "prompt is too long: 210000 tokens > 200000 maximum"),
    "output_too_long": Error(
        400,
        "invalid_request_error",
        "input length and `max_tokens` exceed context limit: 190000 + 20000 > 200000, decrease input length or "
        "`max_tokens` and try again",
    ),
    "no_credit": Error(
        400,
        "invalid_request_error",
        "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing to upgrade or "
        "purchase credits.",
    ),
    "spending_limit": Error(
        400,
        "invalid_request_error",
        "You have reached your specified API usage limits. You will regain access on 2030-01-01 at 00:00 UTC.",
    ),
    "disabled": Error(400, "invalid_request_error", "This organization has been disabled."),
    "bad_key": Error(401, "authentication_error", "invalid x-api-key"),
    "billing": Error(402, "billing_error", "Your account has a billing problem."),
    "permission": Error(
        403, "permission_error", "Your API key does not have permission to use the specified resource."
    ),
    "blocked": Error(403, "forbidden", "Request not allowed"),
    "no_model": Error(404, "not_found_error", "model: claude-nothing"),
    "no_thread": Error(
        404, "not_found_error", "Thread not found", members={"details": {"error_code": "thread_not_found"}}
    ),
    "too_large": Error(413, "request_too_large", "Request exceeds the maximum size"),
    "rate_limit": Error(
        429,
        "rate_limit_error",
        "This request would exceed your organization's rate limit of 50 requests per minute.",
        {
            "retry-after": "12",
            "anthropic-ratelimit-requests-limit": "50",
            "anthropic-ratelimit-requests-remaining": "0",
            "anthropic-ratelimit-requests-reset": _RESET,
        },
    ),
    "acceleration": Error(
        429,
        "rate_limit_error",
        "This request would exceed your organization's maximum usage increase rate for input tokens per minute.",
    ),
    "long_context": Error(429, "rate_limit_error", "Extra usage is required for long context requests."),
    "api_error": Error(500, "api_error", "Internal server error"),
    "timeout": Error(504, "timeout_error", "The request timed out."),
    "overloaded": Error(529, "overloaded_error", "Overloaded"),
}
