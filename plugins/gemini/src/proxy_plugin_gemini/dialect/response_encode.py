"""Responses of the wire format ``gemini``, events to bytes: objects with partial content, or one whole object.

A call is written once it is complete, because Gemini's clients expect arguments as an object. The last
object contains finish reason and usage.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, assert_never

from msgspec import Struct, field

from proxy_core import (
    CallDelta,
    CallEnd,
    CallStart,
    Carried,
    ChatEvent,
    Citation,
    Failed,
    Finish,
    FinishReason,
    InlineData,
    JsonObject,
    Opaque,
    ReasoningDelta,
    RefusalDelta,
    ResponseContext,
    Start,
    TextDelta,
    UpstreamBroken,
    Usage,
    UsageReport,
    sse,
)
from proxy_core.dialects.common import json_bytes
from proxy_core.dialects.openai_chat import left_out_note, media_in
from proxy_plugin_gemini.dialect.citations import grounding_of
from proxy_plugin_gemini.dialect.common import MAKER, NAME, REASONS, WORDS, encode_usage, parse_text
from proxy_plugin_gemini.dialect.sealed import seal_thought

_MALFORMED = "MALFORMED_FUNCTION_CALL"
_KNOWN = frozenset({*REASONS, _MALFORMED, "OTHER", "UNEXPECTED_TOOL_CALL", "TOO_MANY_TOOL_CALLS", "NO_IMAGE"})


class _Choice(Struct):
    """One candidate as it grows. ``parts`` is kept only for a whole response."""

    parts: list[JsonObject] = field(default_factory=list)
    calls: dict[int, tuple[CallStart, list[str]]] = field(default_factory=dict)
    members: JsonObject = field(default_factory=dict)
    #: The text so far, and other formats' sources for it.
    texts: list[str] = field(default_factory=list)
    sources: list[Mapping[str, Any]] = field(default_factory=list)
    #: A thought that another maker may sign, and the sealed signature of what follows.
    thought: list[str] = field(default_factory=list)
    sealed: str | None = None
    reason: FinishReason = "stop"
    detail: str | None = None
    refused: bool = False
    malformed: str | None = None
    #: The upstream said its images and audio in this format.
    own_media: bool = False

    def part(self, event: ChatEvent, thoughts: bool) -> list[JsonObject]:
        """The parts that an event adds to the content."""
        match event:
            case TextDelta():
                self.texts.append(event.text)
                return [*self.seal(), {"text": event.text}]
            case RefusalDelta():
                self.refused = True
                self.texts.append(event.text)
                return [*self.seal(), {"text": event.text}]
            case ReasoningDelta():
                text: list[JsonObject] = [{"text": event.text, "thought": True}] if event.text and thoughts else []
                return [*text, *self._signed(event)]
            case CallStart():
                self.calls[event.call] = (event, [])
            case CallDelta():
                self.calls[event.call][1].append(event.arguments)
            case CallEnd():
                return self._call(event.call)
            case Citation():
                if event.dialect == NAME:
                    self.members["groundingMetadata"] = event.payload
                else:
                    self.sources.append(event.payload)
            case Carried() if event.dialect != NAME:
                return [] if self.own_media else [_inline(media) for media in media_in(event)]
            case Carried():
                self.members |= _object(event.payload.get("candidate"))
                part = event.payload.get("part")
                self.own_media = self.own_media or isinstance(part, Mapping)
                return [dict(part)] if isinstance(part, Mapping) else []
            case Start() | Finish() | UsageReport() | Failed():
                pass
            case _:
                assert_never(event)
        return []

    def _signed(self, event: ReasoningDelta) -> list[JsonObject]:
        """A signature of Google's at once; another maker's with the thought that it signs, when something follows."""
        self.thought.append(event.text)
        if event.opaque is None:
            return []
        text, self.thought = "".join(self.thought), []
        if signature := _signature(event.opaque):
            return [{"text": "", "thoughtSignature": signature}]
        before = self.seal()
        self.sealed = seal_thought(text, event.opaque)
        return before

    def seal(self) -> list[JsonObject]:
        sealed, self.sealed = self.sealed, None
        return [{"text": "", "thoughtSignature": sealed}] if sealed is not None else []

    def open_calls(self) -> list[JsonObject]:
        """What is still open at the end."""
        return [*(part for number in sorted(self.calls) for part in self._call(number)), *self.seal()]

    def _call(self, number: int) -> list[JsonObject]:
        if number not in self.calls:
            return []
        start, pieces = self.calls.pop(number)
        text = "".join(pieces)
        args = {"input": text} if start.kind == "custom" else _arguments(text)
        if args is None:  # the model's mistake, for which Gemini has a finish reason
            self.malformed = f"Malformed function call: {start.name} with arguments that are not a JSON object."
            return []
        part: JsonObject = {"functionCall": {"id": start.id, "name": start.name, "args": args}}
        signature, self.sealed = _signature(start.opaque) or self.sealed, None
        return [{**part, "thoughtSignature": signature}] if signature else [part]

    def end(self) -> JsonObject:
        """The members that describe how the candidate ended, and its sources."""
        if "groundingMetadata" not in self.members and (grounding := grounding_of(self.sources, "".join(self.texts))):
            self.members["groundingMetadata"] = grounding
        if self.malformed is not None and self.reason != "length":  # a call that was cut off is not the model's mistake
            return {"finishReason": _MALFORMED, "finishMessage": self.malformed}
        if self.refused and self.reason == "stop":
            return {"finishReason": "SAFETY"}
        word = self.detail if self.detail in _KNOWN else WORDS[self.reason]
        return {"finishReason": word}


class GeminiEncoder:
    """Encodes a response: when streaming, objects as events arrive; otherwise one object at ``close``."""

    def __init__(self, context: ResponseContext) -> None:
        self._context = context
        self._thoughts = context.extra.get("thoughts") is True
        self._top: JsonObject = {}
        self._choices: dict[int, _Choice] = {}
        self._usage: Usage | None = None
        self._feedback: object = None

    def feed(self, events: Sequence[ChatEvent]) -> bytes:
        """Combines all events of one read into one object per candidate."""
        new: dict[int, list[JsonObject]] = {}
        for event in events:
            match event:
                case Start():
                    pass  # the id is the proxy's own, and the model has the client's name
                case UsageReport():
                    self._usage = event.usage
                case Failed():
                    raise UpstreamBroken(event.message)
                case Carried() if event.dialect == NAME and "promptFeedback" in event.payload:
                    self._feedback = event.payload["promptFeedback"]
                case Finish():
                    choice = self._choice(event.choice)
                    choice.reason, choice.detail = event.reason, event.detail
                case _:
                    _append(new.setdefault(event.choice, []), self._choice(event.choice).part(event, self._thoughts))
        if not self._context.stream:
            for index, parts in new.items():
                _append(self._choices[index].parts, parts)
            return b""
        return b"".join(
            sse.encode(json_bytes(self._object([{"content": {"role": "model", "parts": parts}, "index": index}])))
            for index, parts in new.items()
            if parts
        )

    def close(self) -> bytes:
        if not self._choices:
            self._choice(0)
        last = []
        for index, choice in sorted(self._choices.items()):
            parts = choice.parts
            _append(parts, choice.open_calls())
            content = {"role": "model", "parts": parts or [{"text": ""}]}
            last.append({"content": content, **choice.end(), "index": index, **choice.members})
        out = self._object(last)
        if isinstance(self._feedback, Mapping):
            out["promptFeedback"] = self._feedback
            if self._feedback.get("blockReason"):
                del out["candidates"]
        if self._usage is not None:
            out["usageMetadata"] = encode_usage(self._usage)
        data = json_bytes(out)
        if self._context.stream:
            return sse.encode(data)
        return b"[" + data + b"]" if self._context.extra.get("array") else data

    def _choice(self, index: int) -> _Choice:
        return self._choices.setdefault(index, _Choice())

    def _object(self, candidates: list[JsonObject]) -> JsonObject:
        context = self._context
        return {"candidates": candidates, "modelVersion": context.model, "responseId": context.id}


def _append(parts: list[JsonObject], new: list[JsonObject]) -> None:
    """Append parts, joining consecutive pieces of the same text."""
    for part in new:
        before = parts[-1] if parts else None
        if before is not None and before.keys() == part.keys() and part.keys() <= {"text", "thought"}:
            parts[-1] = {**before, "text": before["text"] + part["text"]}
        else:
            parts.append(part)


def _arguments(text: str) -> JsonObject | None:
    if not text.strip():
        return {}
    try:
        found = parse_text(text)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _signature(opaque: Opaque | None) -> str | None:
    return opaque.payload if opaque is not None and opaque.maker in (MAKER, "") else None


def _inline(media: InlineData) -> JsonObject:
    """A part; other formats do not tell the type of an audio, without which it is of no use here."""
    if media.media_type == "audio":
        return {"text": left_out_note(media)}
    return {"inlineData": {"mimeType": media.media_type, "data": media.data}}


def _object(value: object) -> dict[str, Any]:
    return dict(value) if isinstance(value, Mapping) else {}
