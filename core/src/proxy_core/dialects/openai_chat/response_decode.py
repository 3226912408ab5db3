"""Responses of the wire format ``openai_chat``: bytes to events, plain and streamed."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from proxy_core import sse
from proxy_core.dialects.common import json_bytes, load_object
from proxy_core.dialects.openai_chat.errors import status_of_error
from proxy_core.dialects.openai_chat.signatures import decode_signature
from proxy_core.dialects.openai_chat.usage import decode_usage
from proxy_core.errors import StreamCut, UpstreamBroken
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
_TOP_NAMED = frozenset("id object created model choices usage error".split())
_DELTA_NAMED = frozenset(
    "role content refusal reasoning_content reasoning reasoning_details tool_calls function_call annotations".split()
)


class OpenAIChatDecoder:
    """Reads a response, streamed or plain. Any split of the bytes gives the same events."""

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
        """Raises ``StreamCut`` for an incomplete stream, ``UpstreamBroken`` for a body that is not a response."""
        if not self._streaming:
            return list(self._response(b"".join(self._whole)))
        events = list(self._block(self._splitter.close()))
        finished = bool(self._choices) and all(c.finished for c in self._choices.values())
        if not (self._done or finished or self._failed):
            raise StreamCut("The upstream's response ended before it was complete.")
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

    def _response(self, data: bytes) -> Iterator[ChatEvent]:
        response = load_object(data)
        if response is None or not (isinstance(response.get("choices"), list) or response.get("error")):
            raise UpstreamBroken("The upstream's response is not a chat completion.")
        yield from self._chunk(response, "message")

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
        usage = decode_usage(chunk.get("usage"))
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
        status=status_of_error(error),
        type=_str(error.get("type")),
        code=_str(error.get("code")),
    )


@dataclass(slots=True)
class _ChoiceState:
    """The open parts of one choice. An upstream's call index is a hint: a new id at the same index is a new call."""

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
                opaque=decode_signature(call),
                choice=self.choice,
            )
        text = spec.get("arguments" if kind == "function" else "input")
        if isinstance(text, dict):  # some upstreams send an object where a string belongs
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
