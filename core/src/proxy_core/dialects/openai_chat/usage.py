"""``usage`` of OpenAI's responses, which its other formats share, in every form in which servers report it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from proxy_core.dialects.common import count, tokens
from proxy_core.messages import JsonObject, Usage


def _places(*paths: str) -> Sequence[tuple[str, str]]:
    """Members, each with the one to read in it or with an empty text. A dot leads into an object."""
    return [(outer, inner) for outer, _, inner in (path.partition(".") for path in paths)]


#: Where each number stands; the first that is there counts.
_PROMPT = _places("prompt_tokens", "input_tokens", "promptTokens", "inputTokens")
_COMPLETION = _places("completion_tokens", "output_tokens", "completionTokens", "outputTokens")
_TOTAL = _places("total_tokens", "totalTokens")
_CACHED = _places(
    "prompt_tokens_details.cached_tokens",
    "input_tokens_details.cached_tokens",
    "prompt_cache_hit_tokens",
    "cache_read_input_tokens",
    "cached_tokens",
)
_CACHE_WRITE = _places(
    "prompt_tokens_details.cache_write_tokens",
    "prompt_tokens_details.cache_creation_tokens",
    "cache_creation_input_tokens",
)
_REASONING = _places(
    "completion_tokens_details.reasoning_tokens",
    "output_tokens_details.reasoning_tokens",
    "reasoning_tokens",
)
_PROMPT_NAMES = frozenset(name for name, _ in _PROMPT)


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
    found = decode_usage(body.get("usage"))
    if found is None:
        choices = body.get("choices")
        first = choices[0] if isinstance(choices, list) and choices else None
        found = decode_usage(first.get("usage")) if isinstance(first, Mapping) else None
    if found is None and not _PROMPT_NAMES.isdisjoint(body):
        found = decode_usage(body)
    if found is None or (before is not None and not (found.prompt or found.completion)):
        return before
    return found


def _first(usage: Mapping[str, Any], places: Sequence[tuple[str, str]]) -> int:
    """The first count that is not 0."""
    for outer, inner in places:
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
