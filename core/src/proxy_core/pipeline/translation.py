"""Translates a response whose dialect differs from the client's, or that a filter must see.

Pure: bytes in, bytes out. Relayed responses are in :mod:`proxy_core.pipeline.response`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

from proxy_core.interfaces import EventDecoder, EventEncoder
from proxy_core.messages import (
    ChatEvent,
    EmbedResponse,
    Failed,
    Finish,
    JsonObject,
    UpstreamFailure,
    Usage,
    UsageReport,
)
from proxy_core.pipeline.sanitize import FilterChain

#: A larger plain response is only scanned for its usage: parsing megabytes would delay every stream.
_PARSE_LIMIT = 1024 * 1024


class TranslatedResponse:
    """A response decoded to events, filtered, and encoded for the client; streamed or plain on either side."""

    def __init__(
        self, provider: str, decoder: EventDecoder, filters: FilterChain | None, encoder: EventEncoder
    ) -> None:
        self._provider = provider
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
            else:
                flowing.append(event)
        if flowing or self._ending:
            self.committed = True
        return self._encoder.feed(self._filters.feed(flowing) if self._filters else flowing)


class TranslatedEmbeddings:
    """Embeddings from a provider with a format of its own."""

    def __init__(
        self,
        decode: Callable[[bytes], EmbedResponse],
        encode: Callable[[EmbedResponse, JsonObject], bytes],
        request_body: JsonObject,
    ) -> None:
        self._decode, self._encode, self._request_body = decode, encode, request_body
        self._parts: list[bytes] = []
        self.usage: Usage | None = None
        self.failure: UpstreamFailure | None = None
        self.committed = False

    def feed(self, data: bytes) -> bytes:
        self._parts.append(data)
        return b""

    def close(self) -> bytes:
        response = self._decode(b"".join(self._parts))
        self.usage, self.committed = response.usage, True
        return self._encode(response, self._request_body)


def failure_of(provider: str, event: Failed) -> UpstreamFailure:
    error = {**event.extra, "message": event.message, "type": event.type, "code": event.code}
    return UpstreamFailure(provider=provider, status=event.status, body=json.dumps({"error": error}).encode())
