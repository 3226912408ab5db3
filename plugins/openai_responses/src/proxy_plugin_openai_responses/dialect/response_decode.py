"""Responses of the wire format ``openai_responses``: bytes to events, streamed and plain.

A stream repeats everything: as deltas, as a whole text, in its part, its item and the response. Servers leave out some
of these. Whatever comes first is passed on; what repeats it adds nothing, and what extends it adds the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from proxy_core import (
    ChatEvent,
    Finish,
    FinishReason,
    JsonObject,
    Start,
    StreamCut,
    UpstreamBroken,
    UsageReport,
    load_object,
    sse,
)
from proxy_core.dialects.common import no_response
from proxy_plugin_openai_responses.dialect.failed import error_in, error_of, failed
from proxy_plugin_openai_responses.dialect.output_item import Item, Spoken
from proxy_plugin_openai_responses.dialect.usage import decode_usage

MAX_EVENT_BYTES = 16 * 1024 * 1024
_WHAT = "response"
#: Why a response is incomplete.
_INCOMPLETE: Mapping[str, FinishReason] = {"content_filter": "content_filter"}


class ResponsesDecoder:
    """Reads a response. Any split of the bytes gives the same events."""

    def __init__(self, streaming: bool) -> None:
        self._streaming = streaming
        self._splitter = sse.EventSplitter(MAX_EVENT_BYTES)
        self._whole: list[bytes] = []
        self._items: dict[int, Item] = {}
        self._spoken = Spoken()
        self._calls = 0
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
            return list(self._body(b"".join(self._whole)))
        events = list(self._block(self._splitter.close()))
        if not (self.ended or self._failed):
            raise StreamCut("The upstream's response ended before it was complete.")
        return events

    def _body(self, data: bytes) -> Iterator[ChatEvent]:
        response = load_object(data)
        if response is None or not (isinstance(response.get("output"), list) or error_of(response)):
            error = error_in(response) if response is not None else None
            if error is None:
                raise no_response(data, _WHAT)
            yield failed(error)
            return
        if response.get("status") in ("queued", "in_progress"):
            raise UpstreamBroken("The upstream's response is not complete.")
        yield from self._final(response)

    def _block(self, block: bytes) -> Iterator[ChatEvent]:
        for event in sse.events(block):
            if self._failed or self.ended:
                return
            if not event.data.strip() or event.data.startswith(b"[DONE]"):
                continue
            value = load_object(event.data)
            if value is None:
                raise UpstreamBroken("The upstream sent an event that is not a JSON object.")
            kind = value.get("type")
            yield from self._event(kind if isinstance(kind, str) else event.name or "", value)

    def _event(self, kind: str, event: JsonObject) -> Iterator[ChatEvent]:
        read = _READERS.get(kind)
        if read is not None:
            item = self._item(event)
            yield from read(item, event)
            return
        response = event.get("response")
        if kind in _FINAL and isinstance(response, dict):
            yield from self._final(response if kind != "response.failed" else {"status": "failed", **response})
        elif isinstance(response, dict):
            yield from self._start(response)
        elif kind in ("response.output_item.added", "response.output_item.done"):
            found = event.get("item")
            if isinstance(found, dict):
                yield from self._item_event(event, found, done=kind.endswith("done"))
        elif (error := error_in(event)) is not None:
            self._failed = True
            yield failed(error)

    def _start(self, response: JsonObject) -> Iterator[ChatEvent]:
        if not self._started:
            self._started = True
            yield Start(
                id=_str(response.get("id")), model=_str(response.get("model")), created=_int(response.get("created_at"))
            )

    def _item(self, event: JsonObject) -> Item:
        index = event.get("output_index")
        index = index if isinstance(index, int) else 0
        return self._items.get(index) or self._items.setdefault(index, Item(spoken=self._spoken))

    def _item_event(self, event: JsonObject, found: JsonObject, *, done: bool) -> Iterator[ChatEvent]:
        item = self._item(event)
        if item.opens(found):
            item.number, self._calls = self._calls, self._calls + 1
        yield from item.done(found) if done else item.added(found)

    def _final(self, response: JsonObject) -> Iterator[ChatEvent]:
        error = error_of(response)
        if error is not None:
            self._failed = True
            yield failed(error)
            return
        yield from self._start(response)
        output = response.get("output")
        for index, found in enumerate(output if isinstance(output, list) else ()):
            if isinstance(found, dict):
                yield from self._item_event({"output_index": index}, found, done=True)
        for item in self._items.values():
            yield from item.end()
        usage = decode_usage(response.get("usage"))
        if usage is not None:
            yield UsageReport(usage=usage)
        self.ended = True
        yield self._finish(response)

    def _finish(self, response: JsonObject) -> Finish:
        if response.get("status") == "incomplete":
            details = response.get("incomplete_details")
            word = details.get("reason") if isinstance(details, dict) else None
            return Finish(reason=_INCOMPLETE.get(str(word), "length"), detail=_str(word))
        if self._calls:
            return Finish(reason="tool_calls")
        return Finish(reason="refusal" if any(item.refused for item in self._items.values()) else "stop")


_FINAL = frozenset({"response.completed", "response.incomplete", "response.failed"})

_READERS: Mapping[str, Callable[[Item, JsonObject], Iterator[ChatEvent]]] = {
    f"response.{name}": read
    for name, read in {
        "output_text.delta": Item.text_delta,
        "output_text.done": Item.text_done,
        "output_text.annotation.added": Item.annotation,
        "refusal.delta": Item.refusal_delta,
        "refusal.done": Item.refusal_done,
        "function_call_arguments.delta": Item.call_delta,
        "function_call_arguments.done": Item.call_done,
        "custom_tool_call_input.delta": Item.call_delta,
        "custom_tool_call_input.done": Item.call_done,
        "reasoning_summary_text.delta": Item.summary_delta,
        "reasoning_summary_text.done": Item.summary_done,
        "reasoning_text.delta": Item.reasoning_delta,
        "reasoning_text.done": Item.reasoning_done,
    }.items()
}


def _str(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _int(value: Any) -> int | None:
    """Seconds, which some servers send with a fraction."""
    return int(value) if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 2**53 else None
