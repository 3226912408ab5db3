"""Shared by Gemini's requests and responses: fields, usage, finish reasons.

Source: ai.google.dev API reference, ``GenerateContentResponse``; ``google-genai`` 3.x; gemini-cli 0.61.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any

from proxy_core import FinishReason, JsonObject, Usage
from proxy_core.dialects.common import count

NAME = "gemini"
#: The maker whose models can read a thought signature.
MAKER = "google"
#: Members of ``generationConfig`` that the common form has no field for.
CARRIED_CONFIG = (
    "responseModalities mediaResolution speechConfig imageConfig audioTimestamp routingConfig modelSelectionConfig"
).split()
#: Google's documented way to say that a call's signature is lost.
NO_SIGNATURE = "skip_thought_signature_validator"

#: Reasons for which a response is incomplete, whatever it says: agents would take it for a turn that is finished.
FAILURES = frozenset(
    {
        *("MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "TOO_MANY_TOOL_CALLS"),
        *("MISSING_THOUGHT_SIGNATURE", "MALFORMED_RESPONSE", "OTHER"),
    }
)
#: Why a candidate ended. With any other reason, the content is delivered; without content, it is an error.
REASONS: Mapping[str, FinishReason] = {
    "STOP": "stop",
    "MAX_TOKENS": "length",
    **dict.fromkeys(
        (
            *("SAFETY", "RECITATION", "LANGUAGE", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII"),
            *("IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION", "IMAGE_OTHER"),
        ),
        "content_filter",
    ),
}
WORDS: Mapping[FinishReason, str] = {
    "stop": "STOP",
    "length": "MAX_TOKENS",
    "tool_calls": "STOP",
    "content_filter": "SAFETY",
    "refusal": "SAFETY",
    "pause": "STOP",
    "error": "OTHER",
}

#: Texts in which Python's parser could have produced a NaN or an infinity.
_RISKY = re.compile(r"NaN|Infinity|\d[eE]\+?\d{3}|\d{300}")


# --- Fields ------------------------------------------------------------------------------


def field(source: Mapping[str, Any], name: str) -> Any:
    """A field in camel case, or in snake case, as some clients write it."""
    if name in source:
        return source[name]
    return source.get(snake(name))


@lru_cache(maxsize=256)
def snake(name: str) -> str:
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in name)


def parse_text(text: str) -> Any:
    """Parse JSON that can be passed on. Raises ``ValueError``, also for numbers that JSON cannot express."""
    try:
        value = json.loads(text)
        if _RISKY.search(text):
            json.dumps(value, allow_nan=False)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    return value


def created_of(value: object) -> int | None:
    """RFC 3339 to epoch seconds."""
    if not isinstance(value, str):
        return None
    try:
        return int(datetime.fromisoformat(value).timestamp())
    except (ValueError, OverflowError):
        return None


# --- Usage -------------------------------------------------------------------------------


def decode_usage(found: object) -> Usage | None:
    """``usageMetadata``: the prompt includes cached and tool-use tokens; the completion includes thoughts."""
    if not isinstance(found, dict) or not found:
        return None
    reasoning = count(found, "thoughtsTokenCount")
    return Usage(
        prompt=count(found, "promptTokenCount") + count(found, "toolUsePromptTokenCount"),
        completion=count(found, "candidatesTokenCount") + reasoning,
        cached=count(found, "cachedContentTokenCount"),
        reasoning=reasoning,
    )


def encode_usage(usage: Usage) -> JsonObject:
    out: JsonObject = {"promptTokenCount": usage.prompt, "candidatesTokenCount": usage.completion - usage.reasoning}
    if usage.cached:
        out["cachedContentTokenCount"] = usage.cached
    if usage.reasoning:
        out["thoughtsTokenCount"] = usage.reasoning
    return {**out, "totalTokenCount": usage.total}


def whole_usage(body: JsonObject) -> Usage | None:
    return decode_usage(body.get("usageMetadata"))
