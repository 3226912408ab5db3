"""Responses of ``anthropic_messages``, bytes to events: a message, or the events of a stream."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from proxy_core import (
    ChatEvent,
    Failed,
    Finish,
    JsonObject,
    Start,
    StreamCut,
    UpstreamBroken,
    UsageReport,
    sse,
)
from proxy_core.dialects.common import load_object, no_response
from proxy_plugin_anthropic.dialect.common import ERROR_STATUSES, MAKER, REASONS
from proxy_plugin_anthropic.dialect.names import NameTable
from proxy_plugin_anthropic.dialect.response_blocks import Block, Content, block_of
from proxy_plugin_anthropic.dialect.usage import decode_usage, merged_usage

MAX_EVENT_BYTES = 64 * 1024 * 1024


class AnthropicDecoder:
    """Decodes a response, streamed or whole. Any split of the bytes gives the same events.

    ``names`` are the request's, to restore the client's names of tools; ``maker`` can read the signatures.
    """

    def __init__(self, streaming: bool, *, names: NameTable | None = None, maker: str = MAKER) -> None:
        self._streaming = streaming
        self._splitter = sse.EventSplitter(MAX_EVENT_BYTES)
        self._whole: list[bytes] = []
        self._content = Content(names or NameTable(), maker)
        self._blocks: dict[int, Block] = {}
        self._usage: Mapping[str, Any] = {}
        self._delta: JsonObject = {}
        self._started = self._failed = False
        self.ended = False

    def feed(self, data: bytes) -> Sequence[ChatEvent]:
        if not self._streaming:
            self._whole.append(data)
            return ()
        return list(self._read(self._splitter.feed(data)))

    def close(self) -> Sequence[ChatEvent]:
        """Raises ``StreamCut`` for a stream without its end, ``UpstreamBroken`` for a body that is no message."""
        if not self._streaming:
            return list(self._message(b"".join(self._whole)))
        rest = self._splitter.close()
        whole = all(load_object(event.data) is not None for event in sse.events(rest))
        events = list(self._read(rest)) if whole else []
        if not (self.ended or self._failed):
            raise StreamCut("The upstream's response ended before it was complete.")
        return events

    def _read(self, block: bytes) -> Iterator[ChatEvent]:
        for event in sse.events(block):
            if self._failed or self.ended:
                return
            value = load_object(event.data)
            if value is not None:
                yield from self._event(value)
            elif event.name == "error":  # in words only
                yield self._failure({"error": {"message": event.data.decode("utf-8", "replace")}})
            elif event.data.strip() and not event.data.startswith(b"[DONE]"):
                raise UpstreamBroken("The upstream sent an event that is not a JSON object.")

    def _message(self, data: bytes) -> Iterator[ChatEvent]:
        message = load_object(data)
        if message is not None and message.get("type") == "error":
            yield self._failure(message)
            return
        if message is None or not isinstance(message.get("content"), list):
            raise no_response(data, "message")
        yield from self._start(message)
        for found in message["content"]:
            if isinstance(found, dict):
                block = block_of(found, self._content)
                yield from (*block.open(), *block.close())
        self._delta = message
        yield from self._end()

    # --- The events of a stream ---

    def _event(self, event: JsonObject) -> Iterator[ChatEvent]:
        match event:
            case {"type": "content_block_delta", "delta": dict(delta)}:
                if (open_block := self._blocks.get(_index(event))) is not None:
                    yield from open_block.delta(delta)
            case {"type": "content_block_start", "content_block": dict(found)}:
                yield from self._stop(_index(event))
                block = self._blocks[_index(event)] = block_of(found, self._content)
                yield from block.open()
            case {"type": "content_block_stop"}:
                yield from self._stop(_index(event))
            case {"type": "message_start", "message": dict(message)}:
                yield from self._start(message)
            case {"type": "message_delta"}:
                self._delta = {**self._delta, **object_of(event.get("delta"))}
                self._usage = merged_usage(self._usage, event.get("usage"))
            case {"type": "message_stop"}:
                yield from self._end()
            case {"type": "error"} | {"error": dict()}:
                yield self._failure(event)
            case _:
                pass  # a ping, or an event of a later version, which the API asks its clients to ignore

    def _start(self, message: JsonObject) -> Iterator[ChatEvent]:
        if self._started:
            return
        self._started = True
        self._usage = merged_usage({}, message.get("usage"))
        found, model = message.get("id"), message.get("model")
        yield Start(id=found if isinstance(found, str) else None, model=model if isinstance(model, str) else None)
        yield from self._report()

    def _stop(self, index: int) -> Iterator[ChatEvent]:
        block = self._blocks.pop(index, None)
        if block is not None:
            yield from block.close()

    def _end(self) -> Iterator[ChatEvent]:
        for index in list(self._blocks):
            yield from self._stop(index)
        self.ended = True
        yield from self._report()
        word, sequence = self._delta.get("stop_reason"), self._delta.get("stop_sequence")
        reason = REASONS.get(word) if isinstance(word, str) else None
        detail = (
            sequence if word == "stop_sequence" else None if word in ("end_turn", "max_tokens", "tool_use") else word
        )
        calls: bool = self._content.calls > 0
        if self._content.answered and reason == "tool_calls":
            reason = None
        yield Finish(
            reason=reason or ("tool_calls" if calls else "stop"), detail=detail if isinstance(detail, str) else None
        )

    def _report(self) -> Iterator[ChatEvent]:
        usage = decode_usage(self._usage)
        if usage is not None:
            yield UsageReport(usage=usage)

    def _failure(self, event: JsonObject) -> Failed:
        self._failed = True
        error = error_object(event)
        return Failed(
            message=error["message"],
            status=ERROR_STATUSES.get(error["type"]),
            type=error["type"] or None,
            extra={name: value for name, value in error.items() if name not in ("message", "type", "code")},
        )


def _index(event: JsonObject) -> int:
    found = event.get("index")
    return found if isinstance(found, int) else 0


def object_of(value: object) -> JsonObject:
    return value if isinstance(value, dict) else {}


def error_object(event: JsonObject) -> JsonObject:
    """The error that an event or a body of the type ``error`` tells; ``message`` and ``type`` are texts in any case."""
    found = event.get("error")
    error = found if isinstance(found, dict) else {"message": found}
    message, kind = error.get("message"), error.get("type")
    return {
        **error,
        "message": message if isinstance(message, str) and message else "The upstream reported an error.",
        "type": kind if isinstance(kind, str) else "",
    }
