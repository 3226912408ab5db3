"""Reasons for the end of a response. A reason that is not listed does not end it: ``[DONE]`` must follow."""

from __future__ import annotations

from collections.abc import Mapping

from proxy_core.messages import FinishReason, JsonObject

#: OpenAI's words, and those that compatible servers use instead, in lower case.
REASONS: Mapping[str, FinishReason] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
    "error": "error",
    "stop_sequence": "stop",
    "end_turn": "stop",
    "eos": "stop",
    "eos_token": "stop",
    "complete": "stop",
    "completed": "stop",
    "max_tokens": "length",
    "max_output_tokens": "length",
    "model_length": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "tool_call": "tool_calls",
    "safety": "content_filter",
    "sensitive": "content_filter",
    "recitation": "content_filter",
    "refusal": "refusal",
    "network_error": "error",
    "insufficient_system_resource": "error",
}


def reason_of(word: object) -> FinishReason | None:
    """The reason that this ``finish_reason`` names, if it ends the response."""
    return REASONS.get(word.lower()) if isinstance(word, str) else None


#: Members of a delta or a message that say nothing.
_EMPTY = frozenset({"role", "name"})


def says(choice: JsonObject) -> bool:
    """Whether a choice says something: a role or an empty text does not."""
    delta = choice.get("delta") or choice.get("message")
    spoken = isinstance(delta, dict) and any(value for name, value in delta.items() if name not in _EMPTY)
    return spoken or bool(choice.get("text"))


def only_fails(choice: JsonObject) -> bool:
    """Whether a choice ends because the upstream failed, and says nothing."""
    return reason_of(choice.get("finish_reason")) == "error" and not says(choice)


def silent_failure(choice: JsonObject) -> JsonObject:
    """The error of a choice that only fails."""
    return {"message": f"it ended its response with the reason {str(choice.get('finish_reason'))[:48]!r}."}
