"""Errors inside responses: in an event, or in a response that failed."""

from __future__ import annotations

import re

from proxy_core import Failed, JsonObject, UpstreamFailure
from proxy_core.dialects.common import json_bytes

#: Codes that mean the request itself is wrong, other than those that the core knows.
_REQUEST = frozenset(
    "invalid_image invalid_image_format invalid_base64_image invalid_image_url image_too_large image_too_small"
    " image_parse_error image_content_policy_violation invalid_image_mode image_file_too_large empty_image_file"
    " unsupported_image_media_type failed_to_download_image image_file_not_found".split()
)
_FAILED = ("failed", "cancelled")


def error_in(event: JsonObject) -> JsonObject | None:
    """The error of an event: flat, as documented, or in a member, as in the bodies of errors."""
    inner = event.get("error")
    if isinstance(inner, dict) and inner:
        return inner
    if event.get("type") == "error" or isinstance(inner, str):
        own = {name: value for name, value in event.items() if name not in ("type", "sequence_number", "error")}
        return {**own, "message": own.get("message") or inner}
    return None


def error_of(response: JsonObject) -> JsonObject | None:
    """The error of a response object; ``None`` if it did not fail."""
    error, status = response.get("error"), response.get("status")
    if isinstance(error, dict) and error:
        return error
    return {"message": f"the upstream's response is {status}", "code": "server_error"} if status in _FAILED else None


def failed(error: JsonObject) -> Failed:
    known = ("message", "type", "code")
    message, kind, code = (value if isinstance(value := error.get(name), str) and value else None for name in known)
    return Failed(
        message=message or "The upstream reported an error.",
        status=_status(error),
        type=kind,
        code=code,
        extra={name: value for name, value in error.items() if name not in known},
    )


def failure_of(provider: str, error: JsonObject) -> UpstreamFailure:
    body = json_bytes({"error": error})[:65536]
    return UpstreamFailure(provider=provider, status=_status(error), body=body)


def _status(error: JsonObject) -> int | None:
    """The HTTP status that belongs to an error; some servers say it in numbers, or in digits."""
    for value in (error.get("code"), error.get("status")):
        if isinstance(value, str) and value in _REQUEST:
            return 400
        number = int(value) if isinstance(value, str) and re.fullmatch(r"[45]\d\d", value, re.ASCII) else value
        if isinstance(number, int) and 400 <= number <= 599:
            return number
    return None


def whole_failure(provider: str, body: JsonObject) -> UpstreamFailure | None:
    """For a whole response: one without an output is a failure, whatever its status."""
    error = error_of(body)
    if error is not None:
        return failure_of(provider, error)
    if isinstance(body.get("output"), list):
        return None
    error = error_in(body)
    if error is not None:
        return failure_of(provider, error)
    return UpstreamFailure(provider=provider, transport="unreadable")
