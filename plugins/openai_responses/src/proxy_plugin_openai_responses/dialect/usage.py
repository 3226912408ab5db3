"""``usage`` of a response: input includes cached tokens, output includes reasoning."""

from __future__ import annotations

from proxy_core import JsonObject, Usage
from proxy_core.dialects.common import count


def decode_usage(found: object) -> Usage | None:
    """``None`` if there is no object, or an empty one."""
    if not isinstance(found, dict) or not found:
        return None
    read, written = found.get("input_tokens_details"), found.get("output_tokens_details")
    return Usage(
        prompt=count(found, "input_tokens"),
        completion=count(found, "output_tokens"),
        cached=count(read, "cached_tokens"),
        cache_write=count(read, "cache_write_tokens"),
        reasoning=count(written, "reasoning_tokens"),
    )


def encode_usage(usage: Usage) -> JsonObject:
    """Both objects with details are always there, because strict clients require them."""
    return {
        "input_tokens": usage.prompt,
        "input_tokens_details": {"cached_tokens": usage.cached, "cache_write_tokens": usage.cache_write},
        "output_tokens": usage.completion,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning},
        "total_tokens": usage.total,
    }


def whole_usage(body: JsonObject) -> Usage | None:
    return decode_usage(body.get("usage"))
