"""Dialects with those of their functions watched that every request depends on: an error must never be lost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from proxy_core.dialects import openai_chat
from proxy_core.errors import PluginFailed, ProxyError
from proxy_core.interfaces import Dialect, EncodedError
from proxy_core.messages import ChatRequest
from proxy_core.plugins.watch import Watch, instance_of, watched

EncodeError = Callable[[ProxyError, str], EncodedError]
StreamError = Callable[[ProxyError, str], bytes]


def watched_dialect(given: Dialect, of: Callable[[str], Watch]) -> Dialect:
    """``of``: the watch of one of its functions."""
    changed: dict[str, Any] = {}
    if given.decode is not None:
        changed["decode"] = watched(given.decode, of("decode"), instance_of(ChatRequest))
    changed["encode_error"] = _encode_error(given.encode_error, of("encode_error"))
    changed["stream_error"] = _stream_error(given.stream_error, of("stream_error"))
    return replace(given, **changed)


def _encode_error(given: EncodeError, watch: Watch) -> EncodeError:
    encode = watched(given, watch, instance_of(EncodedError), ())

    def encoded(error: ProxyError, request_id: str) -> EncodedError:
        try:
            return encode(error, request_id)
        except PluginFailed as failed:
            return openai_chat.DIALECT.encode_error(_with(error, failed), request_id)

    encoded.__wrapped__ = given  # type: ignore[attr-defined]  # dialects with the same function have the same errors
    return encoded


def _stream_error(given: StreamError, watch: Watch) -> StreamError:
    encode = watched(given, watch, instance_of(bytes), ())

    def encoded(error: ProxyError, request_id: str) -> bytes:
        try:
            return encode(error, request_id)
        except PluginFailed as failed:
            return openai_chat.DIALECT.stream_error(_with(error, failed), request_id)

    return encoded


def _with(error: ProxyError, failed: PluginFailed) -> ProxyError:
    """The error that the client is meant to get, which now also names the plugin whose wording failed."""
    error.message = f"{error.message} {failed.message}"
    error.args = (error.message,)
    error.cause = f"{error.cause}; {failed.cause}" if error.cause else failed.cause
    return error
