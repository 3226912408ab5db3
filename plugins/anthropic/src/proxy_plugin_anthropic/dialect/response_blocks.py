"""The content blocks of a response: each converts its part of the stream to events."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from proxy_core import (
    CallDelta,
    CallEnd,
    CallStart,
    Carried,
    ChatEvent,
    Citation,
    JsonObject,
    Opaque,
    ReasoningDelta,
    TextDelta,
    UpstreamBroken,
)
from proxy_core.dialects.common import json_bytes, load_object
from proxy_plugin_anthropic.dialect.common import NAME, REDACTED
from proxy_plugin_anthropic.dialect.names import NameTable
from proxy_plugin_anthropic.dialect.thoughts import as_details

_OPENAI = "openai_chat"


class Block(Protocol):
    """``open`` says what the block begins with, which in a whole message is all of it."""

    def open(self) -> Iterator[ChatEvent]: ...
    def delta(self, delta: JsonObject) -> Iterator[ChatEvent]: ...
    def close(self) -> Iterator[ChatEvent]: ...


class Content:
    """What the blocks of one response share: the names of tools, who can read its signatures, and counts."""

    def __init__(self, names: NameTable, maker: str) -> None:
        self.names, self.maker = names, maker
        self.calls = self.thoughts = self.text_length = 0
        #: By a call that is none for the client.
        self.answered = False


def block_of(found: JsonObject, content: Content) -> Block:
    match found.get("type"):
        case "text":
            return _Text(found, content)
        case "thinking":
            return _Thinking(found, content)
        case "redacted_thinking":
            return _Redacted(found, content)
        case "tool_use" if content.names.to_client(str(found.get("name"))).answers:
            return _Answer(found, content)
        case "tool_use":
            return _Call(found, content)
        case _:
            return _Other(found)


class _Text:
    """Its citations apply to the whole block. OpenAI's clients get them with the span of the block's text."""

    def __init__(self, found: JsonObject, content: Content) -> None:
        self._found, self._content = found, content
        self._begin = content.text_length
        self._pages: list[JsonObject] = []

    def open(self) -> Iterator[ChatEvent]:
        for citation in _list(self._found.get("citations")):
            yield from self._cite(citation)
        yield from self._say(self._found.get("text"))

    def delta(self, delta: JsonObject) -> Iterator[ChatEvent]:
        if "text" in delta:
            yield from self._say(delta["text"])
        elif "citation" in delta:
            yield from self._cite(delta["citation"])

    def close(self) -> Iterator[ChatEvent]:
        for page in self._pages:
            span = {"start_index": self._begin, "end_index": self._content.text_length}
            yield Citation(dialect=_OPENAI, payload={"type": "url_citation", "url_citation": {**page, **span}})

    def _say(self, text: object) -> Iterator[ChatEvent]:
        if isinstance(text, str) and text:
            self._content.text_length += len(text)
            yield TextDelta(text=text)

    def _cite(self, citation: object) -> Iterator[ChatEvent]:
        if not isinstance(citation, dict):
            return
        if isinstance(url := citation.get("url"), str):
            self._pages.append({"url": url, "title": str(citation.get("title") or "")})
        yield Citation(dialect=NAME, payload=citation)


class _Thinking:
    """Its signature is valid for exactly its text, so OpenAI's clients also get the two together."""

    def __init__(self, found: JsonObject, content: Content) -> None:
        self._found, self._content = found, content
        self._said: list[str] = []
        self._signature: list[str] = []

    def open(self) -> Iterator[ChatEvent]:
        yield from self.delta(self._found)

    def delta(self, delta: JsonObject) -> Iterator[ChatEvent]:
        text, signature = delta.get("thinking"), delta.get("signature")
        if isinstance(text, str) and text:
            self._said.append(text)
            yield ReasoningDelta(text=text)
        if isinstance(signature, str) and signature:
            self._signature.append(signature)

    def close(self) -> Iterator[ChatEvent]:
        signature = "".join(self._signature)
        if not signature:
            return
        opaque = Opaque(maker=self._content.maker, payload=signature)
        yield ReasoningDelta(text="", opaque=opaque)
        yield _details(as_details("".join(self._said), opaque, self._content.thoughts))
        self._content.thoughts += 1


class _Redacted:
    def __init__(self, found: JsonObject, content: Content) -> None:
        self._found, self._content = found, content

    def open(self) -> Iterator[ChatEvent]:
        if isinstance(data := self._found.get("data"), str):
            opaque = Opaque(maker=self._content.maker, payload=REDACTED + data)
            yield ReasoningDelta(text="", opaque=opaque)
            yield _details(as_details("", opaque, self._content.thoughts))
            self._content.thoughts += 1

    def delta(self, delta: JsonObject) -> Iterator[ChatEvent]:
        yield from ()

    def close(self) -> Iterator[ChatEvent]:
        yield from ()


class _Call:
    """The input of a custom tool is passed on when it is complete, because it is wrapped in an object."""

    def __init__(self, found: JsonObject, content: Content) -> None:
        self._found = found
        self._number, content.calls = content.calls, content.calls + 1
        name = found.get("name")
        if not isinstance(name, str) or not name:
            raise UpstreamBroken("The upstream began a tool call without a name.")
        self._known = content.names.to_client(name)
        self._wrapped = self._known.kind == "custom"
        self._pieces: list[str] = []

    def open(self) -> Iterator[ChatEvent]:
        given = self._found.get("id")
        yield CallStart(
            call=self._number,
            id=given if isinstance(given, str) and given else f"call_{uuid.uuid4().hex[:24]}",
            name=self._known.name,
            kind=self._known.kind,
            namespace=self._known.namespace,
        )

    def delta(self, delta: JsonObject) -> Iterator[ChatEvent]:
        piece = delta.get("partial_json")
        if isinstance(piece, str) and piece:
            self._pieces.append(piece)
            if not self._wrapped:
                yield CallDelta(call=self._number, arguments=piece)

    def close(self) -> Iterator[ChatEvent]:
        text = "".join(self._pieces)
        if not text:
            given = self._found.get("input")
            text = json_bytes(given).decode() if isinstance(given, dict) and given else ""
        if text and (self._wrapped or not self._pieces):
            yield CallDelta(call=self._number, arguments=_unwrapped(text) if self._wrapped else text)
        yield CallEnd(call=self._number)


class _Answer:
    """The input of the tool by which the model answers: the text of the response."""

    def __init__(self, found: JsonObject, content: Content) -> None:
        self._found, self._content = found, content
        self._said = False
        content.answered = True

    def open(self) -> Iterator[ChatEvent]:
        yield from ()

    def delta(self, delta: JsonObject) -> Iterator[ChatEvent]:
        piece = delta.get("partial_json")
        if isinstance(piece, str) and piece:
            yield self._say(piece)

    def close(self) -> Iterator[ChatEvent]:
        if not self._said:
            yield self._say(json_bytes(self._found.get("input") or {}).decode())

    def _say(self, text: str) -> TextDelta:
        self._said = True
        self._content.text_length += len(text)
        return TextDelta(text=text)


def _unwrapped(text: str) -> str:
    """The text in ``{"input": ...}``; whatever else the model wrote, as it is."""
    inner = (load_object(text) or {}).get("input")
    return inner if isinstance(inner, str) else text


class _Other:
    """A block that only Anthropic has: a tool that it ran itself, or its result. Carried whole."""

    def __init__(self, found: JsonObject) -> None:
        self._block = dict(found)
        self._input: list[str] = []

    def open(self) -> Iterator[ChatEvent]:
        yield from ()

    def delta(self, delta: JsonObject) -> Iterator[ChatEvent]:
        piece = delta.get("partial_json")
        if isinstance(piece, str):
            self._input.append(piece)
        yield from ()

    def close(self) -> Iterator[ChatEvent]:
        written = load_object("".join(self._input))
        block = self._block if written is None else {**self._block, "input": written}
        yield Carried(dialect=NAME, payload={"content_block": block})


def _details(detail: Mapping[str, Any]) -> Carried:
    return Carried(dialect=_OPENAI, payload={"delta": {"reasoning_details": [detail]}})


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
