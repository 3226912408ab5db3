"""Thoughts in a client's own body that are unsigned or signed by another maker, and citations of another model's
sources: the API refuses a request with one.

A client has them if its earlier responses came from another provider, through the proxy.
"""

from __future__ import annotations

from collections.abc import Mapping
from operator import is_
from typing import Any

from proxy_core import JsonObject, is_sealed
from proxy_plugin_anthropic.dialect.citations import is_foreign_citation, without_foreign_citations


def without_foreign(body: JsonObject, *, unsigned: bool) -> JsonObject:
    """The body without them; the same object if it has none. ``unsigned``: also without unsigned thoughts."""
    messages = body.get("messages")
    if not isinstance(messages, list):
        return body
    kept, same = [], True
    for message in messages:
        found = _blocks(message)
        blocks = [without_foreign_citations(block) for block in found if not _foreign(block, unsigned)]
        if len(blocks) == len(found) and all(map(is_, blocks, found)):
            kept.append(message)
            continue
        same = False
        if blocks:
            kept.append({**message, "content": blocks})
    if same:
        return body
    out = {**body, "messages": kept}
    if _type(body.get("thinking")) == "enabled" and not _leads(kept):
        del out["thinking"]  # with a budget, the API insists on the thoughts that are missing now
    return out


def _foreign(block: Any, unsigned: bool) -> bool:
    match block:
        case {"type": "thinking"}:
            signature = block.get("signature")
            return is_sealed(signature) or (unsigned and not signature)
        case {"type": "redacted_thinking"}:
            return is_sealed(block.get("data"))
        case {"type": "text", "text": "", "citations": [_, *_] as citations}:
            return all(map(is_foreign_citation, citations))
        case _:
            return False


def _leads(messages: list[Any]) -> bool:
    """Whether a turn that waits for results begins with its thoughts; true if none waits."""
    said = [m for m in messages if isinstance(m, Mapping) and m.get("role") == "assistant"]
    if not said or not any(_type(block) == "tool_result" for block in _blocks(messages[-1])):
        return True
    return _type(next(iter(_blocks(said[-1])), None)) in ("thinking", "redacted_thinking")


def _type(block: Any) -> object:
    return block.get("type") if isinstance(block, Mapping) else None


def _blocks(message: Any) -> list[Any]:
    content = message.get("content") if isinstance(message, Mapping) else None
    return content if isinstance(content, list) else []
