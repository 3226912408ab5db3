"""Responses of the wire format ``openai_responses``: events to bytes, plain and streamed.

Items are written one after another, as the format requires. An upstream may mix them (several calls at once): what
does not belong to the item under way waits for its end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, assert_never

from proxy_core import (
    BadRequest,
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
from proxy_core.dialects.common import json_bytes
from proxy_core.dialects.openai_chat import left_out_note, media_in
from proxy_plugin_openai_responses.dialect.common import MAKER, NAME, OWN_REASONING
from proxy_plugin_openai_responses.dialect.decode import ENCRYPTED
from proxy_plugin_openai_responses.dialect.decode_tools import Declared, table
from proxy_plugin_openai_responses.dialect.output import (
    CallItem,
    CarriedItem,
    ImageItem,
    Item,
    MessageItem,
    ReasoningItem,
    call_item,
    new_id,
)
from proxy_plugin_openai_responses.dialect.usage import encode_usage

_CHAT = "openai_chat"
#: What a response repeats of its request, and what it says if the request does not.
_ECHO: Mapping[str, Any] = {
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "prompt_cache_key": None,
    "reasoning": {"effort": None, "summary": None},
    "safety_identifier": None,
    "service_tier": None,
    "temperature": None,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": None,
    "top_p": None,
    "truncation": "disabled",
    "user": None,
}


class ResponsesEncoder:
    """Writes a response: events as they arrive when streaming, otherwise one object at ``close``."""

    def __init__(self, context: ResponseContext) -> None:
        body = context.extra.get("request", {})
        self._stream = context.stream
        include = body.get("include")
        wanted = isinstance(include, list) and ENCRYPTED in include
        self._sealed = wanted or body.get("store") is not False
        self._tools = _tools(body)
        self._head = _head(context, body)
        self._out: list[bytes] = []
        self._number = 0
        self._items: list[Item] = []
        #: How many of the items are finished; the next one is live.
        self._finished: list[JsonObject] = []
        self._calls: dict[int, CallItem] = {}
        self._phase: str | None = None
        #: The upstream said its images in this format; and types of media of which the client was told.
        self._own_media = False
        self._told: set[str] = set()
        self._usage: Usage | None = None
        self._finish = Finish(reason="stop")

    def feed(self, events: Sequence[ChatEvent]) -> bytes:
        if events and not self._number:
            self._begin()
        for event in events:
            self._event(event)
        return self._written()

    def close(self) -> bytes:
        if not self._number:
            self._begin()
        for call in self._calls.values():
            call.ended = True
        status, facts = self._outcome()
        while len(self._finished) < len(self._items):
            last = len(self._finished) == len(self._items) - 1
            self._end(self._items[len(self._finished)], status if last and status == "incomplete" else "completed")
            self._advance()
        response = {**self._head, "status": status, **facts, "output": self._finished}
        response["usage"] = None if self._usage is None else encode_usage(self._usage)
        if not self._stream:
            return json_bytes(response)
        self._emit(f"response.{status}", {"response": response})
        return self._written()

    def _outcome(self) -> tuple[Literal["completed", "incomplete", "failed"], JsonObject]:
        refused = any(isinstance(item, MessageItem) and item.refuses for item in self._items)
        match self._finish.reason:
            case "length":
                return "incomplete", {"incomplete_details": {"reason": "max_output_tokens"}}
            case "content_filter":
                return "incomplete", {"incomplete_details": {"reason": "content_filter"}}
            case "refusal" if not refused:
                return "incomplete", {"incomplete_details": {"reason": "content_filter"}}
            case "error":
                detail = f" ({self._finish.detail})" if self._finish.detail else ""
                message = f"The upstream ended the response with an error{detail}."
                return "failed", {"error": {"code": "server_error", "message": message}}
            case "stop" | "tool_calls" | "refusal" | "pause":
                return "completed", {}
            case _:
                assert_never(self._finish.reason)

    # --- Events in ---

    def _event(self, event: ChatEvent) -> None:
        match event:
            case Start():
                pass  # the id is the proxy's own, and the model has the client's name
            case UsageReport():
                self._usage = event.usage
            case Failed():
                raise UpstreamBroken(event.message)
            case _ if event.choice != 0:
                pass  # the format has only one
            case TextDelta():
                if event.text:
                    self._message().say("output_text", event.text, self._emit)
            case RefusalDelta():
                if event.text:
                    self._message().say("refusal", event.text, self._emit)
            case ReasoningDelta():
                self._reason(event)
            case CallStart():
                if event.opaque is not None:  # there is no other place for the signature of a call
                    self._reason(ReasoningDelta(text="", opaque=event.opaque))
                self._calls[event.call] = call = call_item(len(self._items), event, self._tools)
                self._add(call)
            case CallDelta():
                self._calls[event.call].say(event.arguments, self._emit)
            case CallEnd():
                call = self._calls[event.call]
                call.ended = call.complete  # otherwise it may be cut off, which is known at the end
                self._advance()
            case Citation():
                self._cite(event)
            case Carried():
                self._carry(event)
            case Finish():
                self._finish = event
            case _:
                assert_never(event)

    def _message(self) -> MessageItem:
        last = self._items[-1] if self._items else None
        if isinstance(last, MessageItem):
            return last
        message = MessageItem(index=len(self._items), id=new_id("msg"), phase=self._phase)
        self._add(message)
        return message

    def _reason(self, event: ReasoningDelta) -> None:
        """What is sealed ends a section; without a text before it, it is one of its own."""
        last = self._items[-1] if self._items else None
        if not isinstance(last, ReasoningItem) or last.ended:
            if not event.text and (event.opaque is None or not self._sealed):
                return
            last = ReasoningItem(index=len(self._items), id=new_id(OWN_REASONING))
            self._add(last)
        if event.text:
            last.say(event.text, self._emit)
        if event.opaque is not None:
            last.sealed = seal(event.opaque, MAKER) if self._sealed else None
            last.ended = True
            self._advance()

    def _cite(self, event: Citation) -> None:
        """Of this format are only those that no other one has."""
        if event.dialect not in (NAME, _CHAT):
            return
        inside = event.payload.get("url_citation")
        if not isinstance(inside, Mapping):
            self._supported(None)[0].cite(event.payload, self._emit)
            return
        message, before = self._supported(inside.get("start_index"))
        message.cite({"type": "url_citation", **inside, **_shifted(inside, before)}, self._emit)

    def _supported(self, start: object) -> tuple[MessageItem, int]:
        """The message with this place of the whole text, and how long the text before it is. It may be complete: the
        text came before its sources, and something else in between; then it has a text, as it gets no new one."""
        found = [item for item in self._items if isinstance(item, MessageItem) and (item.tells or not item.ended)]
        messages = found or [self._message()]
        before = 0
        for message in messages[:-1]:
            if isinstance(start, int) and start < before + message.length:
                return message, before
            before += message.length
        return messages[-1], before

    def _carry(self, event: Carried) -> None:
        match event:
            case Carried(dialect="openai_responses", payload={"phase": str(phase)}):
                self._phase = phase
            case Carried(dialect="openai_responses", payload={"item": Mapping() as item}):
                self._own_media = self._own_media or item.get("type") == ImageItem.kind
                self._add(CarriedItem(index=len(self._items), id=_id_of(item), payload=item, ended=True))
            case Carried(dialect="openai_chat", payload={"logprobs": {"content": list(found)}}):
                last = self._items[-1] if self._items else None
                if isinstance(last, MessageItem) and last.contents:
                    last.contents[-1].logprobs += found
            case Carried() if not self._own_media:
                for media in media_in(event):
                    self._media(media)

    def _media(self, media: InlineData) -> None:
        if media.media_type.startswith("image/"):
            self._add(ImageItem(index=len(self._items), id=new_id("ig"), result=media.data, ended=True))
        elif media.media_type not in self._told:
            self._told.add(media.media_type)
            self._message().say("output_text", left_out_note(media), self._emit)

    # --- Items, one after another ---

    def _add(self, item: Item) -> None:
        """It ends what may go on until then: a message, or reasoning."""
        if self._items and not isinstance(self._items[-1], CallItem):
            self._items[-1].ended = True
        self._items.append(item)
        self._advance()

    def _advance(self) -> None:
        """Finish the items that have ended, and go on with the first that has not."""
        while len(self._finished) < len(self._items):
            item = self._items[len(self._finished)]
            if not item.live:
                item.begin(self._emit)
            if not item.ended:
                return
            self._end(item, "completed")

    def _end(self, item: Item, status: str) -> None:
        if not item.live:
            item.begin(self._emit)
        self._finished.append(item.finish(self._emit, status))

    # --- Bytes out ---

    def _begin(self) -> None:
        response = {**self._head, "status": "in_progress", "output": [], "usage": None}
        self._emit("response.created", {"response": response})
        self._emit("response.in_progress", {"response": response})

    def _emit(self, kind: str, members: JsonObject) -> None:
        if self._stream:
            event = {"type": kind, "sequence_number": self._number, **members}
            self._out.append(sse.encode(json_bytes(event), kind))
        self._number += 1

    def _written(self) -> bytes:
        out = b"".join(self._out)
        self._out.clear()
        return out


def _tools(body: Mapping[str, Any]) -> Mapping[str, Declared]:
    """None if only an upstream of this format could read them; it knows the client's own names."""
    try:
        return table(body)
    except BadRequest:
        return {}


def _head(context: ResponseContext, body: Mapping[str, Any]) -> JsonObject:
    echo = {name: default if body.get(name) is None else body[name] for name, default in _ECHO.items()}
    head = {"id": context.id, "object": "response", "created_at": context.created, "model": context.model}
    store = context.extra.get("stores") is True and body.get("store") is not False
    stored = {"store": store, "previous_response_id": context.extra.get("previous")}
    return {**head, "error": None, "incomplete_details": None, **echo, **stored}


def _shifted(span: Mapping[str, Any], before: int) -> JsonObject:
    """The span within a message that begins where ``before`` is in the whole text."""
    found = {name: span.get(name) for name in ("start_index", "end_index")}
    return {name: max(0, place - before) for name, place in found.items() if isinstance(place, int)}


def _id_of(item: Mapping[str, Any]) -> str:
    found = item.get("id")
    return found if isinstance(found, str) and found else new_id("item")
