"""The items of a response as they grow, each with its events and its final form."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from secrets import token_hex
from typing import Any, ClassVar, Literal

from msgspec import Struct, field

from proxy_core import CallStart, Extra, JsonObject
from proxy_core.dialects.common import flat_name
from proxy_plugin_openai_responses.dialect.decode_tools import Declared

#: Writes one event: its type, and its members.
Emit = Callable[[str, JsonObject], None]


class Item(Struct, kw_only=True):
    """One item. Only one is ``live`` at a time, which means that its events are written; the others wait for it."""

    index: int
    id: str
    ended: bool = False
    live: bool = False

    def begin(self, emit: Emit) -> None:
        """Write what has been collected."""
        self.live = True
        emit("response.output_item.added", {"output_index": self.index, "item": self.opening()})

    def finish(self, emit: Emit, status: str) -> JsonObject:
        item = self.whole(status)
        emit("response.output_item.done", {"output_index": self.index, "item": item})
        return item

    def opening(self) -> JsonObject:
        raise NotImplementedError

    def whole(self, status: str) -> JsonObject:
        raise NotImplementedError

    def _at(self, **place: Any) -> JsonObject:
        return {"item_id": self.id, "output_index": self.index, **place}


class Content(Struct):
    """A text or a refusal within a message."""

    kind: Literal["output_text", "refusal"]
    pieces: list[str] = field(default_factory=list)
    annotations: list[Extra] = field(default_factory=list)
    logprobs: list[Extra] = field(default_factory=list)

    def part(self, text: str) -> JsonObject:
        if self.kind == "refusal":
            return {"type": "refusal", "refusal": text}
        return {"type": "output_text", "text": text, "annotations": self.annotations, "logprobs": self.logprobs}


class MessageItem(Item, kw_only=True):
    phase: str | None = None
    contents: list[Content] = field(default_factory=list)

    @property
    def refuses(self) -> bool:
        return any(content.kind == "refusal" for content in self.contents)

    @property
    def tells(self) -> bool:
        return any(content.kind == "output_text" for content in self.contents)

    def opening(self) -> JsonObject:
        return self._message("in_progress", [])

    def whole(self, status: str) -> JsonObject:
        return self._message(status, [content.part("".join(content.pieces)) for content in self.contents])

    def _message(self, status: str, content: list[JsonObject]) -> JsonObject:
        phase = {"phase": self.phase} if self.phase is not None else {}
        return {"id": self.id, "type": "message", "status": status, "role": "assistant", "content": content, **phase}

    def begin(self, emit: Emit) -> None:
        Item.begin(self, emit)
        contents, self.contents = self.contents, []
        for content in contents:
            self.say(content.kind, "".join(content.pieces), emit)
            self.contents[-1].logprobs = content.logprobs
            for annotation in content.annotations:
                self.cite(annotation, emit)

    def say(self, kind: Literal["output_text", "refusal"], text: str, emit: Emit) -> None:
        if not self.contents or self.contents[-1].kind != kind:
            self._end_content(emit)
            self.contents.append(Content(kind))
            if self.live:
                emit("response.content_part.added", {**self._place(), "part": Content(kind).part("")})
        self.contents[-1].pieces.append(text)
        if self.live:
            rest: JsonObject = {"logprobs": []} if kind == "output_text" else {}
            emit(f"response.{kind}.delta", {**self._place(), "delta": text, **rest})

    @property
    def length(self) -> int:
        return sum(len(piece) for content in self.contents if content.kind == "output_text" for piece in content.pieces)

    def cite(self, annotation: Extra, emit: Emit) -> None:
        """A source for a text of this message, which may be complete; where there is none, for an empty one."""
        texts = [at for at, content in enumerate(self.contents) if content.kind == "output_text"]
        if not texts:
            self.say("output_text", "", emit)
        at = texts[-1] if texts else len(self.contents) - 1
        annotations = self.contents[at].annotations
        annotations.append(annotation)
        if self.live:
            place = self._at(content_index=at, annotation_index=len(annotations) - 1)
            emit("response.output_text.annotation.added", {**place, "annotation": annotation})

    def finish(self, emit: Emit, status: str) -> JsonObject:
        self._end_content(emit)
        return Item.finish(self, emit, status)

    def _end_content(self, emit: Emit) -> None:
        if not self.contents or not self.live:
            return
        content, place = self.contents[-1], self._place()
        text = "".join(content.pieces)
        if content.kind == "refusal":
            emit("response.refusal.done", {**place, "refusal": text})
        else:
            emit("response.output_text.done", {**place, "text": text, "logprobs": content.logprobs})
        emit("response.content_part.done", {**place, "part": content.part(text)})

    def _place(self) -> JsonObject:
        return self._at(content_index=len(self.contents) - 1)


class ReasoningItem(Item, kw_only=True):
    """``sealed`` is what its maker wants back."""

    pieces: list[str] = field(default_factory=list)
    sealed: str | None = None

    def opening(self) -> JsonObject:
        return {"id": self.id, "type": "reasoning", "summary": []}

    def whole(self, status: str) -> JsonObject:
        summary = [{"type": "summary_text", "text": "".join(self.pieces)}] if self.pieces else []
        sealed = {"encrypted_content": self.sealed} if self.sealed is not None else {}
        return {"id": self.id, "type": "reasoning", "summary": summary, **sealed}

    def begin(self, emit: Emit) -> None:
        Item.begin(self, emit)
        text, self.pieces = "".join(self.pieces), []
        if text:
            self.say(text, emit)

    def say(self, text: str, emit: Emit) -> None:
        if self.live and not self.pieces:
            emit(
                "response.reasoning_summary_part.added",
                {**self._place(), "part": {"type": "summary_text", "text": ""}},
            )
        self.pieces.append(text)
        if self.live:
            emit("response.reasoning_summary_text.delta", {**self._place(), "delta": text})

    def finish(self, emit: Emit, status: str) -> JsonObject:
        if self.pieces:
            text = "".join(self.pieces)
            emit("response.reasoning_summary_text.done", {**self._place(), "text": text})
            emit(
                "response.reasoning_summary_part.done",
                {**self._place(), "part": {"type": "summary_text", "text": text}},
            )
        return Item.finish(self, emit, status)

    def _place(self) -> JsonObject:
        return self._at(summary_index=0)


class CallItem(Item, kw_only=True):
    """A call of a tool by the client's own names. ``wrapped``: its text is an argument of a function."""

    start: CallStart
    tool: Declared
    wrapped: bool = False
    pieces: list[str] = field(default_factory=list)

    def opening(self) -> JsonObject:
        return self._call("", "in_progress")

    def whole(self, status: str) -> JsonObject:
        return self._call(self.text, status)

    @property
    def text(self) -> str:
        text = "".join(self.pieces)
        if self.tool.kind == "custom":
            return unwrapped(text) if self.wrapped else text
        return text if text.strip() else "{}"

    @property
    def complete(self) -> bool:
        """Whether the arguments are JSON; those of a custom tool may be any text."""
        if self.tool.kind == "custom" and not self.wrapped:
            return True
        text = "".join(self.pieces)
        try:
            return not text.strip() or json.loads(text) is not None
        except (ValueError, RecursionError):
            return False

    def _call(self, text: str, status: str) -> JsonObject:
        head: JsonObject = {"id": self.id, "call_id": self.start.id, "status": status}
        if self.tool.kind == "tool_search":
            return {"type": "tool_search_call", **head, "execution": "client", "arguments": _object(text)}
        space = {"namespace": self.tool.namespace} if self.tool.namespace is not None else {}
        if self.tool.kind == "custom":
            return {"type": "custom_tool_call", **head, "name": self.tool.name, "input": text, **space}
        return {"type": "function_call", **head, "name": self.tool.name, "arguments": text, **space}

    def begin(self, emit: Emit) -> None:
        Item.begin(self, emit)
        text = "".join(self.pieces)
        if text and self._streams:
            emit(f"response.{self._event}.delta", {**self._at(), "delta": text})

    def say(self, text: str, emit: Emit) -> None:
        self.pieces.append(text)
        if self.live and text and self._streams:
            emit(f"response.{self._event}.delta", {**self._at(), "delta": text})

    def finish(self, emit: Emit, status: str) -> JsonObject:
        text = self.text
        if self.tool.kind != "tool_search":
            if text and (not self._streams or not any(self.pieces)):
                emit(f"response.{self._event}.delta", {**self._at(), "delta": text})
            custom = self.tool.kind == "custom"
            emit(f"response.{self._event}.done", {**self._at(), "input" if custom else "arguments": text})
        return Item.finish(self, emit, status)

    @property
    def _streams(self) -> bool:
        """Whether its text can be written in pieces."""
        return not self.wrapped and self.tool.kind != "tool_search"

    @property
    def _event(self) -> str:
        return "custom_tool_call_input" if self.tool.kind == "custom" else "function_call_arguments"


class CarriedItem(Item, kw_only=True):
    """An item that an upstream of this format sent whole."""

    payload: Extra

    def opening(self) -> JsonObject:
        return {**self.payload, "id": self.id}

    def whole(self, status: str) -> JsonObject:
        return self.opening()


class ImageItem(Item, kw_only=True):
    """An image that the model made, in base64."""

    kind: ClassVar[str] = "image_generation_call"
    result: str

    def opening(self) -> JsonObject:
        return {"id": self.id, "type": self.kind, "status": "in_progress", "result": None}

    def whole(self, status: str) -> JsonObject:
        return {"id": self.id, "type": self.kind, "status": "completed", "result": self.result}

    def finish(self, emit: Emit, status: str) -> JsonObject:
        emit(f"response.{self.kind}.completed", self._at())
        return Item.finish(self, emit, status)


def call_item(index: int, start: CallStart, tools: Mapping[str, Declared]) -> CallItem:
    """The upstream may know the tool as its client does, or by a flat name and as a function."""
    declared = tools.get(flat_name(start.name, start.namespace))
    native: Literal["function", "custom"] = start.kind
    tool = declared or Declared(start.name, start.namespace, native)
    prefix = {"function": "fc", "custom": "ctc", "tool_search": "tsc"}[tool.kind]
    wrapped = tool.kind == "custom" and start.kind == "function"
    return CallItem(index=index, id=new_id(prefix), start=start, tool=tool, wrapped=wrapped)


def new_id(prefix: str) -> str:
    return f"{prefix}_{token_hex(24)}"


def unwrapped(text: str) -> str:
    """The text of a custom tool out of the function's arguments; a text that is none of these is taken as it is."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return text
    if isinstance(found, dict) and isinstance(found.get("input"), str):
        return str(found["input"])
    return text


def _object(text: str) -> object:
    try:
        return json.loads(text) if text else {}
    except (ValueError, RecursionError):
        return text
