"""Responses of the wire format ``openai_chat``: bytes to events, plain and streamed."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence

from msgspec import Struct, field

from proxy_core import sse
from proxy_core.dialects.common import first_of_list, json_bytes, load_object, no_response
from proxy_core.dialects.openai_chat.errors import answers, error_of, status_of_error
from proxy_core.dialects.openai_chat.finish import only_fails, reason_of, silent_failure
from proxy_core.dialects.openai_chat.signatures import decode_signature
from proxy_core.dialects.openai_chat.usage import usage_in
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

_TOP_NAMED = frozenset("id object created model choices usage error".split())
_DELTA_NAMED = frozenset(
    "role content refusal reasoning_content reasoning reasoning_details tool_calls function_call annotations".split()
)


class OpenAIChatDecoder:
    """Reads a response, streamed or plain. Any split of the bytes gives the same events."""

    what = "chat completion"

    def __init__(self, streaming: bool) -> None:
        self._streaming = streaming
        self._splitter = sse.EventSplitter(MAX_EVENT_BYTES)
        self._whole: list[bytes] = []
        self._choices: dict[int, _ChoiceState] = {}
        self._usage: Usage | None = None
        self._started = self._failed = False
        self.ended = False

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
        if not (self.ended or finished or self._failed):
            raise StreamCut("The upstream's response ended before it was complete.")
        if not self._failed and not any(c.begun or c.word for c in self._choices.values()):
            raise UpstreamBroken(f"The upstream's response is not a {self.what}.")
        return events

    def _block(self, block: bytes) -> Iterator[ChatEvent]:
        for event in sse.events(block):
            if self._failed or self.ended:
                return
            if event.data.startswith(b"[DONE]"):
                yield from self._end()
                return
            if not event.data.strip():
                continue
            chunk = load_object(event.data)
            if chunk is None and (listed := first_of_list(event.data)) is not None and error_of(listed):
                chunk = listed
            if chunk is None:
                raise UpstreamBroken("The upstream sent an event that is not a JSON object.")
            if event.name == "error" and not chunk.get("error"):
                chunk = {"error": chunk}
            yield from self._chunk(chunk, "delta")

    def _end(self) -> Iterator[ChatEvent]:
        """The end marker finishes what no reason, or an unknown one, has finished."""
        self.ended = True
        for state in self._choices.values():
            if not state.finished and (state.begun or state.word):
                yield from state.finish(state.word)

    def _response(self, data: bytes) -> Iterator[ChatEvent]:
        response = load_object(data)
        if response is None and (listed := first_of_list(data)) is not None and error_of(listed):
            response = listed
        if response is None or not (answers(response.get("choices")) or error_of(response)):
            raise no_response(data, self.what)
        yield from self._chunk(response, "message")
        if not self._failed:
            yield from self._end()

    def _chunk(self, chunk: JsonObject, member: str) -> Iterator[ChatEvent]:
        error = error_of(chunk)
        if error is not None:
            self._failed = True
            yield _failed(error)
            return
        if not self._started:
            self._started = True
            yield Start(
                id=_str(chunk.get("id")),
                model=_str(chunk.get("model")),
                created=chunk.get("created") if isinstance(chunk.get("created"), int) else None,
                extra={k: v for k, v in chunk.items() if k not in _TOP_NAMED},
            )
        for choice in _list(chunk.get("choices")):
            if isinstance(choice, dict):
                if (
                    choice.get("finish_reason")
                    and only_fails(choice)
                    and not any(state.begun for state in self._choices.values())
                ):
                    self._failed = True
                    yield _failed(silent_failure(choice))
                    return
                yield from self._choice(choice, member)
        usage = usage_in(chunk, self._usage)
        if usage is not None and usage is not self._usage:
            self._usage = usage
            yield UsageReport(usage=usage)

    def _choice(self, choice: JsonObject, member: str) -> Iterator[ChatEvent]:
        index = choice.get("index")
        index = index if isinstance(index, int) else 0
        state = self._choices.setdefault(index, _ChoiceState(index))
        delta = choice.get(member) or choice.get(_OTHER[member])
        for event in state.delta(delta) if isinstance(delta, dict) else ():
            state.begun = True
            yield event
        if choice.get("logprobs"):
            yield Carried(dialect=NAME, payload={"logprobs": choice["logprobs"]}, choice=index)
        word = choice.get("finish_reason")
        state.word = word if isinstance(word, str) and word else state.word
        if reason_of(word) is not None and not state.finished:
            yield from state.finish(str(word))


def _list(value: object) -> Sequence[JsonObject]:
    return value if isinstance(value, list) else ()


#: Where a choice's content is, in a stream and in a whole response; some servers confuse them.
_OTHER = {"delta": "message", "message": "delta"}


def _failed(error: JsonObject) -> Failed:
    code, status = error.get("code"), status_of_error(error)
    return Failed(
        message=str(error.get("message") or "The upstream reported an error."),
        status=status,
        type=_str(error.get("type")),
        code=str(code) if isinstance(code, int) and code != status else _str(code),
        extra={key: value for key, value in error.items() if key not in ("message", "type", "code")},
    )


class _ChoiceState(Struct):
    """The open parts of one choice. An upstream's call index is a hint: a new id at the same index is a new call."""

    choice: int
    begun: bool = False
    finished: bool = False
    #: The last reason for its end, known or not.
    word: str = ""
    calls: int = 0
    by_index: dict[int, tuple[int, str]] = field(default_factory=dict)
    by_id: dict[str, int] = field(default_factory=dict)
    #: Of calls without an id: name, and arguments up to now.
    unnumbered: dict[int, tuple[str, list[str]]] = field(default_factory=dict)

    def delta(self, delta: JsonObject) -> Iterator[ChatEvent]:
        thought = delta.get("reasoning_content") or delta.get("reasoning")
        if isinstance(thought, str) and thought:
            yield ReasoningDelta(text=thought, choice=self.choice)
        if delta.get("reasoning_details"):
            details = {"delta": {"reasoning_details": delta["reasoning_details"]}}
            yield Carried(dialect=NAME, payload=details, choice=self.choice)
        yield from self._content(delta.get("content"))
        if isinstance(delta.get("refusal"), str) and delta["refusal"]:
            yield RefusalDelta(text=delta["refusal"], choice=self.choice)
        for note in _list(delta.get("annotations")):
            yield Citation(dialect=NAME, payload=note, choice=self.choice)
        calls = _list(delta.get("tool_calls"))
        if isinstance(delta.get("function_call"), dict):
            calls = [{"index": 0, "function": delta["function_call"]}]
        for position, call in enumerate(calls):
            if isinstance(call, dict):
                yield from self._call(call, position)
        rest = {k: v for k, v in delta.items() if k not in _DELTA_NAMED and v is not None}
        if rest:
            yield Carried(dialect=NAME, payload={"delta": rest}, choice=self.choice)

    def _content(self, content: object) -> Iterator[ChatEvent]:
        """A text, or a list of parts: texts, thoughts (a text or a list of texts), and others, which are carried."""
        if isinstance(content, str) and content:
            yield TextDelta(text=content, choice=self.choice)
        for part in content if isinstance(content, list) else ():
            match part:
                case {"type": "text" | "output_text", "text": str(text)} | str(text):
                    yield TextDelta(text=text, choice=self.choice)
                case {"type": "thinking", "thinking": thought} | {"type": "reasoning", "reasoning": thought}:
                    yield ReasoningDelta(text=_joined(thought), choice=self.choice)
                case {"type": "refusal", "refusal": str(text)}:
                    yield RefusalDelta(text=text, choice=self.choice)
                case _:
                    yield Carried(dialect=NAME, payload={"delta": {"content_parts": [part]}}, choice=self.choice)

    def _call(self, call: JsonObject, position: int) -> Iterator[ChatEvent]:
        index = call.get("index")
        index = index if isinstance(index, int) else position
        call_id = _str(call.get("id")) or ""
        kind = "custom" if isinstance(call.get("custom"), dict) else "function"
        spec = call.get(kind)
        spec = spec if isinstance(spec, dict) else {}
        name = _str(spec.get("name"))
        text = spec.get("arguments" if kind == "function" else "input")
        if isinstance(text, dict):  # some upstreams send an object where a string belongs
            text = json_bytes(text).decode()
        text = text if isinstance(text, str) else ""
        number = self._number(index, call_id, name or "", text)
        if number is None:
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
            if not call_id:
                self.unnumbered[number] = name, []
        if text:
            if number in self.unnumbered:
                self.unnumbered[number][1].append(text)
            yield CallDelta(call=number, arguments=text, choice=self.choice)

    def _number(self, index: int, call_id: str, name: str, text: str) -> int | None:
        """Some upstreams give all calls one id: a name at a new index begins another one. So does a name where neither
        index nor id is new, after a call without an id whose arguments are complete.
        """
        known = self.by_index.get(index)
        if known is not None and (not call_id or call_id == known[1]):
            return None if name and self._is_over(known[0], name, text) else known[0]
        return None if known is None and name else self.by_id.get(call_id)

    def _is_over(self, number: int, name: str, text: str) -> bool:
        """Another name, or more text after complete arguments: it is not the same call's name, repeated."""
        own_name, arguments = self.unnumbered.get(number, ("", []))
        return bool(arguments) and (name != own_name or bool(text)) and load_object("".join(arguments)) is not None

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
        reason = reason_of(word)
        detail = word if reason is None and word else None
        yield Finish(reason=reason or ("tool_calls" if self.calls else "stop"), detail=detail, choice=self.choice)


def _joined(thought: object) -> str:
    parts = thought if isinstance(thought, list) else [thought]
    texts = (part.get("text") if isinstance(part, Mapping) else part for part in parts)
    return "".join(text for text in texts if isinstance(text, str))


def _str(value: object) -> str | None:
    return value if isinstance(value, str) else None
