"""Errors for clients: OpenAI's bodies, with the codes and types that agents understand."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping

from proxy_core import EncodedError, JsonObject, ProxyError, sse
from proxy_core.dialects.common import json_bytes, retry_headers
from proxy_core.dialects.openai_chat import error_object

#: The fields of requests that have another name here than where an error may come from.
FIELDS = {
    "messages": "input",
    "max_tokens": "max_output_tokens",
    "max_completion_tokens": "max_output_tokens",
    "response_format": "text.format",
    "reasoning_effort": "reasoning.effort",
    "verbosity": "text.verbosity",
}
#: Beyond this, an agent would sleep rather than tell its user: it stops at a limit with the time of its end.
_LONG_S = 60
_LIMIT = "usage_limit_reached"
#: The codes of a failed response, for each kind of error that may come after its beginning.
_CODES: Mapping[str, str] = {
    "rate_limit": "rate_limit_exceeded",
    "overloaded": "server_is_overloaded",
    "unpaid": "insufficient_quota",
    "bad_request": "invalid_prompt",
    "not_found": "invalid_prompt",
    "too_large": "invalid_prompt",
}
_KNOWN = frozenset({"context_length_exceeded", "insufficient_quota", "invalid_prompt"})


def encode_error(error: ProxyError, request_id: str) -> EncodedError:
    found = error_object(error, FIELDS)
    if error.kind == "rate_limit" and error.retry_after_s is not None and error.retry_after_s > _LONG_S:
        resets_in_s = math.ceil(error.retry_after_s)
        resets = {"resets_at": int(time.time()) + resets_in_s, "resets_in_seconds": resets_in_s}
        found = {**found, "type": _LIMIT, **resets}
    return EncodedError(status=error.status, body=json_bytes({"error": found}), headers=retry_headers(error))


def failed_error(error: ProxyError) -> JsonObject:
    """The ``error`` member of a failed response."""
    message = error.message
    if error.kind == "rate_limit" and error.retry_after_s is not None:
        message = f"{message} Please try again in {math.ceil(error.retry_after_s)}s."
    code = error.code if error.code in _KNOWN else _CODES.get(error.kind, "server_error")
    return {"code": code, "message": message}


def stream_error(error: ProxyError, request_id: str) -> bytes:
    """An error in a stream that did not begin as it should."""
    event = {"type": "error", **failed_error(error), "param": None, "sequence_number": 0}
    return sse.encode(json_bytes(event), "error")
