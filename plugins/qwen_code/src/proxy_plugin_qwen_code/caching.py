"""Marks for the vendor's prompt cache, at the places where its own client puts them. Pure; qwen-code.md section 6.2."""

from __future__ import annotations

from typing import Any

from proxy_core import JsonObject
from proxy_plugin_qwen_code.catalogue import matches
from proxy_plugin_qwen_code.messages import parts_of

MARK = {"type": "ephemeral"}


def mark_for_cache(body: JsonObject, model: str) -> None:
    """Mark the first system message, the last tool and the last message: three of the four marks that are allowed.

    A request that already has marks is left alone. ``glm-*`` without tools requires plain text and no marks.
    """
    if matches(model, ("glm-*",)) and not body.get("tools"):
        body["messages"] = [_plain(message) for message in body["messages"]]
        return
    if _has_marks(body):
        return
    messages = list(body["messages"])
    first = next((i for i, m in enumerate(messages) if isinstance(m, dict) and m.get("role") == "system"), None)
    for index in {first, len(messages) - 1 if messages else None} - {None}:
        messages[index] = _marked(messages[index], only_text=index == first)  # type: ignore[index]  # not None
    body["messages"] = messages
    if _tools(body):
        *others, last = body["tools"]
        body["tools"] = [*others, {**last, "cache_control": MARK} if isinstance(last, dict) else last]


def _has_marks(body: JsonObject) -> bool:
    parts = [part for m in body["messages"] if isinstance(m, dict) for part in (m, *parts_of(m.get("content")))]
    return any(isinstance(one, dict) and "cache_control" in one for one in (*parts, *_tools(body)))


def _tools(body: JsonObject) -> list[Any]:
    tools = body.get("tools")
    return tools if isinstance(tools, list) else []


def _marked(message: Any, *, only_text: bool) -> Any:
    parts = list(parts_of(message.get("content"))) if isinstance(message, dict) else []
    able = [i for i, p in enumerate(parts) if isinstance(p, dict) and (not only_text or p.get("type") == "text")]
    if not able:
        return message
    parts[able[-1]] = {**parts[able[-1]], "cache_control": MARK}
    return {**message, "content": parts}


def _plain(message: Any) -> Any:
    content = message.get("content") if isinstance(message, dict) else None
    if not isinstance(content, list) or not all(isinstance(p, dict) and p.get("type") == "text" for p in content):
        return message
    return {**message, "content": "\n\n".join(str(part.get("text", "")) for part in content)}
