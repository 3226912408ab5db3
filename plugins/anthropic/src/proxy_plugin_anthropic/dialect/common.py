"""Shared by requests and responses of Anthropic's format: names, usage, stop reasons."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proxy_core import FinishReason, JsonObject, Usage

NAME = "anthropic_messages"
#: The maker whose models can read a thinking block's signature.
MAKER = "anthropic"
#: What the opaque bytes of a redacted thinking block begin with, as opposed to a signature's.
REDACTED = "redacted_thinking:"

#: Why a response ended: ``stop_reason`` to the common form.
REASONS: Mapping[str, FinishReason] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "pause_turn": "pause",
    "refusal": "content_filter",
}
WORDS: Mapping[FinishReason, str] = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "refusal",
    "refusal": "refusal",
    "pause": "pause_turn",
}
#: The statuses of errors inside a stream, where there is only the type.
ERROR_STATUSES: Mapping[str, int] = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}


def continues_thread(body: Mapping[str, Any]) -> bool:
    """Whether a request has only what is new in a conversation, which Anthropic keeps."""
    thread = body.get("thread")
    return isinstance(thread, Mapping) and thread.get("type") != "create"


def encode_usage(usage: Usage) -> JsonObject:
    """``input_tokens`` excludes what was read from caches and written to them; ``output_tokens`` includes thinking."""
    out: JsonObject = {
        "input_tokens": max(0, usage.prompt - usage.cached - usage.cache_write),
        "cache_creation_input_tokens": usage.cache_write,
        "cache_read_input_tokens": usage.cached,
        "output_tokens": usage.completion,
    }
    if usage.reasoning:
        out["output_tokens_details"] = {"thinking_tokens": usage.reasoning}
    return out
