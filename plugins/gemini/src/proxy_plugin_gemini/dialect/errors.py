"""Google's error bodies: write them for clients, read them from upstreams."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from proxy_core import ContextExceeded, EncodedError, JsonObject, ProxyError, UpstreamFailure, UpstreamRejected
from proxy_core.dialects.common import json_bytes, load_object, retry_headers
from proxy_core.dialects.shapes import with_names

_STATUSES = {
    "bad_request": "INVALID_ARGUMENT",
    "too_large": "INVALID_ARGUMENT",
    "unauthorized": "UNAUTHENTICATED",
    "forbidden": "PERMISSION_DENIED",
    "refused": "PERMISSION_DENIED",
    "unpaid": "PERMISSION_DENIED",
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
_TYPE = "type.googleapis.com/google.rpc."
#: The fields of requests that have another name here than where an error may come from.
FIELDS = {
    "messages": "contents",
    "input": "content",
    "max_tokens": "generationConfig.maxOutputTokens",
    "max_completion_tokens": "generationConfig.maxOutputTokens",
    "n": "generationConfig.candidateCount",
    "stop": "generationConfig.stopSequences",
    "temperature": "generationConfig.temperature",
    "top_p": "generationConfig.topP",
    "top_k": "generationConfig.topK",
    "seed": "generationConfig.seed",
    "logprobs": "generationConfig.responseLogprobs",
    "top_logprobs": "generationConfig.logprobs",
    "presence_penalty": "generationConfig.presencePenalty",
    "frequency_penalty": "generationConfig.frequencyPenalty",
    "response_format": "generationConfig.responseJsonSchema",
    "reasoning_effort": "generationConfig.thinkingConfig",
    "modalities": "generationConfig.responseModalities",
    "tool_choice": "toolConfig.functionCallingConfig",
    "dimensions": "outputDimensionality",
}
_MAX_NESTED = 5
_LONGEST_SLEEP_S = 300


# --- Out ---------------------------------------------------------------------------------


def error_object(error: ProxyError) -> JsonObject:
    """The ``error`` member of Google's error body. An upstream's own status and details are kept."""
    status, (message, param) = _STATUSES.get(error.kind, "UNKNOWN"), with_names(error, FIELDS)
    if isinstance(error, ContextExceeded) and error.tokens is not None and not error.reserved:
        # Clients recognize these words. There are none for a response that is too long.
        message = (
            f"The input token count ({error.tokens}) exceeds the maximum number of tokens allowed ({error.limit})."
        )
    details: list[Any] = []
    own: Mapping[str, Any] = {}
    if isinstance(error, UpstreamRejected):
        own, status = error.details, _BY_NUMBER.get(error.status, status)
        status = own["status"] if isinstance(own.get("status"), str) else status
        details = list(own["details"]) if isinstance(own.get("details"), list) else []
    if error.code is not None:
        details.append(_info(error, error.code))
    if param is not None and error.status == 400:
        violation = {"field": param, "description": message}
        details.append({"@type": f"{_TYPE}BadRequest", "fieldViolations": [violation]})
    if error.retry_after_s is not None:
        details.append({"@type": f"{_TYPE}RetryInfo", "retryDelay": f"{_delay_s(error.retry_after_s)}s"})
    out = {"code": error.status, "message": message, "status": status, "details": details}
    if error.attempts:
        out["attempts"] = list(error.attempts)
    return {**{k: v for k, v in own.items() if k not in out}, **out}


def _delay_s(wait_s: float) -> int:
    """Gemini CLI gives up at once if it is asked to wait for more than 300 s, but sleeps in silence through 300 s."""
    seconds = max(0, math.ceil(wait_s))
    return _LONGEST_SLEEP_S + 1 if seconds == _LONGEST_SLEEP_S else seconds


def _info(error: ProxyError, code: str) -> JsonObject:
    """The code, and those of the upstream."""
    info: JsonObject = {"@type": f"{_TYPE}ErrorInfo", "reason": code.upper(), "domain": "proxy-core"}
    upstream = {"upstreamType": error.type, "upstreamCode": error.upstream_code}
    metadata = {name: value for name, value in upstream.items() if value is not None}
    return {**info, "metadata": metadata} if metadata and not isinstance(error, UpstreamRejected) else info


def encode_error(error: ProxyError, request_id: str) -> EncodedError:
    body = json_bytes({"error": error_object(error)})
    return EncodedError(status=error.status, body=body, headers=retry_headers(error))


def stream_error(error: ProxyError, request_id: str) -> bytes:
    """Bare JSON, which is what Google's SDKs look for in a stream: in an event, they would overlook it. ``error`` must
    be the first key. No blank line follows: @google/genai overlooks what it reads together with an event before it,
    unless that is an event that does not end."""
    return json_bytes({"error": error_object(error)})


# --- In ----------------------------------------------------------------------------------


def error_of(value: object) -> JsonObject | None:
    """The error in a response: in an array, under ``error``, or as JSON in the message of another error."""
    for _ in range(_MAX_NESTED):
        if isinstance(value, list) and value:
            value = value[0]
        if not isinstance(value, dict) or not value.get("error"):
            return None
        error = value["error"]
        if not isinstance(error, Mapping):
            return {"message": str(error)}
        inner = error.get("message")
        nested = load_object(inner) if isinstance(inner, str) and inner.lstrip().startswith("{") else None
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
    """An error that came with status 200, or something that is no response at all."""
    if any(body.get(name) for name in _OF_RESPONSES):
        return None
    error = error_of(body)
    return UpstreamFailure(provider=provider, transport="unreadable") if error is None else failure_of(provider, error)


_OF_RESPONSES = tuple("candidates promptFeedback usageMetadata modelVersion responseId embedding embeddings".split())
