"""Turn a response's chunks into the form that OpenAI would have sent; qwen-code.md section 9 lists the oddities.

Pure: a chunk in, chunks out. Finish reason and usage are held until the end, whichever came first.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from typing import Any

from msgspec import Struct, field

from proxy_core import JsonObject, StreamCut, json_bytes, load_json
from proxy_plugin_qwen_code.texts import Snapshots, ThinkTags
from proxy_plugin_qwen_code.tools import DUMMY_NAME

#: Error codes that the text of an ``error_finish`` may begin with.
_CODE = re.compile(r"\b(Throttling(?:\.\w+)?|limit_requests|limit_burst_rate|InternalError(?:\.\w+)?|\w+Unavailable)\b")


class StreamRepair:
    """One response. ``failed`` is true once an error has been emitted; nothing follows it."""

    def __init__(self, *, think_tags: bool) -> None:
        self._think_tags = think_tags
        self._choices: dict[int, _Choice] = {}
        self._usage: JsonObject | None = None
        self._last: JsonObject = {}
        self.failed = False

    def chunk(self, chunk: JsonObject) -> Iterator[JsonObject]:
        """Feed one streamed chunk, or a complete response."""
        if self.failed:
            return
        if error := error_in(chunk):
            yield self._fails(error)
            return
        if isinstance(usage := chunk.get("usage"), dict) and usage:
            self._usage = _with_cached(usage)  # cumulative if repeated: the last one is used
        self._last = {key: value for key, value in chunk.items() if key not in ("choices", "usage")}
        out = []
        for given in _list(chunk.get("choices")):
            if not isinstance(given, dict):
                continue
            index = given["index"] if isinstance(given.get("index"), int) else 0
            choice = self._choices.setdefault(index, _Choice(index, ThinkTags() if self._think_tags else None))
            delta = _object(given.get("delta")) or _object(given.get("message"))
            if given.get("finish_reason") == "error_finish":
                yield self._fails(_error_finish(delta))
                return
            choice.finish = _text(given.get("finish_reason")) or choice.finish  # "" is null
            out.append({**_without(given, "message"), "delta": choice.delta(delta), "finish_reason": None})
        if out:
            yield {**self._last, "choices": out}

    def end(self, *, done: bool) -> Iterator[JsonObject]:
        """Emit what was held. ``done``: the end was marked. Raises ``StreamCut`` if the stream ended incomplete."""
        if self.failed:
            return
        complete = bool(self._choices) and all(c.complete(self._usage is not None) for c in self._choices.values())
        if not (done or complete):
            raise StreamCut("The upstream's response ended before it was complete.")
        for index, choice in sorted(self._choices.items()):
            delta, word = choice.end()
            yield {**self._last, "choices": [{"index": index, "delta": delta, "finish_reason": word}]}
        if self._usage is not None:
            yield {**self._last, "choices": [], "usage": self._usage}

    def _fails(self, error: JsonObject) -> JsonObject:
        self.failed = True
        return {"error": error}


def error_in(chunk: JsonObject) -> JsonObject | None:
    """The error object: OpenAI's form, a bare string (the Coding Plan's gate), or DashScope's form without nesting."""
    error = chunk.get("error")
    if isinstance(error, dict):
        return error
    if error:
        return {"message": str(error)}
    if "choices" not in chunk and isinstance(chunk.get("message"), str) and chunk.get("code"):
        return {"message": chunk["message"], "code": chunk["code"]}
    return None


def _error_finish(delta: JsonObject) -> JsonObject:
    """The error's text is in the place of the answer's text."""
    text = str(delta.get("content") or "The upstream gave up.")
    found = _CODE.search(text)
    return {"message": text[:2000], "code": found[1] if found else "error_finish"}


def _with_cached(usage: JsonObject) -> JsonObject:
    details = usage.get("prompt_tokens_details")
    cached = usage.get("cached_tokens")
    if not isinstance(cached, int) or (isinstance(details, dict) and "cached_tokens" in details):
        return usage
    return {**usage, "prompt_tokens_details": {**_object(details), "cached_tokens": cached}}


def _without(given: JsonObject, *names: str) -> JsonObject:
    return {key: value for key, value in given.items() if key not in names}


# --- One choice --------------------------------------------------------------------------


class _Call(Struct):
    number: int
    id: str = ""
    #: Whether the upstream has sent an id; if not, the next id belongs to this call.
    given: bool = False
    name: str = ""
    arguments: str = ""
    opened: bool = False

    @property
    def dummy(self) -> bool:
        return self.name == DUMMY_NAME

    @property
    def whole(self) -> bool:
        return not self.arguments or _is_json(self.arguments)


class _Choice(Struct):
    """What one choice has contained so far."""

    index: int
    tags: ThinkTags | None
    finish: str | None = None
    text: Snapshots = field(default_factory=Snapshots)
    thought: Snapshots = field(default_factory=Snapshots)
    reasoned: bool = False
    by_index: dict[int, _Call] = field(default_factory=dict)
    by_id: dict[str, _Call] = field(default_factory=dict)
    calls: list[_Call] = field(default_factory=list)

    def delta(self, delta: JsonObject) -> JsonObject:
        out = _without(delta, "content", "reasoning_content", "reasoning", "tool_calls")
        thought = _text(delta.get("reasoning_content")) or _text(delta.get("reasoning"))
        self.reasoned = self.reasoned or bool(thought)
        thought, text = self.thought.feed(thought), self.text.feed(_text(delta.get("content")))
        calls = _list(delta.get("tool_calls"))
        if calls:
            thought, text = thought + self.thought.close(), text + self.text.close()
        return self._changes(out, thought, text, calls)

    def _changes(self, out: JsonObject, thought: str, text: str, calls: Any = (), *, last: bool = False) -> JsonObject:
        if self.tags is not None and self.reasoned:
            # Reasoning arrived in its own field, so tags are text.
            text, self.tags = "".join(self.tags.close()) + text, None
        if self.tags is not None:
            tagged, text = self.tags.feed(text)
            if last:
                more, rest = self.tags.close()
                tagged, text = tagged + more, text + rest
            thought += tagged
        if thought:
            out["reasoning_content"] = thought
        if text:
            out["content"] = text
        opened = [one for n, call in enumerate(calls) if isinstance(call, dict) for one in self._call(call, n)]
        if opened:
            out["tool_calls"] = opened
        return out

    def _call(self, given: JsonObject, position: int) -> Iterator[JsonObject]:
        function = given.get("function")
        function = function if isinstance(function, dict) else {}
        arguments = function.get("arguments")
        more = json_bytes(arguments).decode() if isinstance(arguments, dict) else _text(arguments)
        index = given["index"] if isinstance(given.get("index"), int) else position
        call_id, name = _text(given.get("id")), _text(function.get("name"))
        call = self._place(index, call_id)
        if call.opened and name and more and more == call.arguments:
            return  # the complete call, repeated at the end
        call.arguments += more
        if not call.opened and name:
            # A call begins when its name arrives; a call without an id gets one.
            call.name, call.opened = name, True
            call.id = call.id or f"call_{uuid.uuid4().hex[:24]}"
            self.by_id.setdefault(call.id, call)
            if not call.dummy:
                whole = {"name": name, "arguments": call.arguments}
                yield {"index": call.number, "id": call.id, "type": "function", "function": whole}
        elif call.opened and more and not call.dummy:
            yield {"index": call.number, "function": {"arguments": more}}

    def _place(self, index: int, call_id: str) -> _Call:
        """The call that a delta belongs to. An id is decisive; an index counts only if no other id contradicts it."""
        if call_id in self.by_id:
            return self.by_id[call_id]
        call = self.by_index.get(index)
        if call is None or (call_id and call.given and call_id != call.id):
            call = self.by_index[index] = _Call(len(self.calls))
            self.calls.append(call)
        if call_id:
            call.given, call.id = True, call.id or call_id
            self.by_id[call_id] = call
        return call

    def complete(self, counted: bool) -> bool:
        """Whether it gave a finish reason, or nothing can be missing: calls are complete and usage arrived."""
        return self.finish is not None or (bool(self.calls) and counted and all(call.whole for call in self.calls))

    def end(self) -> tuple[JsonObject, str]:
        delta = self._changes({}, self.thought.close(), self.text.close(), last=True)
        real = [call for call in self.calls if call.opened and not call.dummy]
        empty = [{"index": call.number, "function": {"arguments": "{}"}} for call in real if not call.arguments]
        if empty:
            delta["tool_calls"] = empty
        word = self.finish or "stop"
        if real and word in ("stop", "tool_calls"):
            word = "tool_calls" if all(call.whole for call in real) else "length"
        elif word == "tool_calls":
            word = "stop"  # no call was made, or only one of the dummy tool
        return delta, word


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _object(value: object) -> JsonObject:
    return value if isinstance(value, dict) else {}


def _is_json(text: str) -> bool:
    try:
        load_json(text)
    except ValueError:
        return False
    return True
