"""Replies of the wire format ``openai_chat``: bytes to events and events to bytes, plain and streamed.

Rules of the state machine: one role per choice; ``id``, ``type`` and ``name`` of a call once,
because openai-python concatenates repeats; finish and usage at the very end, so that what a
filter still held comes before them; ``finish_reason`` follows the calls that were really made.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, assert_never

from proxy_core import sse
from proxy_core.dialects import openai_common as shared
from proxy_core.dialects.common import json_bytes, load_object
from proxy_core.errors import StreamCut, UpstreamBroken
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
MAX_EVENT_BYTES = 16 * 1024 * 1024

_REASONS: Mapping[str, FinishReason] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
    "error": "error",
}
_WORDS: Mapping[FinishReason, str] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "content_filter": "content_filter",
    "refusal": "stop",
    "pause": "stop",
    "error": "stop",
}
_TOP_NAMED = frozenset("id object created model choices usage error".split())
_DELTA_NAMED = frozenset(
    "role content refusal reasoning_content reasoning reasoning_details tool_calls function_call annotations".split()
)


# --- Bytes to events ---------------------------------------------------------------------


class OpenAIChatDecoder:
    """Reads a reply, streamed or whole. Any split of the bytes gives the same events."""

    def __init__(self, streaming: bool) -> None:
        self._streaming = streaming
        self._splitter = sse.EventSplitter(MAX_EVENT_BYTES)
        self._whole: list[bytes] = []
        self._choices: dict[int, _ChoiceState] = {}
        self._started = self._done = self._failed = False

    def feed(self, data: bytes) -> Sequence[ChatEvent]:
        if not self._streaming:
            self._whole.append(data)
            return ()
        return list(self._block(self._splitter.feed(data)))

    def close(self) -> Sequence[ChatEvent]:
        """Raises ``StreamCut`` for a stream without its end, ``UpstreamBroken`` for a body that is no reply."""
        if not self._streaming:
            return list(self._reply(b"".join(self._whole)))
        events = list(self._block(self._splitter.close()))
        finished = bool(self._choices) and all(c.finished for c in self._choices.values())
        if not (self._done or finished or self._failed):
            raise StreamCut("The upstream's reply ended before it was complete.")
        return events

    def _block(self, block: bytes) -> Iterator[ChatEvent]:
        for event in sse.events(block):
            if self._failed or event.data.startswith(b"[DONE]"):
                self._done = True
                return
            chunk = load_object(event.data)
            if chunk is None:
                raise UpstreamBroken("The upstream sent an event that is not a JSON object.")
            yield from self._chunk(chunk, "delta")

    def _reply(self, data: bytes) -> Iterator[ChatEvent]:
        reply = load_object(data)
        if reply is None or not (isinstance(reply.get("choices"), list) or reply.get("error")):
            raise UpstreamBroken("The upstream's reply is not a chat completion.")
        yield from self._chunk(reply, "message")

    def _chunk(self, chunk: JsonObject, member: str) -> Iterator[ChatEvent]:
        if chunk.get("error"):
            self._failed = True
            yield _failed(chunk)
            return
        if not self._started:
            self._started = True
            yield Start(
                id=_str(chunk.get("id")),
                model=_str(chunk.get("model")),
                created=chunk.get("created") if isinstance(chunk.get("created"), int) else None,
                extra={k: v for k, v in chunk.items() if k not in _TOP_NAMED},
            )
        for choice in chunk.get("choices") or ():
            if isinstance(choice, dict):
                yield from self._choice(choice, member)
        usage = shared.decode_usage(chunk.get("usage"))
        if usage is not None:
            yield UsageReport(usage=usage)

    def _choice(self, choice: JsonObject, member: str) -> Iterator[ChatEvent]:
        index = choice.get("index")
        index = index if isinstance(index, int) else 0
        state = self._choices.setdefault(index, _ChoiceState(index))
        delta = choice.get(member)
        if isinstance(delta, dict):
            yield from state.delta(delta)
        if choice.get("logprobs"):
            yield Carried(dialect=NAME, payload={"logprobs": choice["logprobs"]}, choice=index)
        if choice.get("finish_reason") is not None and not state.finished:
            yield from state.finish(str(choice["finish_reason"]))


def _failed(chunk: JsonObject) -> Failed:
    error = chunk["error"]
    if not isinstance(error, dict):
        return Failed(message=str(error))
    return Failed(
        message=str(error.get("message") or "The upstream reported an error."),
        status=shared.status_of_error(error),
        type=_str(error.get("type")),
        code=_str(error.get("code")),
    )


@dataclass(slots=True)
class _ChoiceState:
    """What is open in one choice. An upstream's call index is a hint: a new id on it is a new call."""

    choice: int
    finished: bool = False
    calls: int = 0
    by_index: dict[int, tuple[int, str]] = field(default_factory=dict)
    by_id: dict[str, int] = field(default_factory=dict)

    def delta(self, delta: JsonObject) -> Iterator[ChatEvent]:
        thought = delta.get("reasoning_content") or delta.get("reasoning")
        if isinstance(thought, str) and thought:
            yield ReasoningDelta(text=thought, choice=self.choice)
        if delta.get("reasoning_details"):
            details = {"delta": {"reasoning_details": delta["reasoning_details"]}}
            yield Carried(dialect=NAME, payload=details, choice=self.choice)
        if isinstance(delta.get("content"), str) and delta["content"]:
            yield TextDelta(text=delta["content"], choice=self.choice)
        if isinstance(delta.get("refusal"), str) and delta["refusal"]:
            yield RefusalDelta(text=delta["refusal"], choice=self.choice)
        for note in delta.get("annotations") or ():
            yield Citation(dialect=NAME, payload=note, choice=self.choice)
        calls = delta.get("tool_calls") or ()
        if isinstance(delta.get("function_call"), dict):
            calls = [{"index": 0, "function": delta["function_call"]}]
        for position, call in enumerate(calls):
            if isinstance(call, dict):
                yield from self._call(call, position)
        rest = {k: v for k, v in delta.items() if k not in _DELTA_NAMED and v is not None}
        if rest:
            yield Carried(dialect=NAME, payload={"delta": rest}, choice=self.choice)

    def _call(self, call: JsonObject, position: int) -> Iterator[ChatEvent]:
        index = call.get("index")
        index = index if isinstance(index, int) else position
        call_id = _str(call.get("id")) or ""
        kind = "custom" if isinstance(call.get("custom"), dict) else "function"
        spec = call.get(kind)
        spec = spec if isinstance(spec, dict) else {}
        number = self._number(index, call_id)
        if number is None:
            name = _str(spec.get("name"))
            if not name:
                raise UpstreamBroken("The upstream began a tool call without a name.")
            number = self._open(index, call_id)
            yield CallStart(
                call=number,
                id=call_id or f"call_{uuid.uuid4().hex[:24]}",
                name=name,
                kind="custom" if kind == "custom" else "function",
                opaque=shared.google_signature(call),
                choice=self.choice,
            )
        text = spec.get("arguments" if kind == "function" else "input")
        if isinstance(text, dict):  # Ollama's and others' objects where a string belongs
            text = json_bytes(text).decode()
        if isinstance(text, str) and text:
            yield CallDelta(call=number, arguments=text, choice=self.choice)

    def _number(self, index: int, call_id: str) -> int | None:
        if call_id and call_id in self.by_id:
            return self.by_id[call_id]
        known = self.by_index.get(index)
        return known[0] if known and (not call_id or call_id == known[1]) else None

    def _open(self, index: int, call_id: str) -> int:
        number, self.calls = self.calls, self.calls + 1
        self.by_index[index] = (number, call_id)
        if call_id:
            self.by_id[call_id] = number
        return number

    def finish(self, word: str) -> Iterator[ChatEvent]:
        self.finished = True
        for number in range(self.calls):
            yield CallEnd(call=number, choice=self.choice)
        reason = _REASONS.get(word, "stop")
        yield Finish(reason=reason, detail=word if word not in _REASONS else None, choice=self.choice)


def _str(value: object) -> str | None:
    return value if isinstance(value, str) else None


# --- Events to bytes ---------------------------------------------------------------------


class OpenAIChatEncoder:
    """Writes a reply: chunks as events come when streaming, one object at ``close`` when not."""

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
        if self._context.include_usage:
            usage = shared.encode_usage(self._usage or Usage())
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
        return self._choices.setdefault(index, _Assembly())

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
            body["usage"] = shared.encode_usage(self._usage)
        return body


@dataclass(slots=True)
class _Assembly:
    """One choice as it grows; gives the streamed delta of each event and the whole at the end."""

    opened: bool = False
    reason: FinishReason = "stop"
    message: JsonObject = field(default_factory=dict)
    logprobs: JsonObject = field(default_factory=dict)
    calls: dict[int, JsonObject] = field(default_factory=dict)

    def open(self) -> JsonObject:
        self.opened = True
        return {"role": "assistant", "content": ""}

    def add(self, event: ChatEvent) -> JsonObject | None:
        """SharedValue the event; the delta a stream shows for it, or ``None``."""
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
        signature = shared.signature_content(event.opaque)
        self.message.update(signature)
        text = self._append("reasoning_content", event.text) if event.text else {}
        return {**text, **signature} or None

    def _start(self, event: CallStart) -> JsonObject:
        text_key = "arguments" if event.kind == "function" else "input"
        head = {"id": event.id, "type": event.kind, **shared.signature_content(event.opaque)}
        self.calls[event.call] = {**head, event.kind: {"name": event.name, text_key: ""}}
        opening = {**head, event.kind: {"name": event.name, text_key: ""}}
        return {"tool_calls": [{"index": event.call, **opening}]}

    def _arguments(self, call: int, text: str) -> JsonObject:
        body = self.calls[call]
        kind = body["type"]
        key = "arguments" if kind == "function" else "input"
        body[kind][key] += text
        return {"tool_calls": [{"index": call, kind: {key: text}}]}

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
        """``stop`` with calls is a tool finish, a tool finish without calls is ``stop``."""
        if self.calls and self.reason in ("stop", "tool_calls"):
            return "tool_calls"
        return "stop" if self.reason == "tool_calls" else _WORDS[self.reason]

    def whole(self, index: int) -> JsonObject:
        message: JsonObject = {
            "role": "assistant",
            "content": None if self.calls else "",
            "refusal": None,
            **self.message,
        }
        if self.calls:
            message["tool_calls"] = [self.calls[number] for number in sorted(self.calls)]
        return {
            "index": index,
            "message": message,
            "logprobs": self.logprobs or None,
            "finish_reason": self.finish_word(),
        }
