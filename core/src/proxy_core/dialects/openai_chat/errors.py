"""OpenAI's error bodies, which its other formats share: written for clients and read from upstreams."""

from __future__ import annotations

from collections.abc import Mapping

from proxy_core import sse
from proxy_core.dialects.common import json_bytes
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


def error_object(error: ProxyError, names: Mapping[str, str] = NO_NAMES) -> JsonObject:
    """The ``error`` member of an OpenAI error body. ``names``: the format's own names of fields."""
    known: JsonObject = {
        "message": error.message,
        "type": error.type or _ERROR_TYPES.get(error.kind, "invalid_request_error"),
        "param": names.get(error.param or "", error.param),
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
    return EncodedError(status=error.status, body=json_bytes({"error": error_object(error, names)}))


def stream_error(error: ProxyError, request_id: str, names: Mapping[str, str] = NO_NAMES) -> bytes:
    """An error after the headers were sent; openai-python raises an exception on a truthy ``error`` key."""
    return sse.encode(json_bytes({"error": error_object(error, names)}))


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


def whole_failure(provider: str, body: JsonObject) -> UpstreamFailure | None:
    """An error behind status 200: a truthy ``error`` and nothing of a response."""
    error = body.get("error")
    if not error or any(key in body for key in ("choices", "data", "object")):
        return None
    return failure_of(provider, body)


def failure_of(provider: str, body: JsonObject) -> UpstreamFailure:
    return UpstreamFailure(provider=provider, status=status_of_error(body.get("error")), body=json_bytes(body)[:65536])
