"""Watches a relayed stream for its first content, usage, errors and its end. Replaces the model's name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proxy_core import JsonObject, ResponseContext, UpstreamFailure, Usage, sse
from proxy_core.dialects.common import json_bytes, load_object
from proxy_plugin_anthropic.dialect.common import ERROR_STATUSES
from proxy_plugin_anthropic.dialect.response_decode import error_object
from proxy_plugin_anthropic.dialect.usage import decode_usage, merged_usage

#: After the first content, only events with one of these are read. In a text, their quotes are escaped.
_MARKS = (b'"message_', b'"error"', b"event: error")


class AnthropicUsageTap:
    """Changes nothing but the model's name in ``message_start``, where the client used another one."""

    __slots__ = ("_found", "_model", "_provider", "committed", "ended", "failure", "usage")

    def __init__(self, provider: str, context: ResponseContext, strip_usage: bool) -> None:
        self._provider = provider
        self._model = context.model
        self._found: Mapping[str, Any] = {}
        self.usage: Usage | None = None
        self.committed = self.ended = False
        self.failure: UpstreamFailure | None = None

    @property
    def complete(self) -> bool:
        return self.ended

    def feed(self, block: bytes) -> bytes:
        if self.committed and not any(mark in block for mark in _MARKS):
            return b"" if self.ended else block
        kept: list[bytes] = []
        for raw in sse.split(block):
            if self.ended or self.failure is not None:
                break
            raw = self._look(raw)
            if self.failure is None:
                kept.append(raw)
        return b"".join(kept)

    def close(self) -> bytes:
        return b""

    def _look(self, raw: bytes) -> bytes:
        """Read one event; the bytes for the client."""
        if self.committed and not any(mark in raw for mark in _MARKS):
            return raw
        event = sse.parse(raw)
        if event is None or not event.data.strip():
            return raw
        value = load_object(event.data)
        if value is None:
            if not self.committed:
                self.failure = UpstreamFailure(provider=self._provider, body=event.data[:65536])
            return raw
        return self._read(value, raw)

    def _read(self, event: JsonObject, raw: bytes) -> bytes:
        match event:
            case {"type": "message_start", "message": dict(message)}:
                self._count({}, message)
                return renamed(raw, message.get("model"), self._model)
            case {"type": "content_block_start", "content_block": dict(block)}:
                self.committed = self.committed or _says(block)
            case {"type": "content_block_delta", "delta": dict(delta)}:
                self.committed = self.committed or _says(delta)
            case {"type": "message_delta"}:
                self._count(self._found, event)
                self.committed = True
            case {"type": "message_stop"}:
                self.ended = True
                if not self.committed:  # not one answer
                    self.failure = UpstreamFailure(provider=self._provider, transport="unreadable")
            case {"type": "error"} | {"error": dict()}:
                self.failure = failure_of(self._provider, event)
        return raw

    def _count(self, before: Mapping[str, Any], said: JsonObject) -> None:
        self._found = merged_usage(before, said.get("usage"))
        self.usage = decode_usage(self._found)


#: Members of a block or a delta that say nothing.
_EMPTY = frozenset({"type", "citations", "signature", "input"})


def _says(block: Mapping[str, Any]) -> bool:
    """Whether a block or a delta says something; an empty text does not, and a call says that it begins."""
    return any(value for name, value in block.items() if name not in _EMPTY)


def renamed(raw: bytes, found: object, model: str) -> bytes:
    """``raw`` with the client's name for the model in the message's own member; nothing else changes."""
    if not isinstance(found, str) or found == model:
        return raw
    for separator in (b":", b": "):
        member = b'"model"' + separator + json_bytes(found)
        if member in raw:
            return raw.replace(member, b'"model"' + separator + json_bytes(model), 1)
    return raw


def failure_of(provider: str, event: JsonObject) -> UpstreamFailure:
    error = error_object(event)
    body = json_bytes({"type": "error", "error": error})[:65536]
    return UpstreamFailure(provider=provider, status=ERROR_STATUSES.get(error["type"]), body=body)


def whole_failure(provider: str, body: JsonObject) -> UpstreamFailure | None:
    """An error that came with status 200, or something that is no message at all."""
    if isinstance(body.get("content"), list) or isinstance(body.get("input_tokens"), int):
        return None
    if body.get("type") == "error" or body.get("error"):
        return failure_of(provider, body)
    return UpstreamFailure(provider=provider, transport="unreadable")
