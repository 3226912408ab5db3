"""How a reply's bytes become the client's bytes: untouched where the dialects agree, translated where not.

Pure: bytes in, bytes out. The executor reads, the endpoint writes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Protocol

from proxy_core import sse
from proxy_core.dialects.common import load_object
from proxy_core.errors import StreamCut, UpstreamBroken
from proxy_core.interfaces import Dialect, EventDecoder, EventEncoder, UsageTap
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

#: Above this a plain reply is only glanced at for its usage: parsing megabytes would hold up everyone.
_PARSE_LIMIT = 1024 * 1024


class ResponseBody(Protocol):
    """A reply on its way: feed it what was read, send what it gives back."""

    @property
    def usage(self) -> Usage | None: ...
    @property
    def failure(self) -> UpstreamFailure | None: ...
    @property
    def committed(self) -> bool:
        """The first upstream event has been seen."""
        ...

    def feed(self, data: bytes) -> bytes: ...
    def close(self) -> bytes:
        """The upstream's bytes ended. Raises ``UpstreamBroken``, ``StreamCut``."""
        ...


class RelayedStream:
    """An event stream in the client's own dialect. Whole events pass as they came."""

    __slots__ = ("_meter", "_splitter", "committed", "failure", "usage")

    def __init__(self, meter: UsageTap, max_event_bytes: int) -> None:
        self._meter = meter
        self._splitter = sse.EventSplitter(max_event_bytes)
        self.usage: Usage | None = None
        self.failure: UpstreamFailure | None = None
        self.committed = False

    def feed(self, data: bytes) -> bytes:
        block = self._splitter.feed(data)
        return self._pass(block) if block else b""

    def close(self) -> bytes:
        rest = self._splitter.close()
        whole = not rest.strip() or _whole(rest)
        out = self._pass(rest) if rest and whole else b""
        if self.failure is not None:
            return out
        if not whole or not self._meter.complete:
            raise StreamCut("The upstream's reply ended before it was complete.")
        end = self._meter.close()
        # A last event may lack its blank line; what we add must not run into it.
        return out + b"\n\n" + end if out and end else out + end

    def _pass(self, block: bytes) -> bytes:
        meter = self._meter
        out = meter.feed(block)
        self.usage, self.failure = meter.usage, meter.failure
        if not self.committed and self.failure is None:
            self.committed = b"data:" in block
        elif out and self.failure is not None:
            self.committed = True
        return out


def _whole(rest: bytes) -> bool:
    event = sse.parse(rest)
    return event is None or event.data.startswith(b"[DONE]") or load_object(event.data) is not None


class TranslatedResponse:
    """A reply decoded to events, filtered, and encoded for the client; streamed or whole on either side."""

    def __init__(
        self, provider: str, decoder: EventDecoder, filters: FilterChain | None, encoder: EventEncoder
    ) -> None:
        self._provider = provider
        self._decoder = decoder
        self._filters = filters
        self._encoder = encoder
        #: Finish and usage wait for what the filters still hold.
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
    """Embeddings of a provider with a format of its own."""

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
        reply = self._decode(b"".join(self._parts))
        self.usage, self.committed = reply.usage, True
        return self._encode(reply, self._request_body)


class RelayedWhole:
    """A plain reply in the client's own dialect: bytes as they came, usage read on the side."""

    def __init__(self, dialect: Dialect, provider: str, request_body: JsonObject) -> None:
        self._dialect = dialect
        self._provider = provider
        self._request_body = request_body
        self._parts: list[bytes] = []
        self.usage: Usage | None = None
        self.failure: UpstreamFailure | None = None
        self.committed = False

    def feed(self, data: bytes) -> bytes:
        self._parts.append(data)
        return b""

    def close(self) -> bytes:
        data = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        value = load_object(data) if len(data) <= _PARSE_LIMIT else _glance(data, self._dialect.usage_key)
        if value is None:
            raise UpstreamBroken("The upstream's reply is not a JSON object.")
        self.failure = self._dialect.whole_failure(self._provider, value)
        if self.failure is not None:
            return b""
        self.committed = True
        self.usage = self._dialect.whole_usage(value)
        finish = self._dialect.finish_whole
        return finish(data, self._request_body) if finish is not None else data


def _glance(data: bytes, key: str) -> JsonObject | None:
    """The usage of a large reply, found without parsing the rest; ``None`` if it cannot be an object."""
    if not (data.lstrip().startswith(b"{") and data.rstrip().endswith(b"}")):
        return None
    at = data.rfind(f'"{key}"'.encode())
    _, colon, rest = data[at : at + 4096].partition(b":") if at >= 0 else (b"", b"", b"")
    glance: JsonObject = {"data": True, "candidates": []}
    if colon:
        with suppress(ValueError):  # usage is then unknown, which is what a reply without it says too
            glance[key], _ = json.JSONDecoder().raw_decode(rest.decode("utf-8", "replace").lstrip())
    return glance


def failure_of(provider: str, event: Failed) -> UpstreamFailure:
    error = {**event.extra, "message": event.message, "type": event.type, "code": event.code}
    return UpstreamFailure(provider=provider, status=event.status, body=json.dumps({"error": error}).encode())
