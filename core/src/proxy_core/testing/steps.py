"""What a scripted upstream sends, step by step: bytes, pauses, a cut."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

#: The steps of a script's body; if one is an event, the script waits for it.
Step = bytes | float | str | asyncio.Event


def pause(seconds: float) -> Step:
    """Send nothing for a while."""
    return seconds


def cut() -> Step:
    """Drop the connection in the middle of the body."""
    return "cut"


def stall() -> Step:
    """Send nothing until the other side disconnects."""
    return "stall"


def chunk(
    delta: Mapping[str, Any] | None = None,
    *,
    finish: str | None = None,
    usage: Mapping[str, Any] | None = None,
    **extra: Any,
) -> bytes:
    """One ``chat.completion.chunk`` event; with neither delta nor finish it has no choices."""
    choices = [] if delta is None and finish is None else [{"index": 0, "delta": delta or {}, "finish_reason": finish}]
    body = {
        "id": "chatcmpl-up",
        "object": "chat.completion.chunk",
        "created": 1_700_000_000,
        "model": "small",
        "choices": choices,
        **({"usage": usage} if usage else {}),
        **extra,
    }
    return b"data: " + json.dumps(body).encode() + b"\n\n"
