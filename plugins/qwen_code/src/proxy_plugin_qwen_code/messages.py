"""Messages in the form that this vendor requires. Pure; qwen-code.md sections 6.1 and 6.3."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Message = dict[str, Any]


def for_vendor(messages: Sequence[Any], *, one_system: bool) -> list[Any]:
    """``one_system``: merge all system messages into one at the front; otherwise merge only adjacent ones."""
    found = [_renamed(message) if isinstance(message, dict) else message for message in messages]
    return _media_out_of_tools(_one_system(found) if one_system else _merged(found))


def _renamed(message: Message) -> Message:
    out = dict(message)
    if out.get("role") == "developer":  # the vendor refuses "developer"
        out["role"] = "system"
    if out.get("content") is None and out.get("reasoning_content"):
        out["content"] = ""  # null content beside reasoning is refused (6.4)
    if isinstance(out.get("content"), list):
        out["content"] = [_part(part) for part in out["content"]]
    return out


def _part(part: Any) -> Any:
    """This vendor expects audio as a data URL, not as bare base64."""
    audio = part.get("input_audio") if isinstance(part, dict) else None
    if not isinstance(audio, dict) or not isinstance(audio.get("data"), str) or audio["data"].startswith("data:"):
        return part
    data = f"data:audio/{audio.get('format') or 'wav'};base64,{audio['data']}"
    return {**part, "input_audio": {**audio, "data": data}}


def _is(message: Any, role: str) -> bool:
    return isinstance(message, dict) and message.get("role") == role


def _one_system(messages: Sequence[Any]) -> list[Any]:
    system = [message for message in messages if _is(message, "system")]
    return [*_merged(system), *(message for message in messages if not _is(message, "system"))]


def _merged(messages: Sequence[Any]) -> list[Any]:
    """Merge adjacent system messages."""
    out: list[Any] = []
    for message in messages:
        if out and _is(message, "system") and _is(out[-1], "system"):
            out[-1] = {**out[-1], "content": _joined(out[-1].get("content"), message.get("content"))}
        else:
            out.append(message)
    return out


def _joined(first: Any, second: Any) -> Any:
    if isinstance(first, str) and isinstance(second, str):
        return f"{first}\n\n{second}"
    return [*parts_of(first), *parts_of(second)]


def parts_of(content: Any) -> list[Any]:
    """Content as a list of parts."""
    if isinstance(content, list):
        return content
    return [{"type": "text", "text": content}] if isinstance(content, str) and content else []


def _media_out_of_tools(messages: Sequence[Any]) -> list[Any]:
    """Tool results may hold only text: move anything else into a user message after the run of results."""
    out: list[Any] = []
    media: list[Any] = []
    for message in messages:
        if not _is(message, "tool"):
            out += [{"role": "user", "content": media}] if media else []
            media = []
            out.append(message)
            continue
        content = message.get("content")
        if isinstance(content, list):
            other = [part for part in content if isinstance(part, dict) and part.get("type") != "text"]
            if other:
                texts = [part for part in content if part not in other]
                message = {**message, "content": texts or "See the next message."}
                media += other
        out.append(message)
    return [*out, {"role": "user", "content": media}] if media else out
