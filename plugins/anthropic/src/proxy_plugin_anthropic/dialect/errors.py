"""Anthropic's error bodies for clients.

The words matter: agents act on some of them. Claude Code hides the message of every 404, compacts a conversation only
on "prompt is too long", and lowers ``max_tokens`` by the numbers after "exceed context limit".
"""

from __future__ import annotations

import re

from proxy_core import (
    BadRequest,
    ContextExceeded,
    EncodedError,
    JsonObject,
    ModelNotFound,
    ProxyError,
    UpstreamRejected,
    sse,
)
from proxy_core.dialects.common import json_bytes, retry_headers
from proxy_core.dialects.shapes import with_names

_TYPES = {
    "bad_request": "invalid_request_error",
    "too_large": "request_too_large",
    "unauthorized": "authentication_error",
    "forbidden": "permission_error",
    "refused": "permission_error",
    "unpaid": "billing_error",
    "not_found": "not_found_error",
    "rate_limit": "rate_limit_error",
    "internal": "api_error",
    "upstream": "api_error",
    "overloaded": "overloaded_error",
    "timeout": "timeout_error",
}
_BY_STATUS = {
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
}
#: The fields of requests that have another name here than where an error may come from.
FIELDS = {
    "max_completion_tokens": "max_tokens",
    "stop": "stop_sequences",
    "reasoning_effort": "output_config.effort",
    "response_format": "output_config.format",
    "parallel_tool_calls": "tool_choice.disable_parallel_tool_use",
    "user": "metadata.user_id",
}
_KNOWN = frozenset({*_TYPES.values(), *_BY_STATUS.values()})
_OVERLOADED = 529
_MAX_TOKENS_TOO_LARGE = "input length and `max_tokens` exceed context limit"
_OWN_WORDS = ("prompt is too long", _MAX_TOKENS_TOO_LARGE)
_NAMED = re.compile(r"'[^']+' must be (?P<wanted>.*)\.", re.DOTALL)


class ThreadNotFound(BadRequest):
    """A conversation of which only Anthropic has the beginning. At this code, its clients send the whole of it."""

    status, code, kind = 404, "thread_not_found", "not_found"
    client_can_mend = True

    def __init__(self) -> None:
        at = "thread.previous_message_id"
        super().__init__(f"{at}: this model does not have the thread: send the whole conversation.", param=at)


def error_object(error: ProxyError) -> JsonObject:
    """The ``error`` member. An upstream's own type and further members are kept."""
    known: JsonObject = {"type": _type(error), "message": _message(error)}
    if (param := with_names(error, FIELDS)[1]) is not None:
        known["param"] = param
    if error.code is not None:
        known["code"] = error.code
    if error.code == ThreadNotFound.code:
        known["details"] = {"error_code": error.code}
    if error.attempts:
        known["attempts"] = list(error.attempts)
    return {**error.details, **known} if isinstance(error, UpstreamRejected) else known


def _type(error: ProxyError) -> str:
    if error.type in _KNOWN:
        return str(error.type)
    if _status(error) == 503:  # nothing that is overloaded: waiting does not help
        return "api_error"
    if error.status == 409 or isinstance(error, UpstreamRejected):
        return _BY_STATUS.get(error.status, "invalid_request_error")
    return _TYPES.get(error.kind, "api_error")


def _status(error: ProxyError) -> int:
    if error.status == 503 and error.waiting_helps:
        return _OVERLOADED
    # Of a model, not of an address: at a 404, agents say that the model may not exist, and hide what to do about it.
    rejected = isinstance(error, UpstreamRejected) and error.code != ThreadNotFound.code
    unknown_model = error.code == ModelNotFound.code or rejected
    return 400 if unknown_model and error.status == 404 else error.status


def _message(error: ProxyError) -> str:
    if isinstance(error, BadRequest):
        return _in_its_words(error)
    return _exceeded(error) if isinstance(error, ContextExceeded) else error.message


def _exceeded(error: ContextExceeded) -> str:
    if error.message.startswith(_OWN_WORDS):
        return error.message
    if error.tokens is None:
        return f"prompt is too long: {error.message}"
    if error.reserved:
        return (
            f"{_MAX_TOKENS_TOO_LARGE}: {error.tokens} + {error.reserved} > {error.limit}, "
            "decrease input length or `max_tokens` and try again"
        )
    return f"prompt is too long: {error.tokens} tokens > {error.limit} maximum"


def _in_its_words(error: BadRequest) -> str:
    """What is wrong with a field, the way Anthropic says it."""
    message, param = with_names(error, FIELDS)
    if error.code == "missing_required_parameter":
        return f"{param}: Field required"
    if error.code == "invalid_type" and (found := _NAMED.fullmatch(message)):
        return f"{param}: Input should be {found['wanted']}"
    return message


def encode_error(error: ProxyError, request_id: str) -> EncodedError:
    body = json_bytes(_body(error, request_id))
    return EncodedError(status=_status(error), body=body, headers=retry_headers(error))


def stream_error(error: ProxyError, request_id: str) -> bytes:
    return sse.encode(json_bytes(_body(error, request_id)), "error")


def _body(error: ProxyError, request_id: str) -> JsonObject:
    return {"type": "error", "error": error_object(error), "request_id": request_id}
