"""Turn litellm's exceptions into responses of the upstream: a status, headers and a body, for the failure policy."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from proxy_core import ProviderResponse, TransportFailed

#: Headers that describe a body that no longer exists.
_BODY_HEADERS = frozenset({"content-length", "content-encoding", "transfer-encoding", "content-type"})

#: Exceptions of httpx and aiohttp for a connection that was never established.
_NOT_CONNECTED = frozenset({"ConnectError", "ConnectTimeout", "ClientConnectorError", "ClientConnectorDNSError"})


def response(error: Exception) -> ProviderResponse:
    """The upstream's response that ``error`` stands for.

    Raises ``TimeoutError`` or ``TransportFailed`` if there was none, and ``error`` itself if it is not litellm's.
    """
    kinds = {kind.__name__ for kind in type(error).__mro__}
    if "Timeout" in kinds or "APITimeoutError" in kinds:
        raise TimeoutError from error
    if _NOT_CONNECTED & {type(cause).__name__ for cause in _causes(error)}:  # litellm reports it as a 500
        raise TransportFailed("litellm could not connect", sent=False) from error
    if "APIConnectionError" in kinds:
        raise TransportFailed("litellm got no response", sent=True) from error
    status = _status(error)
    if status is None:
        raise error
    return ProviderResponse(status=status, headers=_headers(error), body=_body(error, status))


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def event(error: Exception) -> bytes:
    """The same inside a stream that has begun, in the form that OpenAI's servers use."""
    said = json.loads(_body(error, _status(error) or 502))
    return b"data: " + json.dumps(said if "error" in said else {"error": said}).encode() + b"\n\n"


def _status(error: Exception) -> int | None:
    status = getattr(error, "status_code", None)
    try:
        number = int(status) if status is not None else None
    except (TypeError, ValueError):
        return None
    return number if number is not None and 400 <= number <= 599 else None


def _headers(error: Exception) -> dict[str, str]:
    """The upstream's headers, wherever this kind of exception keeps them."""
    found: dict[str, str] = {"content-type": "application/json"}
    response = getattr(error, "response", None)
    for headers in (getattr(response, "headers", None), getattr(error, "litellm_response_headers", None)):
        if isinstance(headers, Mapping):
            for name, value in headers.items():
                name = str(name).lower().removeprefix("llm_provider-")
                if name not in _BODY_HEADERS:
                    found[name] = str(value)
    return found


def _body(error: Exception, status: int) -> bytes:
    """The upstream's own error object, if litellm's message contains it (it may say when a limit resets); otherwise
    the message."""
    message = str(getattr(error, "message", None) or error).partition("\nTraceback (most recent call last)")[0]
    said = _object_in(message)
    if said is not None and isinstance(said.get("error"), dict):
        return json.dumps(said).encode()
    if said is not None and isinstance(said.get("message"), str):
        return json.dumps({"error": {**said, "code": said.get("code", status)}}).encode()
    return json.dumps({"error": {"message": message, "type": type(error).__name__, "code": status}}).encode()


def _object_in(text: str) -> dict[str, Any] | None:
    """The first JSON object in ``text``."""
    start = text.find("{")
    if start < 0:
        return None
    try:
        value, _ = json.JSONDecoder().raw_decode(text, start)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
