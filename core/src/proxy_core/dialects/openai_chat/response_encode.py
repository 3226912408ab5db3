"""Responses of the wire format ``openai_chat``: events to bytes, plain and streamed.

Rules of the state machine: one role per choice; ``id``, ``type`` and ``name`` of a call only once,
because openai-python concatenates repetitions; finish and usage at the very end, after anything
that a filter held back; ``finish_reason`` depends on the calls that were actually made.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, assert_never

from msgspec import Struct, field

from proxy_core import sse
from proxy_core.dialects.common import json_bytes
from proxy_core.dialects.openai_chat.signatures import encode_signature
from proxy_core.dialects.openai_chat.usage import encode_usage
from proxy_core.errors import UpstreamBroken
from proxy_core.interfaces import ResponseContext
from proxy_core.messages import (
    CallDelta,
    CallEnd,
    CallStart,
    Carried,
    ChatEvent,
    Citation,
    Failed,
    Finish,
    FinishReason,
    JsonObject,
    ReasoningDelta,
    RefusalDelta,
    Start,
    TextDelta,
    Usage,
    UsageReport,
)

NAME = "openai_chat"
HEARTBEAT = sse.comment("keep-alive")

_WORDS: Mapping[FinishReason, str] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "content_filter": "content_filter",
    "refusal": "stop",
    "pause": "stop",
    "error": "stop",
}


class OpenAIChatEncoder:
    """Writes a response: a stream in chunks as events arrive, a plain response as one object at ``close``."""

    def __init__(self, context: ResponseContext) -> None:
        self._context = context
        self._head: JsonObject = {"id": context.id, "created": context.created, "model": context.model}
        self._extra: JsonObject = {}
        self._choices: dict[int, _Assembly] = {}
        self._usage: Usage | None = None

    def feed(self, events: Sequence[ChatEvent]) -> bytes:
        return b"".join(chunk for event in events for chunk in self._event(event))

    def close(self) -> bytes:
        if not self._choices:
            self._choice(0)
        if not self._context.stream:
            return json_bytes(self._whole())
        out = []
        for index, choice in sorted(self._choices.items()):
            if not choice.opened:
                out.append(self._chunk(index, choice.open()))
            out.append(self._chunk(index, {}, finish=choice.finish_word()))
        if self._context.include_usage and self._usage is not None:
            usage = encode_usage(self._usage)
            out.append(
                sse.encode(json_bytes({**self._envelope("chat.completion.chunk"), "choices": [], "usage": usage}))
            )
        return b"".join([*out, sse.DONE])

    def _event(self, event: ChatEvent) -> Iterator[bytes]:
        match event:
            case Start():
                self._extra = dict(event.extra)
            case UsageReport():
                self._usage = event.usage
            case Finish():
                self._choice(event.choice).reason = event.reason
            case Failed():
                raise UpstreamBroken(event.message)
            case Carried() | Citation() if event.dialect != NAME:
                pass
            case _:
                choice = self._choice(event.choice)
                delta = choice.add(event)
                if delta is not None and self._context.stream:
                    if not choice.opened:
                        delta = {**choice.open(), **delta}
                    logprobs = delta.pop("logprobs", None)
                    yield self._chunk(event.choice, delta, logprobs=logprobs)

    def _choice(self, index: int) -> _Assembly:
        legacy = bool(self._context.extra.get("functions"))
        return self._choices.get(index) or self._choices.setdefault(index, _Assembly(legacy=legacy))

    def _envelope(self, kind: str) -> JsonObject:
        return {"id": self._head["id"], "object": kind, **self._head, **self._extra}

    def _chunk(self, index: int, delta: JsonObject, *, finish: str | None = None, logprobs: object = None) -> bytes:
        choice = {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish}
        chunk = {**self._envelope("chat.completion.chunk"), "choices": [choice]}
        if self._context.include_usage:
            chunk["usage"] = None
        return sse.encode(json_bytes(chunk))

    def _whole(self) -> JsonObject:
        choices = [choice.whole(index) for index, choice in sorted(self._choices.items())]
        body: JsonObject = {**self._envelope("chat.completion"), "choices": choices}
        if self._usage is not None:
            body["usage"] = encode_usage(self._usage)
        return body


class _Assembly(Struct):
    """One choice as it grows; returns the streamed delta of each event, and the whole at the end."""

    #: Calls are written as ``function_call``, of which there is only one; others are written as usual.
    legacy: bool = False
    opened: bool = False
    reason: FinishReason = "stop"
    message: JsonObject = field(default_factory=dict)
    logprobs: JsonObject = field(default_factory=dict)
    calls: dict[int, JsonObject] = field(default_factory=dict)

    def open(self) -> JsonObject:
        self.opened = True
        return {"role": "assistant", "content": ""}

    def add(self, event: ChatEvent) -> JsonObject | None:
        """Add an event; returns its delta for a stream, or ``None``."""
        match event:
            case TextDelta():
                return self._append("content", event.text)
            case RefusalDelta():
                return self._append("refusal", event.text)
            case ReasoningDelta():
                return self._thought(event)
            case CallStart():
                return self._start(event)
            case CallDelta():
                return self._arguments(event.call, event.arguments)
            case CallEnd():
                body = self.calls.get(event.call)
                empty = body is not None and body["type"] == "function" and not body["function"]["arguments"]
                return self._arguments(event.call, "{}") if empty else None
            case Citation():
                self.message.setdefault("annotations", []).append(event.payload)
                return {"annotations": [event.payload]}
            case Carried():
                return self._carry(event.payload)
            case Start() | UsageReport() | Finish() | Failed():
                return None
            case _:
                assert_never(event)

    def _append(self, key: str, text: str) -> JsonObject:
        self.message[key] = self.message.get(key, "") + text
        return {key: text}

    def _thought(self, event: ReasoningDelta) -> JsonObject | None:
        signature = encode_signature(event.opaque)
        self.message.update(signature)
        text = self._append("reasoning_content", event.text) if event.text else {}
        return {**text, **signature} or None

    def _start(self, event: CallStart) -> JsonObject:
        text_key = "arguments" if event.kind == "function" else "input"
        head = {"id": event.id, "type": event.kind, **encode_signature(event.opaque)}
        self.calls[event.call] = {**head, event.kind: {"name": event.name, text_key: ""}}
        if self._is_legacy(event.call):
            return {"function_call": {"name": event.name, "arguments": ""}}
        opening = {**head, event.kind: {"name": event.name, text_key: ""}}
        return {"tool_calls": [{"index": event.call, **opening}]}

    def _arguments(self, call: int, text: str) -> JsonObject:
        body = self.calls[call]
        kind = body["type"]
        key = "arguments" if kind == "function" else "input"
        body[kind][key] += text
        if self._is_legacy(call):
            return {"function_call": {"arguments": text}}
        return {"tool_calls": [{"index": call, kind: {key: text}}]}

    def _is_legacy(self, call: int) -> bool:
        return self.legacy and call == 0 and self.calls[call]["type"] == "function"

    def _carry(self, payload: Mapping[str, Any]) -> JsonObject:
        out: JsonObject = {}
        for key, value in payload.get("delta", {}).items():
            old = self.message.get(key)
            self.message[key] = old + value if isinstance(old, list) and isinstance(value, list) else value
            out[key] = value
        logprobs = payload.get("logprobs")
        if isinstance(logprobs, Mapping):
            for key, value in logprobs.items():
                old = self.logprobs.get(key)
                self.logprobs[key] = old + value if isinstance(old, list) and isinstance(value, list) else value
            out["logprobs"] = logprobs
        return out

    def finish_word(self) -> str:
        """``stop`` with calls becomes a tool finish; a tool finish without calls becomes ``stop``."""
        if self.calls and self.reason in ("stop", "tool_calls"):
            return "function_call" if self.legacy else "tool_calls"
        return "stop" if self.reason == "tool_calls" else _WORDS[self.reason]

    def whole(self, index: int) -> JsonObject:
        message: JsonObject = {
            "role": "assistant",
            "content": None if self.calls else "",
            "refusal": None,
            **self.message,
        }
        calls = [number for number in sorted(self.calls) if not self._is_legacy(number)]
        if calls:
            message["tool_calls"] = [self.calls[number] for number in calls]
        if len(calls) < len(self.calls):
            message["function_call"] = self.calls[0]["function"]
        return {
            "index": index,
            "message": message,
            "logprobs": self.logprobs or None,
            "finish_reason": self.finish_word(),
        }
