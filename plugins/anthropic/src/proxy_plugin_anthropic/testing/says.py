"""Model responses for tests: steps for :meth:`FakeAnthropic.answers`."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any


def text(words: str, *, citations: list[Mapping[str, Any]] | None = None) -> dict[str, Any]:
    """A piece of text; consecutive pieces belong to the same block."""
    return {"text": words, "citations": citations or []}


def thinking(words: str, *, signature: str | None = None) -> dict[str, Any]:
    """A whole block, with a signature that the server will accept for exactly these words."""
    return {"block": {"type": "thinking", "thinking": words, "signature": signature or secrets.token_urlsafe(24)}}


def redacted(data: str | None = None) -> dict[str, Any]:
    return {"block": {"type": "redacted_thinking", "data": data or secrets.token_urlsafe(24)}}


def call(name: str, arguments: Mapping[str, Any] | None = None, *, id: str | None = None) -> dict[str, Any]:
    call_id = id or f"toolu_{secrets.token_hex(8)}"
    return {"block": {"type": "tool_use", "id": call_id, "name": name, "input": dict(arguments or {})}}


def block(**fields: Any) -> dict[str, Any]:
    """Any other content block, sent whole."""
    return {"block": fields}


def finish(stop_reason: str = "end_turn", *, stop_sequence: str | None = None, **usage: Any) -> dict[str, Any]:
    return {"finish": stop_reason, "stop_sequence": stop_sequence, "usage": usage}


def fails(type: str = "overloaded_error", message: str = "Overloaded") -> dict[str, Any]:
    """An error inside the stream, after what came before it."""
    return {"error": {"type": type, "message": message}}
