"""Translates a response whose dialect differs from the client's, or that a filter must see.

Pure: bytes in, bytes out. Relayed responses are in :mod:`proxy_core.pipeline.response`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence

from proxy_core.dialects.common import load_object
from proxy_core.interfaces import EventDecoder, EventEncoder
from proxy_core.messages import (
    CallStart,
    Carried,
    ChatEvent,
    ChatRequest,
    EmbedResponse,
    Failed,
    Finish,
    JsonObject,
    Start,
    UpstreamFailure,
    Usage,
    UsageReport,
)
from proxy_core.pipeline.call_ids import CallIds
from proxy_core.pipeline.sanitize import FilterChain


class TranslatedResponse:
    """A response decoded to events, filtered, and encoded for the client; streamed or plain on either side."""

    def __init__(
        self,
        provider: str,
        decoder: EventDecoder,
        filters: FilterChain | None,
        encoder: EventEncoder,
        request: ChatRequest | None = None,
    ) -> None:
        self._provider = provider
        self._call_ids = CallIds(request)
        self._decoder = decoder
        self._filters = filters
        self._encoder = encoder
        #: Finish and usage follow what the filters still hold back.
        self._ending: list[ChatEvent] = []
        self.usage: Usage | None = None
        self.failure: UpstreamFailure | None = None
        self.committed = False

    def feed(self, data: bytes) -> bytes:
        return self._pass(self._decoder.feed(data)) if self.failure is None else b""

    def close(self) -> bytes:
        out = self._pass(self._decoder.close())
        if self.failure is not None:
            return out
        held = self._filters.close() if self._filters else []
        return out + self._encoder.feed([*held, *self._ending]) + self._encoder.close()

    def _pass(self, events: Sequence[ChatEvent]) -> bytes:
        flowing: list[ChatEvent] = []
        for event in events:
            if isinstance(event, Failed):
                self.failure = failure_of(self._provider, event)
                break
            if isinstance(event, UsageReport):
                self.usage = event.usage
            if isinstance(event, UsageReport | Finish):
                self._ending.append(event)
            elif isinstance(event, CallStart):
                flowing.append(self._call_ids.unique(event))
            else:
                flowing.append(event)
        self.committed = self.committed or any(map(_is_content, events))
        return self._encoder.feed(self._filters.feed(flowing) if self._filters else flowing)

    @property
    def ended(self) -> bool:
        return self._decoder.ended


def _is_content(event: ChatEvent) -> bool:
    match event:
        case Start() | UsageReport() | Failed():
            return False
        case Carried():
            return _says_something(event.payload)
        case _:
            return True


def _says_something(value: object) -> bool:
    inner = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else None
    return bool(value) if inner is None else any(map(_says_something, inner))


class TranslatedEmbeddings:
    """Embeddings from a provider with a format of its own."""

    def __init__(
        self,
        provider: str,
        failure: Callable[[str, JsonObject], UpstreamFailure | None] | None,
        decode: Callable[[bytes], EmbedResponse],
        encode: Callable[[EmbedResponse, JsonObject], bytes],
        request_body: JsonObject,
    ) -> None:
        """``failure`` finds an error behind status 200."""
        self._provider, self._failure_of = provider, failure
        self._decode, self._encode, self._request_body = decode, encode, request_body
        self._parts: list[bytes] = []
        self.usage: Usage | None = None
        self.failure: UpstreamFailure | None = None
        self.committed = self.ended = False

    def feed(self, data: bytes) -> bytes:
        self._parts.append(data)
        return b""

    def close(self) -> bytes:
        data = b"".join(self._parts)
        if self._failure_of is not None:
            self.failure = self._failure_of(self._provider, load_object(data) or {})
            if self.failure is not None:
                return b""
        response = self._decode(data)
        self.usage, self.committed = response.usage, True
        return self._encode(response, self._request_body)


def failure_of(provider: str, event: Failed) -> UpstreamFailure:
    error = {**event.extra, "message": event.message, "type": event.type, "code": event.code}
    return UpstreamFailure(provider=provider, status=event.status, body=json.dumps({"error": error}).encode())
