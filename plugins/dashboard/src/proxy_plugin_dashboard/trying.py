"""A model's answer for the box where one can be tried: from a chat completion to events that the page can show.

The page's script gets ``text``, ``thought``, ``problem`` and ``done``, each with one JSON value, and shows it as text.
"""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

from proxy_core import ByteStream, JsonObject, PageRequest
from proxy_core.sse import EventSplitter, events
from proxy_plugin_dashboard.own_calls import error_message
from proxy_plugin_dashboard.words import cut

#: Of an answer and of its thoughts; a browser would become slow.
MAX_SHOWN = 200_000
_MAX_PROBLEM = 600
#: Control characters become pictures, except those of white space; those that reorder what stands around them, U+FFFD.
_HARMLESS = {
    **{code: 0x2400 + code for code in range(0x20) if chr(code) not in "\r\n\t"},
    0x7F: 0x2421,
    **dict.fromkeys([*range(0x80, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A)], 0xFFFD),
}
_MAX_EVENT_BYTES = 16 * 1024 * 1024
MAX_PROMPT = 200_000


def chat_body(model: str, prompt: str) -> JsonObject:
    usage = {"include_usage": True}
    messages = [{"role": "user", "content": prompt}]
    return {"model": model, "stream": True, "stream_options": usage, "messages": messages}


class Reading:
    """Reads the stream of a chat completion. Pure: bytes in, events for the page out."""

    def __init__(self) -> None:
        self._splitter = EventSplitter(_MAX_EVENT_BYTES)
        self.usage: Mapping[str, Any] | None = None
        self.finish = ""
        self.failed = False
        self._left = {"text": MAX_SHOWN, "thought": MAX_SHOWN}

    def feed(self, data: bytes) -> bytes:
        return b"".join(part for event in events(self._splitter.feed(data)) for part in self._read(event.data))

    def _read(self, data: bytes) -> Iterator[bytes]:
        if data.startswith(b"[DONE]"):
            return
        chunk = json.loads(data)
        if "error" in chunk:
            self.failed = True
            yield event("problem", cut(error_message(chunk), _MAX_PROBLEM))
        self.usage = chunk.get("usage") or self.usage
        for choice in chunk.get("choices") or ():
            delta = choice.get("delta") or {}
            self.finish = choice.get("finish_reason") or self.finish
            for name, key in (("thought", "reasoning_content"), ("thought", "reasoning"), ("text", "content")):
                if isinstance(text := delta.get(key), str) and text:
                    yield from self._shown(name, text)

    def _shown(self, name: str, text: str) -> Iterator[bytes]:
        left = self._left[name]
        self._left[name] = left - len(text)
        if left > 0:
            yield event(name, text[:left].translate(_HARMLESS))
        if left >= 0 > self._left[name]:
            yield event("problem", f"Only the first {MAX_SHOWN:,} characters are shown.")


def event(name: str, value: object) -> bytes:
    return f"event: {name}\ndata: {json.dumps(value)}\n\n".encode()


class Answer:
    """The body of the response: it asks the model once it is read, so the page does not wait for the first word."""

    def __init__(self, request: PageRequest, body: JsonObject) -> None:
        self._request, self._body = request, body
        self._stream: ByteStream | None = None

    async def __aiter__(self) -> AsyncIterator[bytes]:
        began, reading = time.monotonic(), Reading()
        yield b": asked\n\n"
        response = await self._request.call("POST", "/v1/chat/completions", self._body)
        if isinstance(response.body, bytes):
            yield event("problem", cut(error_message(json.loads(response.body)), _MAX_PROBLEM))
        else:
            self._stream = response.body
            try:
                async for piece in response.body:
                    if found := reading.feed(piece):
                        yield found
            except OSError:
                yield event("problem", "The answer broke off.")
        usage = reading.usage or {}
        yield event(
            "done",
            {
                "id": response.headers.get("x-request-id", ""),
                "served_by": _served_by(response.headers),
                "seconds": round(time.monotonic() - began, 2),
                "prompt": _count(usage.get("prompt_tokens")),
                "completion": _count(usage.get("completion_tokens")),
                "finish": reading.finish,
            },
        )

    async def aclose(self) -> None:
        if self._stream is not None:
            await self._stream.aclose()


def _count(number: object) -> int | None:
    return number if isinstance(number, int) else None


def _served_by(headers: Mapping[str, str]) -> str:
    provider, model = headers.get("x-proxy-provider", ""), headers.get("x-proxy-model", "")
    return cut(f"{provider}/{model}") if provider else ""
