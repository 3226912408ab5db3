"""Gemini's ``contents`` to messages."""

from __future__ import annotations

import base64
from collections import deque
from collections.abc import Iterator, Mapping
from hashlib import sha256
from typing import Any

from proxy_core import (
    Audio,
    BadRequest,
    File,
    Image,
    InlineData,
    JsonObject,
    Link,
    Message,
    Native,
    Opaque,
    Part,
    Reasoning,
    Text,
    ToolCall,
    ToolResult,
)
from proxy_core.dialects.common import json_bytes, missing, wrong_type
from proxy_plugin_gemini.dialect.common import MAKER, NAME, field
from proxy_plugin_gemini.dialect.extras import hosted_note
from proxy_plugin_gemini.dialect.sealed import says_nothing, unseal_thought

_ROLES = {"user": "user", "model": "assistant", "function": "user", "system": "system"}
_EMPTY = Text(text="")
#: Beside the text of a file, which is no continuation of the text before it, nor begun by it.
_BREAK = Text(text="\n\n")
_FORMATS = {"mpeg": "mp3", "x-wav": "wav", "wave": "wav"}
#: Keys that hold a function's result, if it is the only member.
_ANSWERS = ("output", "result", "content")


def decode_system(found: object) -> list[Message]:
    """``systemInstruction``: a content with any role, or a string, as some clients write it."""
    if found is None:
        return []
    if isinstance(found, str):
        return [Message(role="system", parts=[Text(text=found)])] if found else []
    parts = found.get("parts") if isinstance(found, dict) else None
    if isinstance(parts, dict):
        parts = [parts]
    if not isinstance(parts, list):
        raise wrong_type("systemInstruction", "an object with parts")
    texts: list[Part] = []
    for index, part in enumerate(parts):
        if not isinstance(part, dict) or not isinstance(part.get("text"), str):
            raise wrong_type(f"systemInstruction.parts[{index}]", "a text part")
        texts.append(Text(text=part["text"]))
    return [Message(role="system", parts=texts)] if texts else []


def decode_contents(contents: list[Any]) -> list[Message]:
    reader = _Reader()
    return [message for index, content in enumerate(contents) for message in reader.content(content, index)]


class _Reader:
    """Remembers the calls: a result without an id belongs to the earliest open call of the same name."""

    def __init__(self) -> None:
        self._calls = 0
        self._open: dict[str, deque[str]] = {}

    def content(self, content: JsonObject, index: int) -> Iterator[Message]:
        """One message, or two: the results of functions, then the user's other parts."""
        at = f"contents[{index}]"
        role = _ROLES.get(str(content.get("role") or "user"))
        if role is None:
            raise BadRequest(f"'{at}.role' {content.get('role')!r} is not known.", param=f"{at}.role")
        found = content.get("parts")
        parts: list[Part] = []
        for number, part in enumerate(found if isinstance(found, list) else ()):
            where = f"{at}.parts[{number}]"
            if not isinstance(part, dict):
                raise wrong_type(where, "an object")
            thought = (
                unseal_thought(signature) if isinstance(signature := field(part, "thoughtSignature"), str) else None
            )
            if thought is None:
                read = self._part(part, where)
                is_file = isinstance(read, Text) and (field(part, "inlineData") or field(part, "fileData"))
                parts += [_BREAK, read, _BREAK] if is_file else [read]
                continue
            while parts and isinstance(before := parts[-1], Reasoning) and before.opaque is None:
                parts.pop()  # the same thought, as far as it was shown
            parts += [thought] if thought.opaque is not None else []
            if not (says_nothing(part) or (part.get("thought") is True and isinstance(part.get("text"), str))):
                parts.append(self._part({**part, "thoughtSignature": None}, where))
        results = [p for p in parts if isinstance(p, ToolResult)]
        others: list[Part] = [p for p in parts if not isinstance(p, ToolResult)]
        if results:
            yield Message(role="tool", parts=results)
        if others:
            yield Message(
                role="assistant" if role == "assistant" else "system" if role == "system" else "user",
                parts=_joined(others),
            )

    def _part(self, part: JsonObject, at: str) -> Part:
        signature = field(part, "thoughtSignature")
        opaque = Opaque(maker=MAKER, payload=signature) if isinstance(signature, str) and signature else None
        text = "" if says_nothing(part) else part.get("text")
        if isinstance(text, str):
            return (
                Reasoning(text=text, opaque=opaque) if part.get("thought") is True else Text(text=text, opaque=opaque)
            )
        call, response = field(part, "functionCall"), field(part, "functionResponse")
        if isinstance(call, dict):
            return self._call(call, opaque, at)
        if isinstance(response, dict):
            return self._result(response, at)
        note = hosted_note(part)
        return _media(part, at) if note is None else Text(text=note, opaque=opaque)

    def _call(self, call: JsonObject, opaque: Opaque | None, at: str) -> ToolCall:
        name, args = call.get("name"), call.get("args")
        if not isinstance(name, str) or not name:
            raise missing(f"{at}.functionCall.name")
        if not isinstance(args, dict | None):
            raise wrong_type(f"{at}.functionCall.args", "an object")
        call_id = call.get("id")
        if not isinstance(call_id, str) or not call_id:
            # Derived from the history, so that every request with the same history gets the same ids.
            digest = sha256(f"{name}\0{self._calls}".encode("utf-8", "surrogatepass")).hexdigest()
            call_id = f"call_{digest[:12]}"
        self._calls += 1
        self._open.setdefault(name, deque()).append(call_id)
        return ToolCall(id=call_id, name=name, arguments=_compact(args or {}, at), opaque=opaque)

    def _result(self, response: JsonObject, at: str) -> ToolResult:
        name = response.get("name")
        if not isinstance(name, str) or not name:
            raise missing(f"{at}.functionResponse.name")
        open_calls = self._open.get(name)
        call_id = response.get("id")
        if isinstance(call_id, str) and call_id:
            if open_calls and call_id in open_calls:
                open_calls.remove(call_id)
        else:
            call_id = open_calls.popleft() if open_calls else name
        body = response.get("response")
        if not isinstance(body, dict | None):
            raise wrong_type(f"{at}.functionResponse.response", "an object")
        parts: list[Part] = [Text(text=_answer(body or {}, at))]
        media = response.get("parts")
        for number, part in enumerate(media if isinstance(media, list) else ()):
            parts.append(_media(part, f"{at}.functionResponse.parts[{number}]"))
        return ToolResult(call_id=call_id, name=name, parts=parts, is_error=bool(body) and set(body or ()) == {"error"})


def _compact(value: Mapping[str, Any], at: str) -> str:
    try:
        return json_bytes(value).decode()
    except ValueError:
        raise BadRequest(f"'{at}' contains a number that is not finite.", param=at) from None


def _answer(body: Mapping[str, Any], at: str) -> str:
    if len(body) == 1:
        ((key, value),) = body.items()
        if isinstance(value, str) and key in (*_ANSWERS, "error"):
            return value
    return _compact(body, at)


def _media(part: JsonObject, at: str) -> Part:
    inline, linked = field(part, "inlineData"), field(part, "fileData")
    if isinstance(inline, dict):
        media_type, data = field(inline, "mimeType"), inline.get("data")
        if not isinstance(media_type, str) or not isinstance(data, str):
            raise wrong_type(f"{at}.inlineData", "an object with mimeType and data")
        data = data.replace("-", "+").replace("_", "/")  # google-genai writes base64 in its URL-safe form
        if (text := _inline_text(media_type, data)) is not None:
            return Text(text=text)
        source = InlineData(media_type=media_type, data=data)
        kind, _, sub = media_type.partition(";")[0].lower().partition("/")
        if kind == "image":
            return Image(source=source)
        if kind == "audio":
            return Audio(source=source, format=_FORMATS.get(sub, sub))
        return File(source=source, filename=field(inline, "displayName") or None)
    if isinstance(linked, dict):
        uri, kind = field(linked, "fileUri"), str(field(linked, "mimeType") or "")
        if not isinstance(uri, str):
            raise missing(f"{at}.fileData.fileUri")
        if uri[:5].lower() == "data:":
            head, _, data = uri[5:].partition(",")
            media_type = head.partition(";")[0] or kind
            return _media({"inlineData": {"mimeType": media_type, "data": data}}, at)
        if kind.startswith("image/") and uri.startswith(("http://", "https://")) and "googleapis.com/" not in uri:
            return Image(source=Link(url=uri))
        return Native(dialect=NAME, payload={**part, "type": "fileData"})
    raise BadRequest(f"'{at}' contains no known field: {', '.join(sorted(part))[:100]}.", param=at)


def _inline_text(media_type: str, data: str) -> str | None:
    """The text of an inline text file, which chat upstreams know only as text."""
    if not media_type.lower().startswith("text/"):
        return None
    try:
        return base64.b64decode(data, validate=True).decode()
    except ValueError:
        return None


def _joined(parts: list[Part]) -> list[Part]:
    """Join consecutive texts, because clients send back texts in the pieces in which they were streamed; and leave out
    a text that says nothing beside something else."""
    out: list[Part] = []
    gap = ""
    for part in parts:
        before = out[-1] if out else None
        if part is _BREAK:
            gap = _BREAK.text
            continue
        if isinstance(part, Text) and isinstance(before, Text) and before.opaque is None:
            out[-1] = Text(
                text=before.text + (gap if before.text and part.text else "") + part.text, opaque=part.opaque
            )
        elif isinstance(part, Reasoning) and isinstance(before, Reasoning) and before.opaque is None:
            out[-1] = Reasoning(text=before.text + part.text, opaque=part.opaque)
        else:
            out.append(part)
        gap = ""
    return [part for part in out if part != _EMPTY] or [_EMPTY]
