"""Blocks of content of Anthropic's format to the common form."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from typing import Any

from proxy_core import (
    BadRequest,
    File,
    Image,
    InlineData,
    JsonObject,
    Link,
    Native,
    Opaque,
    Part,
    Reasoning,
    Source,
    Text,
    ToolCall,
    ToolResult,
    unseal,
)
from proxy_core.dialects.common import json_bytes, missing, wrong_type
from proxy_plugin_anthropic.dialect.common import MAKER, NAME, REDACTED

_IMAGES = ("image/jpeg", "image/png", "image/gif", "image/webp")
#: Calls that Anthropic's servers answered themselves; each has its result in the same message.
_SERVER_CALLS = frozenset({"server_tool_use", "mcp_tool_use"})

#: Blocks that are parts of a turn, not of another block.
_OF_TURNS = ("tool_use", "tool_result", "thinking", "redacted_thinking")


def decode_block(block: JsonObject, at: str) -> Iterable[Part]:
    """The parts of one block; none for an empty text. Raises ``BadRequest`` naming the field."""
    kind = block.get("type")
    if not isinstance(kind, str):
        raise missing(f"{at}.type")
    match kind:
        case "text":
            text = _str(block, "text", at)
            return [Text(text=text, citations=_list(block, "citations"), extra=_rest(block, "text", "citations"))] * (
                bool(text)
            )
        case "image":
            return [_image(block, at)]
        case "document":
            return _document(block, at)
        case "search_result":
            return [_search_result(block, at)]
        case "thinking":
            signature = block.get("signature")
            opaque = unseal(signature, MAKER) if isinstance(signature, str) and signature else None
            return [Reasoning(text=_str(block, "thinking", at), opaque=opaque)]
        case "redacted_thinking":
            return [Reasoning(opaque=_redacted(_str(block, "data", at)))]
        case "tool_use":
            return [_call(block, at)]
        case "tool_result":
            return [_result(block, at)]
        case _:
            return _server_tool(kind, block, at)


def _redacted(data: str) -> Opaque:
    opaque = unseal(data, MAKER)
    return Opaque(maker=MAKER, payload=REDACTED + data) if opaque.maker == MAKER else opaque


def _image(block: JsonObject, at: str) -> Part:
    source = _source(block, at)
    if source is None:
        return Native(dialect=NAME, payload=block)
    if isinstance(source, InlineData) and source.media_type not in _IMAGES:
        raise wrong_type(f"{at}.source.media_type", " or ".join(map(repr, _IMAGES)))
    return Image(source=source, extra=_rest(block, "source"))


def _source(block: JsonObject, at: str) -> Source | None:
    """The bytes or the address; ``None`` for a file that only Anthropic has, or a source that is not known."""
    source = block.get("source")
    if not isinstance(source, dict):
        raise missing(f"{at}.source") if source is None else wrong_type(f"{at}.source", "an object")
    match source.get("type"):
        case "base64":
            media_type, data = (_str(source, name, f"{at}.source") for name in ("media_type", "data"))
            return InlineData(media_type=media_type, data=data)
        case "url":
            return Link(url=_str(source, "url", f"{at}.source"))
        case str():
            return None
        case _:
            raise missing(f"{at}.source.type")


def _document(block: JsonObject, at: str) -> Iterable[Part]:
    title, context = (_optional(block, name, at) for name in ("title", "context"))
    source = block.get("source")
    match source:
        case {"type": "text"} if isinstance(source, dict):
            text = _str(source, "data", f"{at}.source")
            return [Text(text=_headed(title, context, text), extra=_rest(block, "source", "title", "context"))]
        case {"type": "content", "content": str(text)}:
            return [Text(text=_headed(title, context, text))]
        case {"type": "content", "content": list(blocks)}:
            head = _headed(title, context)
            return [*([Text(text=head)] if head else []), *_inner(blocks, f"{at}.source.content")]
        case {"type": "content"}:
            raise wrong_type(f"{at}.source.content", "a string or an array of blocks")
    found = _source(block, at)
    if found is None:
        return [Native(dialect=NAME, payload=block)]
    if isinstance(found, InlineData) and found.media_type.startswith("text/"):
        return [Text(text=_headed(title, context, _plain(found, at)))]
    rest = _rest(block, "source", "title", "context")
    return [File(source=found, filename=title, title=title, context=context, extra=rest)]


def _plain(source: InlineData, at: str) -> str:
    try:
        return base64.b64decode(source.data, validate=True).decode()
    except ValueError:
        raise wrong_type(f"{at}.source.data", "valid base64 of UTF-8 text") from None


def _headed(*texts: str | None) -> str:
    return "\n\n".join(text for text in texts if text)


def _search_result(block: JsonObject, at: str) -> Part:
    title, source = (_optional(block, name, at) for name in ("title", "source"))
    found = block.get("content")
    if not isinstance(found, list):
        raise wrong_type(f"{at}.content", "an array of blocks")
    content = _inner(found, f"{at}.content")
    texts = [part.text for part in content if isinstance(part, Text)]
    return Text(text=_headed(title, source, *texts), extra=_rest(block, "title", "source", "content", "citations"))


def _call(block: JsonObject, at: str) -> ToolCall:
    arguments = block.get("input")
    if not isinstance(arguments, dict | None):
        raise wrong_type(f"{at}.input", "an object")
    return ToolCall(
        id=_str(block, "id", at),
        name=_str(block, "name", at),
        arguments=_compact(arguments or {}, f"{at}.input"),
        extra=_rest(block, "id", "name", "input"),
    )


def _compact(value: object, at: str) -> str:
    try:
        return json_bytes(value).decode()
    except ValueError:
        raise BadRequest(f"{at}: contains a number that is not finite.", param=at) from None


def _result(block: JsonObject, at: str) -> ToolResult:
    content = block.get("content")
    if isinstance(content, str):
        content = [{"type": "text", "text": content}]
    if not isinstance(content, list | None):
        raise wrong_type(f"{at}.content", "a string or an array of blocks")
    return ToolResult(
        call_id=_str(block, "tool_use_id", at),
        parts=_inner(content or [], f"{at}.content"),
        is_error=block.get("is_error") is True,
        extra=_rest(block, "tool_use_id", "content", "is_error"),
    )


def _inner(blocks: Iterable[object], at: str) -> list[Part]:
    """The blocks inside another one."""
    parts: list[Part] = []
    for index, block in enumerate(blocks):
        if not isinstance(block, dict):
            raise wrong_type(f"{at}.{index}", "an object")
        if block.get("type") in _OF_TURNS:
            raise wrong_type(f"{at}.{index}.type", "the type of a block that can be inside another one")
        parts += decode_block(block, f"{at}.{index}")
    return parts


def _server_tool(kind: str, block: JsonObject, at: str) -> Iterable[Part]:
    """What Anthropic's own tools did, as a note: other models cannot read their blocks, but should know of it."""
    if kind in _SERVER_CALLS:
        return [Text(text=f"[{block.get('name')}: {_compact(block.get('input'), at)}]")]
    if kind.endswith("_tool_result"):
        found = "\n".join(dict.fromkeys(_texts(block.get("content"))))
        return [Text(text=f"[{kind.removesuffix('_tool_result')}: {found or 'no result'}]")]
    if kind == "compaction" and isinstance(summary := block.get("content"), str):
        return [Text(text=summary)] if summary else []
    if kind == "tool_reference":
        return [Text(text=f"[tool {block.get('tool_name')}]")]
    return [Native(dialect=NAME, payload=block)]


#: The members of results that a reader understands.
_READABLE = ("title", "url", "text", "stdout", "stderr", "error_code", "data")


def _texts(value: object) -> Iterable[str]:
    stack = [value]
    while stack:
        match stack.pop():
            case list(items):
                stack += reversed(items)
            case dict(members):
                yield from (text for name in _READABLE if isinstance(text := members.get(name), str) and text)
                stack += [inner for inner in reversed(members.values()) if isinstance(inner, list | dict)]
            case str(text):
                yield text


def _str(source: Mapping[str, Any], name: str, at: str) -> str:
    value = source.get(name)
    if value is None:
        raise missing(f"{at}.{name}")
    if not isinstance(value, str):
        raise wrong_type(f"{at}.{name}", "a valid string")
    return value


def _optional(source: Mapping[str, Any], name: str, at: str) -> str | None:
    return _str(source, name, at) if source.get(name) is not None else None


def _list(source: Mapping[str, Any], name: str) -> list[Any]:
    value = source.get(name)
    return value if isinstance(value, list) else []


def _rest(block: JsonObject, *known: str) -> JsonObject:
    return {name: value for name, value in block.items() if name != "type" and name not in known}
