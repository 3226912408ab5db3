"""What Gemini's requests and replies share: usage, finish reasons, errors.

Source: ai.google.dev API reference, ``GenerateContentResponse``; ``google-genai`` 3.x; gemini-cli 0.61.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any

from proxy_core import sse
from proxy_core.dialects.common import count, json_bytes, load_object
from proxy_core.errors import BadRequest, ProxyError, UpstreamRejected
from proxy_core.interfaces import EncodedError
from proxy_core.messages import FinishReason, JsonObject, UpstreamFailure, Usage

NAME = "gemini"
#: Who can read a thought signature.
MAKER = "google"
#: Google's documented way to say that a call's signature is lost.
NO_SIGNATURE = "skip_thought_signature_validator"

#: Why a candidate ended. What is not here delivers what there is, or is an error if there is nothing.
REASONS: Mapping[str, FinishReason] = {
    "STOP": "stop",
    "MAX_TOKENS": "length",
    **dict.fromkeys(
        (
            *("SAFETY", "RECITATION", "LANGUAGE", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII"),
            *("IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION", "IMAGE_OTHER"),
        ),
        "content_filter",
    ),
}
WORDS: Mapping[FinishReason, str] = {
    "stop": "STOP",
    "length": "MAX_TOKENS",
    "tool_calls": "STOP",
    "content_filter": "SAFETY",
    "refusal": "SAFETY",
    "pause": "STOP",
    "error": "OTHER",
}

_STATUSES = {
    "bad_request": "INVALID_ARGUMENT",
    "too_large": "INVALID_ARGUMENT",
    "unauthorized": "UNAUTHENTICATED",
    "forbidden": "PERMISSION_DENIED",
    "not_found": "NOT_FOUND",
    "rate_limit": "RESOURCE_EXHAUSTED",
    "internal": "INTERNAL",
    "upstream": "UNAVAILABLE",
    "overloaded": "UNAVAILABLE",
    "timeout": "DEADLINE_EXCEEDED",
}
_BY_NUMBER = {
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ABORTED",
    412: "FAILED_PRECONDITION",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
}
#: Where Python's reader could have made a NaN or an infinity.
_RISKY = re.compile(r"NaN|Infinity|\d[eE]\+?\d{3}|\d{300}")
_TYPE = "type.googleapis.com/google.rpc."
_MAX_NESTED = 5


# --- Fields ------------------------------------------------------------------------------


def field(source: Mapping[str, Any], name: str) -> Any:
    """A field in camel case, or as some clients write it, in snake case."""
    if name in source:
        return source[name]
    return source.get(snake(name))


@lru_cache(maxsize=256)
def snake(name: str) -> str:
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in name)


def parse_text(text: str) -> Any:
    """JSON that can be sent on. Raises ``ValueError``, also for numbers that JSON has no word for."""
    try:
        value = json.loads(text)
        if _RISKY.search(text):
            json.dumps(value, allow_nan=False)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    return value


def created_of(value: object) -> int | None:
    """RFC 3339 to epoch seconds."""
    if not isinstance(value, str):
        return None
    try:
        return int(datetime.fromisoformat(value).timestamp())
    except (ValueError, OverflowError):
        return None


# --- Usage -------------------------------------------------------------------------------


def decode_usage(found: object) -> Usage | None:
    """``usageMetadata``: the prompt includes cached and tool-use tokens, the completion thoughts."""
    if not isinstance(found, dict) or not found:
        return None
    reasoning = count(found, "thoughtsTokenCount")
    return Usage(
        prompt=count(found, "promptTokenCount") + count(found, "toolUsePromptTokenCount"),
        completion=count(found, "candidatesTokenCount") + reasoning,
        cached=count(found, "cachedContentTokenCount"),
        reasoning=reasoning,
    )


def encode_usage(usage: Usage) -> JsonObject:
    out: JsonObject = {"promptTokenCount": usage.prompt, "candidatesTokenCount": usage.completion - usage.reasoning}
    if usage.cached:
        out["cachedContentTokenCount"] = usage.cached
    if usage.reasoning:
        out["thoughtsTokenCount"] = usage.reasoning
    return {**out, "totalTokenCount": usage.total}


def whole_usage(body: JsonObject) -> Usage | None:
    return decode_usage(body.get("usageMetadata"))


# --- Errors out --------------------------------------------------------------------------


def error_object(error: ProxyError) -> JsonObject:
    """The ``error`` member of Google's error body. An upstream's own status and details are kept."""
    status = _STATUSES.get(error.kind, "UNKNOWN")
    details: list[Any] = []
    own: Mapping[str, Any] = {}
    if isinstance(error, UpstreamRejected):
        own, status = error.details, _BY_NUMBER.get(error.status, status)
        status = own["status"] if isinstance(own.get("status"), str) else status
        details = list(own["details"]) if isinstance(own.get("details"), list) else []
    if error.code is not None:
        details.append({"@type": f"{_TYPE}ErrorInfo", "reason": error.code.upper(), "domain": "proxy-core"})
    if error.param is not None and isinstance(error, BadRequest):
        violation = {"field": error.param, "description": error.message}
        details.append({"@type": f"{_TYPE}BadRequest", "fieldViolations": [violation]})
    if error.retry_after_s is not None:
        details.append({"@type": f"{_TYPE}RetryInfo", "retryDelay": f"{max(0, math.ceil(error.retry_after_s))}s"})
    out = {"code": error.status, "message": error.message, "status": status, "details": details}
    if error.attempts:
        out["attempts"] = list(error.attempts)
    return {**{k: v for k, v in own.items() if k not in out}, **out}


def encode_error(error: ProxyError, request_id: str) -> EncodedError:
    return EncodedError(status=error.status, body=json_bytes({"error": error_object(error)}))


def stream_error(error: ProxyError, request_id: str) -> bytes:
    """``error`` is the first key: that is where google-genai looks."""
    return sse.encode(json_bytes({"error": error_object(error)}))


# --- Errors in ---------------------------------------------------------------------------


def error_of(value: object) -> JsonObject | None:
    """The error in a reply: in an array, under ``error``, in a string inside its own message."""
    for _ in range(_MAX_NESTED):
        if isinstance(value, list) and value:
            value = value[0]
        if not isinstance(value, dict) or not value.get("error"):
            return None
        error = value["error"]
        if not isinstance(error, Mapping):
            return {"message": str(error)}
        inner = error.get("message")
        nested = load_object(inner.encode()) if isinstance(inner, str) and inner.lstrip().startswith("{") else None
        if nested is None or not nested.get("error"):
            return {str(k).strip(): v for k, v in error.items()}
        value = nested
    return None


def status_of(error: Mapping[str, Any]) -> int | None:
    code = error.get("code")
    if isinstance(code, str) and code.isdigit():
        code = int(code)
    return code if isinstance(code, int) and not isinstance(code, bool) and 400 <= code <= 599 else None


def failure_of(provider: str, error: JsonObject) -> UpstreamFailure:
    return UpstreamFailure(provider=provider, status=status_of(error), body=json_bytes({"error": error})[:65536])


def whole_failure(provider: str, body: JsonObject) -> UpstreamFailure | None:
    """An error hiding behind status 200."""
    error = None if "candidates" in body else error_of(body)
    return None if error is None else failure_of(provider, error)
