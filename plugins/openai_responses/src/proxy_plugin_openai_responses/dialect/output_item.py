"""One item of a response as it grows: its deltas, and what its final form adds to them."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from typing import Any

from msgspec import Struct, field

from proxy_core import (
    CallDelta,
    CallEnd,
    CallStart,
    Carried,
    ChatEvent,
    Citation,
    InlineData,
    JsonObject,
    Opaque,
    ReasoningDelta,
    RefusalDelta,
    TextDelta,
)
from proxy_core.dialects.openai_chat import media_event
from proxy_plugin_openai_responses.dialect.common import MAKER, NAME

_CHAT = "openai_chat"
_CALLS = frozenset({"function_call", "custom_tool_call"})
#: The items that have events of their own here; all others are carried whole.
_KNOWN = _CALLS | {"message", "reasoning"}
_ENDED_PART = "\n\n"
#: Of a citation, in the text of its part.
_PLACES = ("start_index", "end_index")


class Spoken(Struct):
    """The text of all messages, which is one in most other formats: its length, and whether a message came last."""

    length: int = 0
    goes_on: bool = False


class Item(Struct):
    """What was passed on so far. ``texts`` are the texts by kind and index, in pieces; ``starts``, where in the text of
    all messages each part of this one begins."""

    spoken: Spoken = field(default_factory=Spoken)
    kind: str = ""
    number: int = -1
    opened: bool = False
    ended: bool = False
    refused: bool = False
    texts: dict[tuple[str, int], list[str]] = field(default_factory=dict)
    starts: dict[int, int] = field(default_factory=dict)
    citations: dict[int, int] = field(default_factory=dict)

    # --- Events of the item itself ---

    def opens(self, found: JsonObject) -> bool:
        """Whether this is a call that now gets its number."""
        return self.number < 0 and _str(found.get("type")) in _CALLS and _str(found.get("name")) is not None

    def added(self, found: JsonObject) -> Iterator[ChatEvent]:
        self.kind = _str(found.get("type")) or self.kind
        self.spoken.goes_on = self.spoken.goes_on and self.kind == "message"
        if self.kind in _CALLS and self.number >= 0 and not self.opened:
            self.opened = True
            yield CallStart(
                call=self.number,
                id=_str(found.get("call_id")) or _str(found.get("id")) or f"call_{uuid.uuid4().hex[:24]}",
                name=found["name"],
                kind="custom" if self.kind == "custom_tool_call" else "function",
                namespace=_str(found.get("namespace")),
            )
        elif self.kind == "message" and not self.opened:
            self.opened = True
            if _str(found.get("phase")):
                yield Carried(dialect=NAME, payload={"phase": found["phase"]})

    def done(self, found: JsonObject) -> Iterator[ChatEvent]:
        """The final form; it may come again with the whole response."""
        if self.ended:
            return
        yield from self.added(found)
        match self.kind:
            case "message":
                yield from self._message(found)
            case "function_call" | "custom_tool_call" if self.opened:
                yield from self._rest("call", 0, found.get("arguments" if self.kind == "function_call" else "input"))
            case "reasoning":
                yield from self._reasoning(found)
            case _ if self.kind and self.kind not in _KNOWN:
                yield Carried(dialect=NAME, payload={"item": found})
                if self.kind == "image_generation_call" and (image := _str(found.get("result"))) is not None:
                    kind = _str(found.get("output_format")) or "png"
                    yield media_event(InlineData(media_type=f"image/{kind}", data=image))
        yield from self.end()

    def end(self) -> Iterator[ChatEvent]:
        if not self.ended and self.opened and self.number >= 0:
            yield CallEnd(call=self.number)
        self.ended = True

    def _message(self, found: JsonObject) -> Iterator[ChatEvent]:
        for index, part in enumerate(_objects(found.get("content"))):
            if part.get("type") == "refusal":
                yield from self._rest("refusal", index, part.get("refusal"))
                continue
            yield from self._final_text(index, part)
            notes = _objects(part.get("annotations"))
            for note in notes[self.citations.get(index, 0) :]:
                yield from self._cite(index, note)

    def _final_text(self, index: int, part: JsonObject) -> Iterator[ChatEvent]:
        fresh = ("text", index) not in self.texts
        yield from self._rest("text", index, part.get("text"))
        if fresh:
            yield from _logprobs(part)

    def _reasoning(self, found: JsonObject) -> Iterator[ChatEvent]:
        for index, part in enumerate(_objects(found.get("summary"))):
            yield from self._rest("summary", index, part.get("text"))
        for index, part in enumerate(_objects(found.get("content"))):
            yield from self._rest("reasoning", index, part.get("text"))
        encrypted = _str(found.get("encrypted_content"))
        if encrypted:
            yield ReasoningDelta(text="", opaque=Opaque(maker=MAKER, payload=encrypted))

    # --- Texts: pieces, and the whole ---

    def text_delta(self, event: JsonObject) -> Iterator[ChatEvent]:
        yield from self._piece("text", event, "content_index")
        if event.get("logprobs"):
            yield from _logprobs(event)

    def text_done(self, event: JsonObject) -> Iterator[ChatEvent]:
        yield from self._final_text(_index(event, "content_index"), event)

    def refusal_delta(self, event: JsonObject) -> Iterator[ChatEvent]:
        yield from self._piece("refusal", event, "content_index")

    def refusal_done(self, event: JsonObject) -> Iterator[ChatEvent]:
        yield from self._rest("refusal", _index(event, "content_index"), event.get("refusal"))

    def call_delta(self, event: JsonObject) -> Iterator[ChatEvent]:
        """Before its item, a call has no name; the item will have all of its arguments."""
        if self.opened:
            yield from self._piece("call", event, "")

    def call_done(self, event: JsonObject) -> Iterator[ChatEvent]:
        if self.opened:
            yield from self._rest("call", 0, event.get("arguments", event.get("input")))

    def summary_delta(self, event: JsonObject) -> Iterator[ChatEvent]:
        yield from self._piece("summary", event, "summary_index")

    def summary_done(self, event: JsonObject) -> Iterator[ChatEvent]:
        yield from self._rest("summary", _index(event, "summary_index"), event.get("text"))

    def reasoning_delta(self, event: JsonObject) -> Iterator[ChatEvent]:
        yield from self._piece("reasoning", event, "content_index")

    def reasoning_done(self, event: JsonObject) -> Iterator[ChatEvent]:
        yield from self._rest("reasoning", _index(event, "content_index"), event.get("text"))

    def annotation(self, event: JsonObject) -> Iterator[ChatEvent]:
        note = event.get("annotation")
        if isinstance(note, dict):
            yield from self._cite(_index(event, "content_index"), note)

    def _piece(self, kind: str, event: JsonObject, index_name: str) -> Iterator[ChatEvent]:
        text = event.get("delta")
        if isinstance(text, str) and text and not self.ended:
            yield self._say(kind, _index(event, index_name), text)

    def _rest(self, kind: str, index: int, whole: object) -> Iterator[ChatEvent]:
        """What the whole text adds to its pieces; nothing, if it is not what they were the beginning of."""
        pieces = self.texts.get((kind, index), ())
        if not isinstance(whole, str) or not whole or self.ended:
            return
        said = "".join(pieces)
        if len(whole) > len(said) and whole.startswith(said):
            yield self._say(kind, index, whole[len(said) :])

    def _say(self, kind: str, index: int, text: str) -> ChatEvent:
        pieces = self.texts.setdefault((kind, index), [])
        pieces.append(text)
        match kind:
            case "text":
                return self._said(index, text)
            case "refusal":
                self.refused = True
                return RefusalDelta(text=text)
            case "call":
                return CallDelta(call=self.number, arguments=text)
            case _:
                first = index > 0 and len(pieces) == 1
                return ReasoningDelta(text=_ENDED_PART + text if first else text, summary=kind == "summary")

    def _said(self, index: int, text: str) -> TextDelta:
        """A text; a message directly after another one is a paragraph of its own."""
        between = _ENDED_PART if self.spoken.goes_on and not self.starts else ""
        self.spoken.goes_on = True
        self.starts.setdefault(index, self.spoken.length + len(between))
        self.spoken.length += len(between) + len(text)
        return TextDelta(text=between + text)

    def _cite(self, index: int, note: JsonObject) -> Iterator[ChatEvent]:
        """A link in the form of chat, which all formats read: its place is one in the text of all messages."""
        self.citations[index] = self.citations.get(index, 0) + 1
        if note.get("type") != "url_citation":
            yield Citation(dialect=NAME, payload=note)
            return
        start = self.starts.get(index, self.spoken.length)
        inside = {key: value for key, value in note.items() if key != "type"}
        inside |= {key: inside[key] + start for key in _PLACES if isinstance(inside.get(key), int)}
        yield Citation(dialect=_CHAT, payload={"type": "url_citation", "url_citation": inside})


def _logprobs(part: JsonObject) -> Iterator[ChatEvent]:
    found = _objects(part.get("logprobs"))
    if found:
        yield Carried(dialect=_CHAT, payload={"logprobs": {"content": found, "refusal": None}})
        yield Carried(dialect=NAME, payload={"logprobs": found})


def _objects(value: object) -> list[JsonObject]:
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


def _index(event: Mapping[str, Any], name: str) -> int:
    value = event.get(name)
    return value if isinstance(value, int) else 0


def _str(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
