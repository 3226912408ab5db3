"""Responses of Anthropic's format, events to bytes: a stream, or one message.

Clients append each block when it starts and find it by its index, so one block is open at a time, and none is opened
for nothing. Calls that arrive at the same time are written one after the other. Stop reason and usage come last.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, assert_never

from proxy_core import (
    CallDelta,
    CallEnd,
    CallStart,
    Carried,
    ChatEvent,
    Citation,
    Failed,
    Finish,
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
    seal,
    sse,
)
from proxy_core.dialects.common import json_bytes, plain_id
from proxy_core.dialects.openai_chat import left_out_note, media_in
from proxy_plugin_anthropic.dialect.blocks import Call, Output, Streamed, Whole, event
from proxy_plugin_anthropic.dialect.citations import foreign_citation
from proxy_plugin_anthropic.dialect.common import MAKER, NAME, REASONS, REDACTED, WORDS, encode_usage

HEARTBEAT = sse.encode(b'{"type":"ping"}', "ping")
#: Of text in any language and of code.
_CHARS_PER_TOKEN = 4


class AnthropicEncoder:
    """Encodes a response: when streaming, events as they arrive; otherwise one message at ``close``."""

    def __init__(self, context: ResponseContext) -> None:
        self._context = context
        self._whole = Whole()
        self._out: Output = Streamed() if context.stream else self._whole
        self._started = self._refused = False
        #: ``text``, ``thinking`` or ``tool_use``; empty if no block is open.
        self._open = ""
        self._calls: dict[int, Call] = {}
        #: The open call, and those that wait for its end.
        self._queue: deque[Call] = deque()
        #: What the model said within the arguments of these calls: it waits until they are complete.
        self._held: list[ChatEvent] = []
        #: Of the open thinking block, or of what comes next.
        self._signature: Opaque | None = None
        self._cites = False
        #: Sources that came when their text was already complete.
        self._late: list[JsonObject] = []
        #: Types of media of which the client has been told that it does not get them.
        self._told: set[str] = set()
        self._finish = Finish(reason="stop")
        self._usage: Usage | None = None
        self._members: JsonObject = {}

    def feed(self, events: Sequence[ChatEvent]) -> bytes:
        if self._started or not events:
            return b"".join(map(self._event, events))
        return b"".join([self._begin(), *map(self._event, events)])

    def close(self) -> bytes:
        """A signature after the last text is left out: as a block it would be the last one, and Claude Code prints the
        last block, so nothing."""
        begun = b"" if self._started else self._begin()
        out = [begun, self._end_block(), self._release(), self._end_block(), self._cite_late()]
        ending: JsonObject = {**self._ending(), **self._members.pop("delta", {})}
        usage = encode_usage(self._usage or self._estimate())
        if not self._context.stream:
            return json_bytes({**self._head(self._whole.content), **ending, **self._members, "usage": usage})
        out.append(event("message_delta", delta=ending, usage=usage, **self._members))
        return b"".join([*out, event("message_stop")])

    def _estimate(self) -> Usage:
        """The format requires numbers, and agents add them up to know how full the context is."""
        return Usage(prompt=self._context.prompt_tokens, completion=-(-self._out.chars // _CHARS_PER_TOKEN))

    def _begin(self) -> bytes:
        self._started = True
        if not self._context.stream:
            return b""
        usage = {**encode_usage(Usage(prompt=self._context.prompt_tokens)), "output_tokens": 1}
        return event(
            "message_start", message={**self._head([]), "stop_reason": None, "stop_sequence": None, "usage": usage}
        )

    def _head(self, content: list[JsonObject]) -> JsonObject:
        context = self._context
        return {
            "id": context.id,
            "type": "message",
            "role": "assistant",
            "model": context.model,
            "content": content,
        }

    def _event(self, event: ChatEvent) -> bytes:
        if self._queue and isinstance(event, _SAID) and self._waits():
            self._held.append(event)
            return b""
        match event:
            case TextDelta(choice=0):
                return self._text(event.text)
            case RefusalDelta(choice=0):
                self._refused = True
                return self._text(event.text)
            case ReasoningDelta(choice=0):
                return self._thought(event)
            case CallStart(choice=0):
                return self._call_start(event)
            case CallDelta(choice=0):
                return self._call_delta(event)
            case CallEnd(choice=0):
                return self._call_end(self._calls[event.call])
            case Citation(choice=0):
                return self._cite(event)
            case Carried(choice=0, dialect=dialect) if dialect == NAME:
                return self._carried(event.payload)
            case Carried(choice=0):
                return b"".join(map(self._left_out, media_in(event)))
            case Finish(choice=0):
                self._finish = event
            case UsageReport():
                self._usage = event.usage
            case Failed():
                raise UpstreamBroken(event.message)
            case (
                Start()
                | TextDelta()
                | RefusalDelta()
                | ReasoningDelta()
                | CallStart()
                | CallDelta()
                | CallEnd()
                | Citation()
                | Carried()
                | Finish()
            ):  # id and model are the client's; of other choices and formats there is nothing here
                pass
            case _:
                assert_never(event)
        return b""

    # --- Texts and thoughts --------------------------------------------------------------

    def _text(self, text: str) -> bytes:
        if self._open == "text":  # nearly all events of a stream
            return self._out.delta("text", text)
        return self._open_block("text") + self._out.delta("text", text) if text else b""

    def _cite(self, event: Citation) -> bytes:
        """A source of another format's applies to the open block; Anthropic's own are there in that form, too."""
        if event.dialect == NAME:
            self._cites = True
            return self._open_block("text") + self._out.cite(event.payload)
        citation = None if self._cites else foreign_citation(event)
        if citation is not None and self._open != "text":
            self._late.append(citation)
        return self._out.cite(citation) if citation is not None and self._open == "text" else b""

    def _cite_late(self) -> bytes:
        """In a block of its own: those before it are complete."""
        if not self._late:
            return b""
        return b"".join([self._open_block("text"), *map(self._out.cite, self._late), self._end_block()])

    def _left_out(self, media: InlineData) -> bytes:
        """Tell what the format cannot carry, in the text: by now, the headers have been sent."""
        if media.media_type in self._told:
            return b""
        self._told.add(media.media_type)
        return self._end_block() + self._text(left_out_note(media)) + self._end_block()

    def _thought(self, event: ReasoningDelta) -> bytes:
        """What was signed is over: what follows, a thought or a signature, is a block of its own."""
        over = self._end_block() if self._open == "thinking" and self._signature is not None else b""
        text = self._open_block("thinking") + self._out.delta("thinking", event.text) if event.text else b""
        if event.opaque is None:
            return over + text
        lone = b"" if self._open == "thinking" else self._lone_signature()
        self._signature = event.opaque
        return over + text + lone

    def _open_block(self, kind: str) -> bytes:
        """Open a block of this kind, unless one is open."""
        if self._open == kind:
            return b""
        out = self._end_block() + self._lone_signature()
        self._open = kind
        return out + self._out.start(_EMPTY[kind])

    def _lone_signature(self) -> bytes:
        """A block for a signature without a thought: what it signs follows."""
        signature, self._signature = self._signature, None
        if signature is None:
            return b""
        out = self._end_block()
        if signature.maker == MAKER and signature.payload.startswith(REDACTED):
            block = {"type": "redacted_thinking", "data": signature.payload.removeprefix(REDACTED)}
            return out + self._out.start(block) + self._out.stop()
        self._open, self._signature = "thinking", signature
        return out + self._out.start(_EMPTY["thinking"]) + self._end_block()

    def _end_block(self) -> bytes:
        """Close the open block. Something else than calls follows, so those that wait are written first."""
        if self._open == "tool_use":
            for call in self._queue:
                call.ended = True
            return self._write_calls()
        out = b""
        if self._open == "thinking":
            out = self._out.delta("signature", "" if self._signature is None else seal(self._signature, MAKER))
            self._signature = None
        if self._open:
            self._open = ""
            out += self._out.stop()
        return out

    def _carried(self, payload: Mapping[str, Any]) -> bytes:
        """A whole block that only this format has, or members of the last event."""
        if isinstance(block := payload.get("content_block"), Mapping):
            return self._end_block() + self._lone_signature() + self._out.start(dict(block)) + self._out.stop()
        if isinstance(members := payload.get("message_delta"), Mapping):
            self._members.update(members)
        return b""

    # --- Calls ---------------------------------------------------------------------------

    def _call_start(self, event: CallStart) -> bytes:
        call = self._calls[event.call] = Call(event)
        self._queue.append(call)
        return self._open_call(call) if len(self._queue) == 1 else b""

    def _open_call(self, call: Call) -> bytes:
        start = call.start
        out = b""
        if start.opaque is not None:  # it signs the thought before the call, or the call itself
            out = self._thought(ReasoningDelta(text="", opaque=start.opaque))
        out += self._end_block() + self._lone_signature()
        self._open = "tool_use"
        return out + self._out.start({"type": "tool_use", "id": plain_id(start.id), "name": start.name, "input": {}})

    def _call_delta(self, event: CallDelta) -> bytes:
        call = self._calls[event.call]
        if call.closed:
            if not event.arguments.strip():
                return b""
            raise UpstreamBroken("The upstream continued a tool call after its end.")
        call.held.append(event.arguments)
        text = call.take() if call is self._queue[0] else ""
        return self._out.delta("input_json", text) if text else b""

    def _call_end(self, call: Call) -> bytes:
        call.ended = True
        return self._write_calls() + self._release() if self._queue and call is self._queue[0] else b""

    def _waits(self) -> bool:
        """Whether a call is open whose arguments go on: a block of something else would end them."""
        return bool(self._held) or not all(call.ended or call.complete for call in self._queue)

    def _release(self) -> bytes:
        if self._queue:
            return b""
        held, self._held = self._held, []
        return b"".join(map(self._event, held))

    def _write_calls(self) -> bytes:
        """Write the ended calls at the head of the queue, and begin with the next one."""
        out: list[bytes] = []
        while self._queue:
            call = self._queue[0]
            if self._open != "tool_use":
                out.append(self._open_call(call))
            text = call.take()
            out.append(self._out.delta("input_json", text) if text else b"")
            if not call.ended:
                break
            out.append(self._out.stop())
            self._open = ""
            self._queue.popleft().closed = True
        return b"".join(out)

    # --- The end -------------------------------------------------------------------------

    def _ending(self) -> JsonObject:
        """Why the response ended. Raises ``UpstreamBroken`` if it is no response."""
        finish = self._finish
        if finish.reason == "error":
            raise _unusable(f"the upstream ended its response with an error ({finish.detail or 'no reason'})")
        wrong = next((call.start.name for call in self._calls.values() if not call.valid), None)
        if wrong is not None and finish.reason != "length":
            raise _unusable(f"the model called the tool {wrong!r} with arguments that are not a JSON object")
        if finish.reason == "stop" and finish.detail in self._context.extra.get("stop_sequences", ()):
            return {"stop_reason": "stop_sequence", "stop_sequence": finish.detail}
        return {"stop_reason": self._reason(finish), "stop_sequence": None}

    def _reason(self, finish: Finish) -> str:
        if finish.reason in ("stop", "tool_calls"):
            return "refusal" if self._refused else "tool_use" if self._calls else "end_turn"
        own = finish.detail or ""
        return own if REASONS.get(own) == finish.reason else WORDS.get(finish.reason, "end_turn")


#: What belongs into blocks of its own, or to those of texts.
_SAID = (TextDelta, RefusalDelta, ReasoningDelta, Citation, Carried)
_EMPTY: Mapping[str, JsonObject] = {
    "text": {"type": "text", "text": ""},
    "thinking": {"type": "thinking", "thinking": "", "signature": ""},
}


def _unusable(cause: str) -> UpstreamBroken:
    """The format cannot express this. The cause is told also where the whole response is refused."""
    error = UpstreamBroken(f"{cause[:1].upper()}{cause[1:]}.")
    error.cause = cause
    return error
