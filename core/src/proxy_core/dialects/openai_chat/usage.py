"""``usage`` of OpenAI's responses, which its other formats share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proxy_core.dialects.common import count
from proxy_core.messages import JsonObject, Usage


def decode_usage(usage: object) -> Usage | None:
    """``usage`` of a response. Some vendors report cache hits as ``prompt_cache_hit_tokens``."""
    if not isinstance(usage, Mapping) or not usage:
        return None
    prompt_details, completion_details = usage.get("prompt_tokens_details"), usage.get("completion_tokens_details")
    return Usage(
        prompt=count(usage, "prompt_tokens"),
        completion=count(usage, "completion_tokens"),
        cached=count(prompt_details, "cached_tokens") or count(usage, "prompt_cache_hit_tokens"),
        cache_write=count(prompt_details, "cache_write_tokens"),
        reasoning=count(completion_details, "reasoning_tokens"),
        extra=usage,
    )


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


def whole_usage(body: JsonObject) -> Usage | None:
    return decode_usage(body.get("usage"))
