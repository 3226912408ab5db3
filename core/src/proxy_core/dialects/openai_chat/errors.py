"""OpenAI's error bodies, which its other formats share: written for clients and read from upstreams."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

from proxy_core import sse
from proxy_core.dialects.common import json_bytes, retry_headers
from proxy_core.dialects.openai_chat.finish import only_fails, silent_failure
from proxy_core.dialects.shapes import with_names
from proxy_core.errors import ProxyError, UpstreamRejected
from proxy_core.interfaces import EncodedError
from proxy_core.messages import JsonObject, UpstreamFailure

_ERROR_TYPES = {
    "internal": "server_error",
    "upstream": "server_error",
    "overloaded": "server_error",
    "timeout": "server_error",
    "rate_limit": "requests",
    "unpaid": "insufficient_quota",
}
NO_NAMES: Mapping[str, str] = {}
#: The codes that SDKs and agents know, for those of the proxy that they do not.
_KNOWN_CODES = {"capacity_exhausted": "rate_limit_exceeded"}
#: Where servers put what went wrong, if not into an ``error`` object.
_MESSAGES = ("message", "msg", "detail", "error_msg", "error_message", "errorMessage", "errors")
_CODES = ("code", "error_code", "errorCode", "status_code", "status")


def error_object(error: ProxyError, names: Mapping[str, str] = NO_NAMES) -> JsonObject:
    """The ``error`` member of an OpenAI error body. ``names``: the format's own names of fields."""
    message, param = with_names(error, names)
    known: JsonObject = {
        "message": message,
        "type": error.type or _ERROR_TYPES.get(error.kind, "invalid_request_error"),
        "param": param,
        "code": _KNOWN_CODES.get(error.code or "", error.code),
    }
    if known["code"] != error.code:
        known["proxy_code"] = error.code
    if error.upstream_code is not None:
        known["upstream_code"] = error.upstream_code
    if error.attempts:
        known["attempts"] = list(error.attempts)
    return {**error.details, **known} if isinstance(error, UpstreamRejected) else known


def encode_error(error: ProxyError, request_id: str, names: Mapping[str, str] = NO_NAMES) -> EncodedError:
    body = json_bytes({"error": error_object(error, names)})
    return EncodedError(status=error.status, body=body, headers=retry_headers(error))


def stream_error(error: ProxyError, request_id: str, names: Mapping[str, str] = NO_NAMES) -> bytes:
    """An error after the headers were sent; openai-python raises an exception on a truthy ``error`` key."""
    return sse.encode(json_bytes({"error": error_object(error, names)}))


# --- Errors behind status 200 -------------------------------------------------------------


def error_of(body: JsonObject) -> JsonObject | None:
    """The error in a whole response or in an event, in any of the forms in use; ``None`` if there is none."""
    error, choices = body.get("error"), body.get("choices")
    if error and error is not True:
        return error if isinstance(error, dict) else {"message": str(error), "code": _first(body, _CODES)}
    if isinstance(choices, list) and choices:
        inner = (choice.get("error") for choice in choices if isinstance(choice, dict))
        return next((found for found in inner if isinstance(found, dict) and found), None)
    message = _first(body, _MESSAGES)
    flagged = error is True or body.get("object") == "error" or body.get("success") is False
    if message is None and not flagged:
        return None
    text = message if isinstance(message, str) or message is None else json_bytes(message).decode()
    return {"message": text, "type": body.get("type"), "code": _first(body, _CODES)}


def _first(body: JsonObject, names: Sequence[str]) -> Any:
    return next((body[name] for name in names if body.get(name)), None)


def status_of_error(error: object) -> int | None:
    """The HTTP status that an in-band error names (``code`` or ``status``, number or digits)."""
    if not isinstance(error, Mapping):
        return None
    for key in ("code", "status", "status_code", "http_code"):
        value = error.get(key)
        if isinstance(value, str) and value.isdigit():
            value = int(value)
        if isinstance(value, int) and not isinstance(value, bool) and 400 <= value <= 599:
            return value
    return None


def failure_of(provider: str, error: JsonObject) -> UpstreamFailure:
    body = json_bytes({"error": error})[:65536]
    return UpstreamFailure(provider=provider, status=status_of_error(error), body=body)


def whole_failure(provider: str, body: JsonObject) -> UpstreamFailure | None:
    """For a whole response: one without an answer is a failure, whatever its status."""
    choices = body.get("choices")
    if not answers(choices):
        return _unanswered(provider, body)
    failed = [choice for choice in choices if isinstance(choice, dict) and only_fails(choice)]
    return failure_of(provider, silent_failure(failed[0])) if len(failed) == len(choices) else None


def embeddings_failure(provider: str, body: JsonObject) -> UpstreamFailure | None:
    """The same for embeddings."""
    return None if answers(body.get("data")) else _unanswered(provider, body)


def answers(choices: object) -> TypeGuard[list[Any]]:
    """Whether a member of this list is an answer."""
    return isinstance(choices, list) and any(
        isinstance(choice, dict) and any(choice.get(name) is not None for name in _ANSWERS) for choice in choices
    )


#: Of chat, of chat if the server sends a whole response in the form of a chunk, of completions, and of embeddings.
_ANSWERS = ("message", "delta", "text", "embedding")


def _unanswered(provider: str, body: JsonObject) -> UpstreamFailure:
    error = error_of(body)
    return UpstreamFailure(provider=provider, transport="unreadable") if error is None else failure_of(provider, error)
