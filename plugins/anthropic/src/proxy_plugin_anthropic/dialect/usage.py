"""Usage: Anthropic counts cached tokens apart from the input; here they are part of the prompt."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proxy_core import JsonObject, Usage
from proxy_core.dialects.common import count


def decode_usage(found: object) -> Usage | None:
    if not isinstance(found, Mapping) or not found:
        return None
    cached, written = count(found, "cache_read_input_tokens"), count(found, "cache_creation_input_tokens")
    return Usage(
        prompt=count(found, "input_tokens") + cached + written,
        completion=count(found, "output_tokens"),
        cached=cached,
        cache_write=written,
        reasoning=count(found.get("output_tokens_details"), "thinking_tokens"),
    )


def merged_usage(before: Mapping[str, Any], found: object) -> Mapping[str, Any]:
    """The usage so far. What the end of a stream says replaces what its start said, except for what it leaves out."""
    if not isinstance(found, Mapping):
        return before
    return {**before, **{name: value for name, value in found.items() if value is not None}}


def whole_usage(body: JsonObject) -> Usage | None:
    return decode_usage(body.get("usage"))
