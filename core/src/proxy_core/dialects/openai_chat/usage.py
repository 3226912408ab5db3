"""``usage`` of OpenAI's responses, which its other formats share, in every form in which servers report it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from proxy_core.dialects.common import count, tokens
from proxy_core.messages import JsonObject, Usage

#: Where each number stands; the first that is there counts. A dot leads into an object.
_PROMPT = ("prompt_tokens", "input_tokens", "promptTokens", "inputTokens")
_COMPLETION = ("completion_tokens", "output_tokens", "completionTokens", "outputTokens")
_TOTAL = ("total_tokens", "totalTokens")
_CACHED = (
    "prompt_tokens_details.cached_tokens",
    "input_tokens_details.cached_tokens",
    "prompt_cache_hit_tokens",
    "cache_read_input_tokens",
    "cached_tokens",
)
_CACHE_WRITE = (
    "prompt_tokens_details.cache_write_tokens",
    "prompt_tokens_details.cache_creation_tokens",
    "cache_creation_input_tokens",
)
_REASONING = (
    "completion_tokens_details.reasoning_tokens",
    "output_tokens_details.reasoning_tokens",
    "reasoning_tokens",
)


def decode_usage(usage: object) -> Usage | None:
    """The counts of a ``usage`` object. ``None`` if it has none.

    Some servers leave something out: reasoning of the completion's tokens, cached ones of the prompt's, one of
    the two numbers. The total, or the parts, show it.
    """
    if not isinstance(usage, Mapping) or not usage:
        return None
    prompt, completion, total = _first(usage, _PROMPT), _first(usage, _COMPLETION), _first(usage, _TOTAL)
    cached, written, reasoning = _first(usage, _CACHED), _first(usage, _CACHE_WRITE), _first(usage, _REASONING)
    if cached + written > prompt:
        prompt += cached + written
    if reasoning > completion or (reasoning and prompt + completion + reasoning == total):
        completion += reasoning
    if not prompt:
        prompt = max(0, total - completion)
    elif not completion:
        completion = max(0, total - prompt)
    return Usage(
        prompt=prompt, completion=completion, cached=cached, cache_write=written, reasoning=reasoning, extra=usage
    )


def usage_in(body: JsonObject, before: Usage | None = None) -> Usage | None:
    """The usage of a response, or of one more chunk of it: in ``usage``, in a choice, or at the top level.

    One that counts nothing does not replace the one ``before`` it.
    """
    choices = body.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    inner = first.get("usage") if isinstance(first, Mapping) else None
    top = body if any(name in body for name in _PROMPT) else None
    found = decode_usage(body.get("usage")) or decode_usage(inner) or decode_usage(top)
    if found is None or (before is not None and not (found.prompt or found.completion)):
        return before
    return found


def _first(usage: Mapping[str, Any], places: Sequence[str]) -> int:
    """The first count that is not 0."""
    for place in places:
        outer, _, inner = place.partition(".")
        value = usage.get(outer)
        if value is not None and (found := count(value, inner) if inner else tokens(value)):
            return found
    return 0


def encode_usage(usage: Usage) -> JsonObject:
    """Computed from the counts; fields without a field here are kept."""
    prompt_details = {**_object(usage.extra.get("prompt_tokens_details")), "cached_tokens": usage.cached}
    if usage.cache_write:
        prompt_details["cache_write_tokens"] = usage.cache_write
    completion_details = {**_object(usage.extra.get("completion_tokens_details")), "reasoning_tokens": usage.reasoning}
    return {
        **usage.extra,
        "prompt_tokens": usage.prompt,
        "completion_tokens": usage.completion,
        "total_tokens": usage.total,
        "prompt_tokens_details": prompt_details,
        "completion_tokens_details": completion_details,
    }


def _object(value: object) -> dict[str, Any]:
    return dict(value) if isinstance(value, Mapping) else {}
